/** InvalidateIotlb: in each architecture's own terms, with partial success. [uAPI IOMMU_HWPT_INVALIDATE] */

import type { Call } from './call.js'
import { checkCount } from './checks.js'
import { detailOf, type RefusalDetail } from './detail.js'
import type { InvalidateEntries, InvalidateResult, IommuDriver } from './driver.js'
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
interface InvalidateReply {
  readonly doneCount: number
  readonly refusal?: RefusalDetail
}

/** Forgets what hardware cached; when the reply leaves, the hardware has completed it. */
export function invalidateIotlb(call: Call, request: InvalidateRequest): InvalidateReply | Promise<InvalidateReply> {
  try {
    const entries = entriesOf(request)
    const target = targetOf(call, request)
    checkCount(call, countOf(entries))
    checkType(target.driver, entries)
    return call.inSlices(invalidation(call, target, entries))
  } catch (error) {
    if (error instanceof Refusal) return { doneCount: 0, refusal: detailOf(error) }
    throw error
  }
}

/** Piece by piece, each with its own SYNC or wait; the object stays until the last is done. */
function* invalidation(call: Call, { object, invalidate }: Target, entries: InvalidateEntries): Work<InvalidateReply> {
  const count = countOf(entries)
  object.hold(call)
  try {
    let doneCount = 0
    do {
      const piece = pieceOf(entries, doneCount)
      const { done, refusal, completion } = invalidate(piece)
      assert(refusal !== undefined || done > 0 || count === 0, 'a driver goes on, or says why not')
      yield completion
      doneCount += done
      if (refusal !== undefined) return { doneCount, refusal: told(refusal, doneCount) }
    } while (doneCount < count)
    return { doneCount }
  } finally {
    object.drop(call)
  }
}

const countOf = (entries: InvalidateEntries): number =>
  entries.kind === 'vtd_s1' ? entries.entries.length : entries.commands.length

function pieceOf(entries: InvalidateEntries, from: number): InvalidateEntries {
  const end = from + INVALIDATIONS_A_STEP
  if (entries.kind === 'vtd_s1') return { kind: 'vtd_s1', entries: entries.entries.slice(from, end) }
  return { kind: 'smmuv3', commands: entries.commands.slice(from, end) }
}

/** The driver counts from the start of its piece. */
function told(refusal: Refusal, index: number): RefusalDetail {
  const detail = detailOf(refusal)
  return 'index' in detail.context ? { ...detail, context: { ...detail.context, index: String(index) } } : detail
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
