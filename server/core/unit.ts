/** A raw unit: a private SMMUv3 or VT-d, an object of its context, driven by its owner's registers and memory alone. */

import { after } from './completion.js'
import type { Context } from './context.js'
import { faultOf } from './dma-fault.js'
import type { Completion } from './driver.js'
import { lookLast } from './last-look.js'
import type { QuotaName } from './limits.js'
import type { RawUnit, StreamRequest, UnitEvent } from './machine.js'
import { IommuObject, OBJECT_TYPE } from './object.js'
import { type KeptStale, StaleBook } from './stale-book.js'
import { ownerOfRaw } from './stale-owner.js'
import { summaryOf } from './stale-reply.js'
import { requesterOf } from './unit-requester.js'
import { Streams } from './unit-streams.js'
import { finish, type Work } from './work.js'

/** One raw unit, with its bus and the streams in front of it. */
export class Unit extends IommuObject {
  static override readonly label = 'a raw unit'

  readonly type = OBJECT_TYPE.UNIT
  readonly kind = 'raw unit'
  readonly context: Context
  readonly raw: RawUnit
  readonly streams = new Streams()
  /** What its oracle has reported. */
  readonly stale: StaleBook
  #interrupts: UnitEvent[] = []

  /** @param make makes the hardware, given what stands in front of it; what it throws is thrown */
  constructor(id: number, context: Context, make: (streams: Streams) => RawUnit) {
    super(id)
    this.context = context
    this.raw = make(this.streams)
    const { core } = context
    const { oracle } = this.raw
    const told = (report: KeptStale): void => core.foundStale('raw', report, summaryOf(report, oracle))
    this.stale = new StaleBook(oracle, core.limits.call.oracle_reports, () => ownerOfRaw(this), told)
  }

  get holds(): readonly IommuObject[] {
    return []
  }

  override get charges(): readonly QuotaName[] {
    return ['objects', 'units']
  }

  override get facts(): Readonly<Record<string, string>> {
    return { type: this.raw.kind, preset: this.raw.preset }
  }

  /** Interrupts are waiting. */
  get hasInterrupts(): boolean {
    this.#collect()
    return this.#interrupts.length > 0
  }

  /** Takes the oldest interrupts. */
  takeInterrupts(limit: number): readonly UnitEvent[] {
    this.#collect()
    return this.#interrupts.splice(0, limit)
  }

  /** Lets the unit do all that it can do; a queue that waits for a stream is not waited for. */
  *work(): Work<void> {
    this.settle()
    while (this.raw.hasWork) {
      yield
      this.raw.run()
      this.settle()
    }
  }

  /** What ended while the unit was at work can be told. To be called before anything else may happen. */
  settle(): void {
    const { explained_faults: explained } = this.context.core.limits.call
    this.streams.settle((request, fault, index) => this.#describe(request, fault, index < explained))
  }

  /** Back to power-on. Answers how many requests were held. */
  reset(): number {
    const held = this.streams.heldCount
    this.raw.reset()
    this.#abandon()
    this.#collect()
    this.#interrupts = []
    return held
  }

  destroy(): Completion {
    this.#abandon()
    const looked = finish(lookLast(this.raw.oracle), this.context.core.turn)
    return after(looked, () => this.raw.destroy())
  }

  #abandon(): void {
    this.streams.abandon()
    this.context.waiters.wakeAll()
  }

  #describe(request: StreamRequest, fault: number, explained: boolean): ReturnType<typeof faultOf> {
    const { sourceId, lo, hi, access } = request
    const requester = requesterOf(this.raw, { ...request, sourceIds: Uint32Array.of(sourceId) })
    return faultOf(requester, { index: 0, lo, hi, access }, fault, explained)
  }

  /** The oldest are kept: what a handler has not seen says more than what came after. */
  #collect(): void {
    const { interrupts_kept: most } = this.context.core.limits.call
    const room = Math.max(0, most - this.#interrupts.length)
    this.#interrupts.push(...this.raw.takeEvents().events.slice(0, room))
  }
}
