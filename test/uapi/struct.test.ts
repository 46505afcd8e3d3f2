/** Reading and writing members of structs. */

import { describe, expect, it } from 'vitest'
import { decode, encode, put, s32, struct, u8, u16, u24, u32, u64 } from '../../server/uapi/struct.js'

const ALL_WIDTHS = struct('all_widths', 24, {
  one: u8(0),
  three: u24(1),
  two: u16(4),
  four: u32(8),
  signed: s32(12),
  eight: u64(16),
})

const BYTES = Uint8Array.of(
  ...[0xf1, 0x12, 0x34, 0xf6, 0x78, 0xf9, 0, 0, 0xde, 0xbc, 0x9a, 0xf8],
  ...[0xfe, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 0xf8],
)
const VALUES = {
  one: 0xf1,
  three: 0xf63412,
  two: 0xf978,
  four: 0xf89abcde,
  signed: -2,
  eight: 0xf807060504030201n,
}

describe('a struct', () => {
  it('is little-endian, and only what is signed is negative', () => {
    expect(decode(ALL_WIDTHS, BYTES)).toEqual(VALUES)
    expect(encode(ALL_WIDTHS, VALUES)).toEqual(BYTES)
  })

  it('reads zeros beyond the bytes that there are', () => {
    expect(decode(ALL_WIDTHS, BYTES.subarray(0, 10))).toEqual({ ...VALUES, four: 0xbcde, signed: 0, eight: 0n })
    expect(decode(ALL_WIDTHS, new Uint8Array(0)).eight).toBe(0n)
  })

  it('loses what is written beyond the bytes that there are, and leaves all else alone', () => {
    const bytes = new Uint8Array(18).fill(0x55)
    put(ALL_WIDTHS, bytes, { eight: 0x1122334455667788n, one: 7 })
    expect([...bytes]).toEqual([7, ...Array(15).fill(0x55), 0x88, 0x77])
  })

  it('is as long as its members of the first layout at least', () => {
    expect(struct('all', 24, ALL_WIDTHS.fields).minBytes).toBe(24)
    expect(struct('early', 24, ALL_WIDTHS.fields, 'two').minBytes).toBe(6)
  })
})
