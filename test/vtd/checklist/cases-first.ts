/** Every fault reason that first-stage tables and the flags of both stages can cause. [VTD 7.1.3 T30] */

import { type Case, FI } from './cases.js'
import { CAP_57 } from './cases-scalable.js'
import { CAP_48, HOLE, ROM } from './guest.js'
import { PASID, VA, type World } from './world.js'

const first = { kind: 'first', depth: 3 } as const
const second = { kind: 'second', depth: 3 } as const
const nested = { kind: 'nested', depth: 3 } as const

/** P, R/W, U/S, A; and D in a page. */
const TABLE = 0x27n
const PAGE = 0x67n
const PWSNP = 1n << 23n
const SSADE = 1n << 9n
const WIDE = { cap: CAP_57, haw: 52 }

/** Entries by their level, counted from the page. */
export const LEVELS = ['page', 'table of pages', 'table of 2 MiB', 'table of 1 GiB'] as const

/** Clears A of the first-stage entry of VA. */
export const withoutA = (w: World, level: number): void => w.clear(w.first.at(VA, level), 0x20n)

const FIRST_CASES: readonly Case[] = [
  ...[1, 2, 3].map(
    (level): Case => ({
      ...first,
      code: 0x70,
      what: `a first-stage ${LEVELS[level - 1]} where no memory is`,
      spoil: (w) => w.store(w.first.at(VA, level), HOLE | TABLE),
      record: `${FI} c00000700000021a`,
    }),
  ),
  ...[0, 1, 2, 3].flatMap((level): Case[] =>
    [first, nested].map((kind) => ({
      ...kind,
      code: 0x71,
      what: `an absent ${LEVELS[level]}, ${kind.kind}`,
      spoil: (w) => w.clear(w.first.at(VA, level), 1n),
      dma: [VA, 'w', { pasid: PASID }],
      record: `${FI} 800045718000021a`,
    })),
  ),
  ...(
    [
      ['bit 48 of a page, beyond the host address width', 0, 1n << 48n],
      ['bit 51 of a page', 0, 1n << 51n],
      ['bit 48 of a table', 3, 1n << 48n],
      ['bit 7 of a table of 1 GiB', 3, 1n << 7n],
      ['bit 13 of a 2 MiB page', 1, 0x2080n],
      ['bit 20 of a 2 MiB page', 1, 0x10_0080n],
      ['bit 13 of a 1 GiB page', 2, 0x2080n],
      ['bit 29 of a 1 GiB page', 2, 0x2000_0080n],
    ] as const
  ).map(
    ([what, level, bits]): Case => ({
      ...first,
      code: 0x72,
      what,
      spoil: (w) => {
        const at = w.first.at(VA, level)
        if ((level === 1 || level === 2) && (bits & 0x80n) !== 0n) w.store(at, 0x4000_0000n | PAGE)
        w.or(at, bits)
      },
      record: `${FI} c00000720000021a`,
    }),
  ),
  {
    ...first,
    code: 0x72,
    what: 'PS of 1 GiB in a unit without such pages',
    options: { cap: CAP_48 & ~(1n << 56n) },
    spoil: (w) => w.store(w.first.at(VA, 2), 0x4000_0000n | PAGE | 0x80n),
    record: `${FI} c00000720000021a`,
  },
  {
    ...first,
    code: 0x72,
    what: 'bit 7 of an entry of level 5',
    options: { ...WIDE, levels: 5 },
    spoil: (w) => w.or(w.first.at(VA, 4), 0x80n),
    record: `${FI} c00000720000021a`,
  },
  {
    ...first,
    code: 0x73,
    what: 'first-stage tables where no memory is',
    spoil: (w) => w.store(w.entry() + 16n, HOLE),
    record: `${FI} c00000730000021a`,
  },
  {
    ...first,
    code: 0x80,
    what: 'an address that is not canonical in 48 bits',
    dma: [0x8000_0000_1234n, 'w'],
    record: '0000800000001000 800000800000021a',
  },
  {
    ...first,
    code: 0x80,
    what: 'an address that is canonical in 57 bits, not in 48',
    options: WIDE,
    dma: [0xff00_8000_0000_1000n, 'r'],
    record: '0100800000001000 c00000800000021a',
  },
  {
    ...first,
    code: 0x80,
    what: 'an address that is not canonical in 57 bits',
    options: { ...WIDE, levels: 5 },
    dma: [0x0100_0000_0000_1000n, 'r'],
    record: '0100000000001000 c00000800000021a',
  },
  ...[0, 1, 2, 3].map(
    (level): Case => ({
      ...first,
      code: 0x81,
      what: `a user request to a ${LEVELS[level]} of the supervisor`,
      spoil: (w) => w.clear(w.first.at(VA, level), 4n),
      record: `${FI} c00000810000021a`,
    }),
  ),
  ...[0, 1, 2, 3].map(
    (level): Case => ({
      ...first,
      code: 0x85,
      what: `a write below a ${LEVELS[level]} that is read-only`,
      spoil: (w) => w.clear(w.first.at(VA, level), 2n),
      dma: [VA, 'w'],
      record: `${FI} 800000850000021a`,
      left: '0x87654abc r 12',
    }),
  ),
  {
    ...first,
    code: 0x85,
    what: 'an AtomicOp in a page that is read-only',
    spoil: (w) => w.clear(w.first.at(VA), 2n),
    dma: [VA, 'rw', { pasid: PASID }],
    record: `${FI} c00045859000021a`,
    left: '0x87654abc r 12',
  },
  {
    ...first,
    code: 0x85,
    what: 'a privileged write to a page that is read-only, with WPE',
    options: { entry: [0n, 0n, 0x11n] },
    spoil: (w) => w.clear(w.first.at(VA), 2n),
    dma: [VA, 'wp', { pasid: PASID }],
    record: `${FI} 80004585a000021a`,
    left: '0x87654abc r 12',
  },
]

const FLAG_CASES: readonly Case[] = [
  ...[0, 3].map(
    (level): Case => ({
      ...first,
      code: 0x90,
      what: `A of a ${LEVELS[level]} that is to be set without PWSNP`,
      spoil: (w) => {
        w.clear(w.entry() + 8n, PWSNP)
        withoutA(w, level)
      },
      record: `${FI} c00000900000021a`,
    }),
  ),
  {
    ...first,
    code: 0x90,
    what: 'D that is to be set without PWSNP',
    spoil: (w) => {
      w.clear(w.entry() + 8n, PWSNP)
      w.clear(w.first.at(VA), 0x40n)
    },
    dma: [VA, 'w'],
    record: `${FI} 800000900000021a`,
  },
  {
    ...first,
    code: 0x90,
    what: 'EA that is to be set without PWSNP',
    options: { entry: [0n, 0n, 0x80n] },
    spoil: (w) => w.clear(w.entry() + 8n, PWSNP),
    record: `${FI} c00000900000021a`,
  },
  {
    ...first,
    code: 0x91,
    what: 'A that cannot be set',
    spoil: (w) => {
      w.rom[Number((VA >> 12n) & 511n)] = 0x8765_4007n
      w.store(w.first.at(VA, 1), ROM | TABLE)
    },
    record: `${FI} c00000910000021a`,
  },
  {
    ...first,
    code: 0x91,
    what: 'D that cannot be set',
    spoil: (w) => {
      w.rom[Number((VA >> 12n) & 511n)] = 0x8765_4027n
      w.store(w.first.at(VA, 1), ROM | TABLE)
    },
    dma: [VA, 'w'],
    record: `${FI} 800000910000021a`,
  },
  {
    ...second,
    code: 0x7c,
    what: 'A of the second stage that is to be set without PWSNP',
    options: { entry: [SSADE] },
    spoil: (w) => w.clear(w.entry() + 8n, PWSNP),
    record: `${FI} c000007c0000021a`,
  },
  {
    ...nested,
    code: 0x7c,
    what: 'A under a first-stage table that is to be set without PWSNP',
    options: { entry: [SSADE] },
    spoil: (w) => w.clear(w.entry() + 8n, PWSNP),
    record: `${FI} c000007c0000021a`,
  },
  {
    ...second,
    code: 0x7d,
    what: 'A of the second stage that cannot be set',
    options: { entry: [SSADE] },
    spoil: (w) => {
      w.rom[Number((VA >> 12n) & 511n)] = 0x8765_4003n
      w.store(w.second.at(VA, 1), ROM | 3n)
    },
    record: `${FI} c000007d0000021a`,
  },
  {
    ...second,
    code: 0x7d,
    what: 'D of the second stage that cannot be set',
    options: { entry: [SSADE] },
    spoil: (w) => {
      w.rom[Number((VA >> 12n) & 511n)] = 0x8765_4103n
      w.store(w.second.at(VA, 1), ROM | 3n)
    },
    dma: [VA, 'w'],
    record: `${FI} 8000007d0000021a`,
  },
]

export const FIRST_STAGE_CASES: readonly Case[] = [...FIRST_CASES, ...FLAG_CASES]
