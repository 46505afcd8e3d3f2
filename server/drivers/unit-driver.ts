/** Makes a platform's unit and starts the host driver that programs it. */

import type { RemappingUnit } from '../../hw-model/port.js'
import { cachesOfSize } from '../../hw-model/smmuv3/index.js'
import { cachesOfSize as vtdCachesOfSize } from '../../hw-model/vtd/index.js'
import { Refusal } from '../core/driver.js'
import type { OracleSetting, PlatformUnitInfo } from '../core/machine.js'
import { readIds, smmuIds, vtdOptions } from './id-registers.js'
import type { PhysicalSpace } from './physical-space.js'
import type { CacheSpec, UnitSpec } from './platform.js'
import { createSmmuV3Driver } from './smmuv3/index.js'
import { ModelCaches } from './unit-caches.js'
import { ModelOracle, NO_ORACLE, type Terms } from './unit-oracle.js'
import { createVtdDriver, type VtdFault } from './vtd/index.js'

/** What a unit recorded, as the operator's log needs it. */
export interface UnitRecord {
  /** The manual's name of an event or fault, or in words what befell the unit. */
  readonly name: string
  /** StreamID or source-id. Absent: it concerns no device. */
  readonly rid?: number
  /** Who has it already, in a queue of his own; absent: nobody, so that it is for the operator. */
  readonly taker?: string
  /** The unit does nothing any more. */
  readonly isFailure?: boolean
  readonly facts: Readonly<Record<string, string | number>>
}

/**
 * Starts a unit with its host driver.
 *
 * @throws Refusal EINVAL when a register offers what the model does not do, ENOENT for an unknown preset; the unit is
 * named
 */
export function createUnitDriver(
  spec: UnitSpec,
  space: PhysicalSpace,
  onRecord: (record: UnitRecord) => void,
  oracle: OracleSetting = NO_ORACLE,
): PlatformUnitInfo {
  const { name } = spec
  const { memory, hostRam } = space
  const overrides = new Map(Object.entries(spec.registers ?? {}))
  const reported = new Map(Object.entries(spec.reported ?? {}))
  try {
    if (spec.type === 'smmuv3') {
      const driver = createSmmuV3Driver({
        name,
        memory,
        ram: hostRam,
        overrides: smmuIds(spec.preset ?? '', overrides),
        reported,
        caches: cacheOptions(spec.cache, cachesOfSize),
        onEvent: ({ event, sid, taker }) => {
          if (taker !== 'operator') onRecord({ name: driver.unit.faultName(event), rid: sid, taker, facts: {} })
        },
        onReport: onRecord,
      })
      space.limitTo(driver.unit.features.oasBits)
      return infoOf(driver, spec, oracle)
    }
    const { ids } = vtdOptions(spec.preset ?? '', overrides)
    const caches = cacheOptions(spec.cache, vtdCachesOfSize)
    const onFault = (fault: VtdFault): void =>
      onRecord({ name: driver.unit.faultName(fault.reason), rid: fault.rid, facts: vtdFacts(fault) })
    const driver = createVtdDriver({ name, memory, ram: hostRam, overrides: ids, reported, caches, onFault })
    space.limitTo(driver.hawBits)
    return infoOf(driver, spec, oracle)
  } catch (error) {
    if (error instanceof Refusal) throw new Refusal(error.name, `unit ${name}: ${error.message}`, error.context)
    if (error instanceof RangeError) throw new Refusal('EINVAL', `unit ${name}: ${error.message}`)
    throw error
  }
}

/** What a policy leaves open is what a size says. */
function cacheOptions<Options extends object>(
  { policy, seed, entries, ways }: CacheSpec = {},
  ofSize: (geometry: { readonly entries: number; readonly ways: number }) => Options,
): Options | object {
  const size = entries === undefined || ways === undefined ? {} : ofSize({ entries, ways })
  return { ...size, policy, seed }
}

function infoOf(
  driver: PlatformUnitInfo['driver'] & Terms & { readonly unit: RemappingUnit },
  { cache = {}, oracle }: UnitSpec,
  usual: OracleSetting,
): PlatformUnitInfo {
  const { unit } = driver
  const mode = cache.entries === undefined ? (cache.policy ?? 'hardware') : 'platform'
  return {
    driver,
    idRegisters: readIds(unit),
    caches: new ModelCaches(unit, mode),
    oracle: new ModelOracle(unit, { ...usual, ...oracle }, driver),
  }
}

function vtdFacts({ reason, pasid, lo, hi, isWrite, isPrivileged }: VtdFault): UnitRecord['facts'] {
  const iova = `0x${((BigInt(hi) << 32n) | BigInt(lo)).toString(16)}`
  const access = `${isPrivileged ? 'privileged' : 'unprivileged'} ${isWrite ? 'write' : 'read'}`
  return { reason: `0x${reason.toString(16)}`, ...(pasid < 0 ? {} : { pasid }), iova, access }
}
