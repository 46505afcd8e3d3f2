/** What software writes into the command queue, command by command. [SMMU 4 Commands] */

import { address, bit, bits, type FieldSpec, layout } from '../bits/layout.js'

/** Opcodes. [SMMU 4.1 Commands overview] */
export const OPCODE = {
  PREFETCH_CONFIG: 0x01,
  PREFETCH_ADDR: 0x02,
  CFGI_STE: 0x03,
  /** With Range 31 it is CMD_CFGI_ALL. */
  CFGI_STE_RANGE: 0x04,
  CFGI_CD: 0x05,
  CFGI_CD_ALL: 0x06,
  CFGI_VMS_PIDM: 0x07,
  TLBI_NH_ALL: 0x10,
  TLBI_NH_ASID: 0x11,
  TLBI_NH_VA: 0x12,
  TLBI_NH_VAA: 0x13,
  TLBI_EL3_ALL: 0x18,
  TLBI_EL3_VA: 0x1a,
  TLBI_EL2_ALL: 0x20,
  TLBI_EL2_ASID: 0x21,
  TLBI_EL2_VA: 0x22,
  TLBI_EL2_VAA: 0x23,
  TLBI_S12_VMALL: 0x28,
  TLBI_S2_IPA: 0x2a,
  TLBI_NSNH_ALL: 0x30,
  ATC_INV: 0x40,
  PRI_RESP: 0x41,
  RESUME: 0x44,
  STALL_TERM: 0x45,
  SYNC: 0x46,
} as const

/** CMD_SYNC.CS: how completion is signalled. [SMMU 4.7.3 CMD_SYNC] */
export const SYNC_CS = { NONE: 0, IRQ: 1, SEV: 2, RESERVED: 3 } as const

/** CMD_ATC_INV.Size that names everything; beyond it none has a meaning. [SMMU 4.5.1 CMD_ATC_INV] */
export const SIZE_ALL = 52

/** CMD_PRI_RESP.Resp that no response has. [SMMU 4.5.2 CMD_PRI_RESP] */
export const RESPONSE_RESERVED = 0b11

/** CMD_CFGI_STE_RANGE.Range that names every stream. [SMMU 4.3.6 CMD_CFGI_ALL] */
export const RANGE_ALL = 31

const common = { Opcode: bits(7, 0), SSec: bit(10) } as const
const substream = { SSV: bit(11), SSID: bits(31, 12), SID: bits(63, 32) } as const
const leaf = { Leaf: bit(64) } as const
/** The range fields, where IDR3.RIL offers them. SCALE has its sixth bit only with IDR5.DS. */
const range = { NUM: bits(16, 12), SCALE: bits(25, 20), TTL128: bit(71), TTL: bits(73, 72), TG: bits(75, 74) } as const
const vmid = { VMID: bits(47, 32) } as const
const asid = { ASID: bits(63, 48) } as const
const virtual = { Address: address(127, 76) } as const

const command = <const F extends Record<string, FieldSpec>>(name: string, fields: F) =>
  layout(name, 128, { ...common, ...fields })

/** What all commands have. [SMMU 4.1 Commands overview] */
export const COMMAND = command('command', {})
/** [SMMU 4.2.1 CMD_PREFETCH_CONFIG] */
export const CMD_PREFETCH_CONFIG = command('CMD_PREFETCH_CONFIG', substream)
/** [SMMU 4.2.2 CMD_PREFETCH_ADDR] The place of Stride comes from a secondary source. */
export const CMD_PREFETCH_ADDR = command('CMD_PREFETCH_ADDR', {
  ...substream,
  Size: bits(68, 64),
  Stride: bits(73, 69),
  ...virtual,
})
/** [SMMU 4.3.1 CMD_CFGI_STE] */
export const CMD_CFGI_STE = command('CMD_CFGI_STE', { SID: bits(63, 32), ...leaf })
/** [SMMU 4.3.2 CMD_CFGI_STE_RANGE] */
export const CMD_CFGI_STE_RANGE = command('CMD_CFGI_STE_RANGE', { SID: bits(63, 32), Range: bits(68, 64) })
/** [SMMU 4.3.3 CMD_CFGI_CD] */
export const CMD_CFGI_CD = command('CMD_CFGI_CD', { SSID: bits(31, 12), SID: bits(63, 32), ...leaf })
/** [SMMU 4.3.4 CMD_CFGI_CD_ALL] */
export const CMD_CFGI_CD_ALL = command('CMD_CFGI_CD_ALL', { SID: bits(63, 32) })
/** [SMMU 4.3.5 CMD_CFGI_VMS_PIDM] */
export const CMD_CFGI_VMS_PIDM = command('CMD_CFGI_VMS_PIDM', vmid)
/** [SMMU 4.4.2.1 CMD_TLBI_NH_ALL] */
export const CMD_TLBI_NH_ALL = command('CMD_TLBI_NH_ALL', vmid)
/** [SMMU 4.4.2.2 CMD_TLBI_NH_ASID] */
export const CMD_TLBI_NH_ASID = command('CMD_TLBI_NH_ASID', { ...vmid, ...asid })
/** [SMMU 4.4.2.4 CMD_TLBI_NH_VA] */
export const CMD_TLBI_NH_VA = command('CMD_TLBI_NH_VA', { ...range, ...vmid, ...asid, ...leaf, ...virtual })
/** [SMMU 4.4.2.3 CMD_TLBI_NH_VAA] */
export const CMD_TLBI_NH_VAA = command('CMD_TLBI_NH_VAA', { ...range, ...vmid, ...leaf, ...virtual })
/** [SMMU 4.4.2.7 CMD_TLBI_EL2_ALL] */
export const CMD_TLBI_EL2_ALL = command('CMD_TLBI_EL2_ALL', {})
/** [SMMU 4.4.2.10 CMD_TLBI_EL2_ASID] */
export const CMD_TLBI_EL2_ASID = command('CMD_TLBI_EL2_ASID', asid)
/** [SMMU 4.4.2.8 CMD_TLBI_EL2_VA] */
export const CMD_TLBI_EL2_VA = command('CMD_TLBI_EL2_VA', { ...range, ...asid, ...leaf, ...virtual })
/** [SMMU 4.4.2.9 CMD_TLBI_EL2_VAA] */
export const CMD_TLBI_EL2_VAA = command('CMD_TLBI_EL2_VAA', { ...range, ...leaf, ...virtual })
/** [SMMU 4.4.3.1 CMD_TLBI_S2_IPA] */
export const CMD_TLBI_S2_IPA = command('CMD_TLBI_S2_IPA', { ...range, ...vmid, ...leaf, Address: address(119, 76) })
/** [SMMU 4.4.3.2 CMD_TLBI_S12_VMALL] */
export const CMD_TLBI_S12_VMALL = command('CMD_TLBI_S12_VMALL', vmid)
/** [SMMU 4.4.4.1 CMD_TLBI_NSNH_ALL] */
export const CMD_TLBI_NSNH_ALL = command('CMD_TLBI_NSNH_ALL', {})
/** [SMMU 4.5.1 CMD_ATC_INV] */
export const CMD_ATC_INV = command('CMD_ATC_INV', { G: bit(9), ...substream, Size: bits(69, 64), ...virtual })
/** [SMMU 4.5.2 CMD_PRI_RESP] */
export const CMD_PRI_RESP = command('CMD_PRI_RESP', { ...substream, PRGIndex: bits(72, 64), Resp: bits(77, 76) })
/** [SMMU 4.7.1 CMD_RESUME] */
export const CMD_RESUME = command('CMD_RESUME', { Ac: bit(12), Ab: bit(13), SID: bits(63, 32), STAG: bits(79, 64) })
/** [SMMU 4.7.2 CMD_STALL_TERM] */
export const CMD_STALL_TERM = command('CMD_STALL_TERM', { SID: bits(63, 32) })
/** [SMMU 4.7.3 CMD_SYNC] */
export const CMD_SYNC = command('CMD_SYNC', {
  CS: bits(13, 12),
  MSH: bits(23, 22),
  MSIAttr: bits(27, 24),
  MSIData: bits(63, 32),
  MSIAddress: address(119, 66),
})
