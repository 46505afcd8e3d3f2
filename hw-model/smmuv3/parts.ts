/**
 * ID registers of units that exist, each as its maker or its source says, less what this model denies: AArch32 and
 * big-endian tables (TTF, TTENDIAN), broadcast maintenance (BTM), address translation operations (ATOS) and overrides of
 * memory types (ATTR_TYPES_OVR).
 */

import { type FieldSpec, type Layout, pack } from '../bits/layout.js'
import { type IdRegisters, STALL_MODEL } from './features.js'
import { AIDR, IDR0, IDR1, IDR3, IDR5, IIDR } from './registers.js'

/** A register with some fields set, as an unsigned number. */
export const word = <F extends Record<string, FieldSpec>>(
  record: Layout<F>,
  values: { readonly [K in keyof F]?: number },
) => pack(record, values)[0] >>> 0

const NONE: IdRegisters = { IDR0: 0, IDR1: 0, IDR2: 0, IDR3: 0, IDR4: 0, IDR5: 0, IIDR: 0, AIDR: 0 }

/** Little-endian VMSAv8-64 tables of both stages. */
const TABLES = { S2P: 1, S1P: 1, TTF: 2, TTENDIAN: 2 } as const

/** What large units have in common, besides their tables. */
const SERVER = {
  ...TABLES,
  COHACC: 1,
  Hyp: 1,
  ATS: 1,
  ASID16: 1,
  MSI: 1,
  SEV: 1,
  PRI: 1,
  VMW: 1,
  VMID16: 1,
  CD2L: 1,
  STALL_MODEL: STALL_MODEL.BOTH,
  ST_LEVEL: 1,
} as const

/** QEMU's unit with both stages, as a Linux guest finds it. */
export const QEMU: IdRegisters = {
  ...NONE,
  IDR0: 0x0d44101b,
  IDR1: 0x02730010,
  IDR3: 0x1414,
  IDR5: 0x74,
  AIDR: 1,
}

/** gem5's unit as its defaults make it: one stream, queues of 128 commands. */
export const GEM5: IdRegisters = {
  ...NONE,
  IDR0: 0x094c100b,
  IDR1: 0x00e00000,
  IDR5: 0x55,
}

/**
 * The Arm CoreLink MMU-600: the table of ID register options in its Technical Reference Manual, with the options that an
 * integrator chooses as large server parts have them. Its number of stalls is the integrator's too.
 */
export const MMU_600: IdRegisters = {
  ...NONE,
  IDR0: word(IDR0, { ...SERVER, NS1ATS: 1 }),
  IDR1: word(IDR1, { SIDSIZE: 24, SSIDSIZE: 20, PRIQS: 19, EVENTQS: 19, CMDQS: 19, ATTR_PERMS_OVR: 1 }),
  IDR3: word(IDR3, { HAD: 1, XNX: 1 }),
  IDR5: word(IDR5, { OAS: 5, GRAN4K: 1, GRAN16K: 1, GRAN64K: 1, STALL_MAX: 64 }),
  IIDR: word(IIDR, { Implementer: 0x43b, ProductID: 0x483 }),
  AIDR: word(AIDR, { ArchMinorRev: 1 }),
}

/** The unit of Arm's Base FVP as the public scripts that boot Linux on it configure it: queues of 128 entries. */
export const ARM_FVP: IdRegisters = {
  ...NONE,
  IDR0: word(IDR0, { ...SERVER, HTTU: 2 }),
  IDR1: word(IDR1, { SIDSIZE: 32, SSIDSIZE: 20, PRIQS: 7, EVENTQS: 7, CMDQS: 7, ATTR_PERMS_OVR: 1 }),
  IDR3: word(IDR3, { HAD: 1, XNX: 1, FWB: 1, STT: 1, RIL: 1, BBML: 2 }),
  IDR5: word(IDR5, { OAS: 5, GRAN4K: 1, GRAN16K: 1, GRAN64K: 1, VAX: 1, STALL_MAX: 0xffff }),
  AIDR: word(AIDR, { ArchMinorRev: 2 }),
}
