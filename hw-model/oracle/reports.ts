/** Reports, each stale entry once. */

import type { ChangedEntry, Ended, Outcome, StaleReason, StaleReport, Transaction } from '../port.js'
import type { Journal } from './journal.js'
import type { Remedy, Subject } from './subject.js'
import type { Watch } from './watches.js'
import type { Words } from './words.js'

/** A report that still counts. */
export type MutableReport = { -readonly [K in keyof StaleReport]: StaleReport[K] }

/** The reports of one unit. */
export class Reports {
  readonly kept: MutableReport[] = []
  onReport: ((report: StaleReport) => void) | null = null
  made = 0
  readonly #limit: number
  readonly #subject: Subject
  readonly #journal: Journal
  readonly #words: Words
  /** Those of entries that have not been right since, by the entry's name. */
  readonly #open = new Map<string, MutableReport>()

  constructor(limit: number, subject: Subject, journal: Journal, words: Words) {
    this.#limit = limit
    this.#subject = subject
    this.#journal = journal
    this.#words = words
  }

  /** Those that found no room. */
  get dropped(): number {
    return this.made - this.kept.length
  }

  /** Reports a stale answer, or counts it where its entry is reported already. True where it is new. */
  report(
    watch: Watch,
    remedy: Remedy,
    reason: StaleReason,
    transaction: Transaction,
    cached: Outcome,
    fresh: Outcome,
  ): boolean {
    const known = watch.report ?? this.#open.get(remedy.entry)
    if (known !== undefined) {
      watch.report = known
      known.hits++
      return false
    }
    const { rid, pasid, lo, hi, access } = transaction
    const { cache, missing, usual } = remedy
    // All was sent, and only its completion was not waited for.
    const pendingAt = this.#journal.pendingSince(this.#subject, missing, watch.rightAt)
    const report: MutableReport = {
      number: ++this.made,
      reason,
      cache,
      rid: rid >>> 0,
      pasid,
      lo: lo >>> 0,
      hi: hi >>> 0,
      access,
      cached: ended(cached),
      fresh: ended(fresh),
      filledAt: watch.filledAt,
      lastRightAt: watch.rightAt,
      firstSeenAt: Math.max(watch.wrongAt, pendingAt + 1),
      at: this.#journal.operation,
      hits: 1,
      changed: this.changed(watch),
      missing: pendingAt === 0 ? missing : [this.#subject.sync],
      usual: pendingAt === 0 ? usual : null,
      sent: this.#journal.nearest(this.#subject, missing, watch.rightAt),
    }
    watch.report = report
    this.#open.set(remedy.entry, report)
    if (this.kept.length < this.#limit) this.kept.push(report)
    this.onReport?.(report)
    return true
  }

  /** A watch is right again: what comes after is another story. */
  close({ remedy, report }: Watch): void {
    if (report !== null && remedy !== null && this.#open.get(remedy.entry) === report) this.#open.delete(remedy.entry)
  }

  /** The first word of a watch that software has changed since it was right. */
  changedWord({ words: ids, rightAt }: Watch): number {
    const isMark = (id: number): boolean => {
      const { kind, before, after } = this.#words.changeOf(id)
      return this.#subject.marks(kind, before, after)
    }
    return this.#words.firstTold(ids, rightAt, isMark)
  }

  /** What has changed, as a report tells it. */
  changed(watch: Watch): ChangedEntry | null {
    if (watch.rightAt === 0) return null
    const words = this.#words
    const id = this.changedWord(watch)
    if (id < 0) return null
    const { kind, ...change } = words.changeOf(id)
    return { ...this.#subject.describe(kind), ...change }
  }
}

const ended = ({ status, fault, address, leafLg2, rights }: Outcome): Ended => ({
  status,
  fault,
  address,
  leafLg2,
  rights,
})
