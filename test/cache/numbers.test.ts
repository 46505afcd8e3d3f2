/** Numbers that are used up, views of what there was, and caches of other sizes than most. */

import { describe, expect, it } from 'vitest'
import { Chance } from '../../hw-model/cache/chance.js'
import { ConfigCache } from '../../hw-model/cache/config-cache.js'
import { TagTable } from '../../hw-model/cache/tag-table.js'
import { MISS, TranslationCache } from '../../hw-model/cache/translation-cache.js'
import { Both, LAST, makeCache, page } from './both.js'

const TAGS = [0, 1, 2, 3]

describe('numbers that are used up', () => {
  it('of epochs are handed out anew, and what was forgotten stays so', () => {
    const both = new Both(1024, 4, { limits: { epochs: 5, generations: 2 } })
    for (let round = 0; round < 60; round++) {
      const tag = round % 4
      for (const each of TAGS) for (let i = 0; i < 5; i++) both.fill(each, i & 1, round * 3 + i * 40, 12)
      both.dropTagPages(tag, 0, LAST)
      both.compare(TAGS, 0, 400)
      // Both are dead when a number runs out, and neither comes back.
      if (round % 9 === 0) both.dropTagPages((tag + 1) % 4, 0, LAST)
      if (round % 3 === 0) both.dropGroupPages(round & 1, 0, LAST)
      both.compare(TAGS, 0, 400)
    }
  })

  it('of tags and groups may be any', () => {
    const both = new Both(1024, 4)
    const numbers = [0, 63, 64, 65, 300, 65535]
    for (const number of numbers) for (const at of [1, 2, 600]) both.fill(number, number, at)
    both.compare([...numbers, 66, 301], 0, 601)
    both.dropGroupPages(64, 0, LAST)
    both.dropGroupPages(65535, 2, 2)
    both.dropTagPages(300, 0, 600)
    both.dropTagPages(70_000, 0, LAST)
    both.compare(numbers, 0, 601)
  })

  it('begin to mean other names when a table is full, of which nothing old is known', () => {
    const caches: TranslationCache[] = []
    const table = (): TagTable => new TagTable(2, () => caches[0]?.dropAll())
    const [tags, groups] = [table(), table()]
    const cache = new TranslationCache({ entries: 64, ways: 4 }, tags, groups)
    caches.push(cache)
    const fill = (tag: number, group: number, spanLg2 = 12): number =>
      cache.fill(tags.intern(tag), groups.intern(group), page(5), 12, tag * 4096, 1, 0, spanLg2)
    fill(100, 200, 30)
    fill(101, 201)
    expect(cache.countLive()).toBe(2)
    fill(102, 200)
    expect([tags.restarts, cache.countLive(), cache.find(tags.lookup(102), page(5)) !== MISS]).toEqual([1, 1, true])
    // What was a piece of a large span is not there, and no drop of that span's pages means another.
    fill(101, 203)
    expect([groups.restarts, cache.countLive()]).toEqual([1, 1])
    cache.dropGroupPages(groups.lookup(203), page(6), page(2 ** 18 - 1))
    expect(cache.countLive()).toBe(1)
    cache.dropGroupPages(groups.lookup(203), page(5), page(5))
    expect([cache.countLive(), cache.statistics('it').invalidated]).toEqual([0, 4])
  })
})

describe('a leaf of 2^53 bytes', () => {
  it('is found at the top of the address space, and dropped by one page', () => {
    const both = new Both(64, 4)
    const half = 2 ** 41
    both.fill(0, 0, LAST, 53)
    both.fill(0, 0, LAST - half, 53)
    both.fill(0, 1, LAST, 12)
    both.compare([0], LAST - 3, 4)
    both.compare([0], LAST - half - 1, 4)
    both.dropTagPages(0, LAST - 1, LAST - 1)
    both.compare([0], LAST - 3, 4)
    both.compare([0], LAST - half - 1, 4)
    expect(both.list.entries.map(({ first, leafLg2 }) => [LAST + 1 - first, leafLg2])).toEqual([
      [2 * half, 53],
      [1, 12],
    ])
  })
})

describe('a view', () => {
  it('answers by size what was not dropped there', () => {
    const cache = makeCache(64, 4)
    for (const tag of TAGS) {
      cache.fill(tag, tag & 1, page(0), 30, 1, 1, 0)
      for (let i = 0; i < 9; i++) cache.fill(tag, tag & 1, page(i), 12, i * 4096, 1, 0)
    }
    cache.dropTag(3)
    const sizes = (of: TranslationCache): boolean[] =>
      TAGS.flatMap((tag) => [12, 21, 30].map((lg2) => of.findSize(tag, page(1), lg2) !== MISS))
    const [yes, no] = [true, false]
    const all = [yes, no, yes, yes, no, yes, yes, no, yes, no, no, no]
    const view = cache.view()
    expect(sizes(view)).toEqual(all)
    expect([-1, 64].map((tag) => view.findSize(tag, page(1), 12))).toEqual([MISS, MISS])
    view.dropTagPages([0, 1], page(1), page(1))
    expect(sizes(view)).toEqual([no, no, no, no, no, no, yes, no, yes, no, no, no])
    view.dropGroup(0)
    expect(sizes(view)).toEqual(all.map(() => false))
    // Of tag 1 all is left but the page that was dropped, and what covers it.
    expect([view.countLive(), view.find(1, page(2)) !== MISS, cache.countLive()]).toEqual([8, true, 30])
    view.dropAll()
    expect([view.countLive(), cache.countLive()]).toEqual([0, 30])
    expect(sizes(cache)).toEqual(all)
  })

  it('of decoded entries drops from a copy, and keeps nothing', () => {
    const cache = new ConfigCache<string>(4)
    for (const key of [1, 2, 3]) cache.set(key, `entry ${key}`)
    const [one, other] = [cache.view(), cache.view()]
    one.dropWhere((key) => key > 1)
    expect([one.get(1), one.get(2), one.size, one.set(4, 'four'), one.get(4)]).toEqual([
      'entry 1',
      undefined,
      1,
      false,
      undefined,
    ])
    other.clear()
    expect([other.size, other.get(1)]).toEqual([0, undefined])
    expect([cache.size, cache.hits, cache.statistics('it').invalidated]).toEqual([3, 0, 0])
    cache.clear()
    cache.clear()
    expect([one.get(1), cache.size, cache.statistics('it').invalidated]).toEqual(['entry 1', 0, 3])
  })
})

describe('a large cache', () => {
  it('has room for all its blocks from the first', () => {
    const cache = makeCache(131072, 4, { extras: false })
    cache.fill(0, 0, page(0), 12, 0, 1, 0)
    const before = cache.bytes
    for (let i = 0; i < 4096; i++) cache.fill(0, 0, page((i >> 2) * 64 + (i & 3)), 12, i * 4096, 1, 0)
    expect([cache.countLive(), cache.evictions, cache.bytes]).toEqual([4096, 0, before])
  })

  it('lets entries from all over it go by chance', () => {
    const entries = 65536
    const cache = makeCache(entries, 1, { chance: new Chance(3), extras: false })
    const where = new Int32Array(3 * entries)
    const dice = new Chance(1)
    // So far apart that none shares a region, and each may have one line alone.
    const pages = Array.from(where, (_, i) => (i * 8 + dice.below(8)) * 512)
    for (const [i, at] of pages.entries()) where[i] = cache.fill(0, 0, page(at), 12, i * 4096, 1, 0)
    expect([cache.countLive(), cache.evictions]).toEqual([entries, 2 * entries])
    const middle = Math.max(...where.slice(0, 1024)) / 2
    const left = pages.filter((at) => cache.find(0, page(at)) !== MISS)
    const low = left.filter((at) => cache.find(0, page(at)) < middle).length
    expect([left.length, Math.abs(low / entries - 0.5) < 0.05]).toEqual([entries, true])
  })
})
