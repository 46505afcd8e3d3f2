/** A domain's place on its unit: its domain-id, counted by attachments, and the caches that know it by that id. */

import { assert } from '../../core/driver.js'
import { CacheTags, type DeviceTlb, TAG } from './cache-tags.js'
import type { DomainIds } from './domain-ids.js'

/** Where one domain is attached. */
export class Bindings {
  readonly tags = new CacheTags()
  readonly #ids: DomainIds
  readonly #parent: Bindings | null
  #did = 0
  #users = 0

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
    return this.#users
  }

  /**
   * Counts one more attachment; the first takes a domain-id.
   *
   * @param tlb the device's own, if it has one
   * @throws Refusal ENOSPC when there is none
   */
  attach(pasid: number, tlb: DeviceTlb | null): number {
    if (this.#users === 0) this.#did = this.#ids.alloc()
    this.#users++
    this.tags.assign(TAG.IOTLB, this.#did, pasid, null)
    this.#parent?.tags.assign(TAG.NESTED_IOTLB, this.#did, pasid, null)
    if (tlb !== null) {
      this.tags.assign(TAG.DEVICE_TLB, this.#did, pasid, tlb)
      this.#parent?.tags.assign(TAG.NESTED_DEVICE_TLB, this.#did, pasid, tlb)
    }
    return this.#did
  }

  /** Counts one attachment less. What was cached of it has been flushed; the last gives the domain-id back. */
  detach(pasid: number, tlb: DeviceTlb | null): void {
    assert(this.#users > 0, 'an attachment ends once')
    this.tags.unassign(TAG.IOTLB, this.#did, pasid, null)
    this.#parent?.tags.unassign(TAG.NESTED_IOTLB, this.#did, pasid, null)
    if (tlb !== null) {
      this.tags.unassign(TAG.DEVICE_TLB, this.#did, pasid, tlb)
      this.#parent?.tags.unassign(TAG.NESTED_DEVICE_TLB, this.#did, pasid, tlb)
    }
    this.#users--
    if (this.#users > 0) return
    this.#ids.free(this.#did)
    this.#did = 0
  }
}
