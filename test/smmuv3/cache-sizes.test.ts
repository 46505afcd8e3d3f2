/** Caches of one size, chance without a seed, and blocks too large to be part of a contiguous run. */

import { describe, expect, it } from 'vitest'
import { type CacheOptions, CONFIG, cachesOfSize } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, S1 } from './bench.js'

const SID = 3

describe('caches of one size', () => {
  const sizes = (entries: number, ways: number): unknown => {
    const bench = new Bench({ caches: { policy: 'hardware', ...cachesOfSize({ entries, ways }) } })
    const all = bench.unit.cacheStatistics.map((each) => [each.name, each.entries] as const)
    return all.filter(([name]) => ['tlb', 'ipa'].includes(name))
  }

  it('have it for leaves of both stages', () => {
    expect(sizes(64, 4)).toEqual([
      ['tlb', 64],
      ['ipa', 64],
    ])
  })

  it('say nothing of table entries, unless nothing is kept at all', () => {
    expect(Object.keys(cachesOfSize({ entries: 64, ways: 4 }))).toEqual(['tlb', 'ipa'])
    expect(cachesOfSize({ entries: 0, ways: 1 })).toMatchObject({ walk1: { entries: 0 }, walk2: { entries: 0 } })
  })
})

describe('replacement by chance', () => {
  /** Which of 64 pages are answered by a TLB of 16 entries after all were asked for twice. */
  function kept(caches: CacheOptions): readonly number[] {
    const bench = new Bench({ caches: { tlb: { entries: 16, ways: 4 }, ...caches } })
    const [cd, root] = [bench.alloc(), bench.alloc()]
    bench.cd(cd, contextFields(7, root))
    bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
    const pages = Array.from({ length: 64 }, (_, i) => BigInt(i) * 0x1000n)
    for (const page of pages) bench.map(root, page, (0x8000_0000n + page) | S1.RW)
    for (const page of [...pages, ...pages])
      expect(bench.dma(SID, page)).toBe(`ok ${(0x8000_0000n + page).toString(16)}`)
    for (const page of pages) bench.map(root, page, 0n)
    return pages.flatMap((page, i) => (bench.dma(SID, page).startsWith('ok') ? [i] : []))
  }

  it('is the same for the same seed, which is 0 where none is given', () => {
    const bySeed = [0, 1, 2].map((seed) => kept({ replacement: 'random', seed }))
    for (const [seed, pages] of bySeed.entries()) expect(kept({ replacement: 'random', seed })).toEqual(pages)
    expect(kept({ replacement: 'random' })).toEqual(bySeed[0])
    expect(new Set([...bySeed, kept({})].map(String)).size).toBeGreaterThan(1)
    for (const pages of bySeed) expect(pages).toHaveLength(16)
  })
})

describe('a block with the Contiguous bit at a level that has no runs [Arm D8.7.1 The Contiguous bit]', () => {
  const CONTIGUOUS = 1n << 52n
  /** V, AP[1], AF and nG, without Type and SH: where DS is 1, SH are address bits. */
  const BLOCK = 0xc41n

  it.each([
    ['4 KiB, 512 GiB', 0, 39n, 1, true],
    ['16 KiB, 64 GiB', 2, 36n, 1, false],
    ['64 KiB, 4 TiB', 1, 42n, 0, true],
  ])('is kept as itself alone: %s', (_, TG0, shift, DS, atRoot) => {
    const bench = new Bench({ preset: 'full', caches: { policy: 'greedy' } })
    const [cd, root] = [bench.alloc(), bench.alloc(65536)]
    const table = atRoot ? root : bench.alloc(65536)
    if (!atRoot) bench.poke(root, BigInt(table) | S1.TABLE)
    bench.cd(cd, { ...contextFields(7, root), TG0, DS, IPS: 6 })
    bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
    const size = 1n << shift
    // Neighbours change places, which no run would let them.
    bench.poke(table, size | BLOCK | CONTIGUOUS)
    bench.poke(table + 8, BLOCK | CONTIGUOUS)
    const seen = [0x1000n, size + 0x1000n].map((va) => [bench.outcome(SID, va), bench.outcome(SID, va)])
    expect(seen.map(([first, second]) => [first.address, first.hit, second.address, second.hit])).toEqual([
      [Number(size) + 0x1000, 0, Number(size) + 0x1000, 1],
      [0x1000, 0, 0x1000, 1],
    ])
    // CMD_TLBI_NH_VA of the second leaves the first.
    bench.poke(table, 0n)
    bench.poke(table + 8, 0n)
    bench.commands([0x0007_0000_0000_0012n, size], [0x46n, 0n])
    expect([bench.outcome(SID, 0x2000n).address, bench.dma(SID, size)]).toEqual([
      Number(size) + 0x2000,
      'F_TRANSLATION',
    ])
  })
})
