/**
 * Disjoint closed ranges in order, found by address in O(log n), and so is room between them: a tree of a few dozen
 * things a node, of which each knows where it begins and ends and an upper bound of the holes inside it.
 */

import type { Range } from './driver.js'
import { assert } from './refusal.js'
import { U64_MAX } from './u64.js'

/** Things in a node before it is split: few levels, and cheap insertion. */
const NODE_MAX = 64

/** A node: of ranges, or of nodes, all at one depth. */
interface Node<T extends Range> {
  start: bigint
  last: bigint
  /** No hole between two things of it, or inside one, is larger; bytes. */
  widest: bigint
  /** Absent where it has nodes. */
  readonly items?: T[]
  readonly nodes?: Node<T>[]
}

/** A map from disjoint ranges to what is there. */
export class IntervalMap<T extends Range> {
  #root: Node<T> | undefined
  #size = 0

  /** How many ranges there are. */
  get size(): number {
    return this.#size
  }

  /** The lowest range that has a byte at or beyond `address`. */
  firstFrom(address: bigint): T | undefined {
    let node = this.#root
    if (node === undefined || node.last < address) return undefined
    while (node.nodes !== undefined) node = node.nodes[lowestIndex(node.nodes, address)]
    return itemsOf(node)[lowestIndex(itemsOf(node), address)]
  }

  /** The lowest range that shares a byte with `[start, last]`. */
  firstIn(start: bigint, last: bigint): T | undefined {
    const found = this.firstFrom(start)
    return found !== undefined && found.start <= last ? found : undefined
  }

  /** Ranges that share a byte with `[start, last]`, ascending. The map must not change meanwhile. */
  in(start: bigint, last: bigint): Iterable<T> {
    return this.#root === undefined ? [] : inNode(this.#root, start, last)
  }

  /** All ranges, ascending. The map must not change meanwhile. */
  [Symbol.iterator](): Iterator<T> {
    return this.in(0n, U64_MAX)[Symbol.iterator]()
  }

  /** Adds a range that meets no other. */
  insert(item: T): void {
    assert(this.firstIn(item.start, item.last) === undefined, 'ranges of an interval map are disjoint')
    this.#size++
    this.#root ??= { start: item.start, last: item.last, widest: 0n, items: [] }
    const low = this.#root
    const high = insertInto(low, item)
    if (high === undefined) return
    this.#root = { start: low.start, last: high.last, widest: 0n, nodes: [low, high] }
    widenAround(this.#root, this.#root.nodes as Node<T>[], 0)
    this.#root.widest = max(this.#root.widest, high.widest)
  }

  /** Takes out a range that is there. */
  remove(item: T): void {
    assert(
      this.firstFrom(item.start) === item && this.#root !== undefined,
      'a range is in the map before it is removed',
    )
    this.#size--
    removeFrom(this.#root, item)
    if (this.#size === 0) this.#root = undefined
    while (this.#root?.nodes?.length === 1) this.#root = this.#root.nodes[0]
  }

  /** The lowest hole, cut to `[from, last]`, of at least `length` bytes. */
  hole(from: bigint, last: bigint, length: bigint): Range | undefined {
    const search = { start: from, last, length, found: undefined as Range | undefined }
    if (this.#root === undefined || !searchIn(this.#root, search)) tryHole(search, search.last)
    return search.found
  }
}

const itemsOf = <T extends Range>({ items }: Node<T>): T[] => items as T[]

/** Index of the first of ascending ranges that has a byte at or beyond `address`; their number, if none has. */
export function lowestIndex(ranges: readonly Range[], address: bigint): number {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (ranges[middle].last < address) low = middle + 1
    else high = middle
  }
  return low
}

function* inNode<T extends Range>({ items, nodes }: Node<T>, start: bigint, last: bigint): Iterable<T> {
  const things: readonly Range[] = nodes ?? items ?? []
  for (let index = lowestIndex(things, start); index < things.length && things[index].start <= last; index++) {
    if (nodes === undefined) yield things[index] as T
    else yield* inNode(nodes[index], start, last)
  }
}

/** Adds a range; answers the upper half, if the node had to be split. */
function insertInto<T extends Range>(node: Node<T>, item: T): Node<T> | undefined {
  if (item.start < node.start) node.start = item.start
  if (item.last > node.last) node.last = item.last
  const { nodes } = node
  if (nodes === undefined) {
    const items = itemsOf(node)
    const index = lowestIndex(items, item.start)
    items.splice(index, 0, item)
    widenAround(node, items, index)
    return items.length > NODE_MAX ? upperHalf(node, items, { items: items.splice(items.length >>> 1) }) : undefined
  }
  // Beyond every range: into the last node.
  const index = Math.min(lowestIndex(nodes, item.start), nodes.length - 1)
  const upper = insertInto(nodes[index], item)
  if (upper !== undefined) nodes.splice(index + 1, 0, upper)
  node.widest = max(node.widest, nodes[index].widest)
  widenAround(node, nodes, index)
  return nodes.length > NODE_MAX ? upperHalf(node, nodes, { nodes: nodes.splice(nodes.length >>> 1) }) : undefined
}

function upperHalf<T extends Range>(
  node: Node<T>,
  kept: readonly Range[],
  moved: { readonly items: T[] } | { readonly nodes: Node<T>[] },
): Node<T> {
  const things: readonly Range[] = 'items' in moved ? moved.items : moved.nodes
  const upper = { ...moved, start: things[0].start, last: node.last, widest: node.widest }
  node.last = kept[kept.length - 1].last
  return upper
}

/** Takes out a range. A node that has nothing left is taken out of its parent. */
function removeFrom<T extends Range>(node: Node<T>, item: T): void {
  const things: Range[] = node.nodes ?? itemsOf(node)
  const index = lowestIndex(things, item.start)
  if (node.nodes !== undefined) removeFrom(node.nodes[index], item)
  if (node.nodes === undefined || isEmpty(node.nodes[index])) {
    things.splice(index, 1)
    if (things.length === 0) return
  } else node.widest = max(node.widest, node.nodes[index].widest)
  node.start = things[0].start
  node.last = things[things.length - 1].last
  widenAround(node, things, Math.min(index, things.length - 1))
}

const isEmpty = ({ items, nodes }: Node<Range>): boolean => (nodes ?? items ?? []).length === 0

/** The holes at both ends of a thing are new. */
function widenAround(node: Node<Range>, things: readonly Range[], index: number): void {
  node.widest = max(node.widest, max(holeAfter(things, index - 1), holeAfter(things, index)))
}

/** Bytes between a thing and the next. */
function holeAfter(things: readonly Range[], index: number): bigint {
  if (index < 0 || index + 1 >= things.length) return 0n
  return things[index + 1].start - things[index].last - 1n
}

const max = (a: bigint, b: bigint): bigint => (b > a ? b : a)

/** A search for room, and how far it has come. */
interface Search {
  /** Beyond all that was looked at. */
  start: bigint
  readonly last: bigint
  readonly length: bigint
  found: Range | undefined
}

/** Looks for a hole before and between the things of a node. Answers whether the search has ended. */
function searchIn<T extends Range>(node: Node<T>, search: Search): boolean {
  const { nodes } = node
  const things: readonly Range[] = nodes ?? itemsOf(node)
  const isWhole = search.start <= node.start
  for (let index = isWhole ? 0 : lowestIndex(things, search.start); index < things.length; index++) {
    const { start, last } = things[index]
    if (start > search.start && tryHole(search, start - 1n)) return true
    if (last >= search.last && (nodes === undefined || start > search.last)) return true
    if (nodes !== undefined && nodes[index].widest >= search.length && searchIn(nodes[index], search)) return true
    if (last >= search.last) return true
    search.start = last + 1n
  }
  if (isWhole) tighten(node)
  return false
}

/** Whether the hole up to `end`, cut to the search, is enough or ends it. */
function tryHole(search: Search, end: bigint): boolean {
  const last = end < search.last ? end : search.last
  if (last >= search.start && last - search.start + 1n >= search.length) search.found = { start: search.start, last }
  return search.found !== undefined || end >= search.last
}

/** Nothing was found in all of it: the bound becomes exact, as far as those of its nodes are. */
function tighten<T extends Range>(node: Node<T>): void {
  const things: readonly Range[] = node.nodes ?? itemsOf(node)
  node.widest = 0n
  for (let index = 0; index < things.length; index++) node.widest = max(node.widest, holeAfter(things, index))
  for (const { widest } of node.nodes ?? []) node.widest = max(node.widest, widest)
}
