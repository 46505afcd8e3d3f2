/** VMSAv8-64 in the manual's words: levels 0 to 3, granules, and descriptors as 64-bit numbers. */

/** OAS of the part, and with VMSAv8-64 alone its IAS too. */
export const OAS_BITS = 44

/** Shape of one stage's tables. */
export interface Geometry {
  /** 12, 14 or 16. */
  readonly granuleLg2: number
  readonly inputBits: number
  /** The level of the root. */
  readonly start: number
}

/** log2 of what an entry of a level maps. */
export const levelLg2 = (granuleLg2: number, level: number): number => granuleLg2 + (granuleLg2 - 3) * (3 - level)

/** The level that a stage 1 walk starts at. [Arm D8.2 Translation process] */
export const startOf = (granuleLg2: number, inputBits: number): number =>
  4 - Math.ceil((inputBits - granuleLg2) / (granuleLg2 - 3))

/** Address of the entry for an input that was already cut to `inputBits`. */
export function entryAt(
  table: number,
  { granuleLg2, inputBits, start }: Geometry,
  level: number,
  input: bigint,
): number {
  const shift = levelLg2(granuleLg2, level)
  const width = level === start ? inputBits - shift : granuleLg2 - 3
  return table + 8 * Number((input >> BigInt(shift)) & ((1n << BigInt(width)) - 1n))
}

/** Bytes of the root, and so its alignment. */
export const rootBytes = ({ granuleLg2, inputBits, start }: Geometry): number =>
  2 ** (inputBits - levelLg2(granuleLg2, start) + 3)

/** Whether a level has blocks, without 52-bit addresses. [Arm D8.3 Translation table descriptor formats] */
export const hasBlocks = (granuleLg2: number, level: number): boolean =>
  level === 2 || (level === 1 && granuleLg2 === 12)

const ADDRESS = (1n << 48n) - 1n

/** The address in a descriptor, with `lg2` low bits cut off. */
export const addressIn = (entry: bigint, lg2: number): number => Number(entry & ADDRESS & ~((1n << BigInt(lg2)) - 1n))

/** Attributes of leaves that let everybody read and write, and are right for a page and for a block. */
export const LEAF_1 = (1n << 10n) | (1n << 6n) | (1n << 11n) | (3n << 8n)
export const LEAF_2 = (1n << 10n) | (3n << 6n) | (0xfn << 2n) | (3n << 8n)

/** Single bits of leaves. */
export const BIT = {
  /** Stage 1: read-only (AP[2]). */
  READ_ONLY: 1n << 7n,
  AF: 1n << 10n,
  /** Stage 2: S2AP[0] and S2AP[1]. */
  S2_READ: 1n << 6n,
  S2_WRITE: 1n << 7n,
} as const
