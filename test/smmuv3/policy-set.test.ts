/** A unit whose cache policy is set while it runs is, from then on, the unit that was made so. */

import { describe, expect, it } from 'vitest'
import type { CachePolicy } from '../../hw-model/port.js'
import type { CacheOptions } from '../../hw-model/smmuv3/index.js'
import { SID } from './checklist/guest.js'
import { GUEST, PAGE, World } from './checklist/tables.js'

const A = 0x80_4060_0000n
const FRAME = 0x4000_0000n
const CONTIGUOUS = 1n << 52n
const POLICIES: readonly CachePolicy[] = ['off', 'minimal', 'hardware', 'greedy', 'random']
const PAIRS = POLICIES.flatMap((from) => POLICIES.map((to) => [from, to] as const))

const page = (i: number): bigint => A + BigInt(i) * 0x1000n

/** Both stages, a contiguous run, a read-only page. */
function nested(caches: CacheOptions): World {
  const w = new World(0b111, { caches })
  for (let i = 0n; i < 16n; i++) w.one.set(A + i * 0x1000n, 3, (GUEST + FRAME + i * 0x1000n) | PAGE | CONTIGUOUS)
  for (let i = 16n; i < 64n; i++) w.one.set(A + i * 0x1000n, 3, (GUEST + FRAME + i * 0x1000n) | PAGE)
  w.apply()
  return w
}

/** What a guest that forgets half of its invalidations sees, and what the caches have made of it. */
function story(w: World): unknown {
  const seen: unknown[] = []
  const { hits } = w.unit.counters
  const look = (i: number): void => void seen.push([w.read(page(i)), w.unit.counters.hits - hits])
  for (const i of [0, 1, 0, 20, 1, 20, 21, 0, 1]) look(i)
  w.one.set(page(20), 3, (GUEST + FRAME + 0x70_0000n) | PAGE)
  w.one.set(page(0), 3, 0n)
  for (const i of [20, 21, 0]) look(i)
  w.storeSte(SID, 0b1001n)
  look(20)
  w.storeSte(SID, ...w.ste)
  // CMD_CFGI_ALL, CMD_TLBI_NSNH_ALL.
  w.command(0x04n, 0x1fn, 0x30n, 0n)
  for (let i = 0; i < 64; i++) look(i)
  return { seen, caches: w.unit.cacheStatistics }
}

describe('a policy that is set', () => {
  it.each(PAIRS)('makes of %s what was made as %s', (from, to) => {
    const w = nested({ policy: from, seed: 3 })
    for (const i of [0, 1, 20, 0]) w.read(page(i))
    w.unit.setCachePolicy(to, 5)
    expect(w.unit.cacheStatistics.map(({ live, hits, misses }) => live + hits + misses)).toEqual(Array(8).fill(0))
    expect(story(w)).toEqual(story(nested({ policy: to, seed: 5 })))
  })

  it('of none is what the unit was made with', () => {
    const caches: CacheOptions = { policy: 'greedy', tlb: { entries: 2, ways: 1 }, configEntries: { cd: 3 } }
    const w = nested(caches)
    w.unit.setCachePolicy('off')
    w.unit.setCachePolicy(null)
    expect(story(w)).toEqual(story(nested(caches)))
  })

  it('loses no count of the unit', () => {
    const w = nested({ policy: 'minimal' })
    for (const i of [0, 1, 20, 0]) w.read(page(i))
    const before = w.unit.counters
    w.unit.setCachePolicy('hardware')
    expect(w.unit.counters).toEqual(before)
    expect(before.evictions).toBeGreaterThan(3)
  })
})
