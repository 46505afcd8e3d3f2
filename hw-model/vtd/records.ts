/**
 * Every record that a VT-d unit reads from or writes to memory, as the manual prints it. No algorithm. [VTD 9]
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

/** What every invalidation descriptor has; the type is split. [VTD 6.5.2 Queued Invalidation Interface] */
export const DESCRIPTOR = layout('invalidation descriptor', 128, {
  TypeLow: bits(3, 0),
  TypeHigh: bits(11, 9),
})

/** Descriptor types. [VTD 6.5.2.11 T26] */
export const DESCRIPTOR_TYPE = {
  CONTEXT_CACHE: 1,
  IOTLB: 2,
  DEVICE_TLB: 3,
  INTERRUPT_ENTRY_CACHE: 4,
  WAIT: 5,
  PASID_IOTLB: 6,
  PASID_CACHE: 7,
  PASID_DEVICE_TLB: 8,
  PAGE_GROUP_RESPONSE: 9,
  HPT_CACHE: 10,
} as const

/** [VTD 6.5.2.1 Context-cache Invalidate Descriptor] */
export const CONTEXT_CACHE_INVALIDATE = layout('context-cache invalidate', 128, {
  TypeLow: bits(3, 0),
  G: bits(5, 4),
  TypeHigh: bits(11, 9),
  DID: bits(31, 16),
  SID: bits(47, 32),
  FM: bits(49, 48),
})

/** [VTD 6.5.2.2 PASID-cache Invalidate Descriptor] */
export const PASID_CACHE_INVALIDATE = layout('PASID-cache invalidate', 128, {
  TypeLow: bits(3, 0),
  G: bits(5, 4),
  TypeHigh: bits(11, 9),
  DID: bits(31, 16),
  PASID: bits(51, 32),
})

/** [VTD 6.5.2.3 IOTLB Invalidate Descriptor] */
export const IOTLB_INVALIDATE = layout('IOTLB invalidate', 128, {
  TypeLow: bits(3, 0),
  G: bits(5, 4),
  DW: bit(6),
  DR: bit(7),
  TypeHigh: bits(11, 9),
  DID: bits(31, 16),
  AM: bits(69, 64),
  IH: bit(70),
  ADDR: address(127, 76),
})

/** [VTD 6.5.2.4 PASID-based-IOTLB Invalidate Descriptor] */
export const PASID_IOTLB_INVALIDATE = layout('PASID-based-IOTLB invalidate', 128, {
  TypeLow: bits(3, 0),
  G: bits(5, 4),
  TypeHigh: bits(11, 9),
  DID: bits(31, 16),
  PASID: bits(51, 32),
  AM: bits(69, 64),
  IH: bit(70),
  ADDR: address(127, 76),
})

/** [VTD 6.5.2.5 Device-TLB Invalidate Descriptor] */
export const DEVICE_TLB_INVALIDATE = layout('device-TLB invalidate', 128, {
  TypeLow: bits(3, 0),
  TypeHigh: bits(11, 9),
  PFSIDLow: bits(15, 12),
  MIP: bits(20, 16),
  SID: bits(47, 32),
  PFSIDHigh: bits(63, 52),
  S: bit(64),
  ADDR: address(127, 76),
})

/** [VTD 6.5.2.6 PASID-based-Device-TLB Invalidate Descriptor] */
export const PASID_DEVICE_TLB_INVALIDATE = layout('PASID-based-device-TLB invalidate', 128, {
  TypeLow: bits(3, 0),
  MIP: bits(8, 4),
  TypeHigh: bits(11, 9),
  PFSIDLow: bits(15, 12),
  SID: bits(31, 16),
  PASID: bits(51, 32),
  PFSIDHigh: bits(63, 52),
  GI: bit(64),
  S: bit(75),
  ADDR: address(127, 76),
})

/** [VTD 6.5.2.8 Interrupt Entry Cache Invalidate Descriptor] */
export const INTERRUPT_ENTRY_CACHE_INVALIDATE = layout('interrupt entry cache invalidate', 128, {
  TypeLow: bits(3, 0),
  G: bit(4),
  TypeHigh: bits(11, 9),
  IM: bits(31, 27),
  IIDX: bits(47, 32),
})

/** [VTD 6.5.2.9 Invalidation Wait Descriptor] */
export const INVALIDATION_WAIT = layout('invalidation wait', 128, {
  TypeLow: bits(3, 0),
  IF: bit(4),
  SW: bit(5),
  FN: bit(6),
  PD: bit(7),
  TypeHigh: bits(11, 9),
  STDATA: bits(63, 32),
  STADDR: address(127, 66),
})

/** `G` of the context-cache, IOTLB and register forms. */
export const GRANULARITY = { GLOBAL: 1, DOMAIN: 2, SELECTIVE: 3 } as const

/** `G` of `PASID_CACHE_INVALIDATE`. */
export const PASID_CACHE_GRANULARITY = { DOMAIN: 0, PASID: 1, GLOBAL: 3 } as const

/** `G` of `PASID_IOTLB_INVALIDATE`. */
export const PASID_IOTLB_GRANULARITY = { PASID: 2, PAGE: 3 } as const

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
