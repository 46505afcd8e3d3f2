/** Who has bound each platform device. */

import type { Device } from './device.js'
import type { DeviceDriver, IommuDriver } from './driver.js'
import type { PlatformDevice } from './machine.js'

/** By platform device, and by what its unit knows: a device and its mediated children are one there. */
export class BoundDevices extends Map<PlatformDevice, Device> {
  readonly #byDriver = new Map<DeviceDriver, readonly Device[]>()
  readonly #changed: (driver: IommuDriver) => void

  /** @param changed is told of each unit behind which a device was bound or became free */
  constructor(changed: (driver: IommuDriver) => void) {
    super()
    this.#changed = changed
  }

  /** Those that are one device to their unit; usually one or none. */
  of(driver: DeviceDriver): readonly Device[] {
    return this.#byDriver.get(driver) ?? NONE
  }

  override set(platform: PlatformDevice, device: Device): this {
    this.#byDriver.set(platform.device, [...this.of(platform.device), device])
    super.set(platform, device)
    this.#changed(platform.driver)
    return this
  }

  override delete(platform: PlatformDevice): boolean {
    const left = this.of(platform.device).filter((device) => device.platform !== platform)
    if (left.length === 0) this.#byDriver.delete(platform.device)
    else this.#byDriver.set(platform.device, left)
    const isGone = super.delete(platform)
    this.#changed(platform.driver)
    return isGone
  }
}

const NONE: readonly Device[] = []
