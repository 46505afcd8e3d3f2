/**
 * The paging-structure caches: entries that lead to another table, of either stage. Those of the first stage are found
 * by domain-id, PASID and address, those of the second by domain-id and address, so that all devices of a domain share
 * them. In a nested walk the second stage's address is the guest-physical one, whoever asks.
 * [VTD 6.2.1 T17 Cache Tagging, 6.2.5 Caches for Paging Structures]
 */

import { highHalf, type Page } from '../bits/address.js'
import { REGION } from '../cache/layout.js'
import { TagTable } from '../cache/tag-table.js'
import { TranslationCache } from '../cache/translation-cache.js'
import type { CachePlan } from './cache-options.js'
import type { DmaConfig } from './dma-config.js'

const PASID_SPAN = 2 ** 20
const LAST_PAGE = (2 ** 52 - 1) as Page

/** Both stages' entries with their tags. */
export class TableCaches {
  first: TranslationCache
  second: TranslationCache
  /** Numbers of the configuration selected last; -1 finds nothing. */
  firstTag = -1
  firstGroup = -1
  secondTag = -1

  /** Moves on when numbers were handed out anew. */
  #epoch: number
  readonly #firstTags: TagTable
  readonly #firstGroups: TagTable
  readonly #secondTags: TagTable
  readonly #noGroups: TagTable
  readonly #isView: boolean

  /** @param shown whose entries are shown, for `view` */
  constructor(plan: CachePlan, shown: TableCaches | null = null) {
    const restart = (): void => {
      this.#epoch++
      this.dropAll()
    }
    this.#isView = shown !== null
    this.#epoch = shown === null ? 0 : shown.#epoch
    this.#firstTags = shown === null ? new TagTable(plan.names, restart) : shown.#firstTags
    this.#firstGroups = shown === null ? new TagTable(plan.names, restart) : shown.#firstGroups
    this.#secondTags = shown === null ? new TagTable(plan.names, restart) : shown.#secondTags
    this.#noGroups = shown === null ? new TagTable(1, restart) : shown.#noGroups
    if (shown === null) this.#noGroups.intern(0)
    this.first = shown?.first.view() ?? new TranslationCache(plan.walk1, this.#firstTags, this.#firstGroups, plan)
    this.second = shown?.second.view() ?? new TranslationCache(plan.walk2, this.#secondTags, this.#noGroups, plan)
  }

  /** New caches, both empty. Numbers of owners stay what they are. */
  replan({ walk1, walk2, chance }: CachePlan): void {
    this.first = new TranslationCache(walk1, this.#firstTags, this.#firstGroups, { chance })
    this.second = new TranslationCache(walk2, this.#secondTags, this.#noGroups, { chance })
  }

  /** This moment's entries; what is dropped there stays here. */
  view(plan: CachePlan): TableCaches {
    return new TableCaches(plan, this)
  }

  /** Settles whose entries are meant from here on. */
  select(config: DmaConfig): void {
    // The configuration may be the unit's own, and its numbers are not a view's to write.
    if (this.#isView) {
      this.firstTag = this.#firstTags.lookup(firstName(config.did, config.pasid))
      this.firstGroup = this.#firstGroups.lookup(config.did)
      this.secondTag = this.#secondTags.lookup(config.did)
      return
    }
    // Handing out a number may start a new epoch, which voids those before it.
    while (config.tableEpoch !== this.#epoch) {
      config.tableEpoch = this.#epoch
      config.firstTag = this.#firstTags.intern(firstName(config.did, config.pasid))
      config.firstGroup = this.#firstGroups.intern(config.did)
      config.secondTag = this.#secondTags.intern(config.did)
    }
    this.firstTag = config.firstTag
    this.firstGroup = config.firstGroup
    this.secondTag = config.secondTag
  }

  /** Whose a first-stage entry is. */
  firstOwner(slot: number): { readonly did: number; readonly pasid: number } {
    const name = this.#firstTags.nameOf(this.first.tagOf(slot))
    return { did: Math.floor(name / PASID_SPAN), pasid: name % PASID_SPAN }
  }

  /** The domain-id of a second-stage entry. */
  secondOwner(slot: number): number {
    return this.#secondTags.nameOf(this.second.tagOf(slot))
  }

  /** Everything. */
  dropAll(): void {
    this.first.dropAll()
    this.second.dropAll()
  }

  /** Every entry of a domain-id, of either stage. */
  dropDomain(did: number): void {
    this.dropFirst(did)
    this.dropSecondPages(did, 0 as Page, LAST_PAGE)
  }

  /** First-stage entries of a domain-id, whatever their PASID and address. */
  dropFirst(did: number): void {
    const group = this.#firstGroups.lookup(did)
    this.first.dropGroup(group)
  }

  /** First-stage entries of (DID, PASID) for some addresses. */
  dropFirstPages(did: number, pasid: number, first: Page = 0 as Page, last: Page = LAST_PAGE): void {
    const tag = this.#firstTags.lookup(firstName(did, pasid))
    if (tag >= 0) dropPages(this.first, tag, first, last)
  }

  /** Second-stage entries of a domain-id for some addresses. */
  dropSecondPages(did: number, first: Page, last: Page): void {
    const tag = this.#secondTags.lookup(did)
    if (tag >= 0) dropPages(this.second, tag, first, last)
  }
}

function dropPages(cache: TranslationCache, tag: number, first: Page, last: Page): void {
  const pages = last - first + 1
  if (pages <= REGION) cache.dropTagAt(tag, first | 0, highHalf(first), pages)
  else cache.dropTagPages(tag, first, last)
}

const firstName = (did: number, pasid: number): number => did * PASID_SPAN + pasid
