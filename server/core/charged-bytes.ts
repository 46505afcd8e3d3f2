/** Bytes of tables that a driver holds for an object, and what of them its context has been charged. */

import type { Quota } from './quota.js'

/** Follows what a driver holds. */
export class ChargedBytes {
  readonly #quota: Quota
  readonly #held: () => number
  #charged = 0

  /** @param held bytes that the driver holds now */
  constructor(quota: Quota, held: () => number) {
    this.#quota = quota
    this.#held = held
  }

  /** Bytes that count now. */
  get bytes(): number {
    return this.#charged
  }

  /** Brings the quota to what is held now. @throws Refusal EDQUOT, when that grew beyond it */
  follow(): void {
    const grown = this.#held() - this.#charged
    if (grown > 0) {
      this.#quota.charge('table_bytes', grown)
      this.#charged += grown
    } else this.release()
  }

  /** Gives back what is no longer held. Cannot fail. */
  release(): void {
    const freed = this.#charged - this.#held()
    if (freed <= 0) return
    this.#quota.release('table_bytes', freed)
    this.#charged -= freed
  }

  /** Nothing is held any more. */
  end(): void {
    this.#quota.release('table_bytes', this.#charged)
    this.#charged = 0
  }
}
