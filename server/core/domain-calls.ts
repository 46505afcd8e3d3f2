/** Calls that make domains, and that invalidate what hardware remembers of user tables. [uAPI IOMMU_HWPT_*] */

import type { Call } from './call.js'
import { checkFlags } from './checks.js'
import { Device } from './device.js'
import type { PagingFlags, UserDomainData, UserOps } from './driver.js'
import { HW_CAPABILITY } from './driver.js'
import { Ioas } from './ioas.js'
import { PagingDomain } from './paging-domain.js'
import { Refusal } from './refusal.js'
import { UserDomain } from './user-domain.js'
import { Viommu } from './viommu.js'
import type { Work } from './work.js'

/** The contract's HwptFlag. */
export const HWPT_FLAG = { NEST_PARENT: 1, DIRTY_TRACKING: 2, FAULT_ID_VALID: 4, PASID: 8 } as const

const { NEST_PARENT, DIRTY_TRACKING, FAULT_ID_VALID, PASID } = HWPT_FLAG

/** Makes a kernel-owned domain, which takes over every mapping of its IOAS. */
export function createPagingDomain(
  call: Call,
  request: {
    readonly flags: number
    readonly deviceId: number
    readonly ioasId: number
    readonly faultQueueId: number
  },
): { domainId: number } | Promise<{ domainId: number }> {
  return call.inSlices(makePaging(call, request))
}

function* makePaging(call: Call, request: Parameters<typeof createPagingDomain>[1]): Work<{ domainId: number }> {
  const { flags } = request
  const device = call.take(Device, request.deviceId, 'device_id')
  const ioas = ioasOf(call, request.ioasId)
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
  const id = call.newId()
  const ops = driver.createPaging(hardware, pagingFlags)
  const domain = call.make(new PagingDomain(id, ioas, ops, pagingFlags, false))
  yield* ioas.join(domain)
  refuseFaultQueue(flags, request.faultQueueId)
  return { domainId: id }
}

/** What CreateUserDomain takes. */
export interface UserDomainRequest {
  readonly flags: number
  readonly deviceId: number
  readonly parentDomainId?: number
  readonly viommuId?: number
  readonly windowId?: number
  readonly vtdS1?: { readonly flags: bigint; readonly pgtblAddr: bigint; readonly addrWidth: number }
  readonly smmuv3Ste?: { readonly ste0: bigint; readonly ste1: bigint }
  readonly smmuv3Pgd?: object
  readonly faultQueueId: number
}

/** Makes a domain whose tables the client keeps in guest memory. */
export function createUserDomain(call: Call, request: UserDomainRequest): { domainId: number } {
  const data = dataOf(request)
  const device = call.take(Device, request.deviceId, 'device_id')
  const { on, make } = targetOf(call, device, request)
  const id = call.newId()
  const ops = make(data)
  const pasidCompatible = (request.flags & PASID) !== 0
  const domain = call.make(new UserDomain(id, on, ops, pasidCompatible))
  refuseFaultQueue(request.flags, request.faultQueueId)
  return { domainId: domain.id }
}

interface Target {
  readonly on: PagingDomain | Viommu
  readonly make: (data: UserDomainData) => UserOps
}

function targetOf(call: Call, device: Device, request: UserDomainRequest): Target {
  if (request.windowId !== undefined) {
    throw new Refusal('EOPNOTSUPP', 'windows are not offered; use a vIOMMU and an STE', { window: request.windowId })
  }
  if (request.viommuId !== undefined) return onViommu(call, device, request, request.viommuId)
  if (request.parentDomainId !== undefined) return onParent(call, device, request, request.parentDomainId)
  throw new Refusal(
    'EINVAL',
    'nothing says what the tables’ own addresses go through: set parent_domain_id or viommu_id',
  )
}

/** VT-d: on the nesting parent itself. */
function onParent(call: Call, device: Device, { flags, vtdS1 }: UserDomainRequest, id: number): Target {
  const { driver, device: hardware } = device.platform
  const parent = call.context.objects.find(id)
  if (!(parent instanceof PagingDomain)) {
    const also = parent instanceof Viommu ? '; name it as viommu_id' : ''
    const reason = `parent_domain_id: ${call.context.objects.describe(id)}, not a paging domain${also}`
    throw new Refusal('EINVAL', reason, { parent_domain_id: id })
  }
  call.change(parent)
  checkFlags(flags, FAULT_ID_VALID | PASID)
  if (driver.kind === 'smmuv3') {
    const reason =
      'an SMMUv3 makes user domains on a vIOMMU: CreateViommu on this parent first, and name it as viommu_id'
    throw new Refusal('EOPNOTSUPP', reason, { unit: driver.name, parent_domain_id: id })
  }
  if (parent.isAuto || !parent.flags.nestParent) {
    const made = parent.isAuto ? 'made for an attach to an IOAS' : 'made without the flag NEST_PARENT'
    throw new Refusal('EINVAL', `paging domain ${id} was ${made}, and is no nesting parent`, { parent_domain_id: id })
  }
  if (parent.ops.driver !== driver) throw otherUnit(parent.ops.driver.name, driver.name)
  if (vtdS1 === undefined) {
    throw new Refusal('EOPNOTSUPP', `${driver.name} is a VT-d: its tables are described by vtd_s1`, {
      unit: driver.name,
    })
  }
  return { on: parent, make: (data) => driver.createUserDomain(hardware, parent.ops, data) }
}

/** SMMUv3: on a vIOMMU, which stands on the parent. */
function onViommu(call: Call, device: Device, { flags, smmuv3Ste }: UserDomainRequest, id: number): Target {
  const { driver, device: hardware } = device.platform
  const viommu = call.context.objects.find(id)
  if (!(viommu instanceof Viommu)) {
    const also = driver.kind === 'vtd' ? '; a VT-d has none, so name the nesting parent as parent_domain_id' : ''
    const reason = `viommu_id: ${call.context.objects.describe(id)}, not a vIOMMU${also}`
    throw new Refusal('EINVAL', reason, { viommu_id: id })
  }
  call.change(viommu)
  if (viommu.ops.driver !== driver) throw otherUnit(viommu.ops.driver.name, driver.name)
  checkFlags(flags, FAULT_ID_VALID | PASID)
  if ((flags & PASID) !== 0) {
    const reason = 'an SMMUv3 user domain binds the RID and all its PASIDs; the flag PASID is for single ones'
    throw new Refusal('EOPNOTSUPP', reason, { flags })
  }
  if (smmuv3Ste === undefined) {
    throw new Refusal('EINVAL', `${driver.name} is an SMMUv3: its tables are described by smmuv3_ste`, {
      unit: driver.name,
    })
  }
  return { on: viommu, make: (data) => viommu.ops.createUserDomain(hardware, data) }
}

function dataOf({ vtdS1, smmuv3Ste, smmuv3Pgd }: UserDomainRequest): UserDomainData {
  if (vtdS1 !== undefined) return { ...vtdS1, kind: 'vtd_s1' }
  if (smmuv3Ste !== undefined) return { ...smmuv3Ste, kind: 'smmuv3_ste' }
  if (smmuv3Pgd !== undefined) {
    throw new Refusal('EOPNOTSUPP', 'smmuv3_pgd needs a window, and windows are not offered; use smmuv3_ste')
  }
  throw new Refusal('EINVAL', 'nothing describes the tables: set vtd_s1 or smmuv3_ste')
}

function ioasOf(call: Call, id: number): Ioas {
  const found = call.context.objects.find(id)
  if (found instanceof Ioas) return call.change(found)
  const reason = `ioas_id: ${call.context.objects.describe(id)}, not an IOAS`
  throw new Refusal('EINVAL', reason, { ioas_id: id })
}

/** The last check of the kernel's order: everything before is done and is undone again. */
function refuseFaultQueue(flags: number, id: number): void {
  if ((flags & FAULT_ID_VALID) === 0) return
  throw new Refusal('ENOENT', `id ${id} is no fault queue; fault queues are not offered`, { fault_queue_id: id })
}

const otherUnit = (ofTarget: string, ofDevice: string): Refusal =>
  new Refusal('EINVAL', `it belongs to ${ofTarget}, and the device is behind ${ofDevice}`, {
    target_unit: ofTarget,
    device_unit: ofDevice,
  })
