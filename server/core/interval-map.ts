/**
 * What is where in 64 bits: disjoint closed ranges in order, found by address in O(log n), and so is room between them. A
 * tree of nodes of a few dozen things, each of which knows where it begins and ends and an upper bound of the holes
 * inside it.
 */

import type { Range } from './driver.js'
import { kept, MOST, NONE, Nodes, PLACE, SLOTS_LG2 } from './interval-nodes.js'
import { assert } from './refusal.js'
import { U64_MAX } from './u64.js'

/** Levels of a tree: each has a thirtieth of the nodes that were ever made below it. */
const LEVELS = 16
/** A node with fewer things is merged with a neighbour, if both together have few. */
const FEW = MOST >> 2
/** Nodes that an empty map keeps. */
const KEPT = 8

/** The slot at each level, leaves first, of the call that is on its way. */
const path = new Int32Array(LEVELS)

/**
 * A map from disjoint ranges of 64-bit addresses to values. The ends are kept here, so that finding one looks at no value.
 */
export class IntervalMap<T> {
  #nodes = new Nodes()
  /** What the slots of leaves refer to. */
  #values: (T | undefined)[] = []
  #free: number[] = []
  #root = NONE
  /** Levels above the leaves. */
  #height = 0
  #size = 0

  /** How many ranges there are. */
  get size(): number {
    return this.#size
  }

  /** What is at the lowest range that has a byte at or beyond `address`. */
  firstFrom(address: bigint): T | undefined {
    const slot = this.#find(address)
    return slot === NONE ? undefined : this.#values[this.#nodes.ref(slot)]
  }

  /** What is at the lowest range that shares a byte with `[start, last]`. */
  firstIn(start: bigint, last: bigint): T | undefined {
    const slot = this.#find(start)
    if (slot === NONE || !this.#nodes.beginsBy(slot, last)) return undefined
    return this.#values[this.#nodes.ref(slot)]
  }

  /** What is at ranges that share a byte with `[start, last]`, ascending; each is looked for when it is asked for. */
  *in(start: bigint, last: bigint): Iterable<T> {
    let from = start
    while (from <= last) {
      const slot = this.#find(from)
      if (slot === NONE || !this.#nodes.beginsBy(slot, last)) return
      from = this.#nodes.lastOf(slot) + 1n
      yield this.#values[this.#nodes.ref(slot)] as T
    }
  }

  /** Everything, ascending. */
  [Symbol.iterator](): Iterator<T> {
    return this.in(0n, U64_MAX)[Symbol.iterator]()
  }

  /** Adds a range that meets no other. */
  insert(start: bigint, last: bigint, value: T): void {
    const nodes = this.#nodes
    if (this.#root === NONE) this.#root = nodes.make()
    let slot = this.#descend(start)
    assert(nodes.isEmpty(slot) || !nodes.beginsBy(slot, last), 'ranges of an interval map are disjoint')
    while (nodes.counts[slot >> SLOTS_LG2] === MOST) {
      this.#split()
      slot = this.#descend(start)
    }
    const ref = this.#free.pop() ?? this.#values.length
    this.#values[ref] = value
    this.#size++
    nodes.insert(slot, start, last, ref)
    // In the middle of a leaf it only makes a hole smaller.
    const place = slot & PLACE
    if (place === 0 || place === nodes.counts[slot >> SLOTS_LG2] - 1) this.#settle(0)
  }

  /** Takes out the range that begins at `start`, and has this value. */
  remove(start: bigint, value: T): void {
    const nodes = this.#nodes
    const slot = this.#root === NONE ? NONE : this.#descend(start)
    const ref = slot === NONE || nodes.isEmpty(slot) ? NONE : nodes.ref(slot)
    assert(ref !== NONE && this.#values[ref] === value, 'a range is in the map before it is removed')
    this.#values[ref] = undefined
    this.#free.push(ref)
    nodes.remove(slot)
    if (--this.#size === 0) {
      this.#clear()
      return
    }
    const level = this.#prune()
    this.#settle(level)
    this.#merge(level)
  }

  /** The lowest hole, cut to `[from, last]`, of at least `length` bytes. */
  hole(from: bigint, last: bigint, length: bigint): Range | undefined {
    if (this.#size > 0 && from <= last) {
      // Beside a range there is no hole of 2^64 bytes.
      if (length > U64_MAX) return undefined
      const search = { from, last, length, room: kept(length), found: undefined }
      if (this.#searchIn(this.#root, this.#height, search)) return search.found
      return holeOf(search.from, last, length)
    }
    return holeOf(from, last, length)
  }

  /** The lowest slot of a leaf that ends at or beyond an address. */
  #find(address: bigint): number {
    return this.#root === NONE ? NONE : this.#nodes.findLeaf(this.#root, this.#height, address)
  }

  /** The same, with the path to it; beyond all ranges the slot behind the last one. */
  #descend(address: bigint): number {
    const nodes = this.#nodes
    let node = this.#root
    for (let level = this.#height; level > 0; level--) {
      let slot = nodes.find(node, address)
      if (nodes.isEmpty(slot)) slot--
      path[level] = slot
      node = nodes.ref(slot)
    }
    path[0] = nodes.find(node, address)
    return path[0]
  }

  /** Makes room on the path to a full leaf: splits the highest of the full nodes that end there. */
  #split(): void {
    const nodes = this.#nodes
    let level = 0
    while (level < this.#height && nodes.counts[path[level + 1] >> SLOTS_LG2] === MOST) level++
    const node = path[level] >> SLOTS_LG2
    const upper = nodes.make()
    nodes.move(node, this.#whereToSplit(), upper)
    nodes.widest[upper] = nodes.widest[node]
    if (level === this.#height) {
      const root = nodes.make()
      nodes.insert(root << SLOTS_LG2, 0n, 0n, node)
      nodes.widest[root] = nodes.widest[node]
      this.#root = root
      this.#height++
      path[this.#height] = root << SLOTS_LG2
    }
    const parent = path[level + 1]
    nodes.insert(parent + 1, 0n, 0n, upper)
    nodes.cover(parent + 1, upper)
    nodes.cover(parent, node)
  }

  /** In the middle, but at an end of all ranges such that nodes fill up when ranges are added in order. */
  #whereToSplit(): number {
    if ((path[0] & PLACE) === MOST) return MOST - 1
    for (let level = 0; level <= this.#height; level++) if ((path[level] & PLACE) !== 0) return MOST >> 1
    return 1
  }

  /** Takes out the nodes of the path that have nothing left. Answers the level of the lowest that has. */
  #prune(): number {
    const nodes = this.#nodes
    let level = 0
    while (nodes.counts[path[level] >> SLOTS_LG2] === 0) {
      nodes.drop(path[level] >> SLOTS_LG2)
      nodes.remove(path[++level])
    }
    return level
  }

  /** Something came or went at the slot of a level: ends and bounds above it follow, as far as they change. */
  #settle(from: number): void {
    const nodes = this.#nodes
    let isWider = nodes.widen(path[from])
    for (let level = from; level < this.#height; level++) {
      const node = path[level] >> SLOTS_LG2
      const place = path[level] & PLACE
      const parent = path[level + 1]
      const isAtAnEnd = place === 0 || place >= nodes.counts[node] - 1
      if (!isAtAnEnd && !isWider) return
      isWider = isWider && nodes.widenFor(parent)
      if (!isAtAnEnd) continue
      nodes.cover(parent, node)
      isWider = nodes.widen(parent) || isWider
    }
  }

  /** Nodes of the path that have few things are merged with their neighbours, so that few ranges have few nodes. */
  #merge(from: number): void {
    const nodes = this.#nodes
    for (let level = from; level < this.#height; level++) {
      if (nodes.counts[path[level] >> SLOTS_LG2] >= FEW) return
      const parent = path[level + 1] >> SLOTS_LG2
      const left = path[level + 1] & PLACE ? path[level + 1] - 1 : path[level + 1]
      if ((left & PLACE) + 1 === nodes.counts[parent]) return
      const low = nodes.ref(left)
      const high = nodes.ref(left + 1)
      if (nodes.counts[low] + nodes.counts[high] > 2 * FEW) return
      // No child's bound is above its parent's, and the hole between the two is one of the parent's.
      const widest = [nodes.widest[low], nodes.widest[high], nodes.roomBehind(left)]
      nodes.widest[low] = widest.reduce((most, room) => (room > most ? room : most))
      nodes.move(high, 0, low)
      nodes.drop(high)
      nodes.remove(left + 1)
      nodes.cover(left, low)
    }
    while (this.#height > 0 && nodes.counts[this.#root] === 1) {
      nodes.drop(this.#root)
      this.#root = nodes.ref(this.#root << SLOTS_LG2)
      this.#height--
    }
  }

  /** The last range is gone, and the memory of many with it. */
  #clear(): void {
    if (this.#nodes.capacity > KEPT) {
      this.#nodes = new Nodes()
      this.#values = []
      this.#free = []
    } else for (let level = 0; level <= this.#height; level++) this.#nodes.drop(path[level] >> SLOTS_LG2)
    this.#root = NONE
    this.#height = 0
  }

  /** Looks for a hole before and between the things of a node. Answers whether the search has ended. */
  #searchIn(node: number, level: number, search: Search): boolean {
    const nodes = this.#nodes
    const { last, room } = search
    const lowest = node << SLOTS_LG2
    const behind = lowest + nodes.counts[node]
    const isWhole = search.from <= nodes.startOf(lowest)
    const entry = isWhole ? lowest : nodes.find(node, search.from)
    for (let slot = entry; slot < behind; slot++) {
      const isAsked = slot === entry || nodes.roomBehind(slot - 1) >= room || !nodes.beginsBy(slot, last)
      if (isAsked && !nodes.beginsBy(slot, search.from) && tryHole(search, nodes.startOf(slot) - 1n)) return true
      const isLast = nodes.endsFrom(slot, last)
      if (isLast && (level === 0 || !nodes.beginsBy(slot, last))) return true
      if (level > 0) {
        const child = nodes.ref(slot)
        if (nodes.widest[child] >= room && this.#searchIn(child, level - 1, search)) return true
      }
      if (isLast) return true
      search.from = nodes.lastOf(slot) + 1n
    }
    if (isWhole) this.#tighten(node, level)
    return false
  }

  /** Nothing was found in all of it: the bound becomes exact, as far as those of its nodes are. */
  #tighten(node: number, level: number): void {
    const nodes = this.#nodes
    const lowest = node << SLOTS_LG2
    let widest = kept(0n)
    for (let slot = lowest; slot < lowest + nodes.counts[node]; slot++) {
      const behind = nodes.roomBehind(slot)
      if (behind > widest) widest = behind
      const inside = level > 0 ? nodes.widest[nodes.ref(slot)] : widest
      if (inside > widest) widest = inside
    }
    nodes.widest[node] = widest
  }
}

/** A search for room, and how far it has come. */
interface Search {
  /** Beyond all that was looked at. */
  from: bigint
  readonly last: bigint
  readonly length: bigint
  /** The length, as nodes keep it. */
  readonly room: bigint
  found: Range | undefined
}

/** Whether the hole up to `end`, cut to the search, is enough or ends it. */
function tryHole(search: Search, end: bigint): boolean {
  search.found = holeOf(search.from, end < search.last ? end : search.last, search.length)
  return search.found !== undefined || end >= search.last
}

function holeOf(start: bigint, last: bigint, length: bigint): Range | undefined {
  return last >= start && last - start + 1n >= length ? { start, last } : undefined
}
