/**
 * DMA by bound devices. What is not attached is blocked by the tables themselves, and what a device reaches is a region
 * of its context, as nothing else is ever mapped: but through a PASID that is a mediated device's, which may be another
 * context's. So there is nothing to check here but the request, and whose its PASID is.
 */

import type { Call } from './call.js'
import { checkBytes, checkCount } from './checks.js'
import { detailOf, type Progress, type RefusalDetail, refusalIn } from './detail.js'
import { Device, refuseChilds } from './device.js'
import { type BatchColumns, checkAccess, newOutcome, type Requester, translateBatch } from './dma-batch.js'
import { type Move, type Moved, moveOne } from './dma-move.js'
import { DMA_ACCESS, type DmaOutcome } from './driver.js'
import { type Explanation, explainOne } from './explanation.js'
import { Refusal, refusalOf } from './refusal.js'
import { U64_MAX } from './u64.js'
import type { Place } from './walk-step.js'
import { isLook, type Work } from './work.js'

const NO_PASID = -1

/** Who makes a DMA, and how. */
interface DmaRequest {
  readonly deviceId: number
  readonly pasid?: number
  readonly access: number
  readonly addressType: number
}

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
  let requester: Requester = NOBODY
  let lookAgain = (): void => {}
  const refusal = refusalOf(() => {
    checkCount(call, request.iovas.length)
    requester = requesterOf(call, request)
    lookAgain = stays(call, request)
  })
  const { explained_faults: explained } = call.core.limits.call
  const batch = refusal === undefined ? request : { iovas: NONE, accesses: new Uint32Array(0), access: 0 }
  const regionIds = new Uint32Array(batch.iovas.length)
  const offsets = new BigUint64Array(batch.iovas.length)
  const halves = new Uint32Array(offsets.buffer)
  const took = (index: number, { address }: DmaOutcome): void => {
    const region = regions.atPhysical(address)
    if (region === undefined) return
    const offset = address - region.memory.address
    regionIds[index] = region.id
    halves[2 * index] = offset
    halves[2 * index + 1] = offset / 2 ** 32
  }
  const columns = yield* translateBatch(requester, { ...batch, explained }, took, lookAgain)
  const { doneCount } = columns
  const reply = { ...columns, regionIds: regionIds.subarray(0, doneCount), offsets: offsets.subarray(0, doneCount) }
  return refusal === undefined ? reply : { ...reply, refusal: detailOf(refusal) }
}

/** What DmaRead answers. */
type ReadReply = Progress & { readonly results: readonly (Moved & { readonly data: Uint8Array })[] }

/** Reads memory as the device. */
export function dmaRead(
  call: Call,
  request: DmaRequest & { readonly operations: readonly { readonly address: bigint; readonly length: number }[] },
): ReadReply | Promise<ReadReply> {
  const { operations } = request
  const results: (Moved & { data: Uint8Array })[] = []
  const move = function* (mover: Mover): Work<void> {
    const { machine } = call.core
    for (const { address, length } of operations) {
      const data = new Uint8Array(length)
      const { bytes, ...moved } = yield* mover.move(results.length, address, length, (physical, from, size) =>
        machine.readPhysical(physical, data.subarray(from, from + size)),
      )
      results.push({ ...moved, data: data.subarray(0, bytes) })
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
  request: DmaRequest & { readonly operations: readonly { readonly address: bigint; readonly data: Uint8Array }[] },
): WriteReply | Promise<WriteReply> {
  const { operations } = request
  const results: (Moved & { doneBytes: number })[] = []
  const move = function* (mover: Mover): Work<void> {
    const { machine } = call.core
    for (const { address, data } of operations) {
      const { bytes, ...moved } = yield* mover.move(results.length, address, data.length, (physical, from, size) =>
        machine.writePhysical(physical, data.subarray(from, from + size)),
      )
      results.push({ ...moved, doneBytes: bytes })
    }
  }
  const bytes = (): number => sum(operations.map(({ data }) => data.length))
  return call.inSlices(moving(call, { ...request, direction: DMA_ACCESS.WRITE, bytes }, results, move))
}

interface Moving extends DmaRequest {
  readonly operations: readonly unknown[]
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
      yield* move(moverOf(call, request, request.direction))
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
const NOBODY: Requester = {
  translate() {},
  explain: () => [],
  peek: () => false,
  missing: () => '',
  faultName: () => '',
}

function requesterOf(call: Call, request: Omit<DmaRequest, 'access'>): Requester {
  const { platform } = call.look(Device, request.deviceId, 'device_id')
  if (request.addressType !== 0) {
    throw new Refusal(
      'EOPNOTSUPP',
      'no device of this platform has an ATC: IDR0.ATS and ECAP.DT are 0; leave address_type out',
    )
  }
  const pasid = pasidOf(platform, request.pasid)
  refuseChilds(call.core, platform, pasid)
  const { port } = platform.device
  return {
    translate: (_index, lo, hi, access, out) => port.translate(pasid, lo, hi, access, out),
    explain: (_index, lo, hi, access, out) => port.explain(pasid, lo, hi, access, out),
    peek: (_index, lo, hi, access, out) => port.peek(pasid, lo, hi, access, out),
    missing: (_index, lo, hi, access) => port.missing(pasid, lo, hi, access),
    faultName: (fault) => port.faultName(fault),
  }
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

/** What looks after a pause whether device and PASID are still whose they were. @throws Refusal ENOENT, EBUSY */
function stays(call: Call, { deviceId, pasid = NO_PASID }: Pick<DmaRequest, 'deviceId' | 'pasid'>): () => void {
  const device = call.look(Device, deviceId, 'device_id')
  return () => {
    if (call.look(Device, deviceId, 'device_id') === device) return refuseChilds(call.core, device.platform, pasid)
    throw new Refusal('ENOENT', `device ${deviceId} was unbound meanwhile, and its id is another's`, { id: deviceId })
  }
}

interface Mover {
  move(index: number, iova: bigint, length: number, move: Move): Work<Moved & { bytes: number }>
}

function moverOf(call: Call, request: DmaRequest, direction: number): Mover {
  const requester = requesterOf(call, request)
  const beside = direction === DMA_ACCESS.READ ? DMA_ACCESS.PRIVILEGED | DMA_ACCESS.EXECUTE : DMA_ACCESS.PRIVILEGED
  if ((request.access & ~(beside | direction)) !== 0) {
    throw new Refusal('EINVAL', 'beside its direction an access has PRIV, and a read EXEC', { access: request.access })
  }
  const access = request.access | direction
  const out = newOutcome()
  const lookAgain = stays(call, request)
  return {
    *move(index, iova, length, move) {
      if (index > 0 && isLook(index)) {
        yield
        lookAgain()
      }
      if (length > 0 && iova + BigInt(length) - 1n > U64_MAX) {
        throw new Refusal('EOVERFLOW', 'the access ends beyond 2^64', { iova, length })
      }
      const isThere = (): boolean => refusalOf(lookAgain) === undefined
      return yield* moveOne(requester, { index, iova, length, access, isThere }, out, move)
    },
  }
}

const sum = (lengths: readonly number[]): number => lengths.reduce((total, length) => total + length, 0)

function detailWith(refusal: Refusal | undefined, index: number): RefusalDetail | undefined {
  if (refusal === undefined) return undefined
  const detail = detailOf(refusal)
  return { ...detail, context: { index: String(index), ...detail.context } }
}
