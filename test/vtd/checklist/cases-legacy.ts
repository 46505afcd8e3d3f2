/** Every fault reason of legacy mode, and of a root table that asks for what the unit lacks. [VTD 7.1.3 T30] */

import { type Case, FI } from './cases.js'
import { CAP_48, ECAP_48, HOLE } from './guest.js'
import { PASID, ROOT, VA, type World } from './world.js'

const legacy = { kind: 'legacy', depth: 1 } as const
const inRoot = { kind: 'legacy', depth: 0 } as const

/** SAGAW with 57 bits beside 39 and 48, and MGAW 57. */
const CAP_57 = 0x91d2_078c_2278_0e06n
/** MGAW 40. */
const CAP_MGAW_40 = (CAP_48 & ~0x3f_0000n) | (39n << 16n)

const ROOT_CASES: readonly Case[] = [
  {
    ...inRoot,
    code: 0x01,
    what: 'an absent root entry',
    spoil: (w) => w.store(w.rootEntry, 0n),
    record: `${FI} c00000010000021a`,
  },
  {
    ...inRoot,
    code: 0x08,
    what: 'a root table where no memory is',
    rtaddr: HOLE,
    record: `${FI} c00000080000021a`,
  },
  ...(
    [
      ['bit 1', 0, 1n << 1n],
      ['bit 11', 0, 1n << 11n],
      ['bit 48, beyond the host address width', 0, 1n << 48n],
      ['bit 64', 8, 1n],
      ['bit 127', 8, 1n << 63n],
    ] as const
  ).map(
    ([what, at, bits]): Case => ({
      ...inRoot,
      code: 0x0a,
      what: `a root entry with ${what}`,
      spoil: (w) => w.or(w.rootEntry + BigInt(at), bits),
      record: `${FI} c000000a0000021a`,
    }),
  ),
]

const CONTEXT_CASES: readonly Case[] = [
  {
    ...legacy,
    code: 0x02,
    what: 'an absent context entry',
    spoil: (w) => w.clear(w.context, 1n),
    record: `${FI} c00000020000021a`,
  },
  {
    ...inRoot,
    code: 0x09,
    what: 'a context table where no memory is',
    spoil: (w) => w.store(w.rootEntry, HOLE | 1n),
    record: `${FI} c00000090000021a`,
  },
  ...(
    [
      ['bit 4', 0, 1n << 4n],
      ['bit 11', 0, 1n << 11n],
      ['bit 48, beyond the host address width', 0, 1n << 48n],
      ['bit 71', 8, 1n << 7n],
      ['bit 88', 8, 1n << 24n],
      ['bit 127', 8, 1n << 63n],
    ] as const
  ).map(
    ([what, at, bits]): Case => ({
      ...legacy,
      code: 0x0b,
      what: `a context entry with ${what}`,
      spoil: (w) => w.or(w.context + BigInt(at), bits),
      record: `${FI} c000000b0000021a`,
    }),
  ),
  {
    ...legacy,
    code: 0x0b,
    what: 'a domain-id of 9 bits in a unit that has 8',
    // ND 2.
    options: { cap: (CAP_48 & ~7n) | 2n },
    spoil: (w) => w.or(w.context + 8n, 1n << 16n),
    record: `${FI} c000000b0000021a`,
  },
]

const VALIDITY_CASES: readonly Case[] = [
  ...[0n, 3n, 4n, 7n].map(
    (aw): Case => ({
      ...legacy,
      code: 0x03,
      what: `AW ${aw}, which SAGAW lacks`,
      spoil: (w) => w.store(w.context + 8n, aw | (7n << 8n)),
      record: `${FI} c00000030000021a`,
    }),
  ),
  {
    ...legacy,
    code: 0x03,
    what: 'AW 0 of pass-through',
    kind: 'legacy pass-through',
    spoil: (w) => w.clear(w.context + 8n, 7n),
    record: `${FI} c00000030000021a`,
  },
  {
    ...legacy,
    code: 0x03,
    what: 'TT 3',
    spoil: (w) => w.or(w.context, 0xcn),
    record: `${FI} c00000030000021a`,
  },
  {
    ...legacy,
    code: 0x03,
    what: 'TT 2 in a unit without pass-through',
    options: { ecap: ECAP_48 & ~(1n << 6n) },
    kind: 'legacy pass-through',
    record: `${FI} c00000030000021a`,
  },
  {
    ...legacy,
    code: 0x03,
    what: 'second-stage tables where no memory is',
    spoil: (w) => w.store(w.context, HOLE | 1n),
    record: `${FI} c00000030000021a`,
  },
]

const ADDRESS_CASES: readonly Case[] = [
  {
    ...legacy,
    code: 0x04,
    what: 'an address beyond 48-bit tables; its record has no bit beyond the widest tables',
    dma: [0x8001_0000_0000_1000n, 'r'],
    record: '0000000000001000 c00000040000021a',
  },
  {
    ...legacy,
    code: 0x04,
    what: 'an address beyond 39-bit tables',
    options: { levels: 3, mapped: false },
    dma: [0x80_0000_0000n, 'w'],
    record: '0000008000000000 800000040000021a',
  },
  {
    ...legacy,
    code: 0x04,
    what: 'an address beyond MGAW, within the tables',
    options: { cap: CAP_MGAW_40, haw: 40 },
    dma: [0x100_0000_0000n, 'r'],
    record: '0000010000000000 c00000040000021a',
  },
  {
    ...legacy,
    code: 0x04,
    what: 'a pass-through address beyond the host address width',
    kind: 'legacy pass-through',
    options: { haw: 40 },
    dma: [0x100_0000_0000n, 'r'],
    record: '0000010000000000 c00000040000021a',
  },
  {
    ...legacy,
    code: 0x04,
    what: 'an address beyond 57-bit tables',
    options: { cap: CAP_57, haw: 52, levels: 5 },
    dma: [0x0300_0000_0000_2000n, 'r'],
    record: '0100000000002000 c00000040000021a',
  },
]

const PERMISSION_CASES: readonly Case[] = [
  {
    ...legacy,
    code: 0x05,
    what: 'a write to a page that is read-only',
    spoil: (w) => w.clear(w.second.at(VA), 2n),
    dma: [VA, 'w'],
    record: `${FI} 800000050000021a`,
    left: '0x87654abc r 12',
  },
  {
    ...legacy,
    code: 0x05,
    what: 'a write to a page that is not there',
    spoil: (w) => w.store(w.second.at(VA), 0n),
    dma: [VA, 'w'],
    record: `${FI} 800000050000021a`,
    left: 'nothing',
  },
  {
    ...legacy,
    code: 0x05,
    what: 'an AtomicOp in a page that is read-only',
    spoil: (w) => w.clear(w.second.at(VA), 2n),
    dma: [VA, 'rw'],
    record: `${FI} c00000051000021a`,
    left: '0x87654abc r 12',
  },
  {
    ...legacy,
    code: 0x05,
    what: 'an AtomicOp in a page that is not there',
    spoil: (w) => w.store(w.second.at(VA, 3), 0n),
    dma: [VA, 'rw'],
    record: `${FI} c00000051000021a`,
    left: 'nothing',
  },
  {
    ...legacy,
    code: 0x06,
    what: 'a read of a page that is write-only',
    spoil: (w) => w.clear(w.second.at(VA), 1n),
    record: `${FI} c00000060000021a`,
    left: '0x87654abc w 12',
  },
  {
    ...legacy,
    code: 0x06,
    what: 'a read below a table that is write-only',
    spoil: (w) => w.clear(w.second.at(VA, 2), 1n),
    record: `${FI} c00000060000021a`,
    left: '0x87654abc w 12',
  },
  {
    ...legacy,
    code: 0x06,
    what: 'a read of a page that is not there',
    spoil: (w) => w.store(w.second.at(VA), 0n),
    record: `${FI} c00000060000021a`,
    left: 'nothing',
  },
  {
    ...legacy,
    code: 0x06,
    what: 'an AtomicOp in a page that is write-only',
    spoil: (w) => w.clear(w.second.at(VA), 1n),
    dma: [VA, 'rw'],
    record: `${FI} c00000061000021a`,
    left: '0x87654abc w 12',
  },
  {
    ...legacy,
    code: 0x06,
    what: 'a zero-length read of a page that is write-only, without ZLR',
    options: { cap: CAP_48 & ~(1n << 22n) },
    spoil: (w) => w.clear(w.second.at(VA), 1n),
    dma: [VA, ''],
    record: `${FI} c00000060000021a`,
    left: '0x87654abc w 12',
  },
]

/** Reserved bits by level; a level is counted from the page, 0. [VTD 9.8 Second-Stage Paging Entries] */
export const SECOND_STAGE_RESERVED: readonly (readonly [what: string, level: number, bits: bigint, cap?: bigint])[] = [
  ['bit 62 of a page', 0, 1n << 62n],
  ['bit 48 of a page, beyond the host address width', 0, 1n << 48n],
  ['bit 51 of a page', 0, 1n << 51n],
  ['bit 62 of a table', 1, 1n << 62n],
  ['bit 11 of a table of pages', 1, 1n << 11n],
  ['bit 11 of a table of 2 MiB', 2, 1n << 11n],
  ['bit 11 of a table of 1 GiB', 3, 1n << 11n],
  ['bit 7 of a table of 1 GiB', 3, 1n << 7n],
  ['bit 48 of a table', 3, 1n << 48n],
  ['bit 12 of a 2 MiB page', 1, 0x1080n],
  ['bit 20 of a 2 MiB page', 1, 0x10_0080n],
  ['bit 12 of a 1 GiB page', 2, 0x1080n],
  ['bit 29 of a 1 GiB page', 2, 0x2000_0080n],
  ['PS of 2 MiB, which SSLPS lacks', 1, 0x80n, CAP_48 & ~(3n << 34n)],
  ['PS of 1 GiB, which SSLPS lacks', 2, 0x80n, CAP_48 & ~(2n << 34n)],
]

/** Sets reserved bits in the second-stage entry of VA; one that is a page leads to a frame of its size. */
export function reserve(w: World, level: number, bits: bigint): void {
  const at = w.second.at(VA, level)
  if (level > 0 && (bits & 0x80n) !== 0n) w.store(at, 0x4000_0003n)
  w.or(at, bits)
}

const TABLE_CASES: readonly Case[] = [
  ...[1, 2, 3].map(
    (level): Case => ({
      ...legacy,
      code: 0x07,
      what: `a table of level ${level} where no memory is`,
      spoil: (w) => w.store(w.second.at(VA, level), HOLE | 3n),
      record: `${FI} c00000070000021a`,
    }),
  ),
  ...SECOND_STAGE_RESERVED.map(
    ([what, level, bits, cap]): Case => ({
      ...legacy,
      code: 0x0c,
      what,
      options: cap === undefined ? {} : { cap },
      spoil: (w) => reserve(w, level, bits),
      record: `${FI} c000000c0000021a`,
    }),
  ),
  {
    ...legacy,
    code: 0x0c,
    what: 'SNP in a unit without snoop control',
    options: { ecap: ECAP_48 & ~(1n << 7n) },
    spoil: (w) => w.or(w.second.at(VA), 1n << 11n),
    record: `${FI} c000000c0000021a`,
  },
  {
    ...legacy,
    code: 0x0e,
    what: 'a page of the interrupt range',
    spoil: (w) => w.store(w.second.at(VA), 0xfeef_f003n),
    record: `${FI} c000000e0000021a`,
  },
  {
    ...legacy,
    code: 0x0e,
    what: 'the half of a 2 MiB page that is in the interrupt range',
    spoil: (w) => w.store(w.second.at(0xf_f000n, 1), 0xfee0_0083n),
    dma: [0xf_f123n, 'w'],
    record: '00000000000ff000 8000000e0000021a',
  },
]

/** Without scalable mode, and what needs it. */
const LEGACY_ONLY = 0xfc3n
/** Without abort mode. */
const NO_ABORT = ECAP_48 & ~(1n << 52n)

const MODE_CASES: readonly Case[] = [
  {
    ...inRoot,
    code: 0x30,
    what: 'TTM 2',
    rtaddr: ROOT | 0x800n,
    record: `${FI} c00000300000021a`,
  },
  {
    ...inRoot,
    code: 0x30,
    what: 'TTM 3 in a unit without abort mode',
    options: { ecap: NO_ABORT },
    rtaddr: ROOT | 0xc00n,
    record: `${FI} c00000300000021a`,
  },
  {
    ...inRoot,
    code: 0x30,
    what: 'TTM 1 in a unit without scalable mode',
    options: { ecap: LEGACY_ONLY, cap: 0x80d2_078c_226f_0606n },
    rtaddr: ROOT | 0x400n,
    record: `${FI} c00000300000021a`,
  },
  {
    ...inRoot,
    code: 0x31,
    what: 'a request with PASID in legacy mode',
    dma: [VA, 'r', { pasid: PASID }],
    record: `${FI} c00045318000021a`,
  },
  {
    ...inRoot,
    code: 0x33,
    what: 'abort mode',
    rtaddr: ROOT | 0xc00n,
    dma: [VA, 'w'],
    record: `${FI} 800000330000021a`,
  },
  {
    ...inRoot,
    code: 0x33,
    what: 'abort mode, with a PASID, privileged',
    rtaddr: HOLE | 0xc00n,
    dma: [VA, 'rp', { pasid: 0xfffff }],
    record: `${FI} cfffff33a000021a`,
  },
]

export const LEGACY_CASES: readonly Case[] = [
  ...ROOT_CASES,
  ...CONTEXT_CASES,
  ...VALIDITY_CASES,
  ...ADDRESS_CASES,
  ...PERMISSION_CASES,
  ...TABLE_CASES,
  ...MODE_CASES,
]
