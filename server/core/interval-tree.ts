/**
 * What is where in 64 bits: disjoint closed ranges in order, found by address in O(log n), and so is room between them. A
 * tree of nodes of a few dozen things, each of which knows where it ends; a node knows an upper bound of the holes before
 * what is in it.
 */

import type { Range } from './driver.js'
import type { Ranges } from './interval-few.js'
import { holeOf, lowestHole, widenAt, widenBehind } from './interval-holes.js'
import { HIGHEST, LOWEST, MOST, NONE, Nodes, PLACE, path, SLOTS_LG2 } from './interval-nodes.js'
import { assert } from './refusal.js'
import { min, U64_MAX } from './u64.js'

/** A node with fewer things is merged with a neighbour, if both together have few. */
const FEW = MOST >> 2

/** A map from disjoint ranges of 64-bit addresses to values, for many. */
export class IntervalTree<T> implements Ranges<T> {
  #nodes = new Nodes()
  /** By the ranges' numbers. */
  #values: (T | undefined)[] = []
  #free: number[] = []
  #root = NONE
  /** Levels above the leaves. */
  #height = 0
  #size = 0
  /** Whether a range begins at 0. Where that is left out, 0 is 1. */
  #fromZero = false
  /** Ranges that came or went. */
  #changes = 0

  get size(): number {
    return this.#size
  }

  firstFrom(address: bigint): T | undefined {
    const slot = this.#find(address)
    return slot === NONE ? undefined : this.#values[this.#nodes.ref(slot)]
  }

  firstIn(start: bigint, last: bigint): T | undefined {
    if (start && this.#root !== NONE) {
      const ref = this.#nodes.refIn(this.#root, this.#height, start, last)
      return ref === NONE ? undefined : this.#values[ref]
    }
    const slot = this.#find(start)
    if (slot === NONE || !this.#beginsBy(slot, last)) return undefined
    return this.#values[this.#nodes.ref(slot)]
  }

  *in(start: bigint, last: bigint): Iterable<T> {
    let slot = this.#find(start)
    while (slot !== NONE && this.#beginsBy(slot, last)) {
      const end = this.#nodes.lastOf(slot)
      const changes = this.#changes
      yield this.#values[this.#nodes.ref(slot)] as T
      if (end >= last) return
      // As long as nothing has changed the next one is in the next slot, or in the next leaf.
      slot = changes === this.#changes && !this.#nodes.isEmpty(slot + 1) ? slot + 1 : this.#find(end + 1n)
    }
  }

  insert(start: bigint, last: bigint, value: T): void {
    const nodes = this.#nodes
    if (this.#root === NONE) this.#root = nodes.make()
    let slot = nodes.find(this.#root, this.#height, start)
    const isBehindAll = nodes.isEmpty(slot)
    assert(isBehindAll || !this.#beginsBy(slot, last), 'ranges of an interval map are disjoint')
    while (nodes.count(slot >> SLOTS_LG2) === MOST) slot = this.#makeRoom(start)
    const ref = this.#free.pop() ?? this.#values.length
    this.#values[ref] = value
    this.#size++
    this.#changes++
    if (!start) this.#fromZero = true
    nodes.insert(slot, start, last, ref)
    // Anywhere else it only makes a hole smaller.
    if (isBehindAll) {
      nodes.descend(this.#root, this.#height, start)
      widenAt(nodes, this.#height)
    }
  }

  remove(start: bigint, value: T): void {
    const nodes = this.#nodes
    const slot = this.#root === NONE ? NONE : nodes.descend(this.#root, this.#height, start)
    const ref = slot === NONE || nodes.isEmpty(slot) ? NONE : nodes.ref(slot)
    assert(ref !== NONE && this.#values[ref] === value, 'a range is in the map before it is removed')
    this.#values[ref] = undefined
    this.#changes++
    if (!start) this.#fromZero = false
    this.#free.push(ref)
    if (--this.#size === 0) {
      this.#clear()
      return
    }
    nodes.remove(slot)
    const leaf = slot >> SLOTS_LG2
    const count = nodes.count(leaf)
    if ((slot & PLACE) < count) widenAt(nodes, this.#height)
    else {
      if (count > 0) this.#endAbove(0)
      widenBehind(nodes, this.#height)
    }
    if (count < FEW) this.#merge(this.#prune())
  }

  hole(from: bigint, last: bigint, length: bigint): Range | undefined {
    if (this.#size === 0 || from > last) return holeOf(from, last, length)
    const nodes = this.#nodes
    const slot = this.#find(0n)
    const start = this.#fromZero ? 0n : nodes.start(slot) - LOWEST
    const behind = nodes.lastOf(slot) + 1n
    if (from < behind) {
      const before = start > from ? holeOf(from, min(start - 1n, last), length) : undefined
      return before !== undefined || behind > last ? before : this.hole(behind, last, length)
    }
    // Beside two ranges there is no such hole.
    if (length >= U64_MAX) return this.#size === 1 ? holeOf(from, last, length) : undefined
    return lowestHole(nodes, this.#root, this.#height, from, last, length)
  }

  /** The lowest slot of a leaf that ends at or beyond an address. */
  #find(address: bigint): number {
    if (this.#root === NONE) return NONE
    const slot = this.#nodes.find(this.#root, this.#height, address)
    return this.#nodes.isEmpty(slot) ? NONE : slot
  }

  /** Whether the range in a slot, which ends at or beyond an address that is no higher, begins at or below another. */
  #beginsBy(slot: number, address: bigint): boolean {
    return address ? this.#nodes.beginsBy(slot, address) : this.#fromZero
  }

  /** Splits the highest of the full nodes that end at the leaf of an address. Answers where that is now. */
  #makeRoom(start: bigint): number {
    const nodes = this.#nodes
    nodes.descend(this.#root, this.#height, start)
    let level = 0
    while (level < this.#height && nodes.count(path[level + 1] >> SLOTS_LG2) === MOST) level++
    const node = path[level] >> SLOTS_LG2
    const upper = nodes.make()
    nodes.move(node, this.#whereToSplit(), upper)
    nodes.setWidest(upper, nodes.widest(node))
    if (level === this.#height) {
      const root = nodes.make()
      nodes.insert(root << SLOTS_LG2, 0n, U64_MAX, node)
      nodes.setWidest(root, nodes.widest(node))
      this.#root = root
      this.#height++
      path[this.#height] = root << SLOTS_LG2
    }
    nodes.insertBehind(path[level + 1], upper)
    return nodes.find(this.#root, this.#height, start)
  }

  /** In the middle, but at an end of all ranges such that nodes fill up when ranges are added in order. */
  #whereToSplit(): number {
    if ((path[0] & PLACE) === MOST) return MOST - 1
    for (let level = 0; level <= this.#height; level++) if ((path[level] & PLACE) !== 0) return MOST >> 1
    return 1
  }

  /** What holds the node of a level ends where that does, up to where another follows it. */
  #endAbove(level: number): void {
    const nodes = this.#nodes
    const lowest = nodes.lastIn(path[level] >> SLOTS_LG2)
    let above = level + 1
    while (above <= this.#height && path[above] === nodes.lastIn(path[above] >> SLOTS_LG2)) above++
    if (above <= this.#height) for (let at = level + 1; at <= above; at++) nodes.setEnd(path[at], nodes.end(lowest))
    else if (level > 0) nodes.setEnd(lowest, HIGHEST)
  }

  /** Takes out the nodes of the path that have nothing left. Answers the level of the lowest that has. */
  #prune(): number {
    const nodes = this.#nodes
    let level = 0
    while (nodes.count(path[level] >> SLOTS_LG2) === 0) {
      nodes.drop(path[level] >> SLOTS_LG2)
      nodes.remove(path[++level])
    }
    if (level > 0 && nodes.isEmpty(path[level])) this.#endAbove(level)
    return level
  }

  /** Nodes of the path that have few things are merged with their neighbours, so that few ranges have few nodes. */
  #merge(from: number): void {
    const nodes = this.#nodes
    for (let level = from; level < this.#height; level++) {
      if (nodes.count(path[level] >> SLOTS_LG2) >= FEW) return
      const parent = path[level + 1] >> SLOTS_LG2
      const left = path[level + 1] & PLACE ? path[level + 1] - 1 : path[level + 1]
      if (left === nodes.lastIn(parent)) return
      const low = nodes.ref(left)
      const high = nodes.ref(left + 1)
      if (nodes.count(low) + nodes.count(high) > 2 * FEW) return
      if (nodes.widest(high) > nodes.widest(low)) nodes.setWidest(low, nodes.widest(high))
      nodes.move(high, 0, low)
      nodes.drop(high)
      nodes.setEnd(left, nodes.end(left + 1))
      nodes.remove(left + 1)
    }
    while (this.#height > 0 && nodes.count(this.#root) === 1) {
      nodes.drop(this.#root)
      this.#root = nodes.ref(this.#root << SLOTS_LG2)
      this.#height--
    }
  }

  /** The last range is gone, and the memory of many with it. */
  #clear(): void {
    this.#nodes = new Nodes()
    this.#values = []
    this.#free = []
    this.#root = NONE
    this.#height = 0
  }
}
