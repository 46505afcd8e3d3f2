/** Who makes room in a full cache, and what is told of it. */

import { describe, expect, it } from 'vitest'
import type { Page } from '../../hw-model/bits/address.js'
import { Chance } from '../../hw-model/cache/chance.js'
import { ConfigCache } from '../../hw-model/cache/config-cache.js'
import { type FlagMatch, NO_CACHE } from '../../hw-model/cache/geometry.js'
import { TagTable } from '../../hw-model/cache/tag-table.js'
import { MISS, TranslationCache } from '../../hw-model/cache/translation-cache.js'

const page = (number: number): Page => number as Page

function make(entries: number, ways: number, chance: Chance | null = null): TranslationCache {
  const tags = new TagTable(8, () => {})
  for (let i = 0; i < 8; i++) tags.intern(i)
  return new TranslationCache({ entries, ways }, tags, tags, { chance })
}

const present = (cache: TranslationCache, tag: number, pages: number): number[] =>
  Array.from({ length: pages }, (_, i) => i).filter((i) => cache.find(tag, page(i)) !== MISS)

describe('chance', () => {
  it('starts from its seed, zero too', () => {
    for (const seed of [0, 1, 2 ** 31, -1]) {
      const [one, other] = [new Chance(seed), new Chance(seed)]
      const numbers = Array.from({ length: 20 }, () => one.below(100))
      expect(Array.from({ length: 20 }, () => other.below(100))).toEqual(numbers)
      expect(new Set(numbers).size).toBeGreaterThan(10)
      expect(numbers.every((number) => number >= 0 && number < 100)).toBe(true)
    }
  })

  it('gives every number about as often', () => {
    const chance = new Chance(7)
    const seen = new Int32Array(4)
    for (let i = 0; i < 4000; i++) seen[chance.below(4)]++
    for (const times of seen) expect(Math.abs(times - 1000)).toBeLessThan(150)
  })
})

describe('a full set', () => {
  it('lets its ways go in turn', () => {
    const cache = make(4, 4)
    for (let i = 0; i < 6; i++) cache.fill(0, 0, page(i), 12, i, 0, 0)
    expect(present(cache, 0, 6)).toEqual([2, 3, 4, 5])
  })

  it('lets any of them go by chance, and one that is dead before', () => {
    const cache = make(4, 4, new Chance(3))
    for (let i = 0; i < 4; i++) cache.fill(0, 0, page(i), 12, i, 0, 0)
    cache.dropTagPages(0, page(2), page(2))
    cache.fill(0, 0, page(4), 12, 4, 0, 0)
    expect([present(cache, 0, 5), cache.evictions]).toEqual([[0, 1, 3, 4], 0])
    for (let i = 5; i < 9; i++) {
      cache.fill(0, 0, page(i), 12, i, 0, 0)
      expect(present(cache, 0, 9)).toContain(i)
      expect(cache.countLive()).toBe(4)
    }
    expect(cache.evictions).toBe(4)
  })

  it('of decoded entries lets the oldest go, or one by chance', () => {
    const kept = (chance: Chance | null): number[] => {
      const cache = new ConfigCache<number>(4, chance)
      expect([0, 1, 2, 3, 4, 5].map((key) => cache.set(key, key))).toEqual([false, false, false, false, true, true])
      expect([cache.evictions, cache.size]).toEqual([2, 4])
      return [0, 1, 2, 3, 4, 5].filter((key) => cache.get(key) !== undefined)
    }
    expect(kept(null)).toEqual([2, 3, 4, 5])
    const byChance = new Set(Array.from({ length: 16 }, (_, seed) => kept(new Chance(seed)).join()))
    expect(byChance.size).toBeGreaterThan(2)
  })
})

describe('an entry of one size', () => {
  it('is found by any page in it, and by its size alone', () => {
    const cache = make(16, 4)
    cache.fill(1, 1, page(0x200), 21, 7, 0, 0)
    expect([0x200, 0x3ff].map((number) => cache.findSize(1, page(number), 21) !== MISS)).toEqual([true, true])
    expect([0x1ff, 0x400].map((number) => cache.findSize(1, page(number), 21))).toEqual([MISS, MISS])
    expect([12, 30].map((lg2) => cache.findSize(1, page(0x200), lg2))).toEqual([MISS, MISS])
    expect(cache.findSize(2, page(0x200), 21)).toBe(MISS)
  })

  it('may be of 2^48 bytes, at the top of the address space', () => {
    const cache = make(16, 4)
    cache.fill(1, 1, page(2 ** 52 - 1), 48, 7, 0, 0)
    expect(cache.findSize(1, page(2 ** 52 - 2 ** 36), 48)).not.toBe(MISS)
    expect(cache.findSize(1, page(2 ** 52 - 2 ** 36 - 1), 48)).toBe(MISS)
  })

  it('is nowhere in a cache that is off', () => {
    const tags = new TagTable(8, () => {})
    const cache = new TranslationCache(NO_CACHE, tags, tags)
    expect([cache.isOn, cache.fill(0, 0, page(0), 12, 0, 0, 0), cache.findSize(0, page(0), 12)]).toEqual([
      false,
      MISS,
      MISS,
    ])
    expect(make(1, 1).isOn).toBe(true)
  })
})

describe('dropping pages', () => {
  it('of several tags or groups takes one look', () => {
    const cache = make(64, 4)
    for (let tag = 0; tag < 4; tag++) cache.fill(tag, tag, page(1), 12, tag, 0, 0)
    const found = (): number[] => [0, 1, 2, 3].filter((tag) => cache.find(tag, page(1)) !== MISS)
    // A number that was never handed out names nothing.
    cache.dropTagPages([0, -1, 2], page(1), page(1))
    expect(found()).toEqual([1, 3])
    cache.dropGroupPages([3], page(1), page(1))
    expect(found()).toEqual([1])
    cache.dropTagPages([], page(1), page(1))
    expect(found()).toEqual([1])
  })

  it.each([
    [{ mask: 0, want: 0, some: 0 }, []],
    [{ mask: 0b11, want: 0b01, some: 0 }, [0b010, 0b110, 0b100]],
    [{ mask: 0, want: 0, some: 0b100 }, [0b001, 0b010]],
    [{ mask: 0b10, want: 0b10, some: 0b100 }, [0b001, 0b010, 0b100]],
  ] as [FlagMatch, number[]][])('takes those whose flags match %o', (match, left) => {
    const cache = make(64, 4)
    const all = [0b001, 0b010, 0b110, 0b100]
    for (const [i, flags] of all.entries()) cache.fill(0, 0, page(i), 12, 0, flags, 0)
    cache.dropTagPages(0, page(0), page(9), match)
    expect(all.filter((_flags, i) => cache.find(0, page(i)) !== MISS)).toEqual(left)
  })
})

describe('statistics', () => {
  it('tell what a cache holds and has done', () => {
    const cache = make(2, 2)
    for (let i = 0; i < 3; i++) cache.fill(0, 0, page(i), 12, i, 0, 0)
    cache.hits = 5
    cache.misses = 6
    cache.dropTag(0)
    cache.fill(0, 0, page(0), 12, 0, 0, 0)
    const told = { name: 'tlb', entries: 2, live: 1, hits: 5, misses: 6, evictions: 1, fills: 4, invalidated: 2 }
    expect(cache.statistics('tlb')).toEqual(told)
    const configs = new ConfigCache<number>(3)
    configs.set(1, 1)
    configs.get(1)
    configs.get(2)
    configs.set(3, 3)
    configs.drop(3)
    configs.drop(3)
    const counted = { name: 'cd', entries: 3, live: 1, hits: 1, misses: 1, evictions: 0, fills: 2, invalidated: 1 }
    expect(configs.statistics('cd')).toEqual(counted)
  })
})
