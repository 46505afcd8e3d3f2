/**
 * The nodes of an interval map, in typed arrays on one buffer: a lookup among a million ranges is a few cache lines, where
 * objects would be a miss or two a step.
 *
 * Addresses are kept as signed numbers of 64 bits, 2^63 lower than they are, which keeps their order. Between a
 * BigInt64Array and a comparison a BigInt is a register, once that is compiled; one of a BigUint64Array is an object.
 */

/** Slots of a node, as a power of two. */
export const SLOTS_LG2 = 6
const SLOTS = 1 << SLOTS_LG2
/** Things in a node at most: the last slot stays empty, so that a search of six steps always ends at a slot. */
export const MOST = SLOTS - 1
/** Where a slot is in its node. */
export const PLACE = SLOTS - 1

/** A node: where each slot ends, beside each other for the search; then where each begins, and what is there. */
const LONGS = 3 * SLOTS
const STARTS = SLOTS
const REFS = 2 * STARTS + 2

/** What is added to a number to keep it; and so 0 as it is kept. */
const LOWEST = -(2n ** 63n)
/** Where a slot ends that has nothing. */
const HIGHEST = 2n ** 63n - 1n

/** A number of 64 bits as it is kept. */
export const kept = (value: bigint): bigint => BigInt.asIntN(64, value + LOWEST)

/** No slot. */
export const NONE = -1

/** Nodes by number. A slot is a node's number times SLOTS, and its place in it; what is kept is named so. */
export class Nodes {
  /** Things in each node. */
  counts = new Int32Array(0)
  /** No hole between two things of a node, or inside one, has more bytes; kept. */
  widest = new BigInt64Array(0)
  #longs = new BigInt64Array(0)
  /** On the same buffer. */
  #words = new Int32Array(0)
  /** Nodes that were given out, ever. */
  #made = 0
  readonly #free: number[] = []

  /** Nodes that there is memory for. */
  get capacity(): number {
    return this.counts.length
  }

  /** A node with nothing in it. */
  make(): number {
    const node = this.#free.pop() ?? this.#next()
    this.counts[node] = 0
    this.widest[node] = LOWEST
    this.#longs.fill(HIGHEST, node * LONGS, node * LONGS + SLOTS)
    return node
  }

  /** Gives a node back. */
  drop(node: number): void {
    this.#free.push(node)
  }

  /** The first slot of a node that ends at or beyond an address, or the one behind all that has something. */
  find(node: number, address: bigint): number {
    const longs = this.#longs
    const key = BigInt.asIntN(64, address + LOWEST)
    let at = node * LONGS
    if (longs[at + 31] < key) at += 32
    if (longs[at + 15] < key) at += 16
    if (longs[at + 7] < key) at += 8
    if (longs[at + 3] < key) at += 4
    if (longs[at + 1] < key) at += 2
    if (longs[at] < key) at += 1
    return (node << SLOTS_LG2) + (at - node * LONGS)
  }

  /**
   * The same of a leaf, `height` levels below a root; NONE, if everything ends below the address. The steps stand here
   * once more, so that the address stays in its register. They branch: a wrong guess costs less than it gains, as the
   * right ones fetch memory early.
   */
  findLeaf(root: number, height: number, address: bigint): number {
    const longs = this.#longs
    const key = BigInt.asIntN(64, address + LOWEST)
    let node = root
    for (let level = height; ; level--) {
      const from = node * LONGS
      let at = from
      if (longs[at + 31] < key) at += 32
      if (longs[at + 15] < key) at += 16
      if (longs[at + 7] < key) at += 8
      if (longs[at + 3] < key) at += 4
      if (longs[at + 1] < key) at += 2
      if (longs[at] < key) at += 1
      const place = at - from
      if (level === height && place === this.counts[root]) return NONE
      if (level === 0) return (node << SLOTS_LG2) + place
      node = this.#words[2 * (from + 2 * place) + REFS]
    }
  }

  /** What is in a slot. */
  ref(slot: number): number {
    return this.#words[2 * recordAt(slot) + 2]
  }

  /** Whether nothing is in a slot. */
  isEmpty(slot: number): boolean {
    return (slot & PLACE) >= this.counts[slot >> SLOTS_LG2]
  }

  /** Whether what is in a slot begins at or below an address. */
  beginsBy(slot: number, address: bigint): boolean {
    return this.#longs[recordAt(slot)] <= BigInt.asIntN(64, address + LOWEST)
  }

  /** Whether what is in a slot ends at or beyond an address. */
  endsFrom(slot: number, address: bigint): boolean {
    return this.#longs[lastAt(slot)] >= BigInt.asIntN(64, address + LOWEST)
  }

  /** The first byte of what is in a slot. */
  startOf(slot: number): bigint {
    return this.#longs[recordAt(slot)] - LOWEST
  }

  /** The last one. */
  lastOf(slot: number): bigint {
    return this.#longs[lastAt(slot)] - LOWEST
  }

  /** Bytes between a slot and the next, kept; none at an end of the node. */
  roomBehind(slot: number): bigint {
    if ((slot & PLACE) >= this.counts[slot >> SLOTS_LG2] - 1) return LOWEST
    return BigInt.asIntN(64, this.#longs[recordAt(slot + 1)] - this.#longs[lastAt(slot)] + HIGHEST)
  }

  /** Puts something into a slot of a node that is not full; those from there on move up. */
  insert(slot: number, start: bigint, last: bigint, ref: number): void {
    const longs = this.#longs
    const node = slot >> SLOTS_LG2
    const lowest = lastAt(slot)
    let record = recordAt((node << SLOTS_LG2) + this.counts[node])
    for (let to = node * LONGS + this.counts[node]++; to > lowest; to--) {
      longs[to] = longs[to - 1]
      longs[record] = longs[record - 2]
      longs[record + 1] = longs[record - 1]
      record -= 2
    }
    longs[lowest] = BigInt.asIntN(64, last + LOWEST)
    longs[record] = BigInt.asIntN(64, start + LOWEST)
    this.#words[2 * record + 2] = ref
  }

  /** Takes out what is in a slot; those behind it move down. */
  remove(slot: number): void {
    const longs = this.#longs
    const node = slot >> SLOTS_LG2
    const end = node * LONGS + --this.counts[node]
    let record = recordAt(slot)
    for (let to = lastAt(slot); to < end; to++) {
      longs[to] = longs[to + 1]
      longs[record] = longs[record + 2]
      longs[record + 1] = longs[record + 3]
      record += 2
    }
    longs[end] = HIGHEST
  }

  /** Moves what is in the places from one on behind what another node has. */
  move(node: number, place: number, to: number): void {
    const count = this.counts[node]
    const from = node * LONGS
    const into = to * LONGS
    const end = this.counts[to]
    this.#longs.copyWithin(into + end, from + place, from + count)
    this.#longs.copyWithin(into + STARTS + 2 * end, from + STARTS + 2 * place, from + STARTS + 2 * count)
    this.#longs.fill(HIGHEST, from + place, from + count)
    this.counts[node] = place
    this.counts[to] += count - place
  }

  /** Has a slot stand for a node, from its first byte to its last. */
  cover(slot: number, node: number): void {
    const lowest = node << SLOTS_LG2
    this.#longs[lastAt(slot)] = this.#longs[lastAt(lowest + this.counts[node] - 1)]
    this.#longs[recordAt(slot)] = this.#longs[recordAt(lowest)]
    this.#words[2 * recordAt(slot) + 2] = node
  }

  /** The holes at both sides of a slot are new. Answers whether its node's bound is. */
  widen(slot: number): boolean {
    const node = slot >> SLOTS_LG2
    const behind = this.roomBehind(slot)
    const before = slot & PLACE ? this.roomBehind(slot - 1) : LOWEST
    const room = behind > before ? behind : before
    if (room <= this.widest[node]) return false
    this.widest[node] = room
    return true
  }

  /** The node in a slot has a wider hole. Answers whether that makes the bound of the slot's own wider. */
  widenFor(slot: number): boolean {
    const node = slot >> SLOTS_LG2
    const room = this.widest[this.ref(slot)]
    if (room <= this.widest[node]) return false
    this.widest[node] = room
    return true
  }

  #next(): number {
    if (this.#made === this.capacity) this.#grow(Math.max(1, 2 * this.capacity))
    return this.#made++
  }

  #grow(nodes: number): void {
    const longs = new BigInt64Array(nodes * LONGS)
    longs.set(this.#longs)
    this.#longs = longs
    this.#words = new Int32Array(longs.buffer)
    const widest = new BigInt64Array(nodes)
    widest.set(this.widest)
    this.widest = widest
    const counts = new Int32Array(nodes)
    counts.set(this.counts)
    this.counts = counts
  }
}

const lastAt = (slot: number): number => (slot >> SLOTS_LG2) * LONGS + (slot & PLACE)
const recordAt = (slot: number): number => (slot >> SLOTS_LG2) * LONGS + STARTS + 2 * (slot & PLACE)
