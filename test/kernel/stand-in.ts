/**
 * Objects of kinds that core does not make (fault queues, event queues, hardware queues, the kernel's own test
 * devices). They keep a recording's ids and users in step, and nothing else.
 */

import type { Context } from '../../server/core/context.js'
import type { Completion } from '../../server/core/driver.js'
import { IommuObject, type ObjectType } from '../../server/core/object.js'

/** A number with a kind, and what it holds. */
export class StandIn extends IommuObject {
  static override readonly label = 'a stand-in'

  readonly type = 0 as ObjectType
  readonly kind: string
  readonly holds: readonly IommuObject[]
  readonly #whenDestroyed: () => void

  private constructor(id: number, kind: string, holds: readonly IommuObject[], whenDestroyed: () => void) {
    super(id)
    this.kind = kind
    this.holds = holds
    this.#whenDestroyed = whenDestroyed
    for (const held of holds) held.hold(this)
  }

  /** Publishes one under the lowest free id. */
  static make(context: Context, kind: string, holds: readonly IommuObject[] = [], whenDestroyed = () => {}): StandIn {
    context.quota.charge('objects')
    const made = new StandIn(context.objects.reserve(), kind, holds, whenDestroyed)
    context.objects.publish(made)
    return made
  }

  destroy(): Completion {
    for (const held of this.holds) held.drop(this)
    this.#whenDestroyed()
    return undefined
  }
}
