/** Caches that are full for a very long time: they go on, what came last is there, and every count holds. */

import { describe, expect, it } from 'vitest'
import { Chance } from '../../hw-model/cache/chance.js'
import { MISS, type TranslationCache } from '../../hw-model/cache/translation-cache.js'
import { makeCache, page } from './both.js'

const FILLS = 50_000
/** Most are pages; the others replace many. */
const SIZES = [14, 16, 14, 16, 17, 19, 20, 21, 25] as const
const TAGS = 6
const GROUPS = 4

/** Leaves that a fill takes the place of: those that share a page, or a larger one of its size. */
function replacedBy(cache: TranslationCache, tag: number, at: number, leafLg2: number): number {
  if (leafLg2 > 21) return cache.findSize(tag, page(at), leafLg2) === MISS ? 0 : 1
  const pages = 2 ** (leafLg2 - 12)
  const first = at - (at % pages)
  let count = 0
  for (let each = first; each < first + pages; ) {
    const slot = cache.find(tag, page(each))
    const isSmall = slot !== MISS && cache.leafLg2Of(slot) <= 21
    if (isSmall) count++
    each = isSmall ? cache.pageOf(slot) + 2 ** (cache.leafLg2Of(slot) - 12) : each + 1
  }
  return count
}

function countShown(cache: TranslationCache): number {
  let shown = 0
  cache.eachLive(() => shown++)
  return shown
}

describe.each([
  [32, 4],
  [64, 64],
  [1024, 4],
])('a full cache of %i entries in %i ways', (entries, ways) => {
  it.each([
    ['in turn', false],
    ['by chance', true],
  ])('keeps what came last and every count, while others make room %s', (_, hasChance) => {
    const dice = new Chance(entries + ways)
    const cache = makeCache(entries, ways, { chance: hasChance ? new Chance(1) : null, extras: false })
    /** When each tag and group was last forgotten. */
    const [tagEnd, groupEnd] = [new Int32Array(TAGS), new Int32Array(GROUPS)]
    let [replaced, lost, stale] = [0, 0, 0]
    for (let i = 1; i <= FILLS; i++) {
      const [tag, group] = [dice.below(TAGS), dice.below(GROUPS)]
      const at = dice.below(entries) * 128 + dice.below(dice.below(2) === 0 ? 4 : 128)
      const leafLg2 = SIZES[dice.below(SIZES.length * 8)] ?? 12
      replaced += replacedBy(cache, tag, at, leafLg2)
      cache.fill(tag, group, page(at), leafLg2, i * 4096, 0, 0)
      const slot = cache.find(tag, page(at))
      // Only a smaller leaf may answer before one that is larger than 2 MiB.
      const isThere = slot !== MISS && (cache.addressOf(slot) === i * 4096 || leafLg2 > 21)
      if (!isThere || cache.findSize(tag, page(at), leafLg2) === MISS) lost++
      const found = cache.find(dice.below(TAGS), page(dice.below(entries) * 128))
      if (found !== MISS) {
        const [ofTag, ofGroup] = [tagEnd[cache.tagOf(found)] as number, groupEnd[cache.groupOf(found)] as number]
        if (cache.addressOf(found) <= Math.max(ofTag, ofGroup) * 4096) stale++
      }
      const what = dice.below(entries * 2)
      if (what === 0) {
        cache.dropTag(tag)
        tagEnd[tag] = i
      } else if (what < 3) {
        cache.dropGroup(group)
        groupEnd[group] = i
      } else if (what < 6) cache.dropTagPages(tag, page(at), page(at + 300))
      if (i % 997 !== 0) continue
      const { live, fills, evictions, invalidated } = cache.statistics('it')
      expect([countShown(cache), live + evictions + invalidated + replaced]).toEqual([live, fills])
      expect([lost, stale]).toEqual([0, 0])
      expect(live).toBeLessThanOrEqual(entries)
    }
    expect([cache.fills, replaced > 100, cache.evictions > FILLS / 4]).toEqual([FILLS, true, true])
  })
})
