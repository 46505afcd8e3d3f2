/** What goes where while a device's CD table is in a window, and why not otherwise. */

import { type DomainOps, Refusal } from '../../core/driver.js'
import { RootDomain } from './root.js'
import { UserDomain } from './user.js'
import { Window } from './window.js'

/** What belongs to a window: itself, on the RID, and its roots. */
export type WindowDomain = Window | RootDomain

/** What is on a device. */
export interface Occupied {
  readonly onRid: DomainOps | null
  /** The window that has its CD table. */
  readonly current: Window | null
  /** PASIDs in use. */
  readonly pasids: number
}

/** The window of a domain; null where it has none. */
export function windowOf(domain: DomainOps): Window | null {
  if (domain instanceof Window) return domain
  return domain instanceof RootDomain ? domain.window : null
}

/** A window comes to the RID. @throws Refusal EBUSY */
export function checkWindow(window: Window, { rid }: { readonly rid: number }, occupied: Occupied): void {
  const { onRid, current, pasids } = occupied
  if (onRid instanceof UserDomain) {
    const why = "the RID is on a user domain with a CD table of the guest's own; DetachRid comes before a window"
    throw new Refusal('EBUSY', why)
  }
  if (pasids > 0 && current !== window) {
    const why = `PASIDs of this device are attached in ${current === null ? "the host's CD table" : 'another window'}`
    throw new Refusal('EBUSY', `${why}; detach them before the RID gets this window`, { pasids })
  }
  if (window.owner !== null && window.owner.rid !== rid) {
    const other = `0x${window.owner.rid.toString(16)}`
    const why = `the window holds the CD table of another device (RID ${other}); make another window for this one`
    throw new Refusal('EBUSY', why, { rid: window.owner.rid })
  }
}

/** Something else comes to a RID whose CD table is in a window. @throws Refusal EBUSY */
export function mayLeaveWindow(pasids: number, domain: DomainOps): void {
  if (pasids > 0) {
    const why = 'PASIDs of this device are attached in its window; detach them before the RID leaves it'
    throw new Refusal('EBUSY', why, { pasids })
  }
  if (domain instanceof UserDomain) {
    const why = 'the RID is on a window, and a user domain with a whole CD table excludes one; DetachRid comes first'
    throw new Refusal('EBUSY', why)
  }
}

/** A root comes to a PASID. @throws Refusal EINVAL naming the step that is missing */
export function checkPasidOfRoot({ window }: RootDomain, current: Window | null, onRid: DomainOps | null): void {
  if (current === window) return
  if (current !== null) {
    const why =
      "the device's CD table is in another window than the domain was made on; detach, then AttachRid that one"
    throw new Refusal('EINVAL', why)
  }
  const step = onRid === null ? 'AttachRid with the window comes first' : 'ReplaceRid with the window comes first'
  throw new Refusal('EINVAL', `the domain was made on a window, which is not the device's CD table yet; ${step}`)
}
