/**
 * Registers of units that others have made, field by field: QEMU's, and those of processors as Linux prints them when it
 * boots on them. What this model refuses is left out of them: MTS, TDXCS and PMS of ECAP, ECMDS of CAP. Interrupt
 * remapping (IR, EIM, MHMV, PI, ESIRTPS) is named as it was found, and reads as 0.
 */

import { type FieldSpec, type Layout, pack } from '../bits/layout.js'
import type { IdRegisters } from './capabilities.js'
import { CAP, ECAP } from './registers.js'

/** A 64-bit register with some fields set, as two unsigned halves, low first. */
export function halves<F extends Record<string, FieldSpec>>(
  record: Layout<F>,
  values: { readonly [K in keyof F]?: number },
): readonly [lo: number, hi: number] {
  const words = pack(record, values)
  return [words[0] >>> 0, words[1] >>> 0]
}

/** AGAW bits of CAP.SAGAW. */
export const SAGAW = { BITS_39: 2, BITS_48: 4, BITS_57: 8 } as const

/** What QEMU's units have in common: 48 bits, one fault record. */
const QEMU_CAP = {
  ND: 6,
  SAGAW: SAGAW.BITS_39 | SAGAW.BITS_48,
  MGAW: 47,
  FRO: 0x22,
  SSLPS: 3,
  PSI: 1,
  MAMV: 18,
  DWD: 1,
  DRD: 1,
  ESRTPS: 1,
} as const

/** QEMU's unit in legacy mode. */
export const QEMU_LEGACY: IdRegisters = {
  VER: 0x10,
  CAP: halves(CAP, QEMU_CAP),
  ECAP: halves(ECAP, { QI: 1, IR: 1, PT: 1, IRO: 0xf, MHMV: 0xf }),
  hawBits: 48,
}

/** QEMU's unit with scalable mode and first stage alone. */
export const QEMU_FIRST_STAGE: IdRegisters = {
  VER: 0x10,
  CAP: halves(CAP, { ...QEMU_CAP, FS1GP: 1 }),
  ECAP: halves(ECAP, { QI: 1, PT: 1, IRO: 0xf, SMTS: 1, FSTS: 1 }),
  hawBits: 48,
}

/** Interrupt remapping with x2APIC, as every real unit has it. */
const INTERRUPTS = { IR: 1, EIM: 1, MHMV: 0xf } as const

/** What real units have in common. */
const REAL_CAP = {
  PLMR: 1,
  PHMR: 1,
  SAGAW: SAGAW.BITS_48,
  ZLR: 1,
  SSLPS: 3,
  PSI: 1,
  DWD: 1,
  DRD: 1,
} as const

/** The sixth generation Core (Skylake): legacy mode, one fault record. */
export const SKYLAKE: IdRegisters = {
  VER: 0x10,
  CAP: halves(CAP, { ...REAL_CAP, ND: 2, MGAW: 38, FRO: 0x40, MAMV: 18 }),
  ECAP: halves(ECAP, { ...INTERRUPTS, QI: 1, PT: 1, SC: 1, IRO: 0x50 }),
  hawBits: 39,
}

/** Xeon Scalable, first generation (Skylake-SP): legacy mode with device TLBs. */
export const SKYLAKE_SP: IdRegisters = {
  VER: 0x10,
  CAP: halves(CAP, { ...REAL_CAP, ND: 6, MGAW: 47, FRO: 0x10, NFR: 7, MAMV: 18, PI: 1 }),
  ECAP: halves(ECAP, { ...INTERRUPTS, C: 1, QI: 1, DT: 1, PT: 1, SC: 1, IRO: 0x20 }),
  hawBits: 46,
}

/** Xeon Scalable, third generation (Ice Lake-SP): legacy mode, version 4, with page-request draining and no requests. */
export const ICE_LAKE_SP: IdRegisters = {
  VER: 0x40,
  CAP: halves(CAP, { ...REAL_CAP, ND: 6, MGAW: 56, FRO: 0x40, MAMV: 45, PI: 1 }),
  ECAP: halves(ECAP, { ...INTERRUPTS, C: 1, QI: 1, DT: 1, PT: 1, SC: 1, IRO: 0x50, DIT: 1, PDS: 1 }),
  hawBits: 46,
}

/** What units of version 7 have in common. */
const VERSION_7_CAP = { FRO: 0xee, FS1GP: 1, PI: 1, ESIRTPS: 1, ESRTPS: 1 } as const
const VERSION_7_ECAP = {
  QI: 1,
  DT: 1,
  PT: 1,
  SC: 1,
  IRO: 0xef,
  NWFS: 1,
  PSS: 19,
  DIT: 1,
  SMTS: 1,
  SSTS: 1,
  FSTS: 1,
  RPS: 1,
  ADMS: 1,
} as const

/** Core Ultra, series 2 (Arrow Lake-U): scalable mode without nesting and PASIDs; tables are not snooped. */
export const ARROW_LAKE_U: IdRegisters = {
  VER: 0x70,
  CAP: halves(CAP, { ...REAL_CAP, ...VERSION_7_CAP, ND: 2, MGAW: 41, MAMV: 30 }),
  ECAP: halves(ECAP, { ...INTERRUPTS, ...VERSION_7_ECAP }),
  hawBits: 42,
}

/** Xeon 6 (Granite Rapids): scalable mode with everything that SVA needs; memory types and the like are left out. */
export const GRANITE_RAPIDS: IdRegisters = {
  VER: 0x70,
  CAP: halves(CAP, {
    ...REAL_CAP,
    ...VERSION_7_CAP,
    ND: 6,
    SAGAW: SAGAW.BITS_48 | SAGAW.BITS_57,
    MGAW: 56,
    MAMV: 45,
    FS5LP: 1,
  }),
  ECAP: halves(ECAP, {
    ...INTERRUPTS,
    ...VERSION_7_ECAP,
    C: 1,
    NEST: 1,
    PRS: 1,
    SRS: 1,
    EAFS: 1,
    PASID: 1,
    PDS: 1,
    SSADS: 1,
    SMPWCS: 1,
    RPRIVS: 1,
  }),
  hawBits: 52,
}
