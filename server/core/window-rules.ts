/**
 * Which table a device's RID and PASIDs can share. A device has one CD table at a time: the host's own, a guest's, or
 * that of a window. The window's serves one RID, and every PASID of that which has a root in it.
 */

import type { Device, Domain } from './device.js'
import { RID_SLOT } from './driver.js'
import type { Ioas } from './ioas.js'
import { Refusal } from './refusal.js'
import { UserDomain } from './user-domain.js'
import type { Window } from './window.js'

/** What a slot holds, and where. */
interface Occupied {
  readonly slot: number
  readonly domain: Domain
}

/** What a slot is asked to take, beside what the other slots have. @throws Refusal EBUSY, EINVAL */
export function checkTable(device: Device, slot: number, domain: Domain): void {
  if (domain.window !== undefined) refuseSecondRid(device, domain.window)
  if (slot === RID_SLOT) checkRidTable(device, domain)
  else checkPasidTable(device, slot, domain)
}

/** What PASID 0 of a device with a window takes. @throws Refusal EINVAL */
export function checkRoot(window: Window, target: Ioas | Domain): void {
  if (target instanceof UserDomain && target.window === window) return
  const reason = `PASID 0 is a place in window ${window.id}, and takes user domains that were made on it`
  throw new Refusal('EINVAL', reason, { window: window.id, pt_id: target.id })
}

function refuseSecondRid(device: Device, window: Window): void {
  const first = window.device
  if (first === undefined || first === device) return
  const reason = `window ${window.id} is the CD table of device ${first.id} now; make another window for this one`
  throw new Refusal('EBUSY', reason, { window: window.id, device: first.id })
}

function checkRidTable(device: Device, domain: Domain): void {
  const pasid = pasidInUse(device)
  if (pasid !== undefined && pasid.domain.window !== domain.window) {
    const table = pasid.domain.window === undefined ? 'the daemon’s own table' : `window ${pasid.domain.window.id}`
    const reason = `PASID ${pasid.slot} is attached, and is a place in ${table}; detach the PASIDs first`
    throw new Refusal('EBUSY', reason, { pasid: pasid.slot, domain: pasid.domain.id })
  }
  const old = device.slots.get(RID_SLOT)
  if (old === undefined || (old.window === undefined) === (domain.window === undefined)) return
  if (!isGuests(old) && !isGuests(domain)) return
  const reason = `${old.kind} ${old.id} is on the RID, and a guest’s own table and a window exclude each other; detach it first`
  throw new Refusal('EBUSY', reason, { domain: old.id })
}

function checkPasidTable(device: Device, pasid: number, domain: Domain): void {
  if (domain.kind === 'window') {
    const reason = `window ${domain.id} is a table for all PASIDs: attach it to the RID, and a user domain of it here`
    throw new Refusal('EINVAL', reason, { pasid, window: domain.id })
  }
  const rid = device.slots.get(RID_SLOT)
  const present = (rid ?? pasidInUse(device)?.domain)?.window
  if (present === domain.window) return
  if (domain.window === undefined) {
    // Where there is no window either, nothing is in the way.
    const { id } = present as Window
    const reason = `the CD table of device ${device.id} is window ${id}, behind stage 2: a PASID takes user domains of it`
    throw new Refusal('EINVAL', reason, { pasid, window: id })
  }
  const way = rid === undefined ? 'attach' : `the RID has ${rid.kind} ${rid.id}; detach that and attach`
  const reason = `user domain ${domain.id} is a place in window ${domain.window.id}: ${way} the window to the RID first`
  throw new Refusal('EINVAL', reason, { pasid, window: domain.window.id })
}

/** A user domain that brings its own table. */
const isGuests = (domain: Domain): boolean => domain instanceof UserDomain && domain.window === undefined

function pasidInUse({ slots }: Device): Occupied | undefined {
  for (const [slot, domain] of slots) if (slot !== RID_SLOT) return { slot, domain }
  return undefined
}
