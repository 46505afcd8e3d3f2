/** Which pages of a range were written, as runs: an answer that grows with what was written, not with the range. */

import type { DirtySink, DirtySpan } from './dirty-bits.js'

const TWO32 = 2 ** 32
const FEW = 64

/** Two columns of a reply; each run is closed. */
export interface RunColumns {
  readonly runFirsts: BigUint64Array
  readonly runLasts: BigUint64Array
}

/** Gathers runs of pages of a span's size. Pages that follow each other are one run. */
export class DirtyRuns {
  count = 0
  readonly #start: number
  readonly #pageBytes: number
  #froms = new Float64Array(FEW)
  #ends = new Float64Array(FEW)

  constructor({ start, bytesOfBit }: DirtySpan) {
    this.#start = Number(start)
    this.#pageBytes = Number(bytesOfBit)
  }

  readonly sink: DirtySink = (offset, length) => {
    const bytes = this.#pageBytes
    // A power of two: nothing is rounded but to it.
    const from = Math.floor(offset / bytes) * bytes
    const end = Math.ceil((offset + length) / bytes) * bytes
    if (this.count > 0 && from <= this.#ends[this.count - 1]) {
      this.#ends[this.count - 1] = end
      return
    }
    if (this.count === this.#froms.length) {
      this.#froms = doubled(this.#froms)
      this.#ends = doubled(this.#ends)
    }
    this.#froms[this.count] = from
    this.#ends[this.count++] = end
  }

  /** The runs, by IOVA. */
  columns(): RunColumns {
    const runFirsts = new BigUint64Array(this.count)
    const runLasts = new BigUint64Array(this.count)
    const firsts = new Uint32Array(runFirsts.buffer)
    const lasts = new Uint32Array(runLasts.buffer)
    for (let i = 0; i < this.count; i++) {
      const from = this.#start + this.#froms[i]
      firsts[2 * i] = from
      firsts[2 * i + 1] = from / TWO32
      // The end may be 2^64; one less would not be exact. In 32 bits it borrows from the high half.
      const end = this.#start + this.#ends[i]
      const low = end % TWO32
      lasts[2 * i] = low - 1
      lasts[2 * i + 1] = low === 0 ? end / TWO32 - 1 : end / TWO32
    }
    return { runFirsts, runLasts }
  }
}

function doubled(values: Float64Array): Float64Array<ArrayBuffer> {
  const more = new Float64Array(2 * values.length)
  more.set(values)
  return more
}
