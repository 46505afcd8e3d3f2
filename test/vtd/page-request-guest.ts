/** A guest with a page request queue, and devices that ask for pages and remember what they were answered. */

import { ACCESS, type AtcInvalidation, NO_PASID, PageRequest } from '../../hw-model/port.js'
import type { IdRegisters } from '../../hw-model/vtd/index.js'
import { Guest, SID } from './guest.js'

/** Offsets of the page request registers. [VTD 11.4.11] */
export const PRQ = {
  PQH: 0xc0,
  PQT: 0xc8,
  PQA: 0xd0,
  PRS: 0xdc,
  PECTL: 0xe0,
  PEDATA: 0xe4,
  PEADDR: 0xe8,
  PEUADDR: 0xec,
} as const

/** PRS. */
export const PPR = 1n
export const PRO = 2n

/** Where the queue is. */
export const PAGES = 0x20000

/** P, DTE, PASIDE, PRE of a scalable context entry. */
export const CONTEXT = 0x1dn

/** PASID, group, code; a source-id first where it is another one than SID. */
export type Answer = [pasid: number, group: number, code: number]

/** ECAP of `vtd-full` without the bits given; C, QI, DT, PT, SC, NEST, PRS, SRS … */
export function without(ecap: readonly [number, number], lo: number, hi: number): Pick<IdRegisters, 'ECAP'> {
  return { ECAP: [(ecap[0] & ~lo) >>> 0, (ecap[1] & ~hi) >>> 0] }
}

/** Scalable mode with a queue of 128 page requests. */
export class PageGuest extends Guest {
  readonly answers: Answer[] = []
  /** Called with each answer, from inside it. */
  onAnswer = (_rid: number, _pasid: number, _group: number, _code: number): void => {}
  /** An invalidation of a device's TLB; true when it is obeyed at once. */
  onInvalidate = (_tag: number, _invalidation: AtcInvalidation): boolean => true
  readonly #request = new PageRequest()

  constructor(ids: Partial<IdRegisters> = {}) {
    const answers: Answer[] = []
    super({
      preset: 'vtd-full',
      ids,
      devices: {
        invalidateAtc: (invalidation) => this.onInvalidate(invalidation.tag, invalidation),
        respondToPages: (rid, pasid, group, code) => {
          answers.push([pasid, group, code])
          this.onAnswer(rid, pasid, group, code)
        },
        ended: () => undefined,
      },
    })
    this.answers = answers
    this.write(PRQ.PQA, BigInt(PAGES), 8)
  }

  /** Translation on in scalable mode, PASID 5 and the RID's PASID 0 with first-stage tables, and the event unmasked. */
  ready(flags = CONTEXT): this {
    this.startScalable(flags)
    this.firstStage(0, 2, 0x100000)
    this.firstStage(5, 3, 0x100000)
    this.write(PRQ.PEDATA, 0x77n)
    this.write(PRQ.PEADDR, 0xfee01000n)
    this.write(PRQ.PECTL, 0n)
    return this
  }

  /** A page request; `access` of r, w, x, p, and l where more of its group follow. */
  page(address: bigint, access = 'r', pasid: number = NO_PASID, group = 1, rid = SID): void {
    const request = this.#request
    request.rid = rid
    request.pasid = pasid
    request.lo = Number(BigInt.asIntN(32, address))
    request.hi = Number(BigInt.asIntN(32, address >> 32n))
    request.access = 0
    for (const letter of access) request.access |= LETTERS[letter] ?? 0
    request.group = group
    request.isLast = !access.includes('l')
    this.unit.ats?.requestPage(request)
  }

  /** The descriptor in a slot of the queue, four 64-bit words. */
  descriptor(slot: number): bigint[] {
    return [0, 8, 16, 24].map((offset) => this.load(PAGES + slot * 32 + offset))
  }

  get tail(): bigint {
    return this.read(PRQ.PQT, 8)
  }

  get status(): bigint {
    return this.read(PRQ.PRS)
  }
}

const LETTERS: Readonly<Record<string, number>> = {
  r: ACCESS.READ,
  w: ACCESS.WRITE,
  x: ACCESS.EXECUTE,
  p: ACCESS.PRIVILEGED,
}
