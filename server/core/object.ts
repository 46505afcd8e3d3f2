/**
 * Objects of a context, as iommufd has them: a number, a type, and a count of others that hold them. An object that is
 * held cannot be destroyed. [uAPI IOMMU_DESTROY]
 */

import type { Completion } from './driver.js'
import type { QuotaName } from './limits.js'
import { assert, type Fact } from './refusal.js'

/** Types of objects; the numbers are the contract's ObjectType. */
export const OBJECT_TYPE = {
  IOAS: 1,
  PAGING_DOMAIN: 2,
  USER_DOMAIN: 3,
  DEVICE: 4,
  VIOMMU: 5,
  VDEVICE: 6,
  VEVENTQ: 7,
  FAULT_QUEUE: 8,
  HW_QUEUE: 9,
  ACCESS: 10,
  WINDOW: 11,
  UNIT: 12,
  SELFTEST: 13,
} as const

/** One of OBJECT_TYPE. */
export type ObjectType = (typeof OBJECT_TYPE)[keyof typeof OBJECT_TYPE]

/** What a holder is called in a refusal. */
export interface Holder {
  readonly id: number
  /** `device`, `vIOMMU` … */
  readonly kind: string
}

/** An object of a context. */
export abstract class IommuObject implements Holder {
  /** As a refusal names what is wanted. */
  static readonly label: string = 'an object'

  readonly id: number
  abstract readonly type: ObjectType
  abstract readonly kind: string
  /** A driver operation on it has not ended; other calls that would change it meet EBUSY. */
  inFlight = false
  #holders: Map<Holder, number> | undefined
  #users = 0

  constructor(id: number) {
    this.id = id
  }

  /** How many others hold it; the kernel's `users` less one. */
  get users(): number {
    return this.#users
  }

  /** Keeps it from being destroyed; one `drop` of the same holder for each `hold`. */
  hold(by: Holder): void {
    this.#holders ??= new Map()
    this.#holders.set(by, (this.#holders.get(by) ?? 0) + 1)
    this.#users++
  }

  /** Ends one `hold`. */
  drop(by: Holder): void {
    const held = this.#holders?.get(by) ?? 0
    assert(held > 0, `${this.kind} ${this.id} is held by ${by.kind} ${by.id} before it is dropped`)
    if (held === 1) this.#holders?.delete(by)
    else this.#holders?.set(by, held - 1)
    this.#users--
  }

  /** Who holds it, for a refusal; at most a handful. */
  get heldBy(): readonly Fact[] {
    const few: string[] = []
    for (const holder of this.#holders?.keys() ?? []) {
      if (few.length === HOLDERS_TOLD) return [...few, 'and others']
      few.push(`${holder.kind} ${holder.id}`)
    }
    return few
  }

  /** Objects this one holds. */
  abstract get holds(): readonly IommuObject[]

  /** Quotas that it uses up as long as it lives. */
  get charges(): readonly QuotaName[] {
    return ['objects']
  }

  /** Objects that its destroying changes or destroys, beside those that it holds. */
  get takesAlong(): readonly IommuObject[] {
    return []
  }

  /** Facts for a person. */
  get facts(): Readonly<Record<string, string>> {
    return {}
  }

  /** Gives everything back: to the driver, to the objects it holds, to the quotas. Nobody holds it; cannot fail. */
  abstract destroy(): Completion
}

/** Holders that a refusal names: enough to find them, short enough to read. */
const HOLDERS_TOLD = 8
