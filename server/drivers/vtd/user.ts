/**
 * User domains: one first-stage table in the client's memory, reached through its nesting parent. Each attachment
 * binds it to one RID + PASID, or to a RID's own requests. [VTD 3.8 Nested Translation]
 */

import {
  assert,
  type InvalidateArray,
  type InvalidateResult,
  type IommuDriver,
  Refusal,
  type UserDataOf,
  type UserOps,
  type VtdInvalidation,
} from '../../core/driver.js'
import { LEAF, refusalOf } from '../range-entry.js'
import { Bindings } from './bindings.js'
import { blockAround, EVERY_PAGE, type Flush, type PageBlock } from './descriptors.js'
import { changesAStep, flushDescriptors } from './flush.js'
import type { DomainHost, PagingDomain } from './paging.js'

/** [uAPI enum iommu_hwpt_vtd_s1_flags] Other bits are ignored, as the kernel does. */
export const VTD_S1_FLAG = { SRE: 1n, EAFE: 2n, WPE: 4n } as const

/** What the client handed over. */
export type FirstStageData = UserDataOf['vtd_s1']

/** A client's first-stage table on a nesting parent. */
export class UserDomain implements UserOps {
  readonly kind = 'user'
  readonly driver: IommuDriver
  readonly parent: PagingDomain
  readonly data: FirstStageData
  readonly bindings: Bindings
  takesFaults?: boolean
  readonly #host: DomainHost

  constructor(host: DomainHost, parent: PagingDomain, data: FirstStageData) {
    this.#host = host
    this.driver = host.driver
    this.parent = parent
    this.data = data
    this.bindings = new Bindings(host.ids, parent.bindings)
    parent.nestedUsers++
  }

  destroy(): void {
    assert(this.bindings.users === 0, 'a domain is destroyed when nothing is attached')
    this.parent.nestedUsers--
  }

  /** Its tables are reached through a parent of the same unit. @throws Refusal EINVAL */
  checkParent(): void {
    const { name } = this.parent.driver
    if (this.parent.driver === this.driver) return
    const reason = `its nesting parent was made for ${name}, and the device is behind ${this.driver.name}`
    throw new Refusal('EINVAL', reason, { target_unit: name, device_unit: this.driver.name })
  }

  /**
   * What an attachment checks of the guest's data, and nothing does before. An address that the entry cannot hold is
   * written as it is, as the kernel does: then every request of the slot faults. @throws Refusal EINVAL
   */
  checkTable(): void {
    const { cap, ecap } = this.#host.hardware
    const { addrWidth, flags } = this.data
    const widths = cap['FS5LP'] ? [48, 57] : [48]
    if (!widths.includes(addrWidth)) {
      throw new Refusal('EINVAL', `addr_width ${addrWidth} is not offered by this unit`, { offered: widths })
    }
    if (flags & VTD_S1_FLAG.SRE && !ecap['SRS']) {
      throw new Refusal('EINVAL', 'SRE needs supervisor requests, which ECAP.SRS denies', { flags })
    }
    if (flags & VTD_S1_FLAG.EAFE && !ecap['EAFS']) {
      throw new Refusal('EINVAL', 'EAFE needs the extended access flag, which ECAP.EAFS denies', { flags })
    }
  }

  /**
   * As many entries as a step of work holds: each is a descriptor for every slot that the domain is in.
   * [uAPI IOMMU_HWPT_INVALIDATE, IOMMU_HWPT_INVALIDATE_DATA_VTD_S1]
   */
  invalidate(entries: InvalidateArray, from: number, end: number): InvalidateResult {
    if (entries.kind !== 'vtd_s1') {
      throw new Refusal('EINVAL', 'a VT-d user domain takes entries of the type vtd_s1: {addr, npages, flags}')
    }
    const { hardware, flusher } = this.#host
    const { tags } = this.bindings
    const flushes: Flush[] = []
    let done = 0
    let refusal: Refusal | undefined
    const last = Math.min(end, from + changesAStep(tags))
    for (let index = from; index < last; index++) {
      let entry: VtdInvalidation
      try {
        entry = entries.at('vtd_s1', index)
      } catch (error) {
        if (!(error instanceof Refusal)) throw error
        refusal = error
        break
      }
      refusal = refusalOf(entry, index)
      if (refusal !== undefined) break
      const block = blockOf(entry.addr, entry.npages)
      const leavesOnly = (entry.flags & LEAF) !== 0
      // Attached nowhere there is nothing to forget.
      if (block !== null) flushes.push(...flushDescriptors(hardware, tags, true, { block, leavesOnly }))
      done++
    }
    return { done, refusal, completion: flusher.run(flushes) }
  }
}

/**
 * The pages of `[addr, addr + npages * 4096)`, counted in 64 bits as the kernel does: no pages at address 0 are all of
 * them, and no pages elsewhere none; a range that runs over the end is widened to everything.
 */
function blockOf(addr: bigint, npages: bigint): PageBlock | null {
  const bytes = BigInt.asUintN(64, npages << 12n)
  if (bytes === 0n) return addr === 0n ? EVERY_PAGE : null
  const first = addr >> 12n
  return blockAround(first, first + (bytes >> 12n) - 1n)
}
