/** Invalidations of a user domain by ranges, {addr, npages, flags}, as both drivers take them. */

import { Refusal, type VtdInvalidation } from '../core/driver.js'

/** The only flag: table entries stay. [uAPI enum iommu_hwpt_vtd_s1_invalidate_flags] */
export const LEAF = 1

/** As many pages, at address 0, are everything. */
export const ALL_PAGES = 2n ** 64n - 1n

/** Why an entry cannot be carried out. [uAPI struct iommu_hwpt_vtd_s1_invalidate] */
export function refusalOf({ addr, npages, flags }: VtdInvalidation, index: number): Refusal | undefined {
  if (flags & ~LEAF) return new Refusal('EOPNOTSUPP', 'the only flag is LEAF (1)', { index, flags })
  if (addr & 0xfffn) return new Refusal('EINVAL', 'addr is a multiple of 4096', { index, addr })
  if (npages === ALL_PAGES && addr !== 0n) {
    return new Refusal('EINVAL', 'npages 2^64 - 1 means everything and goes with addr 0', { index, addr })
  }
  return undefined
}
