/**
 * The IOTLB: found by source-id, with or without PASID, PASID and address; dropped by domain-id, translation type,
 * PASID and address. The two sets of tags are different on purpose: an entry survives the context and PASID entries it
 * came through, and only a flush that names its old domain-id removes it. [VTD 6.2.1 T17 Cache Tagging]
 */

import { downHigh, downLow, highHalf, PAGE_LG2, type Page, TWO32 } from '../bits/address.js'
import { REGION } from '../cache/layout.js'
import { TagTable } from '../cache/tag-table.js'
import { MISS, TranslationCache } from '../cache/translation-cache.js'
import { ACCESS, NO_PASID } from '../port.js'
import type { CachePlan } from './cache-options.js'
import type { DmaConfig } from './dma-config.js'
import { PGTT } from './records.js'
import { Requesters } from './requesters.js'

/** What a hit may do, and what else is kept with it, in `cache.flags`. */
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
  /** No grant: FPD of the entries that led here, for what the hit itself refuses. */
  FPD: 256,
  /** No grant: U/S is clear, which is why users have none. */
  SUPERVISOR_ONLY: 512,
  /** No grant: the first stage alone lets it be written. */
  FIRST_WRITE: 1024,
} as const

/** What a request may need, without its dirty flag. */
const NEEDS = 63

/** Of an entry that faulted: what the request needed, and one of REASON, which is 0 for all others. */
const NEED_SHIFT = 11
const REASON_SHIFT = 17

/** Why a kept fault blocks a request with these needs too; 0 for a translation, and for another kind of request. */
export function keptFault(flags: number, needed: number): number {
  return ((flags >>> NEED_SHIFT) & NEEDS) === (needed & NEEDS) ? flags >>> REASON_SHIFT : 0
}

/** Whether an entry holds a fault. */
export const isKeptFault = (flags: number): boolean => flags >>> REASON_SHIFT !== 0

/** How far the privileged grants stand above the user's. */
export const PRIVILEGED_SHIFT = { READ_WRITE: 2, PROBE: 1 } as const

/** Grants as bits of ACCESS, for this kind of request. */
export const rightsOf = (grants: number, privileged: boolean): number =>
  (privileged ? grants >>> PRIVILEGED_SHIFT.READ_WRITE : grants) & (ACCESS.READ | ACCESS.WRITE)

const PAGE_BYTES = 2 ** PAGE_LG2
const LAST_PAGE = (2 ** 52 - 1) as Page
const PASID_BITS = 21
const PASID_SPAN = 2 ** PASID_BITS
const PGTT_SPAN = 8

/** What an entry was made from. */
export interface Source {
  readonly did: number
  readonly pgtt: number
  readonly pasid: number
}

/** The translation cache with VT-d's tags. */
export class Iotlb {
  cache: TranslationCache

  /** Raised when all groups were forgotten: numbers kept in a DmaConfig are stale. */
  #groupEpoch = 0
  readonly #tags: TagTable
  readonly #groups: TagTable
  /** Groups of each domain-id under which something was kept since it was dropped, and a 1 for each of them. */
  readonly #groupsOf: Map<number, number[]>
  /** Those whose number is found without a look at the table. */
  requesters: Requesters
  readonly #isListed: Uint8Array
  readonly #isView: boolean
  #fractions: boolean

  /** @param shown whose entries are shown, for `view` */
  constructor(plan: CachePlan, shown: Iotlb | null = null) {
    this.#isView = shown !== null
    this.#fractions = plan.fractions
    this.#tags = shown === null ? new TagTable(plan.names, () => this.#forgetTags()) : shown.#tags
    this.#groups = shown === null ? new TagTable(plan.names, () => this.#forgetGroups()) : shown.#groups
    this.#groupsOf = shown === null ? new Map() : shown.#groupsOf
    this.#isListed = new Uint8Array(this.#isView ? 0 : plan.names)
    this.cache = shown?.cache.view() ?? new TranslationCache(plan.iotlb, this.#tags, this.#groups, plan)
    this.requesters = requestersOf(plan, this.#isView)
  }

  /** A new cache, empty. Numbers of requesters and groups stay what they are. */
  replan(plan: CachePlan): void {
    this.#fractions = plan.fractions
    this.cache = new TranslationCache(plan.iotlb, this.#tags, this.#groups, plan)
    this.requesters = requestersOf(plan, false)
  }

  /** This moment's entries; what is dropped there stays here. */
  view(plan: CachePlan): Iotlb {
    return new Iotlb(plan, this)
  }

  /** What an entry was made from. */
  sourceOf(slot: number): Source {
    const name = this.#groups.nameOf(this.cache.groupOf(slot))
    return { did: Math.floor(name / (PASID_SPAN * PGTT_SPAN)), pgtt: pgttOf(name), pasid: name % PASID_SPAN }
  }

  /** The number of a requester, or -1 where nothing was ever kept for it. */
  tagOf(sid: number, pasid: number): number {
    return this.#tags.lookupHalves((sid << PASID_BITS) | (pasid - NO_PASID), sid >>> (32 - PASID_BITS))
  }

  /** The number of a requester that has none yet, made now; -1 in a view. */
  internTag(sid: number, pasid: number): number {
    return this.#isView ? -1 : this.#tags.intern(tagName(sid, pasid))
  }

  /** The entry for a page, or MISS. */
  find(tag: number, page: Page): number {
    return tag < 0 ? MISS : this.cache.find(tag, page)
  }

  /**
   * Keeps the translation that a walk ended with, of a page that is part of its leaf.
   *
   * @param guest the guest-physical page between two stages; -1 for none
   */
  fill(
    tag: number,
    config: DmaConfig,
    page: Page,
    leafLg2: number,
    address: number,
    guest: number,
    flags: number,
  ): number {
    const [above, high, guestHi] = [highHalf(page), highHalf(address), highHalf(guest)]
    return this.fillAt(tag, config, page | 0, above, leafLg2, address | 0, high, guest | 0, guestHi, flags)
  }

  /** The same, of halves of page, address and guest-physical page. Answers its slot, or MISS. */
  fillAt(
    tag: number,
    config: DmaConfig,
    lo: number,
    hi: number,
    leafLg2: number,
    addressLo: number,
    addressHi: number,
    guestLo: number,
    guestHi: number,
    flags: number,
  ): number {
    if (!this.#tagConfig(config)) return MISS
    const { cache } = this
    const { group } = config
    const kept = config.fpd === 0 ? flags : flags | GRANT.FPD
    if (this.#fractions && leafLg2 > PAGE_LG2) {
      const page = hi * TWO32 + (lo >>> 0)
      const offset = (page % 2 ** (leafLg2 - PAGE_LG2)) * PAGE_BYTES
      const address = addressHi * TWO32 + (addressLo >>> 0) + offset
      // A translation request is told of whole leaves, so that a fraction answers none.
      return cache.fill(
        tag,
        group,
        page as Page,
        PAGE_LG2,
        address,
        kept & ~GRANT.TRANSLATION,
        guestHi * TWO32 + (guestLo >>> 0),
      )
    }
    const firstLo = guestHi < 0 ? -1 : downLow(guestLo, leafLg2)
    const firstHi = guestHi < 0 ? -1 : downHigh(guestHi, leafLg2)
    return cache.fillAt(tag, group, lo, hi, leafLg2, addressLo, addressHi, kept, firstLo, firstHi, leafLg2)
  }

  /** Keeps a fault, as it would keep the translation, for requests with the same needs. [VTD 6.2.4.1] */
  fillFault(tag: number, config: DmaConfig, page: Page, reason: number, needed: number): void {
    if (!this.#tagConfig(config)) return
    const fault = (reason << REASON_SHIFT) | ((needed & NEEDS) << NEED_SHIFT)
    this.cache.fill(tag, config.group, page, PAGE_LG2, 0, config.fpd === 0 ? fault : fault | GRANT.FPD, -1)
  }

  /** Gives a configuration its number. False in a view: the configuration may be the unit's own. */
  #tagConfig(config: DmaConfig): boolean {
    if (this.#isView) return false
    if (config.groupEpoch !== this.#groupEpoch) {
      config.group = this.#internGroup(config.did, config.pgtt, config.pasid)
      config.groupEpoch = this.#groupEpoch
    }
    if (this.#isListed[config.group] === 0) this.#list(config.did, config.group)
    return true
  }

  /** Drops everything. */
  dropAll(): void {
    this.cache.dropAll()
  }

  /** Drops every entry of a domain-id, whatever its PASID and type. */
  dropDomain(did: number): void {
    this.#dropListed(did, this.#groupsOf.get(did) ?? [], [])
  }

  /** Second-stage and pass-through entries in range; first-stage and nested ones all. [VTD 6.5.2.3 T23] */
  dropDomainPages(did: number, first: Page, last: Page): void {
    const groups = this.#groupsOf.get(did) ?? []
    if (!this.#hasFirst(groups)) {
      for (const group of groups) this.#dropPagesOf(group, first, last)
      return
    }
    const ofFirst = (group: number): boolean => isFirst(pgttOf(this.#groups.nameOf(group)))
    const others = groups.filter((group) => !ofFirst(group))
    this.#dropListed(did, groups.filter(ofFirst), others)
    this.cache.dropGroupPages(others, first, last)
  }

  /** Every entry of (DID, PASID), whatever its type. [VTD 6.5.2.4 T24] */
  dropPasid(did: number, pasid: number): void {
    this.#dropGroups(this.#groupsNamed(did, pasid))
  }

  /** First-stage and nested entries of (DID, PASID) in range. [VTD 6.5.2.4 T24] */
  dropPasidPages(did: number, pasid: number, first: Page, last: Page): void {
    for (let i = 0; i < FIRST_TYPES.length; i++) {
      const group = this.#groups.lookup(groupName(did, FIRST_TYPES[i], pasid))
      if (group >= 0) this.#dropPagesOf(group, first, last)
    }
  }

  #dropPagesOf(group: number, first: Page, last: Page): void {
    const pages = last - first + 1
    if (pages <= REGION) this.cache.dropGroupAt(group, first | 0, highHalf(first), pages)
    else this.cache.dropGroupPages(group, first, last)
  }

  #hasFirst(groups: readonly number[]): boolean {
    for (let i = 0; i < groups.length; i++) if (isFirst(pgttOf(this.#groups.nameOf(groups[i])))) return true
    return false
  }

  #groupsNamed(did: number, pasid: number): readonly number[] {
    return ALL_TYPES.map((pgtt) => this.#groups.lookup(groupName(did, pgtt, pasid))).filter((group) => group >= 0)
  }

  #dropGroups(groups: readonly number[]): void {
    this.cache.dropGroupPages(groups, 0 as Page, LAST_PAGE)
  }

  /** Drops groups of a domain, which has others left. A group costs as much as it cost to be listed. */
  #dropListed(did: number, groups: readonly number[], others: number[]): void {
    this.#dropGroups(groups)
    if (this.#isView) return
    for (const group of groups) this.#isListed[group] = 0
    this.#groupsOf.set(did, others)
  }

  #list(did: number, group: number): void {
    this.#isListed[group] = 1
    const siblings = this.#groupsOf.get(did)
    if (siblings === undefined) this.#groupsOf.set(did, [group])
    else siblings.push(group)
  }

  #internGroup(did: number, pgtt: number, pasid: number): number {
    return this.#groups.intern(groupName(did, pgtt, pasid))
  }

  #forgetTags(): void {
    this.cache.dropAll()
    this.requesters.clear()
  }

  #forgetGroups(): void {
    this.cache.dropAll()
    this.#groupsOf.clear()
    this.#isListed.fill(0)
    this.#groupEpoch++
  }
}

/** A view notes nobody, and without an IOTLB there is nothing to note. */
const requestersOf = ({ iotlb, contextEntries, pasidEntries }: CachePlan, isView: boolean): Requesters =>
  new Requesters(!isView && iotlb.entries > 0, Math.min(contextEntries, pasidEntries) > 0)

const ALL_TYPES = [PGTT.FIRST, PGTT.SECOND, PGTT.NESTED, PGTT.PASS_THROUGH] as const
const FIRST_TYPES = [PGTT.FIRST, PGTT.NESTED] as const

const isFirst = (pgtt: number): boolean => pgtt === PGTT.FIRST || pgtt === PGTT.NESTED

/** A request without PASID is another requester than one with PASID 0. */
const tagName = (sid: number, pasid: number): number => sid * PASID_SPAN + (pasid - NO_PASID)

const groupName = (did: number, pgtt: number, pasid: number): number => (did * PGTT_SPAN + pgtt) * PASID_SPAN + pasid

const pgttOf = (name: number): number => Math.floor(name / PASID_SPAN) & (PGTT_SPAN - 1)
