/** A host driver with the unit that it drives. */

import type { Memory } from '../../../hw-model/memory/index.js'
import type { DevicePort } from '../../../hw-model/port.js'
import {
  type CacheOptions,
  type IdOverrides,
  idRegisters,
  type PresetName,
  SmmuV3,
} from '../../../hw-model/smmuv3/index.js'
import type { HostRam } from '../host-ram.js'
import type { ReportedRegisters } from '../reported.js'
import { SmmuV3Driver } from './driver.js'
import type { SmmuEvent, SmmuReport } from './records.js'

export type { VirtualStream } from './device.js'
export { SmmuV3Driver } from './driver.js'
export type { SmmuEvent, SmmuReport } from './records.js'
export { SmmuViommu } from './viommu.js'

/** How to make a unit and its driver. */
export interface SmmuV3Setup {
  /** The platform's name of the unit. */
  readonly name: string
  readonly memory: Memory
  readonly ram: HostRam
  readonly preset?: PresetName
  /** ID registers that replace the preset's. */
  readonly overrides?: IdOverrides
  /** ID registers that are told instead of the unit's own. */
  readonly reported?: ReportedRegisters
  /** What the unit keeps; absent, what real parts do. */
  readonly caches?: CacheOptions
  /** Every event record, in order. */
  readonly onEvent: (event: SmmuEvent) => void
  /** What nobody else is told. */
  readonly onReport?: (report: SmmuReport) => void
}

/** @throws RangeError naming the ID register and the field that offers what the model does not do */
export function createSmmuV3Driver(setup: SmmuV3Setup): SmmuV3Driver {
  const { name, memory, ram, preset, overrides, reported, caches = {}, onEvent, onReport } = setup
  // The queues' are not waited for: the driver drains them after everything that may have written to them.
  let driver: SmmuV3Driver | undefined
  const owner = { message: () => undefined, interrupt: (source: string) => driver?.interrupted(source) }
  // The unit talks to the devices when the driver has let some in.
  const devices: DevicePort = {
    invalidateAtc: (invalidation) => driver?.devicePort.invalidateAtc(invalidation) ?? true,
    respondToPages: (...answer) => driver?.devicePort.respondToPages(...answer),
    ended: (...end) => driver?.devicePort.ended(...end),
  }
  const unit = new SmmuV3({ memory, owner, devices, id: idRegisters(preset, overrides), caches })
  driver = new SmmuV3Driver(unit, { name, memory, ram, reported, onEvent, onReport })
  return driver
}
