/**
 * The 64-bit words that fresh walks have read, each kept once, with the value last seen there. A word that is found to
 * differ is stamped with the operation that found it and with the SYNCs that had completed until then: the change is
 * older than the next one.
 */

import { highWord, joinWord, lowWord } from '../bits/address.js'
import { MEMORY, type Memory } from '../memory/memory.js'

/** Answered where no word is, or none can be added. */
export const NO_WORD = -1

/** Words looked at in one slice of `look`. */
const SLICE = 2048

/** Int32s of a word in the table: its address, low half first, and the value last seen. */
const WIDTH = 4
const WIDTH_LG2 = 2
const HIGH = 1
const LO = 2
const HI = 3

/** Room at first; it is doubled as often as it is needed. */
const FIRST_CAPACITY = 1 << 10

/** A former value, and since when the word has another. */
interface Change {
  readonly before: readonly [lo: number, hi: number]
  readonly after: readonly [lo: number, hi: number]
  readonly address: number
  readonly kind: number
}

/** Watched words by address. */
export class Words {
  /** Changes seen so far, of any word. */
  changes = 0
  /** The operation that saw the last of them. */
  lastChangeAt = 0

  readonly #memory: Memory
  readonly #most: number
  #capacity: number
  #table: Int32Array
  /** The value before the present one. */
  #lastLo: Int32Array
  #lastHi: Int32Array
  /** Number of the change that brought the present value; 0 where there was no other. */
  #change: Int32Array
  /** The operation that saw it, and the SYNCs that had completed until then. */
  #changedAt: Float64Array
  #changedSyncs: Float64Array
  /** The SYNCs that had completed when it was read first. */
  #heldSyncs: Float64Array
  /** What was read there, in the owner's coding. */
  #kind: Int32Array
  #users: Int32Array
  #next: Int32Array
  #buckets: Int32Array
  #free = NO_WORD
  #used = 0
  #cursor = 0

  /** @param most words at most, a power of two; 72 bytes each */
  constructor(memory: Memory, most: number) {
    this.#memory = memory
    this.#most = most
    const capacity = Math.min(most, FIRST_CAPACITY)
    this.#capacity = capacity
    this.#table = new Int32Array(capacity * WIDTH)
    this.#lastLo = new Int32Array(capacity)
    this.#lastHi = new Int32Array(capacity)
    this.#change = new Int32Array(capacity)
    this.#changedAt = new Float64Array(capacity)
    this.#changedSyncs = new Float64Array(capacity)
    this.#heldSyncs = new Float64Array(capacity)
    this.#kind = new Int32Array(capacity)
    this.#users = new Int32Array(capacity)
    this.#next = new Int32Array(capacity)
    this.#buckets = new Int32Array(capacity).fill(NO_WORD)
  }

  /** The word at an address as a walk has just read it, with one user more; NO_WORD where there is no room. */
  hold(address: number, lo: number, hi: number, kind: number, operation: number, syncs: number): number {
    const table = this.#table
    const low = lowWord(address) | 0
    const high = highWord(address) | 0
    let id = this.#buckets[this.#bucketOf(low, high)]
    while (id !== NO_WORD && (table[id << WIDTH_LG2] !== low || table[(id << WIDTH_LG2) + HIGH] !== high)) {
      id = this.#next[id]
    }
    if (id === NO_WORD) {
      id = this.#take()
      if (id === NO_WORD) return NO_WORD
      // It may be another one now.
      const grown = this.#table
      const at = id << WIDTH_LG2
      grown[at] = low
      grown[at + HIGH] = high
      grown[at + LO] = lo
      grown[at + HI] = hi
      this.#change[id] = 0
      this.#changedAt[id] = 0
      this.#heldSyncs[id] = syncs
      this.#users[id] = 0
      this.#link(id, low, high)
    } else if (table[(id << WIDTH_LG2) + LO] !== lo || table[(id << WIDTH_LG2) + HI] !== hi) {
      this.#note(id, lo, hi, operation, syncs)
    }
    this.#kind[id] = kind
    this.#users[id]++
    return id
  }

  /** One user less; a word that nobody uses is forgotten. */
  release(id: number): void {
    if (--this.#users[id] > 0) return
    const at = id << WIDTH_LG2
    const bucket = this.#bucketOf(this.#table[at], this.#table[at + HIGH])
    if (this.#buckets[bucket] === id) this.#buckets[bucket] = this.#next[id]
    else {
      let before = this.#buckets[bucket]
      while (this.#next[before] !== id) before = this.#next[before]
      this.#next[before] = this.#next[id]
    }
    this.#next[id] = this.#free
    this.#free = id
  }

  /** Whether some words have the values last seen; the first that has not is stamped. */
  areSame(ids: readonly number[], operation: number, syncs: number): boolean {
    const memory = this.#memory
    const table = this.#table
    for (let i = 0; i < ids.length; i++) {
      const at = ids[i] << WIDTH_LG2
      const status = memory.loadAt(table[at], table[at + HIGH])
      if (status === MEMORY.OK && memory.lo === table[at + LO] && memory.hi === table[at + HI]) continue
      if (status === MEMORY.OK) this.#note(ids[i], memory.lo, memory.hi, operation, syncs)
      return false
    }
    return true
  }

  /** Whether the values last seen of some words are these, two Int32s each. */
  have(ids: readonly number[], values: Int32Array): boolean {
    const table = this.#table
    for (let i = 0; i < ids.length; i++) {
      const at = ids[i] << WIDTH_LG2
      if (table[at + LO] !== values[2 * i] || table[at + HI] !== values[2 * i + 1]) return false
    }
    return true
  }

  /** Whether all of some words are in memory still. */
  areThere(ids: readonly number[]): boolean {
    const table = this.#table
    for (const id of ids) {
      const at = id << WIDTH_LG2
      if (this.#memory.loadAt(table[at], table[at + HIGH]) !== MEMORY.OK) return false
    }
    return true
  }

  /** Looks at the next slice of words. */
  look(operation: number, syncs: number): void {
    const memory = this.#memory
    const table = this.#table
    const count = Math.min(this.#used, SLICE)
    for (let i = 0; i < count; i++) {
      this.#cursor = this.#cursor + 1 < this.#used ? this.#cursor + 1 : 0
      const at = this.#cursor << WIDTH_LG2
      if (this.#users[this.#cursor] <= 0 || memory.loadAt(table[at], table[at + HIGH]) !== MEMORY.OK) continue
      if (memory.lo === table[at + LO] && memory.hi === table[at + HI]) continue
      this.#note(this.#cursor, memory.lo, memory.hi, operation, syncs)
    }
  }

  /** Whether one of some words has changed since there were as many changes. */
  hasChanged(ids: readonly number[], changes: number): boolean {
    for (let i = 0; i < ids.length; i++) if (this.#change[ids[i]] > changes) return true
    return false
  }

  /** The first of some words that has changed after an operation; NO_WORD for none. */
  firstChanged(ids: readonly number[], after: number): number {
    for (const id of ids) if (this.#changedAt[id] > after) return id
    return NO_WORD
  }

  /** The first of them that has changed in more than flags that hardware sets, or else in those; NO_WORD for none. */
  firstTold(ids: readonly number[], after: number, isFlags: (id: number) => boolean): number {
    for (const id of ids) if (this.#changedAt[id] > after && !isFlags(id)) return id
    return this.firstChanged(ids, after)
  }

  /** SYNCs that had completed before the last change of some words after an operation; -1 where none has changed. */
  syncsBefore(ids: readonly number[], after: number): number {
    let syncs = -1
    for (const id of ids) {
      if (this.#changedAt[id] > after && this.#changedSyncs[id] > syncs) syncs = this.#changedSyncs[id]
    }
    return syncs
  }

  /**
   * SYNCs that had completed when all of some words got the values that they have since, as far as is known; -1 where none
   * of them was ever seen to change.
   */
  syncsSettled(ids: readonly number[]): number {
    let syncs = -1
    let hasChanged = false
    for (const id of ids) {
      if (this.#changedAt[id] > 0) hasChanged = true
      syncs = Math.max(syncs, this.#changedAt[id] > 0 ? this.#changedSyncs[id] : this.#heldSyncs[id])
    }
    return hasChanged ? syncs : -1
  }

  /** The last change of a word. */
  changeOf(id: number): Change {
    const at = id << WIDTH_LG2
    const table = this.#table
    return {
      before: [this.#lastLo[id] >>> 0, this.#lastHi[id] >>> 0],
      after: [table[at + LO] >>> 0, table[at + HI] >>> 0],
      address: joinWord(table[at], table[at + HIGH]),
      kind: this.#kind[id],
    }
  }

  #note(id: number, lo: number, hi: number, operation: number, syncs: number): void {
    const at = id << WIDTH_LG2
    this.#lastLo[id] = this.#table[at + LO]
    this.#lastHi[id] = this.#table[at + HI]
    this.#table[at + LO] = lo
    this.#table[at + HI] = hi
    this.#change[id] = ++this.changes
    this.#changedAt[id] = operation
    this.#changedSyncs[id] = syncs
    this.lastChangeAt = operation
  }

  #take(): number {
    const id = this.#free
    if (id !== NO_WORD) {
      this.#free = this.#next[id]
      return id
    }
    if (this.#used === this.#capacity && !this.#grow()) return NO_WORD
    return this.#used++
  }

  #link(id: number, low: number, high: number): void {
    const bucket = this.#bucketOf(low, high)
    this.#next[id] = this.#buckets[bucket]
    this.#buckets[bucket] = id
  }

  /** Twice the room. False where that would be too much. All words are in use then. */
  #grow(): boolean {
    if (this.#capacity === this.#most) return false
    const capacity = this.#capacity * 2
    this.#capacity = capacity
    this.#table = wider(this.#table, new Int32Array(capacity * WIDTH))
    this.#lastLo = wider(this.#lastLo, new Int32Array(capacity))
    this.#lastHi = wider(this.#lastHi, new Int32Array(capacity))
    this.#change = wider(this.#change, new Int32Array(capacity))
    this.#changedAt = wider(this.#changedAt, new Float64Array(capacity))
    this.#changedSyncs = wider(this.#changedSyncs, new Float64Array(capacity))
    this.#heldSyncs = wider(this.#heldSyncs, new Float64Array(capacity))
    this.#kind = wider(this.#kind, new Int32Array(capacity))
    this.#users = wider(this.#users, new Int32Array(capacity))
    this.#next = wider(this.#next, new Int32Array(capacity))
    this.#buckets = new Int32Array(capacity).fill(NO_WORD)
    for (let id = 0; id < this.#used; id++) {
      const at = id << WIDTH_LG2
      this.#link(id, this.#table[at], this.#table[at + HIGH])
    }
    return true
  }

  #bucketOf(low: number, high: number): number {
    const mixed = Math.imul((low >>> 3) ^ Math.imul(high, 0x9e3779b1), 0x85ebca6b)
    return (mixed ^ (mixed >>> 15)) & (this.#capacity - 1)
  }
}

/** What was in one array, at the start of another. */
function wider<A extends Int32Array | Float64Array>(from: A, to: A): A {
  to.set(from)
  return to
}
