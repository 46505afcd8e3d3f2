/**
 * What an attachment is refused for, in Linux's order, which differs between a RID and a PASID and between the kinds of
 * domains. A RID is blocked before anything is checked, so that whatever refuses it leaves it blocked; a PASID keeps what
 * it has, unless it is the guest's own data that is refused, which is looked at last.
 */

import { Refusal, RID_SLOT, refusalOf } from '../../core/driver.js'
import type { DomainIds } from './domain-ids.js'
import type { VtdDomain } from './entries.js'

/** A slot that is to have another domain. */
export interface Attaching {
  readonly slot: number
  readonly next: VtdDomain
  /** What is in it; null: nothing, or it was blocked already. */
  readonly old: VtdDomain | null
  /** The device sends page requests to this unit. */
  readonly hasPageRequests: boolean
  readonly ids: DomainIds
}

/** Why it cannot be, and whether the slot is left empty by that. */
export interface Refused {
  readonly refusal: Refusal
  readonly leavesBlocked: boolean
}

/** The first thing in the way, or undefined. */
export function refusedAttach(attaching: Attaching): Refused | undefined {
  const { slot, next } = attaching
  const isRid = slot === RID_SLOT
  for (const check of orderOf(attaching)) {
    const refusal = refusalOf(() => check(attaching))
    if (refusal === undefined) continue
    const leavesBlocked = isRid || (check === checkTable && next.kind === 'user')
    return { refusal: leavesBlocked ? withConsequence(refusal, attaching) : refusal, leavesBlocked }
  }
  return undefined
}

type Check = (attaching: Attaching) => void

/** Only a RID's own tables are checked for page requests before there is a domain-id for them. */
const orderOf = ({ slot, next }: Attaching): readonly Check[] =>
  slot === RID_SLOT && next.kind === 'paging'
    ? [checkPageRequests, checkDomainId]
    : [checkParent, checkDomainId, checkPageRequests, checkTable]

function checkParent({ next }: Attaching): void {
  if (next.kind === 'user') next.checkParent()
}

/** The tables that a slot is to have: the guest's data, or the unit's pass-through. */
function checkTable({ next }: Attaching): void {
  if (next.kind === 'user') next.checkTable()
  else if (next.kind === 'identity') next.checkAttachable()
}

/** Whether there is a domain-id. A RID has given up its own by then. */
function checkDomainId({ slot, next, old, ids }: Attaching): void {
  if (next.kind === 'identity' || next.bindings.users > 0) return
  if (slot === RID_SLOT && old !== null && old.kind !== 'identity' && old.bindings.users === 1) return
  ids.checkFree()
}

function checkPageRequests({ next, hasPageRequests }: Attaching): void {
  if (next.kind === 'identity' || next.takesFaults !== true || hasPageRequests) return
  const needs = 'the device needs ATS and PRI, and its unit ECAP.DT, PRS and PDS'
  throw new Refusal('ENODEV', `the domain has a fault queue, and no page requests come from here: ${needs}`)
}

function withConsequence({ name, message, context }: Refusal, { slot, old }: Attaching): Refusal {
  if (old === null) return new Refusal(name, message, context)
  const what = slot === RID_SLOT ? 'the RID' : `PASID ${slot}`
  const wayOut = 'attach it anew, or replace what is there by another domain'
  return new Refusal(name, `${message}; ${what} is blocked now: ${wayOut}`, context)
}
