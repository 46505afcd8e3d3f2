/** What a cache takes of memory: stated where it is made, and bounded, however full it is and whatever is in it. */

import { describe, expect, it } from 'vitest'
import type { Page } from '../../hw-model/bits/address.js'
import { TagTable } from '../../hw-model/cache/tag-table.js'
import { TranslationCache } from '../../hw-model/cache/translation-cache.js'

function make(entries: number, extras: boolean): TranslationCache {
  const tables = [1, 2].map(() => new TagTable(65536, () => {}))
  return new TranslationCache({ entries, ways: Math.min(entries, 4) }, tables[0], tables[1], { extras })
}

/** Fills a cache three times over with runs of pages, so far apart. */
function fill(cache: TranslationCache, entries: number, run: number, apart: number): void {
  for (let i = 0; i < 3 * entries; i++) {
    const page = Math.floor(i / run) * apart + (i % run)
    cache.fill(i % 7 === 0 ? 1 : 0, 0, page as Page, 12, page * 4096, 1, 0)
  }
}

/** Beside the entries: tags of 16 bytes and groups of 4, of which these tests have few. */
const FIXED = 64 * 16 + 16

describe('a cache takes', () => {
  it.each([
    [4096, false, 418],
    [4096, true, 610],
    [65536, true, 610],
    [64, false, 418],
    [16, false, 80],
    [16, true, 112],
    [1, true, 112],
  ])('of %i entries, extras %s, at most %f bytes each', (entries, extras, each) => {
    for (const [run, apart] of [
      [1, 512],
      [1, 3],
      [5, 64],
      [64, 64],
    ]) {
      const cache = make(entries, extras)
      fill(cache, entries, run, apart)
      expect(cache.countLive()).toBeGreaterThan(0)
      expect(cache.bytes).toBeLessThanOrEqual(entries * each + FIXED)
    }
  })

  it.each([
    [4096, 162],
    [65536, 162],
    [8, 80],
  ])('of %i entries %f bytes each before a region has more than a few leaves', (entries, each) => {
    const cache = make(entries, false)
    for (let i = 0; i < entries; i++) cache.fill(0, 0, (i * 512) as Page, 12, 0, 1, 0)
    expect(cache.bytes).toBeLessThanOrEqual(entries * each + FIXED)
  })

  it('twice as much as it had, and not all at once, where regions have more leaves', () => {
    const cache = make(4096, false)
    fill(cache, 8, 8, 512)
    expect(cache.bytes).toBeLessThanOrEqual(4096 * 162 + 16 * 1024 + FIXED)
  })

  it('nothing that is off', () => {
    expect(make(0, true).bytes).toBe(0)
  })
})

describe('what fits', () => {
  const live = (entries: number, run: number, apart: number): number => {
    const cache = make(entries, false)
    for (let i = 0; i < entries; i++) cache.fill(0, 0, (Math.floor(i / run) * apart + (i % run)) as Page, 12, 0, 1, 0)
    return cache.countLive() / entries
  }

  it.each([
    ['pages one after the other', 1024, 1024, 1],
    ['runs of 32 pages, one in each region', 32, 512, 1],
    ['one page in each region', 1, 512, 0.9],
    ['four pages in each region', 4, 512, 0.4],
  ])('of %s', (_, run, apart, share) => {
    for (const entries of [1024, 4096, 65536]) expect(live(entries, run, apart)).toBeGreaterThanOrEqual(share)
  })
})
