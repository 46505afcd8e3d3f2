/** Granules, input sizes and root tables, as far as a CD and an STE agree on them. [SMMU 3.4 Address sizes] */

import type { Features } from './features.js'

/** Granule by STE.S2TG and CD.TG0; 0 is reserved. */
export const GRANULE_LG2: readonly number[] = [12, 16, 14, 0]

/** Granule by CD.TG1, which has codes of its own; 0 is reserved. */
export const GRANULE1_LG2: readonly number[] = [0, 14, 12, 16]

/** TTB0, TTB1 and S2TTB have 52 bits; those above belong to 128-bit descriptors. [SMMU 5.2 S2TTB] [SMMU 5.4 TTB0] */
const ROOT_SPACE = 2 ** 52

/** Bits of an input address that no small table may undercut, by TxSZ. [SMMU 5.4 T0SZ] */
const LARGEST_SZ = 39
const LARGEST_SMALL_SZ = 48
const LARGEST_SMALL_SZ_64K = 47

/** Whether the unit walks tables of this granule. */
export const isGranule = (granuleLg2: number, features: Features): boolean =>
  granuleLg2 !== 0 && (features.granules & (1 << granuleLg2)) !== 0

/** Largest T0SZ, T1SZ or S2T0SZ: small translation tables go further. */
export function largestSz(granuleLg2: number, features: Features): number {
  if (!features.stt) return LARGEST_SZ
  return granuleLg2 === 16 ? LARGEST_SMALL_SZ_64K : LARGEST_SMALL_SZ
}

/** Bits of a root table's address: its entries have 48, but with 64 KiB granules or DS. */
export const rootBits = (outputBits: number, granuleLg2: number, ds: boolean): number =>
  granuleLg2 === 16 || ds ? outputBits : Math.min(outputBits, 48)

/** What a TTB field says, without the bits that it does not have. */
export const rootAddress = (field: number): number => field % ROOT_SPACE

/** A root table of 2^indexBits entries as hardware takes it: aligned to its size, and to 64 bytes where outputs have 52 bits. */
export function alignedRoot(root: number, indexBits: number, outputBits: number): number {
  return root - (root % Math.max(2 ** (indexBits + 3), outputBits === 52 ? 64 : 0))
}
