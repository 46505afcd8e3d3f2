/**
 * The ranges of an IOAS that nothing may be mapped into, each with the device or domain that reserves it. They may
 * overlap; what matters is their union. A new range joins it in its place; one that leaves is cut out of it.
 */

import type { Range } from './driver.js'
import type { Holder } from './object.js'
import { U64_MAX } from './u64.js'

/** Reserved ranges with their owners. */
export class ReservedRanges {
  /** Each owner’s own, ascending; those of several may overlap. */
  readonly #owned = new Map<Holder, readonly Range[]>()
  #merged: Range[] = []

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
    this.#owned.set(owner, merge([...(this.#owned.get(owner) ?? []), ...ranges]))
    for (const range of ranges) this.#join(range)
  }

  /** Takes away all that an owner reserves but what others reserve, too; nothing if it reserves nothing. */
  removeOwner(owner: Holder): void {
    const gone = this.#owned.get(owner) ?? []
    this.removeSole(owner)
    for (const ranges of this.#owned.values()) {
      for (const range of ranges) if (firstOf(gone, range.start, range.last) !== undefined) this.#join(range)
    }
  }

  /** The same for an owner whose ranges share no byte with another's: it takes as long, however many others there are. */
  removeSole(owner: Holder): void {
    for (const range of this.#owned.get(owner) ?? []) this.#cut(range)
    this.#owned.delete(owner)
  }

  /** The lowest part of the union that shares a byte with `[start, last]`. */
  firstIn(start: bigint, last: bigint): Range | undefined {
    return firstOf(this.#merged, start, last)
  }

  /** Who reserves a byte of the range, for a refusal. */
  ownerIn(start: bigint, last: bigint): string {
    for (const [owner, ranges] of this.#owned) {
      if (firstOf(ranges, start, last) !== undefined) return `${owner.kind} ${owner.id}`
    }
    return 'nobody'
  }

  /** A range leaves the union, which has all of it in one part. */
  #cut({ start, last }: Range): void {
    const at = lowestIndex(this.#merged, start)
    const whole = this.#merged[at]
    const below = { start: whole.start, last: start - 1n }
    const above = { start: last + 1n, last: whole.last }
    this.#merged.splice(at, 1, ...[below, above].filter((part) => part.start <= part.last))
  }

  /** A range joins the union: it takes the place of those that it meets or touches. */
  #join({ start, last }: Range): void {
    const from = lowestIndex(this.#merged, start - 1n)
    let end = from
    while (end < this.#merged.length && this.#merged[end].start <= last + 1n) end++
    const met = this.#merged.slice(from, end)
    const low = met[0]?.start ?? start
    const high = met.at(-1)?.last ?? last
    this.#merged.splice(from, met.length, { start: low < start ? low : start, last: high > last ? high : last })
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

/** The lowest of ascending disjoint ranges that shares a byte with `[start, last]`. */
export function firstOf(ranges: readonly Range[], start: bigint, last: bigint): Range | undefined {
  const found = ranges[lowestIndex(ranges, start)]
  return found !== undefined && found.start <= last ? found : undefined
}

/** Index of the first of ascending ranges that has a byte at or beyond `address`; their number, if none has. */
function lowestIndex(ranges: readonly Range[], address: bigint): number {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (ranges[middle].last < address) low = middle + 1
    else high = middle
  }
  return low
}
