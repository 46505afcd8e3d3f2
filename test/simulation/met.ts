/** What random guests have to come across, or the simulation proves less than it says. */

import { TRAIT_NAMES as SMMU_TRAITS } from './guest-smmuv3-ids.js'
import { TRAIT_NAMES as VTD_TRAITS } from './guest-vtd-ids.js'
import type { Architecture } from './run.js'

const hex = (id: number): string => `0x${id.toString(16)}`

const SMMU: readonly string[] = [
  ...SMMU_TRAITS.map((name) => `unit: ${name}`),
  'explained',
  'DS',
  '52-bit input',
  '52-bit output',
  'small table',
  'E0PD',
  'EPAN',
  'VMID wildcards',
  'SMMUEN = 0 while transactions are held',
  'substream',
  '4 KiB granule',
  '16 KiB granule',
  '64 KiB granule',
  'Contiguous',
  'global',
  'PAN',
  'AF set, stage 1',
  'AF set, stage 2',
  'AF set, TT read',
  'AF set, CD',
  'made dirty, stage 1',
  'made dirty, stage 2',
  'made dirty, TT write',
  'EL2',
  'EL2-E2H',
  'ordinary: razWi',
  'ordinary: stall',
  'RESUME, retry',
  'RESUME, terminate',
  'STALL_TERM',
  'request: granted',
  'request: unsupported',
  'request: completerAbort',
  'translated: translated',
  'translated: abort',
  // Every event that configuration and translation can make. [SMMU 7.3 Event records]
  ...[0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x10, 0x11, 0x12, 0x13].map(
    (id) => `event ${hex(id)}`,
  ),
]

const WIDTHS = [39, 48, 57].map((bits) => `second stage of ${bits} bits`)
const LEVELS = [4, 5].flatMap((levels) => [
  `first stage of ${levels} levels`,
  `first stage of ${levels} levels, nested`,
])

const VTD: readonly string[] = [
  ...VTD_TRAITS.map((name) => `unit: ${name}`),
  ...WIDTHS,
  ...LEVELS,
  'explained',
  'legacy',
  'legacy, pass-through',
  'first stage',
  'second stage',
  'nested',
  'pass-through',
  'PASID',
  'request with PASID',
  'RID_PASID',
  'RID_PRIV',
  'SSIRWE',
  '2 MiB, first stage',
  '1 GiB, first stage',
  '2 MiB, second stage',
  '1 GiB, second stage',
  'A set, first stage',
  'EA set',
  'D set, first stage',
  'A set, second stage',
  'D set, second stage',
  'privileged access to a supervisor page',
  'privileged write without WPE',
  'zero-length read of what may only be written',
  'granted some right',
  'granted nothing',
  'translation of the interrupt range',
  'request: status 6',
  'request: status 7',
  'translated: status 1',
  'translated: status 2',
  'SRTP',
  'another root table',
  'TE 1 -> 0 -> 1',
  'TTM 0',
  'TTM 2',
  'TTM 3',
  'register-based invalidation',
  ...[
    'root entry',
    'context entry',
    'directory entry',
    'PASID entry',
    'shape of a domain',
    'attached to another domain',
    'DID',
    'SSADE',
    'EAFE',
    'page replaced',
    'table replaced',
    'mapped',
    'first-stage entry',
    'second-stage entry',
  ].map((what) => `edit: ${what}`),
  // Every reason that DMA can cause. [VTD 7.1.3 Fault Conditions]
  ...[0x1, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0x9, 0xa, 0xb, 0xc, 0xd, 0xe, 0x29],
  ...[0x30, 0x31, 0x33, 0x34, 0x38, 0x39, 0x3a, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x48, 0x49],
  ...[0x50, 0x51, 0x52, 0x58, 0x59, 0x5a, 0x5b, 0x5c, 0x5d, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77],
  ...[0x78, 0x79, 0x7a, 0x7b, 0x7c, 0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x87, 0x89, 0x90],
].map((name) => (typeof name === 'number' ? `fault ${hex(name)}` : name))

/** By architecture. */
export const MET: Readonly<Record<Architecture, readonly string[]>> = { smmuv3: SMMU, vtd: VTD }
