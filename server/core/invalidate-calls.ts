/** InvalidateIotlb: in each architecture's own terms, with partial success. [uAPI IOMMU_HWPT_INVALIDATE] */

import type { Call } from './call.js'
import { checkCount } from './checks.js'
import { detailOf, type RefusalDetail } from './detail.js'
import { givenEntries, type InvalidateArray, type InvalidateResult } from './driver.js'
import { INVALIDATIONS_A_STEP } from './limits.js'
import { assert, Refusal } from './refusal.js'
import { UserDomain } from './user-domain.js'
import { Viommu } from './viommu.js'
import type { Work } from './work.js'

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

/** What InvalidateIotlb answers. */
export interface InvalidateReply {
  readonly doneCount: number
  readonly refusal?: RefusalDetail
}

/** Forgets what hardware cached; when the reply leaves, the hardware has completed it. */
export function invalidateIotlb(call: Call, request: InvalidateRequest): InvalidateReply | Promise<InvalidateReply> {
  try {
    const entries = entriesOf(call, request)
    const id = checkTarget(call, request)
    checkCount(call, entries.count)
    return invalidateObject(call, id, entries)
  } catch (error) {
    if (error instanceof Refusal) return { doneCount: 0, refusal: detailOf(error) }
    throw error
  }
}

/** The same for whatever an id names, as the ioctl does. [uAPI IOMMU_HWPT_INVALIDATE] */
export function invalidateObject(
  call: Call,
  id: number,
  entries: InvalidateArray,
): InvalidateReply | Promise<InvalidateReply> {
  try {
    const target = targetOf(call, id)
    return call.inSlices(invalidation(call, target, entries))
  } catch (error) {
    if (error instanceof Refusal) return { doneCount: 0, refusal: detailOf(error) }
    throw error
  }
}

/** Piece by piece, each with its own SYNC or wait; the object stays until the last is done. */
function* invalidation(call: Call, { object, invalidate }: Target, entries: InvalidateArray): Work<InvalidateReply> {
  const { count } = entries
  object.hold(call)
  let doneCount = 0
  try {
    do {
      const end = Math.min(count, doneCount + INVALIDATIONS_A_STEP)
      const { done, refusal, completion, failure } = invalidate(entries, doneCount, end)
      assert(refusal !== undefined || done > 0 || count === 0, 'a driver goes on, or says why not')
      yield completion
      doneCount += done
      const late = failure?.()
      if (late !== undefined) return { doneCount: doneCount - 1, refusal: told(late, doneCount - 1) }
      if (refusal !== undefined) return { doneCount, refusal: told(refusal, doneCount) }
    } while (doneCount < count)
    return { doneCount }
  } catch (error) {
    if (error instanceof Refusal) return { doneCount, refusal: told(error, doneCount) }
    throw error
  } finally {
    object.drop(call)
  }
}

/** The driver counts from the start of its piece. */
function told(refusal: Refusal, index: number): RefusalDetail {
  const detail = detailOf(refusal)
  return 'index' in detail.context ? { ...detail, context: { ...detail.context, index: String(index) } } : detail
}

interface Target {
  readonly object: UserDomain | Viommu
  readonly invalidate: (entries: InvalidateArray, from: number, end: number) => InvalidateResult
}

/** The typed call says what it names. */
function checkTarget(call: Call, { userDomainId, viommuId, smmuv3Pgd }: InvalidateRequest): number {
  const id = viommuId ?? userDomainId
  if (id === undefined) throw new Refusal('EINVAL', 'nothing is named: set user_domain_id or viommu_id')
  const found = call.context.objects.find(id)
  if (viommuId !== undefined && found instanceof UserDomain) {
    const reason = `viommu_id: id ${id} is a user domain, not a vIOMMU; name it as user_domain_id`
    throw new Refusal('EINVAL', reason, { id })
  }
  if (viommuId === undefined && found instanceof Viommu) {
    const reason = `user_domain_id: id ${id} is a vIOMMU, not a user domain; name it as viommu_id`
    throw new Refusal('EINVAL', reason, { id })
  }
  if (smmuv3Pgd !== undefined && found !== undefined && !(found instanceof UserDomain && found.window !== undefined)) {
    const reason = `${call.context.objects.describe(id)}, not made in a window; smmuv3_pgd is for those that are`
    throw new Refusal('EINVAL', reason, { id })
  }
  return id
}

function targetOf(call: Call, id: number): Target {
  const found = call.context.objects.find(id)
  const is = call.context.objects.describe(id)
  if (found === undefined) throw new Refusal('ENOENT', is, { id })
  if (found instanceof Viommu) {
    const { ops } = found
    if (ops.invalidate === undefined) throw new Refusal('EOPNOTSUPP', `vIOMMU ${id} has no invalidations`, { id })
    return { object: found, invalidate: ops.invalidate.bind(ops) }
  }
  if (!(found instanceof UserDomain)) {
    const reason = `${is}, not a user domain or vIOMMU; kernel-owned tables are flushed by unmapping`
    throw new Refusal('EINVAL', reason, { id })
  }
  const { ops, on } = found
  if (ops.invalidate === undefined) {
    const reason = `user domain ${id} is invalidated through its vIOMMU: name ${on.id} as viommu_id`
    throw new Refusal('EOPNOTSUPP', reason, { id, viommu: on.id })
  }
  return { object: found, invalidate: ops.invalidate.bind(ops) }
}

function entriesOf({ core }: Call, { vtdS1, smmuv3, smmuv3Pgd }: InvalidateRequest): InvalidateArray {
  if (vtdS1 !== undefined) return givenEntries('vtd_s1', vtdS1.entries)
  if (smmuv3 !== undefined) return givenEntries('smmuv3', smmuv3.entries)
  if (smmuv3Pgd !== undefined) {
    if (!core.facts.strict) return givenEntries('smmuv3_pgd', smmuv3Pgd.entries)
    throw new Refusal('EOPNOTSUPP', 'smmuv3_pgd is an extension, and the daemon runs with --strict')
  }
  throw new Refusal('EINVAL', 'no entries are given: set vtd_s1, smmuv3 or smmuv3_pgd')
}
