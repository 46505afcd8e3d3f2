/** Queues of a guest that hardware reads by itself, out of memory that stays where it is. [uAPI IOMMU_HW_QUEUE_ALLOC] */

import type { Access } from './access.js'
import type { Completion, HwQueueOps } from './driver.js'
import { IommuObject, OBJECT_TYPE } from './object.js'
import type { Viommu } from './viommu.js'

/** A hardware queue. */
export class HwQueue extends IommuObject {
  static override readonly label = 'a hardware queue'

  readonly type = OBJECT_TYPE.HW_QUEUE
  readonly kind = 'hardware queue'
  readonly viommu: Viommu
  readonly index: number
  readonly ops: HwQueueOps
  /** Keeps its memory pinned. */
  readonly access: Access
  /** The one that must outlive it. */
  readonly #previous: HwQueue | undefined

  constructor(id: number, viommu: Viommu, index: number, ops: HwQueueOps, access: Access) {
    super(id)
    this.viommu = viommu
    this.index = index
    this.ops = ops
    this.access = access
    this.#previous = ops.previous && viommu.hwQueues.get(ops.previous)
    this.#previous?.hold(this)
    viommu.hwQueues.set(ops, this)
    viommu.hold(this)
  }

  get holds(): readonly IommuObject[] {
    const held = [this.viommu, this.access]
    return this.#previous === undefined ? held : [...held, this.#previous]
  }

  override get facts(): Readonly<Record<string, string>> {
    return { index: String(this.index) }
  }

  destroy(): Completion {
    this.ops.destroy()
    this.viommu.hwQueues.delete(this.ops)
    this.#previous?.drop(this)
    this.viommu.drop(this)
    return this.access.release()
  }
}
