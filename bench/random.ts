/** Numbers that a peer in another language can make too: Marsaglia's xorshift with 32 bits of state. */

/** A stream of pseudo-random numbers; the seed is not 0. */
export class XorShift32 {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0
  }

  /** 32 bits, unsigned. */
  next(): number {
    let state = this.#state
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    this.#state = state
    return state >>> 0
  }

  /** 0 to `limit`, exclusive: the remainder, as in C. */
  below(limit: number): number {
    return this.next() % limit
  }
}
