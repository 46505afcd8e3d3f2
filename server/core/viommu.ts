/** vIOMMUs and vDEVICEs: a slice of a unit for one guest, and the guest's names of devices in it. */

import type { Device } from './device.js'
import type { Completion, ViommuOps } from './driver.js'
import { IommuObject, OBJECT_TYPE } from './object.js'
import type { PagingDomain } from './paging-domain.js'
import { hex } from './u64.js'

/** A virtual IOMMU. [uAPI IOMMU_VIOMMU_ALLOC] */
export class Viommu extends IommuObject {
  static override readonly label = 'a vIOMMU'

  readonly type = OBJECT_TYPE.VIOMMU
  readonly kind = 'vIOMMU'
  readonly parent: PagingDomain
  readonly ops: ViommuOps
  /** By the guest's name. */
  readonly vdevices = new Map<bigint, Vdevice>()

  constructor(id: number, parent: PagingDomain, ops: ViommuOps) {
    super(id)
    this.parent = parent
    this.ops = ops
    parent.hold(this)
  }

  get holds(): readonly IommuObject[] {
    return [this.parent]
  }

  override get facts(): Readonly<Record<string, string>> {
    return { unit: this.ops.driver.name, vdevices: String(this.vdevices.size) }
  }

  destroy(): Completion {
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
