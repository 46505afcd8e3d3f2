/**
 * VMSAv8-64 table entries as the manual prints them, for those who show them; the walker reads them through
 * `formats.ts`. Next-level tables and outputs are aligned to the granule, which only the walk knows.
 */

import { address, bit, bits, layout } from '../bits/layout.js'

/** Stage 1, a table of the next level. [Arm D8.3.1 Table descriptor format] */
export const STAGE_1_TABLE = layout('stage 1 table descriptor', 64, {
  V: bit(0),
  Type: bit(1),
  NextTable: address(47, 12),
  PXNTable: bit(59),
  UXNTable: bit(60),
  APTable: bits(62, 61),
  NSTable: bit(63),
})

/** Stage 2, a table of the next level. [Arm D8.3.1 Table descriptor format] */
export const STAGE_2_TABLE = layout('stage 2 table descriptor', 64, {
  V: bit(0),
  Type: bit(1),
  NextTable: address(47, 12),
})

/** Stage 1, a block or a page. [Arm D8.3.1 Block descriptor and Page descriptor formats] */
export const STAGE_1_LEAF = layout('stage 1 block or page descriptor', 64, {
  V: bit(0),
  Type: bit(1),
  AttrIndx: bits(4, 2),
  NS: bit(5),
  AP: bits(7, 6),
  SH: bits(9, 8),
  AF: bit(10),
  nG: bit(11),
  OutputAddress: address(47, 12),
  GP: bit(50),
  DBM: bit(51),
  Contiguous: bit(52),
  PXN: bit(53),
  UXN: bit(54),
})

/** Stage 2, a block or a page. [Arm D8.3.1 Block descriptor and Page descriptor formats] */
export const STAGE_2_LEAF = layout('stage 2 block or page descriptor', 64, {
  V: bit(0),
  Type: bit(1),
  MemAttr: bits(5, 2),
  S2AP: bits(7, 6),
  SH: bits(9, 8),
  AF: bit(10),
  FnXS: bit(11),
  OutputAddress: address(47, 12),
  DBM: bit(51),
  Contiguous: bit(52),
  XN: bits(54, 53),
})
