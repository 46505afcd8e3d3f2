/** Caches of any kind and size: for a guest that invalidates as the manual asks, none of them may be seen. */

import type { CacheGeometry } from '../../hw-model/cache/geometry.js'
import type { CacheOptions } from '../../hw-model/smmuv3/index.js'
import type { Rng } from './rng.js'

const SIZES = [0, 1, 4, 16, 64, 1024] as const

function geometry(rng: Rng): CacheGeometry {
  const entries = rng.pick(SIZES)
  return { entries, ways: Math.max(1, Math.min(entries, rng.pick([1, 4]))) }
}

/** What an SMMUv3 keeps: a policy, or sizes of its own for every cache. */
export function randomCaches(rng: Rng): CacheOptions {
  const policy = rng.pick(['minimal', 'hardware', 'greedy'] as const)
  const habits: CacheOptions = {
    replacement: rng.pick(['round-robin', 'random'] as const),
    seed: rng.int(2 ** 31),
    invalidation: rng.chance(0.2) ? 'wide' : 'exact',
  }
  if (rng.chance(0.4)) return { policy, ...habits }
  const entries = (): number => rng.pick([0, 1, 2, 4096])
  return {
    policy,
    ...habits,
    tlb: geometry(rng),
    ipa: geometry(rng),
    walk1: geometry(rng),
    walk2: geometry(rng),
    configEntries: { ste: entries(), l1std: entries(), cd: entries(), l1cd: entries() },
  }
}

/** Enough for all that a guest of a few dozen accesses meets. */
export const ROOMY: CacheGeometry = { entries: 1024, ways: 8 }

/** What keeps all of that, and drops what it is told to and nothing else. */
export function roomyCaches(rng: Rng): CacheOptions {
  return {
    policy: rng.pick(['hardware', 'greedy'] as const),
    invalidation: 'exact',
    ...{ tlb: ROOMY, ipa: ROOMY, walk1: ROOMY, walk2: ROOMY, configEntries: 256 },
  }
}
