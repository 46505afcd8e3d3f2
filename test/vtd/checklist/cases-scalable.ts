/** Every fault reason of scalable root and context entries and of PASID directories. [VTD 7.1.3 T30] */

import { type Case, FI } from './cases.js'
import { ECAP_48, HOLE } from './guest.js'
import { PASID, RID_PASID, VA, type World } from './world.js'

/** 57-bit tables in both stages. */
export const CAP_57 = 0x91d2_078c_2278_0e06n

const inRoot = { kind: 'first', depth: 0 } as const
const inContext = { kind: 'first', depth: 1 } as const
const inDirectory = { kind: 'first', depth: 2 } as const

/** Cases that differ in the bits that are set in a record's 64-bit words. */
export function spoilt(
  common: Pick<Case, 'code' | 'kind' | 'depth' | 'record' | 'options'>,
  where: (w: World) => bigint,
  bits: readonly (readonly [what: string, word: number, bits: bigint, ecap?: bigint])[],
): Case[] {
  return bits.map(([what, word, set, ecap]) => ({
    ...common,
    what,
    options: ecap === undefined ? common.options : { ...common.options, ecap },
    spoil: (w) => w.or(where(w) + BigInt(word) * 8n, set),
  }))
}

const MODE_CASES: readonly Case[] = [
  {
    ...inRoot,
    code: 0x34,
    what: 'an execute request with PASID on version 8',
    options: { ver: 0x80 },
    dma: [VA, 'rx', { pasid: PASID }],
    record: `${FI} c0004534c000021a`,
  },
]

/** Function 02:13.2, in the upper half. */
const UPPER = { sid: 0x029a }

const ROOT_CASES: readonly Case[] = [
  {
    ...inRoot,
    code: 0x38,
    what: 'a root table where no memory is',
    rtaddr: HOLE | 0x400n,
    record: `${FI} c00000380000021a`,
  },
  {
    ...inRoot,
    code: 0x39,
    what: 'LP 0 for a function of the lower half, though UP is 1',
    spoil: (w) => w.store(w.rootEntry, w.contextTable, w.contextTable | 1n),
    record: `${FI} c00000390000021a`,
  },
  {
    ...inRoot,
    code: 0x39,
    what: 'UP 0 for a function of the upper half, though LP is 1',
    dma: [VA, 'r', UPPER],
    record: `${FI} c00000390000029a`,
  },
  ...spoilt({ ...inRoot, code: 0x3a, record: `${FI} c000003a0000021a` }, (w) => w.rootEntry, [
    ['bit 1 of the root entry', 0, 2n],
    ['bit 11 of the root entry', 0, 1n << 11n],
    ['bit 48 of the root entry, beyond the host address width', 0, 1n << 48n],
  ]),
  {
    ...inRoot,
    code: 0x3a,
    what: 'bit 65 of the root entry, for a function of the upper half',
    spoil: (w) => w.store(w.rootEntry + 8n, w.contextTable | 3n),
    dma: [VA, 'r', UPPER],
    record: `${FI} c000003a0000029a`,
  },
]

const inLargeDirectory = { pasid: 0x2000 }
const WITHOUT_RPS = ECAP_48 & ~(1n << 49n)
const WITHOUT_PASID = ECAP_48 & ~(1n << 40n)

const CONTEXT_CASES: readonly Case[] = [
  {
    ...inRoot,
    code: 0x40,
    what: 'a context table where no memory is',
    spoil: (w) => w.store(w.rootEntry, HOLE | 1n),
    record: `${FI} c00000400000021a`,
  },
  {
    ...inContext,
    code: 0x41,
    what: 'an absent context entry',
    spoil: (w) => w.clear(w.context, 1n),
    record: `${FI} c00000410000021a`,
  },
  ...spoilt({ ...inContext, code: 0x42, record: `${FI} c00000420000021a` }, (w) => w.context, [
    ['DTE in a unit without device-TLBs', 0, 1n << 2n],
    ['PRE in a unit without page requests', 0, 1n << 4n],
    ['HPTE in a unit without host permission tables', 0, 1n << 5n],
    ['EPTR in a unit without PASIDs in translated requests', 0, 1n << 6n],
    ['bit 7 of the context entry', 0, 1n << 7n],
    ['bit 8 of the context entry', 0, 1n << 8n],
    ['bit 48 of the context entry, beyond the host address width', 0, 1n << 48n],
    ['RID_PRIV in a unit without it', 1, 1n << 20n],
    ['bit 85 of the context entry', 1, 1n << 21n],
    ['bit 127 of the context entry', 1, 1n << 63n],
    ['bit 128 of the context entry', 2, 1n],
    ['bit 255 of the context entry', 3, 1n << 63n],
    ['RID_PASID in a unit without it', 1, 0n, WITHOUT_RPS],
    ['PASIDE in a unit without PASIDs', 0, 0n, WITHOUT_PASID],
  ]),
  {
    ...inContext,
    code: 0x43,
    what: 'a RID_PASID beyond the directory, whatever the request has',
    spoil: (w) => w.store(w.context + 8n, 0x2000n),
    dma: [VA, 'r', { pasid: PASID }],
    record: `${FI} c00045438000021a`,
  },
  {
    ...inContext,
    code: 0x45,
    what: 'a PASID, without PASIDE',
    spoil: (w) => w.clear(w.context, 8n),
    dma: [VA, 'w', { pasid: PASID }],
    record: `${FI} 800045458000021a`,
  },
  {
    ...inContext,
    code: 0x46,
    what: 'a PASID beyond a directory of 2^7',
    dma: [VA, 'r', inLargeDirectory],
    record: `${FI} c02000468000021a`,
  },
  {
    ...inContext,
    code: 0x46,
    what: 'a PASID beyond a directory of 2^13',
    spoil: (w) => w.or(w.context, 6n << 9n),
    dma: [VA, 'r', { pasid: 0x8_0000 }],
    record: `${FI} c80000468000021a`,
  },
  {
    ...inContext,
    code: 0x48,
    what: 'a PASID that is RID_PASID',
    dma: [VA, 'r', { pasid: RID_PASID }],
    record: `${FI} c00043488000021a`,
  },
  {
    ...inContext,
    code: 0x48,
    what: 'PASID 0 in a unit without RID_PASID',
    options: { ecap: WITHOUT_RPS },
    spoil: (w) => w.store(w.context + 8n, 0n),
    dma: [VA, 'r', { pasid: 0 }],
    record: `${FI} c00000488000021a`,
  },
  {
    ...inContext,
    code: 0x89,
    what: 'a PASID of 9 bits in a unit that has 8',
    // PSS 7.
    options: { ecap: (ECAP_48 & ~(31n << 35n)) | (7n << 35n) },
    dma: [VA, 'r', { pasid: 0x100 }],
    record: `${FI} c00100898000021a`,
  },
]

const DIRECTORY_CASES: readonly Case[] = [
  {
    ...inContext,
    code: 0x50,
    what: 'a PASID directory where no memory is',
    spoil: (w) => w.store(w.context, HOLE | 9n),
    record: `${FI} c00000500000021a`,
  },
  {
    ...inDirectory,
    code: 0x51,
    what: 'an absent directory entry',
    spoil: (w) => w.clear(w.directoryEntry, 1n),
    dma: [VA, 'rw', { pasid: PASID }],
    record: `${FI} c00045519000021a`,
  },
  ...spoilt({ ...inDirectory, code: 0x52, record: `${FI} c00000520000021a` }, (w) => w.directoryEntry, [
    ['bit 2 of the directory entry', 0, 4n],
    ['bit 11 of the directory entry', 0, 1n << 11n],
    ['bit 48 of the directory entry, beyond the host address width', 0, 1n << 48n],
  ]),
]

export const SCALABLE_CASES: readonly Case[] = [...MODE_CASES, ...ROOT_CASES, ...CONTEXT_CASES, ...DIRECTORY_CASES]
