/** A cache and the list that says what it should answer, told the same. */

import { expect } from 'vitest'
import type { Page } from '../../hw-model/bits/address.js'
import { ANY_FLAGS, type FlagMatch } from '../../hw-model/cache/geometry.js'
import { TagTable } from '../../hw-model/cache/tag-table.js'
import { type CacheHabits, MISS, TranslationCache } from '../../hw-model/cache/translation-cache.js'
import { SlowCache } from './slow-cache.js'

export const page = (number: number): Page => number as Page

export const LAST = 2 ** 52 - 1

/** A cache with numbers for so many tags and groups as anyone asks for. */
export function makeCache(entries: number, ways: number, habits: CacheHabits = {}): TranslationCache {
  const [tags, groups] = [new TagTable(65536, () => {}), new TagTable(65536, () => {})]
  return new TranslationCache({ entries, ways }, tags, groups, habits)
}

/** What is told to both, and compared. */
export class Both {
  readonly list = new SlowCache()
  readonly cache: TranslationCache
  #serial = 0

  constructor(entries: number, ways: number, habits: CacheHabits = {}) {
    this.cache = makeCache(entries, ways, habits)
  }

  fill(tag: number, group: number, at: number, leafLg2 = 12, flags = 1): void {
    const address = ++this.#serial * 2 ** 30
    this.list.fill({ tag, group, leafLg2, spanLg2: leafLg2, address, flags, extra: address + 1 }, at)
    this.cache.fill(tag, group, page(at), leafLg2, address, flags, address + 1)
  }

  dropTagPages(tag: number, first: number, last: number, flags: FlagMatch = ANY_FLAGS): void {
    this.cache.dropTagPages(tag, page(first), page(last), flags)
    this.list.dropPages((kept) => kept.tag === tag, first, last, flags)
  }

  dropGroupPages(group: number, first: number, last: number, flags: FlagMatch = ANY_FLAGS): void {
    this.cache.dropGroupPages(group, page(first), page(last), flags)
    this.list.dropPages((kept) => kept.group === group, first, last, flags)
  }

  /** Every page of some answers as the list does, also when its size is asked for, and nothing else is there. */
  compare(tags: readonly number[], first: number, pages: number): void {
    const { cache, list } = this
    for (const tag of tags) {
      for (let at = first; at < first + pages; at++) {
        const known = list.covering(tag, at)[0]
        const slot = cache.find(tag, page(at))
        if (known === undefined) {
          if (slot !== MISS) expect([tag, at, slot]).toEqual([tag, at, MISS])
          continue
        }
        const told = [cache.addressOf(slot), cache.pageOf(slot), cache.leafLg2Of(slot), cache.groupOf(slot)]
        const { address, leafLg2, group } = known
        const wanted = [tag, at, address, known.first, leafLg2, group, known.flags]
        expect([cache.tagOf(slot), at, ...told, cache.flagsOf(slot)]).toEqual(wanted)
        if (cache.extraOf(slot) !== undefined) expect(cache.extraOf(slot)).toBe(known.extra)
        expect(cache.findSize(tag, page(at), leafLg2)).not.toBe(MISS)
        expect(cache.findSize(tag, page(at), leafLg2 === 12 ? 13 : 12)).toBe(MISS)
      }
    }
    expect(cache.evictions).toBe(0)
    expect([cache.countLive(), cache.statistics('it').invalidated]).toEqual([list.entries.length, list.invalidated])
  }
}
