/** The invalidation descriptors that the driver queues, ready packed. [VTD 6.5.2.1 to 6.5.2.4, 6.5.2.9] */

import { pack } from '../../../hw-model/bits/layout.js'
import {
  CONTEXT_CACHE_INVALIDATE,
  DESCRIPTOR_TYPE,
  GRANULARITY,
  IOTLB_INVALIDATE,
  PASID_CACHE_GRANULARITY,
  PASID_CACHE_INVALIDATE,
  PASID_IOTLB_GRANULARITY,
  PASID_IOTLB_INVALIDATE,
} from '../../../hw-model/vtd/index.js'

/** Four 32-bit words. */
export type Descriptor = Int32Array

/** Type of the wait descriptor. */
export const WAIT_TYPE = DESCRIPTOR_TYPE.WAIT

/** An aligned block of 2^AM pages. */
export interface PageBlock {
  /** First page, a multiple of 2^am. */
  readonly page: bigint
  readonly am: number
}

/** Forget every context entry. */
export const allContexts = (): Descriptor =>
  pack(CONTEXT_CACHE_INVALIDATE, { TypeLow: DESCRIPTOR_TYPE.CONTEXT_CACHE, G: GRANULARITY.GLOBAL })

/** Forget one device's context entry, cached under this domain-id. */
export const deviceContext = (sid: number, did: number): Descriptor =>
  pack(CONTEXT_CACHE_INVALIDATE, {
    TypeLow: DESCRIPTOR_TYPE.CONTEXT_CACHE,
    G: GRANULARITY.SELECTIVE,
    SID: sid,
    DID: did,
  })

/** Forget every PASID entry. */
export const allPasids = (): Descriptor =>
  pack(PASID_CACHE_INVALIDATE, { TypeLow: DESCRIPTOR_TYPE.PASID_CACHE, G: PASID_CACHE_GRANULARITY.GLOBAL })

/** Forget the PASID entries cached under (domain-id, PASID). */
export const pasidEntry = (did: number, pasid: number): Descriptor =>
  pack(PASID_CACHE_INVALIDATE, {
    TypeLow: DESCRIPTOR_TYPE.PASID_CACHE,
    G: PASID_CACHE_GRANULARITY.PASID,
    DID: did,
    PASID: pasid,
  })

/** Forget every translation; reads and writes are drained. */
export const allTranslations = (): Descriptor =>
  pack(IOTLB_INVALIDATE, { TypeLow: DESCRIPTOR_TYPE.IOTLB, G: GRANULARITY.GLOBAL, DR: 1, DW: 1 })

/** Forget every translation of a domain-id. */
export const domainTranslations = (did: number): Descriptor =>
  pack(IOTLB_INVALIDATE, { TypeLow: DESCRIPTOR_TYPE.IOTLB, G: GRANULARITY.DOMAIN, DR: 1, DW: 1, DID: did })

/** Forget second-stage translations of a block, and all first-stage ones, of a domain-id. */
export function domainPages(did: number, block: PageBlock, leavesOnly: boolean): Descriptor {
  const words = pack(IOTLB_INVALIDATE, {
    TypeLow: DESCRIPTOR_TYPE.IOTLB,
    G: GRANULARITY.SELECTIVE,
    DR: 1,
    DW: 1,
    DID: did,
    AM: block.am,
    IH: leavesOnly ? 1 : 0,
  })
  return withAddress(words, block.page)
}

/** Forget every translation of (domain-id, PASID). */
export const pasidTranslations = (did: number, pasid: number): Descriptor =>
  pack(PASID_IOTLB_INVALIDATE, {
    TypeLow: DESCRIPTOR_TYPE.PASID_IOTLB,
    G: PASID_IOTLB_GRANULARITY.PASID,
    DID: did,
    PASID: pasid,
  })

/** Forget first-stage translations of a block of (domain-id, PASID). */
export function pasidPages(did: number, pasid: number, block: PageBlock, leavesOnly: boolean): Descriptor {
  const words = pack(PASID_IOTLB_INVALIDATE, {
    TypeLow: DESCRIPTOR_TYPE.PASID_IOTLB,
    G: PASID_IOTLB_GRANULARITY.PAGE,
    DID: did,
    PASID: pasid,
    AM: block.am,
    IH: leavesOnly ? 1 : 0,
  })
  return withAddress(words, block.page)
}

/** Bits of a page number: a block of 2^52 pages is the whole space. */
export const ALL_PAGES_LG2 = 52

/**
 * The smallest aligned power-of-two block of pages around `[first, last]`, as Linux widens a range.
 *
 * @param first,last page numbers, inclusive
 */
export function blockAround(first: bigint, last: bigint): PageBlock {
  let am = 0
  while (am < ALL_PAGES_LG2 && first >> BigInt(am) !== last >> BigInt(am)) am++
  return { page: (first >> BigInt(am)) << BigInt(am), am }
}

/** ADDR has 64 bits, more than a number holds. */
function withAddress(words: Descriptor, page: bigint): Descriptor {
  const address = page << 12n
  words[2] |= Number(BigInt.asIntN(32, address))
  words[3] = Number(BigInt.asIntN(32, address >> 32n))
  return words
}
