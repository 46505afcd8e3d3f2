/**
 * Where a new leaf goes: a line of its own, or a block of its eighth of a region. Leaves that stand close together get a
 * block while the cache has room and blocks to spare; where it has not, many do.
 *
 * A region has one line with blocks at most. Beside it may be lines of leaves whose eighth has no block.
 */

import {
  BLOCK,
  BLOCK_LG2,
  BLOCKS,
  LARGE_LG2,
  LEAF,
  LINE,
  LINE_LG2,
  PAGE_LG2,
  REGION,
  REGION_LG2,
  TAG,
} from './layout.js'
import { DroppingStore, highOf } from './ranges.js'

const { EPOCH, HEAD, KEY, LEAF: OWN, WHERE } = LINE
const { FLAGS, HIGH, LOW, STAMP } = LEAF
const { LARGES } = TAG

const LINE_SHIFT = LINE_LG2

/** Leaves of one region that are lines of their own; one more, and they are put into blocks if there are some. */
const SINGLES = 4

/** Leaves of one eighth for which a block is taken from others, with the new one. */
const MANY = 3

const TWO32 = 2 ** 32

/** A store that is filled. */
export class FillingStore extends DroppingStore {
  /** Keeps a leaf in place of those that it overlaps, up to 2 MiB. Answers its slot. */
  protected keep(
    tag: number,
    group: number,
    lo: number,
    hi: number,
    leafLg2: number,
    addressLow: number,
    addressHigh: number,
    flags: number,
    extraLow: number,
    extraHigh: number,
    spanLg2: number,
  ): number {
    const epoch = this.openTag(tag)
    const stamp = this.openGroup(group)
    this.remember(tag, group, leafLg2, spanLg2)
    this.fills++
    const pagesLg2 = leafLg2 - PAGE_LG2
    const isLarge = pagesLg2 > REGION_LG2
    const place = isLarge ? this.placeOfLarge(tag, lo, hi, pagesLg2) : this.placeOf(tag, lo, hi)
    if (pagesLg2 === 0 && this.isOfRegion(place, epoch, lo, hi)) {
      // The most common: a page that is new in a block that is there.
      const where = this.words[place + WHERE + ((lo & (REGION - 1)) >>> BLOCK_LG2)]
      const slot = (where >>> 1) + (lo & (BLOCK - 1))
      if ((where & 1) !== 0 && this.words[(slot << 2) | STAMP] === 0) {
        this.addToBlock(place, stamp, flags)
        this.#write(slot, addressLow, addressHigh | (leafLg2 << 20) | (spanLg2 << 26), flags, stamp)
        if (this.extras.length !== 0) this.extras[slot] = extraHigh * TWO32 + (extraLow >>> 0)
        if (this.stored > this.capacity) this.makeRoom(place, slot)
        return slot
      }
    }
    const at = isLarge
      ? this.#large(tag, epoch, lo, hi, pagesLg2, place)
      : this.#small(tag, epoch, lo, hi, pagesLg2, place)
    const isBlock = this.isBlock(at)
    const slot = isBlock ? this.#inBlock(at, lo, pagesLg2, stamp, flags) : (at + OWN) >>> 2
    const high = addressHigh | (leafLg2 << 20) | (spanLg2 << 26)
    const { extras } = this
    const last = isBlock ? slot + (pagesLg2 > BLOCK_LG2 ? BLOCK : 1 << pagesLg2) : slot + 1
    for (let each = slot; each < last; each++) {
      this.#write(each, addressLow, high, flags, stamp)
      if (extras.length !== 0) extras[each] = extraHigh * TWO32 + (extraLow >>> 0)
    }
    if (isBlock && pagesLg2 > BLOCK_LG2) this.#copyBlock(at, slot, lo & (REGION - 1) & (-1 << pagesLg2), pagesLg2)
    if (this.stored > this.capacity) this.makeRoom(at, slot)
    return slot
  }

  #write(slot: number, low: number, high: number, flags: number, stamp: number): void {
    const { words } = this
    words[(slot << 2) | LOW] = low
    words[(slot << 2) | HIGH] = high
    words[(slot << 2) | FLAGS] = flags
    words[(slot << 2) | STAMP] = stamp
  }

  /** Fills all blocks of a leaf that is larger than one as the first is. */
  #copyBlock(at: number, from: number, first: number, pagesLg2: number): void {
    for (let page = first + BLOCK; page < first + (1 << pagesLg2); page += BLOCK) {
      const to = this.slotIn(at, page)
      this.words.copyWithin(to * 4, from * 4, (from + BLOCK) * 4)
      if (this.extras.length !== 0) this.extras.copyWithin(to, from, from + BLOCK)
    }
  }

  /** The slot of exactly this size that covers a page, or -1. */
  protected ofSize(tag: number, epoch: number, lo: number, hi: number, leafLg2: number): number {
    const { words } = this
    if (leafLg2 <= PAGE_LG2 + REGION_LG2) {
      const slot = this.inRegion(tag, epoch, lo, hi)
      return slot >= 0 && ((words[slot * 4 + HIGH] >>> 20) & 63) === leafLg2 ? slot : -1
    }
    const at = this.largeAt(tag, epoch, lo, hi, leafLg2 - PAGE_LG2)
    return at >= 0 && this.isFresh(words[at + OWN + STAMP]) ? (at + OWN) >>> 2 : -1
  }

  /** The slot of a leaf of 2 MiB or less that covers a page, or -1. */
  protected inRegion(tag: number, epoch: number, lo: number, hi: number): number {
    const { words } = this
    const set = this.setOf(this.placeOf(tag, lo, hi))
    const end = this.endOf(set)
    const head = hi << 1
    for (let at = set; at < end; at += 1 << LINE_SHIFT) {
      const held = words[at + HEAD]
      if ((((words[at + KEY] ^ lo) >>> held) | ((held >>> 11) ^ head) | (words[at + EPOCH] ^ epoch)) !== 0) {
        continue
      }
      const slot = this.slotIn(at, lo & (REGION - 1))
      const stamp = words[slot * 4 + STAMP]
      if (this.stamps[stamp & 0xffff] === stamp) return slot
    }
    return -1
  }

  /** The line of a leaf larger than a region, made now if there is none. */
  #large(tag: number, epoch: number, lo: number, hi: number, pagesLg2: number, place: number): number {
    this.tags[tag * 4 + LARGES] |= 1 << (pagesLg2 - LARGE_LG2)
    const known = this.largeAt(tag, epoch, lo, hi, pagesLg2)
    if (known >= 0) {
      if (!this.isFresh(this.words[known + OWN + STAMP])) this.dropped++
      return known
    }
    const at = this.roomAt(place)
    this.makeLine(at, tag, epoch, lo, highOf(hi, pagesLg2), pagesLg2)
    return at
  }

  /** The line of a leaf of a region or less, of its own or of blocks. */
  #small(tag: number, epoch: number, lo: number, hi: number, pagesLg2: number, place: number): number {
    const { words } = this
    const page = lo & (REGION - 1)
    const isOfEighth = pagesLg2 <= BLOCK_LG2
    if (isOfEighth && this.isOfRegion(place, epoch, lo, hi) && this.isBlock(place) && this.hasBlock(place, page)) {
      return place
    }
    const set = this.setOf(place)
    const end = this.endOf(set)
    let singles = 0
    let neighbours = 0
    let same = -1
    let line = -1
    for (let at = set; at < end; at += 1 << LINE_SHIFT) {
      if (!this.isOfRegion(at, epoch, lo, hi)) continue
      const heldLg2 = words[at + HEAD] & 63
      const coarser = heldLg2 > pagesLg2 ? heldLg2 : pagesLg2
      if (this.isBlock(at)) {
        if (pagesLg2 !== REGION_LG2) line = at
        else this.takeAway(at)
      } else if ((words[at + KEY] ^ lo) >>> coarser !== 0) {
        singles++
        if ((words[at + KEY] ^ lo) >>> BLOCK_LG2 === 0) neighbours++
      } else if (heldLg2 === pagesLg2) same = at
      else this.takeAway(at)
    }
    if (line >= 0 && isOfEighth && this.hasBlock(line, page)) return line
    if (same >= 0) {
      if (!this.isFresh(words[same + OWN + STAMP])) this.dropped++
      return same
    }
    const spare = this.freedBlocks + this.blocks - this.usedBlocks
    const free = this.freeAt(place)
    const isCrowded = free < 0 && (singles > 0 || line >= 0)
    const isClose = (neighbours > 0 || singles >= SINGLES || isCrowded) && this.stored < this.capacity
    // A leaf of several eighths is kept in blocks where the region has any other.
    const isWide = !isOfEighth && pagesLg2 !== REGION_LG2 && singles + (line < 0 ? 0 : 1) > 0
    if (this.blocks !== 0 && (isWide || (isClose && spare > BLOCKS) || neighbours + 1 >= MANY)) {
      const gathered = this.#gather(place, epoch, lo, hi)
      if (gathered >= 0) {
        this.#seeBlocks(gathered, page & (-1 << pagesLg2), 1 << pagesLg2)
        return gathered
      }
    }
    const at = free < 0 ? this.victimIn(set) : free
    this.makeLine(at, tag, epoch, lo, hi, pagesLg2)
    return at
  }

  /** Puts a region's leaves into blocks of one line; -1 where it has no leaf. */
  #gather(place: number, epoch: number, lo: number, hi: number): number {
    const set = this.setOf(place)
    const end = this.endOf(set)
    let line = -1
    for (let at = set; at < end; at += 1 << LINE_SHIFT) {
      if (!this.isOfRegion(at, epoch, lo, hi)) continue
      if (this.isBlock(at)) line = at
      // A forgotten group's leaf is not moved to where such leaves may have been looked for already.
      else if (this.unlooked > 0) this.clean(at)
    }
    // Where a look-up begins, if it can be there.
    if (line < 0 && this.isOfRegion(place, epoch, lo, hi)) {
      this.makeBlocks(place)
      this.#place(place)
      line = place
    }
    for (let at = set; at < end; at += 1 << LINE_SHIFT) {
      if (at === line || !this.isOfRegion(at, epoch, lo, hi)) continue
      if (line >= 0) this.takeLine(at)
      else {
        this.makeBlocks(at)
        line = at
      }
      this.#place(line)
    }
    return line
  }

  /** Puts the leaf that is being moved into a line's blocks. */
  #place(line: number): void {
    this.#seeBlocks(line, this.moved[4] & (REGION - 1), 1 << this.moved[5])
    this.placeMoved(line)
  }

  /** Sees that some pages of a line have blocks. */
  #seeBlocks(line: number, first: number, pages: number): void {
    for (let page = first; page < first + pages; page += BLOCK) {
      if (this.hasBlock(line, page)) continue
      this.makeRoomForBlock(line)
      this.addBlock(line, page)
    }
  }

  /** The first slot of a leaf in blocks, from which what it overlaps is taken away. */
  #inBlock(at: number, lo: number, pagesLg2: number, stamp: number, flags: number): number {
    const pages = 1 << pagesLg2
    const first = lo & (REGION - 1) & -pages
    this.#seeBlocks(at, first, pages)
    const { words } = this
    const slot = this.slotIn(at, first)
    const held = words[slot * 4 + STAMP]
    if (held !== 0 && ((words[slot * 4 + HIGH] >>> 20) & 63) === pagesLg2 + PAGE_LG2) {
      if (!this.isFresh(held)) this.dropped++
      this.mix(at, stamp, flags)
      return slot
    }
    for (let page = first; page < first + pages; page++) {
      const older = words[this.slotIn(at, page) * 4 + STAMP]
      if (older === 0) continue
      if (!this.isFresh(older)) this.dropped++
      this.freeLeaf(at, page)
    }
    this.addToBlock(at, stamp, flags)
    return slot
  }
}
