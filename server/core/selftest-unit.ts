/**
 * The kernel's self-test unit as core sees it: beside what every unit does, its devices come and go, its insides can be
 * looked at, and it does on request what others do when a device misbehaves. [uAPI IOMMU_TEST_CMD]
 */

import type { DeviceDriver, PageFault, PagingOps, UserOps, ViommuOps } from './driver.js'
import type { PlatformDevice } from './machine.js'

/** What a device of the self-test unit would report to its vIOMMU. */
export interface SelftestEvent {
  readonly viommu: ViommuOps
  /** The guest's name of the device. */
  readonly virtId: bigint
}

/** The self-test unit. */
export interface SelftestUnit {
  /** @throws Refusal EINVAL, for flags that it does not know */
  addDevice(flags: number): PlatformDevice
  /** Nobody has it bound. */
  removeDevice(device: PlatformDevice): void
  /** Whether a domain was made by this unit. */
  owns(domain: PagingOps | UserOps): boolean
  /** Physical address behind an IOVA, or undefined where nothing is mapped. */
  physicalAt(domain: PagingOps, iova: bigint): number | undefined
  /** Whether its log of writes is being kept. */
  isTracking(domain: PagingOps): boolean
  /** Notes a write, as hardware would. Nothing where nothing is mapped. */
  markDirty(domain: PagingOps, iova: bigint): void
  /** An entry of a user domain's cache, or undefined beyond its end. */
  iotlbEntry(domain: UserOps, index: number): number | undefined
  /** An entry of a device's cache, or undefined beyond its end. */
  cacheEntry(device: DeviceDriver, index: number): number | undefined
  /** The device asks for a page. */
  requestPage(device: DeviceDriver, fault: PageFault): void
  /** What an event of the device would be, or undefined where its RID is in no vIOMMU, or there without a name. */
  eventOf(device: DeviceDriver): SelftestEvent | undefined
  /** The device reports its event. False: nobody listens for events of that type. */
  report(event: SelftestEvent): boolean
}
