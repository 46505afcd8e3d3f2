/** A map from disjoint ranges to values, for few: an array in order costs less than any tree. */

import type { Range } from './driver.js'
import { holeOf } from './interval-holes.js'
import { assert } from './refusal.js'
import { min } from './u64.js'

/** What few ranges do as many do. */
export interface Ranges<T> {
  /** How many ranges there are. */
  readonly size: number
  /** What is at the lowest range that has a byte at or beyond `address`. */
  firstFrom(address: bigint): T | undefined
  /** What is at the lowest range that shares a byte with `[start, last]`. */
  firstIn(start: bigint, last: bigint): T | undefined
  /** Adds a range that meets no other. */
  insert(start: bigint, last: bigint, value: T): void
  /** Takes out the range that begins at `start`, and has this value. */
  remove(start: bigint, value: T): void
  /** The lowest hole, cut to `[from, last]`, of at least `length` bytes. */
  hole(from: bigint, last: bigint, length: bigint): Range | undefined
}

/** A range, and what is there. */
export interface Item<T> extends Range {
  readonly value: T
}

/** Few ranges. */
export class FewRanges<T> implements Ranges<T> {
  /** Ascending. */
  readonly items: Item<T>[] = []

  get size(): number {
    return this.items.length
  }

  firstFrom(address: bigint): T | undefined {
    return this.itemFrom(address)?.value
  }

  firstIn(start: bigint, last: bigint): T | undefined {
    const item = this.itemFrom(start)
    return item !== undefined && item.start <= last ? item.value : undefined
  }

  /** The lowest range that has a byte at or beyond an address. */
  itemFrom(address: bigint): Item<T> | undefined {
    const { items } = this
    const at = this.#find(address)
    return at < items.length ? items[at] : undefined
  }

  insert(start: bigint, last: bigint, value: T): void {
    const { items } = this
    const at = this.#find(start)
    assert(at === items.length || items[at].start > last, 'ranges of an interval map are disjoint')
    const item = { start, last, value }
    if (at === items.length) items.push(item)
    else items.splice(at, 0, item)
  }

  remove(start: bigint, value: T): void {
    const { items } = this
    const at = this.#find(start)
    assert(items[at]?.value === value, 'a range is in the map before it is removed')
    if (at === items.length - 1) items.pop()
    else items.splice(at, 1)
  }

  hole(from: bigint, last: bigint, length: bigint): Range | undefined {
    let behind = from
    for (const item of this.items) {
      if (item.last < behind) continue
      if (item.start > behind) {
        const hole = holeOf(behind, min(item.start - 1n, last), length)
        if (hole !== undefined) return hole
      }
      if (item.last >= last) return undefined
      behind = item.last + 1n
    }
    return holeOf(behind, last, length)
  }

  /** Where the first is that ends at or beyond an address. */
  #find(address: bigint): number {
    const { items } = this
    let low = 0
    let high = items.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (items[middle].last < address) low = middle + 1
      else high = middle
    }
    return low
  }
}
