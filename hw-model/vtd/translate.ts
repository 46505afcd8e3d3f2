/**
 * One DMA request through the unit, in the manual's order: mode, IOTLB, context entry, PASID entry, page tables,
 * output. [VTD 3.4 Mapping Devices to Domains, 7.1.3 Fault Conditions and Remapping Hardware Behavior for Various Requests]
 *
 * The IOTLB comes before the context and PASID entries, as hardware may have it: a hit needs neither, which is how a
 * forgotten flush shows. [VTD 6.2.4.1, 6.2.7]
 *
 * A plain request of somebody known (`known-hits.ts`) that finds an entry of the IOTLB which lets it pass is done, and
 * one that finds none walks with the configuration that is known. Any other goes through the steps in their order.
 */

import { alignDown, highHalf, isBeyond, joinWord, PAGE_LG2, pageHigh, pageLow, pageOf } from '../bits/address.js'
import { MISS } from '../cache/translation-cache.js'
import type { Memory } from '../memory/memory.js'
import { ACCESS, NO_PASID, type Outcome, REQUEST, STATUS, type Transaction } from '../port.js'
import {
  allowsAts,
  answerInterruptRange,
  answerWith,
  grantNothing,
  largestPageLg2,
  translatedAddressFault,
  wanted,
} from './ats.js'
import type { Caches } from './caches.js'
import type { Capabilities } from './capabilities.js'
import type { ConfigReader } from './config.js'
import { Counts, type TranslationTrace } from './counts.js'
import { type ContextConfig, type DmaConfig, privilegeFor } from './dma-config.js'
import { type FaultRecorder, REASON } from './faults.js'
import { contextFault, Mode, passFault } from './gates.js'
import type { HostPermissions } from './hpt.js'
import {
  coversInterrupts,
  interruptRequest,
  isInInterruptRange,
  isInterruptQuery,
  isInterruptRequest,
} from './interrupt-range.js'
import { GRANT, type Iotlb, isKeptFault, keptFault } from './iotlb.js'
import { FOLLOWED, KnownHits } from './known-hits.js'
import { PageWalk } from './page-walk.js'
import type { ProtectedMemory } from './protected-memory.js'
import { PGTT } from './records.js'
import { TTM } from './registers.js'
import { REQUESTER, type Requesters } from './requesters.js'
import {
  asksPrivilege,
  complete,
  identity,
  isBeyondHost,
  isExecute,
  isMalformed,
  neededGrants,
  reject,
  requestFault,
  rightsFor,
} from './requests.js'
import { asUser, EVERY_GRANT, lackingRight, USER_GRANTS } from './rights.js'

const TWO_MIB_LG2 = 21

const { UNTRANSLATED } = REQUEST
const { DONE, WALK, NOT_SO } = FOLLOWED

/** The pipeline. A second one, dry and without recorder, explains. */
export class Translator {
  /** GSTS.TES. */
  isEnabled = false
  readonly counts = new Counts()
  readonly config: ConfigReader
  readonly walk: PageWalk
  /** What translated requests may reach; null where the unit has no such tables. */
  permissions: HostPermissions | null = null
  /** What DMA may not reach; null where the unit has no such regions. */
  protectedMemory: ProtectedMemory | null = null
  /** The last request was blocked for it. */
  wasProtected = false
  /** Shows the entry that answers. */
  found: TranslationTrace | null = null

  readonly #caps: Capabilities
  readonly #iotlb: Iotlb
  readonly #faults: FaultRecorder | null
  /** The IOTLB's number of the requester in hand, or MISS. */
  #tag = MISS
  /** GRANT.TRANSLATION where its context entry lets translation requests in. */
  #translationGrant = 0
  readonly #largestLg2: number
  readonly #caches: Caches
  #requesters: Requesters
  readonly #known: KnownHits
  #mode: Mode

  /** @param faults null to record nothing */
  constructor(memory: Memory, caps: Capabilities, config: ConfigReader, caches: Caches, faults: FaultRecorder | null) {
    this.#caps = caps
    this.config = config
    this.#caches = caches
    this.#iotlb = caches.iotlb
    this.#requesters = caches.iotlb.requesters
    this.#known = new KnownHits(caches.iotlb)
    this.#mode = new Mode(TTM.LEGACY, false, caps)
    this.#faults = faults
    this.#largestLg2 = largestPageLg2(caps)
    this.walk = new PageWalk(memory, caps, caches.tables, caches.keepsFaults)
  }

  /** Other caches than before stand behind the pipeline. */
  replan(caches: Caches): void {
    this.#requesters = caches.iotlb.requesters
    this.walk.replan(caches.keepsFaults)
  }

  /** RTADDR.TTM as SRTP latched it. */
  get ttm(): number {
    return this.#mode.ttm
  }

  /** RTADDR.SSIRWE as SRTP latched it. */
  get ssirwe(): boolean {
    return this.walk.ioRights
  }

  /** SRTP latches both. */
  setMode(ttm: number, ssirwe: boolean): void {
    this.walk.ioRights = ssirwe
    this.#mode = new Mode(ttm, ssirwe, this.#caps)
  }

  /** Ends a transaction in `out`. The outcome of a blocked one names its reason even where nothing is recorded. */
  translate(tx: Transaction, out: Outcome): void {
    this.counts.translations++
    out.hit = 0
    out.untranslatedOnly = 0
    const end = tx.type === UNTRANSLATED && this.isEnabled ? this.#known.follow(tx, out, this.#mode) : NOT_SO
    if (end === DONE) this.counts.hits++
    else {
      if (end !== WALK || !this.#walkOn(this.#known.requester, tx, out)) this.#inOrder(tx, out)
    }
    if (this.protectedMemory !== null) this.wasProtected = this.protectedMemory.blocks(tx, out)
  }

  /** Nothing in the IOTLB: the tables, where the configuration is known and lets such a request in. */
  #walkOn(requester: number, tx: Transaction, out: Outcome): boolean {
    if (this.#requesters.words[requester + REQUESTER.GENERATION] !== this.#caches.configGeneration + 1) return false
    const context = this.#requesters.contextOf(requester)
    const config = this.#requesters.configOf(requester)
    const isPrivileged = privilegeFor(context, tx)
    if (config.pgtt === PGTT.PASS_THROUGH || requestFault(config, tx, isPrivileged) !== REASON.NONE) return false
    this.counts.misses++
    this.#caches.contexts.hits++
    if (context.dma === null) this.#caches.pasids.hits++
    this.config.fpd = config.fpd
    this.#tag = this.#requesters.words[requester + REQUESTER.TAG]
    this.#translationGrant = allowsAts(context) ? GRANT.TRANSLATION : 0
    const reason = this.#walk(config, tx, isPrivileged, out)
    if (reason !== REASON.NONE) this.#block(reason, tx, out)
    return true
  }

  /** All steps in their order. */
  #inOrder(tx: Transaction, out: Outcome): void {
    // Translation is off: addresses are physical, and ATS does not exist. [VTD 4.2.1] Nothing stands beyond the host
    // address width.
    if (!this.isEnabled && tx.type === REQUEST.UNTRANSLATED && !isBeyondHost(tx, this.#caps)) {
      identity(tx, out)
    } else if (!this.isEnabled || isMalformed(tx, this.#caps)) reject(tx, out)
    else {
      this.config.fpd = 0
      const reason = tx.type === REQUEST.TRANSLATED ? this.#admit(tx, out) : this.#process(tx, out)
      if (reason !== REASON.NONE) this.#block(reason, tx, out)
    }
  }

  /** The pipeline proper. Answers REASON.NONE, and then `out` is complete, or why the request is blocked. */
  #process(tx: Transaction, out: Outcome): number {
    if (isInterruptRequest(tx)) return interruptRequest(tx, out)
    const mode = this.#mode.fault(tx)
    if (mode !== REASON.NONE) return mode
    const found = this.#lookUp(tx, out)
    if (found !== MISS) return found
    this.counts.misses++
    const context = this.#context(tx)
    if (context === null) return this.config.reason
    const barred = contextFault(context, tx, this.#caps)
    if (barred !== REASON.NONE) return barred
    const config = context.dma ?? this.config.pasidEntry(context, tx.pasid)
    if (config === null) return this.config.reason
    const isPrivileged = privilegeFor(context, tx)
    const refused = requestFault(config, tx, isPrivileged)
    if (refused !== REASON.NONE) return refused
    if (isInterruptQuery(tx)) {
      answerInterruptRange((wanted(tx, this.#caps) & ACCESS.WRITE) !== 0, tx, out)
      return REASON.NONE
    }
    if (config.pgtt === PGTT.PASS_THROUGH) return this.#passThrough(config, tx, out)
    this.#translationGrant = allowsAts(context) ? GRANT.TRANSLATION : 0
    const fault = this.#walk(config, tx, isPrivileged, out)
    if (this.#tag >= 0) {
      const requester = this.#requesters.learn(tx.rid, tx.pasid, this.#tag)
      this.#requesters.learnConfig(requester, this.#caches.configGeneration, context, config)
    }
    return fault
  }

  /** A translated request ends at its context entry: its address is physical already. [VTD 4.2.5] */
  #admit(tx: Transaction, out: Outcome): number {
    const mode = this.#mode.fault(tx)
    if (mode !== REASON.NONE) return mode
    const context = this.#context(tx)
    if (context === null) return this.config.reason
    const barred = contextFault(context, tx, this.#caps)
    if (barred !== REASON.NONE) return barred
    const refused = translatedAddressFault(tx, context.dma !== null, this.#caps)
    const denied = refused === REASON.NONE && context.hostPermissionEnabled ? this.#permit(context, tx, out) : refused
    if (denied === REASON.NONE) identity(tx, out)
    return denied
  }

  /** What the host permission table says of a translated address. [VTD 4.2.4 Host Permission Table] */
  #permit(context: ContextConfig, tx: Transaction, out: Outcome): number {
    // HPTE is reserved where there are no such tables.
    const permissions = this.permissions as HostPermissions
    if (permissions.isKnown(tx)) {
      out.hit = 1
      this.counts.hits++
      return REASON.NONE
    }
    this.counts.misses++
    const config = this.config.pasidEntry(context, tx.pasid)
    return config === null ? this.config.reason : permissions.check(config, tx)
  }

  /** The context entry of a request, or null with the reason in `config`. */
  #context({ rid, pasid, type }: Transaction): ContextConfig | null {
    return this.config.context(rid, pasid !== NO_PASID && type !== REQUEST.TRANSLATED)
  }

  /** The IOTLB, by source-id, with or without PASID, PASID and address. Answers as the pipeline does, or MISS. */
  #lookUp(tx: Transaction, out: Outcome): number {
    const iotlb = this.#iotlb
    this.#tag = MISS
    if (!this.#iotlb.cache.isOn) return MISS
    this.#tag = iotlb.tagOf(tx.rid, tx.pasid)
    // Execute requests are never granted, so no entry answers one.
    if (isExecute(tx) || isInterruptQuery(tx)) return MISS
    const slot = iotlb.cache.findAt(this.#tag, pageLow(tx.lo, tx.hi), pageHigh(tx.hi))
    if (slot === MISS) return MISS
    const grants = iotlb.cache.flagsOf(slot)
    const asked = tx.type === REQUEST.TRANSLATION ? wanted(tx, this.#caps) : tx.access
    const needed = neededGrants(tx, asked)
    if ((grants & needed) !== needed) return this.#lack(slot, needed, tx, out)
    const leafLg2 = iotlb.cache.leafLg2Of(slot)
    const base = iotlb.cache.addressOf(slot)
    complete(tx, out, base, leafLg2, rightsFor(tx, grants, asked))
    // A large leaf may reach into the interrupt range; the walk names the fault of a request that ends there.
    const isWhole = tx.type === REQUEST.TRANSLATION
    if (isWhole ? coversInterrupts(base, leafLg2) : isInInterruptRange(out.address)) return MISS
    return this.#hit(slot, tx, out, REASON.NONE)
  }

  /**
   * An entry that is there and grants too little: a kept fault, or a right that hardware may believe to be missing.
   * Otherwise it walks again, as for a dirty flag that is still to be set. A translation request is told what there is,
   * and always from the tables. [VTD 3.6.1 Access Rights, 6.2.4 IOTLB, 6.5.3.6 Delayed Invalidation]
   */
  #lack(slot: number, needed: number, tx: Transaction, out: Outcome): number {
    if (tx.type !== REQUEST.UNTRANSLATED) return MISS
    const flags = this.#iotlb.cache.flagsOf(slot)
    let reason = keptFault(flags, needed)
    if (this.#caches.plan.isStrict && !isKeptFault(flags)) {
      reason = lackingRight(flags, needed, asksPrivilege(tx), this.ttm === TTM.LEGACY)
    }
    if (reason === REASON.NONE) return MISS
    this.config.fpd = flags & GRANT.FPD ? 1 : 0
    return this.#hit(slot, tx, out, reason)
  }

  #hit(slot: number, tx: Transaction, out: Outcome, reason: number): number {
    out.hit = 1
    this.#requesters.learn(tx.rid, tx.pasid, this.#tag)
    this.counts.hits++
    if (this.found !== null) this.found.foundTranslation(slot, pageOf(tx.lo, tx.hi))
    return reason
  }

  /** Page tables, then the IOTLB. */
  #walk(config: DmaConfig, tx: Transaction, isPrivileged: boolean, out: Outcome): number {
    const isOffer = tx.type === REQUEST.TRANSLATION
    const asked = isOffer ? wanted(tx, this.#caps) : tx.access
    const { walk } = this
    const fault = isOffer ? walk.offer(config, tx, isPrivileged, asked) : walk.run(config, tx, isPrivileged)
    if (fault !== REASON.NONE) {
      // No result of a first stage that faulted is kept, whatever the mode. [VTD 6.2.4.1 Details of IOTLB Use]
      if (this.#caches.keepsFaults && config.pgtt !== PGTT.FIRST && !walk.isFirstFault)
        this.#keepFault(config, tx, fault)
      return fault
    }
    const { addressLo, addressHi, leafLg2 } = walk
    // Requests without PASID are all alike, so their entries hold the rights that RID_PRIV gives them as a user's.
    const isByRid = isPrivileged && tx.pasid === NO_PASID
    const grants = isByRid ? asUser(walk.grants) : walk.grants
    this.#keep(config, tx, addressLo, addressHi, leafLg2, grants | this.#translationGrant)
    const rights = rightsFor(tx, grants, asked)
    if (rights === 0 && isOffer) grantNothing(out)
    else complete(tx, out, joinWord(addressLo, addressHi), leafLg2, rights)
    return REASON.NONE
  }

  /** Output is input. [VTD 3.9 Pass-through Translation] */
  #passThrough(config: DmaConfig, tx: Transaction, out: Outcome): number {
    const fault = passFault(config, tx, this.#caps)
    if (fault !== REASON.NONE) {
      if (this.#caches.keepsFaults) this.#keepFault(config, tx, fault)
      return fault
    }
    // Kept in 2 MiB, except where that would cover the interrupt range.
    const address = joinWord(tx.lo, tx.hi)
    const leafLg2 = coversInterrupts(alignDown(address, TWO_MIB_LG2), TWO_MIB_LG2) ? PAGE_LG2 : TWO_MIB_LG2
    const base = alignDown(address, leafLg2)
    this.#keep(config, tx, base | 0, highHalf(base), leafLg2, config.sre ? EVERY_GRANT : USER_GRANTS)
    complete(tx, out, base, leafLg2, RW)
    if (tx.type !== REQUEST.TRANSLATION) return REASON.NONE
    // What is kept answers no translation request: it is smaller than what that is told of. [VTD 4.2.3 ADDR]
    out.leafLg2 = this.#largestLg2
    out.rights = wanted(tx, this.#caps) & RW
    return REASON.NONE
  }

  #keep(config: DmaConfig, tx: Transaction, low: number, high: number, leafLg2: number, grants: number): void {
    if (!this.#hasTag(tx)) return
    const isNested = config.pgtt === PGTT.NESTED
    const guestLo = isNested ? this.walk.guestLo : -1
    const guestHi = isNested ? this.walk.guestHi : -1
    const [lo, hi] = [pageLow(tx.lo, tx.hi), pageHigh(tx.hi)]
    this.#iotlb.fillAt(this.#tag, config, lo, hi, leafLg2, low, high, guestLo, guestHi, grants)
  }

  /**
   * Beyond MGAW no address of a descriptor reaches, so nothing is kept there. [VTD 6.5.2.3 IOTLB Invalidate Descriptor]
   * A flag that could not be set says nothing of the tables: another requester may set it, and nobody would flush for that.
   */
  #keepFault(config: DmaConfig, tx: Transaction, reason: number): void {
    if (isBeyond(tx.hi, this.#caps.mgawBits) || reason === REASON.SSS_5 || reason === REASON.SSS_6) return
    if (tx.type !== REQUEST.UNTRANSLATED || !this.#hasTag(tx)) return
    this.#iotlb.fillFault(this.#tag, config, pageOf(tx.lo, tx.hi), reason, neededGrants(tx, tx.access))
  }

  /** Makes the requester known. False where nothing can be kept for it. */
  #hasTag(tx: Transaction): boolean {
    if (!this.#iotlb.cache.isOn) return false
    if (this.#tag < 0) this.#tag = this.#iotlb.internTag(tx.rid, tx.pasid)
    return this.#tag >= 0
  }

  #block(reason: number, tx: Transaction, out: Outcome): void {
    if (tx.type !== REQUEST.TRANSLATION) {
      out.status = STATUS.FAULT
      out.fault = reason
    } else if (!answerWith(reason, out)) return
    this.counts.faults++
    if (this.#faults !== null) this.#faults.record(reason, this.config.fpd, tx)
  }
}

const RW = ACCESS.READ | ACCESS.WRITE
