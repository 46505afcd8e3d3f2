/** Walks of both stages: granules, levels, ranges. [Arm D8.2 Translation process] */

import { describe, expect, it } from 'vitest'
import { hex, RAM, VA } from './guest.js'
import { BLOCK, GUEST, PAGE, S2_BLOCK, S2_PAGE, stage1, stage2, World } from './tables.js'

const S1 = 0b101
const S2 = 0b110

/** Levels that may hold a block besides the pages of level 3. [Arm D8.3 Translation table descriptor formats] */
const BLOCK_LEVELS: Readonly<Record<number, readonly number[]>> = { 12: [1, 2], 14: [2], 16: [2] }
const SIZES: Readonly<Record<number, Readonly<Record<number, number>>>> = {
  12: { 1: 30, 2: 21, 3: 12 },
  14: { 2: 25, 3: 14 },
  16: { 2: 29, 3: 16 },
}
/** Start level by input bits, as the manual's table has it. */
const STARTS: Readonly<Record<number, readonly (readonly [start: number, least: number, most: number])[]>> = {
  12: [
    [0, 40, 48],
    [1, 31, 39],
    [2, 25, 30],
  ],
  14: [
    [0, 48, 48],
    [1, 37, 47],
    [2, 26, 36],
    [3, 25, 25],
  ],
  16: [
    [1, 43, 48],
    [2, 30, 42],
    [3, 25, 29],
  ],
}

const within = (bits: number): bigint => BigInt.asUintN(bits, 0x5a5a_5a5a_5a5an)

describe('the indices of VA 0x123456789abc', () => {
  /** Level and index of each table, and the offset in the page. */
  const INDICES: readonly (readonly [granule: number, indices: readonly bigint[]])[] = [
    [12, [0x24n, 0xd1n, 0xb3n, 0x189n]],
    [14, [0n, 0x123n, 0x22bn, 0x1e2n]],
    [16, [0x4n, 0x11a2n, 0x1678n]],
  ]
  for (const [granule, indices] of INDICES) {
    it(`with ${2 ** granule / 1024} KiB are those that the manual has`, () => {
      const w = new World(S1)
      stage1(w, granule, 48, 0)
      let table = w.alloc(0x1_0000n)
      w.cd[1] = table
      for (const index of indices.slice(0, -1)) {
        const next = w.alloc(0x1_0000n)
        w.store(table + index * 8n, next | 3n)
        table = next
      }
      w.store(table + (indices.at(-1) ?? 0n) * 8n, 0x9000_0000n | PAGE)
      w.apply()
      expect(w.read(VA)).toBe(hex(0x9000_0000n | (VA & ((1n << BigInt(granule)) - 1n))))
    })
  }
})

describe('a walk of stage 1', () => {
  for (const granule of [12, 14, 16]) {
    for (const half of [0, 1] as const) {
      it(`of ${2 ** granule / 1024} KiB through TTB${half} starts where its input bits say and ends at each leaf size`, () => {
        const w = new World(S1)
        for (const [start, least, most] of STARTS[granule]) {
          for (let bits = least; bits <= most; bits++) {
            for (const level of [...BLOCK_LEVELS[granule].filter((at) => at >= start), 3]) {
              const tables = stage1(w, granule, bits, half, start)
              const size = SIZES[granule][level]
              const sign = half === 0 ? 0n : (1n << 64n) - (1n << BigInt(bits))
              const va = within(bits) | sign
              tables.set(va, level, 0x5c00_0000_0000n | (level === 3 ? PAGE : BLOCK))
              w.apply()
              const what = `${bits} bits, leaf of level ${level}`
              expect(w.read(va), what).toBe(hex(0x5c00_0000_0000n | BigInt.asUintN(size, va)))
              expect(w.outcome.leafLg2, what).toBe(size)
              expect(w.read(va ^ (1n << BigInt(bits - 1))), what).toBe('abort')
            }
          }
        }
      })
    }
  }

  it('ignores the bits of a table address that its size makes zero', () => {
    const w = new World(S1)
    const tables = stage1(w, 12, 39, 0)
    tables.set(0x1000n, 3, 0x5000_0000n | PAGE)
    w.cd[1] = tables.root | 0xff0n
    w.apply()
    expect(w.read(0x1000n)).toBe('0x50000000')
    // 3 bits of index: the table is 64 bytes long, and aligned to that.
    const small = stage1(w, 12, 33, 0)
    w.store(small.root + 0x40n, w.load(tables.root))
    w.cd[1] = small.root + 0x40n
    w.apply()
    expect(w.read(0x1000n)).toBe('0x50000000')
  })

  it('ignores bits of an entry that the manual keeps for software, for later, or for nT', () => {
    const w = new World(S1)
    // Software 58:55, PBHA 62:59, ignored 63; nT and what is below a block's address.
    w.one.set(0x1000n, 3, 0xff80_0000_5000_0000n | PAGE)
    w.one.set(0x4020_0000n, 2, 0xff80_0000_6000_0000n | 0x1f_f000n | BLOCK)
    expect([w.read(0x1000n), w.read(0x4020_0123n)]).toEqual(['0x50000000', '0x60000123'])
    const table = w.one.set(0x8000_0000n, 2, 3n)
    const leaf = w.alloc()
    w.store(leaf, 0x5000_0000n | PAGE)
    w.store(table, 0x0780_0000_0000_0ffcn | leaf | 3n)
    expect([w.read(0x8000_0000n), w.events()]).toEqual(['0x50000000', []])
  })

  const wrong: readonly (readonly [granule: number, level: number])[] = [
    [12, 0],
    [14, 1],
    [16, 1],
    [12, 3],
    [14, 3],
    [16, 3],
  ]
  for (const [granule, level] of wrong) {
    it(`of ${2 ** granule / 1024} KiB takes no block at level ${level}: F_TRANSLATION`, () => {
      const w = new World(S1)
      stage1(w, granule, 48, 0).set(VA, level, 0x5000_0000n | BLOCK)
      w.apply()
      expect([w.read(VA), w.events()]).toEqual(['abort', ['1000000010 20800000000 123456789abc 0']])
    })
  }

  it('meets an invalid entry at every level: F_TRANSLATION of class IN', () => {
    for (const [level, junk] of [
      [0, 2n],
      [1, 0n],
      [2, 0xffff_ffff_ffff_fffen],
      [3, 0x5000_0f46n],
    ] as const) {
      const w = new World(S1)
      w.one.set(VA, level, junk)
      expect([w.write(VA, { priv: true }), w.events()]).toEqual(['abort', ['1000000010 20200000000 123456789abc 0']])
    }
  })

  it('meets no memory at every level: F_WALK_EABT of class TT with the address of the entry', () => {
    for (const [level, entry] of [
      [0, 0xd1n],
      [1, 0xb3n],
      [2, 0x189n],
    ] as const) {
      const w = new World(S1)
      w.one.set(VA, level, RAM | 3n)
      expect([w.fetch(VA), w.events()]).toEqual([
        'abort',
        [`100000000b 10c00000000 123456789abc ${(RAM + entry * 8n).toString(16)}`],
      ])
    }
  })
})

describe('the range of an address [Arm D8.2.2]', () => {
  const LAST = (1n << 40n) - 1n

  it('is its lower bits, below signs that are all equal', () => {
    for (const half of [0, 1] as const) {
      const w = new World(S1)
      const tables = stage1(w, 12, 40, half)
      const sign = half === 0 ? 0n : (1n << 64n) - (1n << 40n)
      tables.set(LAST | sign, 3, 0x5000_0000n | PAGE)
      w.apply()
      expect(w.read(LAST | sign)).toBe('0x50000fff')
      for (const bit of [40n, 47n, 54n, 56n, 63n]) {
        expect(w.read((LAST | sign) ^ (1n << bit)), `bit ${bit}`).toBe('abort')
        expect(w.events()).toEqual([`1000000010 20800000000 ${((LAST | sign) ^ (1n << bit)).toString(16)} 0`])
      }
    }
  })

  it('leaves out the top byte with TBI, each half for itself', () => {
    for (const half of [0, 1] as const) {
      const w = new World(S1)
      const tables = stage1(w, 12, 40, half)
      const sign = half === 0 ? 0n : (1n << 64n) - (1n << 40n)
      tables.set(LAST | sign, 3, 0x5000_0000n | PAGE)
      w.cd[0] |= 1n << BigInt(38 + half)
      w.apply()
      for (const bit of [56n, 60n, 63n]) expect(w.read((LAST | sign) ^ (1n << bit))).toBe('0x50000fff')
      expect(w.read((LAST | sign) ^ (0xa5n << 56n))).toBe('0x50000fff')
      for (const bit of [40n, 54n]) expect(w.read((LAST | sign) ^ (1n << bit))).toBe('abort')
      w.events()
      w.cd[0] ^= 3n << 38n
      w.apply()
      expect(w.read((LAST | sign) ^ (1n << 56n))).toBe('abort')
    }
  })

  it('is told in events as it came, with its tag', () => {
    const w = new World(S1)
    w.cd[0] |= 1n << 38n
    w.apply()
    w.read(0xa500_0000_0000_1234n)
    expect(w.events()).toEqual(['1000000010 20800000000 a500000000001234 0'])
  })

  it('has no top byte to leave out where stage 1 does not translate', () => {
    const w = new World(0b100)
    expect([w.read(VA), w.read((1n << 56n) | VA)]).toEqual([hex(VA), 'abort'])
    expect(w.events()).toEqual([`1000000011 20800000000 ${((1n << 56n) | VA).toString(16)} 0`])
    const two = new World(S2)
    expect([two.read((1n << 56n) | GUEST), two.kinds()]).toEqual(['abort', ['0x11']])
  })

  it('of stage 2 is 2^(64-S2T0SZ), within the input size', () => {
    const w = new World(S2)
    const tables = stage2(w, 12, 40, 1)
    tables.set((1n << 40n) - 0x1000n, 3, 0x5000_0000n | S2_PAGE)
    w.apply()
    expect([w.read((1n << 40n) - 1n), w.read(1n << 40n), w.read(1n << 48n)]).toEqual(['0x50000fff', 'abort', 'abort'])
    expect(w.events()).toEqual([
      '1000000010 28800000000 10000000000 10000000000',
      '1000000011 20800000000 1000000000000 0',
    ])
  })
})

describe('a walk of stage 2', () => {
  /** Start level, and the input bits that 1 to 16 tables of it cover. */
  const RANGES: Readonly<Record<number, readonly (readonly [start: number, least: number, most: number])[]>> = {
    12: [
      [0, 40, 48],
      [1, 31, 43],
      [2, 25, 34],
    ],
    14: [
      [1, 37, 48],
      [2, 26, 40],
      [3, 25, 29],
    ],
    16: [
      [1, 43, 48],
      [2, 30, 46],
      [3, 25, 33],
    ],
  }
  for (const granule of [12, 14, 16]) {
    it(`of ${2 ** granule / 1024} KiB starts at the level that S2SL0 names, in up to 16 tables side by side`, () => {
      const w = new World(S2)
      for (const [start, least, most] of RANGES[granule]) {
        for (let bits = least; bits <= most; bits++) {
          for (const level of [...BLOCK_LEVELS[granule].filter((at) => at >= start), 3]) {
            const tables = stage2(w, granule, bits, start)
            const size = SIZES[granule][level]
            const last = (1n << BigInt(bits)) - 1n
            const leaf = level === 3 ? S2_PAGE : S2_BLOCK
            tables.set(last, level, 0x5c00_0000_0000n | leaf)
            w.apply()
            const what = `${bits} bits from level ${start}, leaf of level ${level}`
            expect(w.read(last), what).toBe(hex(0x5c00_0000_0000n | BigInt.asUintN(size, last)))
            expect(w.outcome.leafLg2, what).toBe(size)
            expect(w.read(last - (1n << BigInt(size))), what).toBe('abort')
          }
        }
      }
    })
  }

  it('ignores the bits of S2TTB that the size of all its tables makes zero', () => {
    const w = new World(S2)
    const tables = stage2(w, 12, 43, 1)
    tables.set(0x1000n, 3, 0x5000_0000n | S2_PAGE)
    w.ste[3] = tables.root | 0xfff0n
    w.apply()
    expect(w.read(0x1000n)).toBe('0x50000000')
  })

  it('meets what is not there: F_TRANSLATION, F_WALK_EABT', () => {
    for (const [level, junk, event] of [
      [0, 2n, '1000000010 28800000000 123456789abc 123456789000'],
      [3, 0x5000_07fdn, '1000000010 28800000000 123456789abc 123456789000'],
      [1, RAM | 3n, `100000000b 28800000000 123456789abc ${(RAM + 0xb3n * 8n).toString(16)}`],
    ] as const) {
      const w = new World(S2)
      w.two.set(VA, level, junk)
      expect([w.read(VA), w.events()]).toEqual(['abort', [event]])
    }
  })

  it('measures every address by S2PS, at a table and at a leaf: F_ADDR_SIZE', () => {
    for (const [level, descriptor] of [
      [3, 0x1_0000_0000n | S2_PAGE],
      [2, 0x1_0000_0000n | S2_BLOCK],
      [2, 0x1_0000_0000n | 3n],
      [0, 0x1_0000_0000n | 3n],
    ] as const) {
      const w = new World(S2)
      w.ste[2] &= ~(7n << 48n)
      w.two.set(VA, level, descriptor)
      w.apply()
      expect([w.read(VA), w.events()]).toEqual(['abort', ['1000000011 28800000000 123456789abc 123456789000']])
    }
  })
})
