/** Who was last given which frame, as far as walks have shown it: a bounded memory, for a frame that changes hands. */

import { REQUEST, type Transaction } from '../port.js'

/** Frames remembered, each at its own place alone. */
const PLACES = 8192

/** Frames by number, each with the last walk that answered it. */
export class Frames {
  readonly #frame = new Float64Array(PLACES).fill(-1)
  readonly #at = new Float64Array(PLACES)
  readonly #rid = new Int32Array(PLACES)
  readonly #pasid = new Int32Array(PLACES)
  readonly #page = new Float64Array(PLACES)

  /** A walk answered a physical address; of one that was physical already there was none. */
  given(address: number, { rid, pasid, lo, hi, type }: Transaction, operation: number): void {
    if (type === REQUEST.TRANSLATED) return
    const frame = Math.floor(address / 4096)
    const place = frame % PLACES
    this.#frame[place] = frame
    this.#at[place] = operation
    this.#rid[place] = rid
    this.#pasid[place] = pasid
    this.#page[place] = pageNumber(lo, hi)
  }

  /** Whether somebody else, or another address, was given a frame after an operation. */
  isGivenAway(address: number, { rid, pasid, lo, hi }: Transaction, after: number): boolean {
    const frame = Math.floor(address / 4096)
    const place = frame % PLACES
    if (this.#frame[place] !== frame || this.#at[place] <= after) return false
    return this.#rid[place] !== (rid | 0) || this.#pasid[place] !== pasid || this.#page[place] !== pageNumber(lo, hi)
  }
}

const pageNumber = (lo: number, hi: number): number => (hi >>> 0) * 2 ** 20 + (lo >>> 12)
