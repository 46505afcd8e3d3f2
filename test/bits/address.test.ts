/** Addresses without BigInt, against BigInt. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { highWord, joinWord, lowWord, pageOf } from '../../hw-model/bits/address.js'

const u32 = fc.integer({ min: 0, max: 0xffffffff })

describe('the page of an address', () => {
  it('is the address >> 12, over all 64 bits, signed halves or not', () => {
    fc.assert(
      fc.property(u32, u32, (lo, hi) => {
        const expected = Number(((BigInt(hi) << 32n) | BigInt(lo)) >> 12n)
        expect(pageOf(lo, hi)).toBe(expected)
        expect(pageOf(lo | 0, hi | 0)).toBe(expected)
      }),
    )
    expect(pageOf(-1, -1)).toBe(2 ** 52 - 1)
    expect(pageOf(0xfff, 0)).toBe(0)
    expect(pageOf(0x1000, 0)).toBe(1)
    expect(pageOf(0, 1)).toBe(2 ** 20)
  })
})

describe('the halves of an exact number', () => {
  it('join to what they were cut from, up to 2^53', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        expect(joinWord(lowWord(value), highWord(value))).toBe(value)
        expect(joinWord(lowWord(value) | 0, highWord(value) | 0)).toBe(value)
        expect(BigInt(highWord(value))).toBe(BigInt(value) >> 32n)
        expect(BigInt(lowWord(value))).toBe(BigInt(value) & 0xffffffffn)
      }),
    )
    expect(highWord(2 ** 53 - 1)).toBe(0x1fffff)
    expect(lowWord(2 ** 53 - 1)).toBe(0xffffffff)
  })
})
