/** What the kernel's drivers say of units: VT-d in its modes, SMMUv3 with its stages, and the self-test's. */

import { no, type Span, Struct, TOP } from './bytes.js'

const NEST_PARENT = 1
const DIRTY = 2
const PASID = 8

/** A kernel-owned domain that a driver makes. */
export interface PagingKind {
  readonly aperture: Span
  readonly minPage: bigint
  readonly hasDirty: boolean
  readonly wantsWriteable: boolean
}

/** What tells the units apart. */
export interface Unit {
  readonly kind: 'vtd' | 'smmuv3' | 'mock'
  /** The first line of a recording. */
  readonly iommu: string
  readonly kernel: string
  readonly msi: readonly Span[]
  readonly infoType: number
  readonly info: Uint8Array
  readonly capabilities: number
  readonly tracksDirty: boolean
  /** Tables of guests hang under a kernel-owned domain, without a vIOMMU. */
  readonly nestsDirectly: boolean
  readonly viommuType: number | undefined
  readonly nestedType: number
  readonly invalidateType: number
  /** Domains with a fault queue want a device that can ask for pages. */
  readonly faultsNeedPri: boolean
  paging(flags: number, data: Struct | undefined): PagingKind
}

const upTo = (bits: bigint): Span => ({ start: 0n, last: (1n << bits) - 1n })

/** Options of QEMU's intel-iommu. */
export interface VtdOptions {
  readonly mode: 'legacy' | 'second' | 'first'
  readonly bits: 39n | 48n
}

const DEBIAN = 'Linux version 7.2.13 (Debian linux-source-7.2 7.2.13-1'

/** QEMU's intel-iommu: no nesting, no dirty tracking, no PASIDs of devices. */
export function vtd({ mode, bits }: VtdOptions): Unit {
  // MGAW and SAGAW of the width; FS1GP where the first stage is there.
  const sagaw = bits === 48n ? 0x6n : 0x2n
  const cap = (0x80d2008c22200006n & ~(0x1fn << 8n)) | (sagaw << 8n) | ((bits - 1n) << 16n)
  const ecap = { legacy: 0xf0_0f4an, second: 0x4998_80f0_0f4an, first: 0x8800_00f0_0f4an }[mode]
  const info = Struct.of(24)
  info
    .put32(0, 1)
    .put64(8, mode === 'first' ? cap | (1n << 56n) : cap)
    .put64(16, ecap)
  const qemu = {
    legacy: `scalable-mode=off,aw-bits=${bits}`,
    second: `scalable-mode=on,aw-bits=${bits},pasid-bits=20`,
    first: `scalable-mode=on,fsts=on,aw-bits=${bits}`,
  }[mode]
  return {
    kind: 'vtd',
    iommu: `intel-iommu,intremap=on,${qemu}`,
    kernel: `${DEBIAN})`,
    msi: [{ start: 0xfee0_0000n, last: 0xfeef_ffffn }],
    infoType: 1,
    info: info.bytes,
    capabilities: 8,
    tracksDirty: false,
    nestsDirectly: true,
    viommuType: undefined,
    nestedType: 1,
    invalidateType: 0,
    faultsNeedPri: true,
    paging(flags, data) {
      no('EOPNOTSUPP', data !== undefined || (flags & ~(NEST_PARENT | DIRTY | PASID)) !== 0)
      const one = { minPage: 4096n, hasDirty: false, wantsWriteable: false }
      if (mode === 'first' && (flags & ~PASID) === 0) return { ...one, aperture: upTo(bits - 1n) }
      no('EOPNOTSUPP', mode === 'first' || (flags & ~PASID) !== 0)
      return { ...one, aperture: upTo(bits) }
    },
  }
}

/** QEMU's SMMUv3 by its `stage`, under a kernel that takes each device for coherent. */
export function smmuv3(stage: '1' | '2' | 'nested'): Unit {
  const hasS1 = stage !== '2'
  const hasS2 = stage !== '1'
  const info = Struct.of(40)
  info.put32(8, (0xd441018 & ~3) | (hasS1 ? 2 : 0) | (hasS2 ? 1 : 0))
  info.put32(12, 0x2730010).put32(20, 0x1414).put32(28, 0x74).put32(36, 1)
  return {
    kind: 'smmuv3',
    iommu: stage === 'nested' ? 'arm-smmuv3 (machine virt, both stages)' : `arm-smmuv3,stage=${stage}`,
    kernel: `${DEBIAN}, arm_smmu_master_canwbs() forced true)`,
    msi: [{ start: 0x800_0000n, last: 0x80f_ffffn }],
    infoType: 2,
    info: info.bytes,
    capabilities: 8,
    tracksDirty: false,
    nestsDirectly: false,
    viommuType: hasS1 && hasS2 ? 1 : undefined,
    nestedType: 2,
    invalidateType: 1,
    faultsNeedPri: false,
    paging(flags, data) {
      no('EOPNOTSUPP', data !== undefined)
      const one = { minPage: 4096n, hasDirty: false, wantsWriteable: false }
      if (flags === 0) return { ...one, aperture: upTo(hasS1 ? 48n : 44n) }
      if (flags === NEST_PARENT) {
        no('EOPNOTSUPP', !hasS1 || !hasS2)
        return { ...one, aperture: upTo(44n) }
      }
      no('EOPNOTSUPP', flags !== PASID || !hasS1)
      return { ...one, aperture: upTo(48n) }
    },
  }
}

const SELFTEST = 0xdead

/** The kernel's self-test. */
export const MOCK: Unit = {
  kind: 'mock',
  iommu: 'intel-iommu,intremap=on,scalable-mode=on,aw-bits=48,pasid-bits=20',
  kernel: `${DEBIAN})`,
  msi: [],
  infoType: 0xfeedbeef,
  info: Struct.of(8).put32(4, 0xdeadbeef).bytes,
  capabilities: 9,
  tracksDirty: true,
  nestsDirectly: true,
  viommuType: 0xdeadbeef,
  nestedType: SELFTEST,
  invalidateType: 0xdeadbeef,
  faultsNeedPri: false,
  paging(flags, data) {
    no('EOPNOTSUPP', (flags & ~(NEST_PARENT | DIRTY | PASID)) !== 0)
    let isHuge = false
    if (data !== undefined) isHuge = data.u32(4) === 1
    no('EOPNOTSUPP', data !== undefined && data.u32(4) > 1)
    const aperture = isHuge ? upTo(38n) : { start: 0x100_0000n, last: 0x7fff_ffffn }
    return { aperture, minPage: isHuge ? 4096n : 2048n, hasDirty: (flags & DIRTY) !== 0, wantsWriteable: false }
  },
}

/** Nothing is outside. */
export const WHOLE: Span = { start: 0n, last: TOP }
