/**
 * Domain-ids of one unit. Two are never handed out: 0 tags what caching mode keeps of absent entries, and 1 is what
 * every pass-through entry has, as in Linux. [VTD 6.2.2, 6.2.3.1]
 */

import { assert, Refusal } from '../../core/driver.js'

/** The domain-id of all pass-through entries. */
export const IDENTITY_DID = 1

const FIRST = 2

/** Hands out the lowest free domain-id. */
export class DomainIds {
  readonly #limit: number
  /** One bit each, set while in use. */
  readonly #used: Uint32Array
  /** No word below this one has a clear bit. */
  #from = 0
  #free: number

  /** @param bits width of a domain-id, 4..16 */
  constructor(bits: number) {
    this.#limit = 2 ** bits
    this.#free = this.#limit - FIRST
    this.#used = new Uint32Array(Math.ceil(this.#limit / 32))
    this.#used[0] = 2 ** FIRST - 1
    if (this.#limit < 32) this.#used[0] |= ~(2 ** this.#limit - 1)
  }

  /** Whether one can be had. */
  get hasFree(): boolean {
    return this.#free > 0
  }

  /** @throws Refusal ENOSPC when every domain-id is in use */
  checkFree(): void {
    if (this.#free > 0) return
    throw new Refusal('ENOSPC', 'the unit has no domain-id left', { limit: this.#limit - FIRST })
  }

  /** @throws Refusal ENOSPC when every domain-id is in use */
  alloc(): number {
    this.checkFree()
    while (this.#used[this.#from] === FULL) this.#from++
    const clear = ~this.#used[this.#from]
    const bit = 31 - Math.clz32(clear & -clear)
    this.#used[this.#from] |= 1 << bit
    this.#free--
    return this.#from * 32 + bit
  }

  /** Everything cached under it has been flushed. */
  free(did: number): void {
    const word = did >>> 5
    const bit = 1 << (did & 31)
    assert(did >= FIRST && (this.#used[word] & bit) !== 0, 'a domain-id is freed once')
    this.#used[word] &= ~bit
    this.#free++
    if (word < this.#from) this.#from = word
  }
}

const FULL = 0xffff_ffff
