/**
 * Which domain a device's DMA goes through, for its RID and for each PASID. Groups have one device each. The orders of
 * checks are the kernel's. [uAPI VFIO_DEVICE_ATTACH_IOMMUFD_PT]
 */

import type { Call } from './call.js'
import { type Device, type Domain, GRANT } from './device.js'
import { type PagingFlags, RID_SLOT } from './driver.js'
import { Ioas } from './ioas.js'
import { PagingDomain } from './paging-domain.js'
import { Refusal } from './refusal.js'
import { UserDomain } from './user-domain.js'
import { Window } from './window.js'
import { checkRoot, checkTable } from './window-rules.js'
import type { Work } from './work.js'

const AUTO_FLAGS: PagingFlags = { nestParent: false, dirtyTracking: false, pasid: false }

/** What a `pt_id` names: a domain, or an IOAS for which one is found or made. @throws Refusal ENOENT, EINVAL */
export function pageTableOf(call: Call, ptId: number): Ioas | Domain {
  const found = call.context.objects.find(ptId)
  if (found instanceof Ioas || found instanceof PagingDomain) return call.change(found)
  if (found instanceof UserDomain || found instanceof Window) return call.change(found)
  const is = call.context.objects.describe(ptId)
  if (found === undefined) throw new Refusal('ENOENT', `pt_id: ${is}`, { pt_id: ptId })
  throw new Refusal('EINVAL', `pt_id: ${is}, neither an IOAS, a domain nor a window`, { pt_id: ptId })
}

/** Fills an empty slot. Answers the domain that is in it now. */
export function* attach(call: Call, device: Device, slot: number, target: Ioas | Domain): Work<Domain> {
  if (!(target instanceof Ioas)) return put(call, device, slot, target)
  const fitting = firstFitting(target, (domain) => put(call, device, slot, domain))
  if (fitting !== undefined) return fitting
  // Attached first, filled second: what the attach refuses wins over what filling would.
  const made = makeAuto(call, device, target)
  put(call, device, slot, made)
  yield* target.join(made)
  return made
}

/** Moves an occupied slot to another domain. On refusal the old one stays. Answers the domain that is in it now. */
export function* replace(call: Call, device: Device, slot: number, target: Ioas | Domain): Work<Domain> {
  if (!(target instanceof Ioas)) return exchange(call, device, slot, target)
  const fitting = firstFitting(target, (domain) => exchange(call, device, slot, domain))
  if (fitting !== undefined) return fitting
  const made = makeAuto(call, device, target)
  yield* target.join(made)
  return exchange(call, device, slot, made)
}

/** Gives PASID 0 of a device with a window, which has none, a root in the window. */
export function* attachRoot(call: Call, device: Device, there: Domain, target: Ioas | Domain): Work<Domain> {
  if (there.kind !== 'window') return yield* attach(call, device, RID_SLOT, target)
  checkRoot(there, target)
  return yield* replace(call, device, RID_SLOT, target)
}

/** Moves PASID 0 of a device with a window to another root in the window. */
export function* replaceRoot(call: Call, device: Device, there: Domain, target: Ioas | Domain): Work<Domain> {
  if (there.kind === 'window') {
    const reason = `nothing is attached to PASID 0 of device ${device.id}; attach it first`
    throw new Refusal('EINVAL', reason, { device: device.id, window: there.id })
  }
  checkRoot(there.window as Window, target)
  return yield* replace(call, device, RID_SLOT, target)
}

/** Takes PASID 0's root away; the window stays. Nothing where it has none. Nothing is refused. */
export function detachRoot(call: Call, device: Device): void {
  const { window } = device.slots.get(RID_SLOT) ?? {}
  if (window !== undefined) exchange(call, device, RID_SLOT, window)
}

/** The first automatic domain of an IOAS, in their order, that does not answer EINVAL. */
function firstFitting(ioas: Ioas, attempt: (domain: PagingDomain) => Domain): Domain | undefined {
  for (const domain of [...ioas.domains]) {
    if (!domain.isAuto) continue
    try {
      return attempt(domain)
    } catch (error) {
      if (!(error instanceof Refusal) || error.name !== 'EINVAL') throw error
    }
  }
  return undefined
}

function makeAuto(call: Call, device: Device, ioas: Ioas): PagingDomain {
  const id = call.newId('domains')
  const { driver, device: hardware } = device.platform
  const ops = driver.createPaging(hardware, AUTO_FLAGS)
  return call.make(new PagingDomain(id, ioas, ops, AUTO_FLAGS, true, hardware.enforcesCoherency))
}

function put(call: Call, device: Device, slot: number, domain: Domain): Domain {
  const there = device.slots.get(slot)
  if (there !== undefined) {
    const reason = `${slotName(slot)} of device ${device.id} has ${there.kind} ${there.id}; replace or detach it`
    throw new Refusal('EBUSY', reason, { device: device.id, domain: there.id })
  }
  if (slot === RID_SLOT) reserveFor(device, domain.ioas)
  try {
    check(device, slot, domain)
    call.after(device.fill(slot, domain, null))
  } catch (error) {
    if (slot === RID_SLOT) domain.ioas.reserved.removeOwner(device)
    throw error
  }
  occupy(device, slot, domain)
  call.onUndo(() => device.detach(slot))
  return domain
}

function exchange(call: Call, device: Device, slot: number, domain: Domain): Domain {
  const old = device.slots.get(slot)
  if (old === undefined) {
    const reason = `nothing is attached to ${slotName(slot)} of device ${device.id}; attach it first`
    throw new Refusal('EINVAL', reason, { device: device.id })
  }
  if (old === domain) return domain
  // The RID stays on its window; a root in it comes or goes.
  const isInside = domain.window !== undefined && domain.window === old.window
  const moves = slot === RID_SLOT && old.ioas !== domain.ioas
  if (moves) reserveFor(device, domain.ioas)
  try {
    check(device, slot, domain)
    const done = device.fill(slot, domain, old)
    occupy(device, slot, domain)
    call.after(done, () => {
      if (moves) old.ioas.reserved.removeOwner(device)
      call.after(device.endAttachment(slot, old))
    })
  } catch (error) {
    // As the kernel does, also when the IOAS stays the same and the ranges are those of the attachment that stays.
    if (slot === RID_SLOT && !isInside) domain.ioas.reserved.removeOwner(device)
    throw error
  }
  return domain
}

function occupy(device: Device, slot: number, domain: Domain): void {
  device.slots.set(slot, domain)
  domain.hold(device)
  device.hold(domain)
  domain.window?.use(device)
}

function reserveFor(device: Device, ioas: Ioas): void {
  const ranges = device.platform.device.reserved.filter(({ kind }) => kind !== 'direct-relaxable')
  ioas.reserve({ owner: device, ranges })
}

/** What may be refused once the IOAS has room, before the driver is asked. */
function check(device: Device, slot: number, domain: Domain): void {
  const { driver } = device.platform
  if (domain.ops.driver !== driver) {
    const { name } = domain.ops.driver
    const reason = `${domain.kind} ${domain.id} was made for ${name}, and the device is behind ${driver.name}`
    throw new Refusal('EINVAL', reason, { domain_unit: name, device_unit: driver.name })
  }
  const wholeRid = domain instanceof UserDomain && driver.userDomainBinds === 'rid-and-all-pasids'
  if (wholeRid || domain.window !== undefined) checkWholeRid(device, slot, domain)
  checkTable(device, slot, domain)
  if (slot === RID_SLOT) checkRid(device, domain)
  else checkPasid(device, slot, domain)
}

/** A guest's table, and a window, take the RID and all its PASIDs; the device must be granted whole. */
function checkWholeRid(device: Device, slot: number, { window }: Domain): void {
  const takes =
    window === undefined
      ? 'an SMMUv3 user domain binds the RID and all its PASIDs, for the guest owns the table of contexts'
      : `window ${window.id} binds the RID and all its PASIDs, for its table stands behind stage 2`
  if (device.platform.mediated !== undefined) {
    const { parent, pasid } = device.platform.mediated
    throw new Refusal('EPERM', `${takes}; this device is one PASID of ${parent}`, { parent, pasid })
  }
  if (device.grant !== GRANT.WHOLE_DEVICE) {
    throw new Refusal('EPERM', `${takes}; the device was bound PASID_ONLY`, { device: device.id })
  }
  if (slot !== RID_SLOT && window === undefined)
    throw new Refusal('EINVAL', `${takes}; attach it to the RID`, { pasid: slot })
}

function checkRid(device: Device, domain: Domain): void {
  if (domain.pasidCompatible) return
  const pasid = [...device.slots.keys()].find((slot) => slot !== RID_SLOT)
  if (pasid === undefined) return
  const without = `${domain.kind} ${domain.id} was made without HWPT_FLAG_PASID (8)`
  const reason = `PASID ${pasid} is attached, and ${without}: detach the PASIDs first, or make one with flags 8`
  throw new Refusal('EINVAL', reason, { pasid, domain: domain.id })
}

function checkPasid(device: Device, pasid: number, domain: Domain): void {
  if (!domain.pasidCompatible) {
    const how = 'make one with flags 8; the domain found for an IOAS id never has it'
    const reason = `${domain.kind} ${domain.id} was made without HWPT_FLAG_PASID (8): ${how}`
    throw new Refusal('EINVAL', reason, { domain: domain.id })
  }
  const rid = device.slots.get(RID_SLOT)
  if (rid !== undefined && !rid.pasidCompatible) {
    const without = `${rid.kind} ${rid.id}, which was made without HWPT_FLAG_PASID (8)`
    const reason = `the RID is attached to ${without}: replace it by one made with flags 8, or detach the RID`
    throw new Refusal('EINVAL', reason, { domain: rid.id })
  }
  const { maxPasids } = device.platform.device
  if (pasid < maxPasids || (maxPasids === 0 && device.takesAnyPasid)) return
  const reason = maxPasids === 0 ? 'the device has no PASIDs' : `the device has PASIDs below ${maxPasids}`
  throw new Refusal('EINVAL', reason, { pasid, max_pasids: maxPasids })
}

const slotName = (slot: number): string => (slot === RID_SLOT ? 'the RID' : `PASID ${slot}`)
