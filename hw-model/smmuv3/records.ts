/**
 * The structures that software keeps in memory for the unit, in the manual's numbers: bits are counted over the whole
 * structure, so bit 4 of its second 64-bit word is 68. Commands and events have their own files, and are to be had here.
 */

import { address, bit, bits, layout } from '../bits/layout.js'

export * from './command-records.js'
export * from './event-records.js'
export * from './pri-records.js'

/** Level 1 Stream Table Descriptor. [SMMU 5.1 Level 1 Stream Table Descriptor] */
export const L1STD = layout('L1STD', 64, {
  Span: bits(4, 0),
  L2Ptr: address(55, 6),
})

/** Stream Table Entry. [SMMU 5.2 Stream Table Entry] */
export const STE = layout('STE', 512, {
  V: bit(0),
  Config: bits(3, 1),
  S1Fmt: bits(5, 4),
  S1ContextPtr: address(55, 6),
  S1CDMax: bits(63, 59),

  S1DSS: bits(65, 64),
  S1CIR: bits(67, 66),
  S1COR: bits(69, 68),
  S1CSH: bits(71, 70),
  S2HWU59: bit(72),
  S2HWU60: bit(73),
  S2HWU61: bit(74),
  S2HWU62: bit(75),
  DRE: bit(76),
  CONT: bits(80, 77),
  DCP: bit(81),
  PPAR: bit(82),
  MEV: bit(83),
  SW_RESERVED: bits(87, 84),
  S1PIE: bit(88),
  S2FWB: bit(89),
  S1MPAM: bit(90),
  S1STALLD: bit(91),
  EATS: bits(93, 92),
  STRW: bits(95, 94),
  MemAttr: bits(99, 96),
  MTCFG: bit(100),
  ALLOCCFG: bits(104, 101),
  SHCFG: bits(109, 108),
  NSCFG: bits(111, 110),
  PRIVCFG: bits(113, 112),
  INSTCFG: bits(115, 114),

  S2VMID: bits(143, 128),
  S2T0SZ: bits(165, 160),
  S2SL0: bits(167, 166),
  S2IR0: bits(169, 168),
  S2OR0: bits(171, 170),
  S2SH0: bits(173, 172),
  S2TG: bits(175, 174),
  S2PS: bits(178, 176),
  S2AA64: bit(179),
  S2ENDI: bit(180),
  S2AFFD: bit(181),
  S2PTW: bit(182),
  S2HD: bit(183),
  S2HA: bit(184),
  S2S: bit(185),
  S2R: bit(186),
  S2HAFT: bit(187),
  S2PIE: bit(188),
  S2POE: bit(189),
  DPT_VMATCH: bits(191, 190),

  S2NSW: bit(192),
  S2NSA: bit(193),
  S2SL0_2: bit(194),
  S2DS: bit(195),
  S2TTB: address(247, 196),
  S2SKL: bits(254, 253),

  PARTID: bits(287, 272),
  S_S2T0SZ: bits(293, 288),
  S_S2SL0: bits(295, 294),
  S_S2TG: bits(303, 302),
  MECID: bits(319, 304),

  PMG: bits(327, 320),
  MPAM_NS: bit(328),
  AssuredOnly: bit(329),
  TL0: bit(330),
  TL1: bit(331),
  VMSPtr: address(375, 332),

  S2SW: bit(384),
  S2SA: bit(385),
  S_S2SL0_2: bit(386),
  S_S2TTB: address(439, 388),
  S_S2SKL: bits(446, 445),

  S2POI: bits(511, 448),
})

/** STE.Config. [SMMU 5.2 Stream Table Entry] */
export const CONFIG = {
  ABORT: 0b000,
  BYPASS: 0b100,
  S1_TRANS: 0b101,
  S2_TRANS: 0b110,
  NESTED: 0b111,
} as const

/** STE.S1DSS: what a transaction without a SubstreamID gets where substreams are on. [SMMU 5.2 Stream Table Entry] */
export const S1DSS = {
  TERMINATE: 0b00,
  BYPASS: 0b01,
  SSID0: 0b10,
} as const

/** STE.EATS; 0b11 is full ATS with Device Permission Tables, which IDR3.DPT = 0 makes OFF. [SMMU 5.2 Stream Table Entry] */
export const EATS = {
  OFF: 0b00,
  FULL: 0b01,
  SPLIT: 0b10,
} as const

/** STE.S1Fmt. [SMMU 5.2 Stream Table Entry] */
export const S1FMT = {
  LINEAR: 0b00,
  TWO_LEVEL_4K: 0b01,
  TWO_LEVEL_64K: 0b10,
} as const

/** Level 1 Context Descriptor. [SMMU 5.3 Level 1 Context Descriptor] */
export const L1CD = layout('L1CD', 64, {
  V: bit(0),
  L2Ptr: address(55, 12),
})

/** Context Descriptor. [SMMU 5.4 Context Descriptor] */
export const CD = layout('CD', 512, {
  T0SZ: bits(5, 0),
  TG0: bits(7, 6),
  IR0: bits(9, 8),
  OR0: bits(11, 10),
  SH0: bits(13, 12),
  EPD0: bit(14),
  ENDI: bit(15),
  T1SZ: bits(21, 16),
  TG1: bits(23, 22),
  IR1: bits(25, 24),
  OR1: bits(27, 26),
  SH1: bits(29, 28),
  EPD1: bit(30),
  V: bit(31),
  IPS: bits(34, 32),
  AFFD: bit(35),
  WXN: bit(36),
  UWXN: bit(37),
  TBI0: bit(38),
  TBI1: bit(39),
  PAN: bit(40),
  AA64: bit(41),
  HD: bit(42),
  HA: bit(43),
  S: bit(44),
  R: bit(45),
  A: bit(46),
  ASET: bit(47),
  ASID: bits(63, 48),

  NSCFG0: bit(64),
  HAD0: bit(65),
  E0PD0: bit(66),
  HAFT: bit(67),
  TTB0: address(119, 68),
  PnCH: bit(122),
  EPAN: bit(123),
  HWU059: bit(124),
  HWU060: bit(125),
  HWU061: bit(126),
  HWU062: bit(127),

  NSCFG1: bit(128),
  HAD1: bit(129),
  E0PD1: bit(130),
  AIE: bit(131),
  TTB1: address(183, 132),
  DS: bit(186),
  PIE: bit(187),
  HWU159: bit(188),
  HWU160: bit(189),
  HWU161: bit(190),
  HWU162: bit(191),

  MAIR0: bits(223, 192),
  MAIR1: bits(255, 224),
  AMAIR0: bits(287, 256),
  AMAIR1: bits(319, 288),
  PARTID: bits(367, 352),
  PMG: bits(375, 368),
  PIIU: bits(447, 384),
  PIIP: bits(511, 448),
})
