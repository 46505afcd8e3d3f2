/** What a request asks for by itself, before any table is read, and how its outcome is filled in. [VTD 3.4.3, 4.2.1] */

import { isBeyond, joinWord, PAGE_LG2 } from '../bits/address.js'
import { ACCESS, NO_PASID, type Outcome, REQUEST, STATUS, Transaction } from '../port.js'
import type { Capabilities } from './capabilities.js'
import type { DmaConfig } from './dma-config.js'
import { REASON } from './faults.js'
import { GRANT, rightsOf } from './iotlb.js'

const RW = ACCESS.READ | ACCESS.WRITE

/** What fits a requester-id, and a PASID TLP prefix. */
const LAST_SID = 0xffff
const LAST_PASID = 0xfffff

/** Whether a TLP can carry these. */
export const fitsTlp = (rid: number, pasid: number): boolean =>
  rid >>> 0 <= LAST_SID && pasid >= NO_PASID && pasid <= LAST_PASID

/** Whether an address has bits above the host address width. */
export const isBeyondHost = (tx: Transaction, { hawBits }: Capabilities): boolean => isBeyond(tx.hi, hawBits)

/** Unsupported Request whatever the tables say. [VTD 4.2.1 Handling of ATS Protocol Errors] */
export function isMalformed({ rid, type, pasid }: Transaction, { ecap }: Capabilities): boolean {
  if (!fitsTlp(rid, pasid) || type > REQUEST.TRANSLATED) return true
  return type === REQUEST.TRANSLATED && pasid !== NO_PASID && ecap.PTRS === 0
}

/** Privileged and execute mean something only beside a PASID. [VTD 3.4.3] */
export const asksPrivilege = (tx: Transaction): boolean =>
  tx.pasid !== NO_PASID && (tx.access & ACCESS.PRIVILEGED) !== 0
/** Nothing is ever granted to it. */
export const isExecute = (tx: Transaction): boolean => tx.pasid !== NO_PASID && (tx.access & ACCESS.EXECUTE) !== 0

/** Unsupported Request without any record. */
export function reject({ type }: Transaction, out: Outcome): void {
  out.status = type === REQUEST.TRANSLATION ? STATUS.UNSUPPORTED : STATUS.ABORTED
  out.fault = REASON.NONE
}

/** What the kind of request meets in a PASID table entry. [VTD 7.1.3 SPT.5, SPT.6] */
export function requestFault(config: DmaConfig, tx: Transaction, isPrivileged: boolean): number {
  if (isExecute(tx)) return REASON.SPT_5
  return isPrivileged && !config.sre ? REASON.SPT_6 : REASON.NONE
}

/** Grants that an entry must have to answer this request, which asks for `asked`. */
export function neededGrants(tx: Transaction, asked: number): number {
  const shift = asksPrivilege(tx) ? 1 : 0
  const access = asked & RW
  if (access === 0) return GRANT.USER_PROBE << shift
  const needed = (access << (shift * 2)) | (tx.type === REQUEST.TRANSLATION ? GRANT.TRANSLATION : 0)
  return access & ACCESS.WRITE ? needed | GRANT.DIRTY : needed
}

/** The same for plain requests by ACCESS, those with a PASID in the upper half. */
export const NEEDED = Uint8Array.from({ length: 32 }, (_, i) => {
  const tx = new Transaction()
  tx.access = i & 15
  tx.pasid = i < 16 ? NO_PASID : 0
  return neededGrants(tx, tx.access)
})

/** The place of a plain request in `NEEDED`. */
export const neededAt = (access: number, hasPasid: boolean): number => (access & 15) | (hasPasid ? 16 : 0)

/** What is granted, as bits of ACCESS; a translation request is told of no more than it asked for. */
export function rightsFor(tx: Transaction, grants: number, asked: number): number {
  const rights = rightsOf(grants, asksPrivilege(tx))
  return tx.type === REQUEST.TRANSLATION ? rights & asked : rights
}

/** Translated, by a leaf that starts at `base`. */
export function complete(tx: Transaction, out: Outcome, base: number, leafLg2: number, rights: number): void {
  out.status = STATUS.OK
  out.address = base + (tx.lo & ((1 << leafLg2) - 1))
  out.leafLg2 = leafLg2
  out.rights = rights
}

/** The address is physical as it came. */
export function identity(tx: Transaction, out: Outcome): void {
  out.status = STATUS.OK
  out.address = joinWord(tx.lo, tx.hi)
  out.leafLg2 = PAGE_LG2
  out.rights = RW
}
