/**
 * Compares what a unit answers with what memory says. Each translation is judged before its pipeline runs, since a miss
 * fills the caches. Where a watch of it still holds, what a fresh walk would answer is known; else the walk is made, dry,
 * and so is one over views of all caches. Where the two differ, something cached is stale.
 *
 * Until a SYNC or wait has completed since the change, old and new are both legal. Software says nothing about when it
 * changes memory, so that the watched words are looked at whenever a SYNC completes: what differs then is older than it.
 */

import { offsetIn } from '../bits/address.js'
import type { Memory } from '../memory/memory.js'
import {
  type Concerns,
  type Invalidation,
  type KeptTranslations,
  type OracleCounts,
  type OracleOptions,
  Outcome,
  STATUS,
  type StaleReason,
  type StaleReport,
  Transaction,
  type UnitOracle,
} from '../port.js'
import { type DeviceCommands, FROM_DEVICE, WithDeviceTlbs } from './device-tlbs.js'
import { Frames } from './frames.js'
import { Journal } from './journal.js'
import { NONE } from './records.js'
import { Reports } from './reports.js'
import { Standing } from './standing.js'
import type { Reads, Subject } from './subject.js'
import { Sweeps } from './sweeps.js'
import { type Watch, Watches } from './watches.js'
import { NO_WORD, Words } from './words.js'

/** Translations and words that are watched at most: those of a full cache, about 40 MB while the oracle is on. */
const WATCHES = 1 << 16
const WORDS = 1 << 17

/** The oracle of one unit. */
export class Oracle implements UnitOracle, Reads {
  readonly options: OracleOptions
  readonly journal = new Journal()
  readonly words: Words
  readonly watches: Watches
  readonly subject: WithDeviceTlbs
  compared = 0
  stale = 0
  inWindow = 0
  /** What the last fresh walk has read. */
  #read: number[] = []
  /** One of its words found no room. */
  #isShort = false
  /** Registers were written at this operation: what was right before may not be. */
  #voidAt = 0
  /** The SYNCs that had completed until then. */
  #voidSyncs = 0
  #failed: StaleReport | null = null
  readonly #reports: Reports
  readonly #sweeps: Sweeps
  readonly #frames = new Frames()
  readonly #standing: Standing
  readonly #fresh = new Outcome()
  readonly #use = new Transaction()
  readonly #used = new Outcome()
  readonly #cached = new Outcome()

  /** @param devices how functions in front of the unit are told to forget */
  constructor(options: OracleOptions, memory: Memory, unit: Subject, devices: DeviceCommands) {
    this.options = options
    const subject = new WithDeviceTlbs(unit, devices)
    this.subject = subject
    this.words = new Words(memory, WORDS)
    this.watches = new Watches(WATCHES, (watch) => this.#release(watch))
    this.#standing = new Standing(memory, this.words, this.watches, this.journal)
    this.#reports = new Reports(options.reportLimit, subject, this.journal, this.words)
    this.#sweeps = new Sweeps(this)
  }

  /** Whether a register was written since a watch was right, that says how walks begin. */
  isVoid({ rightAt }: Watch): boolean {
    return rightAt <= this.#voidAt
  }

  get operation(): number {
    return this.journal.operation
  }

  get counts(): OracleCounts {
    const { compared, stale, inWindow } = this
    const { made: reports, dropped: droppedReports } = this.#reports
    const { needed, needless } = this.#sweeps
    return { compared, stale, inWindow, reports, droppedReports, needed, needless, syncs: this.journal.syncs }
  }

  get reports(): readonly StaleReport[] {
    return this.#reports.kept
  }

  get failed(): StaleReport | null {
    return this.#failed
  }

  get watched(): number {
    return this.watches.all.length
  }

  get onReport(): ((report: StaleReport) => void) | null {
    return this.#reports.onReport
  }

  set onReport(listener: ((report: StaleReport) => void) | null) {
    this.#reports.onReport = listener
  }

  /** Ends a transaction as the unit does, and judges it. */
  translate(transaction: Transaction, outcome: Outcome): void {
    this.journal.operation++
    this.compared++
    this.#failed = null
    const { watches } = this
    const found = watches.find(transaction)
    if (found === NONE || !this.#standing.has(found, this.#voidAt)) {
      this.#judge(transaction, outcome, found === NONE ? null : watches.all[found])
      return
    }
    this.subject.live(transaction, outcome)
    if (outcome.status === STATUS.OK && watches.records.isSaid(found, transaction, outcome)) {
      const { operation } = this.journal
      watches.records.setRightAt(found, operation)
      if (outcome.hit === 1) return
      const watch = watches.all[found]
      watch.filledAt = operation
      watch.isKept = true
      this.#frames.given(outcome.address, transaction, operation)
      return
    }
    // What another transaction has filled from something stale: the answer is there, and only its cause is looked for.
    this.#judgeAfter(transaction, outcome, watches.all[found])
  }

  used({ rid, pasid, lo, hi, access }: Transaction, device: KeptTranslations): boolean {
    const use = this.#use
    use.rid = rid
    use.pasid = pasid
    use.lo = lo
    use.hi = hi
    use.access = access
    use.type = FROM_DEVICE
    this.subject.know(rid, device)
    this.translate(use, this.#used)
    return this.#used.status === STATUS.OK
  }

  /** An invalidation was consumed. */
  sent(command: Invalidation): void {
    this.journal.sent(command)
  }

  /** A SYNC or wait has completed, with the effects of all that came before it. */
  synced(): void {
    this.journal.operation++
    this.#sweeps.atSync()
    this.journal.syncs++
  }

  /** A register was written; `leads` where it says how walks begin. */
  wroteRegister(leads: boolean): void {
    this.journal.operation++
    if (!leads) return
    this.#voidAt = this.journal.operation
    this.#voidSyncs = this.journal.syncs
  }

  check(most: number): { readonly compared: number; readonly stale: readonly StaleReport[] } {
    return this.#sweeps.check(most)
  }

  checkLast(from: number, most: number, concerns: Concerns): number {
    return this.#sweeps.checkLast(from, most, concerns)
  }

  add(address: number, lo: number, hi: number, kind: number): void {
    const { operation, syncs } = this.journal
    const id = this.words.hold(address, lo, hi, kind, operation, syncs)
    if (id === NO_WORD) this.#isShort = true
    else this.#read.push(id)
  }

  /** What memory says, and what it was read from. */
  walk(transaction: Transaction): Outcome {
    for (const id of this.#read) this.words.release(id)
    this.#read = []
    this.#isShort = false
    this.subject.fresh(transaction, this.#fresh, this)
    return this.#fresh
  }

  /** What the caches would answer now. */
  ask(transaction: Transaction): Outcome {
    this.subject.cached(transaction, this.#cached)
    return this.#cached
  }

  /**
   * A watch of a transaction whose answer is as good as the fresh one of the last walk. `leafLg2` is the size of what
   * the caches answer with.
   */
  settle(transaction: Transaction, known: Watch | null, leafLg2: number): Watch {
    const fresh = this.#fresh
    const isOk = fresh.status === STATUS.OK
    const lg2 = isOk ? Math.min(fresh.leafLg2, leafLg2, this.subject.pieceLg2()) : 12
    const isPlaced = known !== null && known.leafLg2 === lg2
    if (known !== null && known.wrongAt !== 0) this.#reports.close(known)
    const filledAt = known?.filledAt ?? 0
    if (known !== null && !isPlaced) this.watches.remove(known)
    const watch = isPlaced ? known : this.watches.make(transaction, lg2)
    for (const id of watch.words) this.words.release(id)
    watch.words = this.#read
    this.#read = []
    watch.isOpen = !isOk || this.#isShort
    watch.status = fresh.status
    watch.rights = fresh.rights
    watch.address = isOk ? fresh.address - offsetIn(transaction.lo, transaction.hi, lg2) : 0
    watch.entry = this.subject.entry()
    watch.filledAt = filledAt
    watch.rightAt = this.journal.operation
    watch.changes = this.words.changes
    watch.wrongAt = 0
    watch.wrongSyncs = 0
    watch.remedy = null
    watch.report = null
    this.#standing.add(watch, transaction)
    return watch
  }

  /** Notes that a watch is wrong since the present operation, where that was not known. */
  accuse(watch: Watch, transaction: Transaction, fresh: Outcome): void {
    this.suspect(watch)
    const { remedy, report } = watch
    // Until it is reported another piece of its leaf may be meant, and after that what was named may have been sent.
    if (remedy !== null && report !== null && !this.journal.sentSince(watch.remedyAt)) return
    const now = this.subject.remedy(transaction, fresh, this.#reports.changed(watch))
    if (report !== null && remedy?.entry !== now.entry) {
      this.#reports.close(watch)
      watch.report = null
    }
    watch.remedy = now
    watch.remedyAt = this.journal.operation
  }

  /** The same, of one that nobody has met wrong yet. */
  suspect(watch: Watch): void {
    if (watch.wrongAt !== 0) return
    const { operation, syncs } = this.journal
    watch.wrongAt = operation
    this.watches.records.hush(watch.index)
    const before = this.words.syncsBefore(watch.words, watch.rightAt)
    watch.wrongSyncs = watch.rightAt === 0 || before < 0 ? syncs : before
  }

  /** Reports a wrong answer. */
  report(watch: Watch, reason: StaleReason, transaction: Transaction, cached: Outcome, fresh: Outcome): StaleReport {
    const remedy = watch.remedy ?? this.subject.remedy(transaction, fresh, this.#reports.changed(watch))
    watch.remedy = remedy
    this.#reports.report(watch, remedy, reason, transaction, cached, fresh)
    return watch.report as StaleReport
  }

  /** Compares before the pipeline runs. */
  #judge(transaction: Transaction, outcome: Outcome, known: Watch | null): void {
    const { subject } = this
    const fresh = this.walk(transaction)
    const cached = this.ask(transaction)
    // The pipeline comes last: what it records may interrupt, and what is then consumed walks again.
    if (subject.isSame(cached, fresh)) {
      const watch = this.settle(transaction, known, cached.leafLg2)
      subject.live(transaction, outcome)
      this.#met(watch, transaction, outcome)
      return
    }
    const was = Object.assign(new Outcome(), cached)
    const is = Object.assign(new Outcome(), fresh)
    const watch = this.#wrong(transaction, known, was, is)
    subject.live(transaction, outcome)
    this.#sentence(watch, transaction, was, is, outcome)
  }

  /** Compares an answer that is there already. */
  #judgeAfter(transaction: Transaction, outcome: Outcome, known: Watch): void {
    const fresh = this.walk(transaction)
    if (this.subject.isSame(outcome, fresh)) {
      this.#met(this.settle(transaction, known, outcome.leafLg2), transaction, outcome)
      return
    }
    const cached = this.ask(transaction)
    // Memory has changed while the pipeline ran, or all that it answered from was memory.
    if (this.subject.isSame(cached, fresh)) return
    const was = Object.assign(new Outcome(), cached)
    const is = Object.assign(new Outcome(), fresh)
    this.#sentence(this.#wrong(transaction, known, was, is), transaction, was, is, outcome)
  }

  /** The watch of a stale answer. */
  #wrong(transaction: Transaction, known: Watch | null, cached: Outcome, fresh: Outcome): Watch {
    const watch = known ?? this.watches.make(transaction, this.#pieceOf(cached))
    if (known === null) {
      watch.words = this.#read
      this.#read = []
      watch.entry = this.subject.entry()
      watch.filledAt = this.journal.operation
    }
    this.accuse(watch, transaction, fresh)
    if (known === null) watch.wrongSyncs = this.#sweeps.syncsOfSibling(watch) ?? this.#syncsSettled(watch)
    return watch
  }

  /**
   * The SYNCs before the change that has made a watch wrong which nobody has seen right. While the words of the fresh walk
   * are what they are, nothing that is filled from them answers otherwise: what does is older than they are. Of a stale
   * entry of configuration only its own words count.
   */
  #syncsSettled({ words, wrongSyncs, remedy }: Watch): number {
    const madeOf = remedy?.madeOf
    const own =
      madeOf === undefined
        ? words
        : words.filter((id) => madeOf.includes(this.subject.describe(this.words.changeOf(id).kind).what))
    const syncs = this.#isShort ? -1 : this.words.syncsSettled(own)
    return syncs < 0 ? wrongSyncs : Math.max(syncs, this.#voidSyncs)
  }

  /** log2 of what an answer of the caches is good for. */
  #pieceOf({ status, leafLg2 }: Outcome): number {
    return status === STATUS.OK ? Math.min(leafLg2, this.subject.pieceLg2()) : 12
  }

  /** A stale answer counts once a SYNC has completed since the change, or where it cannot be legal any more. */
  #sentence(watch: Watch, transaction: Transaction, cached: Outcome, fresh: Outcome, outcome: Outcome): void {
    this.stale++
    const reason = this.#reasonFor(watch, transaction, cached)
    if (reason === null) {
      this.inWindow++
      return
    }
    this.report(watch, reason, transaction, cached, fresh)
    if (!this.options.fails || outcome.status !== STATUS.OK) return
    outcome.status = STATUS.ABORTED
    this.#failed = watch.report
  }

  #reasonFor(watch: Watch, transaction: Transaction, cached: Outcome): StaleReason | null {
    if (watch.report !== null) return watch.report.reason
    if (this.journal.syncs - watch.wrongSyncs > this.options.graceSyncs) return 'synced'
    const isAway =
      watch.rightAt > 0 &&
      cached.status === STATUS.OK &&
      this.#frames.isGivenAway(cached.address, transaction, watch.rightAt)
    if (isAway) return 'frame-reused'
    const id = this.#reports.changedWord(watch)
    if (id < 0 || watch.rightAt === 0) return null
    const { kind, before, after } = this.words.changeOf(id)
    return this.subject.breaks(kind, before, after) ? 'break-before-make' : null
  }

  /** A right answer was given. */
  #met(watch: Watch, transaction: Transaction, outcome: Outcome): void {
    const { operation } = this.journal
    watch.isKept = watch.entry !== 0
    if (outcome.hit === 1 && watch.filledAt > 0) return
    watch.filledAt = operation
    if (outcome.status === STATUS.OK) this.#frames.given(outcome.address, transaction, operation)
  }

  #release(watch: Watch): void {
    for (const id of watch.words) this.words.release(id)
    if (watch.wrongAt !== 0) this.#reports.close(watch)
  }
}
