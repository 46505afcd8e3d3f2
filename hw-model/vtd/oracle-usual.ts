/**
 * What software would rather send than the narrowest descriptor: the whole of a large page, all of a PASID whose entry
 * has changed, all of a domain-id that is somebody else's now. [VTD 6.5.3.3 T28]
 */

import { type Invalidation, type Outcome, STATUS } from '../port.js'
import { COMMAND } from './oracle-sent.js'
import type { Remedy } from './remedies.js'

const PAGE_LG2 = 12

/**
 * The wider descriptor, or null where there is none.
 *
 * @param chosen the narrowest ones, in order
 * @param did the domain-id that governs the requester now, or -1
 */
export function usualOf(chosen: readonly Remedy[], did: number, cached: Outcome, fresh: Outcome): Invalidation | null {
  const last = chosen.at(-1)
  if (last === undefined) return null
  const { names, stale } = last
  const { DID, IH } = names.operands
  const caches = chosen.map((each) => each.stale.cache)
  if (names.name !== COMMAND.IOTLB && names.name !== COMMAND.PASID_IOTLB) return null
  const domain = { name: COMMAND.IOTLB, operands: { DID } }
  // Of another domain: what is left of the old one goes as a whole.
  if (caches.includes('context') || (did >= 0 && did !== DID)) return domain
  const isOfPasid = names.name === COMMAND.PASID_IOTLB
  const all = isOfPasid ? { name: COMMAND.PASID_IOTLB, operands: { DID, PASID: stale.pasid } } : domain
  if (caches.includes('pasid') || IH === 0) return all
  const leafLg2 = Math.max(sizeOf(cached), sizeOf(fresh))
  return leafLg2 <= PAGE_LG2 || names.page === undefined ? null : wide(names, leafLg2)
}

const sizeOf = ({ status, leafLg2 }: Outcome): number => (status === STATUS.OK ? leafLg2 : PAGE_LG2)

function wide({ name, operands, page = [0, 0] }: Invalidation, leafLg2: number): Invalidation {
  const lo = leafLg2 >= 32 ? 0 : (page[0] & (-1 << leafLg2)) >>> 0
  const hi = leafLg2 <= 32 ? page[1] : (page[1] & (-1 << (leafLg2 - 32))) >>> 0
  return { name, operands: { ...operands, AM: leafLg2 - PAGE_LG2 }, page: [lo, hi] }
}
