/**
 * The interrupt address range, 0xfee00000 to 0xfeefffff: a message that goes there is no DMA, and no DMA may come out
 * there. [VTD 3.15 Handling Requests to Interrupt Address Range]
 */

import { POWERS } from '../bits/address.js'
import { ACCESS, NO_PASID, type Outcome, REQUEST, type Transaction } from '../port.js'
import { REASON } from './faults.js'
import { identity } from './requests.js'

const RW = ACCESS.READ | ACCESS.WRITE

/** Its first and last byte. */
const START = 0xfee00000
const LAST = 0xfeefffff

/** Bytes of an interrupt message. [VTD 3.15] */
const MESSAGE_BYTES = 4

/** Whether 2^lg2 bytes, which start at a multiple of that, reach into the range. */
export const coversInterrupts = (start: number, lg2: number): boolean => start <= LAST && start + POWERS[lg2] > START

/** Whether one address is in the range. */
export const isInInterruptRange = (address: number): boolean => address >= START && address <= LAST

/** Whether the input address is one of the range. */
export const isInterruptAddress = ({ lo, hi }: Transaction): boolean => hi === 0 && isInInterruptRange(lo >>> 0)

/** Whether no table translates it: a plain request for the range, not a mere question about the tables. */
export const isInterruptRequest = (tx: Transaction): boolean =>
  tx.pasid === NO_PASID &&
  tx.type === REQUEST.UNTRANSLATED &&
  (tx.bytes !== 0 || (tx.access & RW) === 0) &&
  isInterruptAddress(tx)

/** A translation request without PASID for the range, which no table translates either. [VTD 7.1.3 S.1, S.2] */
export const isInterruptQuery = (tx: Transaction): boolean =>
  tx.type === REQUEST.TRANSLATION && tx.pasid === NO_PASID && isInterruptAddress(tx)

/** A request of known length to the range is a message, a probe or an error. [VTD 3.15, 5.1.4.1] */
export function interruptRequest(tx: Transaction, out: Outcome): number {
  const isDoubleword = tx.bytes === MESSAGE_BYTES && (tx.lo & (MESSAGE_BYTES - 1)) === 0
  const isMessage = isDoubleword && (tx.access & RW) === ACCESS.WRITE
  if (!isMessage && (tx.access & RW) !== 0) return REASON.INTERRUPT_REQUEST
  identity(tx, out)
  return REASON.NONE
}
