/**
 * The nodes of an interval map, in typed arrays: a lookup among a million ranges is a few cache lines, where objects
 * would be a miss or two a step.
 *
 * Addresses are kept as signed numbers of 64 bits, 2^63 lower than they are, which keeps their order. Between a
 * BigInt64Array and a comparison a BigInt is a register, once that is compiled; one of a BigUint64Array is an object, and
 * so is a constant that is exported. Where every look-up passes, constants stand in digits.
 */

/** Slots of a node, as a power of two. */
export const SLOTS_LG2 = 6
const SLOTS = 1 << SLOTS_LG2
/** Things in a node at most: the last slot stays empty, so that a search always ends at a slot. */
export const MOST = SLOTS - 1
/** Where a slot is in its node. */
export const PLACE = SLOTS - 1
/** Levels of a tree: each has a thirtieth of the nodes that were ever made below it. */
const LEVELS = 16

/** A node: where each slot ends, beside each other for the search; where each begins; what is there, in words; the rest. */
const STARTS = SLOTS
const REFS = 2 * SLOTS
const COUNT = REFS + SLOTS / 2
const WIDEST = COUNT + 1
const LONGS = COUNT + 8
/** Bytes before the first node, so that one begins where a line of the processor's caches does: memory begins 16 later. */
const ALIGNED = 48

/** What is added to a number to keep it. */
export const LOWEST = -(2n ** 63n)
/**
 * The lowest number that is compared. The engine takes -2^63 for a BigInt of any length, and once it has met it compares
 * all by a call: it is asked for by no look-up, no range begins there, and no hole is as small.
 */
export const LEAST = LOWEST + 1n
/** Where a slot ends that has nothing, and the last child of those that end with all: beyond every address. */
export const HIGHEST = 2n ** 63n - 1n

/** A number of 64 bits as it is kept. */
export const kept = (value: bigint): bigint => BigInt.asIntN(64, value + LOWEST)

/** No slot. */
export const NONE = -1

/** The slot at each level, leaves first, of the call that is on its way. */
export const path = new Int32Array(LEVELS)

/**
 * Nodes by number. A slot is a node's number times SLOTS, and its place in it. In a leaf it has a range, by the number
 * that the range has for as long as it is there; above, a node, and ends where that does.
 */
export class Nodes {
  #longs = new BigInt64Array(0)
  /** On the same buffer. */
  #words = new Int32Array(0)
  /** Nodes that were given out, ever, and that there is memory for. */
  #made = 0
  #capacity = 0
  readonly #free: number[] = []

  /** Nodes that there is memory for. */
  get capacity(): number {
    return this.#capacity
  }

  /** A node with nothing in it. */
  make(): number {
    const node = this.#free.pop() ?? this.#next()
    this.setCount(node, 0)
    this.setWidest(node, LEAST)
    this.#longs.fill(HIGHEST, node * LONGS, node * LONGS + SLOTS)
    return node
  }

  /** Gives a node back. */
  drop(node: number): void {
    this.#free.push(node)
  }

  /**
   * The first slot of a leaf that ends at or beyond an address, `height` levels below a root, or the one behind all
   * ranges. Eight pivots are compared at once, without a branch: a step costs what its slowest load does, and no guess.
   * The steps stand here, and once more below, so that the address stays in its register.
   */
  find(root: number, height: number, address: bigint): number {
    const longs = this.#longs
    const words = this.#words
    if (!address) return this.#lowest(root, height)
    const key = BigInt.asIntN(64, address - 0x8000_0000_0000_0000n)
    let node = root
    for (let level = height; ; level--) {
      const from = (node * LONGS) & POSITIVE
      const low = +(longs[from + 7] < key) + +(longs[from + 15] < key) + +(longs[from + 23] < key)
      const high = +(longs[from + 39] < key) + +(longs[from + 47] < key) + +(longs[from + 55] < key)
      let place = (low + +(longs[from + 31] < key) + high) << 3
      const at = from + place
      const half = +(longs[at] < key) + +(longs[at + 1] < key) + +(longs[at + 2] < key) + +(longs[at + 3] < key)
      place += half + +(longs[at + 4] < key) + +(longs[at + 5] < key) + +(longs[at + 6] < key)
      if (level === 0) return (node << SLOTS_LG2) + place
      node = words[2 * from + 2 * REFS + place]
    }
  }

  /** The same, with the path to it. */
  descend(root: number, height: number, address: bigint): number {
    const longs = this.#longs
    const words = this.#words
    if (!address) return this.#lowest(root, height)
    const key = BigInt.asIntN(64, address - 0x8000_0000_0000_0000n)
    let node = root
    for (let level = height; ; level--) {
      const from = (node * LONGS) & POSITIVE
      const low = +(longs[from + 7] < key) + +(longs[from + 15] < key) + +(longs[from + 23] < key)
      const high = +(longs[from + 39] < key) + +(longs[from + 47] < key) + +(longs[from + 55] < key)
      let place = (low + +(longs[from + 31] < key) + high) << 3
      const at = from + place
      const half = +(longs[at] < key) + +(longs[at + 1] < key) + +(longs[at + 2] < key) + +(longs[at + 3] < key)
      place += half + +(longs[at + 4] < key) + +(longs[at + 5] < key) + +(longs[at + 6] < key)
      path[level] = (node << SLOTS_LG2) + place
      if (level === 0) return path[0]
      node = words[2 * from + 2 * REFS + place]
    }
  }

  /**
   * What is in the first slot of a leaf that ends at or beyond `start`, which is not 0, if it begins by `last`; or NONE.
   * A look-up in one piece: where a node stands is worked out once, and how much it has is read only where nothing ends.
   */
  refIn(root: number, height: number, start: bigint, last: bigint): number {
    const longs = this.#longs
    const words = this.#words
    const key = BigInt.asIntN(64, start - 0x8000_0000_0000_0000n)
    let node = root
    for (let level = height; ; level--) {
      const from = (node * LONGS) & POSITIVE
      const low = +(longs[from + 7] < key) + +(longs[from + 15] < key) + +(longs[from + 23] < key)
      const high = +(longs[from + 39] < key) + +(longs[from + 47] < key) + +(longs[from + 55] < key)
      let place = (low + +(longs[from + 31] < key) + high) << 3
      const at = from + place
      const half = +(longs[at] < key) + +(longs[at + 1] < key) + +(longs[at + 2] < key) + +(longs[at + 3] < key)
      place += half + +(longs[at + 4] < key) + +(longs[at + 5] < key) + +(longs[at + 6] < key)
      const ref = words[2 * from + 2 * REFS + place]
      if (level === 0) {
        if (longs[from + place + STARTS] > BigInt.asIntN(64, last - 0x8000_0000_0000_0000n)) return NONE
        return longs[from + place] < 0x7fff_ffff_ffff_ffffn || place < words[2 * (from + COUNT)] ? ref : NONE
      }
      node = ref
    }
  }

  /** Things in a node. */
  count(node: number): number {
    return this.#words[2 * (node * LONGS + COUNT)]
  }

  setCount(node: number, count: number): void {
    this.#words[2 * (node * LONGS + COUNT)] = count
  }

  /** No hole before a range of the node, back to the range before it, has more bytes; kept, and one more. */
  widest(node: number): bigint {
    return this.#longs[node * LONGS + WIDEST]
  }

  setWidest(node: number, room: bigint): void {
    this.#longs[node * LONGS + WIDEST] = BigInt.asIntN(64, room)
  }

  /** What is in a slot. */
  ref(slot: number): number {
    return this.#words[refAt(slot)]
  }

  /** Where what is in a slot ends; kept. */
  end(slot: number): bigint {
    return this.#longs[endAt(slot)]
  }

  setEnd(slot: number, end: bigint): void {
    this.#longs[endAt(slot)] = BigInt.asIntN(64, end)
  }

  /** Where the range in a slot of a leaf begins, 1 instead of 0; kept. */
  start(slot: number): bigint {
    return this.#longs[endAt(slot) + STARTS]
  }

  /** Whether nothing is in a slot. */
  isEmpty(slot: number): boolean {
    return (slot & PLACE) >= this.count(slot >> SLOTS_LG2)
  }

  /** Whether the range in a slot begins at or below an address that is not 0. */
  beginsBy(slot: number, address: bigint): boolean {
    return this.#longs[endAt(slot) + STARTS] <= BigInt.asIntN(64, address - 0x8000_0000_0000_0000n)
  }

  /** The last byte of the range in a slot. */
  lastOf(slot: number): bigint {
    return this.#longs[endAt(slot)] - LOWEST
  }

  /** The last slot of a node that has something. */
  lastIn(node: number): number {
    return (node << SLOTS_LG2) + this.count(node) - 1
  }

  /** Puts a range into a slot of a leaf that is not full; those from there on move up. */
  insert(slot: number, start: bigint, last: bigint, ref: number): void {
    const longs = this.#longs
    const words = this.#words
    const from = (slot >> SLOTS_LG2) * LONGS
    const at = from + (slot & PLACE)
    const count = words[2 * (from + COUNT)]
    words[2 * (from + COUNT)] = count + 1
    let word = 2 * (from + REFS) + count
    let to = (from + count) & POSITIVE
    // Two at a time: half of what a step costs is the step.
    for (; to > at + 1; to -= 2) {
      longs[to] = longs[to - 1]
      longs[to - 1] = longs[to - 2]
      longs[to + STARTS] = longs[to + STARTS - 1]
      longs[to + STARTS - 1] = longs[to + STARTS - 2]
      words[word] = words[word - 1]
      words[word - 1] = words[word - 2]
      word -= 2
    }
    if (to > at) {
      longs[to] = longs[to - 1]
      longs[to + STARTS] = longs[to + STARTS - 1]
      words[word] = words[word - 1]
      word--
    }
    longs[at] = BigInt.asIntN(64, last - 0x8000_0000_0000_0000n)
    longs[at + STARTS] = BigInt.asIntN(64, (start || 1n) - 0x8000_0000_0000_0000n)
    words[word] = ref
  }

  /** Puts a node into the slot behind another's; it ends where that did, which now ends with the last of its own. */
  insertBehind(slot: number, upper: number): void {
    const end = this.end(slot)
    this.insert(slot + 1, 0n, 0n, upper)
    this.setEnd(slot + 1, end)
    this.setEnd(slot, this.end(this.lastIn(this.ref(slot))))
  }

  /** Takes out what is in a slot; those behind it move down. */
  remove(slot: number): void {
    const longs = this.#longs
    const words = this.#words
    const from = (slot >> SLOTS_LG2) * LONGS
    const count = words[2 * (from + COUNT)] - 1
    words[2 * (from + COUNT)] = count
    const end = from + count
    let word = refAt(slot)
    for (let to = from + (slot & PLACE); to < end; to++) {
      longs[to] = longs[to + 1]
      longs[to + STARTS] = longs[to + STARTS + 1]
      words[word] = words[word + 1]
      word++
    }
    longs[end] = 0x7fff_ffff_ffff_ffffn
  }

  /** Moves what is in the places from one on behind what another node has. */
  move(node: number, place: number, to: number): void {
    const count = this.count(node)
    const own = this.count(to)
    const [from, into] = [node * LONGS + place, to * LONGS + own]
    this.#longs.copyWithin(into, from, node * LONGS + count)
    this.#longs.copyWithin(into + STARTS, from + STARTS, node * LONGS + STARTS + count)
    const word = 2 * (node * LONGS + REFS)
    this.#words.copyWithin(2 * (to * LONGS + REFS) + own, word + place, word + count)
    this.#longs.fill(HIGHEST, from, node * LONGS + count)
    this.setCount(node, place)
    this.setCount(to, own + count - place)
  }

  /** The slot of the lowest range, with the path to it: nothing ends below 0. */
  #lowest(root: number, height: number): number {
    path[height] = root << SLOTS_LG2
    for (let level = height; level > 0; level--) path[level - 1] = this.ref(path[level]) << SLOTS_LG2
    return path[0]
  }

  #next(): number {
    if (this.#made === this.#capacity) this.#grow(Math.max(1, 2 * this.#capacity))
    return this.#made++
  }

  #grow(nodes: number): void {
    const longs = new BigInt64Array(new ArrayBuffer(nodes * LONGS * 8 + ALIGNED), ALIGNED)
    longs.set(this.#longs)
    this.#longs = longs
    this.#words = new Int32Array(longs.buffer, ALIGNED)
    this.#capacity = nodes
  }
}

/** Keeps 31 bits, by which the compiler sees that adding to them overflows nothing. */
const POSITIVE = 0x3fff_ffff

const endAt = (slot: number): number => (slot >> SLOTS_LG2) * LONGS + (slot & PLACE)
const refAt = (slot: number): number => 2 * ((slot >> SLOTS_LG2) * LONGS + REFS) + (slot & PLACE)
