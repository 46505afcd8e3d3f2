/**
 * Writes kernel-owned page tables into emulated memory, for any format with 4 KiB tables of 512 entries. It uses the
 * largest leaf that fits, keeps count of what lives in each table, and takes emptied tables out at once but frees them
 * only when told that no unit can still be walking them.
 */

import { MEMORY, type Memory } from '../../hw-model/memory/index.js'
import { assert, type Protection } from '../core/driver.js'
import { DirtyWalk, type FoundLeaf } from './dirty-walk.js'
import { type EntryEncoder, type EntryWords, LeafKinds } from './entry-encoder.js'
import type { HostRam } from './host-ram.js'
import { ENTRIES, leavesOf, PageTable, SPANS, TABLE_BYTES } from './page-table.js'
import { type Removed, RemovedPages, WITH_TABLES } from './removed-pages.js'

const TWO32 = 2 ** 32
/** Pages of 4 GiB. */
const TWO20 = 2 ** 20
const NO_ENTRIES = new Int32Array(ENTRIES * 2)

/** Pages that follow each other, and the frames that they are mapped to. */
export interface Run {
  readonly page: number
  readonly pages: number
  readonly frame: number
}

/** A tree of tables with one root. Pages and frames are counted in 4 KiB. */
export class TableBuilder {
  /** Physical address of the root table. */
  readonly root: number
  /** Level of the root table. */
  readonly topLevel: number
  readonly #memory: Memory
  readonly #ram: HostRam
  readonly #encoder: EntryEncoder
  readonly #kinds: LeafKinds
  readonly #top: PageTable
  readonly #dirty: DirtyWalk
  /** Tables below the root. */
  #tables = 0
  /** The table of 4 KiB leaves that was met last, by the pages before it in tables: who comes again is often near. */
  #near: PageTable
  #nearIndex = -1
  readonly #words: EntryWords = { lo: 0, hi: 0 }
  #emptied: number[] = []
  readonly #removed = new RemovedPages()

  /** @param rootTables tables that the root concatenates, a power of two; 1 for a plain root */
  constructor(memory: Memory, ram: HostRam, encoder: EntryEncoder, topLevel: number, rootTables = 1) {
    this.#memory = memory
    this.#ram = ram
    this.#encoder = encoder
    this.#kinds = new LeafKinds(encoder)
    this.topLevel = topLevel
    this.root = ram.alloc(TABLE_BYTES * rootTables)
    this.#top = new PageTable(this.root, topLevel, ENTRIES * rootTables)
    this.#near = this.#top
    this.#dirty = new DirtyWalk(memory, encoder, this.#top)
  }

  /** Bytes of all tables, those that wait to be freed included. */
  get tableBytes(): number {
    return this.#top.entries * 8 + (this.#tables + this.#emptied.length) * TABLE_BYTES
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
        if (level === 0) done += this.#storePages(page + done, pages - done, frame + done, protection)
        else {
          this.#storeLarge(page + done, frame + done, level, protection)
          done += SPANS[level]
        }
      }
    } catch (error) {
      this.unmap(page, done)
      this.#prune(page + done)
      throw error
    }
  }

  /**
   * Takes out every leaf of `[page, page + pages)`; leaves never reach over its ends. Tells them in ascending order.
   *
   * @returns good until the next call
   */
  unmap(page: number, pages: number): readonly Removed[] {
    this.#removed.clear()
    const index = page & (ENTRIES - 1)
    const near = this.#nearTo(page)
    // What leaves something in one table of pages needs no look at those above it.
    if (near !== undefined && index + pages <= ENTRIES && near.live > pages) {
      this.#clearLeaves(near, page - index, index, index + pages)
    } else this.#clear(this.#top, 0, page, page + pages)
    return this.#removed.all
  }

  /** Tells the dirty leaves of `[from, to)`; see `DirtyWalk`. */
  collectDirty(from: number, to: number, clears: boolean, found: FoundLeaf): number {
    return this.#dirty.collect(from, to, clears, found)
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
    this.#ram.free(this.root, this.#top.entries * 8)
    this.#ram.freePages(this.#top.addressesBelow(), this.#tables)
    this.#tables = 0
  }

  #leafLevel(page: number, frame: number, pages: number): number {
    if (pages < ENTRIES || ((page | frame) & (ENTRIES - 1)) !== 0) return 0
    let level = Math.min(this.#encoder.topLeafLevel, this.topLevel)
    while (level > 0) {
      const span = SPANS[level]
      if (page % span === 0 && frame % span === 0 && pages >= span) break
      level--
    }
    return level
  }

  /** Writes a leaf that is larger than a page. */
  #storeLarge(page: number, frame: number, level: number, protection: Protection): void {
    const table = this.#tableFor(page, level)
    const flags = this.#kinds.of(level, protection)
    const address = frame * TABLE_BYTES
    this.#put(table.slot(table.indexOf(page)), flags.lo | address, flags.hi | Math.floor(address / TWO32))
    if (flags.isDirty) this.#memory.stamps.touch(table.slot(table.indexOf(page)))
    table.addLeaves(1)
  }

  /**
   * Writes the leaves of a run of pages that are in the table of the first: no larger leaf could begin sooner than where
   * that ends. Answers their number.
   */
  #storePages(page: number, pages: number, frame: number, protection: Protection): number {
    const table = this.#leavesOf(page)
    const flags = this.#kinds.of(0, protection)
    const first = page & (ENTRIES - 1)
    const leaves = Math.min(pages, ENTRIES - first)
    const address = frame * TABLE_BYTES
    const lo = flags.lo | address
    const hi = flags.hi | Math.floor(address / TWO32)
    if (leaves === 1) this.#put(table.slot(first), lo, hi)
    else this.#putAll(table.slot(first), leaves, lo, hi)
    if (flags.isDirty) this.#memory.stamps.touchAll(table.slot(first), leaves)
    table.addLeaves(leaves)
    return leaves
  }

  /** Stores a leaf and those of the pages that follow it, as if one by one. */
  #putAll(slot: number, leaves: number, lo: number, hi: number): void {
    // Where the low half overflows the high one counts on.
    const fitting = Math.min(leaves, TWO20 - (lo >>> 12))
    const status = this.#memory.storeEntries(slot, leavesOf(fitting, lo, hi), fitting * 2)
    assert(status === MEMORY.OK, 'a table stands in host RAM')
    if (fitting < leaves) this.#putAll(slot + fitting * 8, leaves - fitting, lo & 0xfff, hi + 1)
  }

  /** The table that holds, or is to hold, the 4 KiB leaf of a page. */
  #leavesOf(page: number): PageTable {
    const index = Math.floor(page / ENTRIES)
    if (index !== this.#nearIndex) {
      this.#near = this.#tableFor(page, 0)
      this.#nearIndex = index
    }
    return this.#near
  }

  /** The table that holds the 4 KiB leaf of a page, if it has one. */
  #nearTo(page: number): PageTable | undefined {
    const index = Math.floor(page / ENTRIES)
    if (index === this.#nearIndex) return this.#near
    const table = this.#lowest(page)
    if (table.level > 0) return undefined
    this.#near = table
    this.#nearIndex = index
    return table
  }

  /** The table of a level on the way to a page. Those that are not there are made. */
  #tableFor(page: number, level: number): PageTable {
    let table = this.#top
    while (table.level > level) {
      const index = table.indexOf(page)
      table = table.below[index] ?? this.#grow(table, index)
    }
    return table
  }

  /** The lowest table on the way to a page. */
  #lowest(page: number): PageTable {
    let table = this.#top
    while (table.level > 0) {
      const below = table.below[table.indexOf(page)]
      if (below === undefined) break
      table = below
    }
    return table
  }

  #grow(table: PageTable, index: number): PageTable {
    const below = new PageTable(this.#ram.alloc(TABLE_BYTES), table.level - 1, ENTRIES, table)
    table.below[index] = below
    this.#memory.stamps.link(below.address, table.slot(index))
    this.#tables++
    this.#encoder.table(below.address, this.#words)
    this.#put(table.slot(index), this.#words.lo, this.#words.hi)
    table.live++
    return below
  }

  /** Clears the leaves of `[from, to)` below a table whose first page is `first`. */
  #clear(table: PageTable, first: number, from: number, to: number): void {
    const span = SPANS[table.level]
    const start = Math.max(0, Math.floor((from - first) / span))
    const end = Math.min(table.entries, Math.ceil((to - first) / span))
    if (table.level === 0) {
      this.#clearLeaves(table, first, start, end)
      return
    }
    for (let index = start; index < end; index++) {
      const page = first + index * span
      if (table.below[index] !== undefined) this.#clearBelow(table, index, page, from, to)
      else if (this.#isSet(table.slot(index))) {
        this.#put(table.slot(index), 0, 0)
        table.removeLeaves(1)
        this.#removed.note(page, span, table.level)
      }
    }
  }

  /** Clears entries of a table of pages, those that follow each other together. */
  #clearLeaves(table: PageTable, first: number, start: number, end: number): void {
    const isFull = table.live === ENTRIES
    for (let at = start; at < end; ) {
      let next = at
      if (isFull) next = end
      else while (next < end && this.#isSet(table.slot(next))) next++
      if (next > at) {
        const isWhole = next - at === ENTRIES
        const status = isWhole
          ? this.#memory.wipePage(table.slot(at))
          : this.#memory.storeEntries(table.slot(at), NO_ENTRIES, (next - at) * 2)
        assert(status === MEMORY.OK, 'a table stands in host RAM')
        table.removeLeaves(next - at)
        this.#removed.note(first + at, next - at, 0)
      }
      // Nothing is where the run ended.
      at = next + 1
    }
  }

  /** Clears leaves of the table below an entry, and that entry with them if none is left. */
  #clearBelow(table: PageTable, index: number, first: number, from: number, to: number): void {
    const below = table.below[index] as PageTable
    const before = this.#removed.all.length
    const pagesBefore = this.#removed.lastPages
    this.#clear(below, first, from, to)
    if (!this.#takeOutIfEmpty(table, index)) return
    this.#removed.backTo(before, pagesBefore)
    const start = Math.max(from, first)
    this.#removed.note(start, Math.min(to, first + SPANS[table.level]) - start, WITH_TABLES)
  }

  /** Takes out the tables that a failed map grew on the way to `page` and left empty. */
  #prune(page: number): void {
    const path: PageTable[] = []
    for (let table: PageTable | undefined = this.#top; table !== undefined && table.level > 0; ) {
      path.push(table)
      table = table.below[table.indexOf(page)]
    }
    for (const table of path.reverse()) {
      const index = table.indexOf(page)
      if (table.below[index] !== undefined) this.#takeOutIfEmpty(table, index)
    }
  }

  #takeOutIfEmpty(table: PageTable, index: number): boolean {
    const below = table.below[index] as PageTable
    if (below.live !== 0) return false
    this.#put(table.slot(index), 0, 0)
    table.below[index] = undefined
    table.live--
    this.#tables--
    this.#emptied.push(below.address)
    if (below === this.#near) this.#nearIndex = -1
    return true
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
