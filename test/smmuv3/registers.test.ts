import { describe, expect, it } from 'vitest'
import { SparseBacking } from '../../hw-model/memory/backing.js'
import { Memory } from '../../hw-model/memory/memory.js'
import { type IdOverrides, idRegisters, SmmuV3 } from '../../hw-model/smmuv3/index.js'

const OWNER = { message: () => undefined, interrupt: () => undefined }

/** A unit just after power-on. */
function makeUnit(id: IdOverrides = {}): SmmuV3 {
  const memory = new Memory()
  memory.place(0, new SparseBacking(2 ** 20))
  return new SmmuV3({ memory, owner: OWNER, id: idRegisters('default', id), caches: { policy: 'off' } })
}

const read = (unit: SmmuV3, offset: number): number => unit.readRegister(offset, 4)[0]
const write = (unit: SmmuV3, offset: number, value: number): void => unit.writeRegister(offset, 4, value, 0)

/** What a register of the default unit keeps of all ones, written after power-on; every other one stays as it was. */
const KEPT: Readonly<Record<number, number>> = {
  // CR0, CR1, CR2, GBPA, IRQ_CTRL.
  32: 0xd,
  40: 0xfff,
  44: 0x2,
  68: 0x001f_3f1f,
  80: 0x5,
  // GERROR_IRQ_CFG0 to 2.
  104: 0xffff_fffc,
  108: 0xffff,
  112: 0xffff_ffff,
  116: 0x3f,
  // STRTAB_BASE, STRTAB_BASE_CFG.
  128: 0xffff_ffc0,
  132: 0x4000_ffff,
  136: 0x0003_07ff,
  // CMDQ_BASE, PROD, CONS: a queue of one entry shows a wrap flag alone.
  144: 0xffff_ffff,
  148: 0x4000_ffff,
  152: 0x000f_ffff,
  156: 0x1,
  // EVENTQ_BASE, PROD, CONS, EVENTQ_IRQ_CFG0 to 2.
  160: 0xffff_ffff,
  164: 0x4000_ffff,
  168: 0x8000_0001,
  172: 0x800f_ffff,
  176: 0xffff_fffc,
  180: 0xffff,
  184: 0xffff_ffff,
  188: 0x3f,
  65704: 0x8000_0001,
  65708: 0x800f_ffff,
}

describe('[SMMU 6.2 Register overview] every word of both pages', () => {
  it.each([0, 0x4000, 0x8000, 0xc000, 0x10000, 0x1f000])('from %i on keeps what the manual gives it', (first) => {
    const unit = makeUnit()
    const offsets = Array.from({ length: 0x1000 / 4 }, (_, i) => first + i * 4)
    const wrong = offsets.flatMap((offset) => {
      unit.reset()
      const expected = KEPT[offset] ?? read(unit, offset)
      write(unit, offset, 0xffff_ffff)
      const got = read(unit, offset)
      return got === expected ? [] : [`${offset.toString(16)}: ${got.toString(16)}, not ${expected.toString(16)}`]
    })
    expect(wrong).toEqual([])
  })

  it('is zero after power-on, but for what identifies the unit and GBPA', () => {
    const unit = makeUnit({ IIDR: 0x4871_043b })
    const found: Record<string, number> = {}
    for (let offset = 0x20; offset < 0x11000; offset += 4) {
      if (read(unit, offset) !== 0) found[offset.toString(16)] = read(unit, offset)
    }
    expect(found).toEqual({
      44: 0x1000,
      // PIDR4, PIDR0 to PIDR2, CIDR0 to CIDR3.
      ...{ fd0: 0x4, fe0: 0x87, fe4: 0xb4, fe8: 0x1b },
      ...{ ff0: 0x0d, ff4: 0xf0, ff8: 0x05, ffc: 0xb1 },
    })
  })
})

describe('[SMMU 6.3.170 ID_REGS]', () => {
  it('say what IIDR says: part, revisions, and who made it', () => {
    // ProductID 0x5a6, Variant 0x7, Revision 0x9, continuation code 0xc, identity 0x5d.
    const unit = makeUnit({ IIDR: 0x5a67_9c5d })
    expect([0xfe0, 0xfe4, 0xfe8, 0xfec, 0xfd0].map((offset) => read(unit, offset))).toEqual([
      0xa6, 0xd5, 0x7d, 0x90, 0x0c,
    ])
  })
})

describe('what an ID register denies', () => {
  const { IDR0, IDR5 } = idRegisters()

  it('has no place in its registers: messages', () => {
    const unit = makeUnit({ IDR0: (IDR0 & ~(1 << 13)) >>> 0 })
    for (const offset of [0x68, 0x6c, 0x70, 0x74, 0xb0, 0xb4, 0xb8, 0xbc]) {
      write(unit, offset, 0xffff_ffff)
      expect(read(unit, offset)).toBe(0)
    }
  })

  it('has no place in its registers: stream tables of two levels', () => {
    const unit = makeUnit({ IDR0: (IDR0 & ~(3 << 27)) >>> 0, IDR1: 0x0673_0006 })
    write(unit, 0x88, 0xffff_ffff)
    expect(read(unit, 0x88)).toBe(0x3f)
  })

  it('has no place in its registers: addresses beyond the output size', () => {
    // 40 bits.
    const unit = makeUnit({ IDR5: ((IDR5 & ~7) | 2) >>> 0 })
    for (const [offset, kept] of [
      [0x84, 0x4000_00ff],
      [0x94, 0x4000_00ff],
      [0xa4, 0x4000_00ff],
      [0x6c, 0xff],
      [0xb4, 0xff],
    ]) {
      write(unit, offset, 0xffff_ffff)
      expect(read(unit, offset), offset.toString(16)).toBe(kept)
    }
  })
})

describe('[SMMU 6.3.28 SMMU_CMDQ_CONS] the indices of the unit', () => {
  it.each([
    ['CMDQ_CONS', 0x90, 0x9c],
    ['EVENTQ_PROD', 0xa0, 0x100a8],
  ])('%s shows nothing above the wrap flag of the size that is set', (_name, base, index) => {
    const unit = makeUnit()
    write(unit, base, 19)
    write(unit, index, 0xa_5a5a)
    expect(read(unit, index)).toBe(0xa_5a5a)
    for (const [lg2, shown] of [
      [8, 0x5a],
      [3, 0xa],
      [0, 0],
    ]) {
      write(unit, base, lg2)
      expect(read(unit, index)).toBe(shown)
    }
  })

  it('take a size beyond IDR1 for the largest there is, and show what was written', () => {
    const { IDR1 } = idRegisters()
    const unit = makeUnit({ IDR1: ((IDR1 & ~(0x3ff << 16)) | (4 << 21) | (3 << 16)) >>> 0 })
    write(unit, 0x90, 31)
    write(unit, 0x9c, 0xf_ffff)
    write(unit, 0xa0, 31)
    write(unit, 0x100a8, 0xf_ffff)
    expect([0x90, 0x9c, 0xa0, 0x100a8].map((offset) => read(unit, offset))).toEqual([31, 0x1f, 31, 0xf])
  })
})

describe('a write of 64 bits', () => {
  it('reaches both words, each by its own rule', () => {
    const unit = makeUnit()
    unit.writeRegister(0x80, 8, 0xffff_ffff, 0xffff_ffff)
    expect(unit.readRegister(0x80, 8)).toEqual([0xffff_ffc0, 0x4000_ffff])
    unit.writeRegister(0x60, 8, 0xffff_ffff, 0xffff_ffff)
    expect(unit.readRegister(0x60, 8)).toEqual([0, 0])
    expect(unit.readRegister(0x1fff8, 8)).toEqual([0, 0])
  })
})
