/** Every fault reason that second-stage and nested tables and output addresses can cause. [VTD 7.1.3 T30] */

import { type Case, FI } from './cases.js'
import { LEVELS, withoutA } from './cases-first.js'
import { reserve, SECOND_STAGE_RESERVED } from './cases-legacy.js'
import { CAP_57 } from './cases-scalable.js'
import { CAP_48, ECAP_48, HOLE } from './guest.js'
import { GPA, GPA_OF_TABLES, PASID, VA, type World } from './world.js'

const first = { kind: 'first', depth: 3 } as const
const second = { kind: 'second', depth: 3 } as const
const nested = { kind: 'nested', depth: 3 } as const
const passThrough = { kind: 'pass-through', depth: 3 } as const

const PAGE = 0x67n
const SSADE = 1n << 9n
const WIDE = { cap: CAP_57, haw: 52 }

/** The second-stage leaf under the first-stage table that VA leads to at a level. */
const under = (w: World, level: number): bigint => w.second.at((w.first.at(VA, level) & ~0xfffn) + GPA_OF_TABLES)

const SECOND_CASES: readonly Case[] = [
  ...[1, 2, 3].map(
    (level): Case => ({
      ...second,
      code: 0x78,
      what: `a second-stage ${LEVELS[level - 1]} where no memory is`,
      spoil: (w) => w.store(w.second.at(VA, level), HOLE | 3n),
      record: `${FI} c00000780000021a`,
    }),
  ),
  ...[0, 1, 2, 3].map(
    (level): Case => ({
      ...second,
      code: 0x79,
      what: `a ${LEVELS[level]} without R and W`,
      spoil: (w) => w.clear(w.second.at(VA, level), 3n),
      dma: [VA, 'w', { pasid: PASID }],
      record: `${FI} 800045798000021a`,
    }),
  ),
  {
    ...second,
    code: 0x79,
    what: 'a table that may be read over a page that may be written: nothing is left',
    spoil: (w) => {
      w.clear(w.second.at(VA, 2), 2n)
      w.clear(w.second.at(VA), 1n)
    },
    record: `${FI} c00000790000021a`,
  },
  ...SECOND_STAGE_RESERVED.map(
    ([what, level, bits, cap]): Case => ({
      ...second,
      code: 0x7a,
      what: `${what} of the second stage`,
      options: cap === undefined ? {} : { cap },
      spoil: (w) => reserve(w, level, bits),
      record: `${FI} c000007a0000021a`,
    }),
  ),
  {
    ...second,
    code: 0x7a,
    what: 'SNP in a unit without snoop control',
    options: { ecap: ECAP_48 & ~(1n << 7n) },
    spoil: (w) => w.or(w.second.at(VA), 1n << 11n),
    record: `${FI} c000007a0000021a`,
  },
  {
    ...second,
    code: 0x7b,
    what: 'second-stage tables where no memory is',
    spoil: (w) => w.store(w.entry(), HOLE | 0x89n),
    record: `${FI} c000007b0000021a`,
  },
  {
    ...second,
    code: 0x84,
    what: 'an address beyond 48-bit tables',
    dma: [0x1_0000_0000_1000n, 'r'],
    record: '0000000000001000 c00000840000021a',
  },
  {
    ...second,
    code: 0x84,
    what: 'an address beyond 39-bit tables',
    options: { levels: 3, mapped: false },
    dma: [0x80_0000_0000n, 'w'],
    record: '0000008000000000 800000840000021a',
  },
  {
    ...second,
    code: 0x84,
    what: 'an address beyond MGAW',
    options: { cap: (CAP_48 & ~0x3f_0000n) | (39n << 16n), haw: 40 },
    dma: [0x100_0000_0000n, 'r'],
    record: '0000010000000000 c00000840000021a',
  },
  {
    ...second,
    code: 0x85,
    what: 'a write to a page that is read-only below',
    spoil: (w) => w.clear(w.second.at(VA), 2n),
    dma: [VA, 'w'],
    record: `${FI} 800000850000021a`,
    left: '0x87654abc r 12',
  },
  {
    ...second,
    code: 0x86,
    what: 'a read below a table that is write-only',
    spoil: (w) => w.clear(w.second.at(VA, 3), 1n),
    dma: [VA, 'r', { pasid: PASID }],
    record: `${FI} c00045868000021a`,
    left: '0x87654abc w 12',
  },
  {
    ...second,
    code: 0x86,
    what: 'an AtomicOp in a page that is write-only',
    spoil: (w) => w.clear(w.second.at(VA), 1n),
    dma: [VA, 'rw'],
    record: `${FI} c00000861000021a`,
    left: '0x87654abc w 12',
  },
  {
    ...second,
    code: 0x86,
    what: 'a zero-length read of a page that is write-only, without ZLR',
    options: { cap: CAP_48 & ~(1n << 22n) },
    spoil: (w) => w.clear(w.second.at(VA), 1n),
    dma: [VA, ''],
    record: `${FI} c00000860000021a`,
    left: '0x87654abc w 12',
  },
]

const ROOT_LEVEL = 3

const NESTED_CASES: readonly Case[] = [
  ...[0, 1, 2, 3].map(
    (level): Case => ({
      ...nested,
      code: 0x74,
      what: `a guest-physical address of 2^48 in a ${LEVELS[level]}`,
      options: WIDE,
      spoil: (w) => w.or(w.first.at(VA, level), 1n << 48n),
      record: `${FI} c00000740000021a`,
    }),
  ),
  {
    ...nested,
    code: 0x75,
    what: 'a first-stage root table that may only be written',
    spoil: (w) => w.clear(under(w, ROOT_LEVEL), 1n),
    record: `${FI} c00000750000021a`,
  },
  ...[0, 1, 2].map(
    (level): Case => ({
      ...nested,
      code: 0x76,
      what: `first-stage tables of level ${level + 1} that may only be written`,
      spoil: (w) => w.clear(under(w, level), 1n),
      record: `${FI} c00000760000021a`,
    }),
  ),
  ...[0, 2, 3].map(
    (level): Case => ({
      ...nested,
      code: 0x77,
      what: `A of a ${LEVELS[level]} that is to be set in a page that may only be read`,
      spoil: (w) => {
        w.clear(under(w, level), 2n)
        withoutA(w, level)
      },
      record: `${FI} c00000770000021a`,
    }),
  ),
  {
    ...nested,
    code: 0x77,
    what: 'D that is to be set in a page that may only be read',
    spoil: (w) => {
      w.clear(under(w, 0), 2n)
      w.clear(w.first.at(VA), 0x40n)
    },
    dma: [VA, 'w'],
    record: `${FI} 800000770000021a`,
  },
  {
    ...nested,
    code: 0x77,
    what: 'a first-stage table that is read where the second stage keeps flags and may only be read',
    options: { entry: [SSADE] },
    spoil: (w) => w.clear(under(w, 1), 2n),
    record: `${FI} c00000770000021a`,
  },
  {
    ...nested,
    code: 0x78,
    what: 'a second-stage table under the first stage where no memory is',
    spoil: (w) => w.store(w.second.at(w.firstPointer, 2), HOLE | 3n),
    record: `${FI} c00000780000021a`,
  },
  {
    ...nested,
    code: 0x79,
    what: 'a first-stage table that the second stage does not map',
    spoil: (w) => w.store(under(w, 0), 0n),
    record: `${FI} c00000790000021a`,
  },
  {
    ...nested,
    code: 0x79,
    what: 'a page that the second stage does not map',
    spoil: (w) => w.store(w.second.at(GPA), 0n),
    dma: [VA, 'w'],
    record: `${FI} 800000790000021a`,
  },
  {
    ...nested,
    code: 0x7a,
    what: 'a reserved bit of the second stage under a first-stage table',
    spoil: (w) => w.or(under(w, 2), 1n << 62n),
    record: `${FI} c000007a0000021a`,
  },
  {
    ...nested,
    code: 0x7b,
    what: 'second-stage tables where no memory is, nested',
    spoil: (w) => w.store(w.entry(), HOLE | 0xc9n),
    record: `${FI} c000007b0000021a`,
  },
  {
    ...nested,
    code: 0x72,
    what: 'a first-stage entry with a bit beyond the host address width, nested',
    spoil: (w) => w.or(w.first.at(VA), 1n << 48n),
    record: `${FI} c00000720000021a`,
  },
  {
    ...nested,
    code: 0x81,
    what: 'a user request to a page of the supervisor, nested',
    spoil: (w) => w.clear(w.first.at(VA), 4n),
    record: `${FI} c00000810000021a`,
  },
  {
    ...nested,
    code: 0x85,
    what: 'a write that the first stage refuses, nested',
    spoil: (w) => w.clear(w.first.at(VA), 2n),
    dma: [VA, 'w'],
    record: `${FI} 800000850000021a`,
    left: '0x87654abc r 12',
  },
  {
    ...nested,
    code: 0x85,
    what: 'a write that the second stage refuses, nested',
    spoil: (w) => w.clear(w.second.at(GPA), 2n),
    dma: [VA, 'w'],
    record: `${FI} 800000850000021a`,
    left: '0x87654abc r 12',
  },
  {
    ...nested,
    code: 0x86,
    what: 'a read that the second stage refuses, nested',
    spoil: (w) => w.clear(w.second.at(GPA), 1n),
    record: `${FI} c00000860000021a`,
    left: '0x87654abc w 12',
  },
]

const OUTPUT_CASES: readonly Case[] = [
  {
    ...passThrough,
    code: 0x83,
    what: 'a pass-through address beyond the host address width',
    options: { haw: 40 },
    dma: [0x100_0000_0000n, 'w'],
    record: '0000010000000000 800000830000021a',
  },
  {
    ...passThrough,
    code: 0x87,
    what: 'a pass-through request with PASID to the interrupt range',
    dma: [0xfee1_2340n, 'w', { pasid: PASID, bytes: 4 }],
    record: '00000000fee12000 800045878000021a',
  },
  {
    ...first,
    code: 0x87,
    what: 'a first-stage page of the interrupt range',
    spoil: (w) => w.store(w.first.at(VA), 0xfee0_0000n | PAGE),
    record: `${FI} c00000870000021a`,
  },
  {
    ...second,
    code: 0x87,
    what: 'a second-stage page of the interrupt range',
    spoil: (w) => w.store(w.second.at(VA), 0xfeef_f003n),
    record: `${FI} c00000870000021a`,
  },
  {
    ...nested,
    code: 0x87,
    what: 'a nested page of the interrupt range',
    spoil: (w) => w.store(w.second.at(GPA), 0xfee8_0003n),
    record: `${FI} c00000870000021a`,
  },
]

export const SECOND_STAGE_CASES: readonly Case[] = [...SECOND_CASES, ...NESTED_CASES, ...OUTPUT_CASES]
