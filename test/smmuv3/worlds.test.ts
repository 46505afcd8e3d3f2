import { describe, expect, it } from 'vitest'
import { ACCESS, Outcome, Transaction, type WalkStep } from '../../hw-model/port.js'
import { CONFIG, type IdOverrides, idRegisters, OFFSET } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, S1, stageTwoFields } from './bench.js'

const VA = 0x10000000n

/** CR2 of this unit: RECINVSID, and E2H where it is on. [SMMU 6.3.12 SMMU_CR2] */
const CR2 = { EL2: 0b10, E2H: 0b11 } as const
/** Bits of a CD's first doubleword. [SMMU 5.4 Context Descriptor] */
const BIT = { EPD0: 1n << 14n, EPD1: 1n << 30n, WXN: 1n << 36n, TBI0: 1n << 38n, TBI1: 1n << 39n, PAN: 1n << 40n }
/** Leaf descriptors: a page of Normal memory with AF, and AP[2:1] in bits 7 and 6. */
const PAGE = 0x80000000n | 0x403n
const LEAF = { AP1: 1n << 6n, AP2: 1n << 7n, NG: 1n << 11n, PXN: 1n << 53n, XN: 1n << 54n } as const
/** Limits in a table descriptor. */
const TABLE = { PXN: 1n << 59n, XN: 1n << 60n, AP0: 1n << 61n, AP1: 1n << 62n } as const

const { READ, WRITE, EXECUTE, PRIVILEGED } = ACCESS

function program(bench: Bench, cr2: number): void {
  bench.write(OFFSET.CR0, 0b1100)
  bench.write(OFFSET.CR2, cr2)
  bench.write(OFFSET.CR0, 0b1101)
}

function bench(cr2: number, id: IdOverrides = {}): Bench {
  const made = new Bench({ preset: 'full', id })
  program(made, cr2)
  return made
}

/** A stream on stage 1; STRW is spelled into bits [31:30] of the STE's second doubleword. */
function stream(bench: Bench, sid: number, strw: bigint, asid = 1, config: number = CONFIG.S1_TRANS, vmid = 0) {
  const root = bench.alloc()
  const cd = bench.alloc()
  bench.cd(cd, contextFields(asid, root))
  bench.ste(sid, { V: 1, Config: config, S1ContextPtr: cd, S2VMID: vmid })
  const dw1 = bench.streamTable + sid * 64 + 8
  bench.poke(dw1, bench.peek(dw1) | (strw << 30n))
  return { root, cd }
}

const setBits = (bench: Bench, at: number, bits: bigint): void => bench.poke(at, bench.peek(at) | bits)

/** A unit that has no EL2 worlds. */
const WITHOUT: IdOverrides = { IDR0: idRegisters('full').IDR0 & ~(1 << 9), AIDR: 1 }

describe('[SMMU 5.2 STRW]', () => {
  it.each([
    [0b00n, 'ok 80000000'],
    [0b01n, 'C_BAD_STE'],
    [0b10n, 'ok 80000000'],
    [0b11n, 'C_BAD_STE'],
  ])('of %i with stage 1 alone is %s', (strw, expected) => {
    const unit = bench(CR2.EL2)
    const { root } = stream(unit, 1, strw)
    unit.map(root, VA, 0x80000000n | S1.RW)
    expect(unit.dma(1, VA)).toBe(expected)
  })

  it('is reserved without IDR0.Hyp, and ignored', () => {
    const unit = bench(CR2.EL2, WITHOUT)
    for (const strw of [0b01n, 0b10n, 0b11n]) {
      const { root } = stream(unit, Number(strw), strw)
      unit.map(root, VA, 0x80000000n | S1.RW)
      expect(unit.dma(Number(strw), VA)).toBe('ok 80000000')
    }
    // All of them are NS-EL1: ASID 1 is shared.
    expect(unit.unit.tlb.va.countLive()).toBe(1)
  })

  it('is ignored where stage 2 translates or nothing does', () => {
    const unit = bench(CR2.EL2)
    const s2 = unit.alloc()
    unit.map(s2, VA, 0x90000000n | 0x7ffn)
    for (const [sid, Config] of [CONFIG.BYPASS, CONFIG.S2_TRANS, CONFIG.NESTED].entries()) {
      stream(unit, sid, 0b11n, 1, Config)
      unit.ste(sid, { ...stageTwoFields(5, s2), V: 1, Config, S1ContextPtr: 2 ** 40, STRW: 3 })
    }
    expect([0, 1, 2].map((sid) => unit.dma(sid, VA))).toEqual(['ok 10000000', 'ok 90000000', 'F_TRANSLATION'])
  })
})

describe('[SMMU 6.3.12 SMMU_CR2] E2H', () => {
  it('is written while SMMUEN is 0 alone', () => {
    const unit = bench(CR2.EL2)
    unit.write(OFFSET.CR2, CR2.E2H)
    expect(unit.read(OFFSET.CR2)).toBe(CR2.EL2)
    unit.write(OFFSET.CR0, 0)
    unit.write(OFFSET.CR2, CR2.E2H)
    expect(unit.read(OFFSET.CR2)).toBe(CR2.E2H)
  })

  it('is reserved without IDR0.Hyp', () => {
    const unit = bench(CR2.E2H, WITHOUT)
    expect(unit.read(OFFSET.CR2)).toBe(CR2.EL2)
  })

  it('is kept with a cached STE until CFGI_STE', () => {
    const unit = bench(CR2.EL2)
    const { root, cd } = stream(unit, 1, 0b10n)
    setBits(unit, cd, BIT.EPD0)
    unit.map(root, VA, 0x80000000n | S1.RW)
    expect(unit.dma(1, VA)).toBe('ok 80000000')
    program(unit, CR2.E2H)
    expect(unit.dma(1, VA)).toBe('ok 80000000')
    unit.commands([0x0000_0001_0000_0003n, 1n])
    expect(unit.dma(1, VA)).toBe('F_TRANSLATION')
  })
})

describe('NS-EL2 has one range of addresses', () => {
  it('whatever EPD0 and EPD1 say', () => {
    const unit = bench(CR2.EL2)
    const { root, cd } = stream(unit, 1, 0b10n)
    unit.map(root, VA, 0x80000000n | S1.RW)
    setBits(unit, cd, BIT.EPD0)
    unit.poke(cd, unit.peek(cd) & ~BIT.EPD1)
    // T1SZ is 0 and TTB1 nothing: they would be ILLEGAL in a world with two ranges.
    expect(unit.dma(1, VA)).toBe('ok 80000000')
    expect(unit.dma(1, VA | (0xffffn << 48n))).toBe('F_TRANSLATION')
    expect(unit.dma(1, VA | (1n << 55n))).toBe('F_TRANSLATION')
  })

  it('whose top byte is ignored with TBI0, and bit 55 is not', () => {
    const unit = bench(CR2.EL2)
    const { root, cd } = stream(unit, 1, 0b10n)
    unit.map(root, VA, 0x80000000n | S1.RW)
    expect(unit.dma(1, VA | (0xa5n << 56n))).toBe('F_TRANSLATION')
    setBits(unit, cd, BIT.TBI0 | BIT.TBI1)
    unit.commands([0x0000_0001_0000_0005n, 1n])
    expect(unit.dma(1, VA | (0xa5n << 56n))).toBe('ok 80000000')
    expect(unit.dma(1, VA | (1n << 55n))).toBe('F_TRANSLATION')
  })

  it('and NS-EL2-E2H two', () => {
    const unit = bench(CR2.E2H)
    const { root, cd } = stream(unit, 1, 0b10n)
    unit.map(root, VA, 0x80000000n | S1.RW)
    unit.map(root, 0xffff_0000_1000_0000n & 0xffff_ffff_ffffn, 0x80000000n | S1.RW)
    expect(unit.dma(1, VA)).toBe('ok 80000000')
    // T1SZ 16, TG1 4 KiB, EPD1 0; TTB1 is the same table.
    unit.poke(cd, (unit.peek(cd) & ~BIT.EPD1) | (16n << 16n) | (2n << 22n))
    unit.poke(cd + 16, BigInt(root))
    unit.commands([0x0000_0001_0000_0005n, 1n])
    expect(unit.dma(1, VA | (0xffffn << 48n))).toBe('ok 80000000')
    setBits(unit, cd, BIT.EPD0)
    unit.commands([0x0000_0001_0000_0005n, 1n], [0x20n, 0n])
    expect(unit.dma(1, VA)).toBe('F_TRANSLATION')
  })
})

describe('identifiers that a world has not', () => {
  const NARROW: IdOverrides = { IDR0: idRegisters('full').IDR0 & ~((1 << 12) | (1 << 18)) }

  it.each([
    ['NS-EL1', 0b00n, CR2.EL2, 0x100, 0, 'C_BAD_CD'],
    ['NS-EL2', 0b10n, CR2.EL2, 0x100, 0, 'ok 80000000'],
    ['NS-EL2-E2H', 0b10n, CR2.E2H, 0x100, 0, 'C_BAD_CD'],
    ['NS-EL1', 0b00n, CR2.EL2, 1, 0x100, 'C_BAD_STE'],
    ['NS-EL2', 0b10n, CR2.EL2, 1, 0x100, 'ok 80000000'],
    ['NS-EL2-E2H', 0b10n, CR2.E2H, 1, 0x100, 'ok 80000000'],
  ])('may have any bits: %s, STRW %i, CR2 %i, ASID %i, S2VMID %i: %s', (_world, strw, cr2, asid, vmid, expected) => {
    const unit = bench(cr2, NARROW)
    const { root } = stream(unit, 1, strw, asid, CONFIG.S1_TRANS, vmid)
    unit.map(root, VA, 0x80000000n | S1.RW)
    expect(unit.dma(1, VA)).toBe(expected)
  })
})

/** Which of the six accesses a leaf allows, as `urwx prwx`. */
function rightsOf(unit: Bench): string {
  const of = (privilege: number): string =>
    [
      ['r', READ],
      ['w', WRITE],
      ['x', READ | EXECUTE],
    ]
      .map(([letter, access]) => {
        const said = unit.dma(1, VA, { access: (access as number) | privilege })
        expect(said).toMatch(/^(ok 80000000|F_PERMISSION)$/)
        return said.startsWith('ok') ? letter : '-'
      })
      .join('')
  return `u${of(0)} p${of(PRIVILEGED)}`
}

function leafRights(cr2: number, leaf: bigint, limits = 0n, cdBits = 0n): string {
  const unit = bench(cr2)
  const { root, cd } = stream(unit, 1, 0b10n)
  setBits(unit, cd, cdBits)
  unit.map(root, VA, PAGE | leaf)
  setBits(unit, root, limits)
  return rightsOf(unit)
}

describe('[SMMU 13.4.1 Stage 1 page permissions] of NS-EL2', () => {
  it.each([
    ['AP 00', 0n, 'urwx prwx'],
    ['AP 01', LEAF.AP1, 'urwx prwx'],
    ['AP 10', LEAF.AP2, 'ur-x pr-x'],
    ['AP 11', LEAF.AP1 | LEAF.AP2, 'ur-x pr-x'],
    ['PXN', LEAF.AP1 | LEAF.PXN, 'urwx prwx'],
    ['XN', LEAF.AP1 | LEAF.XN, 'urw- prw-'],
    ['XN of a read-only page', LEAF.AP2 | LEAF.XN, 'ur-- pr--'],
  ])('%s: %s', (_name, leaf, expected) => {
    expect(leafRights(CR2.EL2, leaf)).toBe(expected)
  })

  it.each([
    ['APTable[0]', TABLE.AP0, 'urwx prwx'],
    ['APTable[1]', TABLE.AP1, 'ur-x pr-x'],
    ['PXNTable', TABLE.PXN, 'urwx prwx'],
    ['XNTable', TABLE.XN, 'urw- prw-'],
  ])('%s above it: %s', (_name, limits, expected) => {
    expect(leafRights(CR2.EL2, LEAF.AP1, limits)).toBe(expected)
  })

  it('WXN keeps what may be written from being executed, and PAN means nothing', () => {
    expect(leafRights(CR2.EL2, LEAF.AP1, 0n, BIT.WXN)).toBe('urw- prw-')
    expect(leafRights(CR2.EL2, LEAF.AP2, 0n, BIT.WXN)).toBe('ur-x pr-x')
    expect(leafRights(CR2.EL2, LEAF.AP1, TABLE.AP1, BIT.WXN)).toBe('ur-x pr-x')
    expect(leafRights(CR2.EL2, LEAF.AP1, 0n, BIT.PAN)).toBe('urwx prwx')
  })

  it('of NS-EL2-E2H are those of NS-EL1', () => {
    expect(leafRights(CR2.E2H, 0n)).toBe('u--x prwx')
    expect(leafRights(CR2.E2H, LEAF.AP1)).toBe('urwx prw-')
    expect(leafRights(CR2.E2H, LEAF.AP1 | LEAF.AP2 | LEAF.PXN)).toBe('ur-x pr--')
    expect(leafRights(CR2.E2H, LEAF.AP1, TABLE.AP0)).toBe('u--x prwx')
    expect(leafRights(CR2.E2H, LEAF.AP1, 0n, BIT.PAN)).toBe('urwx p---')
  })

  it('are told by events as the device asked', () => {
    const unit = bench(CR2.EL2)
    const { root } = stream(unit, 1, 0b10n)
    unit.map(root, VA, PAGE | LEAF.AP2)
    expect(unit.dma(1, VA, { access: WRITE | PRIVILEGED })).toBe('F_PERMISSION')
    // PnU in bit 33, CLASS = IN in bits [41:40]. [SMMU 7.3.16 F_PERMISSION]
    expect(unit.events()).toEqual([[0x0000_0001_0000_0013n, 0x0000_0202_0000_0000n, VA, 0n]])
  })
})

describe('an explained walk', () => {
  function steps(unit: Bench): WalkStep[] {
    const transaction = new Transaction()
    transaction.rid = 1
    transaction.lo = Number(VA)
    const seen: WalkStep[] = []
    unit.unit.explain(transaction, new Outcome(), { step: (step) => seen.push(step) })
    return seen
  }

  it('names the world, and of the CD what it has', () => {
    const unit = bench(CR2.EL2)
    const { root } = stream(unit, 1, 0b10n)
    unit.map(root, VA, PAGE | LEAF.AP2 | LEAF.NG)
    setBits(unit, root, TABLE.AP0)
    const [ste, cd, top, , , leaf] = steps(unit)
    expect(ste.texts?.['STRW']).toBe('NS-EL2')
    expect(cd.verdict).toBe('no ASID, tables at TTB0')
    expect(Object.keys(cd.fields ?? {})).not.toEqual(expect.arrayContaining(['ASID']))
    expect(top.texts?.['APTable']).toBe('no limit')
    expect(leaf.verdict).toBe('leaf, 4 KiB, read-only')
    expect(leaf.texts).toMatchObject({ AP: 'read-only', nG: 'no effect' })
  })

  it('of NS-EL2-E2H has ASIDs and two privileges', () => {
    const unit = bench(CR2.E2H)
    const { root } = stream(unit, 1, 0b10n)
    unit.map(root, VA, PAGE | LEAF.AP2 | LEAF.NG)
    const [ste, cd, , , , leaf] = steps(unit)
    expect(ste.texts?.['STRW']).toBe('NS-EL2-E2H')
    expect(cd.verdict).toBe('ASID 1, tables at TTB0')
    expect(leaf.verdict).toBe('leaf, 4 KiB, EL0 no access, EL1 read-only, not global')
  })
})

describe('ID registers', () => {
  const words = (changes: (idr0: number) => number, AIDR: number) =>
    idRegisters('full', { IDR0: changes(idRegisters('full').IDR0), AIDR })

  it('of the full unit offer EL2 and say SMMUv3.2', () => {
    const { IDR0, AIDR } = idRegisters('full')
    expect([(IDR0 >>> 9) & 1, AIDR]).toEqual([1, 2])
  })

  it('offer IDR0.Hyp with both stages alone, and IDR0.VMW with stage 2', () => {
    expect(() => words((idr0) => idr0 & ~(1 << 17) & ~1, 2)).toThrow('IDR0.Hyp')
    expect(() => words((idr0) => idr0 & ~(1 << 9) & ~1, 2)).toThrow('IDR0.VMW')
  })
})
