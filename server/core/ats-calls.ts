/** Calls of devices, and of raw units' streams, that keep translations of their own and ask for pages. */

import { atsStatusOf } from './ats-status.js'
import type { Call } from './call.js'
import { checkCount } from './checks.js'
import { detailOf, forEachUntilRefused, type Progress, type RefusalDetail } from './detail.js'
import { completionsOfDevice, invalidationsOfDevice, pagesOfDevice, translationsOfDevice } from './device-ats-calls.js'
import type { DmaFault } from './dma-fault.js'
import { DMA_ACCESS, DMA_REQUEST } from './driver.js'
import { moves, type PagesRequest, pageRequestOf } from './page-request.js'
import { Refusal } from './refusal.js'
import { Room } from './transactions.js'
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
export interface TranslationsReply {
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
  try {
    checkCount(call, request.iovas.length)
    return yield* isDevices(request) ? translationsOfDevice(call, request) : translationsOfStream(call, request)
  } catch (error) {
    if (error instanceof Refusal) return { ...NO_TRANSLATIONS, refusal: detailOf(error) }
    throw error
  }
}

function* translationsOfStream(call: Call, request: TranslationsRequest): Work<TranslationsReply> {
  const { unit, sourceId } = streamOf(call, request)
  const pasid = pasidOf(request)
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
        const page = { ...pageRequestOf(one, pasid), sourceId }
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
      const progress = yield* isDevices(request)
        ? wholeRefused(call, requests.length, pagesOfDevice(call, request, transactionIds))
        : withStream(call, request, requests.length, send)
      return { ...progress, transactionIds: transactionIds.subarray(0, progress.doneCount) }
    })(),
  )
}

/** ATS Invalidate Requests, waiting for the first if asked to. */
export function pollInvalidations(
  call: Call,
  request: Asking & { readonly maxInvalidations: number; readonly waitMs: number },
): { invalidations: readonly InvalidationInfo[] } | Promise<{ invalidations: readonly InvalidationInfo[] }> {
  const { batch_elements: elements } = call.core.limits.call
  const most = request.maxInvalidations === 0 ? elements : Math.min(request.maxInvalidations, elements)
  if (isDevices(request)) {
    const told = invalidationsOfDevice(call, request, most)
    return call.inSlices(
      (function* () {
        return { invalidations: yield* told }
      })(),
    )
  }
  const { unit, sourceId } = streamOf(call, request)
  const { streams } = unit
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
  if (isDevices(request)) return call.inSlices(wholeRefused(call, tags.length, completionsOfDevice(call, request)))
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

/** A bound device asks; a stream wins where both are named. */
const isDevices = <T extends Asking>(request: T): request is T & { readonly deviceId: number } =>
  request.stream === undefined && request.deviceId !== undefined

/** @throws Refusal EINVAL (nobody asks), ENOENT */
function streamOf(call: Call, { stream }: Asking): Stream {
  if (stream !== undefined) return { unit: call.look(Unit, stream.unitId, 'unit_id'), sourceId: stream.sourceId }
  throw new Refusal('EINVAL', 'nothing says who asks: set device_id, or stream of a raw unit')
}

/** A batch that may be refused as a whole. */
function* wholeRefused(call: Call, count: number, work: Work<Progress>): Work<Progress> {
  try {
    checkCount(call, count)
    return yield* work
  } catch (error) {
    if (error instanceof Refusal) return { doneCount: 0, refusal: detailOf(error) }
    throw error
  }
}

/** A batch of a stream whose unit stays until it is done. */
function* withStream(
  call: Call,
  request: Asking,
  count: number,
  act: (stream: Stream) => Work<Progress>,
): Work<Progress> {
  return yield* wholeRefused(
    call,
    count,
    (function* () {
      const stream = streamOf(call, request)
      stream.unit.hold(call)
      try {
        return yield* act(stream)
      } finally {
        stream.unit.drop(call)
      }
    })(),
  )
}
