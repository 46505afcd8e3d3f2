/**
 * DMA by bound devices. What is not attached is blocked by the tables themselves, and what a device reaches is a region
 * of its context, as nothing else is ever mapped: but through a PASID that is a mediated device's, which may be another
 * context's. So there is nothing to check here but the request, and whose its PASID is.
 */

import type { Call } from './call.js'
import { checkBytes, checkCount } from './checks.js'
import { detailOf, type Progress, type RefusalDetail, refusalIn } from './detail.js'
import { ADDRESS_TYPE, type DeviceRequester, type DmaRequest, requesterOf, stays } from './device-requester.js'
import { type BatchColumns, checkAccess, noColumns, type Took, translateBatch } from './dma-batch.js'
import { Mover, translationKeeper } from './dma-held.js'
import type { Moved } from './dma-move.js'
import { DMA_ACCESS } from './driver.js'
import { type Explanation, explainOne } from './explanation.js'
import { Places } from './places.js'
import { Refusal, refusalOf } from './refusal.js'
import { Room } from './transactions.js'
import type { Place } from './walk-step.js'
import type { Work } from './work.js'

/** What Translate takes. */
export interface TranslateRequest extends DmaRequest {
  readonly iovas: BigUint64Array
  readonly accesses: Uint32Array
}

/** What Translate answers. */
type TranslateReply = BatchColumns & { readonly regionIds: Uint32Array; readonly offsets: BigUint64Array }

/** Translates many IOVAs as accesses of the device would. */
export function translate(call: Call, request: TranslateRequest): TranslateReply | Promise<TranslateReply> {
  return call.inSlices(translation(call, request))
}

function* translation(call: Call, request: TranslateRequest): Work<TranslateReply> {
  const { regions } = call.context
  let requester: DeviceRequester | undefined
  let lookAgain = (): void => {}
  const refusal = refusalOf(() => {
    checkCount(call, request.iovas.length)
    if (request.addressType === ADDRESS_TYPE.TRANSLATED) {
      throw new Refusal('EINVAL', 'IOVAs are translated, plainly or THROUGH_ATC; nothing is left to do for TRANSLATED')
    }
    requester = requesterOf(call, request)
    lookAgain = stays(call, request)
  })
  if (requester === undefined)
    return { ...noColumns(), regionIds: NO_REGIONS, offsets: NONE, refusal: refusal && detailOf(refusal) }
  const { explained_faults: explained } = call.core.limits.call
  const places = new Places(regions, request.iovas.length)
  const room = new Room(call.context.transactions)
  try {
    const keeper = translationKeeper(call, requester, room)
    const batch = { ...request, explained, keeper }
    const took: Took = ({ addresses }, from, end) => {
      for (let index = from; index < end; index++) places.tell(index, addresses[index])
    }
    const columns = yield* translateBatch(requester, batch, took, lookAgain)
    return { ...columns, ...places.first(columns.doneCount) }
  } finally {
    room.close()
  }
}

/** What DmaRead answers. */
type ReadReply = Progress & { readonly results: readonly (Moved & { readonly data: Uint8Array })[] }

/** Reads memory as the device. */
export function dmaRead(
  call: Call,
  request: DmaRequest & {
    readonly operations: readonly { readonly address: bigint; readonly length: number; readonly regionId?: number }[]
  },
): ReadReply | Promise<ReadReply> {
  const { operations } = request
  const results: (Moved & { data: Uint8Array })[] = []
  const move = function* (mover: Mover): Work<void> {
    const { machine } = call.core
    for (const { address, length } of operations) {
      const data = new Uint8Array(length)
      const { bytes, ...moved } = yield* mover.move(address, {
        length,
        data: () => data,
        move: (physical, from, size) => machine.readPhysical(physical, data.subarray(from, from + size)),
      })
      // What is still read goes on in the same bytes.
      const read = moved.transactionId === 0n ? data.subarray(0, bytes) : data.slice(0, bytes)
      results.push({ ...moved, data: read })
    }
  }
  const bytes = (): number => sum(operations.map(({ length }) => length))
  return call.inSlices(moving(call, { ...request, direction: DMA_ACCESS.READ, bytes }, results, move))
}

/** What DmaWrite answers. */
type WriteReply = Progress & { readonly results: readonly (Moved & { readonly doneBytes: number })[] }

/** Writes memory as the device. */
export function dmaWrite(
  call: Call,
  request: DmaRequest & {
    readonly operations: readonly { readonly address: bigint; readonly data: Uint8Array; readonly regionId?: number }[]
  },
): WriteReply | Promise<WriteReply> {
  const { operations } = request
  const results: (Moved & { doneBytes: number })[] = []
  const move = function* (mover: Mover): Work<void> {
    const { machine } = call.core
    for (const { address, data: given } of operations) {
      let data = given
      const { bytes, ...moved } = yield* mover.move(address, {
        length: given.length,
        move: (physical, from, size) => machine.writePhysical(physical, data.subarray(from, from + size)),
        // The message that it came in is not kept.
        held: () => {
          data = given.slice()
        },
      })
      results.push({ ...moved, doneBytes: bytes })
    }
  }
  const bytes = (): number => sum(operations.map(({ data }) => data.length))
  return call.inSlices(moving(call, { ...request, direction: DMA_ACCESS.WRITE, bytes }, results, move))
}

interface Moving extends DmaRequest {
  readonly operations: readonly { readonly regionId?: number }[]
  readonly direction: number
  readonly bytes: () => number
}

/** Checks what reads and writes have in common, and moves up to the first operation that is refused. */
function* moving<T>(
  call: Call,
  request: Moving,
  results: readonly T[],
  move: (mover: Mover) => Work<void>,
): Work<Progress & { results: readonly T[] }> {
  const refusal = yield* refusalIn(
    (function* () {
      checkCount(call, request.operations.length)
      checkBytes(call, request.bytes())
      const mover = moverOf(call, request)
      try {
        yield* move(mover)
      } finally {
        mover.close()
      }
    })(),
  )
  return { results, doneCount: results.length, refusal: detailWith(refusal, results.length) }
}

/** Walks the tables for one access and shows each step; nothing changes. */
export function explain(
  call: Call,
  request: { readonly deviceId: number; readonly pasid?: number; readonly iova: bigint; readonly access: number },
): { explanation: Explanation } {
  const requester = requesterOf(call, { ...request, addressType: 0 })
  const access = request.access === 0 ? DMA_ACCESS.READ : request.access
  checkAccess(access)
  const { regions } = call.context
  const locate = (physical: number): Place | undefined => {
    const region = regions.atPhysical(physical)
    // A region that was destroyed may still be mapped; it has no name any more.
    if (region === undefined || region.id === 0) return undefined
    return { regionId: region.id, offset: BigInt(physical - region.memory.address) }
  }
  return { explanation: explainOne(requester, request.iova, access, { ownsBus: false, locate }) }
}

const NONE = new BigUint64Array(0)
const NO_REGIONS = new Uint32Array(0)

function moverOf(call: Call, request: Moving): Mover {
  const { operations, direction } = request
  const requester = requesterOf(call, request, (index) => operations[index].regionId ?? 0)
  const beside = direction === DMA_ACCESS.READ ? DMA_ACCESS.PRIVILEGED | DMA_ACCESS.EXECUTE : DMA_ACCESS.PRIVILEGED
  if ((request.access & ~(beside | direction)) !== 0) {
    throw new Refusal('EINVAL', 'beside its direction an access has PRIV, and a read EXEC', { access: request.access })
  }
  return new Mover(call, requester, request.access | direction, stays(call, request))
}

const sum = (lengths: readonly number[]): number => lengths.reduce((total, length) => total + length, 0)

function detailWith(refusal: Refusal | undefined, index: number): RefusalDetail | undefined {
  if (refusal === undefined) return undefined
  const detail = detailOf(refusal)
  return { ...detail, context: { index: String(index), ...detail.context } }
}
