/**
 * VMSAv8-64 table entries as the manual prints them, for those who show them; the walker reads them through
 * `formats.ts`. Next-level tables and outputs are aligned to the granule, which only the walk knows.
 */

import { address, bit, bits, type Layout, layout } from '../bits/layout.js'

/** Addresses of 48 bits. */
const TABLE_48 = { NextTable: address(47, 12) } as const
const LEAF_48 = { SH: bits(9, 8), OutputAddress: address(47, 12) } as const
/** Of 52 bits with 64 KiB granules. */
const TABLE_64K = { NLTA_51_48: bits(15, 12), NextTable: address(47, 16) } as const
const LEAF_64K = { SH: bits(9, 8), OA_51_48: bits(15, 12), OutputAddress: address(47, 16) } as const
/** Of 52 bits with smaller granules (DS). */
const TABLE_DS = { NLTA_51_50: bits(9, 8), NextTable: address(49, 12) } as const
const LEAF_DS = { OA_51_50: bits(9, 8), OutputAddress: address(49, 12) } as const

const S1_TABLE = {
  V: bit(0),
  Type: bit(1),
  PXNTable: bit(59),
  UXNTable: bit(60),
  APTable: bits(62, 61),
  NSTable: bit(63),
}
const S2_TABLE = { V: bit(0), Type: bit(1) }
const S1_LEAF = {
  V: bit(0),
  Type: bit(1),
  AttrIndx: bits(4, 2),
  NS: bit(5),
  AP: bits(7, 6),
  AF: bit(10),
  nG: bit(11),
  GP: bit(50),
  DBM: bit(51),
  Contiguous: bit(52),
  PXN: bit(53),
  UXN: bit(54),
}
const S2_LEAF = {
  V: bit(0),
  Type: bit(1),
  MemAttr: bits(5, 2),
  S2AP: bits(7, 6),
  AF: bit(10),
  FnXS: bit(11),
  DBM: bit(51),
  Contiguous: bit(52),
  XN: bits(54, 53),
}

/** Stage 1, a table of the next level. [Arm D8.3.1 Table descriptor format] */
export const STAGE_1_TABLE = layout('stage 1 table descriptor', 64, { ...S1_TABLE, ...TABLE_48 })

/** Stage 2, a table of the next level. [Arm D8.3.1 Table descriptor format] */
export const STAGE_2_TABLE = layout('stage 2 table descriptor', 64, { ...S2_TABLE, ...TABLE_48 })

/** Stage 1, a block or a page. [Arm D8.3.1 Block descriptor and Page descriptor formats] */
export const STAGE_1_LEAF = layout('stage 1 block or page descriptor', 64, { ...S1_LEAF, ...LEAF_48 })

/** Stage 2, a block or a page. [Arm D8.3.1 Block descriptor and Page descriptor formats] */
export const STAGE_2_LEAF = layout('stage 2 block or page descriptor', 64, { ...S2_LEAF, ...LEAF_48 })

/** The same by where they keep the high bits of their address: see WIDE. */
export const STAGE_1_TABLES: readonly Layout<typeof S1_TABLE>[] = [
  STAGE_1_TABLE,
  layout('stage 1 table descriptor, 64 KiB granule', 64, { ...S1_TABLE, ...TABLE_64K }),
  layout('stage 1 table descriptor, DS', 64, { ...S1_TABLE, ...TABLE_DS }),
]

/** The same by where they keep the high bits of their address: see WIDE. */
export const STAGE_2_TABLES: readonly Layout<typeof S2_TABLE>[] = [
  STAGE_2_TABLE,
  layout('stage 2 table descriptor, 64 KiB granule', 64, { ...S2_TABLE, ...TABLE_64K }),
  layout('stage 2 table descriptor, DS', 64, { ...S2_TABLE, ...TABLE_DS }),
]

/** The same by where they keep the high bits of their address: see WIDE. */
export const STAGE_1_LEAVES: readonly Layout<typeof S1_LEAF>[] = [
  STAGE_1_LEAF,
  layout('stage 1 block or page descriptor, 64 KiB granule', 64, { ...S1_LEAF, ...LEAF_64K }),
  layout('stage 1 block or page descriptor, DS', 64, { ...S1_LEAF, ...LEAF_DS }),
]

/** The same by where they keep the high bits of their address: see WIDE. */
export const STAGE_2_LEAVES: readonly Layout<typeof S2_LEAF>[] = [
  STAGE_2_LEAF,
  layout('stage 2 block or page descriptor, 64 KiB granule', 64, { ...S2_LEAF, ...LEAF_64K }),
  layout('stage 2 block or page descriptor, DS', 64, { ...S2_LEAF, ...LEAF_DS }),
]
