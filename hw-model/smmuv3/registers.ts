/** The register map and the registers' fields. Offsets are bytes in the window; page 1 starts at 0x10000. */

import { address, bit, bits, layout } from '../bits/layout.js'

/** Bytes of the window: two pages of 64 KiB. [SMMU 6.1 Memory map] */
export const WINDOW_BYTES = 0x20000

/** Where page 1 starts. Its queue registers are the same as those at this distance below it. [SMMU 6.1 Memory map] */
export const PAGE_1 = 0x10000

/** Offsets on page 0. [SMMU 6.2 Register overview] */
export const OFFSET = {
  IDR0: 0x000,
  IDR1: 0x004,
  IDR2: 0x008,
  IDR3: 0x00c,
  IDR4: 0x010,
  IDR5: 0x014,
  IIDR: 0x018,
  AIDR: 0x01c,
  CR0: 0x020,
  CR0ACK: 0x024,
  CR1: 0x028,
  CR2: 0x02c,
  STATUSR: 0x040,
  GBPA: 0x044,
  IRQ_CTRL: 0x050,
  IRQ_CTRLACK: 0x054,
  GERROR: 0x060,
  GERRORN: 0x064,
  GERROR_IRQ_CFG0: 0x068,
  GERROR_IRQ_CFG1: 0x070,
  GERROR_IRQ_CFG2: 0x074,
  STRTAB_BASE: 0x080,
  STRTAB_BASE_CFG: 0x088,
  CMDQ_BASE: 0x090,
  CMDQ_PROD: 0x098,
  CMDQ_CONS: 0x09c,
  EVENTQ_BASE: 0x0a0,
  EVENTQ_PROD: 0x0a8,
  EVENTQ_CONS: 0x0ac,
  EVENTQ_IRQ_CFG0: 0x0b0,
  EVENTQ_IRQ_CFG1: 0x0b8,
  EVENTQ_IRQ_CFG2: 0x0bc,
  PRIQ_BASE: 0x0c0,
  PRIQ_PROD: 0x0c8,
  PRIQ_CONS: 0x0cc,
  PRIQ_IRQ_CFG0: 0x0d0,
  PRIQ_IRQ_CFG1: 0x0d8,
  PRIQ_IRQ_CFG2: 0x0dc,
  ID_REGS: 0xfd0,
} as const

/** [SMMU 6.3.1 SMMU_IDR0] */
export const IDR0 = layout('IDR0', 32, {
  S2P: bit(0),
  S1P: bit(1),
  TTF: bits(3, 2),
  COHACC: bit(4),
  BTM: bit(5),
  HTTU: bits(7, 6),
  DORMHINT: bit(8),
  Hyp: bit(9),
  ATS: bit(10),
  NS1ATS: bit(11),
  ASID16: bit(12),
  MSI: bit(13),
  SEV: bit(14),
  ATOS: bit(15),
  PRI: bit(16),
  VMW: bit(17),
  VMID16: bit(18),
  CD2L: bit(19),
  VATOS: bit(20),
  TTENDIAN: bits(22, 21),
  ATSRECERR: bit(23),
  STALL_MODEL: bits(25, 24),
  TERM_MODEL: bit(26),
  ST_LEVEL: bits(28, 27),
  RME_IMPL: bit(30),
})

/** [SMMU 6.3.2 SMMU_IDR1] */
export const IDR1 = layout('IDR1', 32, {
  SIDSIZE: bits(5, 0),
  SSIDSIZE: bits(10, 6),
  PRIQS: bits(15, 11),
  EVENTQS: bits(20, 16),
  CMDQS: bits(25, 21),
  ATTR_PERMS_OVR: bit(26),
  ATTR_TYPES_OVR: bit(27),
  REL: bit(28),
  QUEUES_PRESET: bit(29),
  TABLES_PRESET: bit(30),
  ECMDQ: bit(31),
})

/** [SMMU 6.3.3 SMMU_IDR2] */
export const IDR2 = layout('IDR2', 32, { BA_VATOS: bits(9, 0) })

/** [SMMU 6.3.4 SMMU_IDR3] */
export const IDR3 = layout('IDR3', 32, {
  HAD: bit(2),
  PBHA: bit(3),
  XNX: bit(4),
  PPS: bit(5),
  MPAM: bit(7),
  FWB: bit(8),
  STT: bit(9),
  RIL: bit(10),
  BBML: bits(12, 11),
  E0PD: bit(13),
  PTWNNC: bit(14),
  DPT: bit(15),
  PASIDTT: bit(16),
  EPAN: bit(17),
  S1PI: bit(18),
  S2PI: bit(19),
  S2PO: bit(20),
  THE: bit(21),
  MTEPERM: bit(22),
  AIE: bit(23),
})

/** [SMMU 6.3.6 SMMU_IDR5] */
export const IDR5 = layout('IDR5', 32, {
  OAS: bits(2, 0),
  GRAN4K: bit(4),
  GRAN16K: bit(5),
  GRAN64K: bit(6),
  DS: bit(7),
  D128: bit(8),
  VAX: bits(11, 10),
  STALL_MAX: bits(31, 16),
})

/** [SMMU 6.3.7 SMMU_IIDR] */
export const IIDR = layout('IIDR', 32, {
  Implementer: bits(11, 0),
  Revision: bits(15, 12),
  Variant: bits(19, 16),
  ProductID: bits(31, 20),
})

/** [SMMU 6.3.8 SMMU_AIDR] */
export const AIDR = layout('AIDR', 32, { ArchMinorRev: bits(3, 0), ArchMajorRev: bits(7, 4) })

/** [SMMU 6.3.9 SMMU_CR0] */
export const CR0 = layout('CR0', 32, {
  SMMUEN: bit(0),
  PRIQEN: bit(1),
  EVENTQEN: bit(2),
  CMDQEN: bit(3),
  ATSCHK: bit(4),
  VMW: bits(8, 6),
  DPT_WALK_EN: bit(10),
})

/** [SMMU 6.3.11 SMMU_CR1] */
export const CR1 = layout('CR1', 32, {
  QUEUE_IC: bits(1, 0),
  QUEUE_OC: bits(3, 2),
  QUEUE_SH: bits(5, 4),
  TABLE_IC: bits(7, 6),
  TABLE_OC: bits(9, 8),
  TABLE_SH: bits(11, 10),
})

/** [SMMU 6.3.12 SMMU_CR2] */
export const CR2 = layout('CR2', 32, { E2H: bit(0), RECINVSID: bit(1), PTM: bit(2), REC_CFG_ATS: bit(3) })

/** [SMMU 6.3.14 SMMU_GBPA] */
export const GBPA = layout('GBPA', 32, {
  MemAttr: bits(3, 0),
  MTCFG: bit(4),
  ALLOCCFG: bits(11, 8),
  SHCFG: bits(13, 12),
  PRIVCFG: bits(17, 16),
  INSTCFG: bits(19, 18),
  ABORT: bit(20),
  Update: bit(31),
})

/** [SMMU 6.3.16 SMMU_IRQ_CTRL] */
export const IRQ_CTRL = layout('IRQ_CTRL', 32, { GERROR_IRQEN: bit(0), PRIQ_IRQEN: bit(1), EVENTQ_IRQEN: bit(2) })

/** [SMMU 6.3.19 SMMU_GERROR]; GERRORN has the same fields. */
export const GERROR = layout('GERROR', 32, {
  CMDQ_ERR: bit(0),
  EVENTQ_ABT_ERR: bit(2),
  PRIQ_ABT_ERR: bit(3),
  MSI_CMDQ_ABT_ERR: bit(4),
  MSI_EVENTQ_ABT_ERR: bit(5),
  MSI_PRIQ_ABT_ERR: bit(6),
  MSI_GERROR_ABT_ERR: bit(7),
  SFM_ERR: bit(8),
  CMDQP_ERR: bit(9),
  DPT_ERR: bit(10),
})

/** [SMMU 6.3.24 SMMU_STRTAB_BASE] */
export const STRTAB_BASE = layout('STRTAB_BASE', 64, { ADDR: address(55, 6), RA: bit(62) })

/** [SMMU 6.3.25 SMMU_STRTAB_BASE_CFG] */
export const STRTAB_BASE_CFG = layout('STRTAB_BASE_CFG', 32, {
  LOG2SIZE: bits(5, 0),
  SPLIT: bits(10, 6),
  FMT: bits(17, 16),
})

/** [SMMU 6.3.26 SMMU_CMDQ_BASE]; EVENTQ_BASE has WA for RA. */
export const QUEUE_BASE = layout('QUEUE_BASE', 64, { LOG2SIZE: bits(4, 0), ADDR: address(55, 5), RA: bit(62) })

/** [SMMU 6.3.28 SMMU_CMDQ_CONS] */
export const CMDQ_CONS = layout('CMDQ_CONS', 32, { RD: bits(19, 0), ERR: bits(30, 24) })

/** PRIQ_PROD has the same fields. [SMMU 6.3.95 SMMU_EVENTQ_PROD] [SMMU 6.3.97 SMMU_PRIQ_PROD] */
export const EVENTQ_PROD = layout('EVENTQ_PROD', 32, { WR: bits(19, 0), OVFLG: bit(31) })

/** PRIQ_CONS has the same fields. [SMMU 6.3.96 SMMU_EVENTQ_CONS] [SMMU 6.3.98 SMMU_PRIQ_CONS] */
export const EVENTQ_CONS = layout('EVENTQ_CONS', 32, { RD: bits(19, 0), OVACKFLG: bit(31) })

/** MSI configuration: CFG0 is the address, CFG1 the data. [SMMU 6.3.21 SMMU_GERROR_IRQ_CFG0] */
export const IRQ_CFG0 = layout('IRQ_CFG0', 64, { ADDR: address(55, 2) })

/** Attributes of the MSI write; with LO the queue interrupts for last requests. [SMMU 6.3.36 SMMU_PRIQ_IRQ_CFG2] */
export const IRQ_CFG2 = layout('IRQ_CFG2', 32, { MemAttr: bits(3, 0), SH: bits(5, 4), LO: bit(31) })

/** CMDQ_CONS.ERR. [SMMU 7.1 Command queue errors] */
export const CERROR = { NONE: 0, ILL: 1, ABT: 2, ATC_INV_SYNC: 3 } as const

/** The identification registers as one record, from PIDR4 to CIDR3. [SMMU 6.3.170 ID_REGS] */
export const ID_REGS = layout('ID_REGS', 384, {
  DES_2: bits(3, 0),
  SIZE: bits(7, 4),
  PART_0: bits(135, 128),
  PART_1: bits(163, 160),
  DES_0: bits(167, 164),
  DES_1: bits(194, 192),
  JEDEC: bit(195),
  REVISION: bits(199, 196),
  CMOD: bits(227, 224),
  REVAND: bits(231, 228),
  CIDR0: bits(263, 256),
  CIDR1: bits(295, 288),
  CIDR2: bits(327, 320),
  CIDR3: bits(359, 352),
})
