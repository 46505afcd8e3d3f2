/** Calls of bound devices that keep translations of their own and ask for pages. */

import type { TranslationsReply, TranslationsRequest } from './ats-calls.js'
import { atsStatusOf } from './ats-status.js'
import type { Call } from './call.js'
import type { Progress } from './detail.js'
import { forEachUntilRefused } from './detail.js'
import { Device } from './device.js'
import { atsOf, devicePasid, stays } from './device-requester.js'
import { type Requester, type Took, translateBatch } from './dma-batch.js'
import { DMA_ACCESS, DMA_STATUS, type DmaRun, PAGE_RESPONSE, UNTRANSLATED_ONLY } from './driver.js'
import { NO_PAGE_REQUESTS } from './not-offered.js'
import { moves, type PagesRequest, pageRequestOf } from './page-request.js'
import { Places } from './places.js'
import { Refusal } from './refusal.js'
import { Room } from './transactions.js'
import { halvesOf } from './u64.js'
import type { InvalidationInfo } from './unit-streams.js'
import type { Work } from './work.js'

/** A call of a device. */
type OfDevice<T> = T & { readonly deviceId: number }

const PAGE_MASK = ~0xfffn
const RIGHTS = DMA_ACCESS.READ | DMA_ACCESS.WRITE | DMA_ACCESS.EXECUTE

/** Fills the device's book, and tells the same to the device. @throws Refusal, of the whole */
export function* translationsOfDevice(call: Call, request: OfDevice<TranslationsRequest>): Work<TranslationsReply> {
  const device = call.look(Device, request.deviceId, 'device_id')
  const requester = requesterOf(device, devicePasid(call, device, request.pasid))
  // Each asks for the right to read, whatever else it asks for. [PCIe 10.2.2]
  const access = request.access | DMA_ACCESS.READ
  const iovas = request.iovas.map((iova) => iova & PAGE_MASK)
  const { explained_faults: explained } = call.core.limits.call
  const batch = { iovas, access, accesses: new Uint32Array(0), explained }
  const places = new Places(call.context.regions, iovas.length)
  const took: Took = (run, from, end) => {
    for (let index = from; index < end; index++) {
      if ((run.permissions[index] & RIGHTS) !== 0) grant(device, requester.pasid, iovas, access, places, run, index)
    }
  }
  const columns = yield* translateBatch(requester, batch, took, stays(call, request))
  const { outcomes, pageSizeLog2s, permissions, faults, doneCount, refusal } = columns
  const { regionIds, offsets: addresses } = places.first(doneCount)
  const statuses = outcomes.map(atsStatusOf)
  return { statuses, regionIds, addresses, pageSizeLog2s, permissions, faults, doneCount, refusal }
}

function grant(
  device: Device,
  pasid: number,
  iovas: BigUint64Array,
  access: number,
  places: Places,
  run: DmaRun,
  index: number,
): void {
  const address = run.addresses[index]
  const sizeLg2 = run.pageSizeLog2s[index]
  const rights = run.permissions[index]
  const region = places.tell(index, address)
  if (region === undefined || (rights & UNTRANSLATED_ONLY) !== 0) return
  const pages = 2 ** (sizeLg2 - 12)
  const page = Number(iovas[index] >> 12n)
  device.endpoint.grant({
    pasid,
    page: page - (page % pages),
    sizeLg2,
    region,
    offset: address - (address % 2 ** sizeLg2) - region.memory.address,
    isPrivileged: (access & DMA_ACCESS.PRIVILEGED) !== 0,
    rights: rights & RIGHTS,
    isLeaving: false,
  })
  const [lo, hi] = halvesOf(iovas[index])
  // What it has just been given it may use, whatever the oracle says.
  atsOf(device).used(pasid, lo, hi, access, device.kept)
}

/** Translation requests of a device. A blocked one's are not answered by the unit. */
function requesterOf(device: Device, pasid: number): Requester & { readonly pasid: number } {
  const door = atsOf(device)
  const { port } = device.platform.device
  return {
    pasid,
    translate(_index, lo, hi, access, out) {
      if (!device.endpoint.isBlocked) return door.request(pasid, lo, hi, access, out)
      out.status = DMA_STATUS.UNSUPPORTED
      out.fault = 0
    },
    explain: (_index, lo, hi, access, out) => door.explainRequest(pasid, lo, hi, access, out),
    peek: () => false,
    missing: () => '',
    faultName: (fault) => port.faultName(fault),
  }
}

/** Sends page requests of a device. @throws Refusal, of the whole */
export function* pagesOfDevice(
  call: Call,
  request: OfDevice<PagesRequest>,
  transactionIds: BigUint64Array,
): Work<Progress> {
  const device = call.look(Device, request.deviceId, 'device_id')
  const door = atsOf(device)
  if (device.platform.pri !== true || !door.takesPageRequests) {
    throw new Refusal('EINVAL', `${device.platform.name} has no PRI: ${NO_PAGE_REQUESTS}`, { device: device.id })
  }
  const pasid = devicePasid(call, device, request.pasid)
  const lookAgain = stays(call, request)
  const room = new Room(call.context.transactions)
  const { endpoint } = device
  try {
    return yield* forEachUntilRefused(request.requests, (one, index) => {
      lookAgain()
      const page = pageRequestOf(one, pasid)
      const isAnswered = page.isLast && moves(page)
      if (isAnswered) {
        room.take()
        const transaction = room.open()
        transactionIds[index] = transaction.id
        endpoint.expectResponse(pasid, page.group, transaction)
      }
      if (!endpoint.isBlocked) door.requestPage(page)
      else if (isAnswered) endpoint.respond(pasid, page.group, PAGE_RESPONSE.FAILURE, true)
    })
  } finally {
    room.close()
    call.context.waiters.wakeAll()
  }
}

/** Invalidations of a device that were not told, waiting for the first if asked to. @throws Refusal ENOENT */
export function* invalidationsOfDevice(
  call: Call,
  request: OfDevice<{ readonly waitMs: number }>,
  most: number,
): Work<readonly InvalidationInfo[]> {
  const { clock, limits } = call.core
  const { context } = call
  const device = call.look(Device, request.deviceId, 'device_id')
  atsOf(device)
  const until = clock.now() + Math.min(request.waitMs, limits.call.wait_ms)
  while (!device.endpoint.hasInvalidations && !context.isEnding && clock.now() < until) {
    yield context.waiters.wait(clock, until - clock.now())
    if (context.isEnding) break
    stillIs(call, device)
  }
  return device.endpoint.takeInvalidations(most)
}

/** The device has forgotten. @throws Refusal, of the whole */
export function* completionsOfDevice(
  call: Call,
  request: OfDevice<{ readonly tags: BigUint64Array; readonly timedOut: boolean }>,
): Work<Progress> {
  const device = call.look(Device, request.deviceId, 'device_id')
  atsOf(device)
  if (request.timedOut) {
    const reason = 'the daemon keeps the time of its devices: what is not completed times out by itself'
    throw new Refusal('EINVAL', reason, { limit: 'ats_completion_ms' })
  }
  return yield* forEachUntilRefused([...request.tags], (tag) => {
    stillIs(call, device)
    if (device.endpoint.complete(tag)) return
    throw new Refusal('ENOENT', 'no invalidation of this device is outstanding under this tag', { tag })
  })
}

function stillIs(call: Call, device: Device): void {
  if (call.look(Device, device.id, 'device_id') === device) return
  throw new Refusal('ENOENT', `device ${device.id} was unbound meanwhile, and its id is another's`, { id: device.id })
}
