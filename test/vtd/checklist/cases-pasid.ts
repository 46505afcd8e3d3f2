/** Every fault reason of PASID tables and their entries. [VTD 7.1.3 T30] */

import { type Case, FI } from './cases.js'
import { CAP_57, spoilt } from './cases-scalable.js'
import { CAP_48, ECAP_48, HOLE } from './guest.js'
import { type Kind, PASID, VA } from './world.js'

const inDirectory = { kind: 'first', depth: 2 } as const
const inEntry = { kind: 'first', depth: 3 } as const

/** In every kind of entry. */
const ALWAYS_RESERVED: readonly (readonly [what: string, word: number, bits: bigint])[] = [
  ['bit 5', 0, 1n << 5n],
  ['bit 10', 0, 1n << 10n],
  ['bit 11', 0, 1n << 11n],
  ['bit 48, beyond the host address width', 0, 1n << 48n],
  ['bit 80', 1, 1n << 16n],
  ['bit 86', 1, 1n << 22n],
  ['CD in a unit without memory types', 1, 1n << 25n],
  ['EMTE in a unit without memory types', 1, 1n << 26n],
  ['bit 91', 1, 1n << 27n],
  ['bit 95', 1, 1n << 31n],
  ['PAT in a unit without memory types', 1, 1n << 32n],
  ['bit 129', 2, 1n << 1n],
  ['bit 136', 2, 1n << 8n],
  ['bit 139', 2, 1n << 11n],
  ['bit 176, beyond the host address width', 2, 1n << 48n],
  ['bit 192', 3, 1n],
  ['bit 255', 3, 1n << 63n],
  ['HPTSZ in a unit without host permission tables', 4, 1n],
  ['HPTPFD in a unit without host permission tables', 4, 4n],
  ['HPTPTR in a unit without host permission tables', 4, 1n << 12n],
  ['HPTDID in a unit without host permission tables', 5, 1n],
  ['bit 384', 6, 1n],
  ['bit 511', 7, 1n << 63n],
]

const KINDS: readonly Kind[] = ['first', 'second', 'nested', 'pass-through']

const withoutSecond = ECAP_48 & ~((1n << 46n) | (1n << 26n) | (1n << 45n))
const withoutFirst = ECAP_48 & ~((1n << 47n) | (1n << 26n) | (1n << 34n))
const withoutCoherency = ECAP_48 & ~((1n << 48n) | (1n << 34n) | (1n << 45n))
const CAP_WITHOUT_FIRST = CAP_48 & ~(1n << 56n)

const RESERVED_CASES: readonly Case[] = [
  ...KINDS.flatMap((kind) =>
    spoilt({ kind, depth: 3, code: 0x5a, record: `${FI} c000005a0000021a` }, (w) => w.entry(), ALWAYS_RESERVED).map(
      (told) => ({ ...told, what: `${told.what} of an entry that is ${kind}` }),
    ),
  ),
  ...spoilt({ ...inEntry, code: 0x5a, record: `${FI} c000005a0000021a` }, (w) => w.entry(), [
    ['PWSNP in a unit without coherent walks', 1, 0n, withoutCoherency],
    ['PGSNP in a unit without snoop control', 1, 1n << 24n, ECAP_48 & ~(1n << 7n)],
    ['SRE in a unit without privileged requests', 2, 1n, ECAP_48 & ~(1n << 31n)],
    ['EAFE in a unit without extended accessed flags', 2, 1n << 7n, ECAP_48 & ~(1n << 34n)],
    ['SSADE in a unit without second-stage flags', 0, 1n << 9n, ECAP_48 & ~(1n << 45n)],
    ['SSADE in a unit without second stage', 0, 1n << 9n, withoutSecond],
    ['SSPTPTR in a unit without second stage', 0, 1n << 12n, withoutSecond],
  ]),
  ...(
    [
      ['FSPM', 1n << 2n],
      ['WPE', 1n << 4n],
      ['FSPTPTR', 1n << 12n],
    ] as const
  ).map(
    ([what, bits]): Case => ({
      kind: 'second',
      depth: 3,
      code: 0x5a,
      what: `${what} in a unit without first stage`,
      options: { ecap: withoutFirst, cap: CAP_WITHOUT_FIRST },
      spoil: (w) => w.or(w.entry() + 16n, bits),
      record: `${FI} c000005a0000021a`,
    }),
  ),
  {
    ...inEntry,
    code: 0x5a,
    what: 'a domain-id of 9 bits in a unit that has 8',
    options: { cap: (CAP_48 & ~7n) | 2n },
    spoil: (w) => w.or(w.entry() + 8n, 1n << 8n),
    record: `${FI} c000005a0000021a`,
  },
]

const VALIDITY_CASES: readonly Case[] = [
  ...(['second', 'nested'] as const).flatMap((kind) =>
    [0n, 3n, 4n, 7n].map(
      (aw): Case => ({
        kind,
        depth: 3,
        code: 0x5b,
        what: `AW ${aw} of an entry that is ${kind}, which SAGAW lacks`,
        spoil: (w) => {
          w.clear(w.entry(), 7n << 2n)
          w.or(w.entry(), aw << 2n)
        },
        record: `${FI} c000005b0000021a`,
      }),
    ),
  ),
  ...[0n, 5n, 6n, 7n].map(
    (pgtt): Case => ({
      ...inEntry,
      code: 0x5b,
      what: `PGTT ${pgtt}`,
      spoil: (w) => {
        w.clear(w.entry(), 7n << 6n)
        w.or(w.entry(), pgtt << 6n)
      },
      record: `${FI} c000005b0000021a`,
    }),
  ),
  ...(
    [
      ['nested', ECAP_48 & ~(1n << 26n)],
      ['pass-through', ECAP_48 & ~(1n << 6n)],
    ] as const
  ).map(
    ([kind, ecap]): Case => ({
      kind,
      depth: 3,
      code: 0x5b,
      what: `PGTT that is ${kind} in a unit without`,
      options: { ecap },
      record: `${FI} c000005b0000021a`,
    }),
  ),
  {
    kind: 'pass-through',
    depth: 3,
    code: 0x5b,
    what: 'PGTT of a second stage in a unit without',
    options: { ecap: withoutSecond },
    spoil: (w) => w.store(w.entry(), 0x81n),
    record: `${FI} c000005b0000021a`,
  },
  {
    kind: 'pass-through',
    depth: 3,
    code: 0x5b,
    what: 'PGTT of a first stage in a unit without',
    options: { ecap: withoutFirst, cap: CAP_WITHOUT_FIRST },
    spoil: (w) => w.store(w.entry(), 0x41n),
    record: `${FI} c000005b0000021a`,
  },
  ...(['first', 'nested'] as const).flatMap((kind) =>
    [1n, 2n, 3n].map(
      (fspm): Case => ({
        kind,
        depth: 3,
        code: 0x5b,
        what: `FSPM ${fspm} of an entry that is ${kind}, in a unit of 4 levels`,
        spoil: (w) => w.or(w.entry() + 16n, fspm << 2n),
        record: `${FI} c000005b0000021a`,
      }),
    ),
  ),
  {
    ...inEntry,
    code: 0x5b,
    what: 'FSPM 2 in a unit of 5 levels',
    options: { cap: CAP_57, haw: 52 },
    spoil: (w) => w.or(w.entry() + 16n, 8n),
    record: `${FI} c000005b0000021a`,
  },
  {
    kind: 'nested',
    depth: 3,
    code: 0x5b,
    what: 'a guest-physical FSPTPTR beyond the second stage',
    options: { cap: CAP_57, haw: 52 },
    spoil: (w) => w.or(w.entry() + 16n, 1n << 48n),
    record: `${FI} c000005b0000021a`,
  },
]

const ENTRY_CASES: readonly Case[] = [
  {
    ...inDirectory,
    code: 0x58,
    what: 'a PASID table where no memory is',
    spoil: (w) => w.store(w.directoryEntry, HOLE | 1n),
    record: `${FI} c00000580000021a`,
  },
  {
    ...inEntry,
    code: 0x59,
    what: 'an absent PASID table entry',
    spoil: (w) => w.clear(w.entry(), 1n),
    record: `${FI} c00000590000021a`,
  },
  {
    ...inEntry,
    code: 0x59,
    what: 'an absent entry of the highest PASID of its page, a write',
    dma: [VA, 'w', { pasid: 0x7f }],
    record: `${FI} 80007f598000021a`,
    depth: 2,
  },
  ...(['first', 'second', 'nested', 'pass-through'] as const).map(
    (kind): Case => ({
      kind,
      depth: 3,
      code: 0x5c,
      what: `an execute request with PASID on version 7, ${kind}`,
      options: { ver: 0x70 },
      dma: [VA, 'rx', { pasid: PASID }],
      record: `${FI} c000455cc000021a`,
    }),
  ),
  ...(['first', 'second', 'nested', 'pass-through'] as const).map(
    (kind): Case => ({
      kind,
      depth: 3,
      code: 0x5d,
      what: `a privileged request without SRE, ${kind}`,
      dma: [VA, 'wp', { pasid: PASID }],
      record: `${FI} 8000455da000021a`,
    }),
  ),
]

export const PASID_CASES: readonly Case[] = [...RESERVED_CASES, ...VALIDITY_CASES, ...ENTRY_CASES]
