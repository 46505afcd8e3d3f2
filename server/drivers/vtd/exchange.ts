/**
 * Replacing one nested domain by another of the same parent without a moment in which the slot is blocked. Only two words
 * of the PASID table entry differ: the one with the domain-id and the one with the guest's fields. They are two stores,
 * and the entry between them is a valid one as well: a guest's table under the other domain's id. [VTD 6.2.3.1]
 *
 * A unit that fetches the entry in two halves may pair either one's halves with the other's. Where nobody else has either
 * (domain-id, PASID) that is one of the same four, and both ids are forgotten at the end; where somebody has, it takes a
 * unit that fetches entries whole, as this one does. [VTD 9 Translation Structure Formats]
 */

import type { Completion } from '../../core/driver.js'
import type { Place } from './bindings.js'
import { domainTranslations, pasidCache, pasidTranslations, wholeDevice } from './descriptors.js'
import type { VtdDriver } from './driver.js'
import { pasidEntry, type VtdDomain } from './entries.js'

/** The 64-bit words of a PASID table entry that differ: DID, and the guest's pointer and flags. */
const DID_WORD = 1
const GUEST_WORD = 2

/**
 * Replaces `old` by `next` if that can be done in place.
 *
 * The unit may tag what it caches by (domain-id, PASID) without the device. So the two must never name two tables at
 * once: while other devices use the next domain at this PASID its id comes last, while they use the old one it comes
 * first, and when both are in use there it cannot be done.
 *
 * @returns when it is, or undefined if it was not
 */
export function exchangeNested(
  driver: VtdDriver,
  place: Place,
  next: VtdDomain,
  old: VtdDomain,
): { readonly done: Completion } | undefined {
  if (next.kind !== 'user' || old.kind !== 'user' || next.parent !== old.parent) return undefined
  if (next.bindings.users === 0 && !driver.ids.hasFree) return undefined
  const { entry, slot, tlb } = place
  const oldDid = old.bindings.did
  const isOldElsewhere = old.bindings.tags.usersOf(oldDid, slot) > 1
  const isNextElsewhere = next.bindings.tags.usersOf(next.bindings.did, slot) > 0
  if (isOldElsewhere && isNextElsewhere) return undefined
  const { hardware, flusher, tables } = driver
  const did = next.bindings.attach(place)
  const words = pasidEntry(hardware, next, did)
  for (const word of isNextElsewhere ? [GUEST_WORD, DID_WORD] : [DID_WORD, GUEST_WORD]) {
    tables.store(entry + word * 8, words[word * 2], words[word * 2 + 1])
  }
  // Entries before what is made through them, of both ids; the old one may be taken into use again. [VTD 6.5.3.3 T28]
  const done = flusher.runEach([
    pasidCache(oldDid, slot),
    pasidCache(did, slot),
    domainTranslations(hardware.drains, oldDid),
    pasidTranslations(did, slot),
    ...wholeDevice(tlb, slot),
  ])
  old.bindings.detach(place)
  return { done }
}
