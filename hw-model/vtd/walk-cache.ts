/**
 * Where the walk of one stage starts: at the root, or below the lowest table entry that is kept for its address; and
 * what it keeps on its way. An entry says where the next table is and what the levels above have left of the rights. In
 * a nested walk it says both where the guest thinks that table is and where it really is.
 * [VTD 6.2.5.1 to 6.2.5.5, 6.2.7 Translating Address Using Caches in Legacy Mode]
 */

import { downLow, type Page, pageHigh, pageLow, pageOf, TWO32 } from '../bits/address.js'
import { MISS, type TranslationCache } from '../cache/translation-cache.js'
import { WALK } from '../walk/format.js'
import { indexAt, type TableKeeper, type Walker } from '../walk/walker.js'
import { CARRIED_RIGHTS, RIGHT } from './formats.js'

const TABLE_LG2 = 12
const STRIDE = 9

/** What is kept of the rights; the rest of them belongs to the request. */
const KEPT = RIGHT.READ | RIGHT.WRITE | RIGHT.USER

/** Above the rights, in an entry's flags: the second stage lets this table be written, and its page is dirty already. */
const IS_WRITABLE = 1 << 8

/** How a walk ended at this entry, where caching mode keeps that; 0 for a table. */
const END_SHIFT = 12

/** Sees what is found in a cache. */
export interface WalkCacheTrace {
  /** A walk starts below a kept entry, which covers an address of its stage. */
  foundTable(slot: number, page: Page): void
}

/** The table entries of one stage, and where the present walk of that stage starts. */
export class WalkCache implements TableKeeper {
  /** First table of the walk, its level, the index into it, and the rights that are left above it. */
  tableLo = 0
  tableHi = 0
  top = 0
  index = 0
  rights = 0
  /** Not OK: the walk is known to end here, at level `top`. One of WALK. */
  end: number = WALK.OK
  /** The table that a nested walk starts with, as the guest names it and where it is; -1 where that is to be translated. */
  guest = -1
  host = 0
  isWritable = false
  /** Shows every entry that is found. */
  found: WalkCacheTrace | null = null

  readonly #cache: TranslationCache
  #tag = MISS
  #group = 0
  #lo = 0
  #hi = 0
  #isNested = false
  /** The entry to be kept once its table's address is translated: its span, or 0. */
  #spanLg2 = 0
  #addressLo = 0
  #addressHi = 0
  #flags = 0

  constructor(cache: TranslationCache) {
    this.#cache = cache
  }

  /** Settles where the walk of an address starts; what it then meets is kept under the same tag. */
  begin(
    tag: number,
    group: number,
    tableLo: number,
    tableHi: number,
    top: number,
    lo: number,
    hi: number,
    rights: number,
  ): void {
    this.#tag = tag
    this.#group = group
    this.#lo = lo
    this.#hi = hi
    this.#isNested = false
    this.#spanLg2 = 0
    this.guest = -1
    this.end = WALK.OK
    if (this.#cache.isOn && this.#resume(top, rights)) return
    this.tableLo = tableLo
    this.tableHi = tableHi
    this.top = top
    this.index = indexAt(lo, hi, TABLE_LG2 + STRIDE * top, STRIDE)
    this.rights = rights
  }

  /** The tables of the walk that begins are a guest's, who knows not where they are. */
  nest(): void {
    this.#isNested = true
  }

  /** The lowest entry that is known, if there is any. */
  #resume(top: number, rights: number): boolean {
    const cache = this.#cache
    const page = pageOf(this.#lo, this.#hi)
    for (let level = 1; level <= top; level++) {
      const spanLg2 = TABLE_LG2 + STRIDE * level
      const slot = cache.findSize(this.#tag, page, spanLg2)
      if (slot === MISS) continue
      cache.hits++
      this.#start(slot, level, rights)
      if (this.found !== null) this.found.foundTable(slot, page)
      return true
    }
    cache.misses++
    return false
  }

  #start(slot: number, level: number, rights: number): void {
    const cache = this.#cache
    const flags = cache.flagsOf(slot)
    this.end = flags >>> END_SHIFT
    this.top = this.end === WALK.OK ? level - 1 : level
    const table = cache.addressOf(slot)
    this.tableLo = table | 0
    this.tableHi = (table / TWO32) | 0
    this.index = indexAt(this.#lo, this.#hi, TABLE_LG2 + STRIDE * this.top, STRIDE)
    this.rights = rights & ((flags & KEPT) | CARRIED_RIGHTS)
    this.guest = table
    this.host = cache.extraOf(slot)
    this.isWritable = (flags & IS_WRITABLE) !== 0
  }

  /** Of a nested walk an entry is kept only when its table's address has a translation. [VTD 6.2.5.1 PML5-cache] */
  keepTable({ leafLg2, addressLo, addressHi, rights }: Walker): void {
    const flags = rights & KEPT
    if (this.#isNested) {
      this.#spanLg2 = leafLg2
      this.#addressLo = addressLo
      this.#addressHi = addressHi
      this.#flags = flags
    } else this.#fill(leafLg2, addressLo, addressHi, flags | IS_WRITABLE, addressLo, addressHi)
  }

  /** The first entry of the table that was met last is really there, and the second stage may let it be written. */
  settle(lo: number, hi: number, isWritable: boolean): void {
    if (this.#spanLg2 === 0) return
    const flags = isWritable ? this.#flags | IS_WRITABLE : this.#flags
    this.#fill(this.#spanLg2, this.#addressLo, this.#addressHi, flags, downLow(lo, TABLE_LG2), hi)
    this.#spanLg2 = 0
  }

  /** A walk ended at an entry above the leaves' own level. [VTD 6.1 Caching Mode] */
  keepEnd({ level, leafLg2 }: Walker, end: number): void {
    if (level > 0) this.#fill(leafLg2, 0, 0, end << END_SHIFT, 0, 0)
  }

  #fill(spanLg2: number, low: number, high: number, flags: number, hostLow: number, hostHigh: number): void {
    const lo = pageLow(this.#lo, this.#hi)
    const hi = pageHigh(this.#hi)
    this.#cache.fillAt(this.#tag, this.#group, lo, hi, spanLg2, low, high, flags, hostLow, hostHigh, spanLg2)
  }
}
