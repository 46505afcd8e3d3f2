/**
 * A device's entry of the stream table: what it is to be, and, while the device is blocked, one that aborts. A device
 * that did not answer an invalidation may still use what it was to forget, so neither what it translated nor anything
 * else of it passes until it is reset. Linux leaves such a device as it is. [SMMU 3.9.1.4 ATS Invalidation timeout]
 */

import { EATS, STE } from '../../../hw-model/smmuv3/index.js'
import { abortSte } from './entries.js'
import type { StreamTable } from './stream-table.js'

/** One stream's. */
export class StreamEntry {
  readonly #streams: StreamTable
  readonly #rid: number
  #wanted = abortSte()
  #isBlocked = false
  #hasAtsOn = false

  /** Makes room for the stream; its entry aborts. */
  constructor(streams: StreamTable, rid: number) {
    this.#streams = streams
    this.#rid = rid
    streams.ensure(rid)
  }

  /** ATS is on in the entry as it stands. */
  get hasAtsOn(): boolean {
    return this.#hasAtsOn
  }

  /** Whether the entry says what `ste` does. */
  has(ste: Int32Array): boolean {
    return !this.#isBlocked && this.#streams.has(this.#rid, ste)
  }

  /** Brings the entry to `ste`, or keeps that for later; answers whether it was hitless. */
  write(ste: Int32Array): boolean {
    this.#wanted = ste
    return this.#isBlocked || this.#put(ste)
  }

  /** Nothing of the device passes from now on. */
  block(): void {
    if (this.#isBlocked) return
    this.#isBlocked = true
    this.#put(abortSte())
  }

  /** It was reset, and keeps nothing any more. */
  unblock(): void {
    if (!this.#isBlocked) return
    this.#isBlocked = false
    this.#put(this.#wanted)
  }

  #put(ste: Int32Array): boolean {
    this.#hasAtsOn = STE.EATS.get(ste, 0) === EATS.FULL
    return this.#streams.update(this.#rid, ste)
  }
}
