/** Exact arithmetic over all of u64. Ranges are closed, `[start, last]`, because 2^64 is no 64-bit number. */

import type { Range } from './driver.js'

/** 2^64 - 1. */
export const U64_MAX = 2n ** 64n - 1n

/** Bytes of a CPU page, the kernel's PAGE. */
export const PAGE = 4096n

/** The smallest power of two not below `value`, which is at least 1. */
export function roundUpToPowerOfTwo(value: bigint): bigint {
  let power = 1n
  while (power < value) power <<= 1n
  return power
}

/** The lowest bit that is set in `value`, which is not 0. */
export const lowestBit = (value: bigint): bigint => value & -value

/** The powers of two that are set in `value`, ascending. */
export function bitsOf(value: bigint): readonly bigint[] {
  const bits: bigint[] = []
  for (let left = value; left !== 0n; left &= left - 1n) bits.push(lowestBit(left))
  return bits
}

/** An address as manuals write it. */
export const hex = (value: bigint): string => `0x${value.toString(16)}`

/** A range as manuals write it. */
export const hexRange = ({ start, last }: Range): string => `[${hex(start)}, ${hex(last)}]`

/** The smaller one. */
export const min = (a: bigint, b: bigint): bigint => (b < a ? b : a)

/** The larger one. */
export const max = (a: bigint, b: bigint): bigint => (b > a ? b : a)

/** Both halves of an address. */
export const halvesOf = (address: bigint): readonly [lo: number, hi: number] => [
  Number(address & 0xffff_ffffn),
  Number(address >> 32n),
]

/** Two 32-bit halves as one address. */
export const join = (lo: number, hi: number): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
