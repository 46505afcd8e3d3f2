/**
 * What each invalidation drops, exactly: never more, so that a forgotten flush stays visible, never less; or, of a unit
 * made so, all that it may. Each works on whatever caches it is given, views of them too.
 * [VTD 6.5.2.1 to 6.5.2.4, T23 IOTLB Invalidation, T24 PASID-based-IOTLB Invalidation]
 *
 * IH says that only leaves have changed: it spares paging-structure entries where a descriptor names pages, and never
 * those of the first stage from one that names second-stage pages.
 */

import { alignDown, type Page, POWERS, pageOf } from '../bits/address.js'
import type { Caches } from './caches.js'
import type { Capabilities } from './capabilities.js'
import type { ConfigReader } from './config.js'
import {
  CONTEXT_CACHE_INVALIDATE,
  GRANULARITY,
  IOTLB_INVALIDATE,
  PASID_CACHE_GRANULARITY,
  PASID_CACHE_INVALIDATE,
  PASID_IOTLB_GRANULARITY,
  PASID_IOTLB_INVALIDATE,
} from './descriptors.js'
import type { DmaConfig } from './dma-config.js'
import { REASON } from './faults.js'
import type { HptCache } from './hpt-cache.js'
import { PGTT } from './records.js'

/** Source-id bits compared, by FM. [VTD 6.5.2.1] */
const FUNCTION_MASKS = [0xffff, 0xfffb, 0xfff9, 0xfff8] as const

/**
 * Whether a PASID-selective invalidation drops what faulted for that PASID whatever the domain-id. Such entries are
 * tagged with domain-id 0, which software must not use; it names the one that it has put into the entry.
 * [VTD 6.2.3 PASID-Cache; choice]
 */
const FAULTED_PASIDS_ARE_OF_EVERY_DOMAIN = true

/** The caches of one unit, as descriptors and registers drop from them. */
export class Invalidator {
  readonly #caps: Capabilities
  readonly #config: ConfigReader
  readonly #caches: Caches
  readonly #didMask: number
  /** Is told when everything goes. */
  onDropAll: (() => void) | null = null

  constructor(caps: Capabilities, config: ConfigReader, caches: Caches) {
    this.#caps = caps
    this.#config = config
    this.#caches = caches
    this.#didMask = 2 ** caps.didBits - 1
  }

  /** Everything: SRTP with ESRTPS, TE going off with SMTS. [VTD 6.6, 11.4.4.1] */
  dropAll(): void {
    this.#caches.dropAll()
    this.onDropAll?.()
  }

  /**
   * The context cache. In scalable mode it has no domain tag: the domain form acts as global.
   *
   * @param sid,fm with GRANULARITY.SELECTIVE alone
   * @returns false for a granularity that does not exist
   */
  dropContexts(granularity: number, didField: number, sid: number, fm: number): boolean {
    const { contexts } = this.#caches
    const { isScalable } = this.#config
    const did = didField & this.#didMask
    const mask = FUNCTION_MASKS[fm]
    if (granularity < GRANULARITY.GLOBAL) return false
    if (granularity === GRANULARITY.GLOBAL || this.#caches.plan.isWide) contexts.clear()
    else if (granularity === GRANULARITY.DOMAIN) contexts.dropWhere((_, entry) => isScalable || entry.did === did)
    else contexts.dropWhere((_, entry) => (entry.sid & mask) === (sid & mask) && (isScalable || entry.did === did))
    return true
  }

  /** The PASID cache; the DID is that of the cached entry. False for a granularity that does not exist. */
  dropPasids(granularity: number, didField: number, pasid: number): boolean {
    const { pasids } = this.#caches
    const did = didField & this.#didMask
    const isOf = (entry: DmaConfig): boolean =>
      entry.did === did || (FAULTED_PASIDS_ARE_OF_EVERY_DOMAIN && entry.fault !== REASON.NONE)
    if (!PASID_GRANULARITIES.includes(granularity)) return false
    if (granularity === PASID_CACHE_GRANULARITY.GLOBAL || this.#caches.plan.isWide) pasids.clear()
    else if (granularity === PASID_CACHE_GRANULARITY.DOMAIN) pasids.dropWhere((_, entry) => entry.did === did)
    else pasids.dropWhere((_, entry) => entry.pasid === pasid && isOf(entry))
    return true
  }

  /**
   * By domain-id, second-stage entries by address too.
   *
   * @param am,lo,hi,isHint with GRANULARITY.SELECTIVE alone; `isHint` is IH
   * @returns false for what cannot be asked
   */
  dropIotlb(granularity: number, didField: number, am: number, lo: number, hi: number, isHint: boolean): boolean {
    const { iotlb, tables } = this.#caches
    const did = didField & this.#didMask
    if (granularity < GRANULARITY.GLOBAL) return false
    const { cap, mgawBits } = this.#caps
    const isByPage = granularity === GRANULARITY.SELECTIVE
    if (isByPage && (cap.PSI === 0 || am > cap.MAMV)) return false
    if (granularity === GRANULARITY.GLOBAL) {
      iotlb.dropAll()
      tables.dropAll()
    } else if (granularity === GRANULARITY.DOMAIN || this.#caches.plan.isWide) {
      iotlb.dropDomain(did)
      tables.dropDomain(did)
    } else {
      const first = firstPage(lo, hi & (POWERS[mgawBits - 32] - 1), am)
      iotlb.dropDomainPages(did, first, lastPage(first, am))
      tables.dropFirst(did)
      if (!isHint) tables.dropSecondPages(did, first, lastPage(first, am))
    }
    return true
  }

  /** By domain-id and PASID, first-stage entries by address too. Any AM is legal here, whatever MAMV says. */
  dropPasidIotlb(
    granularity: number,
    didField: number,
    pasid: number,
    am: number,
    lo: number,
    hi: number,
    isHint: boolean,
  ): boolean {
    const { iotlb, tables } = this.#caches
    const did = didField & this.#didMask
    const isByPage = granularity === PASID_IOTLB_GRANULARITY.PAGE
    if (!isByPage && granularity !== PASID_IOTLB_GRANULARITY.PASID) return false
    if (this.#caches.plan.isWide) {
      iotlb.dropDomain(did)
      tables.dropDomain(did)
    } else if (isByPage) {
      const first = firstPage(lo, hi, am)
      iotlb.dropPasidPages(did, pasid, first, lastPage(first, am))
      if (!isHint) tables.dropFirstPages(did, pasid, first, lastPage(first, am))
    } else {
      iotlb.dropPasid(did, pasid)
      tables.dropFirstPages(did, pasid)
    }
    return true
  }

  /**
   * What a page request drops by itself: with the form that its translation type asks for, or the domain where the unit
   * has no form for pages. [VTD 6.5.3.1 Implicit Invalidation on Page Requests, T27]
   */
  pageRequested({ pgtt, did, pasid }: DmaConfig, lo: number, hi: number): void {
    if (pgtt === PGTT.FIRST) this.dropPasidIotlb(PASID_IOTLB_GRANULARITY.PAGE, did, pasid, 0, lo, hi, false)
    else if (pgtt === PGTT.NESTED || !this.dropIotlb(GRANULARITY.SELECTIVE, did, 0, lo, hi, false)) {
      this.dropIotlb(GRANULARITY.DOMAIN, did, 0, lo, hi, false)
    }
  }

  /** [VTD 6.5.2.1 Context-cache Invalidate Descriptor] */
  contextCache(words: Int32Array): boolean {
    const { G, DID, SID, FM } = CONTEXT_CACHE_INVALIDATE
    return this.dropContexts(G.get(words, 0), DID.get(words, 0), SID.get(words, 0), FM.get(words, 0))
  }

  /** [VTD 6.5.2.2 PASID-cache Invalidate Descriptor] */
  pasidCache(words: Int32Array): boolean {
    const { G, DID, PASID } = PASID_CACHE_INVALIDATE
    return this.dropPasids(G.get(words, 0), DID.get(words, 0), PASID.get(words, 0))
  }

  /** [VTD 6.5.2.3 IOTLB Invalidate Descriptor] */
  iotlb(words: Int32Array): boolean {
    const { G, DID, AM, IH, ADDR } = IOTLB_INVALIDATE
    const isHint = IH.get(words, 0) !== 0
    const [lo, hi] = [ADDR.lo(words, 0) | 0, ADDR.hi(words, 0) | 0]
    return this.dropIotlb(G.get(words, 0), DID.get(words, 0), AM.get(words, 0), lo, hi, isHint)
  }

  /** [VTD 6.5.2.4 PASID-based-IOTLB Invalidate Descriptor] */
  pasidIotlb(words: Int32Array): boolean {
    const { G, DID, PASID, AM, IH, ADDR } = PASID_IOTLB_INVALIDATE
    const [did, pasid, am] = [DID.get(words, 0), PASID.get(words, 0), AM.get(words, 0)]
    const isHint = IH.get(words, 0) !== 0
    return this.dropPasidIotlb(G.get(words, 0), did, pasid, am, ADDR.lo(words, 0) | 0, ADDR.hi(words, 0) | 0, isHint)
  }

  /** Host permissions of one page, made from entries of a level or below it. */
  dropPermissions(did: number, page: number, level: number): void {
    const permissions = this.#caches.permissions as HptCache
    permissions.dropPages(did, page, 1, level)
  }

  /** [VTD 6.5.2.7 HPT Cache Invalidate Descriptor] */
  hostPermissions(words: Int32Array): boolean {
    // Without host permission tables there is no such descriptor.
    const permissions = this.#caches.permissions as HptCache
    return permissions.invalidate(words, this.#didMask, this.#caps.hawBits)
  }
}

const PASID_GRANULARITIES: readonly number[] = Object.values(PASID_CACHE_GRANULARITY)

/** 2^AM pages start where the low AM bits are zero. [VTD 6.5.2.3 T22] */
function firstPage(lo: number, hi: number, am: number): Page {
  return alignDown(pageOf(lo, hi), am) as Page
}

const lastPage = (first: Page, am: number): Page => (first + POWERS[am] - 1) as Page
