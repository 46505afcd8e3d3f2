/** Calls about devices: listing, binding, attaching, resetting. [uAPI VFIO_DEVICE_*] */

import { attach, attachRoot, detachRoot, pageTableOf, replace, replaceRoot } from './attach.js'
import type { Call } from './call.js'
import { Device, type Domain, GRANT, type Grant, refuseChilds } from './device.js'
import { RID_SLOT } from './driver.js'
import type { PlatformDevice } from './machine.js'
import { Refusal } from './refusal.js'
import type { Work } from './work.js'

/** The contract's PlatformDevice. */
export interface DeviceInfo {
  readonly name: string
  readonly unitName: string
  readonly sourceId: number
  readonly pasidBits: number
  readonly ats: boolean
  readonly pri: boolean
  readonly parentName: string
  readonly parentPasid: number
  readonly bound: boolean
  readonly deviceId: number
}

/** The platform's devices, by name. */
export function listDevices(call: Call, _request: object): { devices: readonly DeviceInfo[] } {
  const byName = visibleDevices(call).sort((a, b) => (a.name < b.name ? -1 : 1))
  return { devices: byName.map((device) => describe(call, device)) }
}

/** The platform's devices, and the context's own test devices: those of others are their objects. */
export const visibleDevices = ({ core, context }: Call): PlatformDevice[] =>
  core.machine.devices.filter((device) => {
    const by = device.driver.kind === 'selftest' ? core.bound.get(device) : undefined
    return by === undefined || by.context === context
  })

/** A bound device and what is attached to it. */
export function getDevice(
  call: Call,
  request: { readonly deviceId: number },
): { device: DeviceInfo; grant: Grant; attachments: readonly { pasid: number; domainId: number }[] } {
  const device = call.look(Device, request.deviceId, 'device_id')
  // One that its own call still fills has no id for others.
  const attachments = [...device.slots]
    .filter(([, domain]) => call.context.objects.find(domain.id) === domain)
    .map(([pasid, domain]) => ({ pasid, domainId: domain.id }))
    .sort((a, b) => a.pasid - b.pasid)
  return { device: describe(call, device.platform), grant: device.grant, attachments }
}

/** Takes a device for this context. */
export function bindDevice(
  call: Call,
  request: { readonly deviceName: string; readonly grant: number; readonly tokenUuid?: Uint8Array },
): { deviceId: number } {
  const platform = visibleDevices(call).find(({ name }) => name === request.deviceName)
  if (platform === undefined) {
    const reason = `the platform has no device ${request.deviceName}; ListDevices names them`
    throw new Refusal('ENODEV', reason, { device_name: request.deviceName })
  }
  const grant = grantOf(request.grant, platform)
  refuseBound(call, platform)
  if (request.tokenUuid !== undefined) {
    throw new Refusal('EINVAL', 'the device asks for no token', { device_name: platform.name })
  }
  if (platform.mediated !== undefined && request.grant === GRANT.WHOLE_DEVICE) {
    const { parent, pasid } = platform.mediated
    const reason = `${platform.name} is PASID ${pasid} of ${parent}, not a whole device; leave the grant out`
    throw new Refusal('EPERM', reason, { parent, pasid })
  }
  refuseFamily(call, platform, grant)
  const device = call.make(new Device(call.newId(), call.context, platform, grant))
  return { deviceId: device.id }
}

/** Detaches everything and gives the device back. */
export function unbindDevice(call: Call, request: { readonly deviceId: number }): Empty | Promise<Empty> {
  const device = call.take(Device, request.deviceId, 'device_id')
  if (device.platform.driver.kind === 'selftest') {
    const reason = 'the self-test has bound it: it is unbound when the test device is destroyed'
    throw new Refusal('EBUSY', reason, { device: device.id })
  }
  return call.inSlices(
    (function* () {
      yield* device.unbinding()
      return {}
    })(),
  )
}

interface RidRequest {
  readonly deviceId: number
  readonly ptId: number
}

interface PasidRequest extends RidRequest {
  readonly pasid: number
}

/** Attaches an empty RID. */
export function attachRid(call: Call, request: RidRequest): Attached | Promise<Attached> {
  const device = ridOf(call, request)
  return attached(call, attach(call, device, RID_SLOT, pageTableOf(call, request.ptId)))
}

/** Moves an occupied RID. */
export function replaceRid(call: Call, request: RidRequest): Replaced | Promise<Replaced> {
  const device = ridOf(call, request)
  return replaced(call, device, RID_SLOT, replace(call, device, RID_SLOT, pageTableOf(call, request.ptId)))
}

/** Blocks a RID. */
export function detachRid(call: Call, request: { readonly deviceId: number }): Record<never, never> {
  call.after(call.take(Device, request.deviceId, 'device_id').detach(RID_SLOT))
  return {}
}

/** Attaches an empty PASID. */
export function attachPasid(call: Call, request: PasidRequest): Attached | Promise<Attached> {
  const device = call.take(Device, request.deviceId, 'device_id')
  const slot = pasidSlot(call, device, request.pasid)
  const target = pageTableOf(call, request.ptId)
  const there = device.slots.get(slot)
  if (slot !== RID_SLOT || there === undefined) return attached(call, attach(call, device, slot, target))
  return attached(call, attachRoot(call, device, there, target))
}

/** Moves an occupied PASID. */
export function replacePasid(call: Call, request: PasidRequest): Replaced | Promise<Replaced> {
  const device = call.take(Device, request.deviceId, 'device_id')
  const slot = pasidSlot(call, device, request.pasid)
  const target = pageTableOf(call, request.ptId)
  const there = device.slots.get(slot)
  if (slot !== RID_SLOT || there === undefined) return replaced(call, device, slot, replace(call, device, slot, target))
  return replaced(call, device, slot, replaceRoot(call, device, there, target))
}

/** Blocks a PASID. */
export function detachPasid(
  call: Call,
  request: { readonly deviceId: number; readonly pasid: number },
): Record<never, never> {
  const device = call.take(Device, request.deviceId, 'device_id')
  // PASID 0 is no PASID, but in a window; and the RID has a call of its own.
  if (request.pasid !== RID_SLOT) call.after(device.detach(request.pasid))
  else detachRoot(call, device)
  return {}
}

/** Function-level reset: attachments stay. */
export function resetDevice(call: Call, request: { readonly deviceId: number }): { abortedCount: number } {
  const device = call.take(Device, request.deviceId, 'device_id')
  device.faults.dropParked()
  const abortedCount = device.endpoint.abort()
  call.after(device.reset())
  return { abortedCount }
}

type Empty = Record<never, never>

interface Attached {
  readonly domainId: number
}

interface Replaced extends Attached {
  readonly hitless: boolean
}

function attached(call: Call, work: Work<Domain>): Attached | Promise<Attached> {
  return call.inSlices(
    (function* () {
      return { domainId: (yield* work).id }
    })(),
  )
}

function replaced(call: Call, device: Device, slot: number, work: Work<Domain>): Replaced | Promise<Replaced> {
  return call.inSlices(
    (function* () {
      const old = device.slots.get(slot)
      const next = yield* work
      // By itself it was replaced by nothing at all.
      return { domainId: next.id, hitless: next === old || (device.platform.device.lastSetWasHitless ?? false) }
    })(),
  )
}

function describe(call: Call, platform: PlatformDevice): DeviceInfo {
  const { device, mediated } = platform
  const bound = call.core.bound.get(platform)
  return {
    name: platform.name,
    unitName: platform.driver.name,
    sourceId: device.rid,
    // A mediated device is one PASID and has none of its own.
    pasidBits: mediated === undefined && device.maxPasids > 0 ? Math.floor(Math.log2(device.maxPasids)) : 0,
    ats: platform.ats ?? false,
    pri: platform.pri ?? false,
    parentName: mediated?.parent ?? '',
    parentPasid: mediated?.pasid ?? 0,
    bound: bound !== undefined,
    deviceId: bound !== undefined && bound.context === call.context ? bound.id : 0,
  }
}

function grantOf(asked: number, { mediated }: PlatformDevice): Grant {
  if (asked === 0) return mediated === undefined ? GRANT.WHOLE_DEVICE : GRANT.PASID_ONLY
  if (asked === GRANT.WHOLE_DEVICE || asked === GRANT.PASID_ONLY) return asked
  throw new Refusal('EINVAL', `grant ${asked} is not known; WHOLE_DEVICE is 1 and PASID_ONLY 2`, { grant: asked })
}

function refuseBound(call: Call, platform: PlatformDevice): void {
  const by = call.core.bound.get(platform)
  if (by === undefined) return
  if (by.context === call.context) {
    throw new Refusal('EINVAL', `this context has bound ${platform.name} already, as id ${by.id}`, { device_id: by.id })
  }
  const facts = { device_name: platform.name }
  // Of another user's contexts nothing is told but that they are there.
  if (by.context.uid !== call.context.uid) throw new Refusal('EBUSY', `another user has bound ${platform.name}`, facts)
  const { number, label } = by.context
  const named = label === '' ? '' : `, ${JSON.stringify(label)},`
  const reason = `context ${number}${named} has bound ${platform.name}; it is free when that context unbinds it or ends`
  throw new Refusal('EBUSY', reason, { ...facts, context_number: number, label })
}

/** A parent taken whole and its mediated children exclude each other, and one PASID is one's alone. */
function refuseFamily(call: Call, platform: PlatformDevice, grant: Grant): void {
  const { bound } = call.core
  for (const [other, device] of bound) {
    if (other.mediated?.parent === platform.name && grant === GRANT.WHOLE_DEVICE) {
      const reason = `its mediated device ${other.name} is bound, and owns one of the PASIDs; bind it PASID_ONLY`
      throw new Refusal('EBUSY', reason, { child: other.name })
    }
    if (platform.mediated?.parent !== other.name) continue
    const { pasid } = platform.mediated
    if (device.grant === GRANT.WHOLE_DEVICE || device.slots.has(pasid)) {
      const how = device.grant === GRANT.WHOLE_DEVICE ? 'is bound whole' : `has PASID ${pasid} attached`
      throw new Refusal('EBUSY', `its parent ${other.name} ${how}`, { parent: other.name, pasid })
    }
  }
}

function ridOf(call: Call, request: RidRequest): Device {
  const device = call.take(Device, request.deviceId, 'device_id')
  const { mediated, name } = device.platform
  if (mediated !== undefined) {
    const { parent, pasid } = mediated
    const reason = `${name} has one slot, PASID ${pasid} of ${parent}, and no RID; use AttachPasid`
    throw new Refusal('EINVAL', reason, { parent, pasid })
  }
  if (device.grant === GRANT.WHOLE_DEVICE) return device
  const reason = `device ${device.id} was bound PASID_ONLY; bind it WHOLE_DEVICE to attach its RID`
  throw new Refusal('EPERM', reason, { device: device.id })
}

/** VFIO's table of used PASIDs has indexes below this. */
const PASID_INDEX_END = 2 ** 31

function pasidSlot(call: Call, device: Device, pasid: number): number {
  if (pasid >= PASID_INDEX_END) throw new Refusal('ENOSPC', 'PASIDs are below 2^31', { pasid })
  if (pasid === RID_SLOT) {
    if (device.slots.get(RID_SLOT)?.window !== undefined) return RID_SLOT
    throw new Refusal('EINVAL', 'PASID 0 is the RID, unless that has a window; use AttachRid', { pasid })
  }
  const { mediated, name } = device.platform
  if (mediated !== undefined) {
    if (pasid === mediated.pasid) return pasid
    const reason = `${name} has one slot, PASID ${mediated.pasid} of ${mediated.parent}`
    throw new Refusal('EINVAL', reason, { pasid, its_pasid: mediated.pasid })
  }
  refuseChilds(call.core, device.platform, pasid)
  return pasid
}
