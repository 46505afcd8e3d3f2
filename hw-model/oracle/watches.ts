/**
 * What the last fresh walk that was right has read, for each translation that was met: while all those words are what
 * they were, the next fresh walk would answer the same, and need not be made. A watch is found by who asked for what,
 * and where in its leaf does not count. It lives on when the cache forgets the entry, and is overwritten in turn.
 */

import { ACCESS, type Transaction } from '../port.js'
import { FROM_DEVICE } from './device-tlbs.js'
import type { MutableReport } from './reports.js'
import type { Remedy } from './subject.js'

const NONE = -1
const NO_WORDS: readonly number[] = []

/** The kind of a transaction: what else than requester and address decides how it ends. */
export function kindOf(transaction: Transaction): number {
  const { bytes, access } = transaction
  // What a function keeps is one translation, whatever it uses that for.
  if (transaction.type === FROM_DEVICE) return (access & ACCESS.PRIVILEGED) | ACCESS.READ | (FROM_DEVICE << 4)
  return access | (transaction.type << 4) | (bytes === 4 ? 64 : bytes === 0 ? 128 : 0)
}

/**
 * One translation that was met. What each hit reads stands first and is small: an object of this size lies in several
 * lines of the machine's cache, and each of them may have to come from memory.
 */
export class Watch {
  /** Words that the fresh walk read: those that it shares with others, and the rest. */
  path: readonly number[] = NO_WORDS
  tail: readonly number[] = NO_WORDS
  /** When it was last right, 0 for never; and the changes of words that had been seen until then. */
  rightAt = 0
  changes = 0
  /** When it was first seen to be wrong, and the SYNCs completed before the change; 0 while it is right. */
  wrongAt = 0
  /** Not all of what the answer depends on is in `words`. */
  isOpen = true
  /** How it ended when it was right: the address is of the leaf's first byte. */
  status = 0
  rights = 0
  addressLo = 0
  addressHi = 0
  leafLg2 = 12
  fault = 0
  /** All its words, in their order. */
  words: readonly number[] = NO_WORDS
  filledAt = 0
  rid = 0
  pasid = 0
  kind = 0
  /** First byte of the leaf. */
  lo = 0
  hi = 0
  /** Names what the caches keep of it, in the unit's coding; 0 for nothing. */
  entry = 0
  /** The caches had it when it was last met. */
  isKept = false
  wrongSyncs = 0
  remedy: Remedy | null = null
  /** When that was looked for. */
  remedyAt = 0
  report: MutableReport | null = null
  /** Its own index, and the bucket. */
  index = NONE
  bucket = NONE
}

/** Int32s of a key: the leaf's first byte, RID, PASID, kind and size, and the next in the bucket. */
const KEY = { LO: 0, HI: 1, RID: 2, PASID: 3, KIND: 4, NEXT: 5 } as const
const KEY_LG2 = 3

/** Watches by requester, kind and leaf. */
export class Watches {
  readonly all: Watch[] = []
  readonly #buckets: Int32Array
  /** What each is found by: side by side, so that only the right one is touched. */
  readonly #keys: Int32Array
  readonly #capacity: number
  readonly #drop: (watch: Watch) => void
  /** Leaf sizes that were ever watched, the larger first. */
  readonly #sizes: number[] = []
  #turn = 0

  /**
   * @param capacity watches at most, a power of two
   * @param drop called for each that makes room for another
   */
  constructor(capacity: number, drop: (watch: Watch) => void) {
    this.#capacity = capacity
    this.#buckets = new Int32Array(capacity).fill(NONE)
    this.#keys = new Int32Array(capacity << KEY_LG2)
    this.#drop = drop
  }

  /** The watch of a transaction, of the largest leaf that has one. */
  find(transaction: Transaction): Watch | null {
    const keys = this.#keys
    const rid = transaction.rid | 0
    const pasid = transaction.pasid
    const lo = transaction.lo
    const hi = transaction.hi
    const kind = kindOf(transaction)
    for (let i = 0; i < this.#sizes.length; i++) {
      const lg2 = this.#sizes[i]
      const first = lowOf(lo, lg2)
      const high = highOf(hi, lg2)
      const sized = (kind << 8) | lg2
      let at = this.#buckets[this.#bucketOf(rid, pasid, first, high, sized)]
      while (at !== NONE) {
        const key = at << KEY_LG2
        if (
          keys[key] === first &&
          keys[key + KEY.HI] === high &&
          keys[key + KEY.RID] === rid &&
          keys[key + KEY.PASID] === pasid &&
          keys[key + KEY.KIND] === sized
        ) {
          return this.all[at]
        }
        at = keys[key + KEY.NEXT]
      }
    }
    return null
  }

  /** A new watch of the leaf of 2^`lg2` bytes around what was asked for; whoever's turn it is makes room. */
  make(transaction: Transaction, lg2: number): Watch {
    const index = this.#turn
    this.#turn = (index + 1) & (this.#capacity - 1)
    if (index < this.all.length) this.#forget(index)
    else this.all.push(new Watch())
    if (!this.#sizes.includes(lg2)) this.#sizes.push(lg2)
    this.#sizes.sort((one, other) => other - one)
    const watch = this.all[index]
    const keys = this.#keys
    const key = index << KEY_LG2
    watch.rid = transaction.rid
    watch.pasid = transaction.pasid
    watch.kind = kindOf(transaction)
    watch.lo = lowOf(transaction.lo, lg2)
    watch.hi = highOf(transaction.hi, lg2)
    watch.leafLg2 = lg2
    watch.index = index
    keys[key + KEY.LO] = watch.lo
    keys[key + KEY.HI] = watch.hi
    keys[key + KEY.RID] = watch.rid
    keys[key + KEY.PASID] = watch.pasid
    keys[key + KEY.KIND] = (watch.kind << 8) | lg2
    watch.bucket = this.#bucketOf(watch.rid | 0, watch.pasid, watch.lo, watch.hi, keys[key + KEY.KIND])
    keys[key + KEY.NEXT] = this.#buckets[watch.bucket]
    this.#buckets[watch.bucket] = index
    return watch
  }

  /** Takes a watch out: it is found no more. */
  remove(watch: Watch): void {
    this.#forget(watch.index)
  }

  #forget(index: number): void {
    const watch = this.all[index]
    if (watch.bucket !== NONE) {
      const keys = this.#keys
      const next = keys[(index << KEY_LG2) + KEY.NEXT]
      let at = this.#buckets[watch.bucket]
      if (at === index) this.#buckets[watch.bucket] = next
      else {
        while (keys[(at << KEY_LG2) + KEY.NEXT] !== index) at = keys[(at << KEY_LG2) + KEY.NEXT]
        keys[(at << KEY_LG2) + KEY.NEXT] = next
      }
    }
    this.#drop(watch)
    this.all[index] = new Watch()
  }

  #bucketOf(rid: number, pasid: number, lo: number, hi: number, sized: number): number {
    let mixed = Math.imul(lo ^ Math.imul(hi, 0x85ebca6b) ^ sized, 0x9e3779b1)
    mixed = Math.imul(mixed ^ (mixed >>> 15) ^ rid, 0xc2b2ae35) ^ Math.imul(pasid, 0x27d4eb2f)
    return (mixed ^ (mixed >>> 13)) & (this.#capacity - 1)
  }
}

/** A place that was let go and is not taken again. */
export const isBlank = ({ index }: Watch): boolean => index === NONE

/** First byte of the leaf of 2^`lg2` bytes, the low half. */
export const lowOf = (lo: number, lg2: number): number => (lg2 >= 32 ? 0 : lo & (-1 << lg2))

/** The high half. */
export const highOf = (hi: number, lg2: number): number => (lg2 >= 64 ? 0 : lg2 > 32 ? hi & (-1 << (lg2 - 32)) : hi | 0)
