/** Context descriptors: what is ILLEGAL, what only looks so, and what their A and R bits do. [SMMU 5.4 CD] */

import { describe, expect, it } from 'vitest'
import { type GuestOptions, hex, RAM, VA } from './guest.js'
import { BLOCK, GUEST, World } from './tables.js'

const S1 = 0b101
const NESTED = 0b111
const BAD_CD = '100000000a 0 0 0'

type Change = (w: World) => unknown

function tried(change: Change, options: GuestOptions = {}, va = VA): [string, string[]] {
  const w = new World(S1, options)
  change(w)
  w.apply()
  return [w.read(va), w.events()]
}

const put = (w: World, word: number, value: bigint, high: number, low = high): void => {
  const mask = ((1n << BigInt(high - low + 1)) - 1n) << BigInt(low)
  w.cd[word] = (w.cd[word] & ~mask) | (value << BigInt(low))
}

/** Has TTB1 take part: 4 KiB, 48 bits, its table at `root`. */
function second(w: World, root = w.one.root): void {
  put(w, 0, 0n, 30)
  put(w, 0, 16n, 21, 16)
  put(w, 0, 2n, 23, 22)
  w.cd[2] = root
}

type Rule = readonly [name: string, change: Change, options?: GuestOptions]

const TERMINATE: GuestOptions = { deny: { IDR0: 3 << 24 }, offer: { IDR0: 1 << 24 } }
const NO_HTTU: GuestOptions = { deny: { IDR0: 3 << 6 } }

const ILLEGAL: readonly Rule[] = [
  ['V is 0', (w) => put(w, 0, 0n, 31)],
  ['S is 1 where nothing can stall', (w) => put(w, 0, 1n, 44), TERMINATE],
  ['A is 0 where a fault can only abort', (w) => put(w, 0, 0n, 46), { offer: { IDR0: 1 << 26 } }],
  ['ENDI is 1 without big-endian tables', (w) => put(w, 0, 1n, 15)],
  ['AA64 is 0 without AArch32 tables', (w) => put(w, 0, 0n, 41)],
  ['HA is 1 without hardware flags', (w) => put(w, 0, 1n, 43), NO_HTTU],
  ['HD is 1 without hardware flags', (w) => put(w, 0, 1n, 42), NO_HTTU],
  ['ASID has 9 bits where ASIDs have 8', (w) => put(w, 0, 0x107n, 63, 48), { deny: { IDR0: 1 << 12 } }],
  ['T0SZ is 15', (w) => put(w, 0, 15n, 5, 0)],
  ['T0SZ is 40', (w) => put(w, 0, 40n, 5, 0), { deny: { IDR3: 1 << 9 } }],
  ['TG0 is 3', (w) => put(w, 0, 3n, 7, 6)],
  ['TG0 is 4 KiB and the unit has none', () => undefined, { deny: { IDR5: 1 << 4 } }],
  ['TG0 is 64 KiB and the unit has none', (w) => put(w, 0, 1n, 7, 6), { deny: { IDR5: 1 << 6 } }],
  ['TG0 is 16 KiB and the unit has none', (w) => put(w, 0, 2n, 7, 6), { deny: { IDR5: 1 << 5 } }],
  ['TTB0 is beyond IPS', (w) => small(w, 1, 1n << 32n)],
  ['TTB0 is beyond 48 bits', (w) => put(w, 1, 1n, 48)],
  ['T1SZ is 0 with EPD1 0', (w) => put(w, 0, 0n, 30)],
  ['T1SZ is 15', (w) => withSecond(w, () => put(w, 0, 15n, 21, 16))],
  ['TG1 is 0', (w) => withSecond(w, () => put(w, 0, 0n, 23, 22))],
  ['TTB1 is beyond IPS', (w) => withSecond(w, () => small(w, 2, 1n << 32n))],
  ['TTB1 is beyond 48 bits', (w) => withSecond(w, () => put(w, 2, 1n, 50))],
  [
    'TG1 is 64 KiB and the unit has none',
    (w) => withSecond(w, () => put(w, 0, 3n, 23, 22)),
    { deny: { IDR5: 1 << 6 } },
  ],
]

const LEGAL: readonly Rule[] = [
  ['everything about TTB1 with EPD1 1', (w) => put(w, 0, 0xffn, 29, 16)],
  ['a TTB1 beyond everything with EPD1 1', (w) => put(w, 2, 0xfff_ffff_ffffn, 55, 12)],
  ['cacheability and shareability of walks', (w) => put(w, 0, 0x2bn, 13, 8)],
  [
    'AFFD, UWXN',
    (w) => {
      put(w, 0, 1n, 35)
      put(w, 0, 1n, 37)
    },
  ],
  ['IPS 6 and 7, which are cut to the output size', (w) => put(w, 0, 7n, 34, 32)],
  ['ASET 0', (w) => put(w, 0, 0n, 47)],
  ['ASID of 16 bits', (w) => put(w, 0, 0xffffn, 63, 48)],
  [
    'NSCFG0, NSCFG1, HAD1',
    (w) => {
      put(w, 1, 1n, 0)
      put(w, 2, 3n, 1, 0)
    },
  ],
  [
    'PnCH and HWU0',
    (w) => {
      put(w, 1, 1n, 58)
      put(w, 1, 0xfn, 63, 60)
    },
  ],
  [
    'AIE, PIE, HWU1',
    (w) => {
      put(w, 2, 1n, 3)
      put(w, 2, 0x1fn, 63, 59)
    },
  ],
  ['words 4 to 7, and MAIR', (w) => w.cd.fill(0xffff_ffff_ffff_ffffn, 3)],
  ['R 0', (w) => put(w, 0, 0n, 45)],
  ['A 0 where a fault may also be RAZ/WI', (w) => put(w, 0, 0n, 46), { deny: { IDR0: 1 << 26 } }],
]

function withSecond(w: World, change: () => void): void {
  second(w)
  change()
}

/** 32 output bits, a table at `root`. */
function small(w: World, word: 1 | 2, root: bigint): void {
  put(w, 0, 0n, 34, 32)
  w.cd[word] = root
}

describe('a CD is ILLEGAL', () => {
  for (const [name, change, options] of ILLEGAL) {
    it(`when ${name}`, () => expect(tried(change, options)).toEqual(['abort', [BAD_CD]]))
  }

  it('for an address of TTB0 also when only TTB1 is wrong', () => {
    expect(tried((w) => put(w, 0, 0n, 30), {}, 0xffff_0000_0000_0000n)).toEqual(['abort', [BAD_CD]])
  })

  it('and says so whatever its own R and A are', () => {
    expect(
      tried((w) => {
        put(w, 0, 0n, 31)
        put(w, 0, 0n, 46, 45)
      }),
    ).toEqual(['abort', [BAD_CD]])
  })
})

describe('a CD is not ILLEGAL', () => {
  for (const [name, change, options] of LEGAL) {
    it(`for ${name}`, () => {
      const plain = new World(S1, options).read(VA)
      expect(plain).toMatch(/^0x/)
      expect(tried(change, options)).toEqual([plain, []])
    })
  }

  it('for ENDI 1 with both halves off: nothing is walked', () => {
    const [ended, events] = tried((w) => {
      put(w, 0, 1n, 15)
      put(w, 0, 1n, 14)
    })
    expect([ended, events]).toEqual(['abort', ['1000000010 20800000000 123456789abc 0']])
  })

  it('for a T0SZ, TG0 and TTB0 that say nothing because EPD0 is 1', () => {
    const [ended, events] = tried((w) => {
      put(w, 0, 1n, 14)
      put(w, 0, 0xffn, 7, 0)
      w.cd[1] = 0x00ff_ffff_ffff_fff0n
    })
    expect([ended, events]).toEqual(['abort', ['1000000010 20800000000 123456789abc 0']])
  })
})

describe('{TGx, TxSZ} [SMMU 5.4 CD.T0SZ]', () => {
  /** Codes of TG0 and TG1, which differ, by log2 of the granule. */
  const TG: readonly (readonly [granule: string, tg0: bigint, tg1: bigint])[] = [
    ['4 KiB', 0n, 2n],
    ['16 KiB', 2n, 1n],
    ['64 KiB', 1n, 3n],
  ]
  const PLAIN: GuestOptions = { deny: { IDR3: 1 << 9, IDR5: 0xc80 } }
  for (const [granule, tg0, tg1] of TG) {
    it(`takes 16 to 39 for ${granule}, in both halves`, () => {
      const w = new World(S1, PLAIN)
      const legal: [number[], number[]] = [[], []]
      for (const half of [0, 1]) {
        for (let size = 0; size < 64; size++) {
          w.cd[0] = 0x0007_6205_8000_0000n | (half === 0 ? (1n << 30n) | (tg0 << 6n) : (1n << 14n) | (tg1 << 22n))
          w.cd[0] |= BigInt(size) << (half === 0 ? 0n : 16n)
          w.cd[1] = half === 0 ? 0x800_0000n : 0x00ff_ffff_ffff_fff0n
          w.cd[2] = half === 1 ? 0x800_0000n : 0x00ff_ffff_ffff_fff0n
          w.apply()
          w.read(half === 0 ? 0n : 0xffff_ffff_ffff_f000n)
          if (w.kinds().join() === '0x10') legal[half].push(size)
        }
      }
      const expected = Array.from({ length: 24 }, (_, i) => 16 + i)
      expect(legal).toEqual([expected, expected])
    })
  }
})

describe('EPD0 and EPD1', () => {
  const LOW = 0x1000n
  const HIGH = 0xffff_ffff_ffff_e000n
  for (const [epd0, epd1] of [
    [0n, 0n],
    [0n, 1n],
    [1n, 0n],
    [1n, 1n],
  ]) {
    it(`${epd0} and ${epd1} leave the addresses of the halves that are on`, () => {
      const w = new World(S1)
      second(w)
      w.one.set(LOW, 3, 0x5000_0000n | 0xf47n)
      w.one.set(HIGH, 3, 0x6000_0000n | 0xf47n)
      put(w, 0, epd0, 14)
      put(w, 0, epd1, 30)
      w.apply()
      expect([w.read(LOW), w.read(HIGH)]).toEqual([
        epd0 === 0n ? '0x50000000' : 'abort',
        epd1 === 0n ? '0x60000000' : 'abort',
      ])
      expect(w.events()).toEqual([
        ...(epd0 === 0n ? [] : ['1000000010 20800000000 1000 0']),
        ...(epd1 === 0n ? [] : ['1000000010 20800000000 ffffffffffffe000 0']),
      ])
    })
  }

  it('choose by bit 55 of the address', () => {
    const w = new World(S1)
    const other = w.alloc()
    second(w, other)
    put(w, 0, 1n, 39)
    w.apply()
    expect(w.read(VA)).toBe(hex(w.page + 0xabcn))
    expect([w.read(VA | (0xffffn << 48n)), w.kinds()]).toEqual(['abort', ['0x10']])
  })
})

describe('A and R [SMMU 5.5 Fault configuration]', () => {
  const NOWHERE = 0x7777_0000n
  const fault = (r: bigint, a: bigint, va = NOWHERE): [string, string[]] =>
    tried(
      (w) => {
        put(w, 0, r, 45)
        put(w, 0, a, 46)
      },
      { deny: { IDR0: 1 << 26 } },
      va,
    )

  it('abort and record with both', () =>
    expect(fault(1n, 1n)).toEqual(['abort', ['1000000010 20800000000 77770000 0']]))
  it('abort in silence with A alone', () => expect(fault(0n, 1n)).toEqual(['abort', []]))
  it('read as zero and record with R alone', () =>
    expect(fault(1n, 0n)).toEqual(['raz/wi', ['1000000010 20800000000 77770000 0']]))
  it('read as zero in silence with neither', () => expect(fault(0n, 0n)).toEqual(['raz/wi', []]))

  it('say nothing about a stage 2 fault, which S2R silences and which always aborts', () => {
    const w = new World(NESTED)
    put(w, 0, 0n, 46, 45)
    w.one.set(0x1000n, 3, 0x7_7777_0000n | 0xf47n)
    w.apply()
    expect([w.read(0x1000n), w.events()]).toEqual(['abort', ['1000000010 28800000000 1000 777770000']])
    w.ste[2] &= ~(1n << 58n)
    w.apply()
    expect([w.read(0x1000n), w.events()]).toEqual(['abort', []])
  })

  it('say nothing about an external abort of a walk', () => {
    const w = new World(S1)
    put(w, 0, 0n, 46, 45)
    w.cd[1] = RAM
    w.apply()
    expect([w.read(VA), w.events()]).toEqual([
      'abort',
      [`100000000b 10800000000 123456789abc ${(RAM + 0x120n).toString(16)}`],
    ])
  })
})

describe('IPS', () => {
  it('is what an output address is measured by, at a leaf and at a table', () => {
    for (const [level, descriptor] of [
      [3, 0x1_0000_0000n | 0xf47n],
      [2, 0x1_0000_0000n | BLOCK],
      [1, 0x1_0000_0000n | BLOCK],
      [2, 0x1_0000_0000n | 3n],
      [1, 0x1_0000_0000n | 3n],
      [0, 0x1_0000_0000n | 3n],
    ] as const) {
      const w = new World(S1)
      put(w, 0, 0n, 34, 32)
      w.one.set(0x80_4020_1000n, level, descriptor)
      w.apply()
      expect([w.read(0x80_4020_1000n), w.events()], `level ${level}`).toEqual([
        'abort',
        ['1000000011 20800000000 8040201000 0'],
      ])
    }
  })

  it('does not measure where CD and first table are under stage 2, which are IPAs', () => {
    const w = new World(NESTED)
    expect(w.context + GUEST).toBeGreaterThan(0xffff_ffffn)
    expect(w.read(VA)).toMatch(/^0x/)
  })
})
