/** Memory as the reference translators see it: 64-bit words at physical addresses, or nothing. */

/** What the references ask of memory. */
export interface ReferenceMemory {
  /** The aligned 64-bit word, or undefined where nothing is. */
  read64(pa: bigint): bigint | undefined
  /** Stores an aligned 64-bit word; false where nothing is or it may not be written. */
  write64(pa: bigint, value: bigint): boolean
}

/** Bits `[high:low]` of a word. */
export const field = (word: bigint, high: number, low = high): number => Number(slice(word, high, low))

/** Bits `[high:low]` of a word, as they stand there: what is below reads as zero. */
export const inPlace = (word: bigint, high: number, low: number): bigint => slice(word, high, low) << BigInt(low)

/** The lowest `width` bits set. */
export const ones = (width: number): bigint => (1n << BigInt(width)) - 1n

/** The address with its lowest `width` bits cleared. */
export const alignDown = (address: bigint, width: number): bigint => (address >> BigInt(width)) << BigInt(width)

const slice = (word: bigint, high: number, low: number): bigint => (word >> BigInt(low)) & ones(high - low + 1)
