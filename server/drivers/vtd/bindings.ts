/**
 * Where a domain is attached on its unit, and under which domain-id: what a flush has to name. A nesting parent also
 * lists the domains nested on it, whose translations were made through its tables. [VTD 6.5.3.3 T28]
 */

import { assert } from '../../core/driver.js'
import type { DomainIds } from './domain-ids.js'

/** One domain's place in the unit's caches. */
export class Bindings {
  readonly #ids: DomainIds
  readonly #pasids = new Map<number, number>()
  #did = 0
  #users = 0

  constructor(ids: DomainIds) {
    this.#ids = ids
  }

  /** The domain-id, or 0 while it is attached nowhere. */
  get did(): number {
    return this.#did
  }

  /** PASIDs that it is attached to; 0 is a RID's own. */
  get pasids(): Iterable<number> {
    return this.#pasids.keys()
  }

  get pasidCount(): number {
    return this.#pasids.size
  }

  get isAttached(): boolean {
    return this.#users > 0
  }

  /**
   * Counts one more attachment; the first takes a domain-id.
   *
   * @throws Refusal ENOSPC when there is none
   */
  add(pasid: number): number {
    if (this.#users === 0) this.#did = this.#ids.alloc()
    this.#users++
    this.#pasids.set(pasid, (this.#pasids.get(pasid) ?? 0) + 1)
    return this.#did
  }

  /** Counts one attachment less. What was cached under it has been flushed; the last gives the domain-id back. */
  remove(pasid: number): void {
    const users = this.#pasids.get(pasid)
    assert(users !== undefined, 'an attachment ends once')
    if (users === 1) this.#pasids.delete(pasid)
    else this.#pasids.set(pasid, users - 1)
    this.#users--
    if (this.#users > 0) return
    this.#ids.free(this.#did)
    this.#did = 0
  }
}
