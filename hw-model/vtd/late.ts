/**
 * Invalidations that take effect as late as they may: not when a descriptor is taken but at the next wait descriptor,
 * or before a device is asked to forget, which would get the old translation again otherwise. Software that goes on
 * without a wait meets what it has invalidated. [VTD 6.5.2.9 Invalidation Wait Descriptor, 6.5.2.12, 6.5.3.6]
 */

import { DESCRIPTOR_TYPE } from './descriptors.js'
import type { Invalidator } from './invalidate.js'

/** Held back at once; when they are more, all take effect. */
const HELD = 1024

/** A descriptor without effect so far. */
export interface HeldInvalidation {
  readonly type: number
  readonly words: Int32Array
}

/** What was taken and has no effect yet, in order: context before PASID before IOTLB matters. */
export class LateInvalidations {
  readonly #invalidator: Invalidator
  /** The same over no caches: says whether a descriptor is accepted. */
  readonly #judge: Invalidator
  readonly #held: HeldInvalidation[] = []

  constructor(invalidator: Invalidator, judge: Invalidator) {
    this.#invalidator = invalidator
    this.#judge = judge
  }

  /** What is held back, oldest first. */
  get held(): readonly HeldInvalidation[] {
    return this.#held
  }

  /** Takes a descriptor. False for one that no unit accepts. */
  take(type: number, words: Int32Array): boolean {
    if (!carryOut(this.#judge, type, words)) return false
    if (this.#held.length === HELD) this.settle()
    this.#held.push({ type, words: words.slice() })
    return true
  }

  /** All that was taken takes effect. */
  settle(): void {
    for (const { type, words } of this.#held) carryOut(this.#invalidator, type, words)
    this.#held.length = 0
  }

  /** Back to power-on. */
  reset(): void {
    this.#held.length = 0
  }
}

/** Carries out a descriptor that drops from caches. False for a granularity that does not exist, or an AM too large. */
export function carryOut(invalidator: Invalidator, type: number, words: Int32Array): boolean {
  switch (type) {
    case DESCRIPTOR_TYPE.CONTEXT_CACHE:
      return invalidator.contextCache(words)
    case DESCRIPTOR_TYPE.IOTLB:
      return invalidator.iotlb(words)
    case DESCRIPTOR_TYPE.PASID_IOTLB:
      return invalidator.pasidIotlb(words)
    case DESCRIPTOR_TYPE.PASID_CACHE:
      return invalidator.pasidCache(words)
    default:
      return invalidator.hostPermissions(words)
  }
}
