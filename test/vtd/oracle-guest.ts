/** A guest whose unit's oracle reports, and what a report says in one line. */

import {
  type Invalidation,
  NO_PASID,
  type OracleOptions,
  type StaleReport,
  type UnitOracle,
} from '../../hw-model/port.js'
import type { CacheOptions } from '../../hw-model/vtd/index.js'
import { FS, Guest, type GuestOptions, IQ, SS } from './guest.js'

export const PAGE = 0x40_0000n
export const FIRST = 0x100000
export const SECOND = 0x140000
/** Leaves of either tree: one page each. */
export const FIRST_LEAF = FIRST + 0x3000
export const SECOND_LEAF = SECOND + 0x3000
export const GUEST_PAGE = 0x30_8000n
export const MOVED = 0x30_9000n

/** CAP with caching mode. */
export const CACHING: Partial<GuestOptions> = { ids: { CAP: [0x226f0686, 0x81d2078c] } }

export const REPORT: OracleOptions = { fails: false, graceSyncs: 0, reportLimit: 64 }

/**
 * PASID 1: first stage, did 2. 3: nested, did 3. 4: second stage, did 3. 5: pass-through, did 2. Of each tree PAGE leads
 * to 0x308000.
 */
export function watched(
  caches: CacheOptions = {},
  options: Partial<OracleOptions> = {},
  rest: GuestOptions = {},
): Guest {
  const guest = new Guest({ ...rest, caches })
  guest.startScalable()
  guest.startQueue()
  guest.path(FIRST, PAGE, GUEST_PAGE | FS.PAGE, FS.TABLE)
  for (let step = 0; step < 8; step++) mapSecond(guest, BigInt(FIRST + step * 0x1000))
  mapSecond(guest, GUEST_PAGE)
  mapSecond(guest, MOVED)
  guest.path(SECOND, PAGE, GUEST_PAGE | SS.RW, SS.RW)
  guest.firstStage(1, 2, FIRST)
  guest.nested(3, 3, FIRST, SECOND)
  guest.secondStage(4, 3, SECOND)
  guest.passThrough(5, 2)
  guest.unit.setOracle({ ...REPORT, ...options })
  return guest
}

/** A page of the second stage that leads to itself. */
export function mapSecond(guest: Guest, pa: bigint, to = pa): void {
  guest.path(SECOND, pa, to | SS.RW, SS.RW)
}

export const oracleOf = (guest: Guest): UnitOracle => guest.unit.oracle as UnitOracle

export const reportsOf = (guest: Guest): readonly StaleReport[] => oracleOf(guest).reports

/** `P_IOTLB DID=2 PASID=1 AM=0 IH=1 ADDR=0x400000`. */
export function text({ name, operands, page }: Invalidation): string {
  const address = page === undefined ? [] : [`ADDR=0x${((BigInt(page[1]) << 32n) | BigInt(page[0])).toString(16)}`]
  return [name, ...Object.entries(operands).map(([key, value]) => `${key}=${value}`), ...address].join(' ')
}

/** What is reported: the cache, and what was missing. */
export const told = (guest: Guest): string[] =>
  reportsOf(guest).map(({ cache, missing }) => `${cache}: ${missing.map(text).join(' + ')}`)

/** A change of something that another page's flush waits for: one more completed wait. */
export const anotherWait = (guest: Guest): void => guest.queue(IQ.iotlbDomain(9), IQ.fence)

/** What one read has met, before a change and after it, with a wait in between. */
export function changed(guest: Guest, pasid: number, change: () => void, access = 'r'): string[] {
  guest.dma(PAGE, access, pasid)
  guest.dma(PAGE, access, pasid)
  change()
  anotherWait(guest)
  guest.dma(PAGE, access, pasid)
  return told(guest)
}

export { NO_PASID }
