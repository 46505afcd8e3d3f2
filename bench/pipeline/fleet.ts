/**
 * Requesters in front of one unit: streams or source-ids, with substreams or PASIDs among them, and the requests that
 * they make in a fixed random order.
 */

import { ACCESS, NO_PASID, Outcome, type RemappingUnit, STATUS, Transaction } from '../../hw-model/port.js'
import { inPieces } from '../pieces.js'
import { XorShift32 } from '../random.js'

/** First address that is mapped, of every requester. */
export const IOVA = 0x12_3400_0000

/** Physical address of the first page; that of nested requesters is IPA, and as far above it again. */
export const FRAME = 2 ** 33

/** How many there are and what they share. */
export interface FleetOptions {
  /** Requesters; each has its own ASID or domain. */
  readonly requesters: number
  /** Every second one has a SubstreamID or PASID. */
  readonly mixed?: boolean
  /** Pages of each. */
  readonly pages: number
  /** Translations that the unit has room for, a power of two; 0 for none. */
  readonly entries: number
  /** Tables of the requesters' own; else all use the same. */
  readonly ownTables?: number
  readonly nested?: boolean
}

/** A unit with its requesters. */
export interface Fleet {
  readonly unit: RemappingUnit
  readonly rids: Int32Array
  readonly pasids: Int32Array
}

/** Requests in order: who, and which of its pages. */
export interface Requests {
  readonly who: Int32Array
  readonly page: Int32Array
}

/** Uniformly random requests, as `peers/walk.c` draws them. */
export function randomRequests(count: number, requesters: number, pages: number): Requests {
  const who = new Int32Array(count)
  const page = new Int32Array(count)
  const random = new XorShift32(0x2545f491)
  for (let i = 0; i < count; i++) {
    who[i] = random.below(requesters)
    page[i] = random.below(pages)
  }
  return { who, page }
}

/** Sends all requests `rounds` times; answers a checksum of the addresses. Two reads to each write. */
export function send(fleet: Fleet, requests: Requests, rounds: number): number {
  const transaction = new Transaction()
  const outcome = new Outcome()
  transaction.hi = Math.floor(IOVA / 2 ** 32)
  return inPieces(requests.who.length, rounds, (from, end) => some(fleet, requests, transaction, outcome, from, end))
}

function some(
  { unit, rids, pasids }: Fleet,
  { who, page }: Requests,
  transaction: Transaction,
  outcome: Outcome,
  from: number,
  end: number,
): number {
  let sum = 0
  for (let i = from; i < end; i++) {
    const requester = who[i]
    transaction.rid = rids[requester]
    transaction.pasid = pasids[requester]
    transaction.lo = (LOW + (page[i] << 12) + (i & 0xff8)) | 0
    transaction.access = i % 3 === 0 ? WRITE : READ
    unit.translate(transaction, outcome)
    if (outcome.status !== OK) throw new Error(`request ${i} did not translate: ${unit.faultName(outcome.fault)}`)
    sum += outcome.address
  }
  return sum
}

const { READ, WRITE } = ACCESS
const { OK } = STATUS
const LOW = IOVA % 2 ** 32

/** Every page of everybody once, so that all that fits is kept. */
export function warm(fleet: Fleet, pages: number): void {
  const count = fleet.rids.length * pages
  const who = Int32Array.from({ length: count }, (_, i) => Math.floor(i / pages))
  const page = Int32Array.from({ length: count }, (_, i) => i % pages)
  send(fleet, { who, page }, 1)
}

/** SubstreamID or PASID of a requester. */
export const pasidOf = (requester: number, mixed: boolean): number =>
  mixed && requester % 2 === 1 ? (requester >> 1) % 64 : NO_PASID
