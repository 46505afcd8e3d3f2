/** Calls that reserve addresses of a nesting parent for a CD table of the daemon's. */

import type { Call } from './call.js'
import type { Range } from './driver.js'
import { PagingDomain } from './paging-domain.js'
import { Refusal } from './refusal.js'
import { hex, hexRange, PAGE } from './u64.js'
import { Window } from './window.js'
import type { Work } from './work.js'

/** A range of a request. */
interface RangeRequest {
  readonly first: bigint
  readonly last: bigint
}

/** Makes a window with its first range. */
export function createWindow(
  call: Call,
  request: RangeRequest & { readonly parentDomainId: number },
): { windowId: number } | Promise<{ windowId: number }> {
  const parent = parentOf(call, request.parentDomainId)
  const range = rangeOf(parent, request)
  const id = call.newId('domains')
  const { createWindow: make } = parent.ops
  if (make === undefined) throw noWindows(parent)
  const window = call.make(new Window(id, parent, make.call(parent.ops)))
  return call.inSlices(
    (function* () {
      yield* extend(call, window, range)
      return { windowId: id }
    })(),
  )
}

/** Adds a range to a window, whether or not something is attached to it. */
export function growWindow(
  call: Call,
  request: RangeRequest & { readonly windowId: number },
): { freeBytes: bigint } | Promise<{ freeBytes: bigint }> {
  const window = call.take(Window, request.windowId, 'window_id')
  const range = rangeOf(call.change(window.parent), request)
  return call.inSlices(
    (function* () {
      yield* extend(call, window, range)
      return { freeBytes: BigInt(window.ops.freeBytes) }
    })(),
  )
}

/** The table may use the range once all of it is there, and the call cannot be refused any more. */
function* extend(call: Call, window: Window, range: Range): Work<void> {
  const kept = window.reserve(range)
  call.onUndo(() => window.giveUp(kept))
  yield* window.back(range)
  window.ops.offer()
}

/** @throws Refusal ENOENT, EINVAL, EOPNOTSUPP */
function parentOf(call: Call, id: number): PagingDomain {
  const { objects } = call.context
  const found = objects.find(id)
  const facts = { parent_domain_id: id }
  if (found === undefined) throw new Refusal('ENOENT', `parent_domain_id: ${objects.describe(id)}`, facts)
  if (!(found instanceof PagingDomain)) {
    throw new Refusal('EINVAL', `parent_domain_id: ${objects.describe(id)}, not a paging domain`, facts)
  }
  if (found.ops.driver.kind !== 'smmuv3') throw noWindows(found)
  if (!found.flags.nestParent) {
    const made = found.isAuto ? 'made for an attach to an IOAS' : 'made without the flag NEST_PARENT'
    throw new Refusal('EINVAL', `paging domain ${id} was ${made}, and is no nesting parent`, facts)
  }
  return call.change(found)
}

const noWindows = ({ ops: { driver } }: PagingDomain): Refusal => {
  const why =
    'windows are for an SMMUv3 with both stages and SubstreamIDs; a VT-d takes user domains on PASIDs as it is'
  return new Refusal('EOPNOTSUPP', `${driver.name} has no windows: ${why}`, { unit: driver.name })
}

/** @throws Refusal EINVAL */
function rangeOf({ ops }: PagingDomain, { first: start, last }: RangeRequest): Range {
  if (start > last) {
    throw new Refusal('EINVAL', 'the range ends before it begins', { first: hex(start), last: hex(last) })
  }
  const range = { start, last }
  if (start % PAGE !== 0n || (last + 1n) % PAGE !== 0n) {
    throw new Refusal('EINVAL', `${hexRange(range)} is not whole pages of 4096 bytes`, { range: hexRange(range) })
  }
  const { aperture } = ops
  if (start < aperture.start || last > aperture.last) {
    const reason = `${hexRange(range)} is outside what the parent can map, ${hexRange(aperture)}`
    throw new Refusal('EINVAL', reason, { range: hexRange(range), aperture: hexRange(aperture) })
  }
  return range
}
