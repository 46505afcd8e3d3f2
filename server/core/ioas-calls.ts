/** Calls about address spaces. [uAPI IOMMU_IOAS_*] */

import type { Call } from './call.js'
import { checkCount, checkFlags } from './checks.js'
import { detailOf, forEachUntilRefused, type Progress, type RefusalDetail, withIndex } from './detail.js'
import type { Range } from './driver.js'
import { IntervalMap } from './interval-map.js'
import { Ioas } from './ioas.js'
import { dropSlices, mapSlices, type Slice, slicesOf, unmapRange } from './ioas-map.js'
import { ACCOUNT_MODE, isPrivileged, payerOf } from './locked.js'
import { type Account, Pages, type PagesSource } from './pages.js'
import { Refusal, refusalOf } from './refusal.js'
import { hex, hexRange, min, PAGE, U64_MAX } from './u64.js'
import type { Work } from './work.js'

const FIXED_IOVA = 1
const WRITEABLE = 2
const READABLE = 4
const MAP_FLAGS = FIXED_IOVA | WRITEABLE | READABLE

/** The contract's AddressRange. */
export interface AddressRange {
  readonly first: bigint
  readonly last: bigint
}

/** Makes an empty address space. */
export function createIoas(call: Call, request: { readonly flags: number }): { ioasId: number } {
  checkFlags(request.flags, 0)
  const ioas = call.make(new Ioas(call.newId(), call.context))
  return { ioasId: ioas.id }
}

/** Replaces the list of allowed ranges, whole or not at all. */
export function ioasAllowIovas(
  call: Call,
  request: { readonly ioasId: number; readonly ranges: readonly AddressRange[] },
): Progress {
  const refusal = refusalOf(() => {
    checkCount(call, request.ranges.length)
    allowRanges(call, request.ioasId, request.ranges)
  })
  return refusal === undefined ? { doneCount: request.ranges.length } : { doneCount: 0, refusal: detailOf(refusal) }
}

/**
 * The same for ranges that are read one by one.
 *
 * @param ranges throws a Refusal where one cannot be read
 */
export function allowRanges(call: Call, ioasId: number, ranges: Iterable<AddressRange>): void {
  const ioas = call.take(Ioas, ioasId, 'ioas_id')
  ioas.allow(checkedRanges(ranges, (count) => call.context.quota.check('allowed_ranges', count)))
}

/** The holes of the reserved set, and the alignment. */
export function ioasIovaRanges(
  call: Call,
  request: { readonly ioasId: number; readonly maxRanges?: number },
): { ranges: readonly AddressRange[]; totalCount: number; iovaAlignment: bigint; refusal?: RefusalDetail } {
  const ioas = call.look(Ioas, request.ioasId, 'ioas_id')
  const holes = ioas.reserved.holes.map(({ start, last }) => ({ first: start, last }))
  const room = request.maxRanges ?? holes.length
  const reply = { ranges: holes.slice(0, room), totalCount: holes.length, iovaAlignment: ioas.alignment }
  if (room >= holes.length) return reply
  const reason = `there are ${holes.length} ranges and max_ranges is ${room}`
  return { ...reply, refusal: detailOf(new Refusal('EMSGSIZE', reason, { total: holes.length })) }
}

/** What IoasMap takes. */
export interface MapRequest {
  readonly ioasId: number
  readonly flags: number
  readonly region?: { readonly regionId: number; readonly offset: bigint }
  readonly userVa?: bigint
  readonly length: bigint
  readonly iova: bigint
}

/** Maps memory of a region, or at an address of the client's. */
export function ioasMap(call: Call, request: MapRequest): { iova: bigint } | Promise<{ iova: bigint }> {
  return call.inSlices(mapping(call, request))
}

function* mapping(call: Call, request: MapRequest): Work<{ iova: bigint }> {
  checkMap(request.flags, request.iova, request.length)
  const ioas = call.look(Ioas, request.ioasId, 'ioas_id')
  return { iova: yield* mapMemory(call, ioas, sourceOf(call, request), request) }
}

/** Maps memory whose flags have been looked at. Answers the IOVA. */
export function* mapMemory(
  call: Call,
  ioas: Ioas,
  source: PagesSource,
  request: { readonly flags: number; readonly length: bigint; readonly iova: bigint },
): Work<bigint> {
  const from = source.kind === 'client' ? source.address : source.offset
  if (from + request.length > U64_MAX) {
    throw new Refusal('EOVERFLOW', 'the source ends beyond 2^64', { source: hex(from), length: request.length })
  }
  if (request.length === 0n || request.length > U64_MAX - PAGE) {
    throw new Refusal('EINVAL', 'the length is 0, or too large for a mapping', { length: request.length })
  }
  return yield* mapNew(call, ioas, source, request)
}

/** Maps a file's memory: that of a region, by the region's file. */
export function ioasMapFile(
  call: Call,
  request: MapFileRequest & { readonly regionId?: number; readonly fd?: number },
): { iova: bigint } | Promise<{ iova: bigint }> {
  return mapFile(call, request, () => fileOf(call, request))
}

/** Where in a file, and where to. */
export interface MapFileRequest {
  readonly ioasId: number
  readonly flags: number
  readonly start: bigint
  readonly length: bigint
  readonly iova: bigint
}

/**
 * The same for any file.
 *
 * @param open finds the file, at its place in the order of checks; throws a Refusal
 */
export function mapFile(
  call: Call,
  request: MapFileRequest,
  open: () => PagesSource,
): { iova: bigint } | Promise<{ iova: bigint }> {
  checkMap(request.flags, request.iova, request.length)
  const ioas = call.look(Ioas, request.ioasId, 'ioas_id')
  if (request.length === 0n) throw new Refusal('EINVAL', 'the length is 0', { length: 0n })
  if (request.start + request.length - 1n > U64_MAX) {
    throw new Refusal('EOVERFLOW', 'the range of the file ends beyond 2^64', { start: request.start })
  }
  const source = open()
  return call.inSlices(
    (function* () {
      return { iova: yield* mapNew(call, ioas, source, request) }
    })(),
  )
}

/** What IoasCopy takes. */
export interface CopyRequest {
  readonly flags: number
  readonly dstIoasId: number
  readonly srcIoasId: number
  readonly length: bigint
  readonly dstIova: bigint
  readonly srcIova: bigint
}

/** Maps again what another range of IOVAs maps. */
export function ioasCopy(call: Call, request: CopyRequest): { dstIova: bigint } | Promise<{ dstIova: bigint }> {
  return call.inSlices(copying(call, request))
}

function* copying(call: Call, request: CopyRequest): Work<{ dstIova: bigint }> {
  const { flags, length, srcIova, dstIova } = request
  checkFlags(flags, MAP_FLAGS)
  refuseAllOnes({ length, srcIova, dstIova })
  checkRights(flags)
  const source = call.look(Ioas, request.srcIoasId, 'src_ioas_id')
  if (length === 0n) throw new Refusal('EINVAL', 'the length is 0', { length })
  const last = srcIova + length - 1n
  if (last > U64_MAX) throw new Refusal('EOVERFLOW', 'the source ends beyond 2^64', { src_iova: hex(srcIova), length })
  const slices = yield* slicesOf(source, srcIova, last)
  try {
    const destination = call.look(Ioas, request.dstIoasId, 'dst_ioas_id')
    return { dstIova: yield* mapSlices(call, destination, { ...mapSpec(flags, dstIova), slices, length }) }
  } finally {
    yield* dropSlices(slices)
  }
}

/** What IoasUnmap takes. */
export interface UnmapRequest {
  readonly ioasId: number
  readonly iova: bigint
  readonly length: bigint
}

/** Unmaps whole areas. */
export function ioasUnmap(call: Call, request: UnmapRequest): { length: bigint } | Promise<{ length: bigint }> {
  return call.inSlices(unmapping(call, request))
}

function* unmapping(call: Call, request: UnmapRequest): Work<{ length: bigint }> {
  const { iova, length } = request
  const ioas = call.look(Ioas, request.ioasId, 'ioas_id')
  const everything = iova === 0n && length === U64_MAX
  if (!everything) {
    refuseAllOnes({ iova, length })
    if (length === 0n) throw new Refusal('EINVAL', 'the length is 0', { length })
    if (iova + length - 1n > U64_MAX) {
      throw new Refusal('EOVERFLOW', 'the range ends beyond 2^64', { iova: hex(iova), length })
    }
  }
  const last = everything ? U64_MAX : iova + length - 1n
  const { removed, refusal } = yield* unmapRange(call, ioas, iova, last)
  if (refusal !== undefined) throw refusal
  if (removed > 0n || everything) return { length: removed }
  throw new Refusal('ENOENT', 'nothing is mapped in the range', { range: hexRange({ start: iova, last }) })
}

/** One operation of a batch. */
export interface BatchOperation {
  readonly map?: MapRequest
  readonly unmap?: UnmapRequest
  readonly copy?: CopyRequest
}

/** What IoasBatch answers. */
type BatchReply = Progress & { results: BigUint64Array }

/** Several operations in order, up to the first that is refused. */
export function ioasBatch(
  call: Call,
  request: { readonly operations: readonly BatchOperation[] },
): BatchReply | Promise<BatchReply> {
  return call.inSlices(batch(call, request.operations))
}

function* batch(call: Call, operations: readonly BatchOperation[]): Work<BatchReply> {
  const results = new BigUint64Array(Math.min(operations.length, call.core.limits.call.batch_elements))
  const tooMany = refusalOf(() => checkCount(call, operations.length))
  if (tooMany !== undefined) return { results: results.subarray(0, 0), doneCount: 0, refusal: withIndex(tooMany, 0) }
  const progress = yield* forEachUntilRefused(operations, function* (operation, index) {
    results[index] = yield* operate(call, operation)
  })
  return { ...progress, results: results.subarray(0, progress.doneCount) }
}

function* operate(call: Call, { map, unmap, copy }: BatchOperation): Work<bigint> {
  if (map !== undefined) return (yield* mapping(call, map)).iova
  if (unmap !== undefined) return (yield* unmapping(call, unmap)).length
  if (copy !== undefined) return (yield* copying(call, copy)).dstIova
  throw new Refusal('EINVAL', 'the operation is empty: set map, unmap or copy')
}

function checkMap(flags: number, iova: bigint, length: bigint): void {
  checkFlags(flags, MAP_FLAGS)
  refuseAllOnes({ iova, length })
  checkRights(flags)
}

/** All ones is looked at even where the field is not used otherwise. */
function refuseAllOnes(fields: Readonly<Record<string, bigint>>): void {
  for (const [name, value] of Object.entries(fields)) {
    if (value === U64_MAX) throw new Refusal('EOVERFLOW', `${name} is all ones`, { field: name })
  }
}

function checkRights(flags: number): void {
  if ((flags & (READABLE | WRITEABLE)) !== 0) return
  throw new Refusal('EINVAL', 'neither READABLE nor WRITEABLE is asked for', { flags })
}

const mapSpec = (flags: number, iova: bigint) => ({
  protection: { read: (flags & READABLE) !== 0, write: (flags & WRITEABLE) !== 0 },
  iova: (flags & FIXED_IOVA) !== 0 ? iova : undefined,
})

function* mapNew(
  call: Call,
  ioas: Ioas,
  source: PagesSource,
  request: { readonly flags: number; readonly length: bigint; readonly iova: bigint },
): Work<bigint> {
  const { flags, length, iova } = request
  const pages = new Pages(source, length, (flags & WRITEABLE) !== 0, accountOf(call))
  try {
    const slices: readonly Slice[] = [{ pages, offset: 0n, length }]
    return yield* mapSlices(call, ioas, { ...mapSpec(flags, iova), slices, length })
  } finally {
    pages.drop()
  }
}

/** Who pays for what a call maps. */
function accountOf({ core, peer, context }: Call): Account {
  const mode = isPrivileged(peer) ? ACCOUNT_MODE.NONE : context.accountMode
  return { book: core.locked, mode, payer: payerOf(peer, context.number) }
}

function sourceOf(call: Call, { region, userVa }: MapRequest): PagesSource {
  const { regions } = call.context
  if (region !== undefined) return { kind: 'region', region: regions.get(region.regionId), offset: region.offset }
  if (userVa !== undefined) return { kind: 'client', address: userVa, regions }
  throw new Refusal('EFAULT', 'no memory is named: set region or user_va')
}

function fileOf(call: Call, request: { regionId?: number; fd?: number; start: bigint }): PagesSource {
  const region = call.context.regions.all.find(({ id }) => id === request.regionId)
  if (region !== undefined) return { kind: 'file', region, offset: request.start }
  if (request.fd !== undefined) {
    throw new Refusal('EBADF', `no descriptor ${request.fd} came through the side channel`, { fd: request.fd })
  }
  throw new Refusal('EBADF', 'no file is named: region_id is no region of this context', {
    region: request.regionId ?? 0,
  })
}

/** @param charge refuses so many, before more are looked at */
function checkedRanges(ranges: Iterable<AddressRange>, charge: (count: number) => void): readonly Range[] {
  const checked = new IntervalMap<Range>()
  let index = -1
  for (const { first: start, last } of ranges) {
    charge(++index + 1)
    if (start >= last) {
      throw new Refusal('EINVAL', 'a range has at least two bytes: first is not below last', { index })
    }
    // What lies beyond 2^64 is nobody's to allow or to reserve, and the map has no place for it.
    const within = { start: min(start, U64_MAX), last: min(last, U64_MAX) }
    const other = checked.firstIn(within.start, within.last)
    if (other !== undefined) {
      const reason = `${hexRange({ start, last })} overlaps ${hexRange(other)} of the same list`
      throw new Refusal('EINVAL', reason, { index })
    }
    checked.insert(within.start, within.last, { start, last })
  }
  return [...checked]
}
