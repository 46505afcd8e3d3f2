/** The cache beside a list that never forgets: it may know less, never more. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Page } from '../../hw-model/bits/address.js'
import { TagTable } from '../../hw-model/cache/tag-table.js'
import { MISS, TranslationCache } from '../../hw-model/cache/translation-cache.js'

const RUNS = process.env['IOMMUD_TEST_LONG'] === '1' ? 5000 : 300
const SIZES = [12, 14, 16, 21, 25, 29, 30, 39]

interface Entry {
  readonly tag: number
  readonly group: number
  readonly first: number
  readonly leafLg2: number
  readonly spanLg2: number
  readonly address: number
}

const tag = fc.integer({ min: 0, max: 3 })
/** Few pages, close together in three places, so that operations meet. */
const pages = fc
  .tuple(fc.constantFrom(0, 2 ** 20 - 8, 2 ** 51), fc.integer({ min: 0, max: 15 }), fc.constantFrom(1, 4, 512))
  .map(([base, at, step]) => base + at * step)

const operation = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant('fill' as const),
      tag,
      group: tag,
      at: pages,
      size: fc.constantFrom(...SIZES),
      /** How much larger the span is of which it is a piece. */
      more: fc.constantFrom(0, 0, 0, 2, 9),
    }),
  },
  { weight: 8, arbitrary: fc.record({ op: fc.constant('find' as const), tag, at: pages }) },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constantFrom('dropTag', 'dropGroup') as fc.Arbitrary<'dropTag' | 'dropGroup'>, tag }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constantFrom('tagPages' as const, 'groupPages' as const),
      tag,
      at: pages,
      count: fc.constantFrom(1, 3, 512, 2 ** 40),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('all' as const) }) },
)

type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never

const span = (leafLg2: number): number => 2 ** (leafLg2 - 12)

/** Plays operations on the cache and on the list; answers the number of hits. */
function play(operations: readonly Operation[], entries: number, ways: number): number {
  const tags = new TagTable(4, () => {})
  const groups = new TagTable(4, () => {})
  for (let i = 0; i < 4; i++) {
    tags.intern(i)
    groups.intern(i)
  }
  const cache = new TranslationCache({ entries, ways }, tags, groups)
  let list: Entry[] = []
  let hits = 0
  let serial = 0
  const keep = (stays: (entry: Entry) => boolean): void => {
    list = list.filter(stays)
  }
  for (const step of operations) {
    if (step.op === 'fill') {
      const first = step.at - (step.at % span(step.size))
      const address = ++serial * 4096
      keep((e) => !(e.tag === step.tag && e.first === first && e.leafLg2 === step.size))
      const spanLg2 = step.size + step.more
      list.push({ tag: step.tag, group: step.group, first, leafLg2: step.size, spanLg2, address })
      cache.fill(step.tag, step.group, step.at as Page, step.size, address, serial, step.group, spanLg2)
    } else if (step.op === 'find') {
      const slot = cache.find(step.tag, step.at as Page)
      const known = list.filter((e) => e.tag === step.tag && e.first <= step.at && step.at < e.first + span(e.leafLg2))
      if (slot !== MISS) {
        hits++
        const at = known.find((e) => e.address === cache.addressOf(slot))
        expect(at).toMatchObject({ leafLg2: cache.leafLg2Of(slot), group: cache.extraOf(slot) })
        expect(cache.flagsOf(slot) * 4096).toBe(cache.addressOf(slot))
      } else if (entries >= 1024) expect(known).toEqual([])
    } else if (step.op === 'dropTag') {
      tags.drop(step.tag)
      keep((e) => e.tag !== step.tag)
    } else if (step.op === 'dropGroup') {
      groups.drop(step.tag)
      keep((e) => e.group !== step.tag)
    } else if (step.op === 'all') {
      cache.dropAll()
      list = []
    } else if ('count' in step) {
      const last = Math.min(step.at + step.count - 1, 2 ** 52 - 1)
      const startOf = (e: Entry): number => e.first - (e.first % span(e.spanLg2))
      const touches = (e: Entry): boolean => startOf(e) <= last && step.at <= startOf(e) + span(e.spanLg2) - 1
      if (step.op === 'tagPages') {
        cache.dropTagPages(step.tag, step.at as Page, last as Page)
        keep((e) => !(e.tag === step.tag && touches(e)))
      } else {
        cache.dropGroupPages(step.tag, step.at as Page, last as Page)
        keep((e) => !(e.group === step.tag && touches(e)))
      }
    }
    expect(cache.countLive()).toBeLessThanOrEqual(list.length)
  }
  return hits
}

describe('a translation cache', () => {
  for (const [entries, ways] of [
    [8, 1],
    [16, 4],
    [8, 8],
    [1024, 1024],
    // A few pages are dropped without a look at every entry.
    [32768, 8],
  ]) {
    it(`of ${entries} entries in ${ways} ways may forget but never invents`, () => {
      let hits = 0
      fc.assert(
        fc.property(fc.array(operation, { minLength: 1, maxLength: 120, size: 'max' }), (operations) => {
          hits += play(operations, entries, ways)
        }),
        { numRuns: entries >= 1024 ? RUNS / 3 : RUNS, seed: 7 },
      )
      expect(hits).toBeGreaterThan(100)
    })
  }
})
