/** Domain-ids of one unit. 0 is what caching mode tags absent entries with and 1 is kept for identity, as in Linux. */

import { assert, Refusal } from '../../core/driver.js'

const FIRST = 2

/** Hands out the lowest free domain-id. */
export class DomainIds {
  readonly #used = new Set<number>()
  readonly #limit: number

  /** @param bits width of a domain-id, 4..16 */
  constructor(bits: number) {
    this.#limit = 2 ** bits
  }

  /** @throws Refusal ENOSPC when every domain-id is in use */
  alloc(): number {
    for (let did = FIRST; did < this.#limit; did++) {
      if (this.#used.has(did)) continue
      this.#used.add(did)
      return did
    }
    throw new Refusal('ENOSPC', 'the unit has no domain-id left', { limit: this.#limit - FIRST })
  }

  free(did: number): void {
    assert(this.#used.delete(did), 'a domain-id is freed once')
  }
}
