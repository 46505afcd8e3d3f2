/** Addresses of 52 bits: with 64 KiB granules, and with DS. [Arm D8.3 Translation table descriptor formats] */

import { describe, expect, it } from 'vitest'
import { SparseBacking } from '../../../hw-model/memory/index.js'
import { type GuestOptions, hex } from './guest.js'
import { type Shape, stage1Shape, Tables, TG0, TG1, World } from './tables.js'

const S1 = 0b101
const S2 = 0b110

/** OAS of 52 bits, DS, VAX of 52 bits. */
const WIDE: GuestOptions = { deny: { IDR5: 7 }, offer: { IDR5: 6 | (1 << 7) | (1 << 10) } }

const DS = 1n << 58n
/** An output address with a different digit in each place, of 52 bits. */
const OUT = 0xd_6b00_0000_0000n

/** A page or block with an address of 52 bits: OA[51:48] are bits 15:12 with 64 KiB, else OA[51:50] are bits 9:8. */
function leaf(granule: number, address: bigint, level: number, bits: bigint): bigint {
  const type = level === 3 ? 3n : 1n
  const low = address & 0xffff_ffff_f000n
  if (granule === 16) return low | ((address >> 48n) << 12n) | bits | type
  return low | (address & (3n << 48n)) | (((address >> 50n) & 3n) << 8n) | (bits & ~0x300n) | type
}
/** AF, nG, AP for all, AttrIndx 1; SH where the granule has it. */
const S1_BITS = 0xf44n
const S2_BITS = 0x7fcn

const SIZES: Readonly<Record<number, Readonly<Record<number, number>>>> = {
  12: { 0: 39, 1: 30, 2: 21, 3: 12 },
  14: { 1: 36, 2: 25, 3: 14 },
  16: { 1: 42, 2: 29, 3: 16 },
}

/** Gives one half of the CD tables for so many bits; DS with 4 and 16 KiB. */
function stage1(w: World, granule: number, bits: number, half: 0 | 1): Tables {
  const tables = new Tables(w, stage1Shape(granule, bits))
  const size = BigInt(64 - bits)
  const own =
    half === 0 ? size | (TG0[granule] << 6n) | (1n << 30n) : (size << 16n) | (TG1[granule] << 22n) | (1n << 14n)
  w.cd[0] = 0x0007_e206_8000_0000n | own
  w.cd[1] = half === 0 ? tables.root : 0n
  w.cd[2] = (half === 1 ? tables.root : 0n) | (granule === 16 ? 0n : DS)
  return tables
}

describe('stage 1 with addresses of 52 bits', () => {
  for (const granule of [12, 14, 16]) {
    for (const half of [0, 1] as const) {
      it(`of ${2 ** granule / 1024} KiB through TTB${half} has every start level and leaf size`, () => {
        const w = new World(S1, WIDE)
        for (const bits of [48, 49, 50, 51, 52]) {
          const { start } = stage1Shape(granule, bits)
          for (const level of [0, 1, 2, 3].filter((at) => at >= start && SIZES[granule][at] !== undefined)) {
            const tables = stage1(w, granule, bits, half)
            const size = BigInt(SIZES[granule][level])
            const sign = half === 0 ? 0n : (1n << 64n) - (1n << BigInt(bits))
            const va = BigInt.asUintN(bits, 0x9_5a5a_5a5a_5a5an) | sign
            const out = (OUT >> size) << size
            tables.set(va, level, leaf(granule, out, level, S1_BITS))
            w.apply()
            const what = `${bits} bits, leaf of level ${level}`
            expect(w.read(va), what).toBe(hex(out | (va & ((1n << size) - 1n))))
            expect(w.outcome.leafLg2, what).toBe(Number(size))
            expect(w.read(va ^ (1n << BigInt(bits))), what).toBe('abort')
          }
        }
      })
    }
  }

  it('ignores the top byte with TBI0, above 52 bits that are tested', () => {
    const w = new World(S1, WIDE)
    stage1(w, 12, 52, 0).set(0xf_0000_0000_1000n, 3, leaf(12, OUT, 3, S1_BITS))
    w.cd[0] |= 1n << 38n
    w.apply()
    expect(w.read(0xa50f_0000_0000_1000n)).toBe(hex(OUT))
    for (const bit of [52n, 54n]) expect(w.read(0xf_0000_0000_1000n | (1n << bit))).toBe('abort')
  })

  it('follows tables that are above 48 bits', () => {
    const high = 0xa_0000_0000_0000n
    for (const granule of [12, 14, 16]) {
      const w = new World(S1, WIDE)
      w.memory.place(Number(high), new SparseBacking(0x100_0000))
      const { start } = stage1Shape(granule, 52)
      stage1(w, granule, 52, 0)
      let table = high + 0x1_0000n
      w.cd[1] = table
      for (let level = start; level < 3; level++) {
        const next = table + 0x1_0000n
        w.store(table, leaf(granule, next, 3, 0n))
        table = next
      }
      w.store(table, leaf(granule, OUT & ~0xffffn, 3, S1_BITS))
      w.apply()
      expect(w.read(0x123n), `${granule}`).toBe(hex((OUT & ~0xffffn) | 0x123n))
    }
  })

  it('measures what it puts out by IPS', () => {
    for (const granule of [12, 14, 16]) {
      const w = new World(S1, WIDE)
      stage1(w, granule, 48, 0).set(0x1000n, 3, leaf(granule, 1n << 48n, 3, S1_BITS))
      w.cd[0] = (w.cd[0] & ~(7n << 32n)) | (5n << 32n)
      w.apply()
      expect([w.read(0x1000n), w.kinds()], `${granule}`).toEqual(['abort', ['0x11']])
    }
  })

  it('has shareability, not an address, in bits 9:8 without DS, and nothing in bits 49:48', () => {
    const w = new World(S1, WIDE)
    stage1(w, 12, 48, 0).set(0x1000n, 3, 0x3_0000_5000_0000n | 0xf47n)
    w.cd[2] &= ~DS
    w.apply()
    expect(w.read(0x1000n)).toBe('0x50000000')
  })

  it('has blocks of 512 GiB and 64 GiB with DS alone, and of 4 TiB with 52 bits alone', () => {
    for (const granule of [12, 14]) {
      const w = new World(S1, WIDE)
      const tables = stage1(w, granule, 48, 0)
      tables.set(0x1000n, granule === 12 ? 0 : 1, 0xf45n)
      w.cd[2] &= ~DS
      if (granule === 14) w.cd[0] = (w.cd[0] & ~0x3fn) | 16n
      w.apply()
      expect([w.read(0x1000n), w.kinds()], `${granule}`).toEqual(['abort', ['0x10']])
    }
    const w = new World(S1)
    stage1(w, 16, 48, 0).set(0x1000n, 1, 0xf45n)
    w.apply()
    expect([w.read(0x1000n), w.kinds()]).toEqual(['abort', ['0x10']])
  })

  it('ignores bits 15:12 with 64 KiB where the unit has 48 bits', () => {
    const w = new World(S1)
    stage1(w, 16, 48, 0).set(0x1000n, 3, 0x5000_f000n | 0xf47n)
    w.apply()
    expect(w.read(0x1234n)).toBe('0x50001234')
  })
})

/** How a CD of this half ends: legal when a read meets only an empty table. */
function legalSizes(granule: number, ds: bigint, options: GuestOptions): number[] {
  const w = new World(S1, options)
  return Array.from({ length: 64 }, (_, size) => size).filter((size) => {
    w.cd[0] = 0x0007_e206_c000_0000n | BigInt(size) | (TG0[granule] << 6n)
    w.cd[1] = 0x800_0000n
    w.cd[2] = ds
    w.apply()
    w.read(0n)
    return w.kinds().join() === '0x10'
  })
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i)

describe('T0SZ', () => {
  const plain = { deny: { IDR3: 1 << 9, ...WIDE.deny }, offer: WIDE.offer }
  it('is 12 or more with 64 KiB, or with DS; else 16', () => {
    expect(legalSizes(16, 0n, plain)).toEqual(range(12, 39))
    for (const granule of [12, 14]) {
      expect(legalSizes(granule, DS, plain)).toEqual(range(12, 39))
      expect(legalSizes(granule, 0n, plain)).toEqual(range(16, 39))
    }
  })

  it('is 16 or more without VAX, whatever the output size; DS needs IDR5.DS', () => {
    const noVax = { deny: { IDR3: 1 << 9, IDR5: 0xc87 }, offer: { IDR5: 6 } }
    expect(legalSizes(16, 0n, noVax)).toEqual(range(16, 39))
    const noDs = { deny: { IDR3: 1 << 9, IDR5: 0x87 }, offer: { IDR5: 6 | (1 << 10) } }
    expect(legalSizes(12, DS, noDs)).toEqual(range(16, 39))
    expect(legalSizes(16, 0n, noDs)).toEqual(range(12, 39))
  })
})

describe('TTB0 above 48 bits', () => {
  it('is ILLEGAL without DS, but for 64 KiB', () => {
    const kinds = (granule: number, ds: bigint): string[] => {
      const w = new World(S1, WIDE)
      stage1(w, granule, 48, 0)
      w.cd[1] = 1n << 50n
      w.cd[2] = ds
      w.apply()
      w.read(0x1000n)
      return w.kinds()
    }
    expect([kinds(12, 0n), kinds(14, 0n), kinds(16, 0n)]).toEqual([['0xa'], ['0xa'], ['0xb']])
    expect([kinds(12, DS), kinds(14, DS)]).toEqual([['0xb'], ['0xb']])
  })
})

/** Gives the STE stage 2 tables; `code` is S2SL0_2:S2SL0. */
function stage2(w: World, shape: Shape, code: bigint): Tables {
  const tables = new Tables(w, shape)
  const { granule, bits } = shape
  w.ste[2] = 0x040e_0000_0000_0005n | (TG0[granule] << 46n) | ((code & 3n) << 38n) | (BigInt(64 - bits) << 32n)
  w.ste[3] = tables.root | (granule === 16 ? 0n : 8n) | ((code >> 2n) << 2n)
  return tables
}

describe('stage 2 with addresses of 52 bits', () => {
  /** Start level, S2SL0_2:S2SL0, and the input bits that 1 to 16 tables of it cover. */
  const STARTS: readonly (readonly [granule: number, start: number, code: bigint, least: number, most: number])[] = [
    [12, -1, 4n, 49, 52],
    [12, 0, 2n, 40, 52],
    [12, 1, 1n, 31, 43],
    [12, 2, 0n, 25, 34],
    [14, 0, 3n, 48, 52],
    [14, 1, 2n, 37, 51],
    [14, 2, 1n, 26, 40],
    [14, 3, 0n, 25, 29],
    [16, 1, 2n, 43, 52],
    [16, 2, 1n, 30, 46],
    [16, 3, 0n, 25, 33],
  ]
  for (const [granule, start, code, least, most] of STARTS) {
    it(`of ${2 ** granule / 1024} KiB from level ${start} takes ${least} to ${most} bits`, () => {
      const w = new World(S2, { deny: { IDR3: 1 << 9, ...WIDE.deny }, offer: WIDE.offer })
      const bad: number[] = []
      for (let bits = 20; bits <= 53; bits++) {
        const shape = { granule, bits, start }
        if (bits < least || bits > most) {
          stage2(w, { ...shape, bits: least }, code)
          w.ste[2] = (w.ste[2] & ~(0x3fn << 32n)) | (BigInt(64 - bits) << 32n)
          w.apply()
          w.read(0n)
          if (w.kinds().join() !== '0x4') bad.push(bits)
          continue
        }
        const last = (1n << BigInt(bits)) - 1n
        for (const level of [0, 1, 2, 3].filter((at) => at >= start && SIZES[granule][at] !== undefined)) {
          const tables = stage2(w, shape, code)
          const size = BigInt(SIZES[granule][level])
          if (size > BigInt(bits)) continue
          const out = (OUT >> size) << size
          tables.set(last, level, leaf(granule, out, level, S2_BITS))
          w.apply()
          expect(w.read(last), `${bits} bits, level ${level}`).toBe(hex(out | (last & ((1n << size) - 1n))))
        }
      }
      expect(bad).toEqual([])
    })
  }

  it('tells of an IPA of 52 bits', () => {
    const w = new World(S2, WIDE)
    stage2(w, { granule: 12, bits: 52, start: 0 }, 2n)
    w.apply()
    w.read(0xf_1234_5678_9abcn)
    expect(w.events()).toEqual(['1000000010 28800000000 f123456789abc f123456789000'])
  })

  it('is ILLEGAL with a table above 48 bits without S2DS, and with S2PS of 48 bits', () => {
    const kinds = (change: (w: World) => void): string[] => {
      const w = new World(S2, WIDE)
      stage2(w, { granule: 12, bits: 48, start: 0 }, 2n)
      w.ste[3] |= 1n << 50n
      change(w)
      w.apply()
      w.read(0n)
      return w.kinds()
    }
    expect(kinds(() => undefined)).toEqual(['0xb'])
    expect(kinds((w) => w.ste.splice(3, 1, w.ste[3] & ~8n))).toEqual(['0x4'])
    expect(kinds((w) => w.ste.splice(2, 1, (w.ste[2] & ~(7n << 48n)) | (5n << 48n)))).toEqual(['0x4'])
  })
})

describe('a bypass with addresses of 52 bits', () => {
  it('goes to the output size and no further', () => {
    const w = new World(0b100, WIDE)
    expect([w.read(0xf_ffff_ffff_f000n), w.read(1n << 52n), w.kinds()]).toEqual(['0xffffffffff000', 'abort', ['0x11']])
    const off = new World(0b100, { ...WIDE, cr0: 0b1100 })
    expect([off.read(0xf_ffff_ffff_f000n), off.read(1n << 52n), off.kinds()]).toEqual(['0xffffffffff000', 'abort', []])
  })

  it('is cut to what IPS and S2PS say, 6 and 7 being 52 bits', () => {
    for (const code of [6n, 7n]) {
      const w = new World(S1, WIDE)
      stage1(w, 16, 48, 0).set(0x1000n, 3, leaf(16, OUT & ~0xffffn, 3, S1_BITS))
      w.cd[0] = (w.cd[0] & ~(7n << 32n)) | (code << 32n)
      w.apply()
      expect(w.read(0x1000n)).toBe(hex((OUT & ~0xffffn) | 0x1000n))
    }
  })
})
