/** Numbers of the self-test unit. [uAPI IOMMU_TEST_CMD, enum iommu_hwpt_data_type, enum iommu_hw_info_type] */

import type { Range } from '../../core/driver.js'

/** Bytes of its smallest page, smaller than a page of the processor. */
export const UNIT_BYTES = 2048

/** log2 of it. */
export const UNIT_LG2 = 11

/** Pages in a table, and so in the leaf that stands in the place of one. */
export const UNITS_A_TABLE = 512

/** Bytes that a table maps: 1 MiB. */
export const TABLE_SPAN = UNITS_A_TABLE * UNIT_BYTES

/** log2 of it. */
export const TABLE_SPAN_LG2 = 20

/** A format of tables that a paging domain may ask for. */
export interface TableFormat {
  /** One bit a size. */
  readonly pageSizes: bigint
  readonly aperture: Range
  /** A write makes its whole leaf dirty, not one page of 2 KiB in it. */
  readonly isDirtyByLeaf: boolean
}

/** By the number in the data that comes with a paging domain; without data it is the first. */
export const TABLE_FORMATS: readonly TableFormat[] = [
  // Three levels of 512 entries: leaves of every power of two from 2 KiB, below what the whole table maps.
  { pageSizes: 2n ** 38n - 2n ** 11n, aperture: { start: 0x100_0000n, last: 0x7fff_ffffn }, isDirtyByLeaf: false },
  // Pages of 4 KiB are offered because core takes no domain without them.
  { pageSizes: 0x10_1000n, aperture: { start: 0n, last: 2n ** 38n - 1n }, isDirtyByLeaf: true },
]

/** Flags of a test device. */
export const DEVICE_FLAG = { NO_DIRTY: 1, PASID: 4 } as const

/** All of them. */
export const DEVICE_FLAGS = DEVICE_FLAG.NO_DIRTY | DEVICE_FLAG.PASID

/** PASIDs of a device with the flag. */
export const PASIDS = 2 ** 20

/** Every second set of this PASID fails, for tests of what is undone then. */
export const FAILING_PASID = 1024

/** Entries of a user domain's cache. */
export const IOTLB_ENTRIES = 4

/** Entries of a device's cache. */
export const CACHE_ENTRIES = 4

/** What they are at first. */
export const CACHE_DEFAULT = 0xbaddad

/** Of an invalidation: every entry. */
export const INVALIDATE_ALL = 1

/** The register that its information tells. */
export const TEST_REGISTER = 0xdeadbeef

/** Its type of vIOMMU. */
export const VIOMMU_TYPE = 0xdeadbeef

/** The type of the queue for its vIOMMUs' events. */
export const VEVENTQ_TYPE = 0xbeefbeef

/** Its type of hardware queue. */
export const HW_QUEUE_TYPE = 0xdeadbeef

/** Hardware queues of a vIOMMU. */
export const HW_QUEUES = 2

/** Bytes of a vIOMMU's page that its owner may map. */
export const VIOMMU_PAGE_BYTES = 8192
