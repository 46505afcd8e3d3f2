/** Where the unit looks for an STE. [SMMU 3.3.1 Stream table lookup] */

import { describe, expect, it } from 'vitest'
import { Guest, hex, RAM, STREAM_TABLE } from './guest.js'

/** An STE that bypasses: where it is found is seen by how a read ends. */
const BYPASS = 0b1001n

const badStream = (sid: number): string => `${((BigInt(sid) << 32n) | 2n).toString(16)} 0 0 0`

/** A guest whose stream table is as `config` (STRTAB_BASE_CFG) says, at `base`. */
function guestWith(config: number, base: bigint = STREAM_TABLE, recordsInvalid = true): Guest {
  const g = new Guest({ cr0: 0b1100 })
  g.set64(0x80, base)
  g.set32(0x88, config)
  g.set32(0x2c, recordsInvalid ? 0b10 : 0)
  g.set32(0x20, 0b1101)
  return g
}

const LINEAR = (lg2: number): number => lg2
const TWO_LEVEL = (lg2: number, split: number): number => 0x1_0000 | (split << 6) | lg2

describe('a linear stream table', () => {
  it('has 2^LOG2SIZE entries, and beyond is C_BAD_STREAMID', () => {
    const g = guestWith(LINEAR(3))
    for (let sid = 0; sid < 16; sid++) g.storeSte(sid, BYPASS)
    expect([0, 7, 8, 9, 0xffff, 0x1_0000, 0xffff_ffff].map((sid) => g.read(0x1000n, { sid }))).toEqual([
      ...['0x1000', '0x1000'],
      ...['abort', 'abort', 'abort', 'abort', 'abort'],
    ])
    expect(g.events()).toEqual([8, 9, 0xffff, 0x1_0000, 0xffff_ffff].map(badStream))
  })

  it('of one entry has stream 0', () => {
    const g = guestWith(LINEAR(0))
    g.storeSte(0, BYPASS)
    g.storeSte(1, BYPASS)
    expect([g.read(0x1000n, { sid: 0 }), g.read(0x1000n, { sid: 1 })]).toEqual(['0x1000', 'abort'])
  })

  it('ends at SIDSIZE, whatever LOG2SIZE says, which aligns it all the same', () => {
    const g = guestWith(LINEAR(32))
    g.store(0xffffn * 64n, BYPASS)
    g.store(0x1_0000n * 64n, BYPASS)
    expect([g.read(0x1000n, { sid: 0xffff }), g.read(0x1000n, { sid: 0x1_0000 })]).toEqual(['0x1000', 'abort'])
    expect(g.events()).toEqual([badStream(0x1_0000)])
  })

  it('is aligned to its size: bits LOG2SIZE+5..0 of its address do not count', () => {
    const g = guestWith(LINEAR(8), STREAM_TABLE + 0x3fc0n)
    g.storeSte(0xff, BYPASS)
    expect(g.read(0x1000n, { sid: 0xff })).toBe('0x1000')
    const lowest = guestWith(LINEAR(8), STREAM_TABLE + 0x4000n)
    lowest.store(STREAM_TABLE + 0x4000n, BYPASS)
    expect(lowest.read(0x1000n, { sid: 0 })).toBe('0x1000')
  })

  it('is what FMT 2 and 3 mean too, and SPLIT does not count', () => {
    for (const format of [2, 3]) {
      const g = guestWith((format << 16) | (10 << 6) | 4)
      g.storeSte(15, BYPASS)
      expect(g.read(0x1000n, { sid: 15 }), `FMT ${format}`).toBe('0x1000')
    }
  })

  it('whose memory aborts is F_STE_FETCH, with the address of the entry', () => {
    const g = guestWith(LINEAR(6), RAM)
    expect(g.read(0x1000n, { sid: 0x10, ssid: 5 })).toBe('abort')
    expect(g.events()).toEqual([`1000005803 0 0 ${(RAM + 0x400n).toString(16)}`])
  })

  it('can be fetched once its memory answers: an abort is not cached', () => {
    const g = guestWith(LINEAR(6), RAM)
    g.read(0x1000n)
    g.set32(0x20, 0b1100)
    g.set64(0x80, STREAM_TABLE)
    g.storeSte(0x10, BYPASS)
    g.set32(0x20, 0b1101)
    expect(g.read(0x1000n)).toBe('0x1000')
  })
})

describe('CR2.RECINVSID [SMMU 6.3.12 SMMU_CR2]', () => {
  it('is what makes C_BAD_STREAMID a record; the abort comes in any case', () => {
    const g = guestWith(LINEAR(3), STREAM_TABLE, false)
    expect([g.read(0x1000n, { sid: 8 }), g.events()]).toEqual(['abort', []])
  })
})

/** A two-level table whose level 1 entry `index` is `descriptor`. */
function twoLevel(split: number, index: bigint, descriptor: bigint, lg2 = 16): Guest {
  const g = guestWith(TWO_LEVEL(lg2, split))
  g.store(STREAM_TABLE + index * 8n, descriptor)
  return g
}

const LEAVES = 0x80_0000n

describe('a two-level stream table', () => {
  for (const [name, split, effective] of [
    ['6', 6, 6],
    ['8', 8, 8],
    ['10', 10, 10],
    ['7, which is reserved and means 6', 7, 6],
    ['0, which is reserved and means 6', 0, 6],
    ['31, which is reserved and means 6', 31, 6],
  ] as const) {
    it(`splits the StreamID at SPLIT ${name}`, () => {
      const g = twoLevel(split, 3n, LEAVES | BigInt(effective + 1))
      const first = 3 << effective
      const last = first + (1 << effective) - 1
      g.store(LEAVES, BYPASS)
      g.store(LEAVES + (1n << BigInt(effective)) * 64n - 64n, BYPASS)
      expect([first, last].map((sid) => g.read(0x1000n, { sid }))).toEqual(['0x1000', '0x1000'])
      expect([first - 1, last + 1].map((sid) => g.read(0x1000n, { sid }))).toEqual(['abort', 'abort'])
      expect(g.events()).toEqual([badStream(first - 1), badStream(last + 1)])
    })
  }

  it('has 2^(Span-1) entries behind a descriptor: Span 1 is one', () => {
    for (const span of [1, 2, 5, 8, 9]) {
      const g = twoLevel(8, 0n, LEAVES | BigInt(span))
      for (let i = 0n; i < 512n; i++) g.store(LEAVES + i * 64n, BYPASS)
      const count = 2 ** (span - 1)
      expect(
        [count - 1, count].map((sid) => g.read(0x1000n, { sid })),
        `Span ${span}`,
      ).toEqual(['0x1000', 'abort'])
      expect(g.events()).toEqual([badStream(count)])
    }
  })

  it('has nothing behind Span 0, nor behind a reserved one, nor behind one of more than SPLIT+1', () => {
    for (const [split, span] of [
      [8, 0],
      [8, 10],
      [8, 11],
      [10, 12],
      [10, 31],
      [6, 8],
    ] as const) {
      const g = twoLevel(split, 0n, LEAVES | BigInt(span))
      g.store(LEAVES, BYPASS)
      expect([g.read(0x1000n, { sid: 0 }), g.events()], `SPLIT ${split} Span ${span}`).toEqual([
        'abort',
        [badStream(0)],
      ])
    }
  })

  it('takes Span 11 with SPLIT 10: 1024 entries', () => {
    const g = twoLevel(10, 0n, LEAVES | 11n)
    g.store(LEAVES + 1023n * 64n, BYPASS)
    expect(g.read(0x1000n, { sid: 1023 })).toBe('0x1000')
  })

  it('aligns its second level to its size: bits Span+4..0 of L2Ptr do not count', () => {
    const g = twoLevel(8, 0n, (LEAVES + 0x1fc0n) | 8n)
    g.store(LEAVES + 127n * 64n, BYPASS)
    expect(g.read(0x1000n, { sid: 127 })).toBe('0x1000')
    const exact = twoLevel(8, 0n, (LEAVES + 0x2000n) | 8n)
    exact.store(LEAVES + 0x2000n, BYPASS)
    expect(exact.read(0x1000n, { sid: 0 })).toBe('0x1000')
  })

  it('aligns its first level to its size: bits LOG2SIZE-SPLIT+2..0 of its address do not count', () => {
    const g = guestWith(TWO_LEVEL(16, 8), STREAM_TABLE + 0x7c0n)
    g.store(STREAM_TABLE, LEAVES | 9n)
    g.store(LEAVES, BYPASS)
    expect(g.read(0x1000n, { sid: 0 })).toBe('0x1000')
    const exact = guestWith(TWO_LEVEL(16, 8), STREAM_TABLE + 0x800n)
    exact.store(STREAM_TABLE + 0x800n, LEAVES | 9n)
    exact.store(LEAVES, BYPASS)
    expect(exact.read(0x1000n, { sid: 0 })).toBe('0x1000')
  })

  it('never aligns it to less than 64 bytes', () => {
    const g = guestWith(TWO_LEVEL(8, 8), STREAM_TABLE + 0x40n)
    g.store(STREAM_TABLE + 0x40n, LEAVES | 9n)
    g.store(LEAVES, BYPASS)
    expect(g.read(0x1000n, { sid: 0 })).toBe('0x1000')
  })

  it('ends at 2^LOG2SIZE, too', () => {
    const g = twoLevel(8, 0n, LEAVES | 9n, 6)
    g.store(LEAVES + 63n * 64n, BYPASS)
    g.store(LEAVES + 64n * 64n, BYPASS)
    expect([63, 64].map((sid) => g.read(0x1000n, { sid }))).toEqual(['0x1000', 'abort'])
    expect(g.events()).toEqual([badStream(64)])
  })

  it('whose first or second level aborts is F_STE_FETCH', () => {
    const first = guestWith(TWO_LEVEL(16, 8), RAM)
    first.read(0x1000n, { sid: 0x100 })
    expect(first.events()).toEqual([`${hex((0x100n << 32n) | 3n).slice(2)} 0 0 ${(RAM + 8n).toString(16)}`])
    const second = twoLevel(8, 1n, RAM | 9n)
    second.read(0x1000n, { sid: 0x101 })
    expect(second.events()).toEqual([`${hex((0x101n << 32n) | 3n).slice(2)} 0 0 ${(RAM + 0x40n).toString(16)}`])
  })

  it('beyond the output size is F_STE_FETCH', () => {
    const g = twoLevel(8, 0n, (1n << 50n) | 9n)
    expect(g.read(0x1000n, { sid: 0 })).toBe('abort')
    expect(g.kinds()).toEqual(['0x3'])
  })

  it('goes back to linear when FMT does', () => {
    const g = twoLevel(8, 0n, LEAVES | 9n)
    g.store(LEAVES, BYPASS)
    g.read(0x1000n, { sid: 0 })
    g.set32(0x20, 0b1100)
    g.set32(0x88, LINEAR(6))
    g.storeSte(0, 1n)
    g.forget()
    g.set32(0x20, 0b1101)
    expect([g.read(0x1000n, { sid: 0 }), g.get32(0x88)]).toEqual(['abort', 6])
    expect(g.events()).toEqual([])
  })

  it('keeps a first level descriptor until a CMD_CFGI_STE whose Leaf is 0', () => {
    const g = twoLevel(8, 0n, LEAVES | 9n)
    g.store(LEAVES + 0x40n, BYPASS)
    expect(g.read(0x1000n, { sid: 1 })).toBe('0x1000')
    g.store(STREAM_TABLE, 0n)
    g.command((1n << 32n) | 3n, 0n, 0x46n, 0n)
    expect([g.read(0x1000n, { sid: 1 }), g.events()]).toEqual(['abort', [badStream(1)]])
  })
})

describe('SMMU_IDR0.ST_LEVEL', () => {
  it('of 0 makes every stream table linear', () => {
    const g = new Guest({ cr0: 0b1100, deny: { IDR0: 3 << 27, IDR1: 0x3f }, offer: { IDR1: 6 } })
    g.set32(0x88, TWO_LEVEL(6, 6))
    g.storeSte(5, BYPASS)
    g.set32(0x20, 0b1101)
    expect(g.read(0x1000n, { sid: 5 })).toBe('0x1000')
  })
})
