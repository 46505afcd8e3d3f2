/**
 * VT-d's side of the oracle: walks from memory alone that tell what they read, what the caches would answer, and which
 * descriptors were missing. An IOTLB entry is found by its requester and dropped by the domain-id that it was made with;
 * context, PASID and table entries each have descriptors of their own.
 * [VTD 6.2 Address Translation Caches, 6.5.3.3 Guidance to Software for Invalidations]
 */

import { alignDown, joinWord, PAGE_LG2, pageOf } from '../bits/address.js'
import { MISS } from '../cache/translation-cache.js'
import { Oracle } from '../oracle/oracle.js'
import type { Reads, Remedy, Subject, WordName } from '../oracle/subject.js'
import {
  ACCESS,
  type ChangedEntry,
  type Invalidation,
  NO_PASID,
  type OracleOptions,
  Outcome,
  REQUEST,
  STATUS,
  type Transaction,
} from '../port.js'
import type { EntryTrace } from '../walk/walker.js'
import { NO_CACHES } from './caches.js'
import type { ContextConfig } from './dma-config.js'
import type { RecordReads } from './entry-reader.js'
import { dry, type Parts } from './explain.js'
import { isSilenced, REASON } from './faults.js'
import { coversInterrupts } from './interrupt-range.js'
import type { Invalidator } from './invalidate.js'
import { carryOut } from './late.js'
import { type Judge, remedies } from './missing.js'
import { VTD_DEVICES } from './oracle-devices.js'
import { COMMAND, commandOf, EVERYTHING, shortfalls, type Target } from './oracle-sent.js'
import { usualOf } from './oracle-usual.js'
import { changesSize, kindOfRecord, kindOfTable, marks, nameOfKind } from './oracle-words.js'
import type { InvalidationQueue } from './queue.js'
import {
  CONTEXT_ENTRY,
  PASID_DIRECTORY_ENTRY,
  PASID_TABLE_ENTRY,
  ROOT_ENTRY,
  SCALABLE_CONTEXT_ENTRY,
  SCALABLE_ROOT_ENTRY,
} from './records.js'
import type { Translator } from './translate.js'

const RW = ACCESS.READ | ACCESS.WRITE
const PASID_SPAN = 2 ** 21
const LARGEST_LG2 = 64

/** What entries of configuration are made of. */
const MADE_OF: Readonly<Record<string, readonly string[]>> = {
  context: [ROOT_ENTRY, SCALABLE_ROOT_ENTRY, CONTEXT_ENTRY, SCALABLE_CONTEXT_ENTRY].map(({ $ }) => $.name),
  pasid: [PASID_DIRECTORY_ENTRY, PASID_TABLE_ENTRY].map(({ $ }) => $.name),
}

/** All that was sent is still without effect, for want of a wait descriptor. */
const ONLY_A_WAIT: Invalidation = { name: COMMAND.WAIT, operands: {} }

/** The oracle of a unit, or null for none; it hears of all that the unit invalidates from now on. */
export function oracleOf(
  options: OracleOptions | null,
  parts: Parts,
  queue: InvalidationQueue,
  invalidator: Invalidator,
): Oracle | null {
  queue.witness = null
  invalidator.onDropAll = null
  if (options === null) return null
  const oracle = new Oracle(options, parts.memory, new VtdSubject(parts, queue), VTD_DEVICES)
  queue.witness = {
    carriedOut: (type, words) => oracle.sent(commandOf(type, words)),
    waited: () => oracle.synced(),
  }
  invalidator.onDropAll = () => {
    oracle.sent(EVERYTHING)
    oracle.synced()
  }
  return oracle
}

/** One unit, to be judged. */
export class VtdSubject implements Subject {
  readonly sync = ONLY_A_WAIT
  readonly #parts: Parts
  readonly #queue: InvalidationQueue
  readonly #dry: Translator
  readonly #recorder = new Recorder()
  /** What each command that was named is for. */
  readonly #targets = new WeakMap<Invalidation, Target>()
  #last: Transaction | null = null
  /** FPD of what the last walk from memory met, and the last answer of the caches. */
  #freshFpd = 0
  #answer: Outcome | null = null
  #answerFpd = 0
  /** The page of either reaches into the interrupt range. */
  #isFreshMixed = false
  #isCachedMixed = false

  constructor(parts: Parts, queue: InvalidationQueue) {
    this.#parts = parts
    this.#queue = queue
    const translator = dry(parts, NO_CACHES)
    const { config, walk, permissions } = translator
    config.onRecord = this.#recorder
    if (permissions !== null) permissions.onRecord = this.#recorder
    walk.first.trace = this.#recorder.tableOf(1)
    walk.second.trace = this.#recorder.tableOf(2)
    this.#dry = translator
  }

  live(transaction: Transaction, outcome: Outcome): void {
    this.#parts.live.translate(transaction, outcome)
  }

  fresh(transaction: Transaction, outcome: Outcome, reads: Reads): void {
    this.#last = transaction
    this.#follow()
    this.#recorder.reads = reads
    this.#dry.translate(transaction, outcome)
    this.#freshFpd = this.#dry.config.fpd
    this.#isFreshMixed = isMixed(transaction, outcome)
    this.#recorder.reads = null
  }

  cached(transaction: Transaction, outcome: Outcome): void {
    const translator = dry(this.#parts, this.#parts.caches.view())
    translator.translate(transaction, outcome)
    this.#answer = outcome
    this.#answerFpd = translator.config.fpd
    this.#isCachedMixed = isMixed(transaction, outcome) || this.#isKeptMixed(transaction)
  }

  /**
   * Rights that the caches do not know of yet are no difference until an access fails for want of them. A device that may
   * request pages gets them so, and by that request the caches are emptied of the page.
   * [VTD 6.5.3.3 T28, 6.5.3.1 Implicit Invalidation on Page Requests]
   */
  isSame(cached: Outcome, fresh: Outcome): boolean {
    const fpd = cached === this.#answer ? this.#answerFpd : this.#parts.config.fpd
    return this.#isSame(cached, fpd, fresh, this.#freshFpd)
  }

  #isSame(cached: Outcome, cachedFpd: number, fresh: Outcome, freshFpd: number): boolean {
    if (cached.status !== fresh.status) return false
    if (cached.status !== STATUS.OK) {
      const { fault } = fresh
      if (cached.fault !== fault) return false
      // Of what has no reason nothing is ever recorded.
      return fault === REASON.NONE || isSilenced(fault, cachedFpd) === isSilenced(fault, freshFpd)
    }
    if ((cached.rights & ~fresh.rights) !== 0) return false
    const transaction = this.#last as Transaction
    if (transaction.type !== REQUEST.TRANSLATION) return cached.address === fresh.address
    if (cached.untranslatedOnly !== fresh.untranslatedOnly) return false
    const isLess = (fresh.rights & ~cached.rights & transaction.access & RW) !== 0
    if (isLess && this.#context(transaction)?.pageRequestEnabled !== true) return false
    return cached.rights === 0 || cached.address === fresh.address
  }

  pieceLg2(): number {
    if (this.#isFreshMixed || this.#isCachedMixed) return PAGE_LG2
    return this.#parts.caches.plan.fractions ? PAGE_LG2 : LARGEST_LG2
  }

  entry(): number {
    const { rid, pasid, type } = this.#last as Transaction
    // Host permissions are not translations.
    return type === REQUEST.TRANSLATED ? 0 : (rid >>> 0) * PASID_SPAN + (pasid - NO_PASID) + 1
  }

  isKept(entry: number, lo: number, hi: number): boolean {
    const { iotlb } = this.#parts.caches
    const name = entry - 1
    const tag = iotlb.tagOf(Math.floor(name / PASID_SPAN), (name % PASID_SPAN) + NO_PASID)
    return iotlb.find(tag, pageOf(lo, hi)) !== MISS
  }

  /** Against the entry that answers: what else is stale behind it is met, and told, when that is gone. */
  remedy(transaction: Transaction, fresh: Outcome, changed: ChangedEntry | null): Remedy {
    const isRight: Judge = (...answers) => this.#isSame(...answers)
    const { nearest, chosen } = remedies(this.#parts, transaction, isRight, (invalidator) => this.#settle(invalidator))
    if (nearest === null) {
      const missing = this.#queue.held.length > 0 ? [ONLY_A_WAIT] : []
      return { cache: 'iotlb', entry: nameOf(transaction), missing, usual: null }
    }
    const { names, stale } = nearest
    const command = spelled(names)
    const didMask = 2 ** this.#parts.caps.didBits - 1
    const { isScalable } = this.#parts.config
    this.#targets.set(command, { needed: command, pasid: stale.pasid, isScalable, didMask })
    const cached = new Outcome()
    this.cached(transaction, cached)
    const usual = usualOf(nearest, this.#domainOf(transaction), changed, cached, fresh)
    const isAlone = chosen.length === 1 && chosen[0] === nearest && stale.cache in MADE_OF
    const madeOf = isAlone ? { madeOf: MADE_OF[stale.cache] } : {}
    return { cache: stale.cache, entry: stale.entry, missing: [command], usual, ...madeOf }
  }

  shortfalls(sent: Invalidation, missing: Invalidation): readonly string[] | null {
    if (missing === ONLY_A_WAIT) return this.#isHeld(sent) ? [] : null
    const target = this.#targets.get(missing)
    return target === undefined ? null : shortfalls(sent, target)
  }

  describe(kind: number): WordName {
    return nameOfKind(kind)
  }

  marks(kind: number, before: readonly [number, number], after: readonly [number, number]): boolean {
    return marks(kind, before, after)
  }

  breaks(kind: number, before: readonly [number, number], after: readonly [number, number]): boolean {
    return changesSize(kind, before[0], after[0])
  }

  /** The same of what the IOTLB has, even where that does not answer: there it leads to the range. */
  #isKeptMixed({ rid, pasid, lo, hi }: Transaction): boolean {
    const { iotlb } = this.#parts.caches
    const slot = iotlb.find(iotlb.tagOf(rid >>> 0, pasid), pageOf(lo, hi))
    return slot !== MISS && reachesInterrupts(iotlb.cache.addressOf(slot), iotlb.cache.leafLg2Of(slot))
  }

  /** The registers that apply are the unit's. */
  #follow(): void {
    const { live, config } = this.#parts
    const translator = this.#dry
    translator.isEnabled = live.isEnabled
    if (translator.ttm !== live.ttm || translator.ssirwe !== live.ssirwe) translator.setMode(live.ttm, live.ssirwe)
    translator.config.rootTable = config.rootTable
    translator.config.isScalable = config.isScalable
  }

  /** What was sent and takes effect with the next wait. */
  #settle(invalidator: Invalidator): void {
    for (const { type, words } of this.#queue.held) carryOut(invalidator, type, words)
  }

  #isHeld(sent: Invalidation): boolean {
    const text = JSON.stringify(sent)
    return this.#queue.held.some(({ type, words }) => JSON.stringify(commandOf(type, words)) === text)
  }

  /** The context entry as memory has it. */
  #context({ rid, pasid, type }: Transaction): ContextConfig | null {
    return this.#dry.config.context(rid, pasid !== NO_PASID && type !== REQUEST.TRANSLATED)
  }

  /** The domain-id that memory has for a requester; -1 where it has none. */
  #domainOf(transaction: Transaction): number {
    const context = this.#context(transaction)
    if (context === null) return -1
    const config = context.dma ?? this.#dry.config.pasidEntry(context, transaction.pasid)
    return config?.did ?? -1
  }
}

/**
 * Whether a page reaches into the interrupt range, by its addresses or by those that it leads to: accesses there end
 * otherwise than beside it. [VTD 3.15 Handling Requests to Interrupt Address Range]
 */
function isMixed({ lo, hi }: Transaction, { status, address, leafLg2 }: Outcome): boolean {
  if (status !== STATUS.OK) return false
  return reachesInterrupts(address, leafLg2) || reachesInterrupts(joinWord(lo, hi), leafLg2)
}

const reachesInterrupts = (address: number, leafLg2: number): boolean =>
  coversInterrupts(alignDown(address, leafLg2), leafLg2)

/** Passes on the words of records and table entries. */
class Recorder implements RecordReads {
  reads: Reads | null = null

  record(name: string, pa: number, words: Int32Array, count: number): void {
    if (this.reads === null) return
    const kind = kindOfRecord(name)
    for (let at = 0; at < count; at += 2) this.reads.add(pa + at * 4, words[at], words[at + 1], kind)
  }

  tableOf(stage: 1 | 2): EntryTrace {
    return {
      entry: (walker, _format, _stage, physical) =>
        this.reads?.add(physical, walker.lo, walker.hi, kindOfTable(stage, walker.level)),
    }
  }
}

/** With the operand that all page forms have: one page is the least. */
const spelled = ({ name, operands, page }: Invalidation): Invalidation => {
  if (page === undefined) return { name, operands }
  const { IH, ...rest } = operands
  return { name, operands: { ...rest, AM: 0, ...(IH === undefined ? {} : { IH }) }, page }
}

const nameOf = ({ rid, pasid, lo, hi }: Transaction): string => `iotlb ${rid} ${pasid} ${pageOf(lo, hi)}`
