/** A unit whose cache policy is set while it runs is, from then on, the unit that was made so. */

import { describe, expect, it } from 'vitest'
import type { CachePolicy } from '../../hw-model/port.js'
import type { CacheOptions } from '../../hw-model/vtd/index.js'
import { FS, Guest, PASIDS, SS } from './guest.js'

const PAGE = 0x40_0000n
const FIRST = 0x100000
const SECOND = 0x140000
const POLICIES: readonly CachePolicy[] = ['off', 'minimal', 'hardware', 'greedy', 'random']
const PAIRS = POLICIES.flatMap((from) => POLICIES.map((to) => [from, to] as const))

const page = (k: number): bigint => PAGE + BigInt(k) * 0x1000n

/** PASID 1: first stage, did 2. PASID 2: second stage, did 3. Eight pages of each. */
function scalable(caches: CacheOptions): Guest {
  const guest = new Guest({ caches })
  guest.startScalable()
  guest.startQueue()
  guest.path(FIRST, PAGE, 0x30_0000n | FS.PAGE, FS.TABLE)
  guest.path(SECOND, PAGE, 0x30_8000n | SS.RW, SS.RW)
  for (let k = 1n; k < 8n; k++) {
    guest.store(FIRST + 0x3000 + Number(k) * 8, (0x30_0000n + k * 0x1000n) | FS.PAGE)
    guest.store(SECOND + 0x3000 + Number(k) * 8, (0x30_8000n + k * 0x1000n) | SS.RW)
  }
  guest.firstStage(1, 2, FIRST)
  guest.secondStage(2, 3, SECOND)
  return guest
}

/** What a guest that forgets its invalidations sees, and what the caches have made of it. */
function story(guest: Guest): unknown {
  const seen: unknown[] = []
  const look = (k: number, pasid: number): void => void seen.push([guest.dma(page(k), 'r', pasid), guest.out.hit])
  for (const k of [0, 1, 0, 7, 1]) for (const pasid of [1, 2]) look(k, pasid)
  guest.store(FIRST + 0x3000, 0n)
  guest.store(SECOND + 0x3008, 0x33_0000n | SS.RW)
  for (const k of [0, 1]) for (const pasid of [1, 2]) look(k, pasid)
  guest.store(PASIDS + 128, 0n)
  look(0, 2)
  look(5, 2)
  return { seen, caches: guest.unit.cacheStatistics }
}

describe('a policy that is set', () => {
  it.each(PAIRS)('makes of %s what was made as %s', (from, to) => {
    const guest = scalable({ policy: from, seed: 3 })
    for (const k of [0, 1, 0]) for (const pasid of [1, 2]) guest.dma(page(k), 'r', pasid)
    guest.unit.setCachePolicy(to, 5)
    expect(guest.unit.cacheStatistics.map(({ live, hits, misses }) => live + hits + misses)).toEqual(Array(5).fill(0))
    expect(story(guest)).toEqual(story(scalable({ policy: to, seed: 5 })))
  })

  it('of none is what the unit was made with', () => {
    const caches: CacheOptions = { policy: 'greedy', iotlb: { entries: 2, ways: 1 }, pasidEntries: 1 }
    const guest = scalable(caches)
    guest.unit.setCachePolicy('off')
    guest.unit.setCachePolicy(null)
    expect(story(guest)).toEqual(story(scalable(caches)))
  })

  it('loses no count of the unit', () => {
    const guest = scalable({ policy: 'minimal' })
    for (const k of [0, 1, 0]) for (const pasid of [1, 2]) guest.dma(page(k), 'r', pasid)
    const before = guest.unit.counters
    guest.unit.setCachePolicy('hardware')
    expect(guest.unit.counters).toEqual(before)
    expect(before.evictions).toBeGreaterThan(3)
  })
})
