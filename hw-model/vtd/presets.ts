/**
 * Units by name: the platform's default, one that offers everything, and units that exist (`parts.ts`). Any register may
 * be replaced; what follows from it follows. See `capabilities.ts` for what is refused and what is masked.
 */

import type { CacheOptions } from './cache-options.js'
import type { IdRegisters } from './capabilities.js'
import {
  ARROW_LAKE_U,
  GRANITE_RAPIDS,
  halves,
  ICE_LAKE_SP,
  QEMU_FIRST_STAGE,
  QEMU_LEGACY,
  SAGAW,
  SKYLAKE,
  SKYLAKE_SP,
} from './parts.js'
import { CAP, ECAP } from './registers.js'

/** Everything that makes one unit different from another. */
export interface UnitOptions {
  readonly ids: IdRegisters
  readonly caches?: CacheOptions
}

/** What the platform's units have in common: 8 fault records, large pages, every kind of draining. */
const PLATFORM_CAP = {
  ND: 6,
  SAGAW: SAGAW.BITS_39 | SAGAW.BITS_48,
  MGAW: 47,
  ZLR: 1,
  FRO: 0x22,
  SSLPS: 3,
  PSI: 1,
  NFR: 7,
  MAMV: 18,
  DWD: 1,
  DRD: 1,
  ESRTPS: 1,
} as const

/** Legacy mode: second stage and pass-through. */
const LEGACY_ECAP = { C: 1, QI: 1, PT: 1, SC: 1, IRO: 0xf } as const

/** Both stages and nesting, 20-bit PASIDs; no device TLBs. */
const SCALABLE_ECAP = {
  ...LEGACY_ECAP,
  NEST: 1,
  SRS: 1,
  EAFS: 1,
  PSS: 19,
  PASID: 1,
  SMTS: 1,
  SSADS: 1,
  SSTS: 1,
  FSTS: 1,
  SMPWCS: 1,
  RPS: 1,
  ADMS: 1,
} as const

/** Five levels in both stages. */
const WIDE = { SAGAW: SAGAW.BITS_39 | SAGAW.BITS_48 | SAGAW.BITS_57, MGAW: 56, FS5LP: 1 } as const

/** Legacy mode alone. */
const LEGACY: IdRegisters = {
  VER: 0x10,
  CAP: halves(CAP, PLATFORM_CAP),
  ECAP: halves(ECAP, LEGACY_ECAP),
  hawBits: 48,
}

/** What the default platform's host driver uses. */
const SCALABLE: IdRegisters = {
  VER: 0x10,
  CAP: halves(CAP, { ...PLATFORM_CAP, FS1GP: 1 }),
  ECAP: halves(ECAP, SCALABLE_ECAP),
  hawBits: 48,
}

/** The same with devices that keep translations and ask for pages. */
const WITH_ATS: IdRegisters = {
  ...SCALABLE,
  ECAP: halves(ECAP, { ...SCALABLE_ECAP, DT: 1, PRS: 1, PDS: 1 }),
}

/** Scalable mode with 57-bit guest addresses. */
const SCALABLE_57: IdRegisters = {
  VER: 0x10,
  CAP: halves(CAP, { ...PLATFORM_CAP, ...WIDE, FS1GP: 1 }),
  ECAP: halves(ECAP, SCALABLE_ECAP),
  hawBits: 52,
}

/** Everything this model does, for those who drive a unit themselves. */
const FULL: IdRegisters = {
  VER: 0x10,
  CAP: halves(CAP, {
    ...PLATFORM_CAP,
    ...WIDE,
    FS1GP: 1,
    NFR: 15,
    PLMR: 1,
    PHMR: 1,
  }),
  ECAP: halves(ECAP, {
    ...SCALABLE_ECAP,
    DT: 1,
    NWFS: 1,
    DIT: 1,
    RPRIVS: 1,
    HPTS: 1,
    PTRS: 1,
    HPT1GPS: 1,
    SSIRWS: 1,
    PRS: 1,
    PDS: 1,
    SMS: 1,
  }),
  hawBits: 52,
}

/** Presets by name: what the platform uses, everything, and units that exist. */
export const PRESETS = {
  'vtd-scalable': SCALABLE,
  'vtd-ats': WITH_ATS,
  'vtd-scalable-57': SCALABLE_57,
  'vtd-legacy': LEGACY,
  'vtd-full': FULL,
  'qemu-legacy': QEMU_LEGACY,
  'qemu-first-stage': QEMU_FIRST_STAGE,
  skylake: SKYLAKE,
  'skylake-sp': SKYLAKE_SP,
  'ice-lake-sp': ICE_LAKE_SP,
  'arrow-lake-u': ARROW_LAKE_U,
  'granite-rapids': GRANITE_RAPIDS,
} as const satisfies Readonly<Record<string, IdRegisters>>

/** Name of a preset. */
export type PresetName = keyof typeof PRESETS

/** The unit that a platform gets when it names none. */
export const DEFAULT_PRESET: PresetName = 'vtd-scalable'

/** Options of a preset, with some of its registers and caches replaced. */
export function presetOptions(
  name: PresetName = DEFAULT_PRESET,
  ids: Partial<IdRegisters> = {},
  caches: CacheOptions = {},
): UnitOptions {
  return { ids: { ...PRESETS[name], ...ids }, caches }
}
