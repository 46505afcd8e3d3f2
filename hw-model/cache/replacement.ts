/**
 * Who makes room in a cache that is full. The ways of a set take turns; over the whole cache a clock goes round, one
 * for lines and one for blocks, as often as either has leaves. Where there is chance, it says where to begin.
 */

import type { CacheLimits } from './arrays.js'
import type { Chance } from './chance.js'
import type { CacheGeometry } from './geometry.js'
import { BLOCK, LEAF, LINE, LINE_LG2, PAGE_LG2 } from './layout.js'
import { LineStore } from './line-store.js'

const { COUNT, EPOCH, LEAF: OWN } = LINE
const { HIGH, STAMP } = LEAF

const LINE_SHIFT = LINE_LG2

/** Lines that are looked at for leaves of forgotten groups before a living one has to go. */
const LOOKS = 16

/** Where no block is free, so many are looked at for a dead one. */
const BLOCK_LOOKS = 8

/** A store that stays within its bounds. */
export class ReplacingStore extends LineStore {
  protected readonly chance: Chance | null
  #turn = 0
  /** Where the clocks stand: lines, blocks, leaves in the block, and the search for dead leaves. */
  #lineHand = 0
  #blockHand = 0
  #leafHand = 0
  #cleanHand = 0
  /** Shares the work between the clocks. */
  #share = 0

  constructor(
    geometry: CacheGeometry,
    limits: CacheLimits,
    hasExtras: boolean,
    chance: Chance | null,
    shown: ReplacingStore | null,
  ) {
    super(geometry, limits, hasExtras, shown)
    this.chance = chance
  }

  /**
   * Sees that no more leaves are kept than there is room for, after one came, which stays. Of leaves that are lines, one
   * of the same set goes, which is at hand.
   */
  protected makeRoom(line: number, slot: number): void {
    if (this.unlooked > 0) this.#look()
    while (this.stored > this.capacity) {
      const total = this.inBlocks + this.inLines
      this.#share += this.inBlocks
      if (this.inLines > 1 && (this.inBlocks <= 1 || this.#share < total)) {
        if (!this.#evictIn(line)) this.#evictLine(line)
      } else this.#evictLeaf(slot)
      if (this.#share >= total) this.#share -= total
    }
  }

  /** A place for a line in the set of the one that it should have, whoever has to go. */
  protected roomAt(place: number): number {
    const free = this.freeAt(place)
    return free < 0 ? this.victimIn(this.setOf(place)) : free
  }

  /** The place, or another of its set, where no line is, or a dead one, which is taken away; -1 where all are alive. */
  protected freeAt(place: number): number {
    const { words } = this
    if (words[place + EPOCH] === 0) return place
    const set = this.setOf(place)
    const end = this.endOf(set)
    for (let at = set; at < end; at += 1 << LINE_SHIFT) {
      if (words[at + EPOCH] === 0) return at
      if (!this.#isDead(at)) continue
      this.dropped += this.freeLine(at)
      return at
    }
    return -1
  }

  /** Takes the next leaf of a set away, or where it has none the next block. */
  protected victimIn(set: number): number {
    const first = this.#nextWay()
    let victim = set + (first << LINE_SHIFT)
    for (let i = 0; i < this.ways; i++) {
      const at = set + (((first + i) & this.wayMask) << LINE_SHIFT)
      if (this.isBlock(at)) continue
      victim = at
      break
    }
    this.evictions += this.takeAway(victim)
    return victim
  }

  /** Takes the next leaf of a line's set away that is a line of its own, or a dead line. False where there is no other. */
  #evictIn(line: number): boolean {
    const set = this.setOf(line)
    const first = this.#nextWay()
    for (let i = 0; i < this.ways; i++) {
      const at = set + (((first + i) & this.wayMask) << LINE_SHIFT)
      if (at === line || this.words[at + EPOCH] === 0 || this.isBlock(at)) continue
      this.evictions += this.takeAway(at)
      return true
    }
    return false
  }

  /** Whether nothing of a line can be found any more; a block is asked for its tag alone. */
  #isDead(at: number): boolean {
    if (!this.isAlive(at)) return true
    return !this.isBlock(at) && !this.isFresh(this.words[at + OWN + STAMP])
  }

  /** Sees that there is a free block, for a line that stays whatever goes. */
  protected makeRoomForBlock(keeper: number): void {
    if (this.freedBlocks > 0 || this.usedBlocks < this.blocks) return
    const mask = this.blocks - 1
    if (this.chance !== null) this.#blockHand = this.#random(this.blocks)
    for (let i = 0; i < BLOCK_LOOKS; i++) {
      const at = this.lineOf(this.firstOf((this.#blockHand + i) & mask))
      if (this.isAlive(at)) continue
      this.freeLine(at)
      return
    }
    // There are as many blocks as a line can have, so that others have one if it lacks any.
    while (this.lineOf(this.firstOf(this.#blockHand)) === keeper) this.#nextBlock()
    const block = this.#blockHand
    const at = this.lineOf(this.firstOf(block))
    this.#nextBlock()
    this.dropBlock(block)
    if (this.words[at + COUNT] === 0) this.freeLine(at)
  }

  #nextWay(): number {
    if (this.chance !== null) return this.chance.below(this.ways)
    this.#turn = (this.#turn + 1) & this.wayMask
    return (this.#turn - 1) & this.wayMask
  }

  #nextBlock(): void {
    this.#blockHand = (this.#blockHand + 1) & (this.blocks - 1)
    this.#leafHand = 0
  }

  /** Looks for leaves of forgotten groups at a few lines. */
  #look(): void {
    const looks = Math.min(LOOKS, this.unlooked)
    for (let i = 0; i < looks; i++) {
      this.clean(this.#cleanHand << LINE_SHIFT)
      this.#cleanHand = (this.#cleanHand + 1) & (this.lines - 1)
    }
    this.unlooked -= looks
  }

  /** Takes the next line of one leaf away; there is another. */
  #evictLine(line: number): void {
    if (this.chance !== null) this.#lineHand = this.#random(this.lines)
    for (;;) {
      const at = this.#lineHand << LINE_SHIFT
      this.#lineHand = (this.#lineHand + 1) & (this.lines - 1)
      if (at === line || this.words[at + EPOCH] === 0 || this.isBlock(at)) continue
      const isFresh = this.isFresh(this.words[at + OWN + STAMP])
      const count = this.freeLine(at)
      if (isFresh) this.evictions += count
      else this.dropped += count
      return
    }
  }

  /** Takes the next leaf of a block away, or a dead block. */
  #evictLeaf(kept: number): void {
    if (this.chance !== null) {
      this.#blockHand = this.#random(this.blocks)
      this.#leafHand = this.#random(BLOCK)
    }
    while (this.owners[this.#blockHand] === 0) this.#nextBlock()
    const base = this.firstOf(this.#blockHand)
    const at = this.lineOf(base)
    if (!this.isAlive(at)) {
      this.freeLine(at)
      return
    }
    let slot = this.#leafFrom(base + this.#leafHand, base + BLOCK)
    if (slot < 0 && this.#leafHand !== 0) slot = this.chance === null ? -1 : this.#leafFrom(base, base + BLOCK)
    if (slot < 0) {
      // Whole blocks that have become empty are free again.
      if (this.#leafHand === 0 || this.chance !== null) this.dropBlock(this.#blockHand)
      this.#nextBlock()
      return
    }
    const page = this.inRegionOf(slot)
    this.#leafHand = slot - base
    // The leaf that stays may be met at any of its pages.
    const pages = 1 << (((this.words[slot * 4 + HIGH] >>> 20) & 63) - PAGE_LG2)
    if (at === this.lineOf(kept) && (page & -pages) === this.inRegionOf(kept)) {
      this.#leafHand = ((this.#leafHand | (pages - 1)) + 1) & (BLOCK - 1)
      if (this.#leafHand === 0) this.#nextBlock()
      return
    }
    if (this.isFresh(this.words[slot * 4 + STAMP])) this.evictions++
    else this.dropped++
    this.freeLeaf(at, page)
    if (this.words[at + COUNT] === 0) this.freeLine(at)
  }

  /** The first slot of a block from one on that has a leaf, or -1. */
  #leafFrom(from: number, end: number): number {
    for (let slot = from; slot < end; slot++) if (this.words[slot * 4 + STAMP] !== 0) return slot
    return -1
  }

  #random(limit: number): number {
    const chance = this.chance as Chance
    return limit <= 65536 ? chance.below(limit) : chance.below(65536) * (limit / 65536) + chance.below(limit / 65536)
  }
}
