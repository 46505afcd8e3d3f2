/** Where a mapping goes when the caller leaves the choice to us: the lowest place that fits. [uAPI IOMMU_IOAS_MAP] */

import type { Range } from './driver.js'
import type { IntervalMap } from './interval-map.js'
import { Refusal } from './refusal.js'
import type { ReservedRanges } from './reserved.js'
import { lowestBit, max, min, PAGE, roundUpToPowerOfTwo, U64_MAX } from './u64.js'

/** What a place must keep clear of. */
export interface Occupied {
  readonly areas: IntervalMap<Range>
  readonly reserved: ReservedRanges
  /** Ascending, disjoint, merged; empty allows everything. */
  readonly allowed: readonly Range[]
  readonly alignment: bigint
}

/**
 * The lowest IOVA for `length` bytes whose source begins at `address`.
 *
 * @param cap largest alignment that is aimed for, a power of two of at least a page
 * @throws Refusal EOVERFLOW (half of all addresses, or more), EINVAL (cannot be aligned), ENOSPC (no room)
 */
export function placeAutomatically(occupied: Occupied, length: bigint, address: bigint, cap: bigint): bigint {
  if (length >= U64_MAX / 2n) {
    throw new Refusal('EOVERFLOW', 'no place can be chosen for half of all addresses; use FIXED_IOVA', { length })
  }
  const alignment = min(alignmentFor(length, address), cap)
  if (alignment < occupied.alignment) {
    const reason = `the source is aligned to ${alignment} bytes and the IOAS needs ${occupied.alignment}`
    throw new Refusal('EINVAL', reason, { address, alignment: occupied.alignment })
  }
  const wanted = { length, alignment, offset: address % PAGE }
  for (const window of windows(occupied.allowed)) {
    const found = placeIn(window, occupied, wanted)
    if (found !== undefined) return found
  }
  throw new Refusal('ENOSPC', 'no hole between mappings, reserved and not allowed ranges is large enough', { length })
}

interface Wanted {
  readonly length: bigint
  readonly alignment: bigint
  /** Offset in its page, which IOVA and source share. */
  readonly offset: bigint
}

function alignmentFor(length: bigint, address: bigint): bigint {
  const ofLength = roundUpToPowerOfTwo(length)
  const ofAddress = address === 0n ? ofLength : lowestBit(address)
  return min(ofLength, ofAddress)
}

/** IOVA 0 and the last page are never chosen. */
function windows(allowed: readonly Range[]): readonly Range[] {
  const whole = { start: PAGE, last: U64_MAX - PAGE }
  if (allowed.length === 0) return [whole]
  return allowed
    .map(({ start, last }) => ({
      start: max(start, whole.start),
      last: min(last, whole.last),
    }))
    .filter(({ start, last }) => start <= last)
}

function placeIn(window: Range, { areas, reserved }: Occupied, wanted: Wanted): bigint | undefined {
  let from = fit(window.start, window.last, wanted)
  while (from !== undefined && from <= window.last) {
    const hole = areas.hole(from, window.last, wanted.length)
    if (hole === undefined) return undefined
    const found = fitBetween(hole, reserved, wanted)
    if (found !== undefined) return found
    from = hole.last + 1n
  }
  return undefined
}

/** The first fit in the parts of a hole that are not reserved. */
function fitBetween(hole: Range, reserved: ReservedRanges, wanted: Wanted): bigint | undefined {
  let from = hole.start
  while (from <= hole.last) {
    const blocked = reserved.firstIn(from, hole.last)
    const last = blocked === undefined ? hole.last : blocked.start - 1n
    const found = last >= from ? fit(from, last, wanted) : undefined
    if (found !== undefined) return found
    if (blocked === undefined) return undefined
    from = blocked.last + 1n
  }
  return undefined
}

/** The aligned start in `[start, last]`, if the whole length fits behind it. */
function fit(start: bigint, last: bigint, { length, alignment, offset }: Wanted): bigint | undefined {
  const rounded = (start + alignment - 1n) & ~(alignment - 1n)
  if (rounded > U64_MAX) return undefined
  const from = rounded | offset
  return from < last && last - from >= length - 1n ? from : undefined
}
