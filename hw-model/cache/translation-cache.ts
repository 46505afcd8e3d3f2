/**
 * The translation cache of both units (IOTLB, IPA cache, walk caches): parallel typed arrays, set-associative, all leaf
 * sizes in one store. It behaves as hardware does: what software does not invalidate stays, however wrong it has become.
 *
 * An entry is found by a *tag* (who asks) and a page. It is dropped by its tag, by its *group* (what it was made
 * from), or by address. The two differ: VT-d looks up by source-id and PASID and drops by domain-id. Tags and groups
 * are small dense numbers handed out by a `TagTable`; forgetting all entries of one is a single increment.
 */

import type { Page } from '../bits/address.js'
import type { CacheStatistics } from '../port.js'
import type { Chance } from './chance.js'
import { ANY_FLAGS, type CacheGeometry, type FlagMatch } from './geometry.js'
import type { TagTable } from './tag-table.js'

/** One tag or group, or several. */
type Numbers = number | readonly number[]

/** Entries that are to go: those whose owner, a tag or a group, is marked, of some flags, that touch some pages. */
interface Doomed {
  readonly owner: Int32Array
  readonly marks: Uint8Array
  readonly first: Page
  readonly last: Page
  readonly flags: FlagMatch
}

/** Answered by `find` when nothing matches. */
export const MISS = -1

/** Pages of a span, by its log2 of bytes. */
const SPAN_PAGES = Float64Array.from({ length: 65 }, (_, lg2) => 2 ** (lg2 - 12))

/** Leaf sizes go from 2^12 up; one bit a size in `#sizes`. */
const PAGE_LG2 = 12

/** Where a group has this many tags, no look-up by its tags is worth while. */
const MANY_TAGS = 8

/** A look-up of one way costs about as much as two entries in a row. */
const WAY_COST = 2

/** A set-associative store of translations. */
export class TranslationCache {
  hits = 0
  misses = 0
  evictions = 0

  readonly #tags: TagTable
  readonly #groups: TagTable
  readonly #ways: number
  readonly #setMask: number
  readonly #geometry: CacheGeometry
  /** Chooses who makes room; null where the ways take turns. */
  readonly #chance: Chance | null
  /** Shows another cache's entries; nothing can be kept. */
  readonly #isView: boolean
  /** log2 of the bytes that software names with one entry: its stage's leaf, of which another stage may cut pieces. */
  readonly #spanLg2: Uint8Array
  readonly #address: Float64Array
  readonly #leafLg2: Uint8Array
  readonly #flags: Int32Array
  readonly #extra: Float64Array
  readonly #page: Float64Array
  /** Of a view: the shown cache's, or a copy once something was dropped. */
  #tag: Int32Array
  readonly #tagStamp: Int32Array
  readonly #group: Int32Array
  readonly #groupStamp: Int32Array
  readonly #turn: Uint8Array
  /** Leaf sizes ever filled since everything was dropped, below 2^43; one bit each. */
  #sizes = 0
  /** The same, and larger ones. */
  readonly #sizesLg2: number[]
  /** log2 of the largest span of which a piece was kept; 12 for none. */
  #widestLg2 = PAGE_LG2
  /** The tags that each group was filled under, up to MANY_TAGS of them. */
  readonly #tagsOf: (number[] | undefined)[]
  #isCopy = false

  /**
   * @param chance chooses who makes room; without it the ways of a set take turns
   * @param shown the cache whose entries are shown, for `view`
   */
  constructor(
    geometry: CacheGeometry,
    tags: TagTable,
    groups: TagTable,
    chance: Chance | null = null,
    shown: TranslationCache | null = null,
  ) {
    const { entries, ways } = geometry
    if (entries !== 0 && (entries & (entries - 1) || ways & (ways - 1) || ways > entries || ways < 1)) {
      throw new RangeError('cache entries and ways are powers of two, and a set is not larger than the cache')
    }
    this.#geometry = geometry
    this.#chance = chance
    this.#tags = tags
    this.#groups = groups
    this.#ways = ways
    this.#setMask = entries === 0 ? -1 : entries / ways - 1
    this.#isView = shown !== null
    this.#address = shown === null ? new Float64Array(entries) : shown.#address
    this.#leafLg2 = shown === null ? new Uint8Array(entries) : shown.#leafLg2
    this.#flags = shown === null ? new Int32Array(entries) : shown.#flags
    this.#extra = shown === null ? new Float64Array(entries) : shown.#extra
    this.#spanLg2 = shown === null ? new Uint8Array(entries) : shown.#spanLg2
    this.#page = shown === null ? new Float64Array(entries) : shown.#page
    this.#tag = shown === null ? new Int32Array(entries).fill(-1) : shown.#tag
    this.#tagStamp = shown === null ? new Int32Array(entries) : shown.#tagStamp
    this.#group = shown === null ? new Int32Array(entries) : shown.#group
    this.#groupStamp = shown === null ? new Int32Array(entries) : shown.#groupStamp
    this.#turn = shown === null ? new Uint8Array(entries === 0 ? 0 : entries / ways) : shown.#turn
    this.#sizes = shown === null ? 0 : shown.#sizes
    this.#sizesLg2 = shown === null ? [] : shown.#sizesLg2
    this.#widestLg2 = shown === null ? PAGE_LG2 : shown.#widestLg2
    this.#tagsOf = shown === null ? [] : shown.#tagsOf
  }

  /**
   * The entries of this moment, to look at: nothing can be kept there, what is dropped there is not dropped here, and
   * nothing is counted here.
   */
  view(): TranslationCache {
    return new TranslationCache(this.#geometry, this.#tags, this.#groups, null, this)
  }

  /** First byte of an entry's leaf, exact. */
  addressOf(slot: number): number {
    return this.#address[slot]
  }

  /** log2 of the leaf's bytes. */
  leafLg2Of(slot: number): number {
    return this.#leafLg2[slot]
  }

  /** Rights and flags in the owner's own bits. */
  flagsOf(slot: number): number {
    return this.#flags[slot]
  }

  /** One more number for the owner, such as the intermediate page. */
  extraOf(slot: number): number {
    return this.#extra[slot]
  }

  /** What an entry is found by; for explanations. */
  tagOf(slot: number): number {
    return this.#tag[slot]
  }

  /** What an entry was made from; for explanations. */
  groupOf(slot: number): number {
    return this.#group[slot]
  }

  /** The entry that covers `page` under `tag`, or MISS. Largest leaves first. Does not count. */
  find(tag: number, page: Page): number {
    let sizes = this.#sizes
    while (sizes !== 0) {
      const lg2 = 31 - Math.clz32(sizes)
      sizes ^= 1 << lg2
      const slot = this.#probe(tag, alignDown(page, lg2), lg2 + PAGE_LG2)
      if (slot !== MISS) return slot
    }
    return MISS
  }

  /** Whether anything can be found here. */
  get isOn(): boolean {
    return this.#setMask >= 0
  }

  /** The entry of exactly this size that covers `page` under `tag`, or MISS. Does not count. */
  findSize(tag: number, page: Page, leafLg2: number): number {
    return this.#setMask < 0 || tag < 0 ? MISS : this.#probe(tag, alignDown(page, leafLg2 - PAGE_LG2), leafLg2)
  }

  /**
   * Stores a translation; an older one for the same tag, page and size is replaced. Answers its slot, or MISS if off.
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
    if (this.#setMask < 0 || this.#isView) return MISS
    const lg2 = leafLg2 - PAGE_LG2
    const first = alignDown(page, lg2)
    let slot = this.#probe(tag, first, leafLg2)
    if (slot === MISS) slot = this.#victim(this.#setOf(tag, first, lg2))
    this.#page[slot] = first
    this.#leafLg2[slot] = leafLg2
    this.#spanLg2[slot] = spanLg2
    this.#tag[slot] = tag
    this.#tagStamp[slot] = this.#tags.stampOf(tag)
    this.#group[slot] = group
    this.#groupStamp[slot] = this.#groups.stampOf(group)
    this.#address[slot] = address
    this.#flags[slot] = flags
    this.#extra[slot] = extra
    if (!this.#sizesLg2.includes(leafLg2)) this.#sizesLg2.push(leafLg2)
    if (lg2 < 31) this.#sizes |= 1 << lg2
    if (spanLg2 > leafLg2 && spanLg2 > this.#widestLg2) this.#widestLg2 = spanLg2
    this.#noteTag(group, tag)
    return slot
  }

  /** Changes the owner's bits of an entry that is there, such as a dirty flag. */
  setFlags(slot: number, flags: number): void {
    this.#flags[slot] = flags
  }

  /** Drops one entry. */
  dropSlot(slot: number): void {
    this.#own()
    this.#tag[slot] = -1
  }

  /** Drops every entry of some tags, with the flags asked for, whose leaf shares a page with `[first, last]`. */
  dropTagPages(tags: Numbers, first: Page, last: Page, flags: FlagMatch = ANY_FLAGS): void {
    const list = typeof tags === 'number' ? [tags] : tags
    this.#drop({ owner: this.#tag, marks: marksOf(list, this.#tags.count), first, last, flags }, list)
  }

  /** Drops every entry of some groups, with the flags asked for, whose leaf shares a page with `[first, last]`. */
  dropGroupPages(groups: Numbers, first: Page, last: Page, flags: FlagMatch = ANY_FLAGS): void {
    const list = typeof groups === 'number' ? [groups] : groups
    if (list.length === 0) return
    const marks = marksOf(list, this.#groups.count)
    this.#drop({ owner: this.#group, marks, first, last, flags }, this.#tagsUnder(list))
  }

  /** Drops everything. */
  dropAll(): void {
    this.#own()
    this.#tag.fill(-1)
    if (this.#isView) return
    this.#sizes = 0
    this.#sizesLg2.length = 0
    this.#widestLg2 = PAGE_LG2
    this.#tagsOf.length = 0
  }

  /** Live entries; for statistics and tests, not for the data path. */
  countLive(): number {
    let live = 0
    for (let slot = 0; slot < this.#tag.length; slot++) if (this.#isLive(slot)) live++
    return live
  }

  /** What a reader of statistics is told. */
  statistics(name: string): CacheStatistics {
    const { hits, misses, evictions } = this
    return { name, entries: this.#geometry.entries, live: this.countLive(), hits, misses, evictions }
  }

  /** @param tags those under which the entries can be; null where there are too many of them */
  #drop(doomed: Doomed, tags: readonly number[] | null): void {
    if (tags !== null && this.#dropFew(doomed, tags)) return
    for (let slot = 0; slot < this.#tag.length; slot++) this.#dropIf(doomed, slot)
  }

  /** Looks only where pages of these tags can be. False, and nothing is done, where that takes longer than looking at all. */
  #dropFew(doomed: Doomed, tags: readonly number[]): boolean {
    if (tags.length === 0) return true
    // Any address of a span drops each of its pieces.
    const from = alignDown(doomed.first, this.#widestLg2 - PAGE_LG2)
    const to = alignDown(doomed.last, this.#widestLg2 - PAGE_LG2) + SPAN_PAGES[this.#widestLg2] - 1
    let leaves = 0
    for (const lg2 of this.#sizesLg2)
      leaves += Math.floor(to / SPAN_PAGES[lg2]) - Math.floor(from / SPAN_PAGES[lg2]) + 1
    if (leaves * tags.length * this.#ways * WAY_COST > this.#tag.length) return false
    for (const leafLg2 of this.#sizesLg2) {
      const lg2 = leafLg2 - PAGE_LG2
      for (let page = alignDown(from, lg2); page <= to; page += SPAN_PAGES[leafLg2]) {
        for (const tag of tags) {
          const set = tag < 0 ? -1 : this.#setOf(tag, page, lg2) * this.#ways
          for (let way = 0; set >= 0 && way < this.#ways; way++) this.#dropIf(doomed, set + way)
        }
      }
    }
    return true
  }

  #dropIf({ owner, marks, first, last, flags: { mask, want, some } }: Doomed, slot: number): void {
    if (this.#tag[slot] < 0 || marks[owner[slot]] !== 1) return
    const flags = this.#flags[slot]
    if ((flags & mask) !== want || (some !== 0 && (flags & some) === 0)) return
    const pages = SPAN_PAGES[this.#spanLg2[slot]]
    const page = this.#page[slot]
    const start = Math.floor(page / pages) * pages
    if (start <= last && first < start + pages) this.dropSlot(slot)
  }

  /** The tags under which entries of some groups can be, or null for too many. */
  #tagsUnder(groups: readonly number[]): readonly number[] | null {
    const tags: number[] = []
    for (const group of groups) {
      tags.push(...(this.#tagsOf[group] ?? []))
      if (tags.length >= MANY_TAGS) return null
    }
    return tags
  }

  #noteTag(group: number, tag: number): void {
    const known = this.#tagsOf[group]
    if (known === undefined) this.#tagsOf[group] = [tag]
    else if (known.length < MANY_TAGS && !known.includes(tag)) known.push(tag)
  }

  /** What a view drops it drops from a copy. */
  #own(): void {
    if (!this.#isView || this.#isCopy) return
    this.#isCopy = true
    this.#tag = this.#tag.slice()
  }

  #probe(tag: number, first: number, leafLg2: number): number {
    const from = this.#setOf(tag, first, leafLg2 - PAGE_LG2) * this.#ways
    for (let slot = from; slot < from + this.#ways; slot++) {
      if (
        this.#page[slot] === first &&
        this.#tag[slot] === tag &&
        this.#leafLg2[slot] === leafLg2 &&
        this.#tagStamp[slot] === this.#tags.stampOf(tag) &&
        this.#groupStamp[slot] === this.#groups.stampOf(this.#group[slot])
      ) {
        return slot
      }
    }
    return MISS
  }

  #isLive(slot: number): boolean {
    const tag = this.#tag[slot]
    if (tag < 0 || this.#tagStamp[slot] !== this.#tags.stampOf(tag)) return false
    return this.#groupStamp[slot] === this.#groups.stampOf(this.#group[slot])
  }

  /** A dead way of the set if there is one, else the next in turn. */
  #victim(set: number): number {
    const from = set * this.#ways
    for (let slot = from; slot < from + this.#ways; slot++) if (!this.#isLive(slot)) return slot
    this.evictions++
    if (this.#chance !== null) return from + this.#chance.below(this.#ways)
    const turn = this.#turn[set]
    this.#turn[set] = (turn + 1) & (this.#ways - 1)
    return from + turn
  }

  #setOf(tag: number, first: number, lg2: number): number {
    const number = first / SPAN_PAGES[lg2 + PAGE_LG2]
    const mixed = Math.imul((number | 0) ^ Math.imul(tag + 1, 0x9e3779b1), 0x85ebca6b) ^ Math.floor(number / 4294967296)
    return (mixed ^ (mixed >>> 15)) & this.#setMask
  }
}

/** Exact, since a span is a power of two. */
const alignDown = (page: number, lg2: number): number => {
  const span = SPAN_PAGES[lg2 + PAGE_LG2]
  return Math.floor(page / span) * span
}

/** 1 at each number. */
function marksOf(numbers: readonly number[], count: number): Uint8Array {
  const marks = new Uint8Array(count)
  for (const number of numbers) marks[number] = 1
  return marks
}
