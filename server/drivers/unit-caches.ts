/** The caches of an emulated unit, as core sees them. */

import type { RemappingUnit } from '../../hw-model/port.js'
import type { CacheFacts, CacheMode, UnitCaches } from '../core/machine.js'

/** Of one unit. */
export class ModelCaches implements UnitCaches {
  readonly #unit: RemappingUnit
  readonly #madeAs: UnitCaches['mode']
  #mode: UnitCaches['mode']

  /** @param madeAs how the unit was made */
  constructor(unit: RemappingUnit, madeAs: UnitCaches['mode']) {
    this.#unit = unit
    this.#madeAs = madeAs
    this.#mode = madeAs
  }

  get mode(): UnitCaches['mode'] {
    return this.#mode
  }

  statistics(): readonly CacheFacts[] {
    return this.#unit.cacheStatistics
  }

  setMode(mode: CacheMode | null, seed: number): void {
    this.#unit.setCachePolicy(mode, seed)
    this.#mode = mode ?? this.#madeAs
  }
}
