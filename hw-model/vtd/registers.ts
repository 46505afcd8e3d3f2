/** The register window: offsets, fields and reset values. No algorithm. [VTD 11.4] */

import { address, bit, bits, layout } from '../bits/layout.js'

/** Byte offsets; IVA, IOTLB and FRCD stand where ECAP.IRO and CAP.FRO say. [VTD 11.4] */
export const REGISTER = {
  VER: 0x00,
  CAP: 0x08,
  ECAP: 0x10,
  GCMD: 0x18,
  GSTS: 0x1c,
  RTADDR: 0x20,
  CCMD: 0x28,
  FSTS: 0x34,
  FECTL: 0x38,
  FEDATA: 0x3c,
  FEADDR: 0x40,
  FEUADDR: 0x44,
  PMEN: 0x64,
  PLMBASE: 0x68,
  PLMLIMIT: 0x6c,
  PHMBASE: 0x70,
  PHMLIMIT: 0x78,
  IQH: 0x80,
  IQT: 0x88,
  IQA: 0x90,
  ICS: 0x9c,
  IECTL: 0xa0,
  IEDATA: 0xa4,
  IEADDR: 0xa8,
  IEUADDR: 0xac,
  IQERCD: 0xb0,
  PQH: 0xc0,
  PQT: 0xc8,
  PQA: 0xd0,
  PRS: 0xdc,
  PECTL: 0xe0,
  PEDATA: 0xe4,
  PEADDR: 0xe8,
  PEUADDR: 0xec,
} as const

/** Bytes of the smallest register window. */
export const WINDOW_BYTES = 4096

/** Bytes of one FRCD. */
export const FRCD_BYTES = 16

/** [VTD 11.4.1 Version Register] */
export const VER = layout('VER', 32, { MIN: bits(3, 0), MAX: bits(7, 4) })

/** [VTD 11.4.2 Capability Register] */
export const CAP = layout('CAP', 64, {
  ND: bits(2, 0),
  RWBF: bit(4),
  PLMR: bit(5),
  PHMR: bit(6),
  CM: bit(7),
  SAGAW: bits(12, 8),
  MGAW: bits(21, 16),
  ZLR: bit(22),
  FRO: bits(33, 24),
  SSLPS: bits(37, 34),
  PSI: bit(39),
  NFR: bits(47, 40),
  MAMV: bits(53, 48),
  DWD: bit(54),
  DRD: bit(55),
  FS1GP: bit(56),
  PI: bit(59),
  FS5LP: bit(60),
  ECMDS: bit(61),
  ESIRTPS: bit(62),
  ESRTPS: bit(63),
})

/** [VTD 11.4.3 Extended Capability Register] */
export const ECAP = layout('ECAP', 64, {
  C: bit(0),
  QI: bit(1),
  DT: bit(2),
  IR: bit(3),
  EIM: bit(4),
  PT: bit(6),
  SC: bit(7),
  IRO: bits(17, 8),
  MHMV: bits(23, 20),
  MTS: bit(25),
  NEST: bit(26),
  PRS: bit(29),
  ERS: bit(30),
  SRS: bit(31),
  NWFS: bit(33),
  EAFS: bit(34),
  PSS: bits(39, 35),
  PASID: bit(40),
  DIT: bit(41),
  PDS: bit(42),
  SMTS: bit(43),
  VCS: bit(44),
  SSADS: bit(45),
  SSTS: bit(46),
  FSTS: bit(47),
  SMPWCS: bit(48),
  RPS: bit(49),
  TDXCS: bit(50),
  PMS: bit(51),
  ADMS: bit(52),
  RPRIVS: bit(53),
  HPTS: bit(55),
  PTRS: bit(56),
  SSIRWS: bit(57),
  SMS: bit(58),
  HPT1GPS: bit(59),
  RDTS: bit(60),
  EIMER: bit(61),
  IRREQ: bit(62),
})

/** [VTD 11.4.4.1 Global Command Register] */
export const GCMD = layout('GCMD', 32, {
  CFI: bit(23),
  SIRTP: bit(24),
  IRE: bit(25),
  QIE: bit(26),
  WBF: bit(27),
  SRTP: bit(30),
  TE: bit(31),
})

/** [VTD 11.4.4.2 Global Status Register] */
export const GSTS = layout('GSTS', 32, {
  CFIS: bit(23),
  IRTPS: bit(24),
  IRES: bit(25),
  QIES: bit(26),
  WBFS: bit(27),
  RTPS: bit(30),
  TES: bit(31),
})

/** [VTD 11.4.5 Root Table Address Register] */
export const RTADDR = layout('RTADDR', 64, { SSIRWE: bit(7), TTM: bits(11, 10), RTA: address(63, 12) })

/** `RTADDR.TTM`. */
export const TTM = { LEGACY: 0, SCALABLE: 1, RESERVED: 2, ABORT: 3 } as const

/** [VTD 11.4.6.1 Context Command Register] */
export const CCMD = layout('CCMD', 64, {
  DID: bits(15, 0),
  SID: bits(31, 16),
  FM: bits(33, 32),
  CAIG: bits(60, 59),
  CIRG: bits(62, 61),
  ICC: bit(63),
})

/** [VTD 11.4.6.3 IOTLB Invalidate Register] */
export const IOTLB = layout('IOTLB', 64, {
  DID: bits(47, 32),
  DW: bit(48),
  DR: bit(49),
  IAIG: bits(58, 57),
  IIRG: bits(61, 60),
  IVT: bit(63),
})

/** [VTD 11.4.6.4 Invalidate Address Register] */
export const IVA = layout('IVA', 64, { AM: bits(5, 0), IH: bit(6), ADDR: address(63, 12) })

/** [VTD 11.4.7.1 Fault Status Register] */
export const FSTS = layout('FSTS', 32, {
  PFO: bit(0),
  PPF: bit(1),
  IQE: bit(4),
  ICE: bit(5),
  ITE: bit(6),
  FRI: bits(15, 8),
})

/** FECTL, IECTL and PECTL. [VTD 11.4.7.2 Fault Event Control Register, 11.4.9.5, 11.4.11.5] */
export const EVENT_CONTROL = layout('event control', 32, { IP: bit(30), IM: bit(31) })

/** [VTD 11.4.9.1 Invalidation Queue Head Register] */
export const IQH = layout('IQH', 64, { QH: bits(18, 4) })

/** [VTD 11.4.9.2 Invalidation Queue Tail Register] */
export const IQT = layout('IQT', 64, { QT: bits(18, 4) })

/** [VTD 11.4.9.3 Invalidation Queue Address Register] */
export const IQA = layout('IQA', 64, { QS: bits(2, 0), DW: bit(11), IQA: address(63, 12) })

/** [VTD 11.4.9.4 Invalidation Completion Status Register] */
export const ICS = layout('ICS', 32, { IWC: bit(0) })

/** [VTD 11.4.9.9 Invalidation Queue Error Record Register] */
export const IQERCD = layout('IQERCD', 64, { IQEI: bits(3, 0), ITESID: bits(47, 32), ICESID: bits(63, 48) })

/** `IQERCD.IQEI`. */
export const IQEI = {
  BAD_TAIL: 1,
  FETCH: 2,
  BAD_TYPE: 3,
  RESERVED: 4,
  BAD_WIDTH: 5,
  TAIL_MISALIGNED: 6,
  BAD_TTM: 7,
} as const

/** [VTD 11.4.8.1 Protected Memory Enable Register] */
export const PMEN = layout('PMEN', 32, { PRS: bit(0), EPM: bit(31) })

/** [VTD 11.4.11.1 Page Request Queue Head Register] */
export const PQH = layout('PQH', 64, { PQH: bits(18, 5) })

/** [VTD 11.4.11.2 Page Request Queue Tail Register] */
export const PQT = layout('PQT', 64, { PQT: bits(18, 5) })

/** [VTD 11.4.11.3 Page Request Queue Address Register] */
export const PQA = layout('PQA', 64, { PQS: bits(2, 0), PQA: address(63, 12) })

/** [VTD 11.4.11.4 Page Request Status Register] */
export const PRS = layout('PRS', 32, { PPR: bit(0), PRO: bit(1) })
