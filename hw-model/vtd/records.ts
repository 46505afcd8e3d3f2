/**
 * Tables in memory, page requests and fault records, as the manual prints them. No algorithm. Invalidation descriptors
 * stand in `descriptors.ts`. [VTD 9]
 *
 * Fields named `Ignored…` are never checked; a bit in no field is reserved. Whether a declared field is reserved on a
 * given unit depends on CAP and ECAP and is decided in `config.ts`.
 */

import { address, bit, bits, layout } from '../bits/layout.js'

/** One entry per bus. [VTD 9.1 Root Entry] */
export const ROOT_ENTRY = layout('root entry', 128, {
  P: bit(0),
  CTP: address(63, 12),
})

/** One entry per bus, a context table for each half of its functions. [VTD 9.2 Scalable-mode Root Entry] */
export const SCALABLE_ROOT_ENTRY = layout('scalable-mode root entry', 128, {
  LP: bit(0),
  LCTP: address(63, 12),
  UP: bit(64),
  UCTP: address(127, 76),
})

/** One entry per function. [VTD 9.3 Context Entry] */
export const CONTEXT_ENTRY = layout('context entry', 128, {
  P: bit(0),
  FPD: bit(1),
  TT: bits(3, 2),
  SSPTPTR: address(63, 12),
  AW: bits(66, 64),
  Ignored70_67: bits(70, 67),
  DID: bits(87, 72),
})

/** `CONTEXT_ENTRY.TT`. */
export const TT = {
  /** Untranslated requests only. */
  UNTRANSLATED: 0,
  /** Device-TLB traffic too. */
  ALL: 1,
  PASS_THROUGH: 2,
} as const

/** One entry per function. [VTD 9.4 Scalable-Mode Context Entry] */
export const SCALABLE_CONTEXT_ENTRY = layout('scalable-mode context entry', 256, {
  P: bit(0),
  FPD: bit(1),
  DTE: bit(2),
  PASIDE: bit(3),
  PRE: bit(4),
  HPTE: bit(5),
  EPTR: bit(6),
  PDTS: bits(11, 9),
  PASIDDIRPTR: address(63, 12),
  RID_PASID: bits(83, 64),
  RID_PRIV: bit(84),
})

/** One entry per 64 PASIDs. [VTD 9.5 Scalable-Mode PASID Directory Entry] */
export const PASID_DIRECTORY_ENTRY = layout('PASID directory entry', 64, {
  P: bit(0),
  FPD: bit(1),
  SMPTBLPTR: address(63, 12),
})

/** One entry per PASID. [VTD 9.6 Scalable-Mode PASID Table Entry] */
export const PASID_TABLE_ENTRY = layout('PASID table entry', 512, {
  P: bit(0),
  FPD: bit(1),
  AW: bits(4, 2),
  PGTT: bits(8, 6),
  SSADE: bit(9),
  SSPTPTR: address(63, 12),
  DID: bits(79, 64),
  PWSNP: bit(87),
  PGSNP: bit(88),
  CD: bit(89),
  EMTE: bit(90),
  PAT: bits(127, 96),
  SRE: bit(128),
  FSPM: bits(131, 130),
  WPE: bit(132),
  Ignored134_133: bits(134, 133),
  EAFE: bit(135),
  FSPTPTR: address(191, 140),
  HPTSZ: bits(257, 256),
  HPTPFD: bit(258),
  HPTPTR: address(319, 268),
  HPTDID: bits(335, 320),
})

/** `PASID_TABLE_ENTRY.PGTT`; an IOTLB entry of legacy mode counts as SECOND or PASS_THROUGH. */
export const PGTT = {
  FIRST: 1,
  SECOND: 2,
  NESTED: 3,
  PASS_THROUGH: 4,
} as const

/** `PASID_TABLE_ENTRY.FSPM`. */
export const FSPM = { FOUR_LEVEL: 0, FIVE_LEVEL: 1 } as const

/** A first-stage entry of any level; what the level does not have is ignored or reserved. [VTD 9.7 T34-T40] */
export const FIRST_STAGE_ENTRY = layout('first-stage entry', 64, {
  P: bit(0),
  RW: bit(1),
  US: bit(2),
  PWT: bit(3),
  PCD: bit(4),
  A: bit(5),
  D: bit(6),
  PS: bit(7),
  G: bit(8),
  Ignored9: bit(9),
  EA: bit(10),
  Ignored11: bit(11),
  ADDR: address(51, 12),
  Ignored62_52: bits(62, 52),
  XD: bit(63),
})

/** A second-stage entry of any level. There is no present bit: without R and W it is absent. [VTD 9.8 T41-T47] */
export const SECOND_STAGE_ENTRY = layout('second-stage entry', 64, {
  R: bit(0),
  W: bit(1),
  Ignored2: bit(2),
  EMT: bits(5, 3),
  IPAT: bit(6),
  PS: bit(7),
  A: bit(8),
  D: bit(9),
  Ignored10: bit(10),
  SNP: bit(11),
  ADDR: address(51, 12),
  Ignored60_52: bits(60, 52),
  IR: bit(61),
  IW: bit(62),
  Ignored63: bit(63),
})

/** One fault, as FRCD shows it. [VTD 11.4.7.6 Fault Recording Registers] */
export const FAULT_RECORD = layout('fault recording register', 128, {
  FI: address(63, 12),
  SID: bits(79, 64),
  T2: bit(92),
  PRIV: bit(93),
  EXE: bit(94),
  PP: bit(95),
  FR: bits(103, 96),
  PV: bits(123, 104),
  AT: bits(125, 124),
  T1: bit(126),
  F: bit(127),
})

/** One page request, as the unit writes it into the queue. [VTD 7.4.1.1 Page Request Descriptor] */
export const PAGE_REQUEST = layout('page request', 256, {
  Type: bits(7, 0),
  PP: bit(8),
  RID: bits(31, 16),
  PASID: bits(51, 32),
  EXR: bit(52),
  PMR: bit(53),
  RDR: bit(64),
  WRR: bit(65),
  LPIG: bit(66),
  PRGI: bits(75, 67),
  ADDR: address(127, 76),
})

/** `PAGE_REQUEST.Type`. */
export const PAGE_REQUEST_TYPE = 1
