/** From a device that waits for a page to the fault queue whose reader answers it. [uAPI IOMMU_FAULT_QUEUE_ALLOC] */

import type { Core } from './core.js'
import type { Device, Domain } from './device.js'
import { type DeviceDriver, type PageFault, RID_SLOT } from './driver.js'
import { OBJECT_TYPE } from './object.js'
import { Refusal } from './refusal.js'

/** Whoever has bound a device, or the mediated device that is one PASID of it. A PASID of -1 is the RID. */
export function ownerOf({ bound }: Core, hardware: DeviceDriver, pasid: number): Device | undefined {
  let parent: Device | undefined
  for (const one of bound.of(hardware)) {
    const { mediated } = one.platform
    if (mediated === undefined) parent = one
    else if (mediated.pasid === pasid) return one
  }
  return parent
}

/**
 * Queues a page fault, or keeps it until the last of its group comes.
 *
 * @returns whether its group will be answered; not if nobody takes faults there, or if there is no room for it
 */
export function routePageFault(core: Core, hardware: DeviceDriver, fault: PageFault): boolean {
  const device = ownerOf(core, hardware, fault.pasid)
  const place = device && placeOf(device, fault.pasid)
  if (device === undefined || place?.domain.faultQueue === undefined) return false
  const { faults, context } = device
  // What is lost, of a group that goes on, the device asks for again.
  if (!fault.isLast && faults.isFull) return false
  try {
    core.failPoint?.('page fault')
    context.quota.charge('queue_depth')
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    // The device will ask again for what got lost. Without its end a group is nothing to be answered.
    if (fault.isLast) faults.drop(fault.group)
    return false
  }
  if (!fault.isLast) {
    faults.park(fault)
    return true
  }
  const group = { device, ...place, faults: faults.join(fault) }
  faults.wait(group)
  place.domain.faultQueue.add(group)
  return true
}

interface Attachment {
  readonly slot: number
  readonly domain: Domain
}

/** The PASID's own domain; where the guest owns the table of PASIDs, else the user domain on the RID. */
function placeOf({ slots, platform }: Device, pasid: number): Attachment | undefined {
  const slot = pasid < 0 ? RID_SLOT : pasid
  const own = slots.get(slot)
  if (own !== undefined) return { slot, domain: own }
  const { hasUserPasidTables, userDomainBinds } = platform.driver
  if (!(hasUserPasidTables ?? userDomainBinds === 'rid-and-all-pasids')) return undefined
  const ofRid = slots.get(RID_SLOT)
  return ofRid?.type === OBJECT_TYPE.USER_DOMAIN && ofRid.window === undefined
    ? { slot: RID_SLOT, domain: ofRid }
    : undefined
}
