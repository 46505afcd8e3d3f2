/**
 * What may have cached a domain's translations, and therefore what a flush of it has to name: one tag for each cache,
 * domain-id and PASID (and device, where the cache is the device's). Attachments that agree in all of it share a tag.
 * A nesting parent has the tags of its children too: their translations were made through its tables. [VTD 6.2.1 T17]
 */

import { assert } from '../../core/driver.js'

/** Whose cache it is. The last two are of children nested on the domain. */
export const TAG = { IOTLB: 0, DEVICE_TLB: 1, NESTED_IOTLB: 2, NESTED_DEVICE_TLB: 3 } as const

/** One of TAG. */
export type TagKind = (typeof TAG)[keyof typeof TAG]

/** A device that keeps translations of its own. [VTD 4.1 Device-TLB Operation] */
export interface DeviceTlb {
  readonly sid: number
  /** The physical function's, where the unit counts what a device has outstanding (ECAP.DIT); else 0. */
  readonly pfsid: number
}

/** One of a domain's caches. */
export interface CacheTag {
  readonly kind: TagKind
  readonly did: number
  /** 0 for a RID's own requests. */
  readonly pasid: number
  /** Whose; null for the unit's own caches. */
  readonly tlb: DeviceTlb | null
  users: number
}

/** How many tags of one device's cache there are. */
export interface DeviceTags {
  readonly tlb: DeviceTlb
  /** Of requests without PASID. */
  plain: number
  /** Of requests with one. */
  withPasid: number
}

/**
 * The tags of one domain, in the order in which they came. Sums of them are kept beside, so that a flush of a domain that
 * is on many PASIDs need not look at each.
 */
export class CacheTags {
  /** Tags of the unit's own caches, by domain-id. */
  readonly byDid = new Map<number, number>()
  /** Tags of devices' caches, by source-id. */
  readonly byDevice = new Map<number, DeviceTags>()
  readonly #tags = new Map<string, CacheTag>()
  readonly #ofDevices = new Map<string, CacheTag>()

  /** How many there are. */
  get size(): number {
    return this.#tags.size
  }

  /** Those of devices' caches alone. */
  get ofDevices(): { readonly size: number; values(): Iterable<CacheTag> } {
    return this.#ofDevices
  }

  [Symbol.iterator](): Iterator<CacheTag> {
    return this.#tags.values()
  }

  /** Attachments whose translations the unit caches under (domain-id, PASID). */
  usersOf(did: number, pasid: number): number {
    return this.#tags.get(keyOf(TAG.IOTLB, did, pasid, null))?.users ?? 0
  }

  /** Counts one attachment more. */
  assign(kind: TagKind, did: number, pasid: number, tlb: DeviceTlb | null): void {
    const key = keyOf(kind, did, pasid, tlb)
    const there = this.#tags.get(key)
    if (there !== undefined) {
      there.users++
      return
    }
    const tag = { kind, did, pasid, tlb, users: 1 }
    this.#tags.set(key, tag)
    if (tlb !== null) this.#ofDevices.set(key, tag)
    this.#sum(tag, 1)
  }

  /** Counts one attachment less. */
  unassign(kind: TagKind, did: number, pasid: number, tlb: DeviceTlb | null): void {
    const key = keyOf(kind, did, pasid, tlb)
    const tag = this.#tags.get(key)
    assert(tag !== undefined, 'a tag is taken away as often as it was given')
    tag.users--
    if (tag.users > 0) return
    this.#tags.delete(key)
    this.#ofDevices.delete(key)
    this.#sum(tag, -1)
  }

  #sum({ did, pasid, tlb }: CacheTag, by: 1 | -1): void {
    if (tlb === null) {
      const tags = (this.byDid.get(did) ?? 0) + by
      if (tags === 0) this.byDid.delete(did)
      else this.byDid.set(did, tags)
      return
    }
    const device = this.byDevice.get(tlb.sid) ?? { tlb, plain: 0, withPasid: 0 }
    if (pasid === 0) device.plain += by
    else device.withPasid += by
    if (device.plain + device.withPasid === 0) this.byDevice.delete(tlb.sid)
    else this.byDevice.set(tlb.sid, device)
  }
}

const keyOf = (kind: TagKind, did: number, pasid: number, tlb: DeviceTlb | null): string =>
  `${kind} ${did} ${pasid} ${tlb?.sid ?? ''}`
