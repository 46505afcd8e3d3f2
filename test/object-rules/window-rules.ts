/** Windows: addresses of a nesting parent that are set aside for a CD table. */

import { apertureOf, type Context, type Ioas, meet, No, no, type Paging, type Span, type Window } from './model.js'

/** What a window is asked for. */
interface RangeRequest {
  readonly first: bigint
  readonly last: bigint
}

/** CreateWindow. */
export function createWindow(
  ctx: Context,
  request: RangeRequest & { readonly parentDomainId: number },
): { windowId: number } {
  const parent = ctx.things.get(request.parentDomainId) as Paging | undefined
  if (parent === undefined) throw new No('ENOENT')
  no('EINVAL', parent.kind !== 'paging')
  no('EOPNOTSUPP', parent.unit.kind !== 'smmuv3')
  no('EINVAL', parent.auto || !parent.nest)
  const span = spanOf(parent, request)
  refuseUsed(ctx, parent.ioas, span)
  const window: Window = {
    kind: 'window',
    id: ctx.nextId(),
    parent,
    unit: parent.unit,
    pasid: true,
    spans: [span],
    free: new Set(pagesOf(span)),
    blocks: new Set([0]),
    root: [],
  }
  window.free.delete(Math.min(...window.free))
  ctx.add(window)
  return { windowId: window.id }
}

/** GrowWindow. */
export function growWindow(ctx: Context, request: RangeRequest & { readonly windowId: number }): { freeBytes: bigint } {
  const window = ctx.things.get(request.windowId) as Window | undefined
  if (window?.kind !== 'window') throw new No('ENOENT')
  const span = spanOf(window.parent, request)
  refuseUsed(ctx, window.parent.ioas, span)
  window.spans.push(span)
  for (const page of pagesOf(span)) window.free.add(page)
  return { freeBytes: BigInt(window.free.size) * 4096n }
}

function spanOf(parent: Paging, { first, last }: RangeRequest): Span {
  no('EINVAL', first > last || first % 4096n !== 0n || last % 4096n !== 4095n)
  const aperture = apertureOf(parent)
  no('EINVAL', first < aperture.start || last > aperture.last)
  return { start: first, last }
}

function refuseUsed(ctx: Context, ioas: Ioas, span: Span): void {
  no(
    'EADDRINUSE',
    [...ioas.areas, ...ioas.allowed, ...ctx.reserved(ioas)].some((other) => meet(other, span)),
  )
}

function pagesOf({ start, last }: Span): number[] {
  const pages: number[] = []
  for (let page = start >> 12n; page <= last >> 12n; page++) pages.push(Number(page))
  return pages
}
