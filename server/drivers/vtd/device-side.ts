/** What stands in front of a unit, as the unit sends to it: the driver's own devices, which somebody else plays. */

import type { AtcInvalidation, AtsPort, DevicePort, Outcome } from '../../../hw-model/port.js'
import { assert } from '../../core/driver.js'
import type { Listeners } from './flusher.js'

/** The devices of one unit. */
export class DeviceSide implements DevicePort {
  /** The unit's own door for what devices answer; null where it has no device TLBs. */
  ats: AtsPort | null = null
  readonly #listeners: Listeners
  /** Devices that answer from inside the call. */
  readonly #others: DevicePort | undefined
  #isSilent = false
  #unanswered = 0

  constructor(listeners: Listeners, others: DevicePort | undefined) {
    this.#listeners = listeners
    this.#others = others
  }

  /** What `queue` makes the unit ask for is not answered, and the unit hears so when it waits. */
  withoutAnswer(queue: () => void): void {
    this.#isSilent = true
    queue()
    this.#isSilent = false
    const isKnown = this.ats?.timedOut(this.#unanswered) ?? false
    assert(isKnown, 'an invalidation times out that the unit waits for')
  }

  /** Whoever was to forget has done so before the descriptor was queued, unless it did not in time. */
  invalidateAtc(invalidation: AtcInvalidation): boolean {
    if (this.#isSilent) {
      this.#unanswered = invalidation.tag
      return false
    }
    return this.#others?.invalidateAtc(invalidation) ?? true
  }

  respondToPages(rid: number, pasid: number, group: number, code: number): void {
    this.#others?.respondToPages(rid, pasid, group, code)
    const device = this.#listeners.deviceOf(rid)
    if (device !== undefined) this.#listeners.listener?.respondToPages(device, pasid, group, code)
  }

  /** No request pends in a VT-d unit. */
  ended(tag: number, outcome: Outcome): void {
    this.#others?.ended(tag, outcome)
  }
}
