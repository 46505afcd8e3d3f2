/** A cache's dice: pseudo-random numbers from a seed, so that the same unit evicts the same entries every time. */

/** Stands for a seed of 0, from which every number would be 0. */
const SEED = 0x9e3779b9

/** Numbers by Marsaglia's xorshift with 32 bits of state. */
export class Chance {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0 || SEED | 0
  }

  /** A number of 0 to `limit`, exclusive; `limit` has 16 bits at most. */
  below(limit: number): number {
    let state = this.#state
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    this.#state = state
    return (state >>> 16) % limit
  }
}
