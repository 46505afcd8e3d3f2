/**
 * Emulated physical memory, as hardware reaches it. It belongs to running CPUs too: another process may store into it
 * between any two loads made here. So an algorithm never indexes it; it goes through three readers, which keep the
 * rules that make a racing guest harmless:
 *
 * - `loadWord`, `loadAt`: one 64-bit descriptor, never half old and half new.
 * - `loadRecord`: a copy of an entry, taken once and then used for the whole transaction.
 * - `updateFlags`: an access or dirty flag, set only if the word is still the one that was checked.
 *
 * Addresses are exact numbers below 2^52. Nothing here throws for what a guest can cause: it answers a code.
 */

import { alignUp, type Backing, CHUNK_BYTES, CHUNK_LG2, type Placement } from './backing.js'
import {
  ARRAYS_KEPT,
  areAlike,
  CHUNKS_KEPT,
  CHUNKS_PER_DIRECTORY,
  type Chunks,
  DIRECTORIES_KEPT,
  DIRECTORY_BYTES,
  DIRECTORY_LG2,
  type Directory,
  directoryOver,
  NO_WORDS,
  NOWHERE,
  WAYS,
} from './directory.js'
import { FlagStamps } from './flag-stamps.js'
import { StoreChunks } from './store-chunks.js'

/** What a memory operation answers. */
export const MEMORY = {
  /** Done. */
  OK: 0,
  /** Nothing is there, or it may not be written: an external abort. */
  ABORT: 1,
  /** The word changed under every attempt to read it whole; hardware reports its fetch error. */
  TORN: 2,
  /** The word is no longer the expected one; nothing was written, read that level again. */
  LOST: 3,
} as const

const { OK, ABORT, TORN, LOST } = MEMORY
// A name of another module is read anew each time it is used; those of this one are constants to the engine.
const GIGABYTE_LG2 = DIRECTORY_LG2
const GIGABYTE_MASK = DIRECTORY_BYTES - 1
const CHUNK_SHIFT = CHUNK_LG2
const SLOT_MASK = CHUNKS_PER_DIRECTORY - 1
const WORD_MASK = (1 << (CHUNK_LG2 - 2)) - 1
const PAGE_WORDS = 1024

/** No physical address has more bits. */
const ADDRESS_END = 2 ** 52
const TWO32 = 2 ** 32

/**
 * How often a torn word is read again: each time a busy writer may have stored in between, as likely as not. One that keeps
 * pace with this many reads is not a CPU storing a PTE.
 */
const TORN_LIMIT = 256

/** Physical memory: placements, and the three readers and plain stores over them. */
export class Memory {
  /** Low half of the last word loaded, as a signed 32-bit value. */
  lo = 0
  /** High half of the last word loaded, as a signed 32-bit value. */
  hi = 0
  /** Where `updateFlags` stored something. */
  readonly stamps = new FlagStamps()

  readonly #directories = new Map<number, Directory>()
  readonly #placements: Placement[] = []
  /** The directories at hand: which gigabyte's, with what is in them. */
  readonly #gigabytes = new Int32Array(WAYS).fill(-1)
  readonly #starts = new Int32Array(WAYS)
  readonly #windows: Int32Array[] = new Array<Int32Array>(WAYS).fill(NO_WORDS)
  readonly #chunksOf: Chunks[] = new Array<Chunks>(WAYS).fill(NOWHERE.chunks)
  /** The one that was read last. */
  #inHand = -1
  #window: Int32Array = NO_WORDS
  #start = 0
  #chunksKept = 0
  #arraysKept = 0
  readonly #stores = new StoreChunks()

  /** Every placement, by ascending base. */
  get placements(): readonly Placement[] {
    return this.#placements
  }

  /** Puts a backing at `base`. Placements may not overlap. */
  place(base: number, backing: Backing): void {
    if (base % CHUNK_BYTES !== 0) throw new RangeError('a placement starts at a multiple of 64 KiB')
    if (this.findOverlap(base, backing.lengthBytes) !== undefined) throw new RangeError('placements may not overlap')
    this.#placements.push({ base, backing })
    this.#placements.sort((a, b) => a.base - b.base)
    this.#forget()
  }

  /** Takes away the placement at `base`; what is read there afterwards aborts. */
  remove(base: number): void {
    const at = this.#placements.findIndex((placement) => placement.base === base)
    if (at < 0) throw new RangeError('no placement starts there')
    this.#placements.splice(at, 1)
    this.#forget()
  }

  /** The placement that shares an address with `[base, base + bytes)`, if any. */
  findOverlap(base: number, bytes: number): Placement | undefined {
    return this.#placements.find(
      (p) => base < p.base + alignUp(p.backing.lengthBytes) && p.base < base + alignUp(bytes),
    )
  }

  /** The placement that holds an address, if any. */
  find(pa: number): Placement | undefined {
    let low = 0
    let high = this.#placements.length - 1
    while (low <= high) {
      const middle = (low + high) >>> 1
      const placement = this.#placements[middle]
      if (pa < placement.base) high = middle - 1
      else if (pa >= placement.base + placement.backing.lengthBytes) low = middle + 1
      else return placement
    }
    return undefined
  }

  /** Reads one aligned 64-bit word into `lo` and `hi`, whole: low, high, low again. */
  loadWord(pa: number): number {
    return pa < ADDRESS_END ? this.loadAt(pa | 0, (pa / TWO32) | 0) : ABORT
  }

  /** The same at an address of two halves, of at most 52 bits. Most loads follow others of the same gigabyte. */
  loadAt(lo: number, hi: number): number {
    if (((hi << 2) | (lo >>> GIGABYTE_LG2)) !== this.#inHand) this.#takeInHand(lo, hi)
    const words = this.#window
    const at = ((lo & GIGABYTE_MASK) - this.#start) >>> 2
    return at + 1 < words.length ? this.#read(words, at) : this.#loadInChunk(lo, hi)
  }

  #loadInChunk(lo: number, hi: number): number {
    const way = this.#inHand & (WAYS - 1)
    const chunk = this.#chunksOf[way][(lo >>> CHUNK_SHIFT) & SLOT_MASK] ?? this.#look(lo, hi)
    const inChunk = (lo >>> 2) & WORD_MASK
    if (chunk === undefined || (chunk !== null && inChunk + 1 >= chunk.length)) return ABORT
    if (chunk !== null) return this.#read(chunk, inChunk)
    this.lo = 0
    this.hi = 0
    return OK
  }

  /** Puts the window of a gigabyte before those at hand. */
  #takeInHand(lo: number, hi: number): void {
    const gigabyte = (hi << 2) | (lo >>> GIGABYTE_LG2)
    const way = gigabyte & (WAYS - 1)
    if (this.#gigabytes[way] !== gigabyte) this.#enter(gigabyte)
    this.#inHand = gigabyte
    this.#window = this.#windows[way]
    this.#start = this.#starts[way]
  }

  /** Whether words of 32 bits from an address on are some others. False, too, where no load has shown where they are. */
  matches(lo: number, hi: number, others: Int32Array, from: number, count: number): boolean {
    if (((hi << 2) | (lo >>> DIRECTORY_LG2)) !== this.#inHand) this.#takeInHand(lo, hi)
    let words: Int32Array = this.#window
    let at = ((lo & (DIRECTORY_BYTES - 1)) - this.#start) >>> 2
    if (at + count > words.length) {
      words = this.#chunksOf[this.#inHand & (WAYS - 1)][(lo >>> CHUNK_LG2) & SLOT_MASK] ?? NO_WORDS
      at = (lo >>> 2) & WORD_MASK
    }
    return at + count <= words.length && areAlike(words, at, others, from, count)
  }

  #read(words: Int32Array, at: number): number {
    // The stores into this object stand between the loads on purpose: without them the engine's middle tier reads the
    // low half once for both, and one word in a hundred is torn under a busy writer (test/memory/racing-writer.test.ts).
    for (let attempt = 0; attempt < TORN_LIMIT; attempt++) {
      this.lo = words[at]
      this.hi = words[at + 1]
      if (words[at] === this.lo) return OK
    }
    this.lo = 0
    this.hi = 0
    return TORN
  }

  /**
   * Copies an aligned record, each of its 64-bit words whole.
   *
   * @param words 32-bit words to copy, even
   */
  loadRecord(pa: number, into: Int32Array, at: number, words: number): number {
    for (let i = 0; i < words; i += 2) {
      const status = this.loadWord(pa + i * 4)
      if (status !== OK) return status
      into[at + i] = this.lo
      into[at + i + 1] = this.hi
    }
    return OK
  }

  /**
   * Replaces the low half of the word at `pa` if the word still is the expected one. Two halves cannot be exchanged at
   * once, so whoever changed the high one in the very moment finds the low one put back: a page that was writable-clean
   * and became read-only must not stay marked as written.
   */
  updateFlags(pa: number, expected: number, next: number, hi: number): number {
    const chunk = this.#chunkForWrite(pa)
    if (chunk === undefined) return ABORT
    const at = (pa >>> 2) & WORD_MASK
    if (Atomics.load(chunk, at + 1) !== hi) return LOST
    if (Atomics.compareExchange(chunk, at, expected, next) !== expected) return LOST
    if (Atomics.load(chunk, at + 1) === hi) {
      this.stamps.touch(pa)
      return OK
    }
    Atomics.compareExchange(chunk, at, next, expected)
    return LOST
  }

  /** Stores 32 bits at an address that is a multiple of 4. */
  store32(pa: number, value: number): number {
    const chunk = this.#chunkForWrite(pa)
    if (chunk === undefined) return ABORT
    Atomics.store(chunk, (pa >>> 2) & WORD_MASK, value | 0)
    return OK
  }

  /** Stores an aligned 64-bit word. High half first: where bit 0 is the valid bit, a racing reader sees old or new. */
  storeWord(pa: number, lo: number, hi: number): number {
    const chunk = this.#chunkForWrite(pa)
    const at = (pa >>> 2) & WORD_MASK
    if (chunk === undefined || at + 1 >= chunk.length) return ABORT
    if (this.#stores.isPlain) {
      chunk[at + 1] = hi
      chunk[at] = lo
    } else {
      Atomics.store(chunk, at + 1, hi)
      Atomics.store(chunk, at, lo)
    }
    return OK
  }

  /** Stores an aligned record, one 64-bit word after the other. */
  storeRecord(pa: number, words: Int32Array, at: number, count: number): number {
    for (let i = 0; i < count; i += 2) {
      const status = this.storeWord(pa + i * 4, words[at + i], words[at + i + 1])
      if (status !== OK) return status
    }
    return OK
  }

  /**
   * Stores entries of one table, each as `storeWord` does; much faster for many.
   *
   * @param pa of the first; all are in the same 64 KiB, counted from a multiple of 64 KiB
   * @param count 32-bit words to store, even
   */
  storeEntries(pa: number, words: Int32Array, count: number): number {
    const chunk = this.#chunkForWrite(pa)
    const first = (pa >>> 2) & WORD_MASK
    if (chunk === undefined || first + count > chunk.length) return ABORT
    if (this.#stores.isPlain) {
      if (count === words.length) chunk.set(words, first)
      else for (let i = 0; i < count; i++) chunk[first + i] = words[i]
      return OK
    }
    for (let i = 0; i < count; i += 2) {
      Atomics.store(chunk, first + i + 1, words[i + 1])
      Atomics.store(chunk, first + i, words[i])
    }
    return OK
  }

  /** Makes a page of 4096 bytes zero, before it is put to another use. */
  wipePage(pa: number): number {
    const chunk = this.#chunkForWrite(pa)
    const first = (pa >>> 2) & WORD_MASK
    if (chunk === undefined || first + PAGE_WORDS > chunk.length) return ABORT
    chunk.fill(0, first, first + PAGE_WORDS)
    return OK
  }

  /** Copies bytes out; answers how many there were before nothing was there. */
  readBytes(pa: number, into: Uint8Array): number {
    return this.#eachPiece(pa, into.length, false, (bytes, done) => into.set(bytes, done))
  }

  /** Copies bytes in; answers how many fitted before nothing was there or it may not be written. */
  writeBytes(pa: number, from: Uint8Array): number {
    return this.#eachPiece(pa, from.length, true, (bytes, done) => bytes.set(from.subarray(done, done + bytes.length)))
  }

  #eachPiece(pa: number, length: number, write: boolean, visit: (bytes: Uint8Array, done: number) => void): number {
    let done = 0
    while (done < length) {
      const at = pa + done
      const chunk = write ? this.#chunkForWrite(at) : this.#chunk(at)
      if (chunk === undefined) break
      const inChunk = at % CHUNK_BYTES
      const room = (chunk === null ? CHUNK_BYTES : chunk.byteLength) - inChunk
      if (room <= 0) break
      const take = Math.min(room, length - done)
      const bytes =
        chunk === null ? new Uint8Array(take) : new Uint8Array(chunk.buffer, chunk.byteOffset + inChunk, take)
      visit(bytes, done)
      done += take
    }
    return done
  }

  /** The chunk that holds `pa`: null where it was never written, undefined where no memory is. */
  #chunk(pa: number): Int32Array | null | undefined {
    if (pa >= ADDRESS_END) return undefined
    const gigabyte = Math.floor(pa / DIRECTORY_BYTES)
    const way = gigabyte & (WAYS - 1)
    if (this.#gigabytes[way] !== gigabyte) this.#enter(gigabyte)
    return this.#chunksOf[way][(pa >>> CHUNK_SHIFT) & SLOT_MASK] ?? this.#look(pa | 0, (pa / TWO32) | 0)
  }

  #chunkForWrite(pa: number): Int32Array | undefined {
    const index = Math.floor(pa / CHUNK_BYTES)
    const chunk = this.#stores.find(index) ?? this.#lookForWrite(pa, index)
    return chunk !== undefined && ((pa >>> 2) & WORD_MASK) < chunk.length ? chunk : undefined
  }

  #lookForWrite(pa: number, index: number): Int32Array | undefined {
    const placement = this.find(pa)
    if (placement === undefined || !placement.backing.writable) return undefined
    const chunk = placement.backing.chunkForWrite(index - placement.base / CHUNK_BYTES)
    if (chunk === null) return undefined
    if (placement.backing.isWatched === true) this.#stores.isPlain = false
    else this.#stores.keep(index, chunk, placement.backing.isPrivate === true)
    return chunk
  }

  #look(lo: number, hi: number): Int32Array | null | undefined {
    const pa = hi * TWO32 + (lo >>> 0)
    const placement = this.find(pa)
    if (placement === undefined) return undefined
    const { backing } = placement
    const index = Math.floor((pa - placement.base) / CHUNK_BYTES)
    // A short last chunk is made at once, for its length says where the memory ends.
    const left = backing.lengthBytes - index * CHUNK_BYTES
    const isShort = left < CHUNK_BYTES && backing.writable
    const chunk = isShort ? backing.chunkForWrite(index) : backing.chunk(index)
    // Whoever may hold no more memory can still read the zeroes there.
    if (chunk === null) return isShort ? new Int32Array(left / 4) : null
    const gigabyte = Math.floor(pa / DIRECTORY_BYTES)
    if (++this.#chunksKept > CHUNKS_KEPT) {
      this.#forget()
      this.#enter(gigabyte)
    }
    this.#chunksOf[gigabyte & (WAYS - 1)][(lo >>> CHUNK_SHIFT) & SLOT_MASK] = chunk
    return chunk
  }

  /** Lays the directory of a gigabyte at hand. */
  #enter(gigabyte: number): void {
    const { chunks, window, start } = this.#directory(gigabyte)
    // What is in hand may have to make way.
    this.#inHand = -1
    const way = gigabyte & (WAYS - 1)
    this.#gigabytes[way] = gigabyte
    this.#chunksOf[way] = chunks
    this.#windows[way] = window
    this.#starts[way] = start
  }

  #directory(gigabyte: number): Directory {
    const known = this.#directories.get(gigabyte)
    if (known !== undefined) return known
    // A guest may point anywhere: only a gigabyte that holds memory gets a directory of its own.
    const from = gigabyte * DIRECTORY_BYTES
    const placement = this.findOverlap(from, DIRECTORY_BYTES)
    if (placement === undefined) return NOWHERE
    if (this.#directories.size === DIRECTORIES_KEPT) this.#forget()
    const directory = directoryOver(placement, from)
    if (directory.chunks !== NOWHERE.chunks && ++this.#arraysKept > ARRAYS_KEPT) {
      this.#forget()
      this.#arraysKept = 1
    }
    this.#directories.set(gigabyte, directory)
    return directory
  }

  #forget(): void {
    this.#directories.clear()
    this.#chunksKept = 0
    this.#arraysKept = 0
    this.#gigabytes.fill(-1)
    this.#inHand = -1
    this.#windows.fill(NO_WORDS)
    this.#chunksOf.fill(NOWHERE.chunks)
    this.#stores.clear()
  }
}
