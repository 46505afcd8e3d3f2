/** What is cached of a two-level stream table, and what CMD_CFGI_STE_RANGE takes of it. */

import { describe, expect, it } from 'vitest'
import { CONFIG, OFFSET } from '../../hw-model/smmuv3/index.js'
import { Bench } from './bench.js'

/** Streams of a level 2 table. */
const BLOCK = 64
/** L1STD.Span: 2^(Span - 1) STEs. [SMMU 5.1] */
const SPAN = 7n

/**
 * Four level 2 tables of streams that bypass, of which each block has had its first stream served. Then the level 1
 * entries lead to tables of streams that abort.
 */
function moved(): Bench {
  const bench = new Bench()
  const [top, bypass, abort] = [bench.alloc(), bench.alloc(4 * BLOCK * 64), bench.alloc(4 * BLOCK * 64)]
  const fill = (table: number, config: number): void => {
    for (let sid = 0; sid < 4 * BLOCK; sid++) bench.poke(table + sid * 64, BigInt(1 | (config << 1)))
  }
  const point = (table: number): void => {
    for (let block = 0; block < 4; block++) bench.poke(top + block * 8, BigInt(table + block * BLOCK * 64) | SPAN)
  }
  fill(bypass, CONFIG.BYPASS)
  fill(abort, CONFIG.ABORT)
  point(bypass)
  bench.write(OFFSET.CR0, 0b1100)
  bench.write64(OFFSET.STRTAB_BASE, top)
  // FMT 1 in [17:16], SPLIT 6 in [10:6], LOG2SIZE 8 in [5:0].
  bench.write(OFFSET.STRTAB_BASE_CFG, (1 << 16) | (6 << 6) | 8)
  bench.write(OFFSET.CR0, 0b1101)
  for (let block = 0; block < 4; block++) expect(bench.dma(block * BLOCK, 0x1000n)).toBe('ok 1000')
  point(abort)
  return bench
}

/** Blocks of which a stream that was never served is found through the new level 1 entry. */
const fresh = (bench: Bench): number[] =>
  [0, 1, 2, 3].filter((block) => bench.dma(block * BLOCK + 5, 0x1000n) === 'aborted')

/** Blocks whose first stream is no longer the cached one. */
const fetched = (bench: Bench): number[] =>
  [0, 1, 2, 3].filter((block) => bench.dma(block * BLOCK, 0x1000n) === 'aborted')

/** CMD_CFGI_STE_RANGE: the aligned block of 2^(Range + 1) streams around a StreamID. [SMMU 4.3.2] */
const RANGE = (sid: number, range: number): [bigint, bigint] => [(BigInt(sid) << 32n) | 0x04n, BigInt(range)]

describe('[SMMU 4.3.2 CMD_CFGI_STE_RANGE] with two levels', () => {
  it('leaves both levels cached where it is not sent', () => {
    expect([fresh(moved()), fetched(moved())]).toEqual([[], []])
  })

  it.each([
    ['one block', 65, 5, [1], [1]],
    ['two blocks', 65, 6, [0, 1], [0, 1]],
    ['two other blocks', 200, 6, [2, 3], [2, 3]],
    ['all of them', 0, 7, [0, 1, 2, 3], [0, 1, 2, 3]],
    ['every stream there is', 7, 31, [0, 1, 2, 3], [0, 1, 2, 3]],
    // Less than a block needs the block's level 1 entry too.
    ['two streams at the start of a block', 128, 0, [2], [2]],
    ['two streams inside a block', 140, 0, [2], []],
    ['streams that no block has', 1024, 5, [], []],
  ])('drops the level 1 entries and the STEs of %s', (_, sid, range, blocks, stes) => {
    const bench = moved()
    bench.commands(RANGE(sid, range))
    expect([fresh(bench), fetched(bench)]).toEqual([blocks, stes])
  })
})

describe('[SMMU 4.3.1 CMD_CFGI_STE] with two levels', () => {
  it('drops the level 1 entry unless Leaf is 1', () => {
    const bench = moved()
    const leaf: [bigint, bigint] = [(64n << 32n) | 0x03n, 1n]
    bench.commands(leaf)
    expect([fresh(bench), fetched(bench)]).toEqual([[], []])
    bench.commands([(64n << 32n) | 0x03n, 0n])
    expect([fresh(bench), fetched(bench)]).toEqual([[], [1]])
  })
})
