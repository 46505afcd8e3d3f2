/** The host driver of Intel VT-d. */

import type { Memory } from '../../../hw-model/memory/index.js'
import type { DevicePort } from '../../../hw-model/port.js'
import { type CacheOptions, type IdRegisters, type PresetName, presetOptions } from '../../../hw-model/vtd/index.js'
import { Refusal } from '../../core/driver.js'
import type { HostRam } from '../host-ram.js'
import type { ReportedRegisters } from '../reported.js'
import { VtdDriver } from './driver.js'
import type { VtdFault } from './hardware.js'

export { VtdDriver, type VtdDriverOptions } from './driver.js'
export type { VtdFault } from './hardware.js'

/** A unit by preset, with some registers replaced. */
export interface VtdUnitDescription {
  readonly name: string
  readonly memory: Memory
  readonly ram: HostRam
  readonly preset?: PresetName
  readonly overrides?: Partial<IdRegisters>
  /** Told instead of the unit's own. */
  readonly reported?: ReportedRegisters
  readonly caches?: CacheOptions
  readonly devices?: DevicePort
  readonly onFault?: (fault: VtdFault) => void
}

/** Makes a unit and boots it. @throws Refusal EINVAL for registers that offer what the model does not have */
export function createVtdDriver(description: VtdUnitDescription): VtdDriver {
  const { name, memory, ram, preset, overrides, reported, caches, devices, onFault = () => {} } = description
  const unit = presetOptions(preset, overrides, caches)
  try {
    return new VtdDriver({ name, memory, ram, unit, reported, devices, onFault })
  } catch (error) {
    if (error instanceof RangeError) throw new Refusal('EINVAL', error.message, { unit: name })
    throw error
  }
}
