/**
 * What commands by address drop, and commands that name a tag or a group alone. It costs by what is there: the lines of
 * the pages that are named, or where those are more than the tag has leaves, the tag's lines.
 */

import type { Page } from '../bits/address.js'
import type { CacheLimits } from './arrays.js'
import type { Chance } from './chance.js'
import { ANY_FLAGS, type CacheGeometry, type FlagMatch } from './geometry.js'
import {
  BLOCK,
  GROUP_MASK,
  LARGE,
  LARGE_LG2,
  LEAF,
  LINE,
  LINE_LG2,
  MIXED,
  PAGE_LG2,
  REGION,
  REGION_LG2,
  SIDE,
  SIDE_LG2,
  TAG,
} from './layout.js'
import { ReplacingStore } from './replacement.js'

const { ALL: ALL_FLAGS, ANY: ANY_FLAG, COUNT, EPOCH, HEAD, KEY, LEAF: OWN, STAMP: ALL_STAMP } = LINE
const { FLAGS, HIGH, STAMP } = LEAF
const { COUNT: TAG_COUNT, EPOCH: TAG_EPOCH, FIRST, LARGES } = TAG
const { NEXT } = SIDE

const LINE_SHIFT = LINE_LG2
const BESIDE_SHIFT = LINE_LG2 - SIDE_LG2

/** One tag or group, or several. */
export type Numbers = number | readonly number[]

/** Any group. */
export const ANY_GROUP = -1

/** The last page of all. */
export const LAST_PAGE = 2 ** 52 - 1

const TWO32 = 2 ** 32

/** Pages of a size, by its log2 of bytes. */
const PAGES = Float64Array.from({ length: 65 }, (_, lg2) => 2 ** (lg2 - PAGE_LG2))

/** What a line's leaves have to do with a drop. */
const SHARE = { NONE: 0, SOME: 1, ALL: 2 } as const

/** Leaves that are to go. */
export interface Doomed {
  /** Their group, or ANY_GROUP. */
  readonly group: number
  /** They share a page with these. */
  readonly first: Page
  readonly last: Page
  /** Where they can be: any address of a span drops each of its pieces. */
  readonly from: number
  readonly to: number
  readonly flags: FlagMatch
}

/** A store that commands reach. */
export class DroppingStore extends ReplacingStore {
  /** log2 of the bytes of the largest span of which a piece was kept. */
  #widestLg2 = PAGE_LG2
  /** The tags that each group was filled under, and the group that each tag was filled with last, plus 1. */
  readonly #tagsOf: (Set<number> | undefined)[] = []
  #groupOf = new Int32Array(0)

  constructor(
    geometry: CacheGeometry,
    limits: CacheLimits,
    hasExtras: boolean,
    chance: Chance | null,
    shown: DroppingStore | null,
  ) {
    super(geometry, limits, hasExtras, chance, shown)
    if (shown !== null) this.#widestLg2 = shown.#widestLg2
  }

  /** Remembers where leaves of a group are, and how large the spans are that they are pieces of. */
  protected remember(tag: number, group: number, leafLg2: number, spanLg2: number): void {
    if (spanLg2 > leafLg2 && spanLg2 > this.#widestLg2) this.#widestLg2 = spanLg2
    if (tag >= this.#groupOf.length) {
      const known = this.#groupOf
      this.#groupOf = new Int32Array(this.tags.length / 4)
      this.#groupOf.set(known)
    }
    if (this.#groupOf[tag] === group + 1) return
    this.#groupOf[tag] = group + 1
    const known = this.#tagsOf[group]
    if (known === undefined) this.#tagsOf[group] = new Set([tag])
    else known.add(tag)
  }

  /** Numbers of tags and groups begin to mean other names. */
  protected forgetNumbers(): void {
    this.#widestLg2 = PAGE_LG2
    this.#tagsOf.length = 0
    this.#groupOf.fill(0)
  }

  protected doom(group: number, first: Page, last: Page, flags: FlagMatch): Doomed {
    const span = PAGES[this.#widestLg2]
    const from = Math.floor(first / span) * span
    return { group, first, last, from, to: Math.floor(last / span) * span + span - 1, flags }
  }

  protected dropTags(tags: Numbers, first: Page, last: Page, flags: FlagMatch): void {
    const doomed = this.doom(ANY_GROUP, first, last, flags)
    if (typeof tags === 'number') this.#dropUnder(tags, doomed)
    else for (const tag of tags) this.#dropUnder(tag, doomed)
  }

  protected dropGroups(groups: Numbers, first: Page, last: Page, flags: FlagMatch): void {
    if (typeof groups === 'number') this.#dropGroup(groups, first, last, flags)
    else for (const group of groups) this.#dropGroup(group, first, last, flags)
  }

  #dropGroup(group: number, first: Page, last: Page, flags: FlagMatch): void {
    const tags = this.#tagsOf[group]
    if (tags === undefined) return
    if (isEverything(first, last, flags)) {
      this.closeGroup(group)
      return
    }
    const doomed = this.doom(group, first, last, flags)
    for (const tag of tags) {
      if (this.#dropUnder(tag, doomed)) continue
      tags.delete(tag)
      if (this.#groupOf[tag] === group + 1) this.#groupOf[tag] = 0
    }
  }

  /** False where nothing is kept under the tag. */
  #dropUnder(tag: number, doomed: Doomed): boolean {
    const record = tag * 4
    // A number that was never handed out names nothing.
    if (record < 0 || record >= this.tags.length || this.tags[record + TAG_EPOCH] < this.floor) return false
    if (doomed.group === ANY_GROUP && isEverything(doomed.first, doomed.last, doomed.flags)) {
      this.closeTag(tag)
      return true
    }
    const count = this.tags[record + TAG_COUNT]
    if (count === 0) return false
    if (unitsIn(doomed, this.tags[record + LARGES]) > count) this.#dropAmong(record, doomed)
    else this.#dropAt(tag, record, doomed)
    return true
  }

  /** Whether so many pages are in one region, with all of any span that they are in. */
  protected isNear(lo: number, pages: number): boolean {
    return (lo & (REGION - 1)) + pages <= REGION && this.#widestLg2 <= PAGE_LG2 + REGION_LG2
  }

  /** Drops such pages of every tag of a group. */
  protected dropGroupNear(group: number, lo: number, hi: number, pages: number, flags: FlagMatch): void {
    const tags = this.#tagsOf[group]
    if (tags === undefined) return
    for (const tag of tags) {
      if (this.dropNear(tag, group, lo, hi, pages, flags)) continue
      tags.delete(tag)
      if (this.#groupOf[tag] === group + 1) this.#groupOf[tag] = 0
    }
  }

  /** Drops such pages of one tag. False where nothing is kept under it. */
  protected dropNear(tag: number, group: number, lo: number, hi: number, pages: number, flags: FlagMatch): boolean {
    const { tags } = this
    const record = tag * 4
    if (record < 0 || record >= tags.length || tags[record + TAG_EPOCH] < this.floor) return false
    if (tags[record + TAG_COUNT] === 0) return false
    const epoch = tags[record + TAG_EPOCH]
    const set = this.setOf(this.placeOf(tag, lo, hi))
    const end = this.endOf(set)
    for (let at = set; at < end; at += 1 << LINE_SHIFT) {
      if (!this.isOfRegion(at, epoch, lo, hi)) continue
      if (this.isBlock(at)) this.#dropFromBlock(at, group, lo & (REGION - 1), pages, flags)
      else if (this.#isNearby(at, lo, pages)) this.#dropOwn(at, group, flags)
    }
    for (let larges = tags[record + LARGES]; larges !== 0; larges &= larges - 1) {
      const at = this.largeAt(tag, epoch, lo, hi, LARGE_LG2 + 31 - Math.clz32(larges & -larges))
      if (at >= 0) this.#dropOwn(at, group, flags)
    }
    return true
  }

  /** Whether the span of a line's leaf, which is in their region, has some of the pages. */
  #isNearby(at: number, lo: number, pages: number): boolean {
    const span = 1 << ((this.words[at + OWN + HIGH] >>> 26) - PAGE_LG2)
    const start = this.words[at + KEY] & (REGION - 1) & -span
    const first = lo & (REGION - 1)
    return start < first + pages && first < start + span
  }

  #dropOwn(at: number, group: number, flags: FlagMatch): void {
    if (isOfKind(this.words, (at + OWN) >>> 2, group, flags)) this.dropped += this.freeLine(at)
  }

  /** Drops leaves of a block whose spans have some of its pages. */
  #dropFromBlock(at: number, group: number, first: number, pages: number, flags: FlagMatch): void {
    const { words } = this
    const end = first + pages
    const widest = 1 << (this.#widestLg2 - PAGE_LG2)
    const last = ((end - 1) & -widest) + widest
    let dropped = 0
    for (let page = first & -widest; page < last; page++) {
      const slot = this.slotIn(at, page)
      if (words[slot * 4 + STAMP] === 0 || !isOfKind(words, slot, group, flags)) continue
      const high = words[slot * 4 + HIGH]
      const span = 1 << ((high >>> 26) - PAGE_LG2)
      const start = page & -span
      if (start >= end || start + span <= first) continue
      dropped++
      const size = 1 << (((high >>> 20) & 63) - PAGE_LG2)
      const from = page & -size
      for (let each = from; each < from + size; each++) words[this.slotIn(at, each) * 4 + STAMP] = 0
    }
    if (dropped === 0) return
    this.dropped += dropped
    this.countOut(at, dropped)
    if (words[at + COUNT] === 0) this.freeLine(at)
  }

  /** Looks at every line of a tag. */
  #dropAmong(record: number, doomed: Doomed): void {
    for (let next = this.tags[record + FIRST]; next !== 0; ) {
      const at = next - 1
      next = this.side[(at >>> BESIDE_SHIFT) + NEXT]
      this.#dropLine(at, doomed)
    }
  }

  /** Looks where lines of the pages can be. */
  #dropAt(tag: number, record: number, doomed: Doomed): void {
    const epoch = this.tags[record + TAG_EPOCH]
    const last = Math.floor(doomed.to / REGION) * REGION
    for (let page = Math.floor(doomed.from / REGION) * REGION; page <= last; page += REGION) {
      const lo = page | 0
      const hi = (page / TWO32) | 0
      const set = this.setOf(this.placeOf(tag, lo, hi))
      const end = this.endOf(set)
      for (let at = set; at < end; at += 1 << LINE_SHIFT) {
        if (this.isOfRegion(at, epoch, lo, hi)) this.#dropLine(at, doomed)
      }
    }
    for (let larges = this.tags[record + LARGES]; larges !== 0; larges &= larges - 1) {
      const pagesLg2 = LARGE_LG2 + 31 - Math.clz32(larges & -larges)
      const pages = PAGES[pagesLg2 + PAGE_LG2]
      for (let page = Math.floor(doomed.from / pages) * pages; page <= doomed.to; page += pages) {
        const at = this.largeAt(tag, epoch, page | 0, (page / TWO32) | 0, pagesLg2)
        if (at >= 0) this.#dropLine(at, doomed)
      }
    }
  }

  /** Whether a living line is of a tag's region; its leaf may be a part of it. */
  protected isOfRegion(at: number, epoch: number, lo: number, hi: number): boolean {
    const { words } = this
    return words[at + EPOCH] === epoch && (words[at + KEY] ^ lo) >>> 9 === 0 && words[at + HEAD] >>> 11 === hi << 1
  }

  /** The line of a leaf larger than a region, or -1. */
  protected largeAt(tag: number, epoch: number, lo: number, hi: number, pagesLg2: number): number {
    const { words } = this
    const set = this.setOf(this.placeOfLarge(tag, lo, hi, pagesLg2))
    const low = pagesLg2 > 31 ? 0 : (lo >>> pagesLg2) << pagesLg2
    const head = (highOf(hi, pagesLg2) << 12) | LARGE | pagesLg2
    const end = this.endOf(set)
    for (let at = set; at < end; at += 1 << LINE_SHIFT) {
      if (words[at + KEY] === low && words[at + HEAD] === head && words[at + EPOCH] === epoch) return at
    }
    return -1
  }

  #dropLine(at: number, doomed: Doomed): void {
    const page = this.firstPageOf(at)
    if (!this.isBlock(at)) {
      if (this.isDoomed((at + OWN) >>> 2, page, doomed)) this.dropped += this.freeLine(at)
      return
    }
    const isCovered = doomed.first <= page && page + REGION - 1 <= doomed.last
    const share = isCovered ? this.#shareOf(at, doomed) : SHARE.SOME
    if (share === SHARE.ALL) this.dropped += this.freeLine(at)
    if (share !== SHARE.SOME) return
    this.#dropLeaves(at, page, doomed)
    if (this.words[at + COUNT] === 0) this.freeLine(at)
  }

  /** Drops leaves of a block that are not all meant. */
  #dropLeaves(at: number, page: number, doomed: Doomed): void {
    const { words } = this
    const last = Math.min(doomed.to - page, REGION - 1)
    // Where no piece of a span is kept, a leaf of the pages is meant as soon as its group and flags are.
    const isPlain = this.#widestLg2 === PAGE_LG2
    let pages = 0
    for (let each = Math.max(doomed.from - page, 0); each <= last; each++) {
      if (!this.hasBlock(at, each)) {
        each |= BLOCK - 1
        continue
      }
      const slot = this.slotIn(at, each)
      if (words[slot * 4 + STAMP] === 0) continue
      const isMeant = isPlain ? isKind(words, slot, doomed) : this.isDoomed(slot, page + each, doomed)
      if (!isMeant) continue
      if (((words[slot * 4 + HIGH] >>> 20) & 63) === PAGE_LG2) {
        words[slot * 4 + STAMP] = 0
        pages++
      } else {
        this.dropped++
        this.freeLeaf(at, each)
      }
    }
    this.dropped += pages
    this.countOut(at, pages)
  }

  /** How many of a block's leaves are meant by their group and flags, where that can be told of all of them. */
  #shareOf(at: number, { group, flags: { mask, want, some } }: Doomed): number {
    const { words } = this
    const stamp = words[at + ALL_STAMP]
    if (group !== ANY_GROUP && stamp === MIXED) return SHARE.SOME
    if (group !== ANY_GROUP && (stamp & GROUP_MASK) !== group) return SHARE.NONE
    const all = words[at + ALL_FLAGS]
    const any = words[at + ANY_FLAG]
    if (some !== 0 && (any & some) === 0) return SHARE.NONE
    if (((all ^ any) & mask) !== 0) return SHARE.SOME
    if ((all & mask) !== want) return SHARE.NONE
    return some === 0 || (all & some) !== 0 ? SHARE.ALL : SHARE.SOME
  }

  /** Whether a leaf is to go, one of whose pages is given. */
  protected isDoomed(slot: number, page: number, doomed: Doomed): boolean {
    const { words } = this
    if (!isKind(words, slot, doomed)) return false
    const span = PAGES[words[slot * 4 + HIGH] >>> 26]
    const start = Math.floor(page / span) * span
    return start <= doomed.last && doomed.first < start + span
  }

  /** The first page of a line. */
  protected firstPageOf(at: number): number {
    return (this.words[at + HEAD] >>> 12) * TWO32 + (this.words[at + KEY] >>> 0)
  }
}

/** The part of a page number above 32 bits, aligned to a size. */
export const highOf = (hi: number, pagesLg2: number): number =>
  pagesLg2 <= 32 ? hi : (hi >>> (pagesLg2 - 32)) << (pagesLg2 - 32)

/** Whether a leaf has the group and flags that are meant. */
const isKind = (words: Int32Array, slot: number, { group, flags }: Doomed): boolean =>
  isOfKind(words, slot, group, flags)

function isOfKind(words: Int32Array, slot: number, group: number, { mask, want, some }: FlagMatch): boolean {
  if (group !== ANY_GROUP && (words[slot * 4 + STAMP] & GROUP_MASK) !== group) return false
  const flags = words[slot * 4 + FLAGS]
  return (flags & mask) === want && (some === 0 || (flags & some) !== 0)
}

const isEverything = (first: number, last: number, flags: FlagMatch): boolean =>
  flags === ANY_FLAGS && first === 0 && last === LAST_PAGE

/** How many look-ups a drop by place takes. */
function unitsIn({ from, to }: Doomed, larges: number): number {
  let units = Math.floor(to / REGION) - Math.floor(from / REGION) + 1
  for (let left = larges; left !== 0; left &= left - 1) {
    const pages = PAGES[PAGE_LG2 + LARGE_LG2 + 31 - Math.clz32(left & -left)]
    units += Math.floor(to / pages) - Math.floor(from / pages) + 1
  }
  return units
}
