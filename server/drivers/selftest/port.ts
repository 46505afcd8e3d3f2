/** DMA of a test device: one look into the tables of the domain in its slot. Nothing is cached. */

import {
  DMA_ACCESS,
  DMA_STATUS,
  type DmaOutcome,
  type DmaPort,
  type DomainOps,
  type ExplainStep,
  RID_SLOT,
} from '../../core/driver.js'
import { SelftestPaging, SelftestUser } from './domains.js'
import { TABLE_SPAN_LG2, UNIT_LG2 } from './formats.js'

/** Faults of the self-test unit; the kernel's makes no DMA and has no names for them. */
const FAULT = { BLOCKED: 1, NOT_MAPPED: 2, NO_RIGHT: 3 } as const

const FAULT_NAMES: Readonly<Record<number, string>> = {
  [FAULT.BLOCKED]: 'BLOCKED',
  [FAULT.NOT_MAPPED]: 'NOT_MAPPED',
  [FAULT.NO_RIGHT]: 'NO_RIGHT',
}

const VERDICTS: Readonly<Record<number, string>> = {
  [FAULT.BLOCKED]: 'no domain is attached, so all DMA is blocked',
  [FAULT.NOT_MAPPED]: 'nothing is mapped at this IOVA',
  [FAULT.NO_RIGHT]: 'the mapping does not give this right',
}

/** Rights that tables know. */
const CHECKED = DMA_ACCESS.READ | DMA_ACCESS.WRITE

/** Where a test device's DMA enters. */
export class SelftestPort implements DmaPort {
  readonly #slots: ReadonlyMap<number, DomainOps>

  constructor(slots: ReadonlyMap<number, DomainOps>) {
    this.#slots = slots
  }

  translate(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): void {
    const paging = this.#look(pasid, lo, hi, access, out)
    if (paging === undefined || out.status !== DMA_STATUS.OK) return
    if (paging.isTracking && (access & DMA_ACCESS.WRITE) !== 0) paging.table.markDirty(iovaOf(lo, hi))
  }

  explain(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): readonly ExplainStep[] {
    this.#look(pasid, lo, hi, access, out)
    if (out.status !== DMA_STATUS.OK) return [{ what: 'mapping', verdict: VERDICTS[out.fault] }]
    return [{ what: 'mapping', verdict: `a leaf of ${2 ** out.leafLg2} bytes` }]
  }

  peek(): boolean {
    return false
  }

  missing(): string {
    return ''
  }

  faultName(fault: number): string {
    return FAULT_NAMES[fault]
  }

  #look(pasid: number, lo: number, hi: number, access: number, out: DmaOutcome): SelftestPaging | undefined {
    out.hit = 0
    const paging = pagingOf(this.#slots.get(pasid < 0 ? RID_SLOT : pasid))
    if (paging === undefined) {
      refuse(out, FAULT.BLOCKED)
      return undefined
    }
    const iova = iovaOf(lo, hi)
    const rights = paging.table.rightsAt(iova)
    if (rights === 0) refuse(out, FAULT.NOT_MAPPED)
    else if ((access & CHECKED & ~rights) !== 0) refuse(out, FAULT.NO_RIGHT)
    else {
      out.status = DMA_STATUS.OK
      out.fault = 0
      out.address = paging.table.addressOf(iova)
      out.leafLg2 = paging.table.isInLeaf(iova) ? TABLE_SPAN_LG2 : UNIT_LG2
      out.rights = rights
    }
    return paging
  }
}

/** Beyond 2^53 it is not exact, and nothing is mapped. */
const iovaOf = (lo: number, hi: number): number => (hi >>> 0) * 2 ** 32 + (lo >>> 0)

function pagingOf(domain: DomainOps | undefined): SelftestPaging | undefined {
  if (domain instanceof SelftestPaging) return domain
  return domain instanceof SelftestUser ? domain.parent : undefined
}

function refuse(out: DmaOutcome, fault: number): void {
  out.status = DMA_STATUS.FAULT
  out.fault = fault
}
