/** Requests in dense arrays, one after the other, through a unit: the innermost loop of Translate and TranslateUnit. */

import { type RemappingUnit, STATUS, type Transaction } from '../../hw-model/port.js'
import { type DmaOutcome, type DmaRun, UNTRANSLATED_ONLY } from '../core/driver.js'

/**
 * Sends requests up to the first that does not end OK: `out` holds how that ended.
 *
 * @param transaction type and PASID of all requests
 * @param sourceIds one for all, or one each
 * @returns which it was, or `end`
 */
export function sendRun(
  unit: RemappingUnit,
  transaction: Transaction,
  sourceIds: Uint32Array,
  run: DmaRun,
  from: number,
  end: number,
  out: DmaOutcome,
): number {
  const { iovas, accesses, outcomes, addresses, pageSizeLog2s, permissions, cacheHits } = run
  const hasEachSource = sourceIds.length !== 1
  const hasEachAccess = accesses.length !== 0
  transaction.rid = sourceIds[0]
  transaction.access = run.access
  for (let index = from; index < end; index++) {
    if (hasEachSource) transaction.rid = sourceIds[index]
    if (hasEachAccess) transaction.access = accesses[index]
    transaction.lo = iovas[2 * index]
    transaction.hi = iovas[2 * index + 1]
    out.fault = 0
    unit.translate(transaction, out)
    if (out.status !== STATUS.OK) return index
    outcomes[index] = STATUS.OK
    cacheHits[index] = out.hit
    addresses[index] = out.address
    pageSizeLog2s[index] = out.leafLg2
    permissions[index] = out.untranslatedOnly === 0 ? out.rights : out.rights | UNTRANSLATED_ONLY
  }
  return end
}
