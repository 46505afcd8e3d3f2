/**
 * The IOTLB: found by source-id, with or without PASID, PASID and address; dropped by domain-id, translation type,
 * PASID and address. The two sets of tags are different on purpose: an entry survives the context and PASID entries it
 * came through, and only a flush that names its old domain-id removes it. [VTD 6.2.1 T17 Cache Tagging]
 */

import type { Page } from '../bits/address.js'
import { TagTable } from '../cache/tag-table.js'
import { type CacheGeometry, MISS, TranslationCache } from '../cache/translation-cache.js'
import { ACCESS, NO_PASID } from '../port.js'
import type { DmaConfig } from './dma-config.js'
import { PGTT } from './records.js'

/** What a hit may do, in `cache.flags`. */
export const GRANT = {
  USER_READ: 1,
  USER_WRITE: 2,
  PRIVILEGED_READ: 4,
  PRIVILEGED_WRITE: 8,
  /** Zero-length reads, where they need less than a read. */
  USER_PROBE: 16,
  PRIVILEGED_PROBE: 32,
  /** Dirty flags are set already, or the tables keep none. A write that finds it clear walks again. */
  DIRTY: 64,
  /** The context entry lets translation requests in, and the entry answers them. */
  TRANSLATION: 128,
} as const

/** How far the privileged grants stand above the user's. */
export const PRIVILEGED_SHIFT = { READ_WRITE: 2, PROBE: 1 } as const

/** Grants as bits of ACCESS, for this kind of request. */
export const rightsOf = (grants: number, privileged: boolean): number =>
  (privileged ? grants >>> PRIVILEGED_SHIFT.READ_WRITE : grants) & (ACCESS.READ | ACCESS.WRITE)

/** Requesters, (source-id, PASID), remembered at once. */
const TAG_LIMIT = 8192

/** (DID, PGTT, PASID) remembered at once. */
const GROUP_LIMIT = 8192

/** A cache without entries. */
const NOTHING: CacheGeometry = { entries: 0, ways: 1 }

/** Requesters whose number is found without a look at the table. */
const MEMO_ENTRIES = 1024

const PASID_SPAN = 2 ** 21
const PGTT_SPAN = 8

/** The translation cache with VT-d's tags. */
export class Iotlb {
  readonly cache: TranslationCache
  /** Raised when all groups were forgotten: numbers kept in a DmaConfig are stale. */
  groupEpoch = 0

  readonly #tags: TagTable
  readonly #groups: TagTable
  readonly #onForget: () => void
  /** Groups of each domain-id. */
  readonly #groupsOf = new Map<number, number[]>()
  readonly #memoSid = new Int32Array(MEMO_ENTRIES).fill(-1)
  readonly #memoPasid = new Int32Array(MEMO_ENTRIES)
  readonly #memoTag = new Int32Array(MEMO_ENTRIES)

  readonly #isView: boolean

  /**
   * @param onForget called when requesters' numbers start again, so that what is keyed by them goes too
   * @param shown whose numbers are shown, for `view`
   */
  constructor(geometry: CacheGeometry, onForget: () => void, shown: Iotlb | null = null, keepsEntries = false) {
    this.#onForget = onForget
    this.#isView = shown !== null
    this.#tags = shown === null ? new TagTable(TAG_LIMIT, () => this.#forgetTags()) : shown.#tags
    this.#groups = shown === null ? new TagTable(GROUP_LIMIT, () => this.#forgetGroups()) : shown.#groups
    const entries = keepsEntries ? shown?.cache.view() : undefined
    this.cache = entries ?? new TranslationCache(geometry, this.#tags, this.#groups)
  }

  /** Requesters' numbers, with this moment's entries or none, to look at only. */
  view(keepsEntries: boolean): Iotlb {
    return new Iotlb(NOTHING, () => undefined, this, keepsEntries)
  }

  /** What the entries for a page were made from, each (DID, PGTT, PASID) once; for explanations. */
  sourcesOf(
    tag: number,
    page: Page,
  ): readonly { readonly did: number; readonly pgtt: number; readonly pasid: number }[] {
    const names = tag < 0 ? [] : this.cache.groupsOf(tag, page).map((group) => this.#groups.nameOf(group))
    return names.map((name) => ({
      did: Math.floor(name / (PASID_SPAN * PGTT_SPAN)),
      pgtt: pgttOf(name),
      pasid: name % PASID_SPAN,
    }))
  }

  /** The number of a requester, or -1 where nothing was ever kept for it. */
  tagOf(sid: number, pasid: number): number {
    const memo = (sid ^ (pasid * 0x9d + 0x9d)) & (MEMO_ENTRIES - 1)
    if (this.#memoSid[memo] === sid && this.#memoPasid[memo] === pasid) return this.#memoTag[memo]
    const tag = this.#tags.lookup(tagName(sid, pasid))
    if (tag >= 0) {
      this.#memoSid[memo] = sid
      this.#memoPasid[memo] = pasid
      this.#memoTag[memo] = tag
    }
    return tag
  }

  /** The number of a requester, made now if it is new. */
  internTag(sid: number, pasid: number): number {
    const known = this.tagOf(sid, pasid)
    return known >= 0 || this.#isView ? known : this.#tags.intern(tagName(sid, pasid))
  }

  /** The entry for a page, or MISS. */
  find(tag: number, page: Page): number {
    return tag < 0 ? MISS : this.cache.find(tag, page)
  }

  /** Keeps a translation. */
  fill(tag: number, config: DmaConfig, page: Page, leafLg2: number, address: number, grants: number): void {
    // The configuration may be the unit's own, and its numbers are not a view's to write.
    if (this.#isView) return
    if (config.groupEpoch !== this.groupEpoch) {
      config.group = this.#internGroup(config.did, config.pgtt, config.pasid)
      config.groupEpoch = this.groupEpoch
    }
    this.cache.fill(tag, config.group, page, leafLg2, address, grants, 0)
  }

  /** Drops everything. */
  dropAll(): void {
    this.cache.dropAll()
  }

  /** Drops every entry of a domain-id, whatever its PASID and type. */
  dropDomain(did: number): void {
    const groups = this.#groupsOf.get(did)
    if (groups !== undefined) for (const group of groups) this.#groups.drop(group)
  }

  /** Second-stage and pass-through entries in range; first-stage and nested ones all. [VTD 6.5.2.3 T23] */
  dropDomainPages(did: number, first: Page, last: Page): void {
    const groups = this.#groupsOf.get(did)
    if (groups === undefined) return
    for (const group of groups) {
      if (isFirst(pgttOf(this.#groups.nameOf(group)))) this.#groups.drop(group)
      else this.cache.dropGroupPages(group, first, last)
    }
  }

  /** Every entry of (DID, PASID), whatever its type. [VTD 6.5.2.4 T24] */
  dropPasid(did: number, pasid: number): void {
    for (const pgtt of ALL_TYPES) {
      const group = this.#groups.lookup(groupName(did, pgtt, pasid))
      if (group >= 0) this.#groups.drop(group)
    }
  }

  /** First-stage and nested entries of (DID, PASID) in range. [VTD 6.5.2.4 T24] */
  dropPasidPages(did: number, pasid: number, first: Page, last: Page): void {
    for (const pgtt of FIRST_TYPES) {
      const group = this.#groups.lookup(groupName(did, pgtt, pasid))
      if (group >= 0) this.cache.dropGroupPages(group, first, last)
    }
  }

  #internGroup(did: number, pgtt: number, pasid: number): number {
    const name = groupName(did, pgtt, pasid)
    const known = this.#groups.lookup(name)
    if (known >= 0) return known
    const group = this.#groups.intern(name)
    const siblings = this.#groupsOf.get(did)
    if (siblings === undefined) this.#groupsOf.set(did, [group])
    else siblings.push(group)
    return group
  }

  #forgetTags(): void {
    this.cache.dropAll()
    this.#memoSid.fill(-1)
    this.#onForget()
  }

  #forgetGroups(): void {
    this.cache.dropAll()
    this.#groupsOf.clear()
    this.groupEpoch++
  }
}

const ALL_TYPES = [PGTT.FIRST, PGTT.SECOND, PGTT.NESTED, PGTT.PASS_THROUGH] as const
const FIRST_TYPES = [PGTT.FIRST, PGTT.NESTED] as const

const isFirst = (pgtt: number): boolean => pgtt === PGTT.FIRST || pgtt === PGTT.NESTED

/** A request without PASID is another requester than one with PASID 0. */
const tagName = (sid: number, pasid: number): number => sid * PASID_SPAN + (pasid - NO_PASID)

const groupName = (did: number, pgtt: number, pasid: number): number => (did * PGTT_SPAN + pgtt) * PASID_SPAN + pasid

const pgttOf = (name: number): number => Math.floor(name / PASID_SPAN) % PGTT_SPAN
