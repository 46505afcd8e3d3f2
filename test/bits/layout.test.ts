/** The bit-layout kernel, against a BigInt picture of the whole record. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  address,
  anySet,
  bit,
  bits,
  dump,
  type Field,
  type FieldSpec,
  layout,
  maskOutside,
  pack,
} from '../../hw-model/bits/layout.js'

const RECORD_BITS = 256
const RECORD_WORDS = RECORD_BITS / 32

/** The record as one integer, bit 0 lowest. */
function whole(words: Int32Array, at = 0, count = RECORD_WORDS): bigint {
  let value = 0n
  for (let i = 0; i < count; i++) value |= BigInt(words[at + i] >>> 0) << BigInt(i * 32)
  return value
}

function fromWhole(value: bigint): Int32Array {
  return Int32Array.from({ length: RECORD_WORDS }, (_, i) => Number(BigInt.asIntN(32, value >> BigInt(i * 32))))
}

const ones = (width: number): bigint => (1n << BigInt(width)) - 1n
const fieldOf = (spec: FieldSpec): Field => layout('R', RECORD_BITS, { F: spec }).F

/** Every plain field that the kernel can bind: up to 32 bits anywhere, wider ones over two words at most. */
const places = Array.from({ length: 64 }, (_, i) => i + 1).flatMap((width) =>
  Array.from({ length: 96 }, (_, low) => ({ low: low + 32, width })).filter(({ low }) => (low & 31) + width <= 64),
)

describe('a field', () => {
  it('reads and writes exactly its own bits, at every width and every place', () => {
    const noise = 0xf0e1d2c3b4a5968778695a4b3c2d1e0f0123456789abcdeffedcba9876543210n
    for (const { low, width } of places) {
      const field = fieldOf(bits(low + width - 1, low))
      const expected = (noise >> BigInt(low)) & ones(width)
      const words = fromWhole(noise)
      expect(BigInt(field.lo(words, 0)) | (BigInt(field.hi(words, 0)) << 32n)).toBe(expected)
      if (width <= 53) expect(BigInt(field.get(words, 0))).toBe(expected)
      field.set(words, 0, 0)
      expect(whole(words)).toBe(noise & ~(ones(width) << BigInt(low)))
    }
  })

  it('keeps each single bit of a value where it belongs', () => {
    for (const { low, width } of places) {
      const field = fieldOf(bits(low + width - 1, low))
      for (const b of new Set([0, 1, 30, 31, 32, 33, width - 2, width - 1])) {
        if (b < 0 || b >= width) continue
        const words = new Int32Array(RECORD_WORDS)
        field.set(words, 0, 2 ** b)
        expect(whole(words)).toBe(1n << BigInt(low + b))
        expect(field.get(words, 0)).toBe(2 ** b)
      }
    }
  })

  it('drops the bits of a value that are beyond its width', () => {
    for (const { low, width } of places) {
      if (width > 52) continue
      const field = fieldOf(bits(low + width - 1, low))
      const words = new Int32Array(RECORD_WORDS)
      field.set(words, 0, 2 ** width)
      expect(whole(words)).toBe(0n)
    }
  })

  it('is never negative, top bit set or not', () => {
    for (const width of [1, 8, 16, 31, 32]) {
      const field = fieldOf(bits(63, 64 - width))
      const words = new Int32Array(RECORD_WORDS).fill(-1)
      expect(field.get(words, 0)).toBe(2 ** width - 1)
    }
    expect(fieldOf(bits(52, 0)).get(new Int32Array(RECORD_WORDS).fill(-1), 0)).toBe(2 ** 53 - 1)
  })

  it('of 64 bits is exact in its halves', () => {
    const field = fieldOf(bits(127, 64))
    fc.assert(
      fc.property(fc.bigInt(0n, ones(64)), (value) => {
        const words = fromWhole(value << 64n)
        expect(field.lo(words, 0)).toBe(Number(value & ones(32)))
        expect(field.hi(words, 0)).toBe(Number(value >> 32n))
      }),
    )
  })

  it('takes a negative number as all ones', () => {
    const words = new Int32Array(RECORD_WORDS)
    fieldOf(bits(39, 24)).set(words, 0, -1)
    expect(whole(words)).toBe(ones(16) << 24n)
  })

  it('counts from the index it is given, and touches no word outside its record', () => {
    const field = fieldOf(bits(95, 60))
    const words = new Int32Array(3 * RECORD_WORDS).fill(-1)
    field.set(words, RECORD_WORDS, 0)
    expect(whole(words, 0)).toBe(ones(256))
    expect(whole(words, RECORD_WORDS)).toBe(ones(256) & ~(ones(36) << 60n))
    expect(whole(words, 2 * RECORD_WORDS)).toBe(ones(256))
    expect(field.get(words, RECORD_WORDS)).toBe(0)
    expect(field.get(words, 0)).toBe(2 ** 36 - 1)
  })

  it('holds any value next to any neighbour', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...places),
        fc.bigInt(0n, ones(256)),
        fc.bigInt(0n, ones(53)),
        (place, noise, raw) => {
          const { low, width } = place
          const field = fieldOf(bits(low + width - 1, low))
          const value = raw & ones(Math.min(width, 53))
          const words = fromWhole(noise)
          field.set(words, 0, Number(value))
          expect(whole(words)).toBe((noise & ~(ones(width) << BigInt(low))) | (value << BigInt(low)))
        },
      ),
      { numRuns: 2000 },
    )
  })
})

describe('an address field', () => {
  it('keeps its bits in place and reads the bits below as zero', () => {
    for (const base of [0, 64, 128]) {
      for (const [high, low] of [
        [55, 6],
        [51, 12],
        [63, 12],
        [63, 0],
        [31, 2],
        [55, 32],
        [40, 31],
        [55, 33],
      ]) {
        const field = fieldOf(address(base + high, base + low))
        const mask = ones(high - low + 1) << BigInt(low)
        const words = new Int32Array(RECORD_WORDS).fill(-1)
        expect(BigInt(field.lo(words, 0)) | (BigInt(field.hi(words, 0)) << 32n)).toBe(mask)
        field.set(words, 0, 0)
        expect(whole(words)).toBe(ones(256) & ~(mask << BigInt(base)))
        expect(field.width).toBe(high - low + 1)
      }
    }
  })

  it('drops low bits that are no part of it, and high ones', () => {
    const field = fieldOf(address(51, 12))
    const words = new Int32Array(RECORD_WORDS)
    field.set(words, 0, 0x12345_6789_afff)
    expect(whole(words)).toBe(0x12345_6789_a000n)
    expect(field.get(words, 0)).toBe(0x12345_6789_a000)
    field.set(words, 0, 2 ** 52)
    expect(whole(words)).toBe(0n)
  })

  it('may not leave its 64-bit word', () => {
    expect(() => layout('R', 128, { A: address(70, 12) })).toThrow(RangeError)
  })
})

describe('a layout', () => {
  const R = layout('R', 64, { V: bit(0), Kind: bits(3, 1), Base: address(51, 12), Top: bits(63, 60) })

  it('knows its size and its fields in the order of their declaration', () => {
    expect(R.$).toMatchObject({ name: 'R', bits: 64, words: 2, bytes: 8 })
    expect([...R.$.fields.keys()]).toEqual(['V', 'Kind', 'Base', 'Top'])
    expect([R.Kind.high, R.Kind.low, R.Kind.width]).toEqual([3, 1, 3])
  })

  it('packs fields and leaves every other bit zero', () => {
    expect([...pack(R, { V: 1, Kind: 5, Base: 0x8_0000_1000, Top: 8 })]).toEqual([0x100b, 0x80000008 | 0])
    expect([...pack(R, {})]).toEqual([0, 0])
  })

  it('refuses to pack a field it does not have', () => {
    expect(() => pack(R, { Valid: 1 } as object)).toThrow(/no field Valid/)
  })

  it('dumps what was packed, from any place', () => {
    const fields = { V: 1, Kind: 7, Base: 0xf_ffff_ffff_f000, Top: 15 }
    expect(dump(R, pack(R, fields))).toEqual(fields)
    expect(dump(R, Int32Array.from([0, 0, ...pack(R, fields), 0]), 2)).toEqual(fields)
  })

  it('masks what belongs to no field', () => {
    expect([...maskOutside(R)]).toEqual([0xff0, 0x0ff00000])
    expect([...maskOutside(R, ['V'])]).toEqual([~1, -1])
    expect([...maskOutside(R, [])]).toEqual([-1, -1])
  })

  it('finds a bit of a mask anywhere in the record', () => {
    const mask = maskOutside(R)
    expect(anySet(pack(R, { V: 1, Kind: 7, Base: 0xf_ffff_ffff_f000, Top: 15 }), 0, mask)).toBe(false)
    for (const [word, value] of [
      [0, 1 << 4],
      [0, 1 << 11],
      [1, 1 << 20],
      [1, 1 << 27],
    ]) {
      const words = new Int32Array(4)
      words[2 + word] = value
      expect(anySet(words, 2, mask)).toBe(true)
      expect(anySet(words, 0, mask)).toBe(false)
    }
  })

  it('refuses fields that overlap, stand outside, or span three words', () => {
    expect(() => layout('X', 64, { A: bits(4, 0), B: bits(8, 4) })).toThrow(/overlaps A/)
    expect(() => layout('X', 64, { A: bits(64, 60) })).toThrow(/out of range/)
    expect(() => layout('X', 64, { A: bits(3, 4) })).toThrow(/out of range/)
    expect(() => layout('X', 128, { A: bits(80, 20) })).toThrow(/three words/)
    expect(() => layout('X', 128, { A: bits(64, 0) })).toThrow(/wider than 64/)
  })
})
