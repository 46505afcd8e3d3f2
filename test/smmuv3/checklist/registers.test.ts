/** Registers, as their programmer sees them. [SMMU 6 Memory map and registers] */

import { describe, expect, it } from 'vitest'
import { COMMANDS, Guest, RAM, SID, STREAM_TABLE, VA } from './guest.js'
import { World } from './tables.js'

/** A unit that nobody has set up further than its bases: SMMUEN and the queues are off. */
const off = (): Guest => new Guest({ cr0: 0, irq: 0 })

describe('[SMMU 6.3.14 SMMU_GBPA]', () => {
  it('takes a value that is written with Update, and reads back without', () => {
    const g = off()
    g.set32(0x44, 0x8010_0000)
    expect(g.get32(0x44)).toBe(0x0010_0000)
    g.set32(0x44, 0x8000_1000)
    expect(g.get32(0x44)).toBe(0x1000)
  })

  it('ignores a value that is written without Update', () => {
    const g = off()
    g.set32(0x44, 0x8010_0000)
    g.set32(0x44, 0x0000_1000)
    expect(g.get32(0x44)).toBe(0x0010_0000)
  })

  it('keeps every attribute field, and nothing beside them', () => {
    const g = off()
    g.set32(0x44, 0xffff_ffff)
    expect(g.get32(0x44)).toBe(0x001f_3f1f)
  })
})

describe('a unit that is off', () => {
  it('passes every address on as it is, with or without a SubstreamID', () => {
    const g = off()
    g.set32(0x44, 0x8000_1000)
    expect(g.read(VA)).toBe('0x123456789abc')
    expect(g.write(0xffff_ffff_f123n)).toBe('0xfffffffff123')
    expect(g.fetch(0x1234n, { ssid: 9, priv: true })).toBe('0x1234')
  })

  it('aborts an address beyond the output size in silence', () => {
    const g = new Guest({ cr0: 0b1100 })
    g.set32(0x44, 0x8000_1000)
    expect(g.read(0x1_0000_0000_0000n)).toBe('abort')
    expect(g.read(0xffff_0000_0000_0000n)).toBe('abort')
    expect(g.events()).toEqual([])
  })

  it('aborts everything in silence when GBPA.ABORT says so', () => {
    const g = new Guest({ cr0: 0b1100 })
    g.set32(0x44, 0x8010_0000)
    expect(g.read(VA)).toBe('abort')
    expect(g.write(0x1000n, { ssid: 1 })).toBe('abort')
    expect(g.events()).toEqual([])
  })

  it('never looks at its stream table', () => {
    const g = new Guest({ cr0: 0b1100 })
    g.set32(0x44, 0x8000_0000)
    g.set64(0x80, RAM)
    expect(g.read(VA)).toBe('0x123456789abc')
    expect(g.events()).toEqual([])
  })

  it('still takes commands', () => {
    const g = new Guest({ cr0: 0b1000 })
    g.command(0x46n, 0n)
    expect(g.get32(0x9c)).toBe(1)
  })

  it('keeps nothing it sees then: what it fetches once it is on is what stands there', () => {
    const w = new World(0b101, { cr0: 0b1100 })
    w.read(VA)
    w.ste[0] = 1n
    w.storeSte(SID, ...w.ste)
    w.set32(0x20, 0b1101)
    expect(w.read(VA)).toBe('abort')
  })
})

describe('[SMMU 6.3.9 SMMU_CR0], [SMMU 6.3.10 SMMU_CR0ACK]', () => {
  it('acknowledges each bit on its own, once its effect is complete', () => {
    const g = off()
    expect(g.get32(0x24)).toBe(0)
    for (const value of [0b1000, 0b1100, 0b1101, 0b0101, 0b0100, 0]) {
      g.set32(0x20, value)
      expect([g.get32(0x20), g.get32(0x24)]).toEqual([value, value])
    }
  })

  it('is read-only where it acknowledges', () => {
    const g = off()
    g.set32(0x24, 0b1101)
    expect([g.get32(0x24), g.read(VA)]).toEqual([0, '0x123456789abc'])
  })

  it('does not keep bits that are reserved', () => {
    const g = off()
    g.set32(0x20, 0xffff_f820)
    expect([g.get32(0x20), g.get32(0x24)]).toEqual([0, 0])
  })

  it('leaves the queues on when the unit goes off', () => {
    const g = new Guest()
    g.set32(0x20, 0b1100)
    expect(g.get32(0x24)).toBe(0b1100)
    g.command(0x46n, 0n)
    expect(g.get32(0x9c)).toBe(1)
  })

  it('stops taking commands without CMDQEN, and goes on where it was', () => {
    const g = new Guest()
    g.command(0x46n, 0n)
    g.set32(0x20, 0b0101)
    g.command(0x46n, 0n)
    expect(g.get32(0x9c)).toBe(1)
    g.set32(0x20, 0b1101)
    expect(g.get32(0x9c)).toBe(2)
  })
})

/** Registers that may be written only while something is off: offset, a value, the bits that stay, and CR0 that guards. */
const GUARDED: readonly (readonly [name: string, offset: number, value: bigint, guard: number])[] = [
  ['STRTAB_BASE', 0x80, 0x4000_0000_1234_0000n, 0b0001],
  ['CMDQ_BASE', 0x90, 0x4000_0000_1234_0007n, 0b1000],
  ['EVENTQ_BASE', 0xa0, 0x4000_0000_1234_0006n, 0b0100],
]
const GUARDED_32: readonly (readonly [name: string, offset: number, value: number, guard: number])[] = [
  ['STRTAB_BASE_CFG', 0x88, 0x1_0209, 0b0001],
  ['CMDQ_CONS', 0x9c, 0x1f, 0b1000],
  ['EVENTQ_PROD', 0x100a8, 0x8000_0011, 0b0100],
  ['CR2', 0x2c, 0b0010, 0b0001],
]

describe('a guarded register [SMMU 6.3.24 SMMU_STRTAB_BASE]', () => {
  for (const [name, offset, value, guard] of GUARDED) {
    it(`${name} takes what is written, whole and in halves, and keeps it while its guard is on`, () => {
      const g = off()
      g.set64(offset, value)
      expect(g.get64(offset)).toBe(value)
      g.set32(offset, Number(value & 0xffff_ffffn) ^ 0x1_0000)
      g.set32(offset + 4, 0x12)
      expect(g.get64(offset)).toBe(0x12_0000_0000n | ((value & 0xffff_ffffn) ^ 0x1_0000n))
      expect([g.get32(offset), g.get32(offset + 4)]).toEqual([Number(value & 0xffff_ffffn) ^ 0x1_0000, 0x12])
      g.set32(0x20, guard)
      const before = g.get64(offset)
      g.set64(offset, 0x7777_0000n)
      g.set32(offset, 0x5555_0000)
      g.set32(offset + 4, 0x3)
      expect(g.get64(offset)).toBe(before)
      g.set32(0x20, 0)
      g.set64(offset, value)
      expect(g.get64(offset)).toBe(value)
    })
  }

  for (const [name, offset, value, guard] of GUARDED_32) {
    it(`${name} takes what is written, and keeps it while its guard is on`, () => {
      const g = off()
      if (name === 'CMDQ_CONS') g.set32(0x98, value)
      g.set32(offset, value)
      expect(g.get32(offset)).toBe(value)
      g.set32(0x20, guard)
      g.set32(offset, 0b1000)
      expect(g.get32(offset)).toBe(value)
      g.set32(0x20, 0)
      g.set32(offset, 0b10)
      expect(g.get32(offset)).toBe(0b10)
    })
  }

  it('CR1 keeps TABLE_* while the unit is on, and QUEUE_* while any queue is', () => {
    const g = off()
    g.set32(0x28, 0xfff)
    expect(g.get32(0x28)).toBe(0xfff)
    g.set32(0x20, 0b0001)
    g.set32(0x28, 0)
    expect(g.get32(0x28)).toBe(0xfc0)
    for (const queue of [0b0100, 0b1000]) {
      g.set32(0x20, 0)
      g.set32(0x28, 0xfff)
      g.set32(0x20, queue)
      g.set32(0x28, 0)
      expect(g.get32(0x28)).toBe(0x03f)
    }
  })

  it('has no guard where an index belongs to software', () => {
    const g = new Guest()
    g.set32(0x100ac, 0x8000_0000)
    expect(g.get32(0x100ac)).toBe(0x8000_0000)
    g.set32(0x20, 0b0101)
    g.set32(0x98, 0x3)
    expect(g.get32(0x98)).toBe(0x3)
  })
})

describe('[SMMU 6.3.28 SMMU_CMDQ_CONS]', () => {
  it('is where software says the queue starts', () => {
    const g = off()
    g.set32(0x98, 7)
    g.set32(0x9c, 7)
    g.store(COMMANDS + 7n * 16n, 0x46n, 0n)
    g.set32(0x20, 0b1000)
    expect(g.get32(0x9c)).toBe(7)
    g.set32(0x98, 8)
    expect(g.get32(0x9c)).toBe(8)
  })
})

describe('[SMMU 6.2.2 Registers in Page 1]', () => {
  it('answer on page 0 too', () => {
    const g = new Guest()
    g.read(VA)
    expect([g.get32(0x100a8), g.get32(0xa8)]).toEqual([1, 1])
    g.set32(0xac, 1)
    expect([g.get32(0x100ac), g.get32(0xac)]).toEqual([1, 1])
  })

  it('hold the event queue where a 4 KiB guest maps it', () => {
    const g = off()
    g.set32(0x100a8, 0x11)
    g.set32(0x100ac, 0x12)
    expect([g.get32(0x100a8), g.get32(0x100ac)]).toEqual([0x11, 0x12])
  })
})

describe('[SMMU 6.2 Register overview]', () => {
  it('reads nothing where nothing is, and takes nothing', () => {
    const g = off()
    for (const offset of [0x38, 0x3c, 0xe0, 0xf00, 0x1000, 0x8000, 0x8020, 0x10000, 0x1fffc]) {
      g.set32(offset, 0xffff_ffff)
      expect(g.get32(offset), offset.toString(16)).toBe(0)
    }
  })

  it('has ID registers that no write changes', () => {
    const g = off()
    const read = (): number[] => [0, 4, 8, 0xc, 0x10, 0x14, 0x18, 0x1c, 0x190].map((offset) => g.get32(offset))
    const before = read()
    for (const offset of [0, 4, 8, 0xc, 0x10, 0x14, 0x18, 0x1c, 0x190]) g.set32(offset, 0xffff_ffff)
    expect(read()).toEqual(before)
    expect(before[0] & 0b1111).toBe(0b1011)
  })

  it('has no Secure half, ATOS or enhanced command queues to be found', () => {
    const g = off()
    expect([g.get32(0x8004), g.get32(0x190), g.get32(0) & (1 << 15), g.get32(4) >>> 31]).toEqual([0, 0, 0, 0])
  })
})

describe('reset', () => {
  it('brings registers back, forgets what was cached and leaves memory alone', () => {
    const w = new World(0b101)
    w.read(VA)
    w.command(0xffn, 0n)
    w.unit.reset()
    const offsets = [0x20, 0x24, 0x28, 0x2c, 0x50, 0x54, 0x60, 0x64, 0x88, 0x98, 0x9c, 0x100a8, 0x100ac]
    expect(offsets.map((offset) => w.get32(offset))).toEqual(offsets.map(() => 0))
    expect(w.load(STREAM_TABLE + 0x400n)).toBe(w.ste[0])
    w.ste[0] = 1n
    w.storeSte(SID, ...w.ste)
    w.set64(0x80, STREAM_TABLE)
    w.set32(0x88, 6)
    w.set32(0x20, 1)
    expect(w.read(VA)).toBe('abort')
  })
})
