/**
 * Registers of units that others have made, field by field. What this model denies is left out of them: their interrupt
 * remapping (IR, EIM, MHMV, PI, ESIRTPS).
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
