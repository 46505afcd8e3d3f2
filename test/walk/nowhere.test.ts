/**
 * Walks that come to an end on their way: tables that are not there, or that the stage behind does not lead to. With and
 * without what is kept of table entries. [SMMU 7.3.12 F_WALK_EABT, 7.3.13 F_TRANSLATION]
 */

import { describe, expect, it } from 'vitest'
import { NO_CACHE } from '../../hw-model/cache/geometry.js'
import { type CacheOptions, CONFIG } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, GUEST, RAM_BYTES, S1, S2, stageTwoFields } from '../smmuv3/bench.js'

const SID = 3
const VA = 0x1234_5678_9000n
const SMALL = { entries: 64, ways: 4 }
/** Where no memory is. */
const HOLE = BigInt(RAM_BYTES) + 0x10_0000n

const KEPT: readonly (readonly [string, CacheOptions])[] = [
  ['nothing', { tlb: NO_CACHE, ipa: NO_CACHE, walk1: NO_CACHE, walk2: NO_CACHE }],
  ['the second stage', { tlb: NO_CACHE, ipa: SMALL, walk1: NO_CACHE, walk2: SMALL }],
  ['everything', { tlb: SMALL, ipa: SMALL, walk1: SMALL, walk2: SMALL }],
]

/** The slot of an entry on the way from a root; `below` is what table addresses are more than physical ones. */
function slotOf(bench: Bench, root: number, input: bigint, level: number, below = 0): number {
  let table = root
  for (let at = 0; at < level; at++) {
    table = Number(bench.peek(table + Number((input >> BigInt(39 - 9 * at)) & 0x1ffn) * 8) & 0xffff_ffff_f000n) - below
  }
  return table + Number((input >> BigInt(39 - 9 * level)) & 0x1ffn) * 8
}

describe.each(KEPT)('with %s kept', (_, caches) => {
  it.each([0, 1, 2])('a table below level %i that is not there ends a walk of one stage', (level) => {
    const bench = new Bench({ preset: 'full', caches })
    const [root, cd] = [bench.alloc(), bench.alloc()]
    bench.map(root, VA, 0x30_0000n | S1.RW)
    bench.cd(cd, contextFields(7, root))
    bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
    bench.poke(slotOf(bench, root, VA, level), HOLE | S1.TABLE)
    expect([bench.dma(SID, VA), bench.dma(SID, VA)]).toEqual(['F_WALK_EABT', 'F_WALK_EABT'])
  })

  /** Tables of both stages; those of the first stand at GUEST more than where they are. */
  function nested() {
    const bench = new Bench({ preset: 'full', caches })
    const [first, second, cd] = [bench.alloc(), bench.alloc(), bench.alloc()]
    bench.map(first, VA, BigInt(GUEST + 0x30_0000) | S1.RW, 3, GUEST)
    for (let pa = 0x10_0000; pa < 0x40_0000; pa += 4096) bench.map(second, BigInt(GUEST + pa), BigInt(pa) | S2.RW)
    bench.cd(cd, contextFields(7, GUEST + first))
    const fields = { ...stageTwoFields(9, second), V: 1, Config: CONFIG.NESTED, S1ContextPtr: GUEST + cd }
    bench.ste(SID, fields)
    return { bench, second, fields, table: slotOf(bench, first, VA, 2, GUEST) }
  }

  it('a walk of two stages comes through where all is there', () => {
    expect(nested().bench.dma(SID, VA)).toBe('ok 300000')
  })

  it('a table of the first stage that the second does not know, or has too few bits for, is refused', () => {
    for (const bits of [48, 39]) {
      const { bench, table, second, fields } = nested()
      // 39 bits begin at level 1.
      const root = Number(bench.peek(second) & 0xffff_ffff_f000n)
      if (bits === 39) bench.ste(SID, { ...fields, S2T0SZ: 25, S2SL0: 1, S2TTB: root })
      expect(bench.dma(SID, VA)).toBe('ok 300000')
      bench.poke(table, (2n ** 40n) | S1.TABLE)
      bench.commands([0x30n, 0n], [0x46n, 0n])
      expect([bench.dma(SID, VA), bench.dma(SID, VA)]).toEqual(['F_TRANSLATION', 'F_TRANSLATION'])
    }
  })

  it.each([0, 1, 2])('a table of the second stage below level %i that is not there, or not valid, ends it', (level) => {
    for (const [entry, expected] of [
      [HOLE | S2.TABLE, 'F_WALK_EABT'],
      [0n, 'F_TRANSLATION'],
    ] as const) {
      const { bench, table, second } = nested()
      // The last table of the first stage, alone in its gigabyte and in its 512.
      const far = (5n << 39n) | (3n << 30n)
      const last = bench.peek(table) & 0xffff_ffff_f000n
      bench.map(second, far, (last - BigInt(GUEST)) | S2.RW)
      bench.poke(table, far | S1.TABLE)
      expect(bench.dma(SID, VA)).toBe('ok 300000')
      bench.poke(slotOf(bench, second, far, level), entry)
      bench.commands([0x30n, 0n], [0x46n, 0n])
      expect([bench.dma(SID, VA), bench.dma(SID, VA)]).toEqual([expected, expected])
    }
  })

  it('a page of the second stage that is not there, or not valid, ends it', () => {
    for (const [entry, expected] of [
      [HOLE | S2.RW, 'F_WALK_EABT'],
      [0n, 'F_TRANSLATION'],
    ] as const) {
      const { bench, table, second } = nested()
      bench.poke(slotOf(bench, second, bench.peek(table) & 0xffff_ffff_f000n, 3), entry)
      expect([bench.dma(SID, VA), bench.dma(SID, VA)]).toEqual([expected, expected])
    }
  })
})
