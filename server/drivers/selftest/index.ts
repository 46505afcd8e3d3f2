/** The self-test unit, whole. */

import { type DeviceDriver, type PageFault, type PagingOps, Refusal, type UserOps } from '../../core/driver.js'
import type { PlatformDevice, SelftestEvent, SelftestUnit } from '../../core/machine.js'
import { SelftestDevice } from './device.js'
import type { SelftestPaging, SelftestUser } from './domains.js'
import { SelftestDriver } from './driver.js'
import { DEVICE_FLAGS, VEVENTQ_TYPE } from './formats.js'
import type { MakePage } from './viommu.js'

/** The platform's name of the unit. */
const NAME = 'selftest0'

/** The unit with its devices, which come and go. */
export class Selftest implements SelftestUnit {
  readonly driver: SelftestDriver
  /** By their numbers; the lowest free one is taken. */
  readonly #devices: (PlatformDevice | undefined)[] = []

  constructor(makePage: MakePage) {
    this.driver = new SelftestDriver(NAME, makePage)
  }

  get devices(): readonly PlatformDevice[] {
    return this.#devices.filter((device) => device !== undefined)
  }

  addDevice(flags: number): PlatformDevice {
    if ((flags & ~DEVICE_FLAGS) !== 0) {
      throw new Refusal('EINVAL', 'a test device has the flags NO_DIRTY (1) and PASID (4)', { flags })
    }
    const free = this.#devices.indexOf(undefined)
    const rid = free === -1 ? this.#devices.length : free
    const device = new SelftestDevice(this.driver, rid, flags)
    const added: PlatformDevice = { name: `iommufd_mock${rid}`, driver: this.driver, device }
    this.#devices[rid] = added
    return added
  }

  removeDevice({ device: { rid } }: PlatformDevice): void {
    this.#devices[rid] = undefined
  }

  owns(domain: PagingOps | UserOps): boolean {
    return domain.driver === this.driver
  }

  physicalAt(domain: PagingOps, iova: bigint): number | undefined {
    const address = (domain as SelftestPaging).table.addressOf(Number(iova))
    return address < 0 ? undefined : address
  }

  isTracking(domain: PagingOps): boolean {
    return (domain as SelftestPaging).isTracking
  }

  markDirty(domain: PagingOps, iova: bigint): void {
    ;(domain as SelftestPaging).table.markDirty(Number(iova))
  }

  iotlbEntry(domain: UserOps, index: number): number | undefined {
    return (domain as SelftestUser).iotlb[index]
  }

  cacheEntry(device: DeviceDriver, index: number): number | undefined {
    return (device as SelftestDevice).cache[index]
  }

  requestPage(device: DeviceDriver, fault: PageFault): void {
    this.driver.listener?.pageFault(device, fault)
  }

  eventOf(device: DeviceDriver): SelftestEvent | undefined {
    const { viommu, virtId } = device as SelftestDevice
    return viommu === undefined || virtId === 0n ? undefined : { viommu, virtId }
  }

  report({ viommu, virtId }: SelftestEvent): boolean {
    // The record has 32 bits, whatever the name has.
    const words = [Number(virtId & 0xffff_ffffn)]
    return this.driver.listener?.viommuEvent(viommu, VEVENTQ_TYPE, words, 'SELFTEST') ?? false
  }
}
