/** vIOMMUs and vDEVICEs: a slice of a unit for one guest, and the guest's names of devices in it. */

import type { Context } from './context.js'
import type { Device } from './device.js'
import type { Completion, HwQueueOps, ViommuOps } from './driver.js'
import type { HwQueue } from './hw-queue.js'
import type { MapPlace } from './map-space.js'
import { IommuObject, OBJECT_TYPE } from './object.js'
import type { PagingDomain } from './paging-domain.js'
import { hex } from './u64.js'
import type { Veventq } from './veventq.js'

/** A virtual IOMMU. [uAPI IOMMU_VIOMMU_ALLOC] */
export class Viommu extends IommuObject {
  static override readonly label = 'a vIOMMU'

  readonly type = OBJECT_TYPE.VIOMMU
  readonly kind = 'vIOMMU'
  readonly parent: PagingDomain
  readonly ops: ViommuOps
  /** By the guest's name. */
  readonly vdevices = new Map<bigint, Vdevice>()
  /** By the type of their events. */
  readonly veventqs = new Map<number, Veventq>()
  readonly hwQueues = new Map<HwQueueOps, HwQueue>()
  /** Where its page can be mapped, if it has one. */
  readonly mapPlace: MapPlace | undefined

  constructor(id: number, parent: PagingDomain, ops: ViommuOps) {
    super(id)
    this.parent = parent
    this.ops = ops
    this.mapPlace = ops.page && this.context.maps.add(this, ops.page)
    this.context.core.viommus.set(ops, this)
    parent.hold(this)
  }

  get context(): Context {
    return this.parent.ioas.context
  }

  get holds(): readonly IommuObject[] {
    return [this.parent]
  }

  override get facts(): Readonly<Record<string, string>> {
    return { unit: this.ops.driver.name, vdevices: String(this.vdevices.size) }
  }

  destroy(): Completion {
    const { maps, core } = this.context
    if (this.mapPlace !== undefined) maps.remove(this.mapPlace)
    core.viommus.delete(this.ops)
    this.ops.destroy()
    this.parent.drop(this)
    return undefined
  }
}

/** A device's place in a vIOMMU. [uAPI IOMMU_VDEVICE_ALLOC] */
export class Vdevice extends IommuObject {
  static override readonly label = 'a vDEVICE'

  readonly type = OBJECT_TYPE.VDEVICE
  readonly kind = 'vDEVICE'
  readonly viommu: Viommu
  readonly device: Device
  /** All of u64. */
  readonly virtId: bigint

  /** The driver knows it already. */
  constructor(id: number, viommu: Viommu, device: Device, virtId: bigint) {
    super(id)
    this.viommu = viommu
    this.device = device
    this.virtId = virtId
    viommu.vdevices.set(virtId, this)
    device.vdevice = this
    viommu.hold(this)
    device.hold(this)
  }

  get holds(): readonly IommuObject[] {
    return [this.viommu, this.device]
  }

  override get facts(): Readonly<Record<string, string>> {
    return { virt_id: hex(this.virtId), device: this.device.platform.name }
  }

  destroy(): Completion {
    this.viommu.ops.removeVdevice(this.device.platform.device)
    this.viommu.vdevices.delete(this.virtId)
    this.device.vdevice = undefined
    this.viommu.drop(this)
    this.device.drop(this)
    return undefined
  }
}
