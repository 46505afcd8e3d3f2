/** Address spaces: mapping, copying, placing, unmapping. */

import { meet, No, no, PAGE, type Span, TOP } from './bytes.js'
import type { Area, Ioas, Opened, Pages, Paging } from './objects.js'

const FIXED = 1
const WRITEABLE = 2
const READABLE = 4

/** Memory that the program had. */
const MAPPED: readonly Span[] = [
  { start: 0x1000_0000n, last: 0x11ff_ffffn },
  { start: 0x2000_0000n, last: 0x2000_ffffn },
]
const MEMFD_BYTES = 0x20_0000n

export function alignmentOf(opened: Opened, ioas: Ioas): bigint {
  let alignment = ioas.isHuge ? 1n : PAGE
  for (const { minPage } of opened.domainsOf(ioas)) if (minPage > alignment) alignment = minPage
  for (const { viommu } of opened.all('hw-queue')) if (viommu.parent.ioas === ioas) alignment = PAGE
  return alignment
}

const isOff = ({ start, last, from }: Area, alignment: bigint): boolean =>
  start % alignment !== 0n || (last + 1n) % alignment !== 0n || from % alignment !== 0n

/** Memory is wanted now. */
function pin({ pages, from, start, last }: Area): void {
  const end = from + (last - start)
  if (pages.kind === 'file') no('EINVAL', !pages.isMemfd || end >= MEMFD_BYTES)
  else no('EFAULT', !isMapped({ start: from, last: end }))
}

/** The program has memory there. */
export const isMapped = ({ start, last }: Span): boolean =>
  MAPPED.some((span) => start >= span.start && last <= span.last)

/** A domain joins. */
export function join(opened: Opened, ioas: Ioas, paging: Paging): void {
  const now = alignmentOf(opened, ioas)
  no('EADDRINUSE', paging.minPage > now && ioas.areas.some((area) => isOff(area, paging.minPage)))
  const { start, last } = paging.aperture
  const outside: Span[] = []
  if (start > 0n) outside.push({ start: 0n, last: start - 1n })
  if (last < TOP) outside.push({ start: last + 1n, last: TOP })
  for (const span of outside) no('EADDRINUSE', isTaken(ioas, span))
  for (const area of ioas.areas) pin(area)
  for (const span of outside) ioas.reserved.push({ ...span, owner: paging })
}

export const isTaken = (ioas: Ioas, span: Span): boolean =>
  ioas.areas.some((area) => meet(area, span)) || ioas.allowed.some((area) => meet(area, span))

export interface MapRequest {
  readonly flags: number
  readonly length: bigint
  readonly iova: bigint
}

function checkFlags({ flags, length, iova }: MapRequest): void {
  no('EOPNOTSUPP', (flags & ~7) !== 0)
  no('EOVERFLOW', iova === TOP || length === TOP)
  no('EINVAL', (flags & (READABLE | WRITEABLE)) === 0)
}

export function map(opened: Opened, ioasId: number, request: MapRequest, va: bigint): bigint {
  checkFlags(request)
  const ioas = opened.get('ioas', ioasId)
  const { length, flags } = request
  no('EOVERFLOW', va + length > TOP)
  no('EINVAL', length === 0n || length > TOP - PAGE)
  const pages: Pages = { kind: 'user', isWritable: (flags & WRITEABLE) !== 0, isMemfd: false }
  return place(opened, ioas, request, [{ pages, from: va, length }])
}

export function mapFile(
  opened: Opened,
  ioasId: number,
  request: MapRequest,
  start: bigint,
  file: () => { isMemfd: boolean },
): bigint {
  checkFlags(request)
  const ioas = opened.get('ioas', ioasId)
  const { length, flags } = request
  no('EINVAL', length === 0n)
  no('EOVERFLOW', start + length - 1n > TOP)
  const pages: Pages = { kind: 'file', isWritable: (flags & WRITEABLE) !== 0, ...file() }
  return place(opened, ioas, request, [{ pages, from: start, length }])
}

export function copy(opened: Opened, dstId: number, srcId: number, request: MapRequest, src: bigint): bigint {
  const { flags, length, iova } = request
  no('EOPNOTSUPP', (flags & ~7) !== 0)
  no('EOVERFLOW', iova === TOP || length === TOP || src === TOP)
  no('EINVAL', (flags & (READABLE | WRITEABLE)) === 0)
  const from = opened.get('ioas', srcId)
  no('EINVAL', length === 0n)
  no('EOVERFLOW', src + length - 1n > TOP)
  const pieces: Piece[] = []
  for (let at = src; at < src + length; ) {
    const area = from.areas.find(({ start, last }) => start <= at && at <= last)
    if (area === undefined) throw new No('ENOENT')
    const last = area.last < src + length - 1n ? area.last : src + length - 1n
    pieces.push({ pages: area.pages, from: area.from + (at - area.start), length: last - at + 1n })
    at = last + 1n
  }
  return place(opened, opened.get('ioas', dstId), request, pieces)
}

interface Piece {
  readonly pages: Pages
  readonly from: bigint
  readonly length: bigint
}

function place(opened: Opened, ioas: Ioas, { flags, length, iova }: MapRequest, pieces: readonly Piece[]): bigint {
  const alignment = alignmentOf(opened, ioas)
  no('EINVAL', length % alignment !== 0n)
  let at = iova
  if ((flags & FIXED) !== 0) {
    no('EINVAL', iova % alignment !== 0n)
    const span = { start: iova, last: iova + length - 1n }
    no('EOVERFLOW', span.last > TOP)
    no(
      'EINVAL',
      ioas.reserved.some((other) => meet(other, span)),
    )
    no(
      'EEXIST',
      ioas.areas.some((other) => meet(other, span)),
    )
  } else at = choose(ioas, length, pieces[0].from, alignment)
  const areas: Area[] = []
  let next = at
  for (const { pages, from, length: bytes } of pieces) {
    no('EPERM', (flags & WRITEABLE) !== 0 && !pages.isWritable)
    no('EINVAL', from % alignment !== 0n)
    areas.push({ start: next, last: next + bytes - 1n, pages, from, isReadable: (flags & READABLE) !== 0 })
    next += bytes
  }
  const domains = opened.domainsOf(ioas)
  if (domains.length > 0) for (const area of areas) pin(area)
  no('EINVAL', (flags & WRITEABLE) === 0 && domains.some(({ wantsWriteable }) => wantsWriteable))
  ioas.areas = [...ioas.areas, ...areas].sort((a, b) => (a.start < b.start ? -1 : 1))
  return at
}

/** The lowest place that fits. */
function choose(ioas: Ioas, length: bigint, address: bigint, alignment: bigint): bigint {
  no('EOVERFLOW', length >= TOP / 2n)
  let step = 1n
  while (step < length) step *= 2n
  const lowestBit = address & -address
  if (address !== 0n && lowestBit < step) step = lowestBit
  if (step > PAGE) step = PAGE
  no('EINVAL', step < alignment)
  const off = address % PAGE
  const fit = ({ start, last }: Span): bigint | undefined => {
    const rounded = ((start + step - 1n) / step) * step
    if (rounded > TOP) return undefined
    const at = rounded | off
    return at < last && last - at >= length - 1n ? at : undefined
  }
  for (const window of windowsOf(ioas)) {
    const start = fit(window)
    if (start === undefined) continue
    for (const hole of holesOf([...ioas.reserved, ...ioas.areas], { start, last: window.last })) {
      const at = fit(hole)
      if (at !== undefined) return at
    }
  }
  throw new No('ENOSPC')
}

function windowsOf({ allowed }: Ioas): Span[] {
  const whole = { start: PAGE, last: TOP - PAGE }
  if (allowed.length === 0) return [whole]
  const merged: { start: bigint; last: bigint }[] = []
  for (const span of [...allowed].sort((a, b) => (a.start < b.start ? -1 : 1))) {
    const previous = merged.at(-1)
    if (previous !== undefined && previous.last + 1n === span.start) previous.last = span.last
    else merged.push({ ...span })
  }
  return merged
    .filter((span) => meet(span, whole))
    .map(({ start, last }) => ({
      start: start > whole.start ? start : whole.start,
      last: last < whole.last ? last : whole.last,
    }))
}

/** What is between spans, ascending. */
export function holesOf(spans: readonly Span[], within: Span): Span[] {
  const holes: Span[] = []
  let next = within.start
  for (const { start, last } of [...spans].sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0))) {
    if (start > within.last) break
    if (start > next) holes.push({ start: next, last: start - 1n })
    if (last >= next) next = last + 1n
  }
  if (next <= within.last) holes.push({ start: next, last: within.last })
  return holes
}

export function unmap(opened: Opened, ioas: Ioas, iova: bigint, length: bigint): bigint {
  let span = { start: 0n, last: TOP }
  const isAll = iova === 0n && length === TOP
  if (!isAll) {
    no('EOVERFLOW', iova === TOP || length === TOP)
    no('EINVAL', length === 0n)
    no('EOVERFLOW', iova + length - 1n > TOP)
    span = { start: iova, last: iova + length - 1n }
  }
  let bytes = 0n
  for (const area of [...ioas.areas].filter((each) => meet(each, span))) {
    const isLocked = opened
      .all('hw-queue')
      .some(({ viommu, span: pinned }) => viommu.parent.ioas === ioas && meet(pinned, area))
    no('EBUSY', isLocked)
    no('ENOENT', area.start < span.start || area.last > span.last)
    ioas.areas = ioas.areas.filter((each) => each !== area)
    bytes += area.last - area.start + 1n
  }
  no('ENOENT', bytes === 0n && !isAll)
  return bytes
}

export function setHuge(opened: Opened, ioas: Ioas, value: bigint): void {
  no('EINVAL', value > 1n)
  if (value === 1n) {
    ioas.isHuge = true
    return
  }
  if (!ioas.isHuge) return
  no('EINVAL', opened.domainsOf(ioas).length > 0 && ioas.areas.length > 0)
  no(
    'EADDRINUSE',
    ioas.areas.some((area) => isOff(area, PAGE)),
  )
  ioas.isHuge = false
}
