/**
 * Calls about the log of writes that hardware keeps in a domain's tables. They go on beside calls that map and unmap, as
 * the kernel's do; the domain stays until they end. [uAPI IOMMU_HWPT_SET_DIRTY_TRACKING, IOMMU_HWPT_GET_DIRTY_BITMAP]
 */

import type { Call } from './call.js'
import { checkFlags } from './checks.js'
import { bitmapSink, bitsIn, cleanAll, type DirtySink, type DirtySpan, readDirty, spanOf } from './dirty-bits.js'
import { DirtyRuns, type RunColumns } from './dirty-runs.js'
import type { DirtyOps } from './driver.js'
import { PagingDomain } from './paging-domain.js'
import { assert, Refusal } from './refusal.js'
import { hex, U64_MAX } from './u64.js'
import type { Work } from './work.js'

const ENABLE = 1
const NO_CLEAR = 1

const NO_BITS = new Uint8Array(0)

type Empty = Record<never, never>

/** What SetDirtyTracking takes. */
export interface TrackingRequest {
  readonly domainId: number
  readonly flags: number
}

/** Switches dirty tracking. */
export function setDirtyTracking(call: Call, request: TrackingRequest): Empty | Promise<Empty> {
  return call.inSlices(switchTracking(call, request))
}

/** The same as work. Switching on makes every page clean first, also when it is on. */
export function* switchTracking(call: Call, { domainId, flags }: TrackingRequest): Work<Empty> {
  checkFlags(flags, ENABLE)
  const domain = call.take(PagingDomain, domainId, 'domain_id')
  const dirty = dirtyOf(domain)
  domain.hold(call)
  try {
    if (flags === ENABLE) {
      yield* cleanAll(domain)
      yield domain.ops.flush()
    }
    yield dirty.setTracking(flags === ENABLE)
    return {}
  } finally {
    domain.drop(call)
  }
}

/** What GetDirtyBitmap takes. */
export interface BitmapRequest {
  readonly domainId: number
  readonly flags: number
  readonly iova: bigint
  readonly length: bigint
  readonly pageSize: bigint
}

/** What GetDirtyBitmap answers: a bitmap or runs. */
type BitmapReply = Partial<RunColumns> & { readonly bitmap: Uint8Array; readonly nextIova?: bigint }

/** Which pages of a range were written, as a bitmap of its own or as runs. */
export function getDirtyBitmap(
  call: Call,
  request: BitmapRequest & { readonly asRuns: boolean },
): BitmapReply | Promise<BitmapReply> {
  return call.inSlices(request.asRuns ? readRuns(call, request) : readBits(call, request))
}

function* readBits(call: Call, request: BitmapRequest): Work<BitmapReply> {
  let bitmap = new Uint8Array(0)
  const open = (span: DirtySpan): DirtySink => {
    bitmap = new Uint8Array(bytesOf(call, span))
    return bitmapSink(bitmap, span)
  }
  yield* readBitmap(call, request, open)
  return { bitmap }
}

/** The range may be as long as addresses are; a reply that is full says where to go on. */
function* readRuns(call: Call, request: BitmapRequest): Work<BitmapReply> {
  const { batch_elements: most } = call.core.limits.call
  let runs: DirtyRuns | undefined
  const open = (span: DirtySpan): DirtySink => {
    runs = new DirtyRuns(span)
    return runs.sink
  }
  const nextIova = yield* readBitmap(call, request, open, () => runs !== undefined && runs.count >= most)
  assert(runs !== undefined, 'what was read went somewhere')
  return { bitmap: NO_BITS, ...runs.columns(), nextIova }
}

/**
 * Tells which pages of a range were written. Without NO_CLEAR they are clean afterwards, and no cache remembers that
 * they were not.
 *
 * @param open makes what takes the bits, once nothing but it can refuse the call
 * @param isFull it takes no more for now
 * @returns where to go on when it was full
 * @throws Refusal EOPNOTSUPP, ENOENT, EOVERFLOW, EINVAL, in the kernel's order
 */
export function* readBitmap(
  call: Call,
  request: BitmapRequest,
  open: (span: DirtySpan) => DirtySink,
  isFull?: () => boolean,
): Work<bigint | undefined> {
  checkFlags(request.flags, NO_CLEAR)
  const domain = call.look(PagingDomain, request.domainId, 'domain_id')
  const span = checkSpan(domain, request)
  dirtyOf(domain)
  call.core.failPoint?.('dirty bitmap')
  const clears = request.flags !== NO_CLEAR
  const sink = open(span)
  domain.hold(call)
  try {
    const next = yield* readDirty(domain, span, clears, sink, isFull)
    if (clears) yield domain.ops.flush()
    return next
  } finally {
    domain.drop(call)
  }
}

/** The masks are taken as they are: a page size that is no power of two is not refused for that. */
function checkSpan({ ioas }: PagingDomain, { iova, length, pageSize }: BitmapRequest): DirtySpan {
  // In 64 bits, so that a length of 0 at IOVA 0 is everything, and anywhere else is too much.
  const last = iova + ((length - 1n) & U64_MAX)
  if (last > U64_MAX) {
    const reason = length === 0n ? 'the length is 0' : 'the range ends beyond 2^64'
    throw new Refusal('EOVERFLOW', reason, { iova: hex(iova), length })
  }
  refuseMisaligned(iova, last, ioas.alignment, `the alignment of IOAS ${ioas.id}`)
  if (pageSize === 0n) throw new Refusal('EINVAL', 'page_size is 0')
  refuseMisaligned(iova, last, pageSize, 'page_size')
  return spanOf(iova, last, pageSize)
}

function refuseMisaligned(iova: bigint, last: bigint, to: bigint, what: string): void {
  if (((iova | (last + 1n)) & (to - 1n)) === 0n) return
  const facts = { iova: hex(iova), end: hex(last + 1n), alignment: to }
  throw new Refusal('EINVAL', `the range does not begin and end at multiples of ${what}, ${to} bytes`, facts)
}

function dirtyOf(domain: PagingDomain): DirtyOps {
  if (domain.ops.dirty !== undefined) return domain.ops.dirty
  const reason = `paging domain ${domain.id} was made without DIRTY_TRACKING, so its tables keep no log of writes`
  throw new Refusal('EOPNOTSUPP', reason, { domain: domain.id })
}

/** Bytes of a bitmap that a reply carries. */
function bytesOf(call: Call, span: DirtySpan): number {
  const bytes = (bitsIn(span) + 7n) / 8n
  const { batch_bytes: most } = call.core.limits.call
  if (bytes <= BigInt(most)) return Number(bytes)
  const facts = { limit: 'batch_bytes', value: most, asked: bytes }
  throw new Refusal('EMSGSIZE', `the limit batch_bytes is ${most} and the bitmap has ${bytes}; ask in parts`, facts)
}
