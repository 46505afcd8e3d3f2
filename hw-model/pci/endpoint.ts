/**
 * A PCI function with ATS and PRI in front of a remapping unit: it asks for translations, keeps them, uses them, and
 * forgets them when it is told. What it may do wrong is its owner's choice.
 */

import { highWord, lowWord } from '../bits/address.js'
import type { CacheGeometry } from '../cache/geometry.js'
import {
  ACCESS,
  AtcInvalidation,
  NO_PASID,
  Outcome,
  PageRequest,
  REQUEST,
  type RemappingUnit,
  STATUS,
  Transaction,
} from '../port.js'
import { Atc } from './atc.js'

/** How `Endpoint.access` went. */
export const ACCESSED = {
  /** There was a DMA: `outcome` says how it ended. */
  DONE: 0,
  /** The unit does not grant the access, and there was no DMA. */
  DENIED: 1,
  /** The same, and the page was requested: `group` names the request. */
  REQUESTED: 2,
  /** The unit answered a translation request with Completer Abort. */
  ABORTED: 3,
} as const

/** Page Request Group Indices: 9 bits. */
const GROUPS = 512

/** Rights that a translation can lack. */
const RIGHTS = ACCESS.READ | ACCESS.WRITE | ACCESS.EXECUTE

/** How a function behaves. */
export interface EndpointOptions {
  /** StreamID or source-id. */
  readonly rid: number
  readonly atc?: CacheGeometry
  /** Requests pages that it is not granted. */
  readonly hasPri?: boolean
  /** Page requests that it may have outstanding. */
  readonly credits?: number
  /** Keeps an Invalidate Request until `answer` is called, and its translations as long; else it answers at once. */
  readonly waitsToBeTold?: boolean
  /** Says with which PASID a translated address was obtained; a unit may not take that. */
  readonly tellsPasid?: boolean
  /** Answers Invalidate Requests and forgets nothing: the bug that a test of DMA safety looks for. */
  readonly isForgetful?: boolean
}

/** One function. */
export class Endpoint {
  readonly rid: number
  readonly atc: Atc
  /** ATS Enable. The function clears it by itself when a request is answered with Unsupported Request. */
  hasAts = true
  /** Group of the last page request. */
  group = 0
  /** Translation requests sent. */
  requests = 0
  /** DMA sent with a translated address. */
  translated = 0

  readonly #hasPri: boolean
  readonly #credits: number
  readonly #waitsToBeTold: boolean
  readonly #tellsPasid: boolean
  readonly #isForgetful: boolean
  readonly #request = new Transaction()
  readonly #completion = new Outcome()
  readonly #pageRequest = new PageRequest()
  readonly #held: AtcInvalidation[] = []
  /** Groups that wait for an answer. */
  readonly #waiting = new Set<number>()
  /** The last answer to each group. */
  readonly #answers = new Map<number, number>()
  readonly #unit: RemappingUnit

  /** @param unit what the function sits behind */
  constructor(unit: RemappingUnit, options: EndpointOptions) {
    this.#unit = unit
    const { rid, atc, hasPri = false, credits = 32 } = options
    const { waitsToBeTold = false, tellsPasid = false, isForgetful = false } = options
    this.rid = rid
    this.atc = new Atc(atc)
    this.#hasPri = hasPri
    this.#credits = Math.min(credits, GROUPS)
    this.#waitsToBeTold = waitsToBeTold
    this.#tellsPasid = tellsPasid
    this.#isForgetful = isForgetful
  }

  /** Tags of the Invalidate Requests that it has not answered. */
  get heldTags(): readonly number[] {
    return this.#held.map(({ tag }) => tag)
  }

  /** Page request groups that wait for an answer. */
  get waitingGroups(): readonly number[] {
    return [...this.#waiting]
  }

  /** The last answer to a group, one of PAGE_RESPONSE; undefined where there was none. */
  answerTo(group: number): number | undefined {
    return this.#answers.get(group)
  }

  /**
   * A DMA, as the function would make it: with a translation that it has or gets, or untranslated without ATS. Answers
   * one of ACCESSED. The transaction's rid and type are the function's business.
   */
  access(transaction: Transaction, outcome: Outcome): number {
    const unit = this.#unit
    transaction.rid = this.rid
    transaction.type = REQUEST.UNTRANSLATED
    if (!this.hasAts) {
      unit.translate(transaction, outcome)
      return ACCESSED.DONE
    }
    const { pasid, lo, hi, access } = transaction
    const hasPasid = pasid !== NO_PASID
    const isPrivileged = hasPasid && (access & ACCESS.PRIVILEGED) !== 0
    // Without a PASID there is no wish to execute, and nothing is executed.
    const wanted = access & (hasPasid ? RIGHTS : ACCESS.READ | ACCESS.WRITE)
    if (this.atc.find(pasid, isPrivileged, lo, hi) && (wanted & ~this.atc.rights) === 0) {
      if (!this.#mayUse(transaction, outcome)) return ACCESSED.DONE
      return this.#translated(transaction, this.atc.address, outcome)
    }
    const completion = this.#ask(transaction)
    if (completion.status === STATUS.UNSUPPORTED) {
      this.hasAts = false
      this.atc.clear()
      unit.translate(transaction, outcome)
      return ACCESSED.DONE
    }
    if (completion.status !== STATUS.OK) return ACCESSED.ABORTED
    if (completion.untranslatedOnly !== 0) {
      unit.translate(transaction, outcome)
      return ACCESSED.DONE
    }
    this.atc.fill(pasid, isPrivileged, lo, hi, completion)
    // What it has just got is right now, whatever becomes of it.
    if (completion.rights !== 0) unit.oracle?.used(transaction, this.atc)
    if ((wanted & ~completion.rights) === 0) return this.#translated(transaction, completion.address, outcome)
    return this.#hasPri && this.requestPage(transaction) ? ACCESSED.REQUESTED : ACCESSED.DENIED
  }

  /** Requests the page of an access, in a group of its own. False when no credit is left, or there is no PRI. */
  requestPage({ pasid, lo, hi, access }: Transaction): boolean {
    const { rid } = this
    const port = this.#unit.ats
    if (!this.#hasPri || port === null || this.#waiting.size >= this.#credits) return false
    this.group = this.#freeGroup()
    this.#waiting.add(this.group)
    this.#answers.delete(this.group)
    const request = this.#pageRequest
    Object.assign(request, { rid, pasid, lo, hi, access, group: this.group, isLast: true })
    port.requestPage(request)
    return true
  }

  /** Tells the unit that a PASID is used no more: no page request of it will follow. It has no answer. */
  stopPasid(pasid: number): void {
    const request = this.#pageRequest
    Object.assign(request, { rid: this.rid, pasid, lo: 0, hi: 0, access: 0, group: 0, isLast: true })
    this.#unit.ats?.requestPage(request)
  }

  /** An Invalidate Request. True when it was obeyed, or the function says so; false when it answers later. */
  invalidate(invalidation: AtcInvalidation): boolean {
    if (this.#waitsToBeTold) {
      this.#held.push(Object.assign(new AtcInvalidation(), invalidation))
      return false
    }
    this.#obey(invalidation)
    return true
  }

  /** Obeys and answers what is held. */
  answer(): void {
    for (const invalidation of this.#held.splice(0)) {
      this.#obey(invalidation)
      this.#unit.ats?.completed(invalidation.tag)
    }
  }

  /** A page request group was answered. An answer that nobody waits for is dropped. */
  respond(group: number, code: number): void {
    if (this.#waiting.delete(group)) this.#answers.set(group, code)
  }

  #obey(invalidation: AtcInvalidation): void {
    if (!this.#isForgetful) this.atc.invalidate(invalidation)
  }

  /** What it keeps may be stale: its unit's oracle says whether that is to be borne. */
  #mayUse(transaction: Transaction, outcome: Outcome): boolean {
    const { oracle } = this.#unit
    if (oracle === null || oracle.used(transaction, this.atc)) return true
    outcome.status = STATUS.ABORTED
    return false
  }

  /** A translation request asks to read, always; without WRITE it says No Write. */
  #ask(transaction: Transaction): Outcome {
    const request = this.#request
    request.rid = this.rid
    request.type = REQUEST.TRANSLATION
    request.pasid = transaction.pasid
    request.lo = transaction.lo
    request.hi = transaction.hi
    request.access = transaction.access
    request.bytes = 0
    this.requests++
    this.#unit.translate(request, this.#completion)
    return this.#completion
  }

  /** Translated accesses carry no PASID, unless the function is one that does. */
  #translated(transaction: Transaction, address: number, outcome: Outcome): number {
    const request = this.#request
    request.rid = this.rid
    request.type = REQUEST.TRANSLATED
    request.pasid = this.#tellsPasid ? transaction.pasid : NO_PASID
    request.lo = lowWord(address)
    request.hi = highWord(address)
    request.access = transaction.access
    request.bytes = transaction.bytes
    this.translated++
    this.#unit.translate(request, outcome)
    return ACCESSED.DONE
  }

  #freeGroup(): number {
    let group = this.group
    do group = (group + 1) % GROUPS
    while (this.#waiting.has(group))
    return group
  }
}
