/** Calls that make domains, by the typed messages. [uAPI IOMMU_HWPT_ALLOC] */

import type { Call } from './call.js'
import { Device } from './device.js'
import { givenData, type SmmuRoot, type UserData } from './driver.js'
import { allocHwpt } from './hwpt-alloc.js'
import { Ioas } from './ioas.js'
import { PagingDomain } from './paging-domain.js'
import { Refusal } from './refusal.js'
import { Viommu } from './viommu.js'
import { Window } from './window.js'

/** What CreatePagingDomain takes. */
export interface PagingDomainRequest {
  readonly flags: number
  readonly deviceId: number
  readonly ioasId: number
  readonly faultQueueId: number
}

/** Makes a kernel-owned domain, which takes over every mapping of its IOAS. */
export function createPagingDomain(
  call: Call,
  request: PagingDomainRequest,
): { domainId: number } | Promise<{ domainId: number }> {
  const { ioasId: ptId, ...rest } = request
  call.look(Device, request.deviceId, 'device_id')
  if (!(call.context.objects.find(ptId) instanceof Ioas)) {
    const reason = `ioas_id: ${call.context.objects.describe(ptId)}, not an IOAS`
    throw new Refusal('EINVAL', reason, { ioas_id: ptId })
  }
  return call.inSlices(
    (function* () {
      return { domainId: (yield* allocHwpt(call, { ...rest, ptId })).id }
    })(),
  )
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
  readonly smmuv3Pgd?: SmmuRoot
  readonly faultQueueId: number
}

/** Makes a domain whose tables the client keeps in guest memory. */
export function createUserDomain(
  call: Call,
  request: UserDomainRequest,
): { domainId: number } | Promise<{ domainId: number }> {
  refuseExtension(call, request)
  const data = dataOf(request)
  const { flags, deviceId, faultQueueId } = request
  const device = call.look(Device, deviceId, 'device_id')
  const ptId = targetOf(call, device, request)
  return call.inSlices(
    (function* () {
      return { domainId: (yield* allocHwpt(call, { flags, deviceId, faultQueueId, ptId, data })).id }
    })(),
  )
}

/** The typed call says what it names. */
function targetOf(call: Call, device: Device, request: UserDomainRequest): number {
  const { parentDomainId, viommuId, windowId } = request
  const { objects } = call.context
  const { nestsOnParent } = device.platform.driver
  if (windowId !== undefined) return checkWindow(call, windowId, request)
  if (request.smmuv3Pgd !== undefined && !nestsOnParent) {
    const reason = 'smmuv3_pgd is one root in a window: CreateWindow on the parent first, and name it as window_id'
    throw new Refusal('EINVAL', reason, { viommu_id: viommuId ?? 0, parent_domain_id: parentDomainId ?? 0 })
  }
  if (viommuId !== undefined) {
    const found = objects.find(viommuId)
    if (found instanceof Viommu) return viommuId
    const instead = found instanceof Window ? '; name it as window_id' : ''
    const also = nestsOnParent ? '; a VT-d has none, so name the nesting parent as parent_domain_id' : instead
    const reason = `viommu_id: ${objects.describe(viommuId)}, not a vIOMMU${also}`
    throw new Refusal('EINVAL', reason, { viommu_id: viommuId })
  }
  if (parentDomainId !== undefined) {
    const parent = objects.find(parentDomainId)
    if (parent instanceof PagingDomain) {
      if (nestsOnParent && parent.flags.nestParent) refuseForeign(parent, device)
      return parentDomainId
    }
    const instead = parent instanceof Window ? '; name it as window_id' : ''
    const also = parent instanceof Viommu ? '; name it as viommu_id' : instead
    const reason = `parent_domain_id: ${objects.describe(parentDomainId)}, not a paging domain${also}`
    throw new Refusal('EINVAL', reason, { parent_domain_id: parentDomainId })
  }
  throw new Refusal(
    'EINVAL',
    'nothing says what the tables’ own addresses go through: set parent_domain_id, viommu_id or window_id',
  )
}

/** A window takes one root, and nothing else. @throws Refusal EINVAL */
function checkWindow(call: Call, id: number, { smmuv3Pgd }: UserDomainRequest): number {
  const { objects } = call.context
  const facts = { window_id: id }
  if (!(objects.find(id) instanceof Window)) {
    throw new Refusal('EINVAL', `window_id: ${objects.describe(id)}, not a window`, facts)
  }
  if (smmuv3Pgd === undefined) {
    throw new Refusal('EINVAL', 'a window takes one root, smmuv3_pgd; other tables are for a vIOMMU or a parent', facts)
  }
  return id
}

/** What no kernel has is refused where the daemon is to be like one. @throws Refusal EOPNOTSUPP */
function refuseExtension({ core }: Call, { windowId, smmuv3Pgd }: UserDomainRequest): void {
  if (!core.facts.strict || (windowId === undefined && smmuv3Pgd === undefined)) return
  throw new Refusal('EOPNOTSUPP', 'window_id and smmuv3_pgd are extensions, and the daemon runs with --strict')
}

/** What no attach will take is refused here; the ioctl makes it, as the kernel does. @throws Refusal EINVAL */
function refuseForeign({ ops }: PagingDomain, { platform }: Device): void {
  const [target, own] = [ops.driver, platform.driver]
  if (target === own || target.kind !== own.kind) return
  const reason = `the parent was made for ${target.name}, and the device is behind ${own.name}`
  throw new Refusal('EINVAL', reason, { target_unit: target.name, device_unit: own.name })
}

/** Bits of VtdS1.flags: SRE, EAFE, WPE. */
const VTD_S1_FLAGS = 7n

function dataOf({ vtdS1, smmuv3Ste, smmuv3Pgd }: UserDomainRequest): UserData {
  if (vtdS1 !== undefined) {
    const unknown = vtdS1.flags & ~VTD_S1_FLAGS
    if (unknown === 0n) return givenData('vtd_s1', vtdS1)
    const reason = `flag bits 0x${unknown.toString(16)} of vtd_s1 are not known here`
    throw new Refusal('EOPNOTSUPP', reason, { flags: vtdS1.flags })
  }
  if (smmuv3Ste !== undefined) return givenData('smmuv3_ste', smmuv3Ste)
  if (smmuv3Pgd !== undefined) return givenData('smmuv3_pgd', smmuv3Pgd)
  throw new Refusal('EINVAL', 'nothing describes the tables: set vtd_s1, smmuv3_ste or smmuv3_pgd')
}
