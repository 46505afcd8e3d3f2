/** Event queues of vIOMMUs: what units have to tell a guest. [uAPI IOMMU_VEVENTQ_ALLOC] */

import type { Context } from './context.js'
import type { Completion } from './driver.js'
import { IommuObject, OBJECT_TYPE } from './object.js'
import { Refusal } from './refusal.js'
import type { Viommu } from './viommu.js'

/**
 * The deepest queue: as many events as the largest event queue of an SMMUv3 holds. [SMMU 6.3.2 SMMU_IDR1, EVENTQS]
 * Events count against the limit `queue_depth` when they come, so a deep queue that is empty costs nothing.
 */
export const VEVENTQ_DEPTH_MAX = 2 ** 19

/** Bits of an event's header. [uAPI enum iommu_veventq_flag] */
export const VEVENT_FLAG = { LOST_EVENTS: 1 } as const

/** Sequence numbers wrap after this one. [uAPI struct iommufd_vevent_header] */
const LAST_SEQUENCE = 2 ** 31 - 1

/** An event, or the news that some were lost. */
export interface Vevent {
  /** Bits of VEVENT_FLAG. */
  readonly flags: number
  /** Counts events, lost ones too. */
  readonly sequence: number
  /** The record, 32 bits each, low first. Empty if lost. */
  readonly words: readonly number[]
  /** In the manual. Empty if lost. */
  readonly name: string
}

/** A queue of one type of events of a vIOMMU. */
export class Veventq extends IommuObject {
  static override readonly label = 'a vEVENTQ'

  readonly type = OBJECT_TYPE.VEVENTQ
  readonly kind = 'vEVENTQ'
  readonly viommu: Viommu
  /** Of its events. [uAPI enum iommu_veventq_type] */
  readonly eventType: number
  /** Events it holds; the news of lost ones does not count. */
  readonly depth: number
  readonly #context: Context
  #events: Vevent[] = []
  /** The news that events were lost; always behind the events. */
  #lost: Vevent | undefined
  /** Of the next event. */
  #sequence: number

  constructor(id: number, viommu: Viommu, eventType: number, depth: number, firstSequence = 0) {
    super(id)
    this.#sequence = firstSequence
    this.viommu = viommu
    this.eventType = eventType
    this.depth = depth
    this.#context = viommu.context
    viommu.veventqs.set(eventType, this)
    viommu.hold(this)
  }

  get holds(): readonly IommuObject[] {
    return [this.viommu]
  }

  override get facts(): Readonly<Record<string, string>> {
    return { event_type: String(this.eventType), depth: String(this.depth), events: String(this.#events.length) }
  }

  /** Something waits to be read. */
  get isReadable(): boolean {
    return this.#events.length > 0 || this.#lost !== undefined
  }

  /** An event happened. Without room for it, it is lost, and that is told in its place. */
  report(words: readonly number[], name: string): void {
    const sequence = this.#sequence
    this.#sequence = sequence === LAST_SEQUENCE ? 0 : sequence + 1
    if (this.#hasRoom()) {
      // The gap between the numbers tells that some were lost before it.
      this.#lost = undefined
      this.#events.push({ flags: 0, sequence, words, name })
    } else this.#lost = { flags: VEVENT_FLAG.LOST_EVENTS, sequence, words: [], name: '' }
    this.#context.waiters.wakeAll()
  }

  /**
   * Reads events, oldest first.
   *
   * @param take is handed the next one; false where it does not fit, and then it stays
   */
  read(take: (event: Vevent) => boolean): void {
    let done = 0
    for (const event of this.#events) {
      if (!take(event)) break
      done++
    }
    const isAll = done === this.#events.length
    if (done > 0) {
      this.#events = this.#events.slice(done)
      this.#context.quota.release('queue_depth', done)
    }
    if (isAll && this.#lost !== undefined && take(this.#lost)) this.#lost = undefined
  }

  destroy(): Completion {
    this.#context.quota.release('queue_depth', this.#events.length)
    this.#events = []
    this.viommu.veventqs.delete(this.eventType)
    this.viommu.drop(this)
    return undefined
  }

  /** What cannot be kept is lost, as where the queue is full. */
  #hasRoom(): boolean {
    if (this.#events.length === this.depth) return false
    try {
      this.#context.core.failPoint?.('event')
      this.#context.quota.charge('queue_depth')
      return true
    } catch (error) {
      if (error instanceof Refusal) return false
      throw error
    }
  }
}
