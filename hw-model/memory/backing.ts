/**
 * What stands behind a range of physical addresses: chunks of 32-bit words, handed out one at a time. A sparse backing
 * makes a chunk when it is first written; a flat one cuts views out of a buffer that somebody else may be writing to
 * (a shared mapping of a file).
 */

/** log2 of a chunk's bytes: 64 KiB. */
export const CHUNK_LG2 = 16

/** Bytes of a chunk. */
export const CHUNK_BYTES = 1 << CHUNK_LG2

/** A source of chunks. Only the last chunk may be shorter than CHUNK_BYTES. */
export interface Backing {
  /** Bytes, a multiple of 4. */
  readonly lengthBytes: number
  /** Whether hardware and clients may write to it. */
  readonly writable: boolean
  /** Bytes really held by this process for it; a mapping of somebody else's memory counts 0. */
  readonly residentBytes: number
  /** The chunk, or null where nothing was written yet. Those bytes read as zero. */
  chunk(index: number): Int32Array | null
  /** The chunk, made now if it did not exist. Not called on a backing that is not writable. */
  chunkForWrite(index: number): Int32Array
}

/** Zero-filled memory that costs nothing where it was never written. */
export class SparseBacking implements Backing {
  readonly writable = true
  readonly #chunks = new Map<number, Int32Array>()
  readonly lengthBytes: number

  constructor(lengthBytes: number) {
    if (lengthBytes % 4 !== 0) throw new RangeError('memory comes in words of 4 bytes')
    this.lengthBytes = lengthBytes
  }

  get residentBytes(): number {
    return this.#chunks.size * CHUNK_BYTES
  }

  chunk(index: number): Int32Array | null {
    return this.#chunks.get(index) ?? null
  }

  chunkForWrite(index: number): Int32Array {
    let chunk = this.#chunks.get(index)
    if (chunk === undefined) {
      chunk = new Int32Array(Math.min(CHUNK_BYTES, this.lengthBytes - index * CHUNK_BYTES) / 4)
      this.#chunks.set(index, chunk)
    }
    return chunk
  }
}

/** A buffer as it is, such as a shared mapping of a file. */
export class FlatBacking implements Backing {
  readonly residentBytes = 0
  readonly lengthBytes: number
  readonly writable: boolean
  readonly #buffer: ArrayBufferLike
  readonly #views: (Int32Array | undefined)[] = []

  constructor(buffer: ArrayBufferLike, writable: boolean) {
    if (buffer.byteLength % 4 !== 0) throw new RangeError('memory comes in words of 4 bytes')
    this.#buffer = buffer
    this.lengthBytes = buffer.byteLength
    this.writable = writable
  }

  chunk(index: number): Int32Array {
    return this.chunkForWrite(index)
  }

  chunkForWrite(index: number): Int32Array {
    let view = this.#views[index]
    if (view === undefined) {
      const start = index * CHUNK_BYTES
      view = new Int32Array(this.#buffer, start, Math.min(CHUNK_BYTES, this.lengthBytes - start) / 4)
      this.#views[index] = view
    }
    return view
  }
}
