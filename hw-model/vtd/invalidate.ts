/**
 * What each invalidation drops, exactly: never more, so that a forgotten flush stays visible, never less.
 * [VTD 6.5.2.1 to 6.5.2.4, T23 IOTLB Invalidation, T24 PASID-based-IOTLB Invalidation]
 *
 * There are no paging-structure caches, so IH (only leaves changed) makes no difference, and no device TLBs.
 */

import { type Page, pageOf } from '../bits/address.js'
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
import type { HptCache } from './hpt-cache.js'
import type { Iotlb } from './iotlb.js'
import { PGTT } from './records.js'

/** Source-id bits compared, by FM. [VTD 6.5.2.1] */
const FUNCTION_MASKS = [0xffff, 0xfffb, 0xfff9, 0xfff8] as const

/** The caches of one unit, as descriptors and registers drop from them. */
export class Invalidator {
  readonly #caps: Capabilities
  readonly #config: ConfigReader
  readonly #iotlb: Iotlb
  readonly #didMask: number
  /** Host permissions; null on a unit without their tables. */
  permissions: HptCache | null = null

  constructor(caps: Capabilities, config: ConfigReader, iotlb: Iotlb) {
    this.#caps = caps
    this.#config = config
    this.#iotlb = iotlb
    this.#didMask = 2 ** caps.didBits - 1
  }

  /** Everything: SRTP with ESRTPS, TE going off with SMTS. [VTD 6.6, 11.4.4.1] */
  dropAll(): void {
    this.#config.contexts.clear()
    this.#config.pasids.clear()
    this.#iotlb.dropAll()
    this.permissions?.dropAll()
  }

  /**
   * The context cache. In scalable mode it has no domain tag: the domain form acts as global.
   *
   * @returns false for a granularity that does not exist
   */
  dropContexts(granularity: number, didField: number, sid: number, fm: number): boolean {
    const { contexts, isScalable } = this.#config
    const did = didField & this.#didMask
    const mask = FUNCTION_MASKS[fm]
    if (granularity === GRANULARITY.GLOBAL) contexts.clear()
    else if (granularity === GRANULARITY.DOMAIN) contexts.dropWhere((_, entry) => isScalable || entry.did === did)
    else if (granularity === GRANULARITY.SELECTIVE) {
      contexts.dropWhere((_, entry) => (entry.sid & mask) === (sid & mask) && (isScalable || entry.did === did))
    } else return false
    return true
  }

  /** IOTLB entries by domain-id, second-stage ones by address too. False for what cannot be asked. */
  dropIotlb(granularity: number, didField: number, am: number, lo: number, hi: number): boolean {
    const did = didField & this.#didMask
    if (granularity === GRANULARITY.GLOBAL) this.#iotlb.dropAll()
    else if (granularity === GRANULARITY.DOMAIN) this.#iotlb.dropDomain(did)
    else if (granularity === GRANULARITY.SELECTIVE) {
      const { cap, mgawBits } = this.#caps
      if (cap.PSI === 0 || am > cap.MAMV) return false
      const first = firstPage(lo, hi & (2 ** (mgawBits - 32) - 1), am)
      this.#iotlb.dropDomainPages(did, first, lastPage(first, am))
    } else return false
    return true
  }

  /**
   * What a page request drops by itself: with the form that its translation type asks for, or the domain where the unit
   * has no form for pages. [VTD 6.5.3.1 Implicit Invalidation on Page Requests, T27]
   */
  pageRequested({ pgtt, did, pasid }: DmaConfig, lo: number, hi: number): void {
    if (pgtt === PGTT.FIRST) this.dropPasidIotlb(PASID_IOTLB_GRANULARITY.PAGE, did, pasid, 0, lo, hi)
    else if (pgtt === PGTT.NESTED || !this.dropIotlb(GRANULARITY.SELECTIVE, did, 0, lo, hi)) {
      this.dropIotlb(GRANULARITY.DOMAIN, did, 0, lo, hi)
    }
  }

  /** [VTD 6.5.2.1 Context-cache Invalidate Descriptor] */
  contextCache(words: Int32Array): boolean {
    const { G, DID, SID, FM } = CONTEXT_CACHE_INVALIDATE
    return this.dropContexts(G.get(words, 0), DID.get(words, 0), SID.get(words, 0), FM.get(words, 0))
  }

  /** [VTD 6.5.2.2 PASID-cache Invalidate Descriptor] The DID is that of the cached entry. */
  pasidCache(words: Int32Array): boolean {
    const { pasids } = this.#config
    const did = PASID_CACHE_INVALIDATE.DID.get(words, 0) & this.#didMask
    const pasid = PASID_CACHE_INVALIDATE.PASID.get(words, 0)
    const granularity = PASID_CACHE_INVALIDATE.G.get(words, 0)
    if (granularity === PASID_CACHE_GRANULARITY.GLOBAL) pasids.clear()
    else if (granularity === PASID_CACHE_GRANULARITY.DOMAIN) pasids.dropWhere((_, entry) => entry.did === did)
    else if (granularity === PASID_CACHE_GRANULARITY.PASID) {
      pasids.dropWhere((_, entry) => entry.did === did && entry.pasid === pasid)
    } else return false
    return true
  }

  /** [VTD 6.5.2.3 IOTLB Invalidate Descriptor] */
  iotlb(words: Int32Array): boolean {
    const { G, DID, AM, ADDR } = IOTLB_INVALIDATE
    return this.dropIotlb(G.get(words, 0), DID.get(words, 0), AM.get(words, 0), ADDR.lo(words, 0), ADDR.hi(words, 0))
  }

  /** [VTD 6.5.2.4 PASID-based-IOTLB Invalidate Descriptor] */
  pasidIotlb(words: Int32Array): boolean {
    const { G, DID, PASID, AM, ADDR } = PASID_IOTLB_INVALIDATE
    const [granularity, did, pasid, am] = [G.get(words, 0), DID.get(words, 0), PASID.get(words, 0), AM.get(words, 0)]
    return this.dropPasidIotlb(granularity, did, pasid, am, ADDR.lo(words, 0), ADDR.hi(words, 0))
  }

  /** IOTLB entries by domain-id and PASID. Any AM is legal here, whatever MAMV says. */
  dropPasidIotlb(granularity: number, didField: number, pasid: number, am: number, lo: number, hi: number): boolean {
    const did = didField & this.#didMask
    if (granularity === PASID_IOTLB_GRANULARITY.PASID) this.#iotlb.dropPasid(did, pasid)
    else if (granularity === PASID_IOTLB_GRANULARITY.PAGE) {
      const first = firstPage(lo, hi, am)
      this.#iotlb.dropPasidPages(did, pasid, first, lastPage(first, am))
    } else return false
    return true
  }

  /** [VTD 6.5.2.7 HPT Cache Invalidate Descriptor] */
  hostPermissions(words: Int32Array): boolean {
    return this.permissions?.invalidate(words, this.#didMask, this.#caps.hawBits) ?? false
  }
}

/** 2^AM pages start where the low AM bits are zero. [VTD 6.5.2.3 T22] */
function firstPage(lo: number, hi: number, am: number): Page {
  const page = pageOf(lo, hi)
  return (page - (page % 2 ** am)) as Page
}

const lastPage = (first: Page, am: number): Page => (first + 2 ** am - 1) as Page
