/**
 * The holes of an interval map. Each belongs to the range that ends it, and so to that range's leaf; a node's bound is
 * never below the widest hole of what is in it. A search skips nodes whose bound is too low, and corrects those that
 * promised too much.
 *
 * What is taken off a hole's bytes stands there in digits: to the engine a constant of another module is any BigInt.
 */

import type { Range } from './driver.js'
import { HIGHEST, kept, LEAST, LOWEST, NONE, type Nodes, PLACE, path, SLOTS_LG2 } from './interval-nodes.js'

/** A hole, if it is long enough. */
export function holeOf(start: bigint, last: bigint, length: bigint): Range | undefined {
  return last >= start && last - start + 1n >= length ? { start, last } : undefined
}

/** The hole before the range at the path's end is new: bounds follow, as far as they are lower. */
export function widenAt(nodes: Nodes, height: number): void {
  const slot = path[0]
  const start = nodes.start(slot)
  if ((slot & PLACE) !== 0)
    widen(nodes, 0, height, BigInt.asIntN(64, start - nodes.end(slot - 1) - 0x8000_0000_0000_0000n))
  else widen(nodes, 0, height, holeBefore(nodes, start, height))
}

/** The hole before the leaf behind the path's is wider, as that one ends earlier. */
export function widenBehind(nodes: Nodes, height: number): void {
  let level = 1
  while (level <= height && path[level] === nodes.lastIn(path[level] >> SLOTS_LG2)) level++
  if (level > height) return
  let leaf = nodes.ref(path[level] + 1)
  for (let below = level - 1; below > 0; below--) leaf = nodes.ref(leaf << SLOTS_LG2)
  const start = nodes.start(leaf << SLOTS_LG2)
  const own = path[0] >> SLOTS_LG2
  const hole =
    nodes.count(own) > 0
      ? BigInt.asIntN(64, start - nodes.end(nodes.lastIn(own)) - 0x8000_0000_0000_0000n)
      : holeBefore(nodes, start, height)
  let node = nodes.ref(path[level] + 1)
  for (let below = level - 1; ; below--) {
    if (hole > nodes.widest(node)) nodes.setWidest(node, hole)
    if (below === 0) break
    node = nodes.ref(node << SLOTS_LG2)
  }
  widen(nodes, level, height, hole)
}

/** From what lies before the path's leaf up to an address that is kept; kept, and one more. */
function holeBefore(nodes: Nodes, start: bigint, height: number): bigint {
  for (let level = 1; level <= height; level++) {
    if ((path[level] & PLACE) !== 0)
      return BigInt.asIntN(64, start - nodes.end(path[level] - 1) - 0x8000_0000_0000_0000n)
  }
  return start < HIGHEST ? start + 1n : start
}

function widen(nodes: Nodes, from: number, height: number, hole: bigint): void {
  for (let level = from; level <= height; level++) {
    const node = path[level] >> SLOTS_LG2
    if (hole <= nodes.widest(node)) return
    nodes.setWidest(node, hole)
  }
}

/**
 * The lowest hole, cut to `[from, last]`, of at least `length` bytes, which are fewer than 2^64 - 1. There is a range in
 * the map, and `from` is not 0.
 */
export function lowestHole(
  nodes: Nodes,
  root: number,
  height: number,
  from: bigint,
  last: bigint,
  length: bigint,
): Range | undefined {
  const room = kept(length + 1n)
  const end = kept(last)
  const isBehindAll = nodes.isEmpty(nodes.descend(root, height, from))
  let start = kept(from)
  while (!isBehindAll) {
    const leaf = path[0] >> SLOTS_LG2
    if (nodes.widest(leaf) >= room) {
      const found = holeIn(nodes, start, end, kept(length))
      if (found !== null) return found
      if ((path[0] & PLACE) === 0) tightenLeaf(nodes, height)
    }
    const before = nextLeaf(nodes, height, room, end)
    if (before === ENDED) return undefined
    if (before === NONE) break
    start = BigInt.asIntN(64, nodes.end(before) + 1n)
  }
  const behind = isBehindAll ? from : lastOfAll(nodes, root, height) + 1n
  return holeOf(behind > from ? behind : from, last, length)
}

/** The same in the path's leaf, from its slot on; what is before that ends below `start`. Null: it may be behind. */
function holeIn(nodes: Nodes, from: bigint, end: bigint, room: bigint): Range | undefined | null {
  const behind = nodes.lastIn(path[0] >> SLOTS_LG2)
  let start = BigInt.asIntN(64, from)
  for (let slot = path[0]; slot <= behind; slot++) {
    const begin = nodes.start(slot)
    if (begin > start) {
      const next = begin <= end ? begin : BigInt.asIntN(64, end + 1n)
      if (BigInt.asIntN(64, next - start - 0x8000_0000_0000_0000n) >= room)
        return { start: start - LOWEST, last: next - 1n - LOWEST }
    }
    if (nodes.end(slot) >= end) return undefined
    start = BigInt.asIntN(64, nodes.end(slot) + 1n)
  }
  return null
}

/** All that is asked for has been passed. */
const ENDED = -2

/**
 * Goes on to the next leaf that may have so much room. Answers the slot that ends before it, the highest that does; NONE,
 * if no leaf has.
 */
function nextLeaf(nodes: Nodes, height: number, room: bigint, end: bigint): number {
  let level = 1
  let before = path[1]
  let next = before + 1
  let isBack = true
  while (level <= height) {
    const node = path[level] >> SLOTS_LG2
    const last = nodes.lastIn(node)
    if (isBack && next <= last && nodes.end(before) >= end) return ENDED
    while (next <= last && nodes.widest(nodes.ref(next)) < room) {
      before = next++
      if (next <= last && nodes.end(before) >= end) return ENDED
    }
    isBack = next > last
    if (isBack) {
      if (nodes.widest(node) >= room) tighten(nodes, node)
      before = path[++level]
      next = before + 1
      continue
    }
    path[level--] = next
    next = nodes.ref(next) << SLOTS_LG2
    path[level] = next
    if (level === 0) return before
  }
  return NONE
}

/** The last byte of all ranges. */
function lastOfAll(nodes: Nodes, root: number, height: number): bigint {
  let node = root
  for (let level = height; level > 0; level--) node = nodes.ref(nodes.lastIn(node))
  return nodes.lastOf(nodes.lastIn(node))
}

/** The bound of the path's leaf becomes exact. */
function tightenLeaf(nodes: Nodes, height: number): void {
  const leaf = path[0] >> SLOTS_LG2
  const lowest = leaf << SLOTS_LG2
  const behind = nodes.lastIn(leaf)
  let widest = BigInt.asIntN(64, holeBefore(nodes, nodes.start(lowest), height))
  for (let slot = lowest + 1; slot <= behind; slot++) {
    const hole = BigInt.asIntN(64, nodes.start(slot) - nodes.end(slot - 1) - 0x8000_0000_0000_0000n)
    if (hole > widest) widest = hole
  }
  nodes.setWidest(leaf, widest)
}

/** The bound of another node becomes that of its widest. */
function tighten(nodes: Nodes, node: number): void {
  const behind = nodes.lastIn(node)
  let most = LEAST
  for (let slot = node << SLOTS_LG2; slot <= behind; slot++) {
    const inside = nodes.widest(nodes.ref(slot))
    if (inside > most) most = inside
  }
  nodes.setWidest(node, most)
}
