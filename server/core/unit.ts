/** A raw unit: a private SMMUv3 or VT-d, an object of its context, driven by its owner's registers and memory alone. */

import type { Context } from './context.js'
import type { Completion } from './driver.js'
import type { QuotaName } from './limits.js'
import type { RawUnit, UnitEvent } from './machine.js'
import { IommuObject, OBJECT_TYPE } from './object.js'

/** One raw unit, with its bus. */
export class Unit extends IommuObject {
  static override readonly label = 'a raw unit'

  readonly type = OBJECT_TYPE.UNIT
  readonly kind = 'raw unit'
  readonly context: Context
  readonly raw: RawUnit
  #interrupts: UnitEvent[] = []

  constructor(id: number, context: Context, raw: RawUnit) {
    super(id)
    this.context = context
    this.raw = raw
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

  /** Forgets interrupts that nobody took. */
  clearInterrupts(): void {
    this.#collect()
    this.#interrupts = []
  }

  destroy(): Completion {
    this.raw.destroy()
    return undefined
  }

  /** The oldest are kept: what a handler has not seen says more than what came after. */
  #collect(): void {
    const { interrupts_kept: most } = this.context.core.limits.call
    const room = Math.max(0, most - this.#interrupts.length)
    this.#interrupts.push(...this.raw.takeEvents().events.slice(0, room))
  }
}
