/**
 * Who was given which frame, as far as walks have shown it: a bounded memory, for a frame that changes hands. Two who have
 * a frame at once share it: that is no change of hands, and the two that were met last are known of each frame.
 */

import { REQUEST, type Transaction } from '../port.js'

/** Frames remembered, each at its own place alone. */
const PLACES = 8192

/** Holders of a frame that are told apart. */
const HOLDERS = 2

/** Frames by number, each with those whose walks answered it, the latest first. */
export class Frames {
  readonly #frame = new Float64Array(PLACES).fill(-1)
  /** When each was given it first, without another two between; 0 for nobody. */
  readonly #since = new Float64Array(PLACES * HOLDERS)
  readonly #rid = new Int32Array(PLACES * HOLDERS)
  readonly #pasid = new Int32Array(PLACES * HOLDERS)
  readonly #page = new Float64Array(PLACES * HOLDERS)

  /** A walk answered a physical address; of one that was physical already there was none. */
  given(address: number, transaction: Transaction, operation: number): void {
    if (transaction.type === REQUEST.TRANSLATED) return
    const frame = Math.floor(address / 4096)
    const place = frame % PLACES
    const at = place * HOLDERS
    if (this.#frame[place] !== frame) {
      this.#frame[place] = frame
      this.#since[at] = 0
      this.#since[at + 1] = 0
    }
    if (this.#isHolder(at, transaction)) return
    const since = this.#isHolder(at + 1, transaction) ? this.#since[at + 1] : operation
    this.#since[at + 1] = this.#since[at]
    this.#rid[at + 1] = this.#rid[at]
    this.#pasid[at + 1] = this.#pasid[at]
    this.#page[at + 1] = this.#page[at]
    this.#since[at] = since
    this.#rid[at] = transaction.rid
    this.#pasid[at] = transaction.pasid
    this.#page[at] = pageNumber(transaction.lo, transaction.hi)
  }

  /** Whether somebody else, or another address, was given a frame after an operation, and had not had it before. */
  isGivenAway(address: number, transaction: Transaction, after: number): boolean {
    const frame = Math.floor(address / 4096)
    const place = frame % PLACES
    if (this.#frame[place] !== frame) return false
    for (let at = place * HOLDERS; at < (place + 1) * HOLDERS; at++) {
      if (this.#since[at] > after && !this.#isHolder(at, transaction)) return true
    }
    return false
  }

  #isHolder(at: number, { rid, pasid, lo, hi }: Transaction): boolean {
    const isKnown = this.#since[at] > 0 && this.#rid[at] === (rid | 0) && this.#pasid[at] === pasid
    return isKnown && this.#page[at] === pageNumber(lo, hi)
  }
}

const pageNumber = (lo: number, hi: number): number => (hi >>> 0) * 2 ** 20 + (lo >>> 12)
