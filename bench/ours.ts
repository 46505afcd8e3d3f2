/** Our caches of both architectures as the cache rows use them: filled, asked and invalidated as the units do it. */

import { type Page, pageHigh, pageLow, pageOf } from '../hw-model/bits/address.js'
import { MISS } from '../hw-model/cache/translation-cache.js'
import { NO_PASID } from '../hw-model/port.js'
import { planCaches as planSmmu } from '../hw-model/smmuv3/cache-options.js'
import { ContextConfig } from '../hw-model/smmuv3/decode-cd.js'
import { Tlb } from '../hw-model/smmuv3/tlb.js'
import { geometryFlags } from '../hw-model/smmuv3/tlb-flags.js'
import { planCaches as planVtd } from '../hw-model/vtd/cache-options.js'
import { type DmaConfig, dmaConfig } from '../hw-model/vtd/dma-config.js'
import { GRANT, Iotlb } from '../hw-model/vtd/iotlb.js'
import { PGTT } from '../hw-model/vtd/records.js'
import { REQUESTER, STRANGER } from '../hw-model/vtd/requesters.js'
import { inPieces } from './pieces.js'
import { ENTRY, LOOKUP, type Work } from './work.js'

const WAYS = 4

// Names of other modules are looked up each time that they are used, names of this one are not.
const NONE = MISS
const NEXT = LOOKUP
const [lowOf, highOf] = [pageLow, pageHigh]
const TAG = REQUESTER.TAG
const UNKNOWN = STRANGER
const WITHOUT = NO_PASID

/** A cache with a piece of work in it. */
export interface Ours {
  /** Looks everything up, so many times; what is not there is filled. The sum of the addresses. */
  hit(rounds: number): number
  /** Keeps a translation of the work. */
  fill(entry: number): void
  /** Whether a translation of the work is there. */
  has(entry: number): boolean
}

/** The low 32 bits of an exact address. */
const addressIn = (entries: Int32Array, at: number): number => (entries[at + 4] >>> 0) + entries[at + 5] * 4294967296

/** SMMUv3's TLB: contexts are ASIDs of VMID 0. */
export class OurTlb implements Ours {
  readonly tlb: Tlb
  readonly contexts: readonly ContextConfig[]
  readonly work: Work

  /** @param space the VMID of all contexts @param tlb one that others fill too */
  constructor(work: Work, space = 0) {
    const { contexts, capacity } = work.plan
    this.work = work
    this.tlb = new Tlb(planSmmu({ policy: 'hardware', tlb: { entries: capacity, ways: WAYS } }))
    this.contexts = Array.from({ length: contexts }, (_, asid) => {
      const context = new ContextConfig()
      context.asid = asid
      return context
    })
    for (const context of this.contexts) this.tlb.tagContext(context, space)
    for (const entry of work.order) this.fill(entry)
  }

  fill(entry: number): void {
    const { entries } = this.work
    const at = entry * ENTRY
    const context = this.contexts[entries[at]]
    const { va } = this.tlb
    const flags = entries[at + 6] | (entries[at + 6] << 9) | geometryFlags(12, 0)
    const leafLg2 = entries[at + 3]
    const page = pageOf(entries[at + 1], entries[at + 2])
    va.fill(context.tag, context.group, page, leafLg2, addressIn(entries, at), flags, -1)
  }

  has(entry: number): boolean {
    const { entries } = this.work
    const at = entry * ENTRY
    const [lo, hi] = [entries[at + 1], entries[at + 2]]
    return this.tlb.findVaAt(this.contexts[entries[at]], pageLow(lo, hi), pageHigh(hi)) !== MISS
  }

  hit(rounds: number): number {
    return inPieces(this.work.lookups.length / NEXT, rounds, (from, end) => this.#some(from, end))
  }

  #some(from: number, end: number): number {
    const { lookups } = this.work
    const { tlb, contexts } = this
    const { va } = tlb
    // Whole addresses, few enough to be summed exactly.
    let sum = 0
    let hits = 0
    const last = end * NEXT
    for (let at = from * NEXT; at < last; at = (at + NEXT) | 0) {
      const who = lookups[at]
      const lo = lookups[at | 1]
      const hi = lookups[at | 2]
      const context = contexts[who & 0xffffff]
      let slot = tlb.findVaAt(context, lowOf(lo, hi), highOf(hi))
      if (slot < 0) {
        va.misses++
        this.fill(lookups[at | 3])
        slot = tlb.findVaAt(context, lowOf(lo, hi), highOf(hi))
      } else hits++
      const need = who >>> 24
      if ((va.flagsOf(slot) & need) !== need) continue
      sum += va.addressOf(slot) + (lo & ((1 << va.leafLg2Of(slot)) - 1))
    }
    va.hits += hits
    return sum
  }
}

/** VT-d's IOTLB: contexts are source-ids without PASID of one domain, or PASIDs of one source-id. */
export class OurIotlb implements Ours {
  readonly iotlb: Iotlb
  readonly work: Work
  readonly #hasPasids: boolean
  readonly #configs: readonly DmaConfig[]

  constructor(work: Work, hasPasids = false) {
    const { contexts, capacity } = work.plan
    this.work = work
    this.#hasPasids = hasPasids
    this.iotlb = new Iotlb(planVtd({ policy: 'hardware', iotlb: { entries: capacity, ways: WAYS } }))
    const tables = { secondTable: 0, secondLevels: 4, secondBits: 48, sre: false }
    const one = dmaConfig(PGTT.SECOND, 1, 0, 0, tables)
    this.#configs = Array.from({ length: contexts }, (_, i) =>
      hasPasids ? dmaConfig(PGTT.FIRST, 1, i + 1, 0, tables) : one,
    )
    for (const entry of work.order) this.fill(entry)
    for (let context = 0; context < contexts; context++) {
      const [sid, pasid] = [this.sidOf(context), this.pasidOf(context)]
      this.iotlb.requesters.learn(sid, pasid, this.iotlb.tagOf(sid, pasid))
    }
  }

  /** Source-id of a context. */
  sidOf(context: number): number {
    return this.#hasPasids ? 8 : context
  }

  pasidOf(context: number): number {
    return this.#hasPasids ? context + 1 : NO_PASID
  }

  fill(entry: number): void {
    const { entries } = this.work
    const at = entry * ENTRY
    const context = entries[at]
    const rights = entries[at + 6]
    const grants = rights | (rights << 2) | GRANT.DIRTY
    const tag = this.iotlb.internTag(this.sidOf(context), this.pasidOf(context))
    const page = pageOf(entries[at + 1], entries[at + 2])
    this.iotlb.fill(tag, this.#configs[context], page, entries[at + 3], addressIn(entries, at), -1, grants)
  }

  /** What the unit does after a walk: the requester is noted too. */
  #refill(entry: number, page: Page): number {
    this.fill(entry)
    const context = this.work.entries[entry * ENTRY]
    const tag = this.iotlb.tagOf(this.sidOf(context), this.pasidOf(context))
    this.iotlb.requesters.learn(this.sidOf(context), this.pasidOf(context), tag)
    return this.iotlb.find(tag, page)
  }

  has(entry: number): boolean {
    const { entries } = this.work
    const at = entry * ENTRY
    const tag = this.iotlb.tagOf(this.sidOf(entries[at]), this.pasidOf(entries[at]))
    return this.iotlb.find(tag, pageOf(entries[at + 1], entries[at + 2])) !== MISS
  }

  hit(rounds: number): number {
    return inPieces(this.work.lookups.length / NEXT, rounds, (from, end) => this.#some(from, end))
  }

  #some(from: number, end: number): number {
    const { lookups } = this.work
    const { cache, requesters } = this.iotlb
    const { words } = requesters
    const hasPasids = this.#hasPasids
    let sum = 0
    const last = end * NEXT
    for (let at = from * NEXT; at < last; at = (at + NEXT) | 0) {
      const who = lookups[at]
      const lo = lookups[at | 1]
      const hi = lookups[at | 2]
      const context = who & 0xffffff
      const line = hasPasids ? requesters.find(8, context + 1) : requesters.find(context, WITHOUT)
      let slot = line === UNKNOWN ? NONE : cache.findAt(words[line + TAG], lowOf(lo, hi), highOf(hi))
      if (slot < 0) slot = this.#refill(lookups[at | 3], pageOf(lo, hi))
      const need = who >>> 24
      if ((cache.flagsOf(slot) & need) !== need) continue
      sum += cache.addressOf(slot) + (lo & ((1 << cache.leafLg2Of(slot)) - 1))
    }
    return sum
  }
}
