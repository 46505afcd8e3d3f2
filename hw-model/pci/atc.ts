/**
 * The Address Translation Cache of a function with ATS: what it was granted, until it is told to forget it. Whichever
 * unit granted it, an entry is found by its PASID, the privilege it was asked with, and the page.
 */

import { offsetIn, type Page, pageOf } from '../bits/address.js'
import { type CacheGeometry, NAMES } from '../cache/geometry.js'
import { TagTable } from '../cache/tag-table.js'
import { MISS, TranslationCache } from '../cache/translation-cache.js'
import { type AtcInvalidation, type KeptTranslations, NO_PASID, type Outcome } from '../port.js'

/** Entries of a small device. */
const ATC_GEOMETRY: CacheGeometry = { entries: 64, ways: 4 }

/** What an invalidation reaches: translations that were obtained without a PASID, or with one. */
const GROUP = { PLAIN: 0, PASID: 1 } as const

/** The cache of one function. */
export class Atc implements KeptTranslations {
  hits = 0
  misses = 0
  /** Translations kept. */
  fills = 0
  /** Invalidations obeyed. */
  invalidations = 0

  /** What `find` found: the translated address of the byte asked for, */
  address = 0
  /** log2 of the bytes around it, */
  leafLg2 = 12
  /** and bits of ACCESS. */
  rights = 0

  readonly #cache: TranslationCache
  readonly #tags: TagTable
  readonly #groups: TagTable

  /** @param names PASIDs, each with two privileges, told apart at once; one more, and everything is forgotten */
  constructor(geometry: CacheGeometry = ATC_GEOMETRY, names = NAMES) {
    const restart = (): void => this.#cache.dropAll()
    this.#tags = new TagTable(names, restart)
    this.#groups = new TagTable(2, restart)
    // The numbers of groups are their names.
    this.#groups.intern(GROUP.PLAIN)
    this.#groups.intern(GROUP.PASID)
    this.#cache = new TranslationCache(geometry, this.#tags, this.#groups, { extras: false })
  }

  /** Translations that made room for others. */
  get evictions(): number {
    return this.#cache.evictions
  }

  /** Translations kept at this moment. */
  get size(): number {
    return this.#cache.countLive()
  }

  /** Looks for the translation of an address, of two halves. True, and the fields hold, when there is one. */
  find(pasid: number, isPrivileged: boolean, lo: number, hi: number): boolean {
    const cache = this.#cache
    const tag = this.#tags.lookup(nameOf(pasid, isPrivileged))
    const slot = tag < 0 ? MISS : cache.find(tag, pageOf(lo, hi))
    if (slot === MISS) {
      this.misses++
      return false
    }
    this.hits++
    this.leafLg2 = cache.leafLg2Of(slot)
    this.address = cache.addressOf(slot) + offsetIn(lo, hi, this.leafLg2)
    this.rights = cache.flagsOf(slot)
    return true
  }

  /** The same, and nothing is counted. [KeptTranslations] */
  lookUp(pasid: number, isPrivileged: boolean, lo: number, hi: number, outcome: Outcome): boolean {
    const cache = this.#cache
    const tag = this.#tags.lookup(nameOf(pasid, isPrivileged))
    const slot = tag < 0 ? MISS : cache.find(tag, pageOf(lo, hi))
    if (slot === MISS) return false
    outcome.leafLg2 = cache.leafLg2Of(slot)
    outcome.address = cache.addressOf(slot) + offsetIn(lo, hi, outcome.leafLg2)
    outcome.rights = cache.flagsOf(slot)
    return true
  }

  /** Keeps a granted translation of an address. One that grants nothing is no translation. */
  fill(pasid: number, isPrivileged: boolean, lo: number, hi: number, outcome: Outcome): void {
    const { address, leafLg2, rights } = outcome
    if (rights === 0) return
    const cache = this.#cache
    const tag = this.#tags.intern(nameOf(pasid, isPrivileged))
    const inLeaf = offsetIn(lo, hi, leafLg2)
    const page = pageOf(lo, hi)
    const first = (page - (page % 2 ** (leafLg2 - 12))) as Page
    // An address has one translation: what an older one of another size says of it is void.
    cache.dropTagPages(tag, first, lastOf(first, leafLg2))
    const group = pasid === NO_PASID ? GROUP.PLAIN : GROUP.PASID
    if (cache.fill(tag, group, first, leafLg2, address - inLeaf, rights, 0) !== MISS) this.fills++
  }

  /** Forgets what an Invalidate Request names, and nothing else. */
  invalidate(invalidation: AtcInvalidation): void {
    this.invalidations++
    const { pasid, lo, hi, sizeLg2 } = invalidation
    const first = pageOf(lo, hi)
    const last = lastOf(first, sizeLg2)
    if (invalidation.allPasids) {
      this.#cache.dropGroupPages(GROUP.PASID, first, last)
      return
    }
    for (const isPrivileged of [false, true]) {
      const tag = this.#tags.lookup(nameOf(pasid, isPrivileged))
      if (tag >= 0) this.#cache.dropTagPages(tag, first, last)
    }
  }

  /** Forgets everything, as a reset or a write to ATS Enable does. */
  clear(): void {
    this.#cache.dropAll()
  }
}

/** One name for each PASID, and none, with either privilege. */
const nameOf = (pasid: number, isPrivileged: boolean): number => (pasid + 1) * 2 + (isPrivileged ? 1 : 0)

const lastOf = (first: Page, sizeLg2: number): Page => (first + 2 ** (sizeLg2 - 12) - 1) as Page
