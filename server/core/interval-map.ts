/**
 * Disjoint closed ranges in order, found by address in O(log n): sorted chunks of a few hundred, each with an upper
 * bound of the holes inside it, so that a search for room steps over full chunks.
 */

import type { Range } from './driver.js'
import { assert } from './refusal.js'
import { U64_MAX } from './u64.js'

/** Ranges in a chunk before it is split: large enough for few chunks, small enough for cheap insertion. */
const CHUNK_MAX = 256

interface Chunk<T extends Range> {
  readonly items: T[]
  /** No hole between two items of the chunk is larger; bytes. */
  widest: bigint
}

/** Where an item stands, or would. */
interface Place {
  chunk: number
  index: number
}

/** A map from disjoint ranges to what is there. */
export class IntervalMap<T extends Range> {
  readonly #chunks: Chunk<T>[] = []
  #size = 0

  /** How many ranges there are. */
  get size(): number {
    return this.#size
  }

  /** The lowest range that has a byte at or beyond `address`. */
  firstFrom(address: bigint): T | undefined {
    const { chunk, index } = this.#lowest(address)
    return this.#chunks[chunk]?.items[index]
  }

  /** The lowest range that shares a byte with `[start, last]`. */
  firstIn(start: bigint, last: bigint): T | undefined {
    const found = this.firstFrom(start)
    return found !== undefined && found.start <= last ? found : undefined
  }

  /** Ranges that share a byte with `[start, last]`, ascending. The map must not change meanwhile. */
  *in(start: bigint, last: bigint): Iterable<T> {
    const place = this.#lowest(start)
    for (let chunk = place.chunk; chunk < this.#chunks.length; chunk++) {
      const { items } = this.#chunks[chunk]
      for (let index = chunk === place.chunk ? place.index : 0; index < items.length; index++) {
        if (items[index].start > last) return
        yield items[index]
      }
    }
  }

  /** All ranges, ascending. The map must not change meanwhile. */
  [Symbol.iterator](): Iterator<T> {
    return this.in(0n, U64_MAX)[Symbol.iterator]()
  }

  /** Adds a range that meets no other. */
  insert(item: T): void {
    assert(this.firstIn(item.start, item.last) === undefined, 'ranges of an interval map are disjoint')
    this.#size++
    if (this.#chunks.length === 0) {
      this.#chunks.push({ items: [item], widest: 0n })
      return
    }
    const place = this.#lowest(item.start)
    // Beyond every range: at the end of the last chunk.
    const at = place.chunk === this.#chunks.length ? place.chunk - 1 : place.chunk
    const chunk = this.#chunks[at]
    const index = place.chunk === this.#chunks.length ? chunk.items.length : place.index
    chunk.items.splice(index, 0, item)
    widen(chunk, holeAfter(chunk.items, index - 1))
    widen(chunk, holeAfter(chunk.items, index))
    if (chunk.items.length > CHUNK_MAX) this.#split(at)
  }

  /** Takes out a range that is there. */
  remove(item: T): void {
    const { chunk: at, index } = this.#lowest(item.start)
    const chunk = this.#chunks[at]
    assert(chunk?.items[index] === item, 'a range is in the map before it is removed')
    chunk.items.splice(index, 1)
    this.#size--
    if (chunk.items.length === 0) this.#chunks.splice(at, 1)
    else widen(chunk, holeAfter(chunk.items, index - 1))
  }

  /** The lowest hole, cut to `[from, last]`, of at least `length` bytes. */
  hole(from: bigint, last: bigint, length: bigint): Range | undefined {
    const place = this.#lowest(from)
    let start = from
    for (let at = place.chunk; at < this.#chunks.length; at++) {
      const chunk = this.#chunks[at]
      const { items } = chunk
      const first = at === place.chunk ? place.index : 0
      // The hole before the chunk's first item belongs to no chunk.
      const before = cut(start, items[first].start, last)
      if (before >= length) return { start, last: start + before - 1n }
      if (items[first].start > last) return undefined
      if (chunk.widest >= length) {
        const found = holeInside(items, first, last, length)
        if (found !== undefined) return found
        if (first === 0) tighten(chunk)
      }
      const end = items[items.length - 1].last
      if (end >= last) return undefined
      start = end + 1n
    }
    return last - start + 1n >= length ? { start, last } : undefined
  }

  #lowest(address: bigint): Place {
    const chunks = this.#chunks
    let low = 0
    let high = chunks.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const { items } = chunks[middle]
      if (items[items.length - 1].last < address) low = middle + 1
      else high = middle
    }
    return { chunk: low, index: low < chunks.length ? lowestIndex(chunks[low].items, address) : 0 }
  }

  #split(at: number): void {
    const { items, widest } = this.#chunks[at]
    const upper = items.splice(items.length >>> 1)
    this.#chunks.splice(at + 1, 0, { items: upper, widest })
  }
}

function lowestIndex(items: readonly Range[], address: bigint): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (items[middle].last < address) low = middle + 1
    else high = middle
  }
  return low
}

/** Bytes between an item and the next of its chunk. */
function holeAfter(items: readonly Range[], index: number): bigint {
  if (index < 0 || index + 1 >= items.length) return 0n
  return items[index + 1].start - items[index].last - 1n
}

/** Bytes from `start` to the lower of `end` (not included) and `last` (included). */
function cut(start: bigint, end: bigint, last: bigint): bigint {
  if (end <= start) return 0n
  return (end - 1n < last ? end - 1n : last) - start + 1n
}

function holeInside(items: readonly Range[], first: number, last: bigint, length: bigint): Range | undefined {
  for (let index = first; index + 1 < items.length; index++) {
    const start = items[index].last + 1n
    if (start > last) return undefined
    const bytes = cut(start, items[index + 1].start, last)
    if (bytes >= length) return { start, last: start + bytes - 1n }
  }
  return undefined
}

function widen<T extends Range>(chunk: Chunk<T>, hole: bigint): void {
  if (hole > chunk.widest) chunk.widest = hole
}

function tighten<T extends Range>(chunk: Chunk<T>): void {
  chunk.widest = 0n
  for (let index = 0; index + 1 < chunk.items.length; index++) widen(chunk, holeAfter(chunk.items, index))
}
