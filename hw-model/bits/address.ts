/**
 * Addresses without BigInt. A physical address has at most 52 bits and is an exact number; so is a page number. A
 * 64-bit IOVA is a pair of 32-bit halves or a page and an offset, never one number.
 */

/** An IOVA, IPA or VA shifted right by 12: 52 bits, exact. */
export type Page = number & { readonly __page: unique symbol }

/** log2 of the 4 KiB that pages are counted in. */
export const PAGE_LG2 = 12

/** 2^32, the weight of the high half of a 64-bit value. */
export const TWO32 = 4294967296

/** The page that holds the address `hi:lo`. */
export const pageOf = (lo: number, hi: number): Page => ((hi >>> 0) * 2 ** 20 + (lo >>> 12)) as Page

/** The same page as two halves: its low 32 bits, */
export const pageLow = (lo: number, hi: number): number => (lo >>> 12) | (hi << 20)

/** and the 20 above them. */
export const pageHigh = (hi: number): number => hi >>> 12

/** What is above the low 32 bits of an exact number, which may be negative. */
export const highHalf = (value: number): number => Math.floor(value / TWO32) | 0

/** A 64-bit value as one number, exact up to 2^53; callers check the width first. */
export const joinWord = (lo: number, hi: number): number => (hi >>> 0) * TWO32 + (lo >>> 0)

/** High half of an exact number, as an unsigned 32-bit value. */
export const highWord = (value: number): number => Math.floor(value / TWO32) >>> 0

/** Low half of an exact number, as an unsigned 32-bit value. */
export const lowWord = (value: number): number => value >>> 0

/** Powers of two by their log2: `2 ** n` of a variable `n` is a call of the C library, and so is a remainder. */
export const POWERS = Float64Array.from({ length: 65 }, (_, lg2) => 2 ** lg2)

/** The multiple of 2^lg2 at or below an exact address. */
export const alignDown = (address: number, lg2: number): number => Math.floor(address / POWERS[lg2]) * POWERS[lg2]

/** Whether an address with this high half has bits at or above `bits`, 32 to 63. */
export const isBeyond = (hi: number, bits: number): boolean => hi >>> (bits - 32) !== 0

/** The part of `hi:lo` below 2^lg2, exact up to 52 bits. */
export const offsetIn = (lo: number, hi: number, lg2: number): number =>
  lg2 < 32 ? lo & ((1 << lg2) - 1) : (hi & ((1 << (lg2 - 32)) - 1)) * TWO32 + (lo >>> 0)

/** The same part as two halves: its low half, */
export const offsetLow = (lo: number, lg2: number): number => (lg2 < 32 ? lo & ((1 << lg2) - 1) : lo)

/** and its high half. */
export const offsetHigh = (hi: number, lg2: number): number => (lg2 <= 32 ? 0 : hi & ((1 << (lg2 - 32)) - 1))

/** The multiple of 2^lg2 at or below `hi:lo`, as two halves: its low half, */
export const downLow = (lo: number, lg2: number): number => (lg2 < 32 ? lo & (-1 << lg2) : 0)

/** and its high half. */
export const downHigh = (hi: number, lg2: number): number => (lg2 <= 32 ? hi : hi & (-1 << (lg2 - 32)))
