/** The descriptors that the driver queues, ready packed. [VTD 6.5.2.1 to 6.5.2.6, 6.5.2.9, 7.6.1] */

import { pack } from '../../../hw-model/bits/layout.js'
import {
  CONTEXT_CACHE_INVALIDATE,
  DESCRIPTOR_TYPE,
  DEVICE_TLB_INVALIDATE,
  GRANULARITY,
  INVALIDATION_WAIT,
  IOTLB_INVALIDATE,
  PAGE_GROUP_RESPONSE,
  PASID_CACHE_GRANULARITY,
  PASID_CACHE_INVALIDATE,
  PASID_DEVICE_TLB_INVALIDATE,
  PASID_IOTLB_GRANULARITY,
  PASID_IOTLB_INVALIDATE,
} from '../../../hw-model/vtd/index.js'
import type { DeviceTlb } from './cache-tags.js'

/** Four 32-bit words. */
export type Descriptor = Int32Array

/** What a device is to forget: the descriptor, and what it says in plain. */
export interface DeviceFlush {
  readonly words: Descriptor
  readonly sid: number
  /** PASID of the translations, or -1 for those that were obtained without one. */
  readonly pasid: number
  /** Those of every PASID. */
  readonly allPasids: boolean
  readonly block: PageBlock
}

/** What makes a cache forget: the unit's own, or a device's. */
export type Flush = Descriptor | DeviceFlush

/** What an IOTLB invalidation waits for, where the unit can (CAP.DRD, CAP.DWD). */
export interface Drains {
  readonly DR: number
  readonly DW: number
}

/** What a wait descriptor writes when everything before it is done. */
export const DONE = 2

/**
 * Everything before it is done when `status` reads DONE.
 *
 * @param drainsPages page requests that came before are in their queue then, too
 */
export const waitFor = (status: number, drainsPages: boolean): Descriptor =>
  pack(INVALIDATION_WAIT, {
    TypeLow: DESCRIPTOR_TYPE.WAIT,
    SW: 1,
    PD: drainsPages ? 1 : 0,
    STDATA: DONE,
    STADDR: status,
  })

/** Nothing behind it is begun before everything in front of it is done; nobody hears of that. */
export const fence = (): Descriptor => pack(INVALIDATION_WAIT, { TypeLow: DESCRIPTOR_TYPE.WAIT, FN: 1, STDATA: DONE })

/** Answers a group of page requests. @param pasid the one that its requests had, or -1 */
export const pageGroupResponse = (rid: number, pasid: number, group: number, code: number): Descriptor =>
  pack(PAGE_GROUP_RESPONSE, {
    TypeLow: DESCRIPTOR_TYPE.PAGE_GROUP_RESPONSE,
    PP: pasid < 0 ? 0 : 1,
    RC: code,
    RID: rid,
    PASID: Math.max(pasid, 0),
    PRGI: group,
  })

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
export const pasidCache = (did: number, pasid: number): Descriptor =>
  pack(PASID_CACHE_INVALIDATE, {
    TypeLow: DESCRIPTOR_TYPE.PASID_CACHE,
    G: PASID_CACHE_GRANULARITY.PASID,
    DID: did,
    PASID: pasid,
  })

/** Forget every translation. */
export const allTranslations = (drains: Drains): Descriptor =>
  pack(IOTLB_INVALIDATE, { TypeLow: DESCRIPTOR_TYPE.IOTLB, G: GRANULARITY.GLOBAL, ...drains })

/** Forget every translation of a domain-id. */
export const domainTranslations = (drains: Drains, did: number): Descriptor =>
  pack(IOTLB_INVALIDATE, { TypeLow: DESCRIPTOR_TYPE.IOTLB, G: GRANULARITY.DOMAIN, ...drains, DID: did })

/** Forget second-stage translations of a block, and all first-stage ones, of a domain-id. */
export function domainPages(drains: Drains, did: number, block: PageBlock, leavesOnly: boolean): Descriptor {
  const words = pack(IOTLB_INVALIDATE, {
    TypeLow: DESCRIPTOR_TYPE.IOTLB,
    G: GRANULARITY.SELECTIVE,
    ...drains,
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

/**
 * A device forgets translations of a block: those of its requests without PASID, or of one PASID.
 *
 * @param pasid 0 for requests without PASID
 */
export function devicePages({ sid, pfsid }: DeviceTlb, pasid: number, block: PageBlock): DeviceFlush {
  const { page, am } = block
  const common = { MIP: 0, SID: sid, ...halvesOf(pfsid), S: am > 0 ? 1 : 0 }
  const words =
    pasid === 0
      ? pack(DEVICE_TLB_INVALIDATE, { TypeLow: DESCRIPTOR_TYPE.DEVICE_TLB, ...common })
      : pack(PASID_DEVICE_TLB_INVALIDATE, {
          TypeLow: DESCRIPTOR_TYPE.PASID_DEVICE_TLB,
          ...common,
          PASID: pasid,
        })
  withAddress(words, sizedPage({ page, am }))
  return { words, sid, pasid: pasid === 0 ? -1 : pasid, allPasids: false, block }
}

/** Every page there is. */
export const EVERY_PAGE: PageBlock = { page: 0n, am: 52 }

/**
 * A device forgets all that it obtained with a PASID, whichever that was: GI. A function may lack that (Global Invalidate
 * Supported of its ATS capability); those of this machine do not. [VTD 6.5.2.6]
 */
export function devicePasids({ sid, pfsid }: DeviceTlb): DeviceFlush {
  const words = pack(PASID_DEVICE_TLB_INVALIDATE, {
    TypeLow: DESCRIPTOR_TYPE.PASID_DEVICE_TLB,
    SID: sid,
    ...halvesOf(pfsid),
    GI: 1,
    S: 1,
  })
  withAddress(words, sizedPage(EVERY_PAGE))
  return { words, sid, pasid: 0, allPasids: true, block: EVERY_PAGE }
}

/** What makes a device forget all that it has of a slot, if it keeps anything. */
export const wholeDevice = (tlb: DeviceTlb | null, slot: number): readonly DeviceFlush[] =>
  tlb === null ? [] : [devicePages(tlb, slot, EVERY_PAGE)]

/**
 * The smallest aligned power-of-two block of pages around `[first, last]`.
 *
 * @param first,last page numbers, inclusive; beyond 2^52 the block is everything
 */
export function blockAround(first: bigint, last: bigint): PageBlock {
  let am = 0
  while (am < EVERY_PAGE.am && first >> BigInt(am) !== last >> BigInt(am)) am++
  return am === EVERY_PAGE.am ? EVERY_PAGE : { page: (first >> BigInt(am)) << BigInt(am), am }
}

/** A block of 2^n pages has n - 1 ones below the zero that says how large it is. [VTD 6.5.2.5] */
const sizedPage = ({ page, am }: PageBlock): bigint => (am > 0 ? page | ((1n << BigInt(am - 1)) - 1n) : page)

const halvesOf = (pfsid: number) => ({ PFSIDLow: pfsid & 0xf, PFSIDHigh: pfsid >>> 4 })

/** ADDR has 64 bits, more than a number holds. */
function withAddress(words: Descriptor, page: bigint): Descriptor {
  const address = page << 12n
  words[2] |= Number(BigInt.asIntN(32, address))
  words[3] = Number(BigInt.asIntN(32, address >> 32n))
  return words
}
