/** What a platform consists of, as configuration spells it: units and the devices behind them. */

import type { CacheMode, OracleSetting } from '../core/machine.js'

/** One remapping unit. */
export interface UnitSpec {
  /** Such as `smmu0`; unique. */
  readonly name: string
  readonly type: 'smmuv3' | 'vtd'
  /** A named part, whose ID registers it has; absent or empty: the type's default. */
  readonly preset?: string
  /** ID registers that differ from the preset's, by the manual's name (`IDR5`, `CAP` …). */
  readonly registers?: Readonly<Record<string, bigint>>
  /**
   * ID registers that GetHwInfo tells otherwise than the unit has them. Nothing but that answer changes: for a machine
   * whose registers offer what no call of the contract reaches, such as interrupt remapping (ECAP.IR, EIM, MHMV).
   */
  readonly reported?: Readonly<Record<string, bigint>>
  /** Absent: what real parts keep. */
  readonly cache?: CacheSpec
  /** What is said here differs from what holds for all units. */
  readonly oracle?: Partial<OracleSetting>
}

/** Names of registers that `reported` may have, by the unit's type. */
export const REPORTABLE = {
  smmuv3: ['IDR0', 'IDR1', 'IDR2', 'IDR3', 'IDR4', 'IDR5', 'IIDR', 'AIDR'],
  vtd: ['CAP', 'ECAP'],
} as const

/** What a unit's caches keep. */
export interface CacheSpec {
  /** Absent: `hardware`. */
  readonly policy?: CacheMode
  /** Where chance starts, with `random`. */
  readonly seed?: number
  /** Entries of its translation cache, a power of two; 0 switches it off. Absent: what the policy has. */
  readonly entries?: number
  /** Entries a page may choose from, a power of two; with `entries`. */
  readonly ways?: number
}

/** One device. */
export interface DeviceSpec {
  /** `segment:bus:dev.fn`, such as `0000:00:01.0`; unique. A mediated device has a name of its own choice. */
  readonly name: string
  /** The unit it is behind. */
  readonly iommu: string
  /** log2 of the PASIDs it can use; 0: none. */
  readonly pasidBits: number
  /** It keeps translations of its own, where its unit answers translation requests (IDR0.ATS, ECAP.DT). */
  readonly ats: boolean
  /** It asks for pages, where it has ATS and its unit takes page requests (IDR0.PRI, ECAP.PRS). */
  readonly pri: boolean
  /** It can wait for software where its unit stalls it (STALL_MODEL), as platform devices can and PCI ones cannot. Absent: no. */
  readonly stalls?: boolean
  /** Its accesses are coherent whatever a guest's tables say (CANWBS): an SMMUv3 without S2FWB nests for it. Absent: no. */
  readonly canwbs?: boolean
  /** Present on a mediated device: one PASID of a parent device. */
  readonly mediated?: { readonly parent: string; readonly pasid: number }
}

/** A whole platform. */
export interface PlatformSpec {
  readonly units: readonly UnitSpec[]
  readonly devices: readonly DeviceSpec[]
}

/** RID of a PCI name: bus << 8 | device << 3 | function. Undefined when it is no `segment:bus:dev.fn`. */
export function ridOf(name: string): number | undefined {
  const match = /^[0-9a-f]{4}:([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/.exec(name)
  if (match === null) return undefined
  const device = Number.parseInt(match[2], 16)
  if (device > 31) return undefined
  return (Number.parseInt(match[1], 16) << 8) | (device << 3) | Number.parseInt(match[3], 16)
}

/**
 * One SMMUv3 and one VT-d unit, four devices each, one of them mediated. The second of each and its mediated child have
 * ATS and PRI; what has neither is flushed without a word to it.
 */
export const DEFAULT_PLATFORM: PlatformSpec = {
  units: [
    { name: 'smmu0', type: 'smmuv3', preset: 'ats' },
    { name: 'vtd0', type: 'vtd', preset: 'vtd-ats' },
  ],
  devices: [
    { name: '0000:00:01.0', iommu: 'smmu0', pasidBits: 20, ats: false, pri: false },
    { name: '0000:00:02.0', iommu: 'smmu0', pasidBits: 20, ats: true, pri: true },
    { name: '0000:00:03.0', iommu: 'smmu0', pasidBits: 0, ats: false, pri: false },
    {
      name: '0000:00:02.0-mdev',
      iommu: 'smmu0',
      pasidBits: 0,
      ats: true,
      pri: true,
      mediated: { parent: '0000:00:02.0', pasid: 7 },
    },
    { name: '0000:01:01.0', iommu: 'vtd0', pasidBits: 20, ats: false, pri: false },
    { name: '0000:01:02.0', iommu: 'vtd0', pasidBits: 20, ats: true, pri: true },
    { name: '0000:01:03.0', iommu: 'vtd0', pasidBits: 0, ats: false, pri: false },
    {
      name: '0000:01:02.0-mdev',
      iommu: 'vtd0',
      pasidBits: 0,
      ats: true,
      pri: true,
      mediated: { parent: '0000:01:02.0', pasid: 7 },
    },
  ],
}
