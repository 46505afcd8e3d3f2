/** Calls of streams that keep translations of their own and ask for pages. Streams of raw units, that is. */

import { atsStatusOf } from './ats-status.js'
import type { Call } from './call.js'
import { checkCount } from './checks.js'
import { detailOf, forEachUntilRefused, type Progress, type RefusalDetail } from './detail.js'
import { Device } from './device.js'
import type { DmaFault } from './dma-fault.js'
import { DMA_ACCESS, DMA_REQUEST } from './driver.js'
import type { StreamPageRequest } from './machine.js'
import { NO_DEVICE_TLBS, NO_PAGE_REQUESTS } from './not-offered.js'
import { Refusal } from './refusal.js'
import { Room } from './transactions.js'
import { halvesOf } from './u64.js'
import { Unit } from './unit.js'
import { waitOn } from './unit-calls.js'
import { pasidOf, translateOn } from './unit-dma-calls.js'
import { requesterOf } from './unit-requester.js'
import type { InvalidationInfo } from './unit-streams.js'
import type { Work } from './work.js'

/** Who asks: one of the two. */
interface Asking {
  readonly deviceId?: number
  readonly stream?: { readonly unitId: number; readonly sourceId: number }
}

/** A stream of a raw unit. */
interface Stream {
  readonly unit: Unit
  readonly sourceId: number
}

const PAGE_MASK = ~0xfffn

/** What RequestTranslations takes. */
export interface TranslationsRequest extends Asking {
  readonly pasid?: number
  readonly access: number
  readonly iovas: BigUint64Array
}

/** What RequestTranslations answers. */
interface TranslationsReply {
  readonly statuses: Uint32Array
  readonly regionIds: Uint32Array
  readonly addresses: BigUint64Array
  readonly pageSizeLog2s: Uint32Array
  readonly permissions: Uint32Array
  readonly faults: readonly DmaFault[]
  readonly doneCount: number
  readonly refusal?: RefusalDetail
}

/** ATS Translation Requests. */
export function requestTranslations(
  call: Call,
  request: TranslationsRequest,
): TranslationsReply | Promise<TranslationsReply> {
  return call.inSlices(translations(call, request))
}

function* translations(call: Call, request: TranslationsRequest): Work<TranslationsReply> {
  let stream: Stream
  let pasid: number
  try {
    checkCount(call, request.iovas.length)
    stream = streamOf(call, request)
    pasid = pasidOf(request)
  } catch (error) {
    if (error instanceof Refusal) return { ...NO_TRANSLATIONS, refusal: detailOf(error) }
    throw error
  }
  const { unit, sourceId } = stream
  const sender = { sourceIds: Uint32Array.of(sourceId), pasid, type: DMA_REQUEST.TRANSLATION }
  // Each asks for the right to read, whatever else it asks for. [PCIe 10.2.2]
  const access = request.access | DMA_ACCESS.READ
  const iovas = request.iovas.map((iova) => iova & PAGE_MASK)
  const batch = { iovas, access, accesses: new Uint32Array(0) }
  const columns = yield* translateOn(call, unit, requesterOf(unit.raw, sender), batch)
  const { outcomes, addresses, pageSizeLog2s, permissions, faults, doneCount, refusal } = columns
  // What gives no right is no translation: its address means nothing.
  for (const [i, rights] of permissions.entries()) if (rights === 0) addresses[i] = 0n
  const statuses = outcomes.map(atsStatusOf)
  return { ...NO_TRANSLATIONS, statuses, addresses, pageSizeLog2s, permissions, faults, doneCount, refusal }
}

/** What RequestPages takes. */
export interface PagesRequest extends Asking {
  readonly pasid?: number
  readonly requests: readonly {
    readonly iova: bigint
    readonly access: number
    readonly groupIndex: number
    readonly last: boolean
  }[]
}

/** What RequestPages answers. */
type PagesReply = Progress & { readonly transactionIds: BigUint64Array }

/** PRI Page Requests. */
export function requestPages(call: Call, request: PagesRequest): PagesReply | Promise<PagesReply> {
  const { requests } = request
  const transactionIds = new BigUint64Array(Math.min(requests.length, call.core.limits.call.batch_elements))
  const send = function* ({ unit, sourceId }: Stream): Work<Progress> {
    const pasid = pasidOf(request)
    const { raw, streams } = unit
    if (!raw.takesPageRequests) {
      throw new Refusal('EINVAL', 'the unit takes no page requests: IDR0.PRI, or ECAP.PRS, is 0', { unit: unit.id })
    }
    const room = new Room(call.context.transactions)
    try {
      return yield* forEachUntilRefused(requests, (one, index) => {
        const page = pageRequestOf(one, sourceId, pasid)
        if (page.isLast && moves(page)) {
          room.take()
          transactionIds[index] = streams.expectResponse(page, room)
        }
        raw.requestPage(page)
      })
    } finally {
      room.close()
      call.context.waiters.wakeAll()
    }
  }
  return call.inSlices(
    (function* () {
      const progress = yield* withStream(call, request, requests.length, send, NO_PAGE_REQUESTS)
      return { ...progress, transactionIds: transactionIds.subarray(0, progress.doneCount) }
    })(),
  )
}

/** ATS Invalidate Requests, waiting for the first if asked to. */
export function pollInvalidations(
  call: Call,
  request: Asking & { readonly maxInvalidations: number; readonly waitMs: number },
): { invalidations: readonly InvalidationInfo[] } | Promise<{ invalidations: readonly InvalidationInfo[] }> {
  const { unit, sourceId } = streamOf(call, request)
  const { streams } = unit
  const { batch_elements: elements } = call.core.limits.call
  const most = request.maxInvalidations === 0 ? elements : Math.min(request.maxInvalidations, elements)
  const take = (): { invalidations: readonly InvalidationInfo[] } => ({
    invalidations: streams.takeInvalidations(sourceId, most),
  })
  return waitOn(call, unit, request.waitMs, () => streams.hasInvalidations(sourceId), take)
}

/** ATS Invalidate Completions, or that there were none in time. */
export function completeInvalidations(
  call: Call,
  request: Asking & { readonly tags: BigUint64Array; readonly timedOut: boolean },
): Progress | Promise<Progress> {
  const { tags, timedOut } = request
  const complete = withStream(call, request, tags.length, function* ({ unit, sourceId }) {
    const { raw, streams } = unit
    const progress = yield* forEachUntilRefused([...tags], function* (tag) {
      if (!streams.isOutstanding(sourceId, tag)) {
        throw new Refusal('ENOENT', 'no invalidation of this stream is outstanding under this tag', { tag })
      }
      const isHeard = raw.completeInvalidation(Number(tag), timedOut)
      // What the unit does not hear stays outstanding there, and can still time out.
      if (isHeard || timedOut) streams.forgetInvalidation(sourceId, tag)
      if (!isHeard) throw new Refusal('ENOENT', 'the unit does not hear of this invalidation now', { tag })
      yield* unit.work()
    })
    call.context.waiters.wakeAll()
    return progress
  })
  return call.inSlices(complete)
}

const NO_TRANSLATIONS: TranslationsReply = {
  statuses: new Uint32Array(0),
  regionIds: new Uint32Array(0),
  addresses: new BigUint64Array(0),
  pageSizeLog2s: new Uint32Array(0),
  permissions: new Uint32Array(0),
  faults: [],
  doneCount: 0,
}

/** @throws Refusal EINVAL (nobody asks), ENOENT, EOPNOTSUPP (a device of the platform, and why) */
function streamOf(call: Call, { deviceId, stream }: Asking, why = NO_DEVICE_TLBS): Stream {
  if (stream !== undefined) return { unit: call.look(Unit, stream.unitId, 'unit_id'), sourceId: stream.sourceId }
  if (deviceId === undefined) {
    throw new Refusal('EINVAL', 'nothing says who asks: set stream, of a raw unit')
  }
  call.look(Device, deviceId, 'device_id')
  throw new Refusal('EOPNOTSUPP', why, { device: deviceId })
}

/** A batch of a stream whose unit stays until it is done. */
function* withStream(
  call: Call,
  request: Asking,
  count: number,
  act: (stream: Stream) => Work<Progress>,
  why?: string,
): Work<Progress> {
  let held: Unit | undefined
  try {
    checkCount(call, count)
    const stream = streamOf(call, request, why)
    held = stream.unit
    held.hold(call)
    return yield* act(stream)
  } catch (error) {
    if (error instanceof Refusal) return { doneCount: 0, refusal: detailOf(error) }
    throw error
  } finally {
    held?.drop(call)
  }
}

/** READ or WRITE, without which a last request is a stop marker. */
const moves = ({ access }: StreamPageRequest): boolean => (access & (DMA_ACCESS.READ | DMA_ACCESS.WRITE)) !== 0

/** Bits of a page request's access. */
const PAGE_ACCESS = DMA_ACCESS.READ | DMA_ACCESS.WRITE | DMA_ACCESS.EXECUTE | DMA_ACCESS.PRIVILEGED

/** Page Request Group Indices have 9 bits. [PCIe 10.4.1] */
const GROUP_END = 512

/** @throws Refusal EINVAL */
function pageRequestOf(
  { iova, access, groupIndex: group, last: isLast }: PagesRequest['requests'][number],
  sourceId: number,
  pasid: number,
): StreamPageRequest {
  if (group >= GROUP_END) throw new Refusal('EINVAL', 'a group index has at most 9 bits', { group_index: group })
  if ((access & ~PAGE_ACCESS) !== 0) throw new Refusal('EINVAL', 'an access has bits of AccessFlag', { access })
  const [lo, hi] = halvesOf(iova & PAGE_MASK)
  const request = { sourceId, pasid, lo, hi, access, group, isLast }
  if (moves(request)) return request
  if (isLast && pasid >= 0) return request
  throw new Refusal('EINVAL', 'a page request has READ or WRITE; a stop marker has neither, but last and a PASID', {
    access,
  })
}
