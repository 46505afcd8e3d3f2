/**
 * The 64-bit words that fresh walks have read, each kept once, with the value last seen there. A word that is found to
 * differ is stamped with the operation that found it and with the SYNCs that had completed until then: the change is
 * older than the next one.
 */

import { MEMORY, type Memory } from '../memory/memory.js'

/** Answered where no word is, or none can be added. */
export const NO_WORD = -1

/** Words looked at in one slice of `look`. */
const SLICE = 8192

/** Watched words by address. */
export class Words {
  /** Physical address. */
  readonly address: Float64Array
  /** The value last seen. */
  readonly lo: Int32Array
  readonly hi: Int32Array
  /** The one before it. */
  readonly lastLo: Int32Array
  readonly lastHi: Int32Array
  /** The operation that first saw the present value in place of another; 0 where there was no other. */
  readonly changedAt: Float64Array
  /** SYNCs that had completed when it was last seen with its former value, or when the change was found. */
  readonly changedSyncs: Float64Array
  /** What was read there, in the owner's coding. */
  readonly kind: Int32Array

  /** The operation that saw the last change of any of them. */
  lastChangeAt = 0

  readonly #memory: Memory
  readonly #users: Int32Array
  readonly #next: Int32Array
  readonly #buckets: Int32Array
  #free = NO_WORD
  #used = 0
  #cursor = 0

  /** @param capacity words at most, a power of two; 64 bytes each */
  constructor(memory: Memory, capacity: number) {
    this.#memory = memory
    this.address = new Float64Array(capacity)
    this.lo = new Int32Array(capacity)
    this.hi = new Int32Array(capacity)
    this.lastLo = new Int32Array(capacity)
    this.lastHi = new Int32Array(capacity)
    this.changedAt = new Float64Array(capacity)
    this.changedSyncs = new Float64Array(capacity)
    this.kind = new Int32Array(capacity)
    this.#users = new Int32Array(capacity)
    this.#next = new Int32Array(capacity)
    this.#buckets = new Int32Array(capacity).fill(NO_WORD)
  }

  /** The word at an address as a walk has just read it, with one user more; NO_WORD where there is no room. */
  hold(address: number, lo: number, hi: number, kind: number, operation: number, syncs: number): number {
    const bucket = this.#bucketOf(address)
    let id = this.#buckets[bucket]
    while (id !== NO_WORD && this.address[id] !== address) id = this.#next[id]
    if (id === NO_WORD) {
      id = this.#take()
      if (id === NO_WORD) return NO_WORD
      this.address[id] = address
      this.lo[id] = lo
      this.hi[id] = hi
      this.changedAt[id] = 0
      this.#users[id] = 0
      this.#next[id] = this.#buckets[bucket]
      this.#buckets[bucket] = id
    } else if (this.lo[id] !== lo || this.hi[id] !== hi) this.#change(id, lo, hi, operation, syncs)
    this.kind[id] = kind
    this.#users[id]++
    return id
  }

  /** One user less; a word that nobody uses is forgotten. */
  release(id: number): void {
    if (--this.#users[id] > 0) return
    const bucket = this.#bucketOf(this.address[id])
    if (this.#buckets[bucket] === id) this.#buckets[bucket] = this.#next[id]
    else {
      let before = this.#buckets[bucket]
      while (this.#next[before] !== id) before = this.#next[before]
      this.#next[before] = this.#next[id]
    }
    this.address[id] = -1
    this.#next[id] = this.#free
    this.#free = id
  }

  /** Whether a word still has the value last seen; a change is stamped. One that cannot be read has not. */
  isSame(id: number, operation: number, syncs: number): boolean {
    const memory = this.#memory
    if (memory.loadWord(this.address[id]) !== MEMORY.OK) return false
    if (memory.lo === this.lo[id] && memory.hi === this.hi[id]) return true
    this.#change(id, memory.lo, memory.hi, operation, syncs)
    return false
  }

  /** Looks at the next slice of words. */
  look(operation: number, syncs: number): void {
    const count = Math.min(this.#used, SLICE)
    for (let i = 0; i < count; i++) {
      this.#cursor = this.#cursor + 1 < this.#used ? this.#cursor + 1 : 0
      const id = this.#cursor
      if (this.#users[id] > 0) this.isSame(id, operation, syncs)
    }
  }

  /** The first of some words that has changed after an operation; NO_WORD for none. */
  firstChanged(ids: readonly number[], after: number): number {
    for (const id of ids) if (this.changedAt[id] > after) return id
    return NO_WORD
  }

  /** SYNCs that had completed before the last change of some words after an operation; -1 where none has changed. */
  syncsBefore(ids: readonly number[], after: number): number {
    let syncs = -1
    for (const id of ids) if (this.changedAt[id] > after && this.changedSyncs[id] > syncs) syncs = this.changedSyncs[id]
    return syncs
  }

  #change(id: number, lo: number, hi: number, operation: number, syncs: number): void {
    this.lastLo[id] = this.lo[id]
    this.lastHi[id] = this.hi[id]
    this.lo[id] = lo
    this.hi[id] = hi
    this.changedAt[id] = operation
    this.changedSyncs[id] = syncs
    this.lastChangeAt = operation
  }

  #take(): number {
    const id = this.#free
    if (id === NO_WORD) return this.#used < this.address.length ? this.#used++ : NO_WORD
    this.#free = this.#next[id]
    return id
  }

  #bucketOf(address: number): number {
    const word = address / 8
    const mixed = Math.imul((word | 0) ^ Math.imul(Math.floor(word / 2 ** 32), 0x9e3779b1), 0x85ebca6b)
    return (mixed ^ (mixed >>> 15)) & (this.#buckets.length - 1)
  }
}
