/** Two caches that are told the same, one of them by halves: whatever they are asked, they stay one and the same. */

import { describe, expect, it } from 'vitest'
import { highHalf, type Page } from '../../hw-model/bits/address.js'
import { Chance } from '../../hw-model/cache/chance.js'
import { ANY_FLAGS, type FlagMatch } from '../../hw-model/cache/geometry.js'
import { TagTable } from '../../hw-model/cache/tag-table.js'
import { TranslationCache } from '../../hw-model/cache/translation-cache.js'

const LEAVES = [12, 12, 12, 12, 12, 14, 16, 17, 21, 25, 30, 42] as const
const SPANS = [0, 0, 0, 2, 4, 9] as const
const BASES = [0, 2 ** 20 - 520, 2 ** 31 - 8, 2 ** 45 - 512, 2 ** 52 - 1100] as const
const COUNTS = [1, 1, 1, 2, 3, 16, 64, 512, 513] as const
const MATCHES: readonly FlagMatch[] = [
  ANY_FLAGS,
  ANY_FLAGS,
  { mask: 1, want: 1, some: 0 },
  { mask: 0, want: 0, some: 2 },
]

const nothing = (): void => undefined

const made = (entries: number, ways: number): TranslationCache =>
  new TranslationCache({ entries, ways }, new TagTable(8, nothing), new TagTable(8, nothing))

/** All that a cache has, in words. */
function shown(cache: TranslationCache): string[] {
  const found: string[] = []
  cache.eachLive((slot) => {
    const entry = [cache.tagOf, cache.groupOf, cache.pageOf, cache.leafLg2Of, cache.addressOf, cache.flagsOf]
    found.push([...entry.map((part) => part.call(cache, slot)), cache.extraOf(slot)].join(' '))
  })
  return found
}

describe('a drop by halves', () => {
  it.each([
    [8, 2],
    [64, 4],
    [1024, 4],
    [4096, 16],
  ])('leaves of %i entries in %i ways what a drop by numbers leaves', (entries, ways) => {
    const chance = new Chance(entries)
    const one = <T>(of: readonly T[]): T => of[chance.below(of.length)] as T
    const [plain, halved] = [made(entries, ways), made(entries, ways)]
    let dropped = 0
    for (let step = 1; step <= 30_000; step++) {
      const tag = chance.below(4)
      const group = chance.below(3)
      const page = one(BASES) + chance.below(1030)
      if (chance.below(4) !== 0) {
        const leafLg2 = one(LEAVES)
        // Spans above 2 MiB come late, since no cache looks closely from then on.
        const spanLg2 = leafLg2 + (step > 25_000 || leafLg2 <= 12 ? one(SPANS) : 0)
        const [address, flags, extra] = [step * 2 ** 30, chance.below(4), one([-1, step, step * 2 ** 21])]
        plain.fill(tag, group, page as Page, leafLg2, address, flags, extra, spanLg2)
        const [high, above] = [highHalf(address), highHalf(page)]
        const extraHigh = highHalf(extra)
        halved.fillAt(tag, group, page | 0, above, leafLg2, address | 0, high, flags, extra | 0, extraHigh, spanLg2)
      } else {
        const pages = Math.min(one(COUNTS), 2 ** 52 - page)
        const last = (page + pages - 1) as Page
        const flags = one(MATCHES)
        if (chance.below(2) === 0) {
          plain.dropTagPages(tag, page as Page, last, flags)
          halved.dropTagAt(tag, page | 0, highHalf(page), pages, flags)
        } else {
          plain.dropGroupPages(group, page as Page, last, flags)
          halved.dropGroupAt(group, page | 0, highHalf(page), pages, flags)
        }
        if (chance.below(200) === 0) for (const cache of [plain, halved]) cache.dropGroup(group)
      }
      if (step % 500 !== 0) continue
      expect(shown(halved)).toEqual(shown(plain))
      const statistics = plain.statistics('it')
      expect(halved.statistics('it')).toEqual(statistics)
      dropped = statistics.invalidated
    }
    expect(dropped).toBeGreaterThan(500)
  })
})
