/**
 * What the last fresh walk that was right has read, for each translation that was met: while all those words are what
 * they were, the next fresh walk would answer the same, and need not be made. A watch is found by who asked for what,
 * and where in its leaf does not count. It lives on when the cache forgets the entry, and is overwritten in turn.
 */

import { ACCESS, type Transaction } from '../port.js'
import { FROM_DEVICE } from './device-tlbs.js'
import type { Path } from './paths.js'
import { NONE, Records } from './records.js'
import type { MutableReport } from './reports.js'
import type { Remedy } from './subject.js'

/** The kind of a transaction: what else than requester and address decides how it ends. */
export function kindOf(transaction: Transaction): number {
  const { bytes, access } = transaction
  // What a function keeps is one translation, whatever it uses that for.
  if (transaction.type === FROM_DEVICE) return (access & ACCESS.PRIVILEGED) | ACCESS.READ | (FROM_DEVICE << 4)
  return access | (transaction.type << 4) | (bytes === 4 ? 64 : bytes === 0 ? 128 : 0)
}

/** One translation that was met. What each hit reads of it is in its record. */
export class Watch {
  readonly #records: Records
  rid = 0
  pasid = 0
  kind = 0
  /** First byte of the leaf. */
  lo = 0
  hi = 0
  leafLg2 = 12
  /** Words that the fresh walk read, in its order; those that it begins with, as others do; and up to the last one. */
  words: readonly number[] = []
  path: Path | null = null
  rest: readonly number[] = []
  /** Not all of what the answer depends on is in `words`. */
  isOpen = true
  /** How it ended when it was right: `address` is of the leaf's first byte. */
  status = 0
  address = 0
  rights = 0
  /** Names what the caches keep of it, in the unit's coding; 0 for nothing. */
  entry = 0
  /** The caches had it when it was last met. */
  isKept = false
  filledAt = 0
  /** Changes of words that had been seen when it was last right. */
  changes = 0
  /** When it was first seen to be wrong, and the SYNCs completed before the change; 0 while it is right. */
  wrongAt = 0
  wrongSyncs = 0
  remedy: Remedy | null = null
  /** When that was looked for. */
  remedyAt = 0
  report: MutableReport | null = null
  /** Its own number, which is its record's; NONE where it was taken out. */
  index = NONE

  constructor(records: Records) {
    this.#records = records
  }

  /** When it was last right, 0 for never. */
  get rightAt(): number {
    return this.index === NONE ? 0 : this.#records.rightAt(this.index)
  }

  set rightAt(operation: number) {
    this.#records.setRightAt(this.index, operation)
  }
}

/** Watches by requester, kind and leaf. */
export class Watches {
  readonly all: Watch[] = []
  readonly records: Records
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
    this.records = new Records(capacity)
    this.#drop = drop
  }

  /** The number of the watch of a transaction, of the largest leaf that has one. */
  find(transaction: Transaction): number {
    const rid = transaction.rid | 0
    const pasid = transaction.pasid
    const lo = transaction.lo
    const hi = transaction.hi
    const kind = kindOf(transaction) << SIZE_BITS
    for (let i = 0; i < this.#sizes.length; i++) {
      const lg2 = this.#sizes[i]
      const found = this.records.find(rid, pasid, lowOf(lo, lg2), highOf(hi, lg2), kind | lg2)
      if (found !== NONE) return found
    }
    return NONE
  }

  /** A new watch of the leaf of 2^`lg2` bytes around what was asked for; whoever's turn it is makes room. */
  make(transaction: Transaction, lg2: number): Watch {
    const index = this.#turn
    this.#turn = (index + 1) & (this.#capacity - 1)
    if (index < this.all.length) this.#forget(index)
    else this.all.push(new Watch(this.records))
    if (!this.#sizes.includes(lg2)) this.#sizes.push(lg2)
    this.#sizes.sort((one, other) => other - one)
    const watch = this.all[index]
    const { rid, pasid, lo, hi } = transaction
    watch.rid = rid
    watch.pasid = pasid
    watch.kind = kindOf(transaction)
    watch.lo = lowOf(lo, lg2)
    watch.hi = highOf(hi, lg2)
    watch.leafLg2 = lg2
    watch.index = index
    this.records.put(index, rid | 0, pasid, watch.lo, watch.hi, (watch.kind << SIZE_BITS) | lg2)
    return watch
  }

  /** Takes a watch out: it is found no more. */
  remove(watch: Watch): void {
    this.#forget(watch.index)
  }

  #forget(index: number): void {
    const watch = this.all[index]
    if (watch.index !== NONE) this.records.take(index)
    this.#drop(watch)
    this.all[index] = new Watch(this.records)
  }
}

/** log2 of a size is below 128. */
const SIZE_BITS = 7

/** A place that was let go and is not taken again. */
export const isBlank = ({ index }: Watch): boolean => index === NONE

/** First byte of the leaf of 2^`lg2` bytes, the low half. */
export const lowOf = (lo: number, lg2: number): number => (lg2 >= 32 ? 0 : lo & (-1 << lg2))

/** The high half. */
export const highOf = (hi: number, lg2: number): number => (lg2 >= 64 ? 0 : lg2 > 32 ? hi & (-1 << (lg2 - 32)) : hi | 0)
