/**
 * Units by name: the platform's default and those whose tables were captured from real guests. Any register may be
 * replaced; what follows from it follows. See `capabilities.ts` for what is refused and what is masked.
 */

import { type CacheGeometry, DEFAULT_GEOMETRY } from '../cache/translation-cache.js'
import type { IdRegisters } from './capabilities.js'

/** Everything that makes one unit different from another. */
export interface UnitOptions {
  readonly ids: IdRegisters
  readonly iotlb: CacheGeometry
  /** Context entries kept; 0 switches the cache off. */
  readonly contextEntries: number
  /** PASID table entries kept; 0 switches the cache off. */
  readonly pasidEntries: number
}

/** Registers of each preset. */
export const PRESETS = {
  /**
   * Scalable mode with both stages and nesting, 20-bit PASIDs, supervisor requests, extended access flags, second-stage
   * A/D, abort mode; 48 bits, 8 fault records; no ATS.
   * CAP: ND 6, SAGAW 39 | 48, MGAW 47, ZLR, FRO 0x22, SSLPS 3, PSI, NFR 7, MAMV 18, DWD, DRD, FS1GP, ESRTPS.
   * ECAP: C, QI, PT, SC, IRO 0xf, NEST, SRS, EAFS, PSS 19, PASID, SMTS, SSADS, SSTS, FSTS, SMPWCS, RPS, ADMS.
   */
  'vtd-scalable': { VER: 0x10, CAP: [0x226f0606, 0x81d2078c], ECAP: [0x84000fc3, 0x0013e99c], hawBits: 48 },
  /** The same with 57-bit guest addresses: five levels in both stages. */
  'vtd-scalable-57': { VER: 0x10, CAP: [0x22780e06, 0x91d2078c], ECAP: [0x84000fc3, 0x0013e99c], hawBits: 52 },
  /** Legacy mode alone: second stage and pass-through. */
  'vtd-legacy': { VER: 0x10, CAP: [0x226f0606, 0x80d2078c], ECAP: [0x00000fc3, 0], hawBits: 48 },
  /** QEMU's unit in legacy mode; its interrupt remapping bits are masked. */
  'qemu-legacy': { VER: 0x10, CAP: [0x222f0606, 0x80d2008c], ECAP: [0x00f00f4a, 0], hawBits: 48 },
  /** QEMU's unit with scalable mode and first stage alone. */
  'qemu-first-stage': { VER: 0x10, CAP: [0x222f0606, 0x81d2008c], ECAP: [0x00000f42, 0x00008800], hawBits: 48 },
} as const satisfies Record<string, IdRegisters>

/** Name of a preset. */
export type PresetName = keyof typeof PRESETS

/** The unit that a platform gets when it names none. */
export const DEFAULT_PRESET: PresetName = 'vtd-scalable'

/** Options of a preset, with some of its registers and caches replaced. */
export function presetOptions(
  name: PresetName = DEFAULT_PRESET,
  ids: Partial<IdRegisters> = {},
  caches: Partial<Omit<UnitOptions, 'ids'>> = {},
): UnitOptions {
  return {
    ids: { ...PRESETS[name], ...ids },
    iotlb: caches.iotlb ?? DEFAULT_GEOMETRY,
    contextEntries: caches.contextEntries ?? DEFAULT_CONTEXT_ENTRIES,
    pasidEntries: caches.pasidEntries ?? DEFAULT_PASID_ENTRIES,
  }
}

/** Enough for every function of a large machine's unit. */
const DEFAULT_CONTEXT_ENTRIES = 256

/** Enough for a PASID for each process of a busy one. */
const DEFAULT_PASID_ENTRIES = 1024
