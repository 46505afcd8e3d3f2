/** The chunks that were stored into lately: who writes page tables goes to and fro between some. */

/** Chunks that are at hand, each in the way of its address; a power of two. */
const WAYS = 16
const NO_WORDS = new Int32Array(0)

/** Chunks by their addresses in chunks. */
export class StoreChunks {
  /** Nobody but this thread reaches the one that was met last: plain stores are as good as atomic ones, and faster. */
  isPlain = false
  readonly #indexes = new Float64Array(WAYS).fill(-1)
  readonly #chunks: Int32Array[] = new Array<Int32Array>(WAYS).fill(NO_WORDS)
  readonly #plain = new Uint8Array(WAYS)

  /** Undefined: it is not at hand. */
  find(index: number): Int32Array | undefined {
    const way = index & (WAYS - 1)
    if (this.#indexes[way] !== index) return undefined
    this.isPlain = this.#plain[way] !== 0
    return this.#chunks[way]
  }

  /** Keeps one at hand. */
  keep(index: number, chunk: Int32Array, isPlain: boolean): void {
    const way = index & (WAYS - 1)
    this.#indexes[way] = index
    this.#chunks[way] = chunk
    this.#plain[way] = isPlain ? 1 : 0
    this.isPlain = isPlain
  }

  /** Keeps none. */
  clear(): void {
    this.#indexes.fill(-1)
    this.#chunks.fill(NO_WORDS)
  }
}
