/** InvalidateIotlb: in each architecture's own terms, with partial success. [uAPI IOMMU_HWPT_INVALIDATE] */

import type { Call } from './call.js'
import { checkCount } from './checks.js'
import { detailOf, type RefusalDetail } from './detail.js'
import type { InvalidateEntries, InvalidateResult, IommuDriver } from './driver.js'
import { Refusal } from './refusal.js'
import { UserDomain } from './user-domain.js'
import { Viommu } from './viommu.js'

interface RangeEntries {
  readonly entries: readonly { readonly addr: bigint; readonly npages: bigint; readonly flags: number }[]
}

/** What InvalidateIotlb takes. */
export interface InvalidateRequest {
  readonly userDomainId?: number
  readonly viommuId?: number
  readonly vtdS1?: RangeEntries
  readonly smmuv3?: { readonly entries: readonly { readonly dw0: bigint; readonly dw1: bigint }[] }
  readonly smmuv3Pgd?: RangeEntries
}

/** Forgets what hardware cached; when the reply leaves, the hardware has completed it. */
export function invalidateIotlb(
  call: Call,
  request: InvalidateRequest,
): { doneCount: number; refusal?: RefusalDetail } {
  try {
    const entries = entriesOf(request)
    const { object, driver, invalidate } = targetOf(call, request)
    checkCount(call, entries.kind === 'vtd_s1' ? entries.entries.length : entries.commands.length)
    checkType(driver, entries)
    const { done, refusal, completion } = invalidate(entries)
    if (completion !== undefined) {
      object.hold(call)
      call.after(completion, () => object.drop(call))
    }
    return { doneCount: done, refusal: refusal === undefined ? undefined : detailOf(refusal) }
  } catch (error) {
    if (error instanceof Refusal) return { doneCount: 0, refusal: detailOf(error) }
    throw error
  }
}

interface Target {
  readonly object: UserDomain | Viommu
  readonly driver: IommuDriver
  readonly invalidate: (entries: InvalidateEntries) => InvalidateResult
}

function targetOf(call: Call, { userDomainId, viommuId }: InvalidateRequest): Target {
  const id = viommuId ?? userDomainId
  if (id === undefined) throw new Refusal('EINVAL', 'nothing is named: set user_domain_id or viommu_id')
  const found = call.context.objects.find(id)
  const is = call.context.objects.describe(id)
  if (found === undefined) throw new Refusal('ENOENT', is, { id })
  if (viommuId !== undefined) {
    if (found instanceof Viommu) {
      return { object: found, driver: found.ops.driver, invalidate: (entries) => found.ops.invalidate(entries) }
    }
    const also = found instanceof UserDomain ? '; name it as user_domain_id' : ''
    throw new Refusal('EINVAL', `viommu_id: ${is}, not a vIOMMU${also}`, { id })
  }
  if (!(found instanceof UserDomain)) {
    const also = found instanceof Viommu ? '; name it as viommu_id' : '; kernel-owned tables are flushed by unmapping'
    throw new Refusal('EINVAL', `user_domain_id: ${is}, not a user domain${also}`, { id })
  }
  const { ops, on } = found
  if (ops.invalidate === undefined) {
    const reason = `user domain ${id} is invalidated through its vIOMMU: name ${on.id} as viommu_id`
    throw new Refusal('EOPNOTSUPP', reason, { id, viommu: on.id })
  }
  return { object: found, driver: ops.driver, invalidate: (entries) => ops.invalidate!(entries) }
}

function entriesOf({ vtdS1, smmuv3, smmuv3Pgd }: InvalidateRequest): InvalidateEntries {
  if (vtdS1 !== undefined) return { kind: 'vtd_s1', entries: vtdS1.entries }
  if (smmuv3 !== undefined) return { kind: 'smmuv3', commands: smmuv3.entries }
  if (smmuv3Pgd !== undefined) {
    throw new Refusal('EOPNOTSUPP', 'smmuv3_pgd is for user domains in a window, and windows are not offered')
  }
  throw new Refusal('EINVAL', 'no entries are given: set vtd_s1 or smmuv3')
}

/** An empty list asks whether the type fits; an SMMUv3 refuses it even then, as the kernel does. */
function checkType(driver: IommuDriver, entries: InvalidateEntries): void {
  const fits = entries.kind === (driver.kind === 'vtd' ? 'vtd_s1' : 'smmuv3')
  if (!fits) {
    const wants = driver.kind === 'vtd' ? 'vtd_s1' : 'smmuv3'
    throw new Refusal('EINVAL', `${driver.name} takes entries of the type ${wants}`, { unit: driver.name })
  }
  if (entries.kind === 'smmuv3' && entries.commands.length === 0) {
    throw new Refusal('EINVAL', 'the list of commands is empty', { unit: driver.name })
  }
}
