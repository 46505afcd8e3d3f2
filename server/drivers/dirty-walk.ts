/**
 * The log of writes that hardware keeps in the leaves of a tree of tables. It is read by the stamps that flags leave: what
 * nobody wrote through is passed by from the root, so a look costs by what was written, not by what is mapped.
 */

import { MEMORY, type Memory } from '../../hw-model/memory/index.js'
import { assert } from '../core/driver.js'
import type { EntryEncoder, EntryWords } from './entry-encoder.js'
import { ENTRIES, type PageTable, SPANS } from './page-table.js'

/** Leaves that one call of `collect` looks at, but for the last table: far below a millisecond. */
const COLLECT_LEAVES = 8192
/** What passing by entries that nobody wrote through counts among them. */
const PASSING_LEAVES = 4

/** Called for the pages that a leaf maps, and its level. */
export type FoundLeaf = (page: number, pages: number, level: number) => void

/** Reads the log of one tree. */
export class DirtyWalk {
  readonly #memory: Memory
  readonly #encoder: EntryEncoder
  readonly #top: PageTable
  readonly #words: EntryWords = { lo: 0, hi: 0 }

  constructor(memory: Memory, encoder: EntryEncoder, top: PageTable) {
    this.#memory = memory
    this.#encoder = encoder
    this.#top = top
  }

  /**
   * Tells the dirty leaves of `[from, to)`, in ascending order, each as the pages that it maps there. Entries that neither
   * hardware nor a new mapping wrote a mark into, or below, are not read. A hole ends the walk.
   *
   * @param found called for a dirty leaf; it is clean already if `clears`
   * @returns the page to go on with, or -1 at the end
   */
  collect(from: number, to: number, clears: boolean, found: FoundLeaf): number {
    let page = from
    let before = from
    let table = this.#top
    for (let left = COLLECT_LEAVES; page < to; ) {
      if (left <= 0) return page
      // Up to the lowest table that has the page, then down.
      while (table.above !== undefined && !areTogether(before, page, table.level)) table = table.above
      let next = this.#passBy(table, page, to)
      for (let below = this.#belowAt(table, page); next === page && below !== undefined; ) {
        table = below
        next = this.#passBy(table, page, to)
        below = this.#belowAt(table, page)
      }
      if (next > page) left -= PASSING_LEAVES
      else {
        next = this.#collect(table, page, Math.min(to, lastPageOf(table, page) + 1), clears, found)
        if (next < 0) return -1
        left -= Math.ceil((next - page) / SPANS[table.level])
      }
      before = page
      page = next
    }
    return -1
  }

  #belowAt(table: PageTable, page: number): PageTable | undefined {
    return table.level === 0 ? undefined : table.below[table.indexOf(page)]
  }

  /**
   * Passes by entries of a table, from a page’s on, that have no hole and no stamp. One whose stamp is that of a table
   * without any loses it.
   */
  #passBy(table: PageTable, page: number, to: number): number {
    const { stamps } = this.#memory
    const span = SPANS[table.level]
    const index = table.indexOf(page)
    const slot = table.slot(index)
    // A root of several tables goes on in the next page.
    const inPage = ENTRIES - (index % ENTRIES)
    const clean = (stamps.next(slot, slot + inPage * 8) - slot) / 8
    const start = page - (page % span)
    if (clean > 0) {
      const asked = Math.min(clean, Math.ceil((to - start) / span))
      return Math.min(to, Math.max(page, start + this.#withoutHole(table, index, asked) * span))
    }
    const below = this.#belowAt(table, page)
    if (below === undefined || !below.isFull || stamps.hasPage(below.address)) return page
    stamps.remove(slot)
    return Math.min(to, start + span)
  }

  /** How many of some entries, which are clean, come before one that may have a hole. */
  #withoutHole(table: PageTable, index: number, count: number): number {
    if (table.isFull) return count
    if (table.level === 0) return 0
    for (let at = 0; at < count; at++) {
      const below = table.below[index + at]
      if (below === undefined ? !this.#isSet(table.slot(index + at)) : !below.isFull) return at
    }
    return count
  }

  /** Leaves of one table from `page` on, up to `to`, a table, or one to be passed by; -1 at a hole. */
  #collect(table: PageTable, page: number, to: number, clears: boolean, found: FoundLeaf): number {
    const { stamps } = this.#memory
    const span = SPANS[table.level]
    const { dirty } = this.#encoder
    const words = this.#words
    let at = page
    while (at < to) {
      const index = table.indexOf(at)
      const slot = table.slot(index)
      if (table.below[index] !== undefined) return at
      const isStamped = stamps.has(slot)
      if (!isStamped && table.isFull) return at
      // Before the leaf is read: what is written behind the eye leaves a stamp for the next look.
      if (isStamped) stamps.remove(slot)
      if (!this.#isSet(slot)) return -1
      words.lo = this.#memory.lo
      words.hi = this.#memory.hi
      const next = Math.min(to, at - (at % span) + span)
      if (isStamped && dirty?.has(words) === true) {
        if (clears) {
          dirty.remove(words)
          this.#put(slot, words.lo, words.hi)
        } else stamps.touch(slot)
        found(at, next - at, table.level)
      }
      at = next
    }
    return at
  }

  #isSet(slot: number): boolean {
    const status = this.#memory.loadWord(slot)
    assert(status === MEMORY.OK, 'a table stands in host RAM')
    return this.#memory.lo !== 0 || this.#memory.hi !== 0
  }

  #put(slot: number, lo: number, hi: number): void {
    const status = this.#memory.storeWord(slot, lo, hi)
    assert(status === MEMORY.OK, 'a table stands in host RAM')
  }
}

/** The last page that a table on the way to a page maps. */
function lastPageOf(table: PageTable, page: number): number {
  const pages = table.entries * SPANS[table.level]
  return table.above === undefined ? pages - 1 : page - (page % pages) + pages - 1
}

/** Whether a table of a level that has one of two pages has the other. */
function areTogether(one: number, other: number, level: number): boolean {
  return Math.floor(one / SPANS[level + 1]) === Math.floor(other / SPANS[level + 1])
}
