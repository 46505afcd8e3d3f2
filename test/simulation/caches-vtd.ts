/** Caches of a VT-d unit, of any kind and size: for a guest that invalidates properly, none of them may be seen. */

import type { CacheOptions, UnitOptions } from '../../hw-model/vtd/index.js'
import { ROOMY } from './caches.js'
import type { Rng } from './rng.js'

type Caches = Omit<UnitOptions, 'ids'>

/** Nothing is kept. */
export const VTD_CACHES_OFF: Caches = { caches: { policy: 'off' } }

/** What a unit keeps. */
export function randomVtdCaches(rng: Rng): Caches {
  const geometry = (sizes: readonly number[]): { entries: number; ways: number } => {
    const entries = rng.pick(sizes)
    return { entries, ways: Math.max(1, Math.min(entries, rng.pick([1, 4]))) }
  }
  const kept = (): number => rng.pick([0, 1, 2, 256])
  const caches: CacheOptions = {
    iotlb: geometry([0, 1, 4, 16, 64, 1024, 1024]),
    walk1: geometry([0, 1, 4, 64, 1024, 1024]),
    walk2: geometry([0, 1, 4, 64, 1024, 1024]),
    contextEntries: kept(),
    pasidEntries: kept(),
    replacement: rng.pick(['round-robin', 'random']),
    seed: rng.int(1000),
    faults: rng.chance(0.5),
    fractions: rng.chance(0.25),
    invalidation: rng.pick(['exact', 'exact', 'wide']),
  }
  return { caches }
}

/** What keeps all that a guest of a few dozen accesses meets, and drops what it is told to and nothing else. */
export function roomyVtdCaches(rng: Rng): Omit<UnitOptions, 'ids'> {
  const sizes = { iotlb: ROOMY, walk1: ROOMY, walk2: ROOMY, contextEntries: 256, pasidEntries: 256 }
  return { caches: { policy: rng.pick(['hardware', 'greedy'] as const), ...sizes } }
}
