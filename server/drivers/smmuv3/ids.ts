/** Small numbers handed out lowest first: ASIDs and VMIDs. */

import { Refusal } from '../../core/driver.js'

/** Numbers from 1; 0 is the host's own VMID and no domain's ASID. */
export class IdAllocator {
  readonly #what: string
  readonly #limit: number
  readonly #freed: number[] = []
  #next = 1

  /**
   * @param what name of the number, for the refusal
   * @param bits its width
   */
  constructor(what: string, bits: number) {
    this.#what = what
    this.#limit = 2 ** bits
  }

  /** @throws Refusal ENOSPC when every number is in use */
  alloc(): number {
    const freed = this.#freed.pop()
    if (freed !== undefined) return freed
    if (this.#next === this.#limit) throw new Refusal('ENOSPC', `every ${this.#what} of the unit is in use`)
    return this.#next++
  }

  free(id: number): void {
    this.#freed.push(id)
  }
}
