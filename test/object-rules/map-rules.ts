/** Mapping, copying and unmapping, in the kernel's order. */

import { REGION_BYTES } from './attach-rules.js'
import { type Area, type Context, type Ioas, logMapped, meet, No, no, type Span, type Thing, TOP } from './model.js'

const FIXED = 1
const WRITEABLE = 2
const READABLE = 4
const PAGE = 4096n

/** A request to map part of a region. */
export interface MapRequest {
  readonly ioasId: number
  readonly flags: number
  readonly region: { readonly regionId: number; readonly offset: bigint }
  readonly length: bigint
  readonly iova: bigint
}

/** The address space of an id. */
export function ioasOfId(ctx: Context, id: number): Ioas {
  const found: Thing | undefined = ctx.things.get(id)
  if (found?.kind !== 'ioas') throw new No('ENOENT')
  return found as Ioas
}

/** IoasMap of a region. */
export function map(ctx: Context, { ioasId, flags, region, length, iova }: MapRequest): { iova: bigint } {
  no('EOPNOTSUPP', (flags & ~7) !== 0)
  no('EOVERFLOW', iova === TOP || length === TOP)
  no('EINVAL', (flags & (READABLE | WRITEABLE)) === 0)
  const ioas = ioasOfId(ctx, ioasId)
  no('EOVERFLOW', region.offset + length > TOP)
  no('EINVAL', length === 0n || length > TOP - PAGE)
  const write = (flags & WRITEABLE) !== 0
  const piece = { region: region.regionId, offset: region.offset, length, original: write }
  return { iova: place(ctx, ioas, [piece], flags, iova) }
}

interface Piece {
  readonly region: number
  readonly offset: bigint
  readonly length: bigint
  readonly original: boolean
}

/** The path that maps and copies share. */
function place(ctx: Context, ioas: Ioas, pieces: readonly Piece[], flags: number, iova: bigint): bigint {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0n)
  const alignment = ctx.alignment(ioas)
  no('EINVAL', length % alignment !== 0n)
  const reserved = ctx.reserved(ioas)
  let at = iova
  if ((flags & FIXED) !== 0) {
    no('EINVAL', iova % alignment !== 0n)
    const span = { start: iova, last: iova + length - 1n }
    no('EOVERFLOW', span.last > TOP)
    no(
      'EINVAL',
      reserved.some((other) => meet(other, span)),
    )
    no(
      'EEXIST',
      ioas.areas.some((other) => meet(other, span)),
    )
  } else at = choose(ioas, reserved, length, pieces[0].offset, alignment)
  const write = (flags & WRITEABLE) !== 0
  const areas: Area[] = []
  let next = at
  for (const { region, offset, length: bytes, original } of pieces) {
    no('EPERM', write && !original)
    no('EINVAL', offset % alignment !== 0n)
    areas.push({ start: next, last: next + bytes - 1n, region, offset, write, original })
    next += bytes
  }
  const domains = ctx.domainsOf(ioas)
  for (const { offset, start, last } of domains.length > 0 ? areas : []) {
    no('EFAULT', offset + (last - start) >= REGION_BYTES)
    no('EINVAL', !write && domains.some(({ nest, unit }) => nest && unit.kind === 'vtd'))
  }
  for (const domain of domains) for (const area of areas) logMapped(domain, area)
  ioas.areas.push(...areas)
  return at
}

/** The lowest place: each blocker's end, and the start of each window, is a candidate. */
function choose(ioas: Ioas, reserved: readonly Span[], length: bigint, offset: bigint, alignment: bigint): bigint {
  no('EOVERFLOW', length >= TOP / 2n)
  let ofLength = 1n
  while (ofLength < length) ofLength *= 2n
  const ofOffset = offset === 0n ? ofLength : offset & -offset
  let step = ofLength < ofOffset ? ofLength : ofOffset
  if (step > PAGE) step = PAGE
  no('EINVAL', step < alignment)
  const blockers = [...reserved, ...ioas.areas]
  const inPage = offset % PAGE
  const fit = (from: bigint): bigint => ((from + step - 1n) & ~(step - 1n)) | inPage
  for (const window of windowsOf(ioas)) {
    const candidates = [window.start, ...blockers.map(({ last }) => last + 1n)]
      .filter((from) => from >= window.start)
      .map(fit)
      // What is below the window's own first fit, and what wrapped in its page, is no candidate.
      .filter((from) => from >= fit(window.start) && from <= window.last)
      .sort((a, b) => (a < b ? -1 : 1))
    const found = candidates.find((start) => {
      // A hole, or a window, whose last byte would be the first of the mapping counts as none.
      const span = { start, last: start + (length > 1n ? length - 1n : 1n) }
      return span.last <= window.last && !blockers.some((other) => meet(other, span))
    })
    if (found !== undefined) return found
  }
  throw new No('ENOSPC')
}

/** Ascending; ranges that touch are one. */
function windowsOf(ioas: Ioas): Span[] {
  const whole = { start: PAGE, last: TOP - PAGE }
  if (ioas.allowed.length === 0) return [whole]
  const windows: { start: bigint; last: bigint }[] = []
  for (const { start, last } of [...ioas.allowed].sort((a, b) => (a.start < b.start ? -1 : 1))) {
    const below = windows.at(-1)
    if (below !== undefined && below.last + 1n === start) below.last = last
    else windows.push({ start, last })
  }
  return windows
    .map(({ start, last }) => ({
      start: start < whole.start ? whole.start : start,
      last: last > whole.last ? whole.last : last,
    }))
    .filter(({ start, last }) => start <= last)
}

/** IoasCopy. */
export function copy(
  ctx: Context,
  request: {
    readonly flags: number
    readonly dstIoasId: number
    readonly srcIoasId: number
    readonly length: bigint
    readonly dstIova: bigint
    readonly srcIova: bigint
  },
): { dstIova: bigint } {
  const { flags, length, srcIova, dstIova } = request
  no('EOPNOTSUPP', (flags & ~7) !== 0)
  no('EOVERFLOW', length === TOP || srcIova === TOP || dstIova === TOP)
  no('EINVAL', (flags & (READABLE | WRITEABLE)) === 0)
  const source = ioasOfId(ctx, request.srcIoasId)
  no('EINVAL', length === 0n)
  const last = srcIova + length - 1n
  no('EOVERFLOW', last > TOP)
  const pieces: Piece[] = []
  for (let at = srcIova; at <= last; ) {
    const area = source.areas.find((one) => one.start <= at && at <= one.last)
    if (area === undefined) throw new No('ENOENT')
    const end = area.last < last ? area.last : last
    const { region, offset, original } = area
    pieces.push({ region, offset: offset + (at - area.start), length: end - at + 1n, original })
    at = end + 1n
  }
  const destination = ioasOfId(ctx, request.dstIoasId)
  return { dstIova: place(ctx, destination, pieces, flags, dstIova) }
}

/** IoasUnmap; what is below the area that stops it stays gone. */
export function unmap(
  ctx: Context,
  { ioasId, iova, length }: { readonly ioasId: number; readonly iova: bigint; readonly length: bigint },
): { length: bigint } {
  const ioas = ioasOfId(ctx, ioasId)
  const everything = iova === 0n && length === TOP
  if (!everything) {
    no('EOVERFLOW', iova === TOP || length === TOP)
    no('EINVAL', length === 0n)
    no('EOVERFLOW', iova + length - 1n > TOP)
  }
  const span = { start: iova, last: everything ? TOP : iova + length - 1n }
  let removed = 0n
  for (const area of ioas.areas.filter((one) => meet(one, span)).sort((a, b) => (a.start < b.start ? -1 : 1))) {
    no('ENOENT', area.start < span.start || area.last > span.last)
    ioas.areas.splice(ioas.areas.indexOf(area), 1)
    removed += area.last - area.start + 1n
    for (const { logged } of ctx.domainsOf(ioas)) {
      for (const page of logged) if (page >= area.start >> 12n && page <= area.last >> 12n) logged.delete(page)
    }
  }
  no('ENOENT', removed === 0n && !everything)
  return { length: removed }
}

/** IoasAllowIovas. */
export function allow(
  ctx: Context,
  { ioasId, ranges }: { readonly ioasId: number; readonly ranges: readonly { first: bigint; last: bigint }[] },
): void {
  const ioas = ioasOfId(ctx, ioasId)
  const spans: Span[] = []
  for (const { first: start, last } of ranges) {
    no('EINVAL', start >= last || spans.some((span) => meet(span, { start, last })))
    spans.push({ start, last })
  }
  no(
    'EADDRINUSE',
    ctx.reserved(ioas).some((other) => spans.some((span) => meet(other, span))),
  )
  ioas.allowed = spans
}

/** The holes of what is reserved. */
export function holes(ctx: Context, ioas: Ioas): { first: bigint; last: bigint }[] {
  const found: { first: bigint; last: bigint }[] = []
  let from = 0n
  for (const { start, last } of ctx.reserved(ioas).sort((a, b) => (a.start < b.start ? -1 : 1))) {
    if (start > from) found.push({ first: from, last: start - 1n })
    if (last + 1n > from) from = last + 1n
  }
  if (from <= TOP) found.push({ first: from, last: TOP })
  return found
}
