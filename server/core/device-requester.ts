/**
 * The way into a unit for the DMA of a bound device: with IOVAs, with IOVAs that its own cache of translations may know,
 * or with places that it was granted.
 */

import { type Grant, pageOf } from './atc.js'
import type { Call } from './call.js'
import { Device, refuseChilds } from './device.js'
import { newOutcome, oneByOne, type Requester } from './dma-batch.js'
import { type AtsDoor, DMA_STATUS, type DmaOutcome, type ExplainStep } from './driver.js'
import { physicalOf } from './kept-grants.js'
import { NO_DEVICE_TLBS } from './not-offered.js'
import { Refusal } from './refusal.js'
import { failureOf } from './stale-reply.js'

/** Who makes a DMA, and how. */
export interface DmaRequest {
  readonly deviceId: number
  readonly pasid?: number
  readonly access: number
  readonly addressType: number
}

/** The contract's AddressType. */
export const ADDRESS_TYPE = { IOVA: 0, THROUGH_ATC: 1, TRANSLATED: 2 } as const

/** A requester, with who it is. */
export interface DeviceRequester extends Requester {
  readonly device: Device
  /** The PASID on its requests, or -1 for none. */
  readonly pasid: number
  /** A request may be PENDING now. */
  readonly mayPend: boolean
}

/** Where an element that is a place in the client's memory stands. */
export type RegionOf = (index: number) => number

const NO_PASID = -1

/** [SMMU 7.3.8 F_TRANSL_FORBIDDEN] */
const F_TRANSL_FORBIDDEN = 0x07

/** @throws Refusal ENOENT, EINVAL, EBUSY, EOPNOTSUPP */
export function requesterOf(
  call: Call,
  request: Omit<DmaRequest, 'access'>,
  regionOf: RegionOf = () => 0,
): DeviceRequester {
  const device = call.look(Device, request.deviceId, 'device_id')
  const pasid = devicePasid(call, device, request.pasid)
  const plain = untranslated(device, pasid)
  if (request.addressType === ADDRESS_TYPE.IOVA) return plain
  if (request.addressType === ADDRESS_TYPE.THROUGH_ATC) return throughAtc(plain, atsOf(device))
  if (request.addressType === ADDRESS_TYPE.TRANSLATED) return translated(plain, atsOf(device), regionOf)
  const { addressType: address_type } = request
  throw new Refusal('EOPNOTSUPP', `address type ${address_type} is not known`, { address_type })
}

/** The PASID on a device's requests, or -1. @throws Refusal EINVAL, EBUSY */
export function devicePasid(call: Call, { platform }: Device, asked: number | undefined): number {
  const pasid = pasidOf(platform, asked)
  refuseChilds(call.core, platform, pasid)
  return pasid
}

/** A device's side of ATS. @throws Refusal EINVAL */
export function atsOf({ id, platform }: Device): AtsDoor {
  const { ats } = platform.device
  if (platform.ats === true && ats !== undefined) return ats
  throw new Refusal('EINVAL', `${platform.name} has no ATS: ${NO_DEVICE_TLBS}`, { device: id })
}

/** What looks after a pause whether device and PASID are still whose they were. @throws Refusal ENOENT, EBUSY */
export function stays(call: Call, { deviceId, pasid = NO_PASID }: Pick<DmaRequest, 'deviceId' | 'pasid'>): () => void {
  const device = call.look(Device, deviceId, 'device_id')
  return () => {
    if (call.look(Device, deviceId, 'device_id') === device) return refuseChilds(call.core, device.platform, pasid)
    throw new Refusal('ENOENT', `device ${deviceId} was unbound meanwhile, and its id is another's`, { id: deviceId })
  }
}

function untranslated(device: Device, pasid: number): DeviceRequester {
  const { endpoint, platform, context } = device
  const { port } = platform.device
  const { earlyEnds, staleBooks } = context.core
  return {
    device,
    pasid,
    get mayPend() {
      return port.mayPend === true
    },
    translate(_index, lo, hi, access, out) {
      if (endpoint.isBlocked) return abort(out)
      if (port.mayPend !== true) return port.translate(pasid, lo, hi, access, out)
      earlyEnds.listen()
      port.translate(pasid, lo, hi, access, out)
      const ended = earlyEnds.heard(out.tag)
      // Nobody was there to answer it, and the unit was told so at once.
      if (out.status === DMA_STATUS.PENDING && ended !== undefined) Object.assign(out, ended)
    },
    translateRun(run, from, end, out) {
      const mayRun = !endpoint.isBlocked && port.mayPend !== true
      if (!mayRun || port.translateRun === undefined) return oneByOne(this, run, from, end, out)
      return port.translateRun(pasid, run, from, end, out)
    },
    explain: (_index, lo, hi, access, out) => port.explain(pasid, lo, hi, access, out),
    peek: (_index, lo, hi, access, out) => port.peek(pasid, lo, hi, access, out),
    missing: (_index, lo, hi, access) => port.missing(pasid, lo, hi, access),
    faultName: (fault) => port.faultName(fault),
    newOutcome: () => port.newOutcome?.() ?? newOutcome(),
    staleReason: () => {
      const book = endpoint.isBlocked ? undefined : staleBooks.get(platform.driver)
      return book === undefined ? '' : failureOf(book, context)
    },
  }
}

/** An IOVA that the device holds a translation of goes out as a translated request. */
function throughAtc(plain: DeviceRequester, door: AtsDoor): DeviceRequester {
  const { device, pasid } = plain
  const { atc } = device.endpoint
  const { regions } = device.context
  return {
    ...plain,
    translateRun: undefined,
    get mayPend() {
      return plain.mayPend
    },
    translate(index, lo, hi, access, out) {
      const page = pageOf(lo, hi)
      const grant = device.endpoint.isBlocked ? undefined : atc.find(pasid, page, access)
      if (grant === undefined) return plain.translate(index, lo, hi, access, out)
      const physical = physicalOf(grant, page) + (lo & 0xfff)
      // Memory that was let go would have been taken back before.
      if (regions.atPhysical(physical) !== grant.region) return plain.translate(index, lo, hi, access, out)
      if (!mayUse(device, door, grant, page, access)) return abort(out)
      sendTranslated(door, pasid, grant, physical, access, out)
    },
  }
}

/** What the device was not granted is the daemon's to refuse: a unit that trusts a device looks at no table. */
function translated(plain: DeviceRequester, door: AtsDoor, regionOf: RegionOf): DeviceRequester {
  const { device, pasid } = plain
  const { regions } = device.context
  let isForbidden = false
  let lastFault = 0
  return {
    ...plain,
    translateRun: undefined,
    mayPend: false,
    translate(index, lo, hi, access, out) {
      isForbidden = false
      if (device.endpoint.isBlocked) return abort(out)
      const region = regions.find(regionOf(index))
      const offset = (hi >>> 0) * 2 ** 32 + (lo >>> 0)
      const isInside = region !== undefined && offset < region.memory.lengthBytes
      const grant = isInside ? device.endpoint.atc.covering(pasid, region, offset, access) : undefined
      if (region !== undefined && grant !== undefined) {
        const page = grant.page + Math.floor((offset - grant.offset) / 4096)
        if (!mayUse(device, door, grant, page, access)) return abort(out)
        sendTranslated(door, pasid, grant, region.memory.address + offset, access, out)
        lastFault = out.fault
        return
      }
      abort(out)
      if (device.platform.driver.kind !== 'smmuv3') return
      isForbidden = true
      out.status = DMA_STATUS.FAULT
      out.fault = F_TRANSL_FORBIDDEN
    },
    explain(_index, _lo, _hi, _access, out) {
      out.status = DMA_STATUS.FAULT
      out.fault = isForbidden ? F_TRANSL_FORBIDDEN : lastFault
      return isForbidden ? NOT_GRANTED : NOT_TAKEN
    },
    peek: () => false,
    missing: () => '',
    wasRecorded: () => !isForbidden,
  }
}

/**
 * Whether the unit's oracle lets a device use what it keeps of a page. What it was asked to forget it may use until it
 * has: that invalidation is on its way.
 */
function mayUse({ kept }: Device, door: AtsDoor, grant: Grant, page: number, access: number): boolean {
  if (grant.isLeaving) return true
  kept.using = grant
  const isUsed = door.used(grant.pasid, (page % 2 ** 20) * 4096, Math.floor(page / 2 ** 20), access, kept)
  kept.using = undefined
  return isUsed
}

function sendTranslated(
  door: AtsDoor,
  pasid: number,
  { sizeLg2, rights }: Grant,
  physical: number,
  access: number,
  out: DmaOutcome,
): void {
  door.translated(pasid, physical % 2 ** 32, Math.floor(physical / 2 ** 32), access, out)
  out.hit = 1
  if (out.status !== DMA_STATUS.OK) return
  out.leafLg2 = sizeLg2
  out.rights = rights
  out.untranslatedOnly = 0
}

const NOT_GRANTED: readonly ExplainStep[] = [
  {
    what: 'translated request',
    verdict: 'the device was never granted this place for such an access, or it was taken back',
  },
]

const NOT_TAKEN: readonly ExplainStep[] = [
  { what: 'translated request', verdict: 'the unit takes no translated requests of this device now' },
]

function abort(out: DmaOutcome): void {
  out.status = DMA_STATUS.ABORTED
  out.fault = 0
  out.hit = 0
}

/** A mediated device's requests carry its own PASID; others' what the request names. */
function pasidOf({ mediated, device, name }: Device['platform'], asked: number | undefined): number {
  if (mediated !== undefined) {
    if (asked === undefined) return mediated.pasid
    const reason = `${name} is PASID ${mediated.pasid} of ${mediated.parent}, which its requests carry by themselves`
    throw new Refusal('EINVAL', reason, { pasid: asked })
  }
  if (asked === undefined) return NO_PASID
  if (asked < device.maxPasids) return asked
  const reason = device.maxPasids === 0 ? 'the device has no PASIDs' : `the device has PASIDs below ${device.maxPasids}`
  throw new Refusal('EINVAL', reason, { pasid: asked, max_pasids: device.maxPasids })
}
