/**
 * The way of a hit: a plain request of somebody who has asked before. IOTLB, rights, output, in the manual's order;
 * whoever needs more than that is sent through all steps. [VTD 6.2.4.1 Details of IOTLB Use]
 */

import { pageHigh, pageLow } from '../bits/address.js'
import { ACCESS, NO_PASID, type Outcome, STATUS, type Transaction } from '../port.js'
import type { Mode } from './gates.js'
import { isInInterruptRange, isInterruptAddress } from './interrupt-range.js'
import { type Iotlb, rightsOf } from './iotlb.js'
import { REQUESTER } from './requesters.js'
import { NEEDED, neededAt } from './requests.js'

/** What came of it. */
export const FOLLOWED = {
  /** The outcome is complete. */
  DONE: 0,
  /** Nothing in the IOTLB, and nothing else in the way. */
  WALK: 1,
  /** Something else: an interrupt message, an entry that grants too little, an output in the interrupt range. */
  NOT_SO: 2,
} as const

// What this module names itself is settled when the engine compiles the way of a hit; what another one names is read
// each time that it is used.
const { DONE, WALK, NOT_SO } = FOLLOWED
const { EXECUTE, PRIVILEGED } = ACCESS
const { OK } = STATUS
const { TAG } = REQUESTER
const WITHOUT_PASID = NO_PASID
const [GRANTS_NEEDED, placeOfNeeded] = [NEEDED, neededAt]
const [lowOf, highOf, grantedRights] = [pageLow, pageHigh, rightsOf]
const [asksForInterrupt, endsAsInterrupt] = [isInterruptAddress, isInInterruptRange]

/** Follows the known requesters of one unit. */
export class KnownHits {
  /** The line of the requester for whom the tables are to be walked. */
  requester = 0

  readonly #iotlb: Iotlb

  constructor(iotlb: Iotlb) {
    this.#iotlb = iotlb
  }

  /** Ends an untranslated request of an enabled unit. Answers one of FOLLOWED; only after DONE anything was changed. */
  follow(tx: Transaction, out: Outcome, mode: Mode): number {
    const { access } = tx
    const hasPasid = tx.pasid !== WITHOUT_PASID
    // To execute means something beside a PASID alone, and is never granted.
    if (hasPasid ? !mode.takesPasids || (access & EXECUTE) !== 0 : !mode.takesPlain) return NOT_SO
    const { cache, requesters } = this.#iotlb
    const requester = requesters.find(tx.rid, tx.pasid)
    if (requester < 0) return NOT_SO
    const lo = tx.lo | 0
    const hi = tx.hi | 0
    if (!hasPasid && hi === 0 && asksForInterrupt(tx)) return NOT_SO
    const slot = cache.findAt(requesters.words[requester | TAG], lowOf(lo, hi), highOf(hi))
    if (slot < 0) {
      this.requester = requester
      return WALK
    }
    const grants = cache.flagsOf(slot)
    const needed = GRANTS_NEEDED[placeOfNeeded(access, hasPasid)]
    if ((grants & needed) !== needed) return NOT_SO
    const leafLg2 = cache.leafLg2Of(slot)
    const address = cache.addressOf(slot) + (lo & ((1 << leafLg2) - 1))
    if (endsAsInterrupt(address)) return NOT_SO
    out.status = OK
    out.address = address
    out.leafLg2 = leafLg2
    out.rights = grantedRights(grants, hasPasid && (access & PRIVILEGED) !== 0)
    out.hit = 1
    return DONE
  }
}
