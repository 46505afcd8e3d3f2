/** Small numbers handed out lowest first: ASIDs and VMIDs. */

import { assert, Refusal } from '../../core/driver.js'

/** Words of bits to begin with: who has thousands of windows has thousands of these. */
const FIRST_WORDS = 8

/** Numbers from 1; 0 is the host's own VMID and no domain's ASID. The lowest free one goes first, as Linux has it. */
export class IdAllocator {
  readonly #what: string
  readonly #limit: number
  readonly #failPoint: ((what: string) => void) | undefined
  /** One bit a number, up to the highest that was needed so far. */
  #taken = new Int32Array(FIRST_WORDS)
  /** No number below is free. */
  #from = 1

  /**
   * @param what name of the number, for the refusal
   * @param bits its width
   * @param failPoint called before one is handed out; for tests
   */
  constructor(what: string, bits: number, failPoint?: (what: string) => void) {
    this.#what = what
    this.#limit = 2 ** bits
    this.#failPoint = failPoint
    this.#taken[0] = 1
  }

  /** @throws Refusal ENOSPC when every number is in use */
  alloc(): number {
    this.#failPoint?.(this.#what)
    for (let word = this.#from >>> 5; word < this.#limit / 32; word++) {
      if (word === this.#taken.length) this.#grow()
      const free = ~this.#taken[word]
      if (free === 0) continue
      const id = word * 32 + 31 - Math.clz32(free & -free)
      this.#taken[word] |= 1 << (id & 31)
      this.#from = id + 1
      return id
    }
    this.#from = this.#limit
    throw new Refusal('ENOSPC', `every ${this.#what} of the unit is in use`)
  }

  /** Whoever had it has emptied the caches of it. */
  free(id: number): void {
    const bit = 1 << (id & 31)
    assert((this.#taken[id >>> 5] & bit) !== 0, 'only a number in use is given back')
    this.#taken[id >>> 5] &= ~bit
    this.#from = Math.min(this.#from, id)
  }

  #grow(): void {
    const taken = new Int32Array(this.#taken.length * 2)
    taken.set(this.#taken)
    this.#taken = taken
  }
}
