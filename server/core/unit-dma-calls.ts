/** Calls that make the streams of raw units do DMA. */

import type { Call } from './call.js'
import { checkCount } from './checks.js'
import { detailOf } from './detail.js'
import { type BatchColumns, checkAccess, type Keeper, noColumns, translateBatch } from './dma-batch.js'
import { DMA_ACCESS, DMA_REQUEST } from './driver.js'
import { type Explanation, explainOne } from './explanation.js'
import { Refusal } from './refusal.js'
import { failureOf } from './stale-reply.js'
import { Room } from './transactions.js'
import type { Unit } from './unit.js'
import { unitOf } from './unit-calls.js'
import { requesterOf, type StreamRequester } from './unit-requester.js'
import type { Place } from './walk-step.js'
import type { Work } from './work.js'

/** What TranslateUnit takes. */
export interface TranslateUnitRequest {
  readonly unitId: number
  readonly sourceIds: Uint32Array
  readonly pasid?: number
  readonly access: number
  readonly iovas: BigUint64Array
  readonly accesses: Uint32Array
  readonly translated: boolean
}

/** What TranslateUnit answers. */
export type UnitColumns = BatchColumns & { readonly addresses: BigUint64Array }

/** Translates many accesses and answers with physical addresses. */
export function translateUnit(call: Call, request: TranslateUnitRequest): UnitColumns | Promise<UnitColumns> {
  return call.inSlices(unitTranslation(call, request))
}

function* unitTranslation(call: Call, request: TranslateUnitRequest): Work<UnitColumns> {
  const { sourceIds, iovas } = request
  const type = request.translated ? DMA_REQUEST.TRANSLATED : DMA_REQUEST.UNTRANSLATED
  let unit: Unit
  let requester: StreamRequester
  try {
    checkCount(call, iovas.length)
    unit = unitOf(call, request)
    checkSources(sourceIds, iovas.length)
    const { stale } = unit
    const staleReason = (): string => failureOf(stale, call.context)
    requester = requesterOf(unit.raw, { sourceIds, pasid: pasidOf(request), type }, staleReason)
  } catch (error) {
    if (error instanceof Refusal) return { ...noColumns(), addresses: new BigUint64Array(0), refusal: detailOf(error) }
    throw error
  }
  return yield* translateOn(call, unit, requester, request)
}

/** A batch whose unit stays until it is done. */
export function* translateOn(
  call: Call,
  unit: Unit,
  requester: StreamRequester,
  batch: Pick<TranslateUnitRequest, 'iovas' | 'access' | 'accesses'>,
): Work<UnitColumns> {
  const { explained_faults: explained } = call.core.limits.call
  const addresses = new BigUint64Array(batch.iovas.length)
  const halves = new Uint32Array(addresses.buffer)
  const room = new Room(call.context.transactions)
  const keeper: Keeper = {
    mayPend: true,
    makeRoom: () => room.take(),
    keep: (tag) => unit.streams.hold(requester.last, tag, room),
  }
  unit.hold(call)
  try {
    // A translation request is answered at once, whatever the tables say of stalls. [SMMU 3.9.1.2 Responses to ATS Translation Requests and Translated transactions]
    const mayPend = unit.raw.stalls && requester.last.type !== DMA_REQUEST.TRANSLATION
    const whole = { ...batch, explained, keeper: mayPend ? keeper : undefined }
    const columns = yield* translateBatch(requester, whole, ({ addresses: physical }, from, end) => {
      for (let index = from; index < end; index++) {
        halves[2 * index] = physical[index]
        halves[2 * index + 1] = physical[index] / 2 ** 32
      }
    })
    yield* unit.work()
    call.context.waiters.wakeAll()
    return { ...columns, addresses: addresses.subarray(0, columns.doneCount) }
  } finally {
    room.close()
    unit.drop(call)
  }
}

/** Walks the tables for one access and shows each step. */
export function explainUnit(
  call: Call,
  request: {
    readonly unitId: number
    readonly sourceId: number
    readonly pasid?: number
    readonly iova: bigint
    readonly access: number
    readonly requestType: number
  },
): { explanation: Explanation } {
  const { raw } = unitOf(call, request)
  const { sourceId, requestType: type } = request
  if (type > DMA_REQUEST.TRANSLATED) {
    throw new Refusal('EOPNOTSUPP', `request type ${type} is not known`, { request_type: type })
  }
  const sender = { sourceIds: Uint32Array.of(sourceId), pasid: pasidOf(request), type }
  const access = request.access === 0 ? DMA_ACCESS.READ : request.access
  checkAccess(access)
  const locate = (physical: number): Place | undefined => onBus(call, physical)
  const listener = { ownsBus: true, isTranslationRequest: type === DMA_REQUEST.TRANSLATION, locate }
  return { explanation: explainOne(requesterOf(raw, sender), request.iova, access, listener) }
}

/** Where a physical address of a raw unit is in the client's memory. */
export function onBus(call: Call, physical: number): Place | undefined {
  const region = call.context.regions.atBusAddress(physical)
  if (region === undefined) return undefined
  return { regionId: region.id, offset: BigInt(physical - (region.spec.busAddress ?? 0)) }
}

/** The PASID of a request, or -1. @throws Refusal EINVAL */
export function pasidOf({ pasid = NO_PASID }: { readonly pasid?: number }): number {
  if (pasid < PASID_END) return pasid
  throw new Refusal('EINVAL', 'a PASID has at most 20 bits', { pasid })
}

const NO_PASID = -1

/** The widest PASID: 20 bits on PCIe, and of a SubstreamID. */
const PASID_END = 2 ** 20

function checkSources(sourceIds: Uint32Array, count: number): void {
  if (sourceIds.length === 1 || sourceIds.length === count) return
  const reason = `source_ids has ${sourceIds.length} elements: give one for all, or ${count}`
  throw new Refusal('EINVAL', reason, { source_ids: sourceIds.length, iovas: count })
}
