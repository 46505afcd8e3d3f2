/**
 * The cache of host permissions: leaves, found by source-id, PASID and address, dropped by the host permission table's
 * own domain-id, address and level. It has no paging structures, and keeps no page without permission: a unit may have
 * neither. [VTD 6.2.6 HPT Cache, 6.5.2.7 HPT Cache Invalidate Descriptor]
 */

import { type Page, pageOf } from '../bits/address.js'
import { type CacheGeometry, type FlagMatch, NO_CACHE } from '../cache/geometry.js'
import { TagTable } from '../cache/tag-table.js'
import { MISS, TranslationCache } from '../cache/translation-cache.js'
import type { Transaction } from '../port.js'
import { GRANULARITY, HPT_CACHE_INVALIDATE } from './descriptors.js'

const PASID_SPAN = 2 ** 21

/** What an entry's flags hold besides bits of ACCESS: the level that it was made from. */
const LEVEL = [0x4, 0x8, 0x10] as const

/** The last page of all. */
const LAST_PAGE = (2 ** 52 - 1) as Page

/** Levels that IH reaches: the pages, those and 2 MiB, those and 1 GiB, and tables, which are not kept. */
const REACHED = [LEVEL[0], LEVEL[0] | LEVEL[1], LEVEL[0] | LEVEL[1] | LEVEL[2], LEVEL[0] | LEVEL[1] | LEVEL[2]] as const

/** Which entries go, by IH. */
const MATCHES: readonly FlagMatch[] = REACHED.map((some) => ({ mask: 0, want: 0, some }))

/** The permissions of one unit. */
export class HptCache {
  cache: TranslationCache
  readonly #tags: TagTable
  readonly #groups: TagTable
  #isOn: boolean

  /**
   * @param names requesters, and domain-ids, told apart at once
   * @param shown whose numbers are used, and whose entries are shown, for `view`
   */
  constructor(geometry: CacheGeometry, names: number, shown: HptCache | null = null) {
    const restart = (): void => this.cache.dropAll()
    this.#isOn = geometry.entries !== 0
    this.#tags = shown === null ? new TagTable(names, restart) : shown.#tags
    this.#groups = shown === null ? new TagTable(names, restart) : shown.#groups
    this.cache = shown?.cache.view() ?? new TranslationCache(geometry, this.#tags, this.#groups, { extras: false })
  }

  /** A new cache, empty. Numbers of requesters and domains stay what they are. */
  replan(geometry: CacheGeometry): void {
    this.#isOn = geometry.entries !== 0
    this.cache = new TranslationCache(geometry, this.#tags, this.#groups, { extras: false })
  }

  /** This moment's entries: nothing can be kept there, and what is dropped there stays here. */
  view(): HptCache {
    return new HptCache(NO_CACHE, 0, this)
  }

  /** The entry of a page, or MISS. */
  find({ rid, pasid, lo, hi }: Transaction): number {
    const tag = this.#tags.lookup(nameOf(rid, pasid))
    return tag < 0 ? MISS : this.cache.find(tag, pageOf(lo, hi))
  }

  /** What an entry permits, bits of ACCESS. */
  rightsOf(slot: number): number {
    return this.cache.flagsOf(slot) & ACCESS_BITS
  }

  /** The domain-id of an entry, and the level that it was made from. */
  sourceOf(slot: number): { readonly did: number; readonly level: number } {
    const level = LEVEL.findIndex((bit) => (this.cache.flagsOf(slot) & bit) !== 0)
    return { did: this.#groups.nameOf(this.cache.groupOf(slot)), level }
  }

  /** Keeps what a page permits. `level` counts from 0, for 4 KiB. */
  fill(did: number, { rid, pasid, lo, hi }: Transaction, leafLg2: number, rights: number, level: number): void {
    if (!this.#isOn) return
    const tag = this.#tags.intern(nameOf(rid, pasid))
    this.cache.fill(tag, this.#groups.intern(did), pageOf(lo, hi), leafLg2, 0, rights | LEVEL[level], 0)
  }

  /** Drops everything. */
  dropAll(): void {
    this.cache.dropAll()
  }

  /**
   * Obeys a descriptor. Any AM is legal: it may name a page of any size.
   *
   * @param hawBits address bits above the host width are ignored
   * @returns false for a granularity that does not exist
   */
  invalidate(words: Int32Array, didMask: number, hawBits: number): boolean {
    const { G, HPTDID, AM, IH, ADDR } = HPT_CACHE_INVALIDATE
    const granularity = G.get(words, 0)
    if (granularity === GRANULARITY.GLOBAL) {
      this.dropAll()
      return true
    }
    const group = this.#groups.lookup(HPTDID.get(words, 0) & didMask)
    const match = MATCHES[IH.get(words, 0)]
    if (granularity === GRANULARITY.DOMAIN) {
      if (group >= 0) this.cache.dropGroupPages(group, 0 as Page, LAST_PAGE, match)
      return true
    }
    if (granularity !== GRANULARITY.SELECTIVE) return false
    const page = pageOf(ADDR.lo(words, 0), ADDR.hi(words, 0)) % 2 ** (hawBits - 12)
    this.dropPages(HPTDID.get(words, 0) & didMask, page, 2 ** AM.get(words, 0), IH.get(words, 0))
    return true
  }

  /** Drops what was made from entries of a level or below it, for an aligned range of pages. */
  dropPages(did: number, page: number, pages: number, level: number): void {
    const group = this.#groups.lookup(did)
    const first = page - (page % pages)
    if (group >= 0) this.cache.dropGroupPages(group, first as Page, (first + pages - 1) as Page, MATCHES[level])
  }
}

const ACCESS_BITS = 3

/** A request without PASID is another requester than one with PASID 0. */
const nameOf = (rid: number, pasid: number): number => rid * PASID_SPAN + (pasid + 1)
