/** Intel VT-d: the emulated remapping unit, its records and its presets. */
export { type CacheOptions, type CachePolicy, cachesOfSize } from './cache-options.js'
export { type Capabilities, decodeCapabilities, type IdRegisters } from './capabilities.js'
export * from './descriptors.js'
export { faultName, REASON } from './faults.js'
export { DEFAULT_PRESET, PRESETS, type PresetName, presetOptions, type UnitOptions } from './presets.js'
export * from './records.js'
export * from './registers.js'
export { VtdUnit } from './unit.js'
