/** Small numbers handed out lowest first: ASIDs and VMIDs. */

import { Refusal } from '../../core/driver.js'

/** Numbers from 1; 0 is the host's own VMID and no domain's ASID. */
export class IdAllocator {
  readonly #what: string
  readonly #limit: number
  readonly #freed: number[] = []
  readonly #failPoint: ((what: string) => void) | undefined
  #next = 1

  /**
   * @param what name of the number, for the refusal
   * @param bits its width
   * @param failPoint called before one is handed out; for tests
   */
  constructor(what: string, bits: number, failPoint?: (what: string) => void) {
    this.#what = what
    this.#limit = 2 ** bits
    this.#failPoint = failPoint
  }

  /** @throws Refusal ENOSPC when every number is in use */
  alloc(): number {
    this.#failPoint?.(this.#what)
    const freed = this.#freed.pop()
    if (freed !== undefined) return freed
    if (this.#next === this.#limit) throw new Refusal('ENOSPC', `every ${this.#what} of the unit is in use`)
    return this.#next++
  }

  free(id: number): void {
    this.#freed.push(id)
  }
}
