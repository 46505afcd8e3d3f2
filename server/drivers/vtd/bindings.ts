/** A domain's place on its unit: its domain-id, counted by attachments, and the caches that know it by that id. */

import { assert } from '../../core/driver.js'
import { CacheTags, type DeviceTlb, TAG } from './cache-tags.js'
import type { DomainIds } from './domain-ids.js'

/** One attachment: the entry that names the domain, and whose it is. */
export interface Place {
  /** Physical address of the PASID table entry or of the legacy context entry. */
  readonly entry: number
  /** PASID, or 0 for a RID's own requests. */
  readonly slot: number
  /** The device's own cache, if it has one. */
  readonly tlb: DeviceTlb | null
}

/** Where one domain is attached. */
export class Bindings {
  readonly tags = new CacheTags()
  readonly #ids: DomainIds
  readonly #parent: Bindings | null
  /** Of domains nested on this one, those that are attached. */
  readonly #children = new Set<Bindings>()
  /** By entry. */
  readonly #places = new Map<number, Place>()
  #did = 0

  /** @param parent of a nested domain, the second stage it goes through */
  constructor(ids: DomainIds, parent: Bindings | null = null) {
    this.#ids = ids
    this.#parent = parent
  }

  /** The domain-id, or 0 while it is attached nowhere. */
  get did(): number {
    return this.#did
  }

  /** Attachments. */
  get users(): number {
    return this.#places.size
  }

  /** Attachments of the domain and of those nested on it, each with its domain-id. */
  *everywhere(): Generator<{ readonly did: number; readonly place: Place }> {
    for (const bindings of [this, ...this.#children]) {
      for (const place of bindings.#places.values()) yield { did: bindings.#did, place }
    }
  }

  /**
   * One more attachment; the first takes a domain-id.
   *
   * @throws Refusal ENOSPC when there is none
   */
  attach(place: Place): number {
    if (this.users === 0) {
      this.#did = this.#ids.alloc()
      if (this.#parent !== null) this.#parent.#children.add(this)
    }
    this.#places.set(place.entry, place)
    const { slot, tlb } = place
    this.tags.assign(TAG.IOTLB, this.#did, slot, null)
    this.#parent?.tags.assign(TAG.NESTED_IOTLB, this.#did, slot, null)
    if (tlb !== null) {
      this.tags.assign(TAG.DEVICE_TLB, this.#did, slot, tlb)
      this.#parent?.tags.assign(TAG.NESTED_DEVICE_TLB, this.#did, slot, tlb)
    }
    return this.#did
  }

  /** One attachment less. What was cached of it has been flushed; the last gives the domain-id back. */
  detach({ entry, slot, tlb }: Place): void {
    assert(this.#places.delete(entry), 'an attachment ends once')
    this.tags.unassign(TAG.IOTLB, this.#did, slot, null)
    this.#parent?.tags.unassign(TAG.NESTED_IOTLB, this.#did, slot, null)
    if (tlb !== null) {
      this.tags.unassign(TAG.DEVICE_TLB, this.#did, slot, tlb)
      this.#parent?.tags.unassign(TAG.NESTED_DEVICE_TLB, this.#did, slot, tlb)
    }
    if (this.users > 0) return
    if (this.#parent !== null) this.#parent.#children.delete(this)
    this.#ids.free(this.#did)
    this.#did = 0
  }
}
