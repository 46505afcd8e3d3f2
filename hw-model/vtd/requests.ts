/** What a request asks for by itself, before any table is read, and how its outcome is filled in. [VTD 3.15, 4.2.1] */

import { joinWord, PAGE_LG2 } from '../bits/address.js'
import { ACCESS, NO_PASID, type Outcome, REQUEST, STATUS, type Transaction } from '../port.js'
import type { DmaConfig } from './dma-config.js'
import { REASON } from './faults.js'
import { GRANT, rightsOf } from './iotlb.js'

const RW = ACCESS.READ | ACCESS.WRITE

/** The interrupt address range, 0xfee00000 to 0xfeefffff, as the address bits above it. [VTD 3.15] */
export const INTERRUPT_RANGE = 0xfee
/** log2 of its bytes. */
export const INTERRUPT_LG2 = 20

/** Bytes of an interrupt message. [VTD 3.15] */
const MESSAGE_BYTES = 4

/** Privileged and execute mean something only beside a PASID. [VTD 3.4.3] */
export const asksPrivilege = (tx: Transaction): boolean =>
  tx.pasid !== NO_PASID && (tx.access & ACCESS.PRIVILEGED) !== 0
/** Nothing is ever granted to it. */
export const isExecute = (tx: Transaction): boolean => tx.pasid !== NO_PASID && (tx.access & ACCESS.EXECUTE) !== 0

/** A plain request, not a mere question about the tables. */
export const isInterruptRequest = (tx: Transaction): boolean =>
  tx.pasid === NO_PASID && tx.type === REQUEST.UNTRANSLATED && (tx.bytes !== 0 || (tx.access & RW) === 0)

/** Whether the address is one of the range. */
export const isInterruptAddress = (tx: Transaction): boolean =>
  tx.hi === 0 && tx.lo >>> INTERRUPT_LG2 === INTERRUPT_RANGE

/** A translation request without PASID for the interrupt range, which no table translates. [VTD 7.1.3 S.1, S.2] */
export const isInterruptQuery = (tx: Transaction): boolean =>
  tx.type === REQUEST.TRANSLATION && tx.pasid === NO_PASID && isInterruptAddress(tx)

/** Unsupported Request without any record. */
export function reject({ type }: Transaction, out: Outcome): void {
  out.status = type === REQUEST.TRANSLATION ? STATUS.UNSUPPORTED : STATUS.ABORTED
  out.fault = REASON.NONE
}

/** A request of known length to the interrupt range is a message, a probe or an error. [VTD 3.15, 5.1.4.1] */
export function interruptRequest(tx: Transaction, out: Outcome): number {
  const isDoubleword = tx.bytes === MESSAGE_BYTES && (tx.lo & (MESSAGE_BYTES - 1)) === 0
  const isMessage = isDoubleword && (tx.access & RW) === ACCESS.WRITE
  if (!isMessage && (tx.access & RW) !== 0) return REASON.INTERRUPT_REQUEST
  identity(tx, out)
  return REASON.NONE
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
