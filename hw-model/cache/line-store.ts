/**
 * The lines and blocks of a translation cache: where a line may stand, whose it is, and what is counted of it. Nothing
 * here chooses what to keep.
 *
 * A tag has an *epoch* as long as something is kept under it, a group a *generation*. Forgetting either is one store:
 * what carries the old number is dead, and is taken away where it is met.
 */

import { CacheArrays, GENERATION } from './arrays.js'
import { GROUP_BITS, GROUP_MASK, LARGE, LARGE_LG2, LEAF, LINE, LINE_LG2, MIXED, REGION, SIDE, TAG } from './layout.js'

const { ALL: ALL_FLAGS, ANY: ANY_FLAG, COUNT, EPOCH, HEAD, KEY, LEAF: OWN, STAMP: ALL_STAMP, WHERE } = LINE
const { FLAGS, HIGH, STAMP } = LEAF
const { COUNT: TAG_COUNT, EPOCH: TAG_EPOCH, FIRST, LARGES } = TAG
const { NEXT, PREVIOUS, TAG: OWNER } = SIDE

/** Lines, blocks, tags and groups. */
export class LineStore extends CacheArrays {
  /**
   * The place where the line of a region stands if it can, as an offset; it may also be another way of that set. The 2048
   * regions of 4 GiB follow each other, and what is above them and the tag say where they begin.
   */
  protected placeOf(tag: number, lo: number, hi: number): number {
    const above = Math.imul((lo >>> 20) ^ (hi << 12) ^ ((tag << 16) + tag), 0x9e3779b1)
    const set = ((lo >>> 9) + (above ^ (above >>> 15))) & this.setMask
    return (set << this.setLg2) | (((above >>> 28) & this.wayMask) << LINE_LG2)
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
    return place & (-1 << this.setLg2)
  }

  /** Where it ends. */
  protected endOf(set: number): number {
    return set + (1 << this.setLg2)
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

  /** Drops all that is kept under a tag. */
  protected closeTag(tag: number): void {
    const record = tag * 4
    if (record < 0 || record >= this.tags.length || this.tags[record + TAG_EPOCH] < this.floor) return
    this.dropped += this.tags[record + TAG_COUNT]
    this.stored -= this.tags[record + TAG_COUNT]
    this.tags[record + TAG_EPOCH] = 0
  }

  /** Drops all that was made from a group. What it was is counted when it is met. */
  protected closeGroup(group: number): void {
    if (group >= this.stamps.length) return
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
    return epoch >= this.floor && this.tags[this.side[(at >>> 1) + OWNER] * 4 + TAG_EPOCH] === epoch
  }

  protected isBlock(at: number): boolean {
    return (this.words[at + WHERE] & 1) !== 0
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
    words[at + WHERE] = (at + OWN) >>> 1
    words[at + OWN + STAMP] = 0
    const record = tag * 4
    const next = tags[record + FIRST]
    const beside = at >>> 1
    side[beside + OWNER] = tag
    side[beside + NEXT] = next
    side[beside + PREVIOUS] = 0
    if (next !== 0) side[((next - 1) >>> 1) + PREVIOUS] = at + 1
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
      const beside = at >>> 1
      const record = side[beside + OWNER] * 4
      const next = side[beside + NEXT]
      const previous = side[beside + PREVIOUS]
      if (next !== 0) side[((next - 1) >>> 1) + PREVIOUS] = previous
      if (previous !== 0) side[((previous - 1) >>> 1) + NEXT] = next
      else tags[record + FIRST] = next
      tags[record + TAG_COUNT] -= count
      this.stored -= count
    }
    if (this.isBlock(at)) {
      const block = this.blockOf(words[at + WHERE] >>> 1)
      this.owners[block] = 0
      // Every leaf that was taken away has left no stamp, so that an empty block is as good as a new one.
      this.freed[this.freedBlocks++] = count === 0 ? block : ~block
      this.inBlocks -= count
    } else this.inLines--
    words[at + EPOCH] = 0
    return wasAlive ? count : 0
  }

  /** The block in which a slot is. */
  protected blockOf(slot: number): number {
    return (slot - this.lines * 2) >>> 9
  }

  /** The offset of the line that a slot belongs to. */
  protected lineOf(slot: number): number {
    return slot < this.lines * 2 ? (slot >>> 1) << LINE_LG2 : this.owners[this.blockOf(slot)] - 1
  }

  /** A block for a line of one leaf, which becomes its first; there is a free one. */
  protected makeBlock(at: number): void {
    const freed = this.freedBlocks > 0 ? this.freed[--this.freedBlocks] : this.usedBlocks++
    const block = freed < 0 ? ~freed : freed
    const first = this.lines * 2 + block * REGION
    if (first * 4 >= this.words.length) this.growBlocks()
    if (freed < 0) this.words.fill(0, first * 4, (first + REGION) * 4)
    this.owners[block] = at + 1
    this.#toBlock(at, first)
  }

  /** Moves a line's own leaf into its block. */
  #toBlock(at: number, first: number): void {
    const { words } = this
    const from = (at + OWN) >>> 2
    const stamp = words[from * 4 + STAMP]
    const flags = words[from * 4 + FLAGS]
    const key = words[at + KEY]
    const pages = 1 << (words[at + HEAD] & 63)
    for (let i = 0; i < pages; i++) this.copyLeaf(from, first + (key & (REGION - 1)) + i)
    words[at + KEY] = key & -REGION
    words[at + HEAD] = (words[at + HEAD] & (-1 << 12)) | 9
    words[at + WHERE] = first * 2 + 1
    words[at + COUNT] = 1
    words[at + ALL_STAMP] = stamp
    words[at + ALL_FLAGS] = flags
    words[at + ANY_FLAG] = flags
    this.inLines--
    this.inBlocks++
  }

  /** Moves the leaf of a line into the block of another, and takes the line away. */
  protected moveLeaf(at: number, to: number): void {
    const { words } = this
    const from = (at + OWN) >>> 2
    const key = words[at + KEY]
    const pages = 1 << (words[at + HEAD] & 63)
    const first = (words[to + WHERE] >>> 1) + (key & (REGION - 1))
    for (let i = 0; i < pages; i++) this.copyLeaf(from, first + i)
    this.addToBlock(to, words[from * 4 + STAMP], words[from * 4 + FLAGS])
    this.freeLine(at)
  }

  /** Counts one more leaf of a block. */
  protected addToBlock(at: number, stamp: number, flags: number): void {
    const { words } = this
    const record = this.side[(at >>> 1) + OWNER] * 4
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

  /** Takes one leaf of a living block away, which may be left empty. */
  protected freeLeaf(at: number, slot: number): void {
    const { words } = this
    const base = words[at + WHERE] >>> 1
    const pages = 1 << (((words[slot * 4 + HIGH] >>> 20) & 63) - 12)
    const first = base + ((slot - base) & -pages)
    for (let i = first; i < first + pages; i++) words[i * 4 + STAMP] = 0
    this.countOut(at, 1)
  }

  /** Leaves of a living block are there no more. */
  protected countOut(at: number, leaves: number): void {
    this.words[at + COUNT] -= leaves
    this.tags[this.side[(at >>> 1) + OWNER] * 4 + TAG_COUNT] -= leaves
    this.stored -= leaves
    this.inBlocks -= leaves
  }

  protected copyLeaf(from: number, to: number): void {
    const { words } = this
    for (let i = 0; i < 4; i++) words[to * 4 + i] = words[from * 4 + i]
    if (this.extras.length !== 0) this.extras[to] = this.extras[from]
    if (this.notes.length !== 0) this.notes[to] = this.notes[from]
  }

  /** Takes away every leaf of a forgotten group. */
  protected sweep(): void {
    for (let at = 0; at < this.lines << LINE_LG2; at += 1 << LINE_LG2) this.clean(at)
    this.unlooked = 0
  }

  /** Takes the dead leaves of a line away, and a dead line. */
  protected clean(at: number): void {
    const { words } = this
    if (words[at + EPOCH] === 0) return
    if (!this.isAlive(at)) this.freeLine(at)
    else if (!this.isBlock(at)) {
      if (!this.isFresh(words[at + OWN + STAMP])) this.dropped += this.freeLine(at)
    } else if (words[at + ALL_STAMP] === MIXED) this.#cleanBlock(at)
    else if (!this.isFresh(words[at + ALL_STAMP])) this.dropped += this.freeLine(at)
  }

  /** Takes a line away. Answers how many leaves went with it that nobody had dropped. */
  protected takeAway(at: number): number {
    this.clean(at)
    return this.words[at + EPOCH] === 0 ? 0 : this.freeLine(at)
  }

  #cleanBlock(at: number): void {
    const first = this.words[at + WHERE] >>> 1
    for (let slot = first; slot < first + REGION; slot++) {
      const stamp = this.words[slot * 4 + STAMP]
      if (stamp === 0 || this.isFresh(stamp)) continue
      this.dropped++
      this.freeLeaf(at, slot)
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
    for (let at = 0; at < this.lines << LINE_LG2; at += 1 << LINE_LG2) {
      if (words[at + EPOCH] === 0) continue
      if (this.isAlive(at)) words[at + EPOCH] = epochs[this.side[(at >>> 1) + OWNER]]
      else this.freeLine(at)
    }
    for (let tag = 0; tag < epochs.length; tag++) tags[tag * 4 + TAG_EPOCH] = epochs[tag]
    this.lastEpoch = last
    this.floor = 1
  }
}
