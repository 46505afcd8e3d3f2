/** Calls about the caches of a unit. */

import { type CachePolicy, cacheModeOf, policyOf } from './cache-policy.js'
import type { Call } from './call.js'
import type { PlatformUnitInfo } from './machine.js'
import { Refusal } from './refusal.js'
import { Unit } from './unit.js'
import { type NamedUnit, refuseShared, unitNamed } from './unit-access.js'
import type { UnitCaches } from './unit-caches.js'

/** The contract's CacheStats. */
export interface CacheStats {
  readonly cache: string
  readonly entries: bigint
  readonly capacity: bigint
  readonly hits: bigint
  readonly misses: bigint
  readonly evictions: bigint
  readonly fills: bigint
  readonly invalidated: bigint
}

/** What each cache of a unit holds and has done. */
export function getCacheStats(call: Call, request: NamedUnit): { caches: readonly CacheStats[]; policy: CachePolicy } {
  const { caches } = cachesOf(call, request)
  const stats = caches.statistics().map((one) => ({
    cache: one.name,
    entries: BigInt(one.live),
    capacity: BigInt(one.entries),
    hits: BigInt(one.hits),
    misses: BigInt(one.misses),
    evictions: BigInt(one.evictions),
    fills: BigInt(one.fills),
    invalidated: BigInt(one.invalidated),
  }))
  return { caches: stats, policy: policyOf(caches) }
}

/** Sets how a unit's caches keep entries, and empties them. */
export function setCachePolicy(
  call: Call,
  request: NamedUnit & { readonly policy: number; readonly seed: number },
): Record<never, never> {
  const { caches, platform } = cachesOf(call, request)
  const { policy, seed } = request
  caches.setMode(cacheModeOf(policy, seed), seed)
  if (platform !== undefined) {
    call.core.unitSettings.changed(call, platform, 'cache policy', () => caches.setMode(null, 0))
  }
  return {}
}

interface Target {
  readonly caches: UnitCaches
  /** Absent: a raw unit. */
  readonly platform?: PlatformUnitInfo
}

function cachesOf(call: Call, request: NamedUnit): Target {
  const unit = unitNamed(call, request)
  if (unit instanceof Unit) return { caches: unit.raw.caches }
  if (unit.caches === undefined) {
    const { name } = unit.driver
    throw new Refusal('EOPNOTSUPP', `${name} is no emulated hardware, and has no caches`, { unit_name: name })
  }
  refuseShared(call, unit)
  return { caches: unit.caches, platform: unit }
}
