/** Who has bound each platform device. */

import type { Device } from './device.js'
import type { DeviceDriver } from './driver.js'
import type { PlatformDevice } from './machine.js'

/** By platform device, and by what its unit knows: a device and its mediated children are one there. */
export class BoundDevices extends Map<PlatformDevice, Device> {
  readonly #byDriver = new Map<DeviceDriver, readonly Device[]>()

  /** Those that are one device to their unit; usually one or none. */
  of(driver: DeviceDriver): readonly Device[] {
    return this.#byDriver.get(driver) ?? NONE
  }

  override set(platform: PlatformDevice, device: Device): this {
    this.#byDriver.set(platform.device, [...this.of(platform.device), device])
    return super.set(platform, device)
  }

  override delete(platform: PlatformDevice): boolean {
    const left = this.of(platform.device).filter((device) => device.platform !== platform)
    if (left.length === 0) this.#byDriver.delete(platform.device)
    else this.#byDriver.set(platform.device, left)
    return super.delete(platform)
  }
}

const NONE: readonly Device[] = []
