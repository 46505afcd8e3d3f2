/** Calls about vIOMMUs and vDEVICEs. [uAPI IOMMU_VIOMMU_ALLOC, IOMMU_VDEVICE_ALLOC] */

import type { Call } from './call.js'
import { checkFlags } from './checks.js'
import { Device } from './device.js'
import type { UserData } from './driver.js'
import { PagingDomain } from './paging-domain.js'
import { Refusal } from './refusal.js'
import { hex } from './u64.js'
import { Vdevice, Viommu } from './viommu.js'

/** What CreateViommu takes. */
export interface ViommuRequest {
  readonly flags: number
  readonly type: number
  readonly deviceId: number
  readonly parentDomainId: number
}

/** Makes a vIOMMU on a nesting parent. */
export function createViommu(
  call: Call,
  request: ViommuRequest,
): { viommuId: number; mmapOffset: bigint; mmapLength: bigint } {
  const { id, mapPlace } = makeViommu(call, request)
  return { viommuId: id, mmapOffset: mapPlace?.offset ?? 0n, mmapLength: mapPlace?.length ?? 0n }
}

/** The same, with data of the type's own. [uAPI IOMMU_VIOMMU_ALLOC] */
export function makeViommu(call: Call, request: ViommuRequest, data?: UserData): Viommu {
  checkFlags(request.flags, 0)
  const { type } = request
  if (type === 0) throw new Refusal('EOPNOTSUPP', 'the type of the vIOMMU is not given: set ARM_SMMUV3')
  const { driver, device } = call.take(Device, request.deviceId, 'device_id').platform
  driver.checkViommu(device, type)
  const parent = call.take(PagingDomain, request.parentDomainId, 'parent_domain_id')
  if (!parent.flags.nestParent) {
    const reason = `paging domain ${parent.id} was made without the flag NEST_PARENT`
    throw new Refusal('EINVAL', reason, { parent_domain_id: parent.id })
  }
  if (parent.ops.driver !== driver) {
    const reason = `the parent belongs to ${parent.ops.driver.name}, and the device is behind ${driver.name}`
    throw new Refusal('EINVAL', reason, { parent_domain_id: parent.id })
  }
  const id = call.newId()
  return call.make(new Viommu(id, parent, driver.createViommu(device, parent.ops, type, data)))
}

/** Names a device inside a vIOMMU. */
export function createVdevice(
  call: Call,
  request: { readonly viommuId: number; readonly deviceId: number; readonly virtId: bigint },
): { vdeviceId: number } {
  const { virtId } = request
  const viommu = call.take(Viommu, request.viommuId, 'viommu_id')
  const device = call.take(Device, request.deviceId, 'device_id')
  const { driver } = device.platform
  if (driver !== viommu.ops.driver) {
    const reason = `the vIOMMU belongs to ${viommu.ops.driver.name}, and the device is behind ${driver.name}`
    throw new Refusal('EINVAL', reason, { viommu: viommu.id, device: device.id })
  }
  if (device.vdevice !== undefined) {
    const { id, viommu: there } = device.vdevice
    const reason = `device ${device.id} has a vDEVICE already, ${id} in vIOMMU ${there.id}`
    throw new Refusal('EEXIST', reason, { device: device.id, vdevice: id, viommu: there.id })
  }
  const taken = viommu.vdevices.get(virtId)
  if (taken !== undefined) {
    const reason = `the virtual id ${hex(virtId)} is vDEVICE ${taken.id}'s in this vIOMMU`
    throw new Refusal('EEXIST', reason, { virt_id: hex(virtId), vdevice: taken.id })
  }
  const id = call.newId()
  viommu.ops.addVdevice(device.platform.device, virtId)
  call.make(new Vdevice(id, viommu, device, virtId))
  return { vdeviceId: id }
}
