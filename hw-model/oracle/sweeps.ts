/** Looks at many watches at once: at each SYNC, and when somebody asks what is stale now. */

import { type Concerns, NO_PASID, STATUS, type StaleReason, type StaleReport, Transaction } from '../port.js'
import { FROM_DEVICE } from './device-tlbs.js'
import type { Oracle } from './oracle.js'
import { highOf, isBlank, lowOf, type Watch } from './watches.js'

/**
 * Watches looked at when a SYNC completes, and changed ones that are walked again; more have their turn at the next. A guest
 * that sends a SYNC for each page pays 0.1 ms for each.
 */
const LOOKED_AT = 2048
const WALKED = 64

/** Wrong watches among which a cause is looked for. */
const SIBLINGS = 64

/** The sweeps of one oracle. */
export class Sweeps {
  /** Entries that an invalidation took, though they were right, and though they were not. */
  needless = 0
  needed = 0
  readonly #oracle: Oracle
  readonly #transaction = new Transaction()
  /** Where the next look begins, and the next check. */
  #cursor = 0
  #checked = 0
  /** The operation of the sweep before. */
  #lastAt = 0
  /** Watches that turned out wrong, the latest first. */
  #wrong: Watch[] = []

  constructor(oracle: Oracle) {
    this.#oracle = oracle
  }

  /** A SYNC completes: what is wrong now was changed before it. */
  atSync(): void {
    const { journal, words, watches } = this.#oracle
    words.look(journal.operation, journal.syncs)
    const { all } = watches
    const count = Math.min(all.length, LOOKED_AT)
    const hasDropped = journal.sentSince(this.#lastAt)
    let walks = WALKED
    let next = this.#cursor
    for (let i = 0; i < count && walks > 0; i++) {
      next = next + 1 < all.length ? next + 1 : 0
      const watch = all[next]
      if (watch.rightAt === 0) continue
      const hasChanged = watch.rightAt < words.lastChangeAt && words.firstChanged(watch.words, watch.rightAt) >= 0
      if (hasDropped && watch.isKept) this.#count(watch, hasChanged)
      if ((!hasChanged && !this.#oracle.isVoid(watch)) || watch.wrongAt !== 0) continue
      walks--
      this.#lookAgain(watch)
    }
    this.#cursor = next
    this.#lastAt = journal.operation
  }

  /** Compares what is cached now, `most` watches at most. */
  check(most: number): { readonly compared: number; readonly stale: readonly StaleReport[] } {
    const oracle = this.#oracle
    const stale: StaleReport[] = []
    const count = Math.min(oracle.watches.all.length, most)
    let next = this.#checked
    for (let i = 0; i < count; i++) {
      next = next + 1 < oracle.watches.all.length ? next + 1 : 0
      const watch = oracle.watches.all[next]
      if (isBlank(watch)) continue
      const isKnown = watch.report !== null
      const report = this.#compare(watch, 'checked')
      if (report !== null && !isKnown && !stale.includes(report)) stale.push(report)
    }
    this.#checked = next
    return { compared: count, stale }
  }

  /** The same for the last time, of some. */
  checkLast(from: number, most: number, concerns: Concerns): number {
    const { all } = this.#oracle.watches
    let left = most
    let at = from
    for (; at < all.length && left > 0; at++) {
      const watch = all[at]
      const { rid, pasid, kind, words } = watch
      if (isBlank(watch)) continue
      if (!concerns(rid >>> 0, pasid, ((kind >>> 4) & 3) === FROM_DEVICE) || !this.#oracle.words.areThere(words))
        continue
      left--
      this.#compare(watch, 'ended')
    }
    return at
  }

  /** The report of what is cached, where that is stale. */
  #compare(watch: Watch, reason: StaleReason): StaleReport | null {
    const oracle = this.#oracle
    const transaction = this.#like(watch)
    const fresh = oracle.walk(transaction)
    const cached = oracle.ask(transaction)
    if (oracle.subject.isSame(cached, fresh)) return null
    oracle.accuse(watch, transaction, fresh)
    // A look is no stale answer that anybody has got.
    return watch.report ?? oracle.report(watch, reason, transaction, cached, fresh)
  }

  /**
   * The SYNCs before the change that has made a watch wrong which nobody has seen right: those of another one that is
   * wrong for the same reason, if there is one. An answer that was never right says nothing of its own.
   */
  syncsOfSibling(watch: Watch): number | null {
    const { words, subject } = this.#oracle
    this.#wrong = this.#wrong.filter(({ wrongAt }) => wrongAt !== 0).slice(0, SIBLINGS)
    for (const each of this.#wrong) {
      if (each === watch) continue
      if (each.remedy === null) {
        const isSame = each.entry === watch.entry && isSamePlace(each, watch)
        if (isSame && subject.isKept(each.entry, each.lo, each.hi)) return each.wrongSyncs
        continue
      }
      const changed = words.firstChanged(each.words, each.rightAt)
      if (changed >= 0 && watch.words.includes(changed) && this.#isWrong(each)) return each.wrongSyncs
    }
    return null
  }

  #isWrong(watch: Watch): boolean {
    const oracle = this.#oracle
    const transaction = this.#like(watch)
    const fresh = oracle.walk(transaction)
    return !oracle.subject.isSame(oracle.ask(transaction), fresh)
  }

  /** A watch whose words have changed: it is right still, or wrong since before this SYNC. */
  #lookAgain(watch: Watch): void {
    const oracle = this.#oracle
    const transaction = this.#like(watch)
    const fresh = oracle.walk(transaction)
    const cached = oracle.ask(transaction)
    if (oracle.subject.isSame(cached, fresh)) {
      this.#settle(watch, transaction, cached.status === STATUS.OK ? cached.leafLg2 : 12)
      return
    }
    oracle.accuse(watch, transaction, fresh)
    this.#wrong.unshift(watch)
  }

  /** Nothing cached contradicts memory, unless an entry is left that nobody reaches: its watch waits for who does. */
  #settle(watch: Watch, transaction: Transaction, leafLg2: number): void {
    const oracle = this.#oracle
    const { entry, isKept, filledAt } = watch
    if (entry !== 0 && entry !== oracle.subject.entry() && oracle.subject.isKept(entry, watch.lo, watch.hi)) {
      oracle.suspect(watch)
      this.#wrong.unshift(watch)
      return
    }
    const next = oracle.settle(transaction, watch, leafLg2)
    next.isKept = isKept && oracle.subject.isKept(next.entry, watch.lo, watch.hi)
    next.filledAt = filledAt
  }

  #count(watch: Watch, hasChanged: boolean): void {
    if (this.#oracle.subject.isKept(watch.entry, watch.lo, watch.hi)) return
    watch.isKept = false
    if (hasChanged) this.needed++
    else this.needless++
  }

  /** What a watch was made for. */
  #like({ rid, pasid, kind, lo, hi }: Watch): Transaction {
    const transaction = this.#transaction
    transaction.rid = rid
    transaction.pasid = pasid === NO_PASID ? NO_PASID : pasid
    transaction.access = kind & 15
    transaction.type = (kind >>> 4) & 3
    transaction.bytes = (kind & 128) !== 0 ? 0 : (kind & 64) !== 0 ? 4 : 1
    transaction.lo = lo
    transaction.hi = hi
    return transaction
  }
}

/** Whether the smaller leaf is part of the other. */
function isSamePlace(one: Watch, other: Watch): boolean {
  const lg2 = Math.max(one.leafLg2, other.leafLg2)
  return lowOf(one.lo, lg2) === lowOf(other.lo, lg2) && highOf(one.hi, lg2) === highOf(other.hi, lg2)
}
