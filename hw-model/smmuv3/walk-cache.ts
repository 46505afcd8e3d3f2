/**
 * Table entries of one stage: a walk starts below the lowest one that is kept for its address. An entry is found as the
 * translations are, by their tag and the address, with the level that it was read at; it says where the next table is
 * and what the levels above have left of the rights. A table entry has no nG, so that its ASID always counts.
 * [SMMU 3.21.1 Translation tables and TLB invalidation completion behavior] [Arm D8.17]
 */

import { pageHigh, pageLow, pageOf, TWO32 } from '../bits/address.js'
import { MISS, type TranslationCache } from '../cache/translation-cache.js'
import { indexAt, type TableKeeper, topIndexAt, type Walker } from '../walk/walker.js'
import { RIGHT } from './rights.js'
import { geometryFlags } from './tlb-flags.js'

/** Tables as a CD or an STE describes them. */
interface Tables {
  readonly tableLo: number
  readonly tableHi: number
  /** The walker's level of the root. */
  readonly top: number
  readonly granuleLg2: number
  readonly inputBits: number
}

/** The table entries of one stage, and where the present walk of that stage starts. */
export class WalkCache implements TableKeeper {
  /** First table of the walk, its level, the index into it, and the rights that are left above it. */
  tableLo = 0
  tableHi = 0
  top = 0
  index = 0
  rights = 0

  readonly #cache: TranslationCache
  #tag = 0
  #group = 0
  #lo = 0
  #hi = 0
  #granuleLg2 = 0

  constructor(cache: TranslationCache) {
    this.#cache = cache
  }

  /** Settles where the walk of an address starts; what it then meets is kept under the same tag. */
  begin(tag: number, group: number, tables: Tables, lo: number, hi: number): void {
    const { granuleLg2, top } = tables
    this.#tag = tag
    this.#group = group
    this.#lo = lo
    this.#hi = hi
    this.#granuleLg2 = granuleLg2
    if (this.#cache.isOn && this.#resume(granuleLg2, top)) return
    this.tableLo = tables.tableLo
    this.tableHi = tables.tableHi
    this.top = top
    this.index = topIndexAt(lo, hi, granuleLg2 + (granuleLg2 - 3) * top, tables.inputBits)
    this.rights = RIGHT.ALL
  }

  /** The lowest table that is known, if there is any. */
  #resume(granuleLg2: number, top: number): boolean {
    const cache = this.#cache
    const stride = granuleLg2 - 3
    const page = pageOf(this.#lo, this.#hi)
    for (let level = 1; level <= top; level++) {
      const spanLg2 = granuleLg2 + stride * level
      const slot = cache.findSize(this.#tag, page, spanLg2)
      if (slot === MISS) continue
      cache.hits++
      const table = cache.addressOf(slot)
      this.tableLo = table | 0
      this.tableHi = (table / TWO32) | 0
      this.top = level - 1
      this.index = indexAt(this.#lo, this.#hi, spanLg2 - stride, stride)
      this.rights = cache.extraOf(slot)
      return true
    }
    cache.misses++
    return false
  }

  keepTable({ leafLg2, level, addressLo, addressHi, rights }: Walker): void {
    const flags = geometryFlags(this.#granuleLg2, level)
    const lo = pageLow(this.#lo, this.#hi)
    const hi = pageHigh(this.#hi)
    this.#cache.fillAt(this.#tag, this.#group, lo, hi, leafLg2, addressLo, addressHi, flags, rights, 0, leafLg2)
  }
}
