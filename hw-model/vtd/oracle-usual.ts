/**
 * What software would rather send than the narrowest descriptor: the whole of a large page, all of a PASID whose entry
 * has changed, all of a domain-id that is somebody else's now. [VTD 6.5.3.3 T28]
 */

import { type ChangedEntry, type Invalidation, type Outcome, STATUS } from '../port.js'
import { COMMAND } from './oracle-sent.js'
import {
  CONTEXT_ENTRY,
  PASID_DIRECTORY_ENTRY,
  PASID_TABLE_ENTRY,
  ROOT_ENTRY,
  SCALABLE_CONTEXT_ENTRY,
  SCALABLE_ROOT_ENTRY,
} from './records.js'
import type { Remedy } from './remedies.js'

const PAGE_LG2 = 12

/**
 * The wider descriptor, or null where there is none.
 *
 * @param nearest the narrowest one
 * @param did the domain-id that governs the requester now, or -1
 * @param changed what is no more what it was, where that is known
 */
export function usualOf(
  { names, stale }: Remedy,
  did: number,
  changed: ChangedEntry | null,
  cached: Outcome,
  fresh: Outcome,
): Invalidation | null {
  const isOfPasid = names.name === COMMAND.PASID_IOTLB
  if (names.name !== COMMAND.IOTLB && !isOfPasid) return null
  const { DID, IH } = names.operands
  const domain = { name: COMMAND.IOTLB, operands: { DID } }
  // Of another domain: what is left of the old one goes as a whole. So it does where a whole device is concerned.
  if ((did >= 0 && did !== DID) || (changed !== null && OF_DEVICES.includes(changed.what))) return domain
  const all = isOfPasid ? { name: COMMAND.PASID_IOTLB, operands: { DID, PASID: stale.pasid } } : domain
  const isOfTable = changed?.level !== undefined && changed.level > 1 && fresh.status !== STATUS.OK
  if (IH === 0 || changed?.what === PASID_TABLE_ENTRY.$.name || isOfTable) return all
  const leafLg2 = Math.max(sizeOf(cached), sizeOf(fresh))
  return leafLg2 <= PAGE_LG2 || names.page === undefined ? null : wide(names, leafLg2)
}

/** Structures through which all PASIDs of a function go. */
const OF_DEVICES: readonly string[] = [
  ROOT_ENTRY.$.name,
  SCALABLE_ROOT_ENTRY.$.name,
  CONTEXT_ENTRY.$.name,
  SCALABLE_CONTEXT_ENTRY.$.name,
  PASID_DIRECTORY_ENTRY.$.name,
]

const sizeOf = ({ status, leafLg2 }: Outcome): number => (status === STATUS.OK ? leafLg2 : PAGE_LG2)

function wide({ name, operands, page = [0, 0] }: Invalidation, leafLg2: number): Invalidation {
  const lo = leafLg2 >= 32 ? 0 : (page[0] & (-1 << leafLg2)) >>> 0
  const hi = leafLg2 <= 32 ? page[1] : (page[1] & (-1 << (leafLg2 - 32))) >>> 0
  const { DID, PASID, IH } = operands
  const whose: Record<string, number> = PASID === undefined ? { DID } : { DID, PASID }
  return { name, operands: { ...whose, AM: leafLg2 - PAGE_LG2, IH }, page: [lo, hi] }
}
