/**
 * The cache of host permissions: leaves, found by source-id, PASID and address, dropped by the host permission table's
 * own domain-id, address and level. It has no paging structures, and keeps no page without permission: a unit may have
 * neither. [VTD 6.2.6 HPT Cache, 6.5.2.7 HPT Cache Invalidate Descriptor]
 */

import { type Page, pageOf } from '../bits/address.js'
import { TagTable } from '../cache/tag-table.js'
import { type CacheGeometry, type FlagMatch, MISS, NO_CACHE, TranslationCache } from '../cache/translation-cache.js'
import type { Transaction } from '../port.js'
import { GRANULARITY, HPT_CACHE_INVALIDATE } from './descriptors.js'

/** Requesters and domain-ids that are told apart at once. */
const TAG_LIMIT = 8192
const GROUP_LIMIT = 8192

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
  readonly cache: TranslationCache
  readonly #tags: TagTable
  readonly #groups: TagTable
  readonly #isOn: boolean

  /** @param shown whose numbers are used, and whose entries are shown, for `view` */
  constructor(geometry: CacheGeometry, shown: HptCache | null = null, keepsEntries = false) {
    const restart = (): void => this.cache.dropAll()
    this.#isOn = geometry.entries !== 0
    this.#tags = shown === null ? new TagTable(TAG_LIMIT, restart) : shown.#tags
    this.#groups = shown === null ? new TagTable(GROUP_LIMIT, restart) : shown.#groups
    const entries = keepsEntries ? shown?.cache.view() : undefined
    this.cache = entries ?? new TranslationCache(geometry, this.#tags, this.#groups)
  }

  /** This moment's entries or none, to look at only. */
  view(keepsEntries: boolean): HptCache {
    return new HptCache(NO_CACHE, this, keepsEntries)
  }

  /** What a cached page permits, bits of ACCESS; 0 where nothing is kept. */
  find({ rid, pasid, lo, hi }: Transaction): number {
    const tag = this.#tags.lookup(nameOf(rid, pasid))
    const slot = tag < 0 ? MISS : this.cache.find(tag, pageOf(lo, hi))
    return slot === MISS ? 0 : this.cache.flags[slot] & ACCESS_BITS
  }

  /** Keeps what a page permits. `level` counts from 0, for 4 KiB. */
  fill(did: number, { rid, pasid, lo, hi }: Transaction, leafLg2: number, rights: number, level: number): void {
    if (!this.#isOn) return
    const tag = this.#tags.intern(nameOf(rid, pasid))
    this.cache.fill(tag, this.#groups.intern(did), pageOf(lo, hi), leafLg2, 0, rights | LEVEL[level], 0)
  }

  /** Domain-ids of what is kept for a page. */
  sourcesOf({ rid, pasid, lo, hi }: Transaction): readonly number[] {
    const tag = this.#tags.lookup(nameOf(rid, pasid))
    return tag < 0 ? [] : this.cache.groupsOf(tag, pageOf(lo, hi)).map((group) => this.#groups.nameOf(group))
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
    const pages = 2 ** AM.get(words, 0)
    const page = pageOf(ADDR.lo(words, 0), ADDR.hi(words, 0)) % 2 ** (hawBits - 12)
    const first = page - (page % pages)
    if (group >= 0) this.cache.dropGroupPages(group, first as Page, (first + pages - 1) as Page, match)
    return true
  }
}

const ACCESS_BITS = 3

/** A request without PASID is another requester than one with PASID 0. */
const nameOf = (rid: number, pasid: number): number => rid * PASID_SPAN + (pasid + 1)
