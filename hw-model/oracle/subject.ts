/** What the oracle asks of the unit that it judges. */

import type { ChangedEntry, Invalidation, Outcome, Transaction } from '../port.js'

/** Takes down what a fresh walk reads. */
export interface Reads {
  /**
   * A 64-bit word that was read, in the walk's order.
   *
   * @param kind the unit's coding of what it is; see `Subject.describe`
   */
  add(address: number, lo: number, hi: number, kind: number): void
}

/** What a word is, in the manual's terms. */
export interface WordName {
  readonly what: string
  readonly stage?: 1 | 2
  readonly level?: number
}

/** The way out of a stale answer. */
export interface Remedy {
  /** The cache that is stale. */
  readonly cache: string
  /** Names the stale entry: answers from the same one have the same. */
  readonly entry: string
  readonly missing: readonly Invalidation[]
  /** What the words are that the stale entry was made of, by `WordName.what`, where it alone is stale and that is known. */
  readonly madeOf?: readonly string[]
  readonly usual: Invalidation | null
}

/** One architecture's side of the oracle. None but `live` changes anything that can be seen. */
export interface Subject {
  /** What completes invalidations. */
  readonly sync: Invalidation
  /** The pipeline itself. */
  live(transaction: Transaction, outcome: Outcome): void
  /** A walk from memory alone. */
  fresh(transaction: Transaction, outcome: Outcome, reads: Reads): void
  /** What `live` would answer at this moment. */
  cached(transaction: Transaction, outcome: Outcome): void
  /** Whether an answer of the caches is as good as the fresh one; asked right after `fresh`. */
  isSame(cached: Outcome, fresh: Outcome): boolean
  /** log2 of the most bytes that one entry of the caches answers for, of a transaction like the last `fresh` one. */
  pieceLg2(): number
  /** Names the cache entry that the transaction of the last `fresh` would be kept in; 0 where none is. */
  entry(): number
  /** Whether an entry is cached that `entry` has named, for an address. */
  isKept(entry: number, lo: number, hi: number): boolean
  /**
   * The narrowest commands after which the caches answer what `fresh` did.
   *
   * @param changed the entry in memory that is not what it was when the answer was right, where that is known
   */
  remedy(transaction: Transaction, fresh: Outcome, changed: ChangedEntry | null): Remedy
  /** What keeps a sent command from doing what is missing, each in a few words; null where it has nothing to do with it. */
  shortfalls(sent: Invalidation, missing: Invalidation): readonly string[] | null
  /** What a word is that `fresh` has read. */
  describe(kind: number): WordName
  /** A table entry differs in nothing but what hardware sets in it: it was accessed, or written to. */
  marks(kind: number, before: readonly [number, number], after: readonly [number, number]): boolean
  /** One valid entry took another's place, although an invalid one and an invalidation have to come between. */
  breaks(kind: number, before: readonly [number, number], after: readonly [number, number]): boolean
}
