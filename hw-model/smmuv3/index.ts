/** The SMMUv3 as others see it: the unit, its presets, and the records that software shares with it. */

export { type CacheOptions, type CachePolicy, cachesOfSize } from './cache-options.js'
export { isIllegal } from './command-rules.js'
export { addressBits, type Features, featuresOf, type IdRegisters, STALL_MODEL } from './features.js'
export { type IdOverrides, idRegisters, PRESETS, type PresetName } from './presets.js'
export * from './records.js'
export * from './registers.js'
export { SmmuV3, type SmmuV3Options } from './unit.js'
