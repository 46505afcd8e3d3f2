/**
 * Writes kernel-owned page tables into emulated memory, for any format with 4 KiB tables of 512 entries. It uses the
 * largest leaf that fits, keeps count of what lives in each table, and takes emptied tables out at once but frees them
 * only when told that no unit can still be walking them.
 */

import { MEMORY, type Memory } from '../../hw-model/memory/index.js'
import { assert, type Protection } from '../core/driver.js'
import type { HostRam } from './host-ram.js'

/** One entry as two 32-bit halves. */
export interface EntryWords {
  lo: number
  hi: number
}

/** How a format spells its entries. Level 0 holds 4 KiB leaves, level 1 2 MiB, level 2 1 GiB. */
export interface EntryEncoder {
  /** Fills `out` with a pointer to the table at `address`. */
  table(address: number, out: EntryWords): void
  /** Fills `out` with a leaf. The address stands in it as it is, so that the next page's leaf is 4096 more. */
  leaf(address: number, level: number, protection: Protection, out: EntryWords): void
  /** Highest level that may hold a leaf. */
  readonly topLeafLevel: number
  /** How a leaf says that it was written through; absent where hardware keeps no log of that in them. */
  readonly dirty?: DirtyMark
}

/** Where leaves keep that they were written through. */
export interface DirtyMark {
  has(leaf: Readonly<EntryWords>): boolean
  /** Makes a dirty leaf clean: writable, and marked again by the next write. */
  remove(leaf: EntryWords): void
}

const TABLE_BYTES = 4096
const ENTRIES = 512
const NO_ENTRIES = new Int32Array(ENTRIES * 2)
/** Entries that are about to be stored together. */
const scratch = new Int32Array(ENTRIES * 2)

/** Leaves that one call of `collectDirty` looks at, but for the last table: far below a millisecond. */
const COLLECT_LEAVES = 8192
/** What a table that nobody wrote through counts among them. */
const CLEAN_TABLE_LEAVES = 8

/** Pages that follow each other, and the frames that they are mapped to. */
export interface Run {
  readonly page: number
  readonly pages: number
  readonly frame: number
}

/** Called for the pages that a leaf maps, and its level. */
type FoundLeaf = (page: number, pages: number, level: number) => void

/** What `unmap` took out: leaves of one size, or everything below tables that went, too. */
export interface Removed {
  readonly page: number
  pages: number
  /** Level of the leaves; `WITH_TABLES` where table entries are gone, whatever was below. */
  readonly level: number
}

/** Level of what was removed with its tables. */
export const WITH_TABLES = -1

/** A tree of tables with one root. Pages and frames are counted in 4 KiB. */
export class TableBuilder {
  /** Physical address of the root table. */
  readonly root: number
  /** Level of the root table. */
  readonly topLevel: number
  readonly #memory: Memory
  readonly #ram: HostRam
  readonly #encoder: EntryEncoder
  readonly #rootBytes: number
  /** Live entries of every table, by its address. */
  #live = new Map<number, number>()
  /** The table below each table entry, by the entry's address. */
  #below = new Map<number, number>()
  readonly #words: EntryWords = { lo: 0, hi: 0 }
  #emptied: number[] = []
  #removed: Removed[] = []

  /** @param rootTables tables that the root concatenates, a power of two; 1 for a plain root */
  constructor(memory: Memory, ram: HostRam, encoder: EntryEncoder, topLevel: number, rootTables = 1) {
    this.#memory = memory
    this.#ram = ram
    this.#encoder = encoder
    this.topLevel = topLevel
    this.#rootBytes = TABLE_BYTES * rootTables
    this.root = ram.alloc(this.#rootBytes)
    this.#live.set(this.root, 0)
  }

  /** Bytes of all tables, those that wait to be freed included. */
  get tableBytes(): number {
    return this.#rootBytes + (this.#live.size - 1 + this.#emptied.length) * TABLE_BYTES
  }

  /** Whether tables were taken out since the last release; then their walk-cache entries must be flushed too. */
  get hasEmptied(): boolean {
    return this.#emptied.length > 0
  }

  /**
   * Maps pages to consecutive frames. All or, when memory runs out (ENOMEM), none.
   *
   * @param inPages no leaf is larger than a page
   */
  map({ page, pages, frame }: Run, protection: Protection, inPages = false): void {
    let done = 0
    try {
      while (done < pages) {
        const level = inPages ? 0 : this.#leafLevel(page + done, frame + done, pages - done)
        const run = { page: page + done, pages: pages - done, frame: frame + done }
        done += this.#store(run, level, protection) * ENTRIES ** level
      }
    } catch (error) {
      this.unmap(page, done)
      this.#prune(page + done)
      throw error
    }
  }

  /** Takes out every leaf of `[page, page + pages)`; leaves never reach over its ends. Tells them in ascending order. */
  unmap(page: number, pages: number): readonly Removed[] {
    this.#removed = []
    this.#clear(this.root, this.topLevel, 0, page, page + pages)
    return this.#removed
  }

  /**
   * Tells the dirty leaves of `[from, to)`, in ascending order, each as the pages that it maps there. Tables that neither
   * hardware nor a new mapping wrote a mark into are not read. A hole ends the walk.
   *
   * @param found called for a dirty leaf; it is clean already if `clears`
   * @returns the page to go on with, or -1 at the end
   */
  collectDirty(from: number, to: number, clears: boolean, found: FoundLeaf): number {
    let page = from
    for (let left = COLLECT_LEAVES; page < to; ) {
      if (left <= 0) return page
      const { table, level, first } = this.#lowest(page)
      const last = Math.min(to, first + (table === this.root ? this.#rootBytes / 8 : ENTRIES) * ENTRIES ** level)
      // Above level 0 a table of leaves may hold others, too, so it is always read.
      if (level === 0 && !this.#memory.stamps.has(table) && this.#live.get(table) === ENTRIES) {
        page = last
        left -= CLEAN_TABLE_LEAVES
        continue
      }
      const next = this.#collect({ table, level, first, clears }, page, last, found)
      if (next < 0) return -1
      left -= Math.ceil((next - page) / ENTRIES ** level)
      page = next
    }
    return -1
  }

  /** Frees emptied tables; call it when every unit has forgotten them. */
  releaseFreed(): void {
    if (this.#emptied.length === 0) return
    this.#ram.freePages(this.#emptied, this.#emptied.length)
    this.#emptied = []
  }

  /** Frees every table. Nothing may point to the root any more. */
  destroy(): void {
    this.releaseFreed()
    this.#live.delete(this.root)
    this.#ram.free(this.root, this.#rootBytes)
    this.#ram.freePages(this.#live.keys(), this.#live.size)
    this.#live = new Map()
    this.#below = new Map()
  }

  #leafLevel(page: number, frame: number, pages: number): number {
    let level = Math.min(this.#encoder.topLeafLevel, this.topLevel)
    while (level > 0) {
      const span = ENTRIES ** level
      if (page % span === 0 && frame % span === 0 && pages >= span) break
      level--
    }
    return level
  }

  /** Writes the first leaf of a run; at level 0 all of them that are in one table. Answers their number. */
  #store({ page, pages, frame }: Run, leafLevel: number, protection: Protection): number {
    let table = this.root
    for (let level = this.topLevel; level > leafLevel; level--) {
      const slot = this.#slot(table, level, page)
      table = this.#below.get(slot) ?? this.#grow(table, slot)
    }
    this.#encoder.leaf(frame * TABLE_BYTES, leafLevel, protection, this.#words)
    const leaves = leafLevel > 0 ? 1 : this.#leavesFrom(page, pages)
    this.#putAll(this.#slot(table, leafLevel, page), leaves)
    if (this.#encoder.dirty?.has(this.#words) === true) this.#memory.stamps.touch(table)
    this.#count(table, leaves)
    return leaves
  }

  /**
   * How many leaves of a run of pages go into the table of the first, before a larger leaf could begin: that is no sooner
   * than where the table ends.
   */
  #leavesFrom(page: number, pages: number): number {
    return Math.min(pages, ENTRIES - (page % ENTRIES))
  }

  /** Stores the leaf in `#words` and those of the pages that follow it, as if one by one. */
  #putAll(slot: number, leaves: number): void {
    let { lo, hi } = this.#words
    for (let at = 0; at < leaves * 2; at += 2) {
      scratch[at] = lo
      scratch[at + 1] = hi
      lo = (lo + TABLE_BYTES) | 0
      if ((lo & -TABLE_BYTES) === 0) hi++
    }
    const status = this.#memory.storeEntries(slot, scratch, leaves * 2)
    assert(status === MEMORY.OK, 'a table stands in host RAM')
  }

  /** The lowest table on the way to a page, its level and its first page. */
  #lowest(page: number): { readonly table: number; readonly level: number; readonly first: number } {
    let table = this.root
    let level = this.topLevel
    for (; level > 0; level--) {
      const below = this.#below.get(this.#slot(table, level, page))
      if (below === undefined) break
      table = below
    }
    const reach = ENTRIES ** (level + 1)
    return { table, level, first: table === this.root ? 0 : page - (page % reach) }
  }

  /** Leaves of one table from `page` on, up to `to` or another table; -1 at a hole. */
  #collect(
    { table, level, first, clears }: { table: number; level: number; first: number; clears: boolean },
    page: number,
    to: number,
    found: FoundLeaf,
  ): number {
    const span = ENTRIES ** level
    const { dirty } = this.#encoder
    const words = this.#words
    const isWhole = level === 0 && page === first && to === first + ENTRIES
    // Before the leaves are read: what is written behind the eye leaves a stamp for the next look.
    if (isWhole) this.#memory.stamps.remove(table)
    let at = page
    let hasDirty = false
    try {
      while (at < to) {
        const slot = this.#slot(table, level, at)
        if (this.#below.has(slot)) return at
        if (!this.#isSet(slot)) return -1
        words.lo = this.#memory.lo
        words.hi = this.#memory.hi
        const next = Math.min(to, at - (at % span) + span)
        if (dirty?.has(words) === true) {
          hasDirty = true
          if (clears) {
            dirty.remove(words)
            this.#put(slot, words.lo, words.hi)
          }
          found(at, next - at, level)
        }
        at = next
      }
      return at
    } finally {
      const isClean = at === to && (clears || !hasDirty)
      if (isWhole && !isClean) this.#memory.stamps.touch(table)
    }
  }

  #grow(table: number, slot: number): number {
    const below = this.#ram.alloc(TABLE_BYTES)
    this.#live.set(below, 0)
    this.#below.set(slot, below)
    this.#encoder.table(below, this.#words)
    this.#put(slot, this.#words.lo, this.#words.hi)
    this.#count(table, 1)
    return below
  }

  /** Clears the leaves of `[from, to)` below a table whose first page is `first`. */
  #clear(table: number, level: number, first: number, from: number, to: number): void {
    const span = ENTRIES ** level
    const start = Math.max(0, Math.floor((from - first) / span))
    const last = Math.ceil((to - first) / span) - 1
    const entries = table === this.root ? this.#rootBytes / 8 : ENTRIES
    if (level === 0 && this.#live.get(table) === ENTRIES) {
      const end = Math.min(last + 1, ENTRIES)
      this.#clearFull(table, start, end)
      this.#noteRemoved(first + start, end - start, 0)
      return
    }
    for (let index = start; index <= last && index < entries; index++) {
      const slot = table + index * 8
      const below = this.#below.get(slot)
      const page = first + index * span
      if (below !== undefined) this.#clearBelow({ table, slot, below }, level, page, from, to)
      else if (this.#isSet(slot)) {
        this.#put(slot, 0, 0)
        this.#count(table, -1)
        this.#noteRemoved(page, span, level)
      }
    }
  }

  /** Clears leaves of the table below an entry, and that entry with them if none is left. */
  #clearBelow(
    { table, slot, below }: { table: number; slot: number; below: number },
    level: number,
    first: number,
    from: number,
    to: number,
  ): void {
    const before = this.#removed.length
    const pagesBefore = this.#removed.at(-1)?.pages
    this.#clear(below, level - 1, first, from, to)
    if (!this.#takeOutIfEmpty(table, slot, below)) return
    this.#removed.length = before
    if (pagesBefore !== undefined) (this.#removed[before - 1] as Removed).pages = pagesBefore
    const start = Math.max(from, first)
    this.#noteRemoved(start, Math.min(to, first + ENTRIES ** level) - start, WITH_TABLES)
  }

  #noteRemoved(page: number, pages: number, level: number): void {
    const before = this.#removed.at(-1)
    if (before?.level === level && before.page + before.pages === page) before.pages += pages
    else this.#removed.push({ page, pages, level })
  }

  /** Clears leaves of a table that has no empty entry. */
  #clearFull(table: number, start: number, end: number): void {
    const status = this.#memory.storeEntries(table + start * 8, NO_ENTRIES, (end - start) * 2)
    assert(status === MEMORY.OK, 'a table stands in host RAM')
    this.#count(table, start - end)
  }

  /** Takes out the tables that a failed map grew on the way to `page` and left empty. */
  #prune(page: number): void {
    const path: { table: number; slot: number; below: number }[] = []
    let table = this.root
    for (let level = this.topLevel; level > 0; level--) {
      const slot = this.#slot(table, level, page)
      const below = this.#below.get(slot)
      if (below === undefined) break
      path.push({ table, slot, below })
      table = below
    }
    for (const step of path.reverse()) this.#takeOutIfEmpty(step.table, step.slot, step.below)
  }

  #takeOutIfEmpty(table: number, slot: number, below: number): boolean {
    if (this.#live.get(below) !== 0) return false
    this.#put(slot, 0, 0)
    this.#below.delete(slot)
    this.#live.delete(below)
    this.#emptied.push(below)
    this.#count(table, -1)
    return true
  }

  #slot(table: number, level: number, page: number): number {
    const index = Math.floor(page / ENTRIES ** level)
    return table + (table === this.root ? index : index % ENTRIES) * 8
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

  #count(table: number, by: number): void {
    const live = (this.#live.get(table) ?? 0) + by
    assert(live >= 0, 'entries are counted up before down')
    this.#live.set(table, live)
  }
}
