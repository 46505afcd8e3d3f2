/** What is where in 64 bits: disjoint closed ranges in order, found by address, and so is room between them. */

import type { Range } from './driver.js'
import { FewRanges, type Ranges } from './interval-few.js'
import { IntervalTree } from './interval-tree.js'
import { U64_MAX } from './u64.js'

/** Ranges at most that are kept as few. */
const FEW = 32

/**
 * A map from disjoint ranges of 64-bit addresses to values. The ends are kept here, so that finding one looks at no value.
 * Once it has had many ranges it stays a tree.
 */
export class IntervalMap<T> implements Ranges<T> {
  #few = new FewRanges<T>()
  #many: IntervalTree<T> | undefined

  get size(): number {
    return this.#many === undefined ? this.#few.size : this.#many.size
  }

  firstFrom(address: bigint): T | undefined {
    return this.#many === undefined ? this.#few.firstFrom(address) : this.#many.firstFrom(address)
  }

  firstIn(start: bigint, last: bigint): T | undefined {
    return this.#many === undefined ? this.#few.firstIn(start, last) : this.#many.firstIn(start, last)
  }

  /** What is at ranges that share a byte with `[start, last]`, ascending; each is looked for when it is asked for. */
  in(start: bigint, last: bigint): Iterable<T> {
    return this.#many === undefined ? this.#inFew(start, last) : this.#many.in(start, last)
  }

  /** Everything, ascending. */
  [Symbol.iterator](): Iterator<T> {
    return this.in(0n, U64_MAX)[Symbol.iterator]()
  }

  insert(start: bigint, last: bigint, value: T): void {
    if (this.#many !== undefined) this.#many.insert(start, last, value)
    else {
      this.#few.insert(start, last, value)
      if (this.#few.size > FEW) this.#plant()
    }
  }

  remove(start: bigint, value: T): void {
    if (this.#many === undefined) this.#few.remove(start, value)
    else this.#many.remove(start, value)
  }

  hole(from: bigint, last: bigint, length: bigint): Range | undefined {
    return this.#many === undefined ? this.#few.hole(from, last, length) : this.#many.hole(from, last, length)
  }

  *#inFew(start: bigint, last: bigint): Iterable<T> {
    let from = start
    while (this.#many === undefined) {
      const item = this.#few.itemFrom(from)
      if (item === undefined || item.start > last) return
      yield item.value
      if (item.last >= last) return
      from = item.last + 1n
    }
    yield* this.#many.in(from, last)
  }

  /** There are many now. */
  #plant(): void {
    this.#many = new IntervalTree<T>()
    for (const { start, last, value } of this.#few.items) this.#many.insert(start, last, value)
    this.#few = new FewRanges<T>()
  }
}
