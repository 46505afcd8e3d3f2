/** Making domains, in the kernel's order of checks. The typed methods and the ioctl come here. [uAPI IOMMU_HWPT_ALLOC] */

import type { Call } from './call.js'
import { checkFlags } from './checks.js'
import { Device } from './device.js'
import { HW_CAPABILITY, type PagingFlags, type UserData } from './driver.js'
import { FaultQueue } from './fault-queue.js'
import { Ioas } from './ioas.js'
import { PagingDomain } from './paging-domain.js'
import { Refusal } from './refusal.js'
import { UserDomain } from './user-domain.js'
import { Viommu } from './viommu.js'
import { Window } from './window.js'
import type { Work } from './work.js'

/** The contract's HwptFlag. */
export const HWPT_FLAG = { NEST_PARENT: 1, DIRTY_TRACKING: 2, FAULT_ID_VALID: 4, PASID: 8 } as const

const { NEST_PARENT, DIRTY_TRACKING, FAULT_ID_VALID, PASID } = HWPT_FLAG

/** What a domain is made of. */
export interface HwptRequest {
  readonly flags: number
  readonly deviceId: number
  /** An IOAS, a nesting parent, a vIOMMU or a window. */
  readonly ptId: number
  readonly data?: UserData
  readonly faultQueueId: number
}

/** Makes a domain of the kind that its `ptId` asks for. */
export function* allocHwpt(call: Call, request: HwptRequest): Work<PagingDomain | UserDomain> {
  const device = call.take(Device, request.deviceId, 'device_id')
  const { ptId } = request
  const on = call.context.objects.find(ptId)
  let made: PagingDomain | UserDomain
  if (on instanceof Ioas) made = yield* makePaging(call, device, call.change(on), request)
  else if (on instanceof PagingDomain) made = onParent(call, device, call.change(on), request)
  else if (on instanceof Viommu) made = onViommu(call, device, call.change(on), request)
  else if (on instanceof Window) made = onWindow(call, device, call.change(on), request)
  else {
    const reason = `pt_id: ${call.context.objects.describe(ptId)}, not an IOAS, a nesting parent, a vIOMMU or a window`
    throw new Refusal('EINVAL', reason, { pt_id: ptId })
  }
  if ((request.flags & FAULT_ID_VALID) !== 0) made.takeFaults(faultQueueOf(call, request))
  return made
}

/** A kernel-owned domain, which takes over every mapping of its IOAS. */
function* makePaging(call: Call, device: Device, ioas: Ioas, { flags, data }: HwptRequest): Work<PagingDomain> {
  checkFlags(flags, NEST_PARENT | DIRTY_TRACKING | FAULT_ID_VALID | PASID)
  const { driver, device: hardware } = device.platform
  if ((flags & DIRTY_TRACKING) !== 0 && (hardware.capabilities & HW_CAPABILITY.DIRTY_TRACKING) === 0) {
    throw new Refusal('EOPNOTSUPP', 'no dirty tracking: GetHwInfo does not tell the capability', { unit: driver.name })
  }
  if ((flags & FAULT_ID_VALID) !== 0 && (flags & NEST_PARENT) !== 0) {
    throw new Refusal('EOPNOTSUPP', 'a nesting parent has no fault queue: guests’ faults go with the user domain')
  }
  const pagingFlags: PagingFlags = {
    nestParent: (flags & NEST_PARENT) !== 0,
    dirtyTracking: (flags & DIRTY_TRACKING) !== 0,
    pasid: (flags & PASID) !== 0,
  }
  const id = call.newId('domains')
  const ops = driver.createPaging(hardware, pagingFlags, data)
  const domain = call.make(new PagingDomain(id, ioas, ops, pagingFlags, false, hardware.enforcesCoherency))
  yield* ioas.join(domain)
  return domain
}

/** VT-d: on the nesting parent itself. */
function onParent(call: Call, device: Device, parent: PagingDomain, { flags, data }: HwptRequest): UserDomain {
  const { driver, device: hardware } = device.platform
  const { id } = parent
  checkFlags(flags, FAULT_ID_VALID | PASID)
  if (data === undefined) throw new Refusal('EOPNOTSUPP', 'nothing describes the tables of the user domain')
  if (!driver.nestsOnParent) {
    const reason = `${driver.name} makes user domains on a vIOMMU: CreateViommu on this parent first, and name it as viommu_id`
    throw new Refusal('EOPNOTSUPP', reason, { unit: driver.name, parent_domain_id: id })
  }
  if (parent.isAuto || !parent.flags.nestParent) {
    const made = parent.isAuto ? 'made for an attach to an IOAS' : 'made without the flag NEST_PARENT'
    throw new Refusal('EINVAL', `paging domain ${id} was ${made}, and is no nesting parent`, { parent_domain_id: id })
  }
  // Of another unit of the same kind its driver decides; of another kind nobody could.
  if (parent.ops.driver.kind !== driver.kind) throw otherUnit(parent.ops.driver.name, driver.name)
  const newId = call.newId()
  const userFlags = { pasid: (flags & PASID) !== 0 }
  const ops = driver.createUserDomain(hardware, parent.ops, data, userFlags)
  return call.make(new UserDomain(newId, parent, ops, userFlags.pasid))
}

/** SMMUv3: on a vIOMMU, which stands on the parent. */
function onViommu(call: Call, device: Device, viommu: Viommu, { flags, data }: HwptRequest): UserDomain {
  const { driver, device: hardware } = device.platform
  if (viommu.ops.driver !== driver) throw otherUnit(viommu.ops.driver.name, driver.name)
  checkFlags(flags, FAULT_ID_VALID | PASID)
  if (data === undefined) throw new Refusal('EOPNOTSUPP', 'nothing describes the tables of the user domain')
  const newId = call.newId()
  const userFlags = { pasid: (flags & PASID) !== 0 }
  const ops = viommu.ops.createUserDomain(hardware, data, userFlags)
  return call.make(new UserDomain(newId, viommu, ops, userFlags.pasid))
}

/** SMMUv3: one root in a window, for a PASID of the RID that has the window. */
function onWindow(call: Call, device: Device, window: Window, { flags, data }: HwptRequest): UserDomain {
  const { driver, device: hardware } = device.platform
  if (window.ops.driver !== driver) throw otherUnit(window.ops.driver.name, driver.name)
  checkFlags(flags, FAULT_ID_VALID | PASID)
  if (data === undefined) throw new Refusal('EOPNOTSUPP', 'nothing describes the tables of the user domain')
  const newId = call.newId()
  // It is for PASIDs, whether or not the flag says so.
  return call.make(new UserDomain(newId, window, window.ops.createUserDomain(hardware, data), true))
}

/** The last check of the kernel's order: everything before is done and is undone again. @throws Refusal ENOENT */
function faultQueueOf(call: Call, { faultQueueId: id }: HwptRequest): FaultQueue {
  const { objects } = call.context
  const found = objects.find(id)
  if (found instanceof FaultQueue) return found
  throw new Refusal('ENOENT', `fault_queue_id: ${objects.describe(id)}, not a fault queue`, { fault_queue_id: id })
}

const otherUnit = (ofTarget: string, ofDevice: string): Refusal =>
  new Refusal('EINVAL', `it belongs to ${ofTarget}, and the device is behind ${ofDevice}`, {
    target_unit: ofTarget,
    device_unit: ofDevice,
  })
