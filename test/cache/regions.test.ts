/** Regions of which a cache keeps much: leaves of many sizes side by side, in blocks and beside them. */

import { describe, expect, it } from 'vitest'
import { Chance } from '../../hw-model/cache/chance.js'
import { MISS } from '../../hw-model/cache/translation-cache.js'
import { Both, LAST, makeCache, page } from './both.js'

const REGION = 512
const EIGHTH = 64

describe.each([
  ['near zero', 0],
  ['at the top of the address space', LAST + 1 - REGION],
])('in a region %s', (_, base) => {
  it.each([
    [19, true],
    [20, true],
    [19, false],
    [20, false],
  ])('a leaf of 2^%i bytes lives beside small ones, and goes as one (extras %s)', (lg2, extras) => {
    const both = new Both(1024, 4, { extras })
    for (let i = 0; i < 6; i++) both.fill(0, 0, base + i * 3)
    for (let i = 0; i < 6; i++) both.fill(0, 0, base + 400 + i)
    both.fill(0, 1, base + 300, lg2)
    both.compare([0], base, REGION)
    // It is stored once more in its own place, and takes the place of what is under it.
    both.fill(0, 2, base + 257, lg2)
    both.compare([0], base, REGION)
    both.fill(0, 1, base + 5, lg2)
    both.compare([0], base, REGION)
    // A page in its second eighth takes the place of all of it; a drop of its last page takes all of the other.
    both.fill(0, 0, base + 70)
    both.compare([0], base, REGION)
    both.dropTagPages(0, base + 256 + 2 ** (lg2 - 12) - 1, base + 256 + 2 ** (lg2 - 12) - 1)
    both.compare([0], base, REGION)
    expect(both.list.entries.some(({ leafLg2 }) => leafLg2 === lg2)).toBe(false)
    both.fill(0, 0, base, 21)
    both.compare([0], base, REGION)
    expect(both.list.entries.length).toBe(1)
  })

  it('leaves whose eighth has no block are found and dropped beside those that have one', () => {
    const both = new Both(64, 16)
    // Blocks of other regions, so that few are left for leaves that stand alone.
    for (let i = 0; i < 9; i++) for (const at of [0, 1]) both.fill(1, 1, i * REGION + at)
    for (const at of [0, 1, 2]) both.fill(0, 0, base + at)
    for (const at of [EIGHTH + 6, 3 * EIGHTH, 8 * EIGHTH - 1]) both.fill(0, 1, base + at, 12, 2)
    both.fill(0, 0, base + 5 * EIGHTH, 16)
    both.compare([0], base, REGION)
    both.dropTagPages(0, base + EIGHTH, base + 2 * EIGHTH - 1)
    both.compare([0], base, REGION)
    both.dropGroupPages(1, base + 2, base + 8 * EIGHTH - 1, { mask: 2, want: 2, some: 0 })
    both.compare([0], base, REGION)
    both.dropTagPages(0, base, base + 1)
    both.compare([0], base, REGION)
    expect(both.list.entries.filter(({ tag }) => tag === 0).map(({ first }) => first - base)).toEqual([2, 320])
  })

  it('a block that became empty is as good as a new one', () => {
    const both = new Both(32, 4)
    // There are eight blocks, of which each round takes two.
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < 8; i++) both.fill(0, round % 3, base + ((round + i * 9) % REGION))
      both.compare([0], base, REGION)
      both.dropTagPages(0, base, base + REGION - 1)
      both.compare([0], base, REGION)
    }
  })

  it('flags say of a whole region which of its leaves go', () => {
    for (const [flags, some] of [
      [[1, 1, 1, 1], 2],
      [[3, 3, 2, 3], 2],
      [[2, 2, 2, 2], 2],
      [[1, 2, 1, 3], 2],
      [[1, 2, 1, 3], 3],
      [[1, 4, 1, 3], 3],
    ] as const) {
      for (const { mask, want } of [
        { mask: 0, want: 0 },
        { mask: 1, want: 1 },
      ]) {
        const both = new Both(64, 4)
        for (const [at, each] of flags.entries()) both.fill(0, 0, base + at, 12, each)
        both.dropTagPages(0, base, base + REGION - 1, { mask, want, some })
        both.compare([0], base, REGION)
        both.dropGroupPages(1, base, base + REGION - 1, { mask, want, some: 0 })
        both.compare([0], base, REGION)
      }
    }
  })
})

/** Three leaves beside each other, at an eighth of its own, with a tag for each two. */
const NEAR = [0, 1, 2]
const eighth = (i: number): number => (i >> 2) * REGION + (i & 3) * EIGHTH

describe.each([
  ['in turn', null],
  ['by chance', 5],
])('blocks that run out, taken %s,', (_, seed) => {
  const make = (): ReturnType<typeof makeCache> => makeCache(64, 4, { chance: seed === null ? null : new Chance(seed) })
  const fill = (cache: ReturnType<typeof makeCache>, tag: number, group: number, from: number, to: number): void => {
    for (let i = from; i < to; i++) {
      for (const at of NEAR) {
        const slot = cache.fill(tag, group, page(eighth(i) + at), 12, eighth(i) + at, 1, 0)
        expect(cache.find(tag, page(eighth(i) + at))).toBe(slot)
      }
    }
  }

  it('are taken from others, whose leaves are told as evicted', () => {
    const cache = make()
    fill(cache, 0, 0, 0, 60)
    const { live, evictions, invalidated, fills } = cache.statistics('it')
    expect([live + evictions, invalidated, fills]).toEqual([180, 0, 180])
    expect(live).toBeGreaterThan(40)
  })

  it('are taken from forgotten tags first, and nobody has to go', () => {
    const cache = make()
    fill(cache, 1, 0, 0, 16)
    const before = cache.evictions
    cache.dropTag(1)
    expect(cache.countLive()).toBe(0)
    fill(cache, 2, 0, 0, 16)
    expect([cache.evictions - before, cache.countLive()]).toEqual([0, 48])
  })

  it('are taken with the leaves of forgotten groups, which are told as dropped', () => {
    for (const keep of [0, 1]) {
      const cache = make()
      fill(cache, 1, 1, 0, 16)
      // Of another group, in the same blocks.
      for (let i = 0; i < keep * 16; i++) cache.fill(1, 2, page(eighth(i) + 3), 12, 1, 1, 0)
      const before = cache.evictions
      cache.dropGroup(1)
      fill(cache, 2, 0, 0, 16)
      const { live, evictions, invalidated, fills } = cache.statistics('it')
      expect(live + evictions + invalidated).toBe(fills)
      expect(invalidated).toBeGreaterThanOrEqual(48 - before)
      for (let i = 0; i < 16; i++) expect(cache.find(1, page(eighth(i)))).toBe(MISS)
    }
  })
})

describe('leaves of a forgotten group', () => {
  it('do not answer again, wherever they were moved to when their region got blocks', () => {
    const dice = new Chance(5)
    const somewhere = (): number => dice.below(8) * REGION + dice.below(80) * 6
    let stale = 0
    for (let run = 0; run < 600; run++) {
      // Of one set, of which dead leaves are looked for in some lines at a time.
      const cache = makeCache(64, 64)
      const forgotten = [0, 0]
      for (let i = 1; i < 600; i++) {
        const group = dice.below(2)
        if (dice.below(40) === 0) {
          cache.dropGroup(group)
          forgotten[group] = i
        }
        cache.fill(0, group, page(somewhere()), 12, i * 4096, 1, 0)
        const slot = cache.find(0, page(somewhere()))
        if (slot !== MISS && cache.addressOf(slot) < (forgotten[cache.groupOf(slot)] as number) * 4096) stale++
      }
    }
    expect(stale).toBe(0)
  })
})
