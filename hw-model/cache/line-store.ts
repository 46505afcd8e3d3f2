/**
 * The lines and blocks of a translation cache: where a line may stand, whose it is, and what is counted of it. Nothing
 * here chooses what to keep.
 *
 * A tag has an *epoch* as long as something is kept under it, a group a *generation*. Forgetting either is one store:
 * what carries the old number is dead, and is taken away where it is met.
 */

import { CacheArrays, GENERATION, LINE_SLOTS } from './arrays.js'
import {
  BLOCK,
  BLOCK_LG2,
  BLOCKS,
  GROUP_BITS,
  GROUP_MASK,
  LARGE,
  LARGE_LG2,
  LEAF,
  LINE,
  LINE_LG2,
  MIXED,
  REGION,
  REGION_LG2,
  SIDE,
  SIDE_LG2,
  SINGLE,
  TAG,
} from './layout.js'

const { ALL: ALL_FLAGS, ANY: ANY_FLAG, COUNT, EPOCH, HEAD, KEY, LEAF: OWN, STAMP: ALL_STAMP, WHERE } = LINE
const { FLAGS, HIGH, STAMP } = LEAF
const { COUNT: TAG_COUNT, EPOCH: TAG_EPOCH, FIRST, LARGES } = TAG
const { NEXT, PREVIOUS, TAG: OWNER } = SIDE

// What other modules name is looked up anew each time; what this one names is not.
const LINE_SHIFT = LINE_LG2
const BESIDE_SHIFT = LINE_LG2 - SIDE_LG2
/** Four lines, and which of them. */
const FOUR_SHIFT = LINE_LG2 + 2
const FOUR_MASK = 3 << LINE_LG2

/** Lines, blocks, tags and groups. */
export class LineStore extends CacheArrays {
  /** A leaf on its way into a block: its words, its first page, log2 of its pages; and its extra number. */
  protected readonly moved = new Int32Array(6)
  protected movedExtra = 0

  /**
   * The place where the line of a region stands if it can, as an offset; it may also be another way of that set. The 2048
   * regions of 4 GiB follow each other, four lines apart, and what is above them and the tag say where they begin.
   */
  protected placeOf(tag: number, lo: number, hi: number): number {
    const above = Math.imul((lo >>> 20) ^ (hi << 12) ^ ((tag << 16) + tag), 0x9e3779b1)
    const four = ((lo >>> 9) + (above ^ (above >>> 15))) << FOUR_SHIFT
    return (four | ((above >>> 26) & FOUR_MASK)) & this.placeMask
  }

  /** The same for a leaf larger than a region: neighbours have neighbouring sets, and sizes sets far apart. */
  protected placeOfLarge(tag: number, lo: number, hi: number, pagesLg2: number): number {
    const by = pagesLg2 - 9
    const mine = tag ^ (pagesLg2 << 10)
    if (by < 32) return this.placeOf(mine, (lo >>> by) | (hi << (32 - by)), hi >>> by)
    return this.placeOf(mine, hi >>> (by - 32), 0)
  }

  /** Where the set of a place begins. */
  protected setOf(place: number): number {
    return place & ~this.inSet
  }

  /** Where it ends. */
  protected endOf(set: number): number {
    return set + this.inSet
  }

  /** The epoch of a tag under which something is to be kept. */
  protected openTag(tag: number): number {
    if (tag * 4 >= this.tags.length) this.growTags(tag)
    const { tags } = this
    const record = tag * 4
    const epoch = tags[record + TAG_EPOCH]
    if (epoch >= this.floor) return epoch
    if (this.lastEpoch >= this.limits.epochs) this.#renumber()
    tags[record + TAG_EPOCH] = ++this.lastEpoch
    tags[record + LARGES] = 0
    tags[record + TAG_COUNT] = 0
    tags[record + FIRST] = 0
    return this.lastEpoch
  }

  /** The stamp of a group of which something is to be kept. */
  protected openGroup(group: number): number {
    if (group >= this.stamps.length) this.growGroups(group)
    return this.stamps[group]
  }

  /** Drops all that is kept under a tag, which is alive. */
  protected closeTag(tag: number): void {
    const record = tag * 4
    this.dropped += this.tags[record + TAG_COUNT]
    this.stored -= this.tags[record + TAG_COUNT]
    this.tags[record + TAG_EPOCH] = 0
  }

  /** Drops all that was made from a group, which has been opened. What it was is counted when it is met. */
  protected closeGroup(group: number): void {
    this.unlooked = this.lines
    if (this.stamps[group] >>> GROUP_BITS >= this.limits.generations) {
      // Nothing of an older generation may be left when their numbers begin again.
      this.stamps[group] = 0
      this.sweep()
      this.stamps[group] = GENERATION | group
    } else this.stamps[group] += GENERATION
  }

  /** Drops everything. */
  protected closeAll(): void {
    this.dropped += this.stored
    this.stored = 0
    this.unlooked = 0
    this.floor = this.lastEpoch + 1
  }

  /** Whether the tag of a line still has the line's epoch. */
  protected isAlive(at: number): boolean {
    const epoch = this.words[at + EPOCH]
    return epoch >= this.floor && this.tags[this.side[(at >>> BESIDE_SHIFT) + OWNER] * 4 + TAG_EPOCH] === epoch
  }

  protected isBlock(at: number): boolean {
    return this.words[at + COUNT] >= 0
  }

  protected isFresh(stamp: number): boolean {
    return this.stamps[stamp & GROUP_MASK] === stamp
  }

  /** Leaves of a line. */
  protected countOf(at: number): number {
    return this.isBlock(at) ? this.words[at + COUNT] : 1
  }

  /** Makes a line of a place where none is, for one leaf. Answers the leaf's slot. */
  protected makeLine(at: number, tag: number, epoch: number, lo: number, hi: number, pagesLg2: number): number {
    const { words, side, tags } = this
    words[at + KEY] = pagesLg2 > 31 ? 0 : (lo >>> pagesLg2) << pagesLg2
    words[at + HEAD] = (hi << 12) | pagesLg2 | (pagesLg2 >= LARGE_LG2 ? LARGE : 0)
    words[at + EPOCH] = epoch
    words[at + COUNT] = SINGLE
    words[at + OWN + STAMP] = 0
    this.pointHome(at)
    const record = tag * 4
    const next = tags[record + FIRST]
    const beside = at >>> BESIDE_SHIFT
    side[beside + OWNER] = tag
    side[beside + NEXT] = next
    side[beside + PREVIOUS] = 0
    if (next !== 0) side[(next >>> BESIDE_SHIFT) + PREVIOUS] = at + 1
    tags[record + FIRST] = at + 1
    tags[record + TAG_COUNT]++
    this.stored++
    this.inLines++
    return (at + OWN) >>> 2
  }

  /** Takes a line away. Answers how many leaves went with it that had not been dropped with their tag. */
  protected freeLine(at: number): number {
    const { words, side, tags } = this
    const count = this.countOf(at)
    const wasAlive = this.isAlive(at)
    if (wasAlive) {
      const beside = at >>> BESIDE_SHIFT
      const record = side[beside + OWNER] * 4
      const next = side[beside + NEXT]
      const previous = side[beside + PREVIOUS]
      if (next !== 0) side[(next >>> BESIDE_SHIFT) + PREVIOUS] = previous
      if (previous !== 0) side[(previous >>> BESIDE_SHIFT) + NEXT] = next
      else tags[record + FIRST] = next
      tags[record + TAG_COUNT] -= count
      this.stored -= count
    }
    if (this.isBlock(at)) {
      for (let i = 0; i < BLOCKS; i++) {
        const where = words[at + WHERE + i]
        // Every leaf that was taken away has left no stamp, so that an empty block is as good as a new one.
        if ((where & 1) !== 0) this.#freeBlock(this.blockOf(where >>> 1), count === 0)
      }
      this.inBlocks -= count
    } else this.inLines--
    words[at + EPOCH] = 0
    return wasAlive ? count : 0
  }

  #freeBlock(block: number, isClean: boolean): void {
    this.owners[block] = 0
    this.freed[this.freedBlocks++] = isClean ? block : ~block
  }

  /** Has a line's own leaf, if it has one, answer for every page. */
  protected pointHome(at: number): void {
    const { words } = this
    const home = (at + OWN) >>> 1
    for (let i = at + WHERE; i < at + WHERE + BLOCKS; i++) words[i] = home
  }

  /** The block in which a slot is. */
  protected blockOf(slot: number): number {
    return (slot - this.lines * LINE_SLOTS) >>> BLOCK_LG2
  }

  /** The first slot of a block. */
  protected firstOf(block: number): number {
    return this.lines * LINE_SLOTS + (block << BLOCK_LG2)
  }

  /** The offset of the line that a slot belongs to. */
  protected lineOf(slot: number): number {
    if (slot < this.lines * LINE_SLOTS) return (slot * 4) & (-1 << LINE_SHIFT)
    return this.owners[this.blockOf(slot)] & (-1 << LINE_SHIFT)
  }

  /** Which page of its region a slot of a block is. */
  protected inRegionOf(slot: number): number {
    const eighth = (this.owners[this.blockOf(slot)] >>> 1) & (BLOCKS - 1)
    return (eighth << BLOCK_LG2) | ((slot - this.lines * LINE_SLOTS) & (BLOCK - 1))
  }

  /** The slot of a region's page, where it has a block; that of no leaf where it has none. */
  protected slotIn(at: number, page: number): number {
    const where = this.words[at + WHERE + (page >>> BLOCK_LG2)]
    return (where >>> 1) + (page & -(where & 1) & (BLOCK - 1))
  }

  protected hasBlock(at: number, page: number): boolean {
    return (this.words[at + WHERE + (page >>> BLOCK_LG2)] & 1) !== 0
  }

  /** Gives a line of blocks another, for the pages around one. There is a free one. */
  protected addBlock(at: number, page: number): void {
    const freed = this.freedBlocks > 0 ? this.freed[--this.freedBlocks] : this.usedBlocks++
    const block = freed < 0 ? ~freed : freed
    const first = this.firstOf(block)
    if (first * 4 >= this.words.length) this.growBlocks()
    const { words } = this
    if (freed < 0) for (let i = first * 4 + STAMP; i < (first + BLOCK) * 4; i += 4) words[i] = 0
    const eighth = page >>> BLOCK_LG2
    this.owners[block] = at | (eighth << 1) | 1
    words[at + WHERE + eighth] = first * 2 + 1
  }

  /** Takes a block away from its living line, with all of its leaves. */
  protected dropBlock(block: number): void {
    const at = this.owners[block] & (-1 << LINE_SHIFT)
    const eighth = (this.owners[block] >>> 1) & (BLOCKS - 1)
    const first = this.firstOf(block)
    for (let i = 0; i < BLOCK; i++) {
      const stamp = this.words[(first + i) * 4 + STAMP]
      if (stamp === 0) continue
      if (this.isFresh(stamp)) this.evictions++
      else this.dropped++
      this.freeLeaf(at, (eighth << BLOCK_LG2) + i)
    }
    this.words[at + WHERE + eighth] = (at + OWN) >>> 1
    this.#freeBlock(block, true)
  }

  /** Makes a line of one leaf a line of blocks, which has none yet. What the leaf was is left in `moved`. */
  protected makeBlocks(at: number): void {
    const { words, moved } = this
    for (let i = 0; i < 4; i++) moved[i] = words[at + OWN + i]
    moved[4] = words[at + KEY]
    moved[5] = words[at + HEAD] & 63
    this.movedExtra = this.extras.length === 0 ? 0 : this.extras[(at + OWN) >>> 2]
    const record = this.side[(at >>> BESIDE_SHIFT) + OWNER] * 4
    words[at + KEY] &= -REGION
    words[at + HEAD] = (words[at + HEAD] & (-1 << 12)) | REGION_LG2
    words[at + COUNT] = 0
    words[at + OWN + STAMP] = 0
    this.tags[record + TAG_COUNT]--
    this.stored--
    this.inLines--
  }

  /** Puts what `makeBlocks` or `takeLine` left into a line's blocks, which are there. */
  protected placeMoved(to: number): void {
    const { words, moved } = this
    const first = moved[4] & (REGION - 1)
    for (let page = first; page < first + (1 << moved[5]); page++) {
      const slot = this.slotIn(to, page)
      for (let i = 0; i < 4; i++) words[slot * 4 + i] = moved[i]
      if (this.extras.length !== 0) this.extras[slot] = this.movedExtra
    }
    this.addToBlock(to, moved[STAMP], moved[FLAGS])
  }

  /** Takes a line of one leaf away, of which what it was is left in `moved`. */
  protected takeLine(at: number): void {
    const { words, moved } = this
    for (let i = 0; i < 4; i++) moved[i] = words[at + OWN + i]
    moved[4] = words[at + KEY]
    moved[5] = words[at + HEAD] & 63
    this.movedExtra = this.extras.length === 0 ? 0 : this.extras[(at + OWN) >>> 2]
    this.freeLine(at)
  }

  /** Counts one more leaf of a block. */
  protected addToBlock(at: number, stamp: number, flags: number): void {
    const { words } = this
    const record = this.side[(at >>> BESIDE_SHIFT) + OWNER] * 4
    words[at + COUNT]++
    this.mix(at, stamp, flags)
    this.tags[record + TAG_COUNT]++
    this.stored++
    this.inBlocks++
  }

  /** Notes what a leaf of a block has in common with the others. */
  protected mix(at: number, stamp: number, flags: number): void {
    const { words } = this
    if (words[at + COUNT] === 1) {
      words[at + ALL_STAMP] = stamp
      words[at + ALL_FLAGS] = flags
      words[at + ANY_FLAG] = flags
      return
    }
    if (words[at + ALL_STAMP] !== stamp) words[at + ALL_STAMP] = MIXED
    words[at + ALL_FLAGS] &= flags
    words[at + ANY_FLAG] |= flags
  }

  /** Takes the leaf of a living line's page away, whose blocks may be left empty. */
  protected freeLeaf(at: number, page: number): void {
    const { words } = this
    const pages = 1 << (((words[this.slotIn(at, page) * 4 + HIGH] >>> 20) & 63) - 12)
    const first = page & -pages
    for (let each = first; each < first + pages; each++) words[this.slotIn(at, each) * 4 + STAMP] = 0
    this.countOut(at, 1)
  }

  /** Leaves of a living block are there no more. */
  protected countOut(at: number, leaves: number): void {
    this.words[at + COUNT] -= leaves
    this.tags[this.side[(at >>> BESIDE_SHIFT) + OWNER] * 4 + TAG_COUNT] -= leaves
    this.stored -= leaves
    this.inBlocks -= leaves
  }

  /** Takes away every leaf of a forgotten group. */
  protected sweep(): void {
    for (let at = 0; at < this.lines << LINE_SHIFT; at += 1 << LINE_SHIFT) this.clean(at)
    this.unlooked = 0
  }

  /** Takes the dead leaves of a line away, and a dead line. */
  protected clean(at: number): void {
    const { words } = this
    if (words[at + EPOCH] === 0) return
    if (!this.isAlive(at)) this.freeLine(at)
    else if (!this.isBlock(at)) {
      if (!this.isFresh(words[at + OWN + STAMP])) this.dropped += this.freeLine(at)
    } else if (words[at + ALL_STAMP] === MIXED) this.#cleanBlocks(at)
    else if (!this.isFresh(words[at + ALL_STAMP])) this.dropped += this.freeLine(at)
  }

  /** Takes a line away. Answers how many leaves went with it that nobody had dropped. */
  protected takeAway(at: number): number {
    this.clean(at)
    return this.words[at + EPOCH] === 0 ? 0 : this.freeLine(at)
  }

  #cleanBlocks(at: number): void {
    for (let page = 0; page < REGION; page++) {
      const stamp = this.words[this.slotIn(at, page) * 4 + STAMP]
      if (stamp === 0 || this.isFresh(stamp)) continue
      this.dropped++
      this.freeLeaf(at, page)
    }
    if (this.words[at + COUNT] === 0) this.freeLine(at)
  }

  /** Numbers the epochs of living tags from 1 on. */
  #renumber(): void {
    const { words, tags } = this
    let last = 0
    const epochs = new Int32Array(tags.length / 4)
    for (let tag = 0; tag < epochs.length; tag++) {
      if (tags[tag * 4 + TAG_EPOCH] >= this.floor) epochs[tag] = ++last
    }
    for (let at = 0; at < this.lines << LINE_SHIFT; at += 1 << LINE_SHIFT) {
      if (words[at + EPOCH] === 0) continue
      if (this.isAlive(at)) words[at + EPOCH] = epochs[this.side[(at >>> BESIDE_SHIFT) + OWNER]]
      else this.freeLine(at)
    }
    for (let tag = 0; tag < epochs.length; tag++) tags[tag * 4 + TAG_EPOCH] = epochs[tag]
    this.lastEpoch = last
    this.floor = 1
  }
}
