/**
 * The translation cache of both units (IOTLB, IPA cache, walk caches) and of device TLBs, all leaf sizes in one store.
 * It behaves as hardware does: what software does not invalidate stays, however wrong it has become.
 *
 * An entry is found by a *tag* (who asks) and a page. It is dropped by its tag, by its *group* (what it was made
 * from), or by address. The two differ: VT-d looks up by source-id and PASID and drops by domain-id. Tags and groups
 * are small dense numbers handed out by a `TagTable`; forgetting all entries of one is a single store.
 *
 * One look finds a page of any size up to 2 MiB: a set of lines is chosen by the 2 MiB region, and a line is such a
 * leaf, or the only leaf or one of a few that the region has, or it leads to the leaves of all its 512 pages. Larger
 * leaves have lines of their own and take a second look, by tags that have such alone. Of leaves up to 2 MiB that
 * share an address the youngest stays, and it answers before the larger ones.
 *
 * At most `entries` leaves are kept. Each takes 160 bytes of lines, and with `extras` 64 more; several leaves of 256 KiB
 * take 1 KiB together, half a KiB more with `extras`, of which there is one for each four entries: at most 418 bytes an
 * entry, or 610, most of them never touched. A cache of a few entries has no blocks and takes 80 bytes an entry, or 112.
 */

import type { Page } from '../bits/address.js'
import type { CacheStatistics } from '../port.js'
import { type CacheLimits, WORD_LIMITS } from './arrays.js'
import type { Chance } from './chance.js'
import { FillingStore } from './filling.js'
import { ANY_FLAGS, type CacheGeometry, type FlagMatch } from './geometry.js'
import { GROUP_MASK, LARGE, LARGE_LG2, LEAF, LINE, LINE_LG2, PAGE_LG2, REGION, SIDE, SIDE_LG2, TAG } from './layout.js'
import { ANY_GROUP, type Doomed, highOf, LAST_PAGE, type Numbers } from './ranges.js'
import type { TagTable } from './tag-table.js'

const { EPOCH, HEAD, KEY, LEAF: OWN, WHERE } = LINE
const { FLAGS, HIGH, STAMP } = LEAF
const { EPOCH: TAG_EPOCH, LARGES } = TAG
const { TAG: OWNER } = SIDE

/** What another module names is looked up anew each time; what this one names is not. */
const NONE = -1
const LINE_SHIFT = LINE_LG2
const BESIDE_SHIFT = LINE_LG2 - SIDE_LG2

/** Answered by `find` when nothing matches. */
export const MISS = NONE

/** Of a view that dropped something: no epoch is alive, so that every look goes the long way. */
const NO_EPOCH = 2 ** 31 - 1

const TWO32 = 2 ** 32

/** What else a cache is told when it is made. */
export interface CacheHabits {
  /** Chooses who makes room; without it entries take turns. */
  readonly chance?: Chance | null
  /** Whether `extra` is kept. */
  readonly extras?: boolean
  readonly limits?: CacheLimits
}

/** What a view leaves out, of some tags and groups; null for any. */
interface Gone {
  readonly tags: ReadonlySet<number> | null
  readonly groups: ReadonlySet<number> | null
  readonly doomed: Doomed
}

/** A store of translations. */
export class TranslationCache extends FillingStore {
  readonly #geometry: CacheGeometry
  /** The cache whose entries are shown; nothing can be kept here. */
  readonly #shown: TranslationCache | null
  readonly #tags: TagTable
  readonly #groups: TagTable
  /** How often numbers had been handed out anew when they were last compared. */
  #restarts = 0
  /** What a view has dropped. */
  readonly #gone: Gone[] = []

  /** @param shown the cache whose entries are shown, for `view` */
  constructor(
    geometry: CacheGeometry,
    tags: TagTable,
    groups: TagTable,
    habits: CacheHabits = {},
    shown: TranslationCache | null = null,
  ) {
    super(geometry, habits.limits ?? WORD_LIMITS, habits.extras ?? true, habits.chance ?? null, shown)
    this.#geometry = geometry
    this.#shown = shown
    this.#tags = tags
    this.#groups = groups
  }

  /**
   * The entries of this moment, to look at: nothing can be kept there, what is dropped there is not dropped here, and
   * nothing is counted here. It is of no use once something was kept here.
   */
  view(): TranslationCache {
    return new TranslationCache(this.#geometry, this.#tags, this.#groups, {}, this)
  }

  /** First byte of an entry's leaf, exact. */
  addressOf(slot: number): number {
    const { words } = this
    return (words[(slot << 2) | HIGH] & 0xfffff) * TWO32 + (words[slot << 2] >>> 0)
  }

  /** log2 of the leaf's bytes. */
  leafLg2Of(slot: number): number {
    return (this.words[(slot << 2) | HIGH] >>> 20) & 63
  }

  /** Rights and flags in the owner's own bits. */
  flagsOf(slot: number): number {
    return this.words[(slot << 2) | FLAGS]
  }

  /** One more number for the owner, such as the intermediate page. */
  extraOf(slot: number): number {
    return this.extras[slot]
  }

  /** What an entry is found by; for explanations. */
  tagOf(slot: number): number {
    return this.side[(this.lineOf(slot) >>> BESIDE_SHIFT) + OWNER]
  }

  /** What an entry was made from; for explanations. */
  groupOf(slot: number): number {
    return this.words[slot * 4 + STAMP] & GROUP_MASK
  }

  /** First page of an entry's leaf. */
  pageOf(slot: number): Page {
    const at = this.lineOf(slot)
    if (!this.isBlock(at)) return this.firstPageOf(at) as Page
    return (this.firstPageOf(at) + (this.inRegionOf(slot) & -this.#pagesOf(slot))) as Page
  }

  /** The entry that covers `page` under `tag`, or MISS. Does not count. */
  find(tag: number, page: Page): number {
    return this.findAt(tag, page | 0, (page / TWO32) | 0)
  }

  /**
   * The same, of a page's low 32 bits and the 20 above them, which nobody has to box. Most hits are at the first place
   * that is looked at, and this is so short that its callers take it in.
   */
  findAt(tag: number, lo: number, hi: number): number {
    if (tag < 0 || tag >= this.knownTags) return NONE
    const { words } = this
    const epoch = this.tags[tag << 2]
    if (epoch < this.floor) return this.#gone.length === 0 ? NONE : this.#findElsewhere(tag, epoch, lo, hi) | 0
    const at = this.placeOf(tag, lo, hi)
    const head = words[at | HEAD]
    if ((((words[at] ^ lo) >>> head) | ((head >>> 11) ^ (hi << 1)) | (words[at | EPOCH] ^ epoch)) === 0) {
      const where = words[at | WHERE | ((lo >>> 6) & 7)]
      const slot = ((where >>> 1) + (lo & -(where & 1) & 63)) | 0
      const stamp = words[(slot << 2) | STAMP]
      // While no group was forgotten, whatever is there is good.
      const isFresh = this.unlooked === 0 ? stamp !== 0 : this.stamps[stamp & 0xffff] === stamp
      if (isFresh) return slot
      // Where there is a block, nothing stands beside it.
      if ((where & 1) !== 0 && this.tags[(tag << 2) | LARGES] === 0) return NONE
    }
    // An integer, and nothing that could be one: what comes of either way stays in a register.
    return this.#findElsewhere(tag, epoch, lo, hi) | 0
  }

  /** The entry of exactly this size that covers `page` under `tag`, or MISS. Does not count. */
  findSize(tag: number, page: Page, leafLg2: number): number {
    if (tag < 0 || tag >= this.knownTags) return MISS
    const epoch = this.tags[tag * 4 + TAG_EPOCH]
    if (epoch >= this.floor) return this.ofSize(tag, epoch, page | 0, (page / TWO32) | 0, leafLg2)
    const shown = this.#shown
    if (this.#gone.length === 0 || shown === null || epoch < shown.floor) return MISS
    const slot = shown.findSize(tag, page, leafLg2)
    return slot === MISS || this.#isGone(slot) ? MISS : slot
  }

  /** At another place of the set, or as a part of a larger leaf, the smaller ones first; of a view what is left there. */
  #findElsewhere(tag: number, epoch: number, lo: number, hi: number): number {
    const { words, stamps } = this
    const isSparing = this.#gone.length !== 0
    if (epoch < (isSparing ? (this.#shown as TranslationCache).floor : this.floor)) return MISS
    const set = this.setOf(this.placeOf(tag, lo, hi))
    const end = this.endOf(set)
    for (let at = set; at < end; at += 1 << LINE_SHIFT) {
      const head = words[at + HEAD]
      if ((((words[at + KEY] ^ lo) >>> head) | ((head >>> 11) ^ (hi << 1)) | (words[at + EPOCH] ^ epoch)) !== 0)
        continue
      const slot = this.slotIn(at, lo & (REGION - 1))
      const stamp = words[slot * 4 + STAMP]
      if (stamps[stamp & GROUP_MASK] === stamp && !(isSparing && this.#isGone(slot))) return slot
    }
    for (let left = this.tags[tag * 4 + LARGES]; left !== 0; left &= left - 1) {
      const pagesLg2 = LARGE_LG2 + 31 - Math.clz32(left & -left)
      const larger = this.setOf(this.placeOfLarge(tag, lo, hi, pagesLg2))
      const low = pagesLg2 > 31 ? 0 : (lo >>> pagesLg2) << pagesLg2
      const wanted = (highOf(hi, pagesLg2) << 12) | LARGE | pagesLg2
      for (let at = larger; at < this.endOf(larger); at += 1 << LINE_SHIFT) {
        if (words[at + KEY] !== low || words[at + HEAD] !== wanted || words[at + EPOCH] !== epoch) continue
        const slot = (at + OWN) >>> 2
        const stamp = words[slot * 4 + STAMP]
        if (stamps[stamp & GROUP_MASK] === stamp && !(isSparing && this.#isGone(slot))) return slot
      }
    }
    return MISS
  }

  #isGone(slot: number): boolean {
    const [tag, group, page] = [this.tagOf(slot), this.groupOf(slot), this.pageOf(slot)]
    return this.#gone.some(({ tags, groups, doomed }) => {
      const isMeant = (tags === null || tags.has(tag)) && (groups === null || groups.has(group))
      return isMeant && this.isDoomed(slot, page, doomed)
    })
  }

  /**
   * Stores a translation; one that it overlaps goes, where both are of 2 MiB or less, or of one size. Answers its slot,
   * or MISS if off.
   *
   * @param spanLg2 log2 of the leaf that software knows, where `leafLg2` is only a piece of it (nesting): any address
   *   of that leaf drops the entry
   */
  fill(
    tag: number,
    group: number,
    page: Page,
    leafLg2: number,
    address: number,
    flags: number,
    extra: number,
    spanLg2: number = leafLg2,
  ): number {
    const hi = (page / TWO32) | 0
    const above = (address / TWO32) | 0
    const extraHi = Math.floor(extra / TWO32) | 0
    return this.fillAt(tag, group, page | 0, hi, leafLg2, address | 0, above, flags, extra | 0, extraHi, spanLg2)
  }

  /** The same, of the low 32 bits of page, address and extra, and what is above them, which nobody has to box. */
  fillAt(
    tag: number,
    group: number,
    lo: number,
    hi: number,
    leafLg2: number,
    addressLo: number,
    addressHi: number,
    flags: number,
    extraLo: number,
    extraHi: number,
    spanLg2: number,
  ): number {
    if (this.capacity === 0 || this.#shown !== null) return NONE
    return this.keep(tag, group, lo, hi, leafLg2, addressLo, addressHi, flags, extraLo, extraHi, spanLg2)
  }

  /** Changes the owner's bits of an entry that is there, such as a dirty flag. */
  setFlags(slot: number, flags: number): void {
    const { words } = this
    const at = this.lineOf(slot)
    if (!this.isBlock(at)) {
      words[slot * 4 + FLAGS] = flags
      return
    }
    const pages = this.#pagesOf(slot)
    const first = this.inRegionOf(slot) & -pages
    for (let page = first; page < first + pages; page++) words[this.slotIn(at, page) * 4 + FLAGS] = flags
    this.mix(at, words[slot * 4 + STAMP], flags)
  }

  /** Drops every entry of some tags, with the flags asked for, whose leaf shares a page with `[first, last]`. */
  dropTagPages(tags: Numbers, first: Page, last: Page, flags: FlagMatch = ANY_FLAGS): void {
    if (this.#shown === null) this.dropTags(tags, first, last, flags)
    else this.#drop(tags, null, first, last, flags)
  }

  /** Drops every entry of some groups, with the flags asked for, whose leaf shares a page with `[first, last]`. */
  dropGroupPages(groups: Numbers, first: Page, last: Page, flags: FlagMatch = ANY_FLAGS): void {
    if (this.#shown === null) this.dropGroups(groups, first, last, flags)
    else this.#drop(null, groups, first, last, flags)
  }

  /** The same for one tag and at most REGION pages from one on, given by its halves: nothing is boxed or listed. */
  dropTagAt(tag: number, lo: number, hi: number, pages: number, flags: FlagMatch = ANY_FLAGS): void {
    const first = hi * TWO32 + (lo >>> 0)
    if (this.#shown === null && this.isNear(lo, pages)) this.dropNear(tag, ANY_GROUP, lo, hi, pages, flags)
    else this.dropTagPages(tag, first as Page, (first + pages - 1) as Page, flags)
  }

  /** The same for one group. */
  dropGroupAt(group: number, lo: number, hi: number, pages: number, flags: FlagMatch = ANY_FLAGS): void {
    const first = hi * TWO32 + (lo >>> 0)
    if (this.#shown === null && this.isNear(lo, pages)) this.dropGroupNear(group, lo, hi, pages, flags)
    else this.dropGroupPages(group, first as Page, (first + pages - 1) as Page, flags)
  }

  /** Drops every entry of a tag; a number that was never handed out has none. */
  dropTag(tag: number): void {
    this.dropTagPages(tag, 0 as Page, LAST_PAGE as Page)
  }

  /** Drops every entry of a group. */
  dropGroup(group: number): void {
    this.dropGroupPages(group, 0 as Page, LAST_PAGE as Page)
  }

  /** Drops everything. */
  dropAll(): void {
    if (this.#shown !== null) {
      this.#drop(null, null, 0 as Page, LAST_PAGE as Page, ANY_FLAGS)
      return
    }
    this.closeAll()
    const restarts = this.#tags.restarts + this.#groups.restarts
    if (restarts !== this.#restarts) this.forgetNumbers()
    this.#restarts = restarts
  }

  /** Notes what a view drops, whose every look then goes the long way. */
  #drop(tags: Numbers | null, groups: Numbers | null, first: Page, last: Page, flags: FlagMatch): void {
    this.#gone.push({ tags: setOf(tags), groups: setOf(groups), doomed: this.doom(-1, first, last, flags) })
    this.floor = NO_EPOCH
  }

  /** Shows every entry that would answer. */
  eachLive(visit: (slot: number) => void): void {
    for (let at = 0; at < this.lines << LINE_SHIFT; at += 1 << LINE_SHIFT) {
      if (this.words[at + EPOCH] === 0 || !this.#isAliveHere(at)) continue
      if (!this.isBlock(at)) this.#show((at + OWN) >>> 2, visit)
      else this.#eachInBlocks(at, visit)
    }
  }

  #eachInBlocks(at: number, visit: (slot: number) => void): void {
    for (let page = 0; page < REGION; page++) {
      if (!this.hasBlock(at, page)) continue
      const slot = this.slotIn(at, page)
      if ((page & (this.#pagesOf(slot) - 1)) === 0) this.#show(slot, visit)
    }
  }

  #show(slot: number, visit: (slot: number) => void): void {
    const stamp = this.words[slot * 4 + STAMP]
    if (stamp !== 0 && this.isFresh(stamp) && !(this.#gone.length !== 0 && this.#isGone(slot))) visit(slot)
  }

  #isAliveHere(at: number): boolean {
    return this.#shown === null ? this.isAlive(at) : this.#shown.#isAliveHere(at)
  }

  /** Live entries. Where a group was forgotten its entries are looked for, once. */
  countLive(): number {
    let live = 0
    if (this.#shown !== null) {
      this.eachLive(() => live++)
      return live
    }
    if (this.unlooked > 0) this.sweep()
    return this.stored
  }

  /** What a reader of statistics is told. */
  statistics(name: string): CacheStatistics {
    const live = this.countLive()
    const { hits, misses, evictions, fills, dropped } = this
    return { name, entries: this.#geometry.entries, live, hits, misses, evictions, fills, invalidated: dropped }
  }

  #pagesOf(slot: number): number {
    return 2 ** (this.leafLg2Of(slot) - PAGE_LG2)
  }
}

function setOf(numbers: Numbers | null): ReadonlySet<number> | null {
  if (numbers === null) return null
  return new Set(typeof numbers === 'number' ? [numbers] : numbers)
}
