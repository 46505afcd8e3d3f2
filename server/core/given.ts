/**
 * What a client gives a driver in the driver's own terms: data that describes tables, and arrays of invalidations. It
 * comes decoded from the typed methods, and as bytes from the ioctls. A driver looks at it at its own place in the order
 * of its checks, so it is read only when the driver asks; then a length or an address of the client's may turn out bad.
 */

import { Refusal } from './refusal.js'

/** Data that can come with a call that makes an object. */
export interface UserDataOf {
  /** [uAPI struct iommu_hwpt_vtd_s1] */
  readonly vtd_s1: { readonly flags: bigint; readonly pgtblAddr: bigint; readonly addrWidth: number }
  /** [uAPI struct iommu_hwpt_arm_smmuv3] */
  readonly smmuv3_ste: { readonly ste0: bigint; readonly ste1: bigint }
  /** One root of stage 1, in the CD's fields and encodings. [SMMU 5.4 Context Descriptor] */
  readonly smmuv3_pgd: SmmuRoot
  /** [uAPI struct iommu_hwpt_selftest] */
  readonly selftest: { readonly iotlb: number; readonly pagetableType: number }
  /** [uAPI struct iommu_viommu_selftest] */
  readonly selftest_viommu: { readonly inData: number }
}

/** Fields of a CD that are a client's to choose, where the CD is the host's. */
export interface SmmuRoot {
  /** An IPA. */
  readonly ttb0: bigint
  readonly t0sz: number
  readonly tg0: number
  readonly ir0: number
  readonly or0: number
  readonly sh0: number
  readonly ips: number
  /** MAIR1:MAIR0. */
  readonly mair: bigint
  readonly ha: boolean
  readonly hd: boolean
}

/** Name of a type of data. */
export type UserDataKind = keyof UserDataOf

/** Data that came with a call. */
export interface UserData {
  /** What the client says it is; undefined: a type that no driver knows. */
  readonly kind: UserDataKind | undefined
  /** @throws Refusal EINVAL (a length that the type does not have), EFAULT */
  read<K extends UserDataKind>(kind: K): UserDataOf[K]
}

/** [uAPI struct iommu_hwpt_vtd_s1_invalidate] */
export interface VtdInvalidation {
  /** First byte of the range, a multiple of 4 KiB. */
  readonly addr: bigint
  /** Pages of 4 KiB; 2^64 - 1 with address 0 means everything. */
  readonly npages: bigint
  /** LEAF 1. */
  readonly flags: number
}

/** A raw command of 16 bytes. [SMMU 4.1 Commands overview] */
export interface SmmuCommand {
  readonly dw0: bigint
  readonly dw1: bigint
}

/** One element of an array of invalidations, in each architecture's own terms. */
export interface InvalidateOf {
  readonly vtd_s1: VtdInvalidation
  readonly smmuv3: SmmuCommand
  /** A range of a domain with one root, as VT-d counts it. */
  readonly smmuv3_pgd: VtdInvalidation
  /** [uAPI struct iommu_hwpt_invalidate_selftest] */
  readonly selftest: { readonly flags: number; readonly iotlbId: number }
  /** [uAPI struct iommu_viommu_invalidate_selftest] */
  readonly selftest_viommu: { readonly flags: number; readonly vdevId: number; readonly cacheId: number }
}

/** Name of a type of invalidations. */
export type InvalidateKind = keyof InvalidateOf

/** An array of invalidations. */
export interface InvalidateArray {
  /** What the client says they are; undefined: a type that nobody knows. */
  readonly kind: InvalidateKind | undefined
  readonly count: number
  /** One element. @throws Refusal EINVAL (a length that the type does not have), EFAULT, EOPNOTSUPP, E2BIG */
  at<K extends InvalidateKind>(kind: K, index: number): InvalidateOf[K]
  /** Those in `[from, end)`; the whole array was copied before the first of it is looked at. @throws as `at`, ENOMEM */
  copied<K extends InvalidateKind>(kind: K, from: number, end: number): readonly InvalidateOf[K][]
}

/** Data that a typed method carried. */
export function givenData<K extends UserDataKind>(kind: K, value: UserDataOf[K]): UserData {
  return {
    kind,
    read<T extends UserDataKind>(asked: T): UserDataOf[T] {
      // The caller asks for what the data is.
      if ((asked as UserDataKind) !== kind) throw new Refusal('EOPNOTSUPP', `the data is ${kind}, not ${asked}`)
      return value as unknown as UserDataOf[T]
    },
  }
}

/** Invalidations that a typed method carried. */
export function givenEntries<K extends InvalidateKind>(kind: K, entries: readonly InvalidateOf[K][]): InvalidateArray {
  const all = <T extends InvalidateKind>(asked: T): readonly InvalidateOf[T][] => {
    if ((asked as InvalidateKind) !== kind) throw new Refusal('EINVAL', `the entries are ${kind}, not ${asked}`)
    return entries as unknown as readonly InvalidateOf[T][]
  }
  return {
    kind,
    count: entries.length,
    at: (asked, index) => all(asked)[index],
    copied: (asked, from, end) => all(asked).slice(from, end),
  }
}
