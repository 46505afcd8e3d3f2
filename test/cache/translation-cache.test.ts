/** The translation cache: what it finds, what it forgets, and that it never invents. */

import { describe, expect, it } from 'vitest'
import type { Page } from '../../hw-model/bits/address.js'
import type { CacheGeometry } from '../../hw-model/cache/geometry.js'
import { TagTable } from '../../hw-model/cache/tag-table.js'
import { MISS, TranslationCache } from '../../hw-model/cache/translation-cache.js'

const page = (number: number): Page => number as Page
const LAST = page(2 ** 52 - 1)

function make(geometry: CacheGeometry): { cache: TranslationCache } {
  const tags = new TagTable(64, () => {})
  const groups = new TagTable(64, () => {})
  for (let i = 0; i < 8; i++) {
    tags.intern(i)
    groups.intern(i)
  }
  return { cache: new TranslationCache(geometry, tags, groups) }
}

/** What a slot holds, or undefined on a miss. */
function look(cache: TranslationCache, tag: number, number: number): readonly number[] | undefined {
  const slot = cache.find(tag, page(number))
  if (slot === MISS) return undefined
  return [cache.addressOf(slot), cache.leafLg2Of(slot), cache.flagsOf(slot), cache.extraOf(slot)]
}

describe('an entry', () => {
  it('is found under its tag by every page of its leaf, and by no other', () => {
    const { cache } = make({ entries: 64, ways: 4 })
    cache.fill(1, 2, page(0x80_0000_0200), 21, 0x1234_0000_0000, 3, 77)
    for (const number of [0x80_0000_0200, 0x80_0000_0201, 0x80_0000_03ff]) {
      expect(look(cache, 1, number)).toEqual([0x1234_0000_0000, 21, 3, 77])
    }
    for (const number of [0x80_0000_01ff, 0x80_0000_0400, 0x200, 0x280_0000_0200]) {
      expect(look(cache, 1, number)).toBeUndefined()
    }
    expect(look(cache, 0, 0x80_0000_0200)).toBeUndefined()
  })

  it('may be asked for in the middle when it is stored: the leaf begins where the leaf begins', () => {
    const { cache } = make({ entries: 64, ways: 4 })
    cache.fill(0, 0, page(0x3_ffff), 30, 2 ** 40, 1, 0)
    expect(look(cache, 0, 0)?.[0]).toBe(2 ** 40)
    expect(look(cache, 0, 0x4_0000)).toBeUndefined()
    cache.fill(0, 0, page(0x7_ffff), 30, 2 ** 41, 1, 0)
    expect(look(cache, 0, 0x4_0000)?.[0]).toBe(2 ** 41)
  })

  it('tells what an entry is found by and what it was made from', () => {
    const { cache } = make({ entries: 64, ways: 4 })
    cache.fill(1, 2, page(0x200), 12, 0x1000, 3, 0)
    cache.fill(4, 6, page(0x200), 12, 0x3000, 3, 0)
    const slots = [1, 4].map((tag) => cache.find(tag, page(0x200)))
    expect(slots.map((slot) => [cache.tagOf(slot), cache.groupOf(slot)])).toEqual([
      [1, 2],
      [4, 6],
    ])
  })

  it('replaces an older one of the same tag, page and size', () => {
    const { cache } = make({ entries: 16, ways: 4 })
    cache.fill(3, 0, page(5), 12, 0x1000, 1, 0)
    cache.fill(3, 1, page(5), 12, 0x2000, 2, 9)
    expect(look(cache, 3, 5)).toEqual([0x2000, 12, 2, 9])
    expect(cache.countLive()).toBe(1)
    expect(cache.evictions).toBe(0)
  })

  it('of each size above 2 MiB lives beside the others and one of those up to it; the smallest answers', () => {
    const { cache } = make({ entries: 256, ways: 4 })
    const sizes = [39, 30, 29, 25, 21]
    for (const lg2 of sizes) {
      cache.fill(0, 0, page(0), lg2, lg2, 0, 0)
      expect(look(cache, 0, 0)).toEqual([lg2, lg2, 0, 0])
    }
    for (const lg2 of sizes) expect(look(cache, 0, 2 ** (lg2 - 12) - 1)?.[0]).toBe(lg2)
    cache.dropTagPages(0, page(2 ** 13), page(2 ** 13))
    expect(sizes.map((lg2) => cache.findSize(0, page(0), lg2) !== MISS)).toEqual([false, false, false, true, true])
  })

  it('of 2 MiB or less takes the place of those that it overlaps', () => {
    const { cache } = make({ entries: 256, ways: 4 })
    const kept = (): (number | undefined)[] => [0, 1, 4, 16, 32, 511].map((number) => look(cache, 0, number)?.[1])
    for (const number of [0, 1, 4, 16, 32]) cache.fill(0, 0, page(number), 12, number * 4096, 0, 0)
    expect(kept()).toEqual([12, 12, 12, 12, 12, undefined])
    cache.fill(0, 0, page(3), 14, 0x8000, 0, 0)
    expect(kept()).toEqual([14, 14, 12, 12, 12, undefined])
    cache.fill(0, 0, page(15), 16, 0x10000, 0, 0)
    expect(kept()).toEqual([16, 16, 16, 12, 12, undefined])
    cache.fill(0, 0, page(1), 12, 0x7000, 0, 0)
    expect(kept()).toEqual([undefined, 12, undefined, 12, 12, undefined])
    cache.fill(0, 0, page(77), 21, 0x200000, 0, 0)
    expect(kept()).toEqual([21, 21, 21, 21, 21, 21])
    cache.fill(0, 0, page(511), 12, 0x3000, 0, 0)
    expect(kept()).toEqual([undefined, undefined, undefined, undefined, undefined, 12])
    expect([cache.countLive(), cache.evictions]).toEqual([1, 0])
  })

  it('at the top of the address space is found and dropped', () => {
    const { cache } = make({ entries: 64, ways: 4 })
    cache.fill(1, 1, LAST, 12, 0xabc000, 0, 0)
    expect(look(cache, 1, LAST)?.[0]).toBe(0xabc000)
    cache.dropGroupPages(1, LAST, LAST)
    expect(look(cache, 1, LAST)).toBeUndefined()
  })

  it('keeps flags that its owner changes', () => {
    const { cache } = make({ entries: 16, ways: 1 })
    const slot = cache.fill(0, 0, page(9), 12, 0x9000, 1, 0)
    cache.setFlags(slot, 5)
    expect(look(cache, 0, 9)?.[2]).toBe(5)
    cache.dropTagPages(0, page(9), page(9))
    expect(look(cache, 0, 9)).toBeUndefined()
  })
})

describe('one entry of many in a region', () => {
  it('goes alone, down to the last', () => {
    const { cache } = make({ entries: 64, ways: 4 })
    const count = 9
    for (let i = 0; i < count; i++) cache.fill(0, 0, page(i), 12, i * 4096, 0, 0)
    for (let gone = 0; gone < count; gone++) {
      cache.dropTagPages(0, page(gone), page(gone))
      const left = Array.from({ length: count }, (_, i) => look(cache, 0, i)?.[0])
      expect(left).toEqual(Array.from({ length: count }, (_, i) => (i <= gone ? undefined : i * 4096)))
      expect(cache.countLive()).toBe(count - 1 - gone)
    }
  })
})

describe('eviction', () => {
  it('counts, keeps the number of entries, and takes a dead way before a live one', () => {
    const { cache } = make({ entries: 8, ways: 8 })
    for (let i = 0; i < 4; i++) cache.fill(0, 1, page(i), 12, i * 4096, 0, 0)
    for (let i = 4; i < 8; i++) cache.fill(0, 2, page(i), 12, i * 4096, 0, 0)
    cache.dropGroup(1)
    expect(cache.countLive()).toBe(4)
    for (let i = 8; i < 12; i++) cache.fill(0, 2, page(i), 12, i * 4096, 0, 0)
    expect(cache.evictions).toBe(0)
    for (let i = 4; i < 12; i++) expect(look(cache, 0, i)?.[0]).toBe(i * 4096)
    cache.fill(0, 2, page(12), 12, 12 * 4096, 0, 0)
    expect(cache.evictions).toBe(1)
    expect(cache.countLive()).toBe(8)
    expect(look(cache, 0, 12)?.[0]).toBe(12 * 4096)
  })

  it('spreads a run of pages over the sets', () => {
    const { cache } = make({ entries: 4096, ways: 4 })
    for (let i = 0; i < 2048; i++) cache.fill(0, 0, page(i), 12, i * 4096, 0, 0)
    expect(cache.evictions).toBeLessThan(512)
  })
})

describe('forgetting', () => {
  it('a tag or a group leaves the others, and the number may be used again', () => {
    const { cache } = make({ entries: 64, ways: 4 })
    const fill = (): void => {
      for (const tag of [0, 1])
        for (const group of [0, 1]) cache.fill(tag, group, page(tag * 2 + group), 12, 4096, 0, 0)
    }
    const found = (): boolean[] => [0, 1, 2, 3].map((i) => look(cache, i >> 1, i) !== undefined)
    fill()
    cache.dropTag(0)
    expect(found()).toEqual([false, false, true, true])
    fill()
    expect(found()).toEqual([true, true, true, true])
    cache.dropGroup(1)
    expect(found()).toEqual([true, false, true, false])
    cache.dropAll()
    expect(found()).toEqual([false, false, false, false])
  })

  it('pages drops every leaf that shares one of them, in either direction', () => {
    const { cache } = make({ entries: 64, ways: 4 })
    const fill = (): void => {
      cache.fill(0, 3, page(0x200), 21, 1, 0, 0)
      cache.fill(0, 3, page(0x400), 12, 2, 0, 0)
      cache.fill(0, 4, page(0x401), 12, 3, 0, 0)
      cache.fill(1, 3, page(0x400), 12, 4, 0, 0)
    }
    const found = (): boolean[] =>
      [look(cache, 0, 0x3ff), look(cache, 0, 0x400), look(cache, 0, 0x401), look(cache, 1, 0x400)].map(Boolean)
    fill()
    cache.dropTagPages(0, page(0x2ff), page(0x400))
    expect(found()).toEqual([false, false, true, true])
    fill()
    cache.dropGroupPages(3, page(0), LAST)
    expect(found()).toEqual([false, false, true, false])
    fill()
    cache.dropTagPages(0, page(0), page(0x1ff))
    cache.dropTagPages(0, page(0x402), LAST)
    expect(found()).toEqual([true, true, true, true])
  })
})

describe('the geometry', () => {
  it('of no entries is a cache that keeps nothing', () => {
    const { cache } = make({ entries: 0, ways: 1 })
    expect(cache.fill(0, 0, page(1), 12, 4096, 0, 0)).toBe(MISS)
    expect(cache.find(0, page(1))).toBe(MISS)
    cache.dropTagPages(0, page(0), LAST)
    cache.dropAll()
    expect(cache.countLive()).toBe(0)
  })

  it('is made of powers of two', () => {
    for (const geometry of [
      { entries: 12, ways: 4 },
      { entries: 16, ways: 3 },
      { entries: 4, ways: 8 },
      { entries: 16, ways: 0 },
    ]) {
      expect(() => make(geometry)).toThrow(RangeError)
    }
  })

  it('drops nothing of a group that was never filled, whatever the range', () => {
    const { cache } = make({ entries: 64, ways: 4 })
    cache.fill(0, 0, page(0x200), 12, 0x1000, 1, 0)
    cache.dropGroupPages(3, page(0), page(2 ** 52 - 1))
    expect(look(cache, 0, 0x200)?.[0]).toBe(0x1000)
  })

  it('drops a group that is found under more tags than are remembered', () => {
    const { cache } = make({ entries: 1024, ways: 4 })
    const tags = Array.from({ length: 8 }, (_, tag) => tag)
    for (const tag of tags) cache.fill(tag, 1, page(0x200), 12, 0x1000, 1, 0)
    cache.fill(0, 2, page(0x201), 12, 0x2000, 1, 0)
    cache.dropGroupPages(1, page(0x200), page(0x201))
    expect(tags.map((tag) => look(cache, tag, 0x200))).toEqual(tags.map(() => undefined))
    expect(look(cache, 0, 0x201)?.[0]).toBe(0x2000)
  })

  it('shows a view, of which may be dropped what stays here', () => {
    const { cache } = make({ entries: 64, ways: 4 })
    for (const tag of [0, 1]) cache.fill(tag, tag, page(0x200), 12, 0x1000 * (tag + 1), 1, 0)
    const view = cache.view()
    view.dropTagPages(0, page(0x200), page(0x200))
    expect([look(view, 0, 0x200), look(view, 1, 0x200)?.[0]]).toEqual([undefined, 0x2000])
    expect(view.fill(0, 0, page(0x200), 12, 0x5000, 1, 0)).toBe(MISS)
    view.dropAll()
    expect([look(view, 1, 0x200), look(cache, 0, 0x200)?.[0], look(cache, 1, 0x200)?.[0]]).toEqual([
      undefined,
      0x1000,
      0x2000,
    ])
  })
})
