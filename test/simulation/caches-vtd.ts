/** Caches of a VT-d unit, of any kind and size: for a guest that invalidates properly, none of them may be seen. */

import type { UnitOptions } from '../../hw-model/vtd/index.js'
import type { Rng } from './rng.js'

type Caches = Omit<UnitOptions, 'ids'>

/** Nothing is kept. */
export const VTD_CACHES_OFF: Caches = { iotlb: { entries: 0, ways: 1 }, contextEntries: 0, pasidEntries: 0 }

/** What a unit keeps. */
export function randomVtdCaches(rng: Rng): Caches {
  const entries = rng.pick([0, 1, 4, 16, 64, 1024, 1024])
  const kept = (): number => rng.pick([0, 1, 2, 256])
  const ways = Math.max(1, Math.min(entries, rng.pick([1, 4])))
  return { iotlb: { entries, ways }, contextEntries: kept(), pasidEntries: kept() }
}
