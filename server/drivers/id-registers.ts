/** ID registers by the manuals' names, for both architectures: what a preset has, and what replaces it. */

import type { Memory } from '../../hw-model/memory/index.js'
import type { DevicePort, RemappingUnit, UnitOwner } from '../../hw-model/port.js'
import { IDR0, idRegisters, PRESETS as SMMU_PRESETS, SmmuV3, STALL_MODEL } from '../../hw-model/smmuv3/index.js'
import {
  type CacheOptions,
  DEFAULT_PRESET,
  ECAP,
  presetOptions,
  PRESETS as VTD_PRESETS,
  VtdUnit,
} from '../../hw-model/vtd/index.js'
import { Refusal } from '../core/driver.js'
import type { CacheMode } from '../core/machine.js'

/** Registers by name; 32-bit ones zero-extended. */
export type NamedRegisters = ReadonlyMap<string, bigint>

/** Which kind of unit, and how it differs from the ordinary one. */
export interface UnitDescription {
  readonly type: 'smmuv3' | 'vtd'
  /** Name of a preset; empty for the type's default. */
  readonly preset: string
  readonly overrides: NamedRegisters
  readonly caches: CacheMode
  /** Where chance starts, for `random`. Absent: 0. */
  readonly seed?: number
}

/** Presets of each type, the default first. */
const PRESET_NAMES: Readonly<Record<UnitDescription['type'], readonly string[]>> = {
  smmuv3: Object.keys(SMMU_PRESETS),
  vtd: [DEFAULT_PRESET, ...Object.keys(VTD_PRESETS).filter((name) => name !== DEFAULT_PRESET)],
}

/** ID registers of an SMMUv3 as its driver takes them. @throws Refusal ENOENT (preset), EINVAL (register or bit) */
export function smmuIds(preset: string, overrides: NamedRegisters) {
  const name = knownPreset('smmuv3', preset) as keyof typeof SMMU_PRESETS
  const base: Readonly<Record<string, number>> = { ...SMMU_PRESETS[name] }
  return honoured(() => idRegisters(name, narrow(base, overrides)))
}

/** Options of a VT-d unit as its driver takes them. @throws Refusal ENOENT (preset), EINVAL (register or bit) */
export function vtdOptions(preset: string, overrides: NamedRegisters, caches: CacheOptions = {}) {
  const name = knownPreset('vtd', preset) as keyof typeof VTD_PRESETS
  for (const register of overrides.keys()) {
    if (!['VER', 'CAP', 'ECAP'].includes(register)) throw unknownRegister(register, ['VER', 'CAP', 'ECAP'])
  }
  const version = overrides.get('VER')
  const halves = (register: string): readonly [number, number] | undefined => {
    const value = overrides.get(register)
    return value === undefined ? undefined : [Number(value & 0xffff_ffffn), Number(value >> 32n)]
  }
  const cap = halves('CAP')
  const ecap = halves('ECAP')
  const ids = {
    ...(version === undefined ? {} : { VER: Number(version) }),
    ...(cap === undefined ? {} : { CAP: cap }),
    ...(ecap === undefined ? {} : { ECAP: ecap }),
  }
  return presetOptions(name, ids, caches)
}

/**
 * A unit of its own.
 *
 * @throws Refusal ENOENT (preset), EINVAL (an override names no register or offers too much)
 */
export function makeUnit(
  { type, preset, overrides, caches: policy, seed }: UnitDescription,
  memory: Memory,
  owner: UnitOwner,
  devices: DevicePort,
): RemappingUnit {
  if (type === 'smmuv3') {
    const id = smmuIds(preset, overrides)
    return new SmmuV3({ memory, owner, devices, id, caches: { policy, seed } })
  }
  const options = vtdOptions(preset, overrides, { policy, seed })
  return honoured(() => new VtdUnit(memory, owner, options, devices))
}

/** What a unit's ID registers offer to the streams in front of it. */
export function offersOf(
  kind: RemappingUnit['kind'],
  ids: NamedRegisters,
): { readonly stalls: boolean; readonly pageRequests: boolean } {
  if (kind === 'vtd') {
    const ecap = ids.get('ECAP') ?? 0n
    const words = Int32Array.of(Number(BigInt.asIntN(32, ecap)), Number(BigInt.asIntN(32, ecap >> 32n)))
    return { stalls: false, pageRequests: ECAP.PRS.get(words, 0) === 1 }
  }
  const idr0 = Int32Array.of(Number(ids.get('IDR0') ?? 0n))
  const stalls = IDR0.STALL_MODEL.get(idr0, 0) !== STALL_MODEL.TERMINATE
  return { stalls, pageRequests: IDR0.PRI.get(idr0, 0) === 1 }
}

/** Where each ID register is read: offset and bytes. [SMMU 6.2 Register overview] [VTD 11.4 Register Descriptions] */
const ID_OFFSETS: Readonly<Record<UnitDescription['type'], readonly (readonly [string, number, 4 | 8])[]>> = {
  smmuv3: [
    ['IDR0', 0x00, 4],
    ['IDR1', 0x04, 4],
    ['IDR2', 0x08, 4],
    ['IDR3', 0x0c, 4],
    ['IDR4', 0x10, 4],
    ['IDR5', 0x14, 4],
    ['IIDR', 0x18, 4],
    ['AIDR', 0x1c, 4],
  ],
  vtd: [
    ['VER', 0x00, 4],
    ['CAP', 0x08, 8],
    ['ECAP', 0x10, 8],
  ],
}

/** The ID registers as software reads them. */
export function readIds(unit: RemappingUnit): NamedRegisters {
  return new Map(
    ID_OFFSETS[unit.kind].map(([name, offset, bytes]) => {
      const [lo, hi] = unit.readRegister(offset, bytes)
      return [name, (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)]
    }),
  )
}

/** Turns the model's RangeError, which names the register and the bit, into a refusal. */
function honoured<T>(make: () => T): T {
  try {
    return make()
  } catch (error) {
    if (error instanceof RangeError) throw new Refusal('EINVAL', error.message)
    throw error
  }
}

function knownPreset(type: UnitDescription['type'], preset: string): string {
  const known = PRESET_NAMES[type]
  const name = preset === '' ? known[0] : preset
  if (!known.includes(name)) throw new Refusal('ENOENT', `there is no preset ${preset} of this type`, { known })
  return name
}

function narrow(base: Readonly<Record<string, number>>, overrides: NamedRegisters): Record<string, number> {
  const out: Record<string, number> = {}
  for (const [name, value] of overrides) {
    if (!(name in base)) throw unknownRegister(name, Object.keys(base))
    if (value >> 32n !== 0n) throw new Refusal('EINVAL', `${name} has 32 bits`, { value })
    out[name] = Number(value)
  }
  return out
}

const unknownRegister = (name: string, known: readonly string[]): Refusal =>
  new Refusal('EINVAL', `${name} is no ID register that can be replaced`, { known })
