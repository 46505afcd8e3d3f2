/**
 * What stands behind a range of physical addresses: chunks of 32-bit words, handed out one at a time. A sparse backing
 * makes a chunk when it is first written; a flat one cuts views out of a buffer that somebody else may be writing to
 * (a shared mapping of a file).
 */

/** log2 of a chunk's bytes: 64 KiB. */
export const CHUNK_LG2 = 16

/** Bytes of a chunk. */
export const CHUNK_BYTES = 1 << CHUNK_LG2

/** Views of a flat backing that are kept: those of 4 GiB, at about 150 bytes each. */
const VIEWS_KEPT = 1 << 16

/** A source of chunks. Only the last chunk may be shorter than CHUNK_BYTES. */
export interface Backing {
  /** Bytes, a multiple of 4. */
  readonly lengthBytes: number
  /** Whether hardware and clients may write to it; it stays so, but where `isWatched`. */
  readonly writable: boolean
  /** Every store asks for its chunk, and first whether it may: somebody counts them, or closes the memory now and then. */
  readonly isWatched?: boolean
  /** Nobody else stores into it or reads it meanwhile: it is this thread's alone. Absent: somebody may. */
  readonly isPrivate?: boolean
  /** Bytes really held by this process for it; a mapping of somebody else's memory counts 0. */
  readonly residentBytes: number
  /** The chunk, or null where nothing was written yet. Those bytes read as zero. */
  chunk(index: number): Int32Array | null
  /**
   * The chunk, made now if it did not exist; null where its owner may hold no more. Not called on a backing that is not
   * writable.
   */
  chunkForWrite(index: number): Int32Array | null
  /**
   * All the words from a byte on, `lengthBytes` of them at most, where they are there at once and stay: a shorter way for
   * reads. Absent where memory comes in chunks alone.
   *
   * @param from a multiple of CHUNK_BYTES
   */
  window?(from: number, lengthBytes: number): Int32Array
}

/** A range of physical addresses and what stands behind it. */
export interface Placement {
  /** First address, a multiple of 64 KiB. */
  readonly base: number
  readonly backing: Backing
}

/** Whether so many bytes more may be held. What was admitted counts until the backing is gone. */
export type Admit = (bytes: number) => boolean

/** Zero-filled memory that costs nothing where it was never written. */
export class SparseBacking implements Backing {
  readonly writable = true
  readonly isPrivate = true
  readonly lengthBytes: number
  readonly #chunks = new Map<number, Int32Array>()
  readonly #admit: Admit
  #resident = 0

  /** @param admit asked before a chunk is made; absent, all are */
  constructor(lengthBytes: number, admit: Admit = () => true) {
    if (lengthBytes % 4 !== 0) throw new RangeError('memory comes in words of 4 bytes')
    this.lengthBytes = lengthBytes
    this.#admit = admit
  }

  get residentBytes(): number {
    return this.#resident
  }

  chunk(index: number): Int32Array | null {
    return this.#chunks.get(index) ?? null
  }

  chunkForWrite(index: number): Int32Array | null {
    const made = this.#chunks.get(index)
    if (made !== undefined) return made
    const bytes = Math.min(CHUNK_BYTES, this.lengthBytes - index * CHUNK_BYTES)
    if (!this.#admit(bytes)) return null
    const chunk = new Int32Array(bytes / 4)
    this.#chunks.set(index, chunk)
    this.#resident += bytes
    return chunk
  }
}

/** A buffer as it is, such as a shared mapping of a file. */
export class FlatBacking implements Backing {
  readonly residentBytes = 0
  readonly lengthBytes: number
  readonly writable: boolean
  readonly #buffer: ArrayBufferLike
  readonly #views = new Map<number, Int32Array>()

  constructor(buffer: ArrayBufferLike, writable: boolean) {
    if (buffer.byteLength % 4 !== 0) throw new RangeError('memory comes in words of 4 bytes')
    this.#buffer = buffer
    this.lengthBytes = buffer.byteLength
    this.writable = writable
  }

  chunk(index: number): Int32Array {
    return this.chunkForWrite(index)
  }

  window(from: number, lengthBytes: number): Int32Array {
    return new Int32Array(this.#buffer, from, Math.min(lengthBytes, this.lengthBytes - from) / 4)
  }

  chunkForWrite(index: number): Int32Array {
    const known = this.#views.get(index)
    if (known !== undefined) return known
    // They can be cut again: a client that touches all of a sparse terabyte must not make sixteen million of them stay.
    if (this.#views.size === VIEWS_KEPT) this.#views.clear()
    const start = index * CHUNK_BYTES
    const view = new Int32Array(this.#buffer, start, Math.min(CHUNK_BYTES, this.lengthBytes - start) / 4)
    this.#views.set(index, view)
    return view
  }
}

/** Bytes of whole chunks. */
export const alignUp = (bytes: number): number => Math.ceil(bytes / CHUNK_BYTES) * CHUNK_BYTES
