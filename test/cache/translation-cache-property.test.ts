/** The cache beside a list that never forgets: exactly that while nothing makes room, and then never more. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { highHalf, type Page } from '../../hw-model/bits/address.js'
import { type CacheLimits, WORD_LIMITS } from '../../hw-model/cache/arrays.js'
import { Chance } from '../../hw-model/cache/chance.js'
import { ANY_FLAGS, type CacheGeometry, type FlagMatch } from '../../hw-model/cache/geometry.js'
import { TagTable } from '../../hw-model/cache/tag-table.js'
import { type CacheHabits, MISS, TranslationCache } from '../../hw-model/cache/translation-cache.js'
import { type Kept, SlowCache } from './slow-cache.js'

const RUNS = process.env['IOMMUD_TEST_LONG'] === '1' ? 5000 : 100
const SIZES = [12, 12, 12, 12, 14, 16, 17, 21, 21, 25, 29, 30, 34, 36, 39, 42, 48]
const LAST = 2 ** 52 - 1

const tag = fc.integer({ min: 0, max: 3 })
/** Few pages, close together in places far apart, so that operations meet; the last are those of TTBR1. */
const pages = fc
  .tuple(
    fc.constantFrom(0, 2 ** 20 - 8, 2 ** 32 - 8, 2 ** 45 - 512, LAST - 1023),
    fc.integer({ min: 0, max: 15 }),
    fc.constantFrom(1, 1, 4, 33),
  )
  .map(([base, at, step]) => base + at * step)

const matches = fc.constantFrom<FlagMatch>(
  ANY_FLAGS,
  ANY_FLAGS,
  { mask: 1, want: 1, some: 0 },
  { mask: 0, want: 0, some: 2 },
  { mask: 1, want: 0, some: 2 },
)

const record = <K extends string, T extends object>(
  weight: number,
  op: K,
  rest: { [k in keyof T]: fc.Arbitrary<T[k]> },
) => ({
  weight,
  arbitrary: fc.record({ op: fc.constant(op), ...rest }) as fc.Arbitrary<{ op: K } & T>,
})

const fill = {
  tag,
  group: tag,
  at: pages,
  size: fc.constantFrom(...SIZES),
  flags: fc.integer({ min: 0, max: 3 }),
  /** How much larger the span is of which it is a piece. */
  more: fc.constantFrom(0, 0, 0, 0, 2, 9),
}
const range = { tag, at: pages, count: fc.constantFrom(1, 3, 64, 512, 1024, 2 ** 30, 2 ** 52), flags: matches }

const drops = [
  record(1, 'dropTag', { tag }),
  record(1, 'dropGroup', { tag }),
  record(2, 'tagPages', range),
  record(2, 'groupPages', range),
  record(1, 'severalPages', range),
  record(1, 'all', {}),
] as const

const drop = fc.oneof(...drops)
const operation = fc.oneof(
  record(24, 'fill', fill),
  record(4, 'run', fill),
  record(12, 'find', { tag, at: pages }),
  record(3, 'findSize', { tag, at: pages, size: fc.constantFrom(...SIZES) }),
  record(1, 'setFlags', { tag, at: pages, flags: fc.integer({ min: 0, max: 3 }) }),
  record(1, 'view', { drops: fc.array(drop, { maxLength: 3 }), at: fc.array(fc.tuple(tag, pages), { maxLength: 12 }) }),
  ...drops,
)

type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never
type Drop = typeof drop extends fc.Arbitrary<infer T> ? T : never

/** Both caches, and what is asked of them. */
class Pair {
  hits = 0
  readonly cache: TranslationCache
  readonly list = new SlowCache()
  #serial = 0

  constructor(geometry: CacheGeometry, habits: CacheHabits) {
    const tables = [4, 4].map((limit) => new TagTable(limit, () => {}))
    for (const table of tables) for (let i = 0; i < 4; i++) table.intern(i)
    this.cache = new TranslationCache(geometry, tables[0], tables[1], habits)
  }

  do(step: Operation): void {
    const { cache, list } = this
    if (step.op === 'fill') this.#fill(step.at, step)
    else if (step.op === 'run') for (let i = 0; i < 12; i++) this.#fill(Math.min(step.at + i, LAST), step)
    else if (step.op === 'find') {
      const slot = this.#check(cache, list, step.tag, step.at)
      if (slot !== MISS) this.hits++
    } else if (step.op === 'findSize') {
      const slot = cache.findSize(step.tag, step.at as Page, step.size)
      const known = list.covering(step.tag, step.at).filter(({ leafLg2 }) => leafLg2 === step.size)
      if (slot !== MISS) expect(known).toEqual([this.#read(cache, slot)])
      else if (cache.evictions === 0) expect(known).toEqual([])
    } else if (step.op === 'setFlags') {
      const slot = cache.find(step.tag, step.at as Page)
      if (slot === MISS) return
      const known = this.#read(cache, slot)
      const isIt = (kept: Kept): boolean => kept.address === known.address
      cache.setFlags(slot, step.flags)
      list.entries = list.entries.map((kept) => (isIt(kept) ? { ...kept, flags: step.flags } : kept))
    } else if (step.op === 'view') this.#look(step.drops, step.at)
    else this.#drop(cache, list, step)
    this.#count()
  }

  #fill(at: number, { tag, group, size, flags, more }: { [k in keyof typeof fill]: number }): void {
    const address = ++this.#serial * 2 ** 20 * 4096
    const kept = { tag, group, leafLg2: size, spanLg2: size + more, address, flags, extra: -this.#serial }
    this.list.fill(kept, at)
    const { spanLg2, extra } = kept
    const slot = this.cache.fill(tag, group, at as Page, size, address, flags, extra, spanLg2)
    expect(this.#read(this.cache, slot)).toEqual(this.list.entries.at(-1))
  }

  #read(cache: TranslationCache, slot: number): Kept {
    const address = cache.addressOf(slot)
    return {
      tag: cache.tagOf(slot),
      group: cache.groupOf(slot),
      first: cache.pageOf(slot),
      leafLg2: cache.leafLg2Of(slot),
      // Nobody asks for a span.
      spanLg2: this.list.entries.find((kept) => kept.address === address)?.spanLg2 ?? 0,
      address,
      flags: cache.flagsOf(slot),
      extra: cache.extraOf(slot),
    }
  }

  #check(cache: TranslationCache, list: SlowCache, asked: number, at: number): number {
    const slot = cache.find(asked, at as Page)
    const known = list.covering(asked, at)
    if (slot === MISS) {
      if (this.cache.evictions === 0) expect(known).toEqual([])
    } else if (this.cache.evictions === 0) expect(this.#read(cache, slot)).toEqual(known[0])
    else expect(known).toContainEqual(this.#read(cache, slot))
    return slot
  }

  /** What is dropped from a view is gone there, and there alone. */
  #look(drops: readonly Drop[], at: readonly (readonly [number, number])[]): void {
    const view = this.cache.view()
    const list = new SlowCache(this.list.entries)
    for (const step of drops) this.#drop(view, list, step)
    for (const [asked, page] of at) {
      this.#check(view, list, asked, page)
      this.#check(this.cache, this.list, asked, page)
    }
    if (this.cache.evictions === 0) expect(view.countLive()).toBe(list.entries.length)
  }

  #drop(cache: TranslationCache, list: SlowCache, step: Drop): void {
    if (step.op === 'dropTag') {
      cache.dropTag(step.tag)
      list.drop((kept) => kept.tag === step.tag)
    } else if (step.op === 'dropGroup') {
      cache.dropGroup(step.tag)
      list.drop((kept) => kept.group === step.tag)
    } else if (step.op === 'all') {
      cache.dropAll()
      list.drop(() => true)
    } else if ('count' in step) {
      const last = Math.min(step.at + step.count - 1, LAST)
      const [first, end] = [step.at as Page, last as Page]
      const several = [step.tag, -1, (step.tag + 1) % 4]
      const pages = last - first + 1
      // A few pages may be named by halves; the spans and regions that they are in are the same.
      const isByHalves = pages <= 512 && this.#serial % 2 === 0
      if (isByHalves && step.op === 'tagPages') cache.dropTagAt(step.tag, first | 0, highHalf(first), pages, step.flags)
      else if (isByHalves && step.op === 'groupPages') {
        cache.dropGroupAt(step.tag, first | 0, highHalf(first), pages, step.flags)
      } else if (step.op === 'tagPages') cache.dropTagPages(step.tag, first, end, step.flags)
      else if (step.op === 'groupPages') cache.dropGroupPages(step.tag, first, end, step.flags)
      else cache.dropTagPages(several, first, end, step.flags)
      const isMeant = (kept: Kept): boolean => {
        if (step.op === 'severalPages') return several.includes(kept.tag)
        return (step.op === 'tagPages' ? kept.tag : kept.group) === step.tag
      }
      list.dropPages(isMeant, step.at, last, step.flags)
    }
  }

  #count(): void {
    const { cache, list } = this
    // To count is to look for what forgotten groups had, and it need not be looked for at every step.
    if (this.#serial % 3 !== 0) return
    const { live, invalidated, entries, evictions } = cache.statistics('it')
    let shown = 0
    cache.eachLive(() => shown++)
    expect(shown).toBe(live)
    expect(live).toBeLessThanOrEqual(entries)
    expect(live).toBeLessThanOrEqual(list.entries.length)
    if (evictions === 0) expect([live, invalidated]).toEqual([list.entries.length, list.invalidated])
  }
}

const SHORT: CacheLimits = { epochs: 9, generations: 3 }

describe('a translation cache', () => {
  for (const [entries, ways, makesRoom, limits] of [
    [1, 1, true, WORD_LIMITS],
    [8, 1, true, SHORT],
    [16, 4, true, WORD_LIMITS],
    [32, 1, true, SHORT],
    [64, 4, true, SHORT],
    [64, 64, true, WORD_LIMITS],
    [4096, 4096, false, WORD_LIMITS],
    [4096, 16, false, SHORT],
  ] as const) {
    const kind = makesRoom ? 'may forget but never invents' : 'forgets nothing by itself and never invents'
    it(`of ${entries} entries in ${ways} ways, with numbers for ${limits.epochs} epochs, ${kind}`, () => {
      let hits = 0
      let evictions = 0
      fc.assert(
        fc.property(
          fc.array(operation, { minLength: 1, maxLength: 160, size: 'max' }),
          fc.boolean(),
          (operations, hasChance) => {
            const pair = new Pair({ entries, ways }, { limits, chance: hasChance ? new Chance(1) : null })
            for (const step of operations) pair.do(step)
            hits += pair.hits
            evictions += pair.cache.evictions
          },
        ),
        { numRuns: RUNS, seed: 7 },
      )
      expect(hits).toBeGreaterThan(25)
      expect(evictions > 0).toBe(makesRoom)
    })
  }
})
