/** Invalidations as drivers are given them, whole. */

import type { SmmuCommand, ViommuOps, VtdInvalidation } from '../server/core/driver.js'
import { type DomainOps, givenEntries, type InvalidateArray, type InvalidateResult } from '../server/core/driver.js'

type Invalidates = { invalidate?(entries: InvalidateArray, from: number, end: number): InvalidateResult }

/** Hands all entries of a VT-d user domain to its driver at once. */
export const invalidateRanges = (domain: DomainOps & Invalidates, entries: readonly VtdInvalidation[]) =>
  hand(domain, givenEntries('vtd_s1', entries))

/** Hands all commands of an SMMUv3 guest to its driver at once. */
export const invalidateCommands = (on: (DomainOps & Invalidates) | ViommuOps, commands: readonly SmmuCommand[]) =>
  hand(on, givenEntries('smmuv3', commands))

function hand(on: Invalidates, entries: InvalidateArray): InvalidateResult {
  if (on.invalidate === undefined) throw new Error('it has no invalidations')
  return on.invalidate(entries, 0, entries.count)
}
