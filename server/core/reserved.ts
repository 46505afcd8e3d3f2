/**
 * The ranges of an IOAS that nothing may be mapped into, each with the device or domain that reserves it. They may
 * overlap; what matters is their union. There are a handful per device, so the union is rebuilt when one changes.
 */

import type { Range } from './driver.js'
import type { Holder } from './object.js'
import { U64_MAX } from './u64.js'

interface Owned extends Range {
  readonly owner: Holder
}

/** Reserved ranges with their owners. */
export class ReservedRanges {
  #owned: Owned[] = []
  #merged: readonly Range[] = []

  /** The union, ascending, no two touch. */
  get merged(): readonly Range[] {
    return this.#merged
  }

  /** What is not reserved over all of u64, ascending, maximal. */
  get holes(): readonly Range[] {
    const holes: Range[] = []
    let from = 0n
    for (const { start, last } of this.#merged) {
      if (start > from) holes.push({ start: from, last: start - 1n })
      from = last + 1n
    }
    if (from <= U64_MAX) holes.push({ start: from, last: U64_MAX })
    return holes
  }

  /** Adds what one owner reserves. */
  add(owner: Holder, ranges: readonly Range[]): void {
    for (const { start, last } of ranges) this.#owned.push({ start, last, owner })
    this.#merged = merge(this.#owned)
  }

  /** Takes away all that an owner reserves; nothing if it reserves nothing. */
  removeOwner(owner: Holder): void {
    this.#owned = this.#owned.filter((range) => range.owner !== owner)
    this.#merged = merge(this.#owned)
  }

  /** The lowest part of the union that shares a byte with `[start, last]`. */
  firstIn(start: bigint, last: bigint): Range | undefined {
    const found = this.#merged[firstFrom(this.#merged, start)]
    return found !== undefined && found.start <= last ? found : undefined
  }

  /** Who reserves a byte of the range, for a refusal. */
  ownerIn(start: bigint, last: bigint): string {
    const owned = this.#owned.find((range) => range.start <= last && start <= range.last)
    return owned === undefined ? 'nobody' : `${owned.owner.kind} ${owned.owner.id}`
  }
}

/** The union of ranges, ascending; ranges that touch become one. */
export function merge(ranges: readonly Range[]): readonly Range[] {
  const sorted = [...ranges].sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0))
  const merged: { start: bigint; last: bigint }[] = []
  for (const { start, last } of sorted) {
    const below = merged.at(-1)
    if (below !== undefined && start <= below.last + 1n) {
      if (last > below.last) below.last = last
    } else merged.push({ start, last })
  }
  return merged
}

/** Index of the lowest of ascending disjoint ranges that has a byte at or beyond `address`. */
function firstFrom(ranges: readonly Range[], address: bigint): number {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (ranges[middle].last < address) low = middle + 1
    else high = middle
  }
  return low
}
