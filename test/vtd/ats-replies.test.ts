/** The columns of translation requests and translated requests, row by row: what leads to the tables. [VTD 7.1.3 T30] */

import { describe, expect, it } from 'vitest'
import { AtsGuest, SECOND } from './ats-guest.js'
import {
  CONTEXTS,
  context,
  DIRECTORY,
  entry,
  first,
  HOLE,
  legacy,
  PA,
  PASIDS,
  ROOT,
  type Row,
  rootAt,
  row,
  scalable,
  second,
  tellRows,
  version,
} from './ats-rows.js'
import { MODE, SID, SS } from './guest.js'

const LEGACY: readonly Row[] = [
  row('0x8 CA TD: an unreadable root entry', rootAt(HOLE, MODE.LEGACY)),
  row(
    '0x1 UR TD: an absent root entry',
    legacy((guest) => guest.store(ROOT, 0n)),
  ),
  row(
    '0xa CA TD: reserved bits of a root entry',
    legacy((guest) => guest.store(ROOT + 8, 1n)),
  ),
  row(
    '0x9 CA TD: an unreadable context entry',
    legacy((guest) => guest.store(ROOT, HOLE | 1n)),
  ),
  row(
    '0x2 UR Q TD: an absent context entry',
    legacy((guest, qw0) => guest.store(CONTEXTS + SID * 16, qw0 & ~1n)),
  ),
  row(
    '0xb CA Q TD: reserved bits of a context entry',
    legacy((g, qw0) => g.store(CONTEXTS + SID * 16, qw0 | 16n)),
  ),
  row(
    '0x3 CA Q TD: a width that is not supported',
    legacy((g) => g.store(CONTEXTS + SID * 16 + 8, 0x203n)),
  ),
  row(
    '0x3 CA Q TD: a reserved TT',
    legacy((g, qw0) => g.store(CONTEXTS + SID * 16, qw0 | 0xcn)),
  ),
  row('0x3 CA Q: an unreadable second-stage root', (g, fpd) => context(HOLE | 0x5n | fpd)(g, fpd)),
  row(
    '0xd UR Q TD: TT 00',
    legacy((g, qw0) => g.store(CONTEXTS + SID * 16, qw0 & ~0xcn)),
  ),
  row(
    '0xd UR Q TD: TT 10',
    legacy((g, qw0) => g.store(CONTEXTS + SID * 16, (qw0 & ~0xcn) | 8n)),
  ),
  row(
    '0x7 CA Q: an unreadable second-stage entry',
    legacy((g) => g.store(entry(SECOND, 3), HOLE | 3n)),
  ),
  row(
    '0xc CA Q: reserved bits of one',
    legacy((g) => g.store(entry(SECOND, 0), PA | 3n | (1n << 62n))),
  ),
  row(
    '0x4 nothing Q: an address beyond the width',
    legacy(() => {}),
    { address: 1n << 48n },
  ),
  row(
    '0x5 r Q: no write permission',
    legacy((g) => g.store(entry(SECOND, 0), PA | SS.R)),
  ),
  row(
    '0x6 w Q: no read permission',
    legacy((g) => g.store(entry(SECOND, 0), PA | SS.W)),
  ),
  row(
    '0x5 nothing Q: no permission',
    legacy((g) => g.store(entry(SECOND, 0), PA)),
  ),
  row(
    '0xe CA Q: an output in the interrupt range',
    legacy((g) => g.store(entry(SECOND, 0), 0xfee00000n | 3n)),
  ),
  row(
    '0x31 UR: a PASID in legacy mode',
    legacy(() => {}),
    { pasid: 5 },
  ),
]

const MODES: readonly Row[] = [
  row('0x30 CA TD: the reserved table mode', rootAt(0x1000n, 2n)),
  row('0x33 UR TD: abort-DMA mode', rootAt(0x1000n, MODE.ABORT)),
  row(
    '0x34 UR: execute, from version 8',
    first(() => {}, 5),
    { pasid: 5, access: 'rx', options: version(0x80) },
  ),
  row('0x38 CA TD: an unreadable root entry', rootAt(HOLE, MODE.SCALABLE)),
  row(
    '0x39 UR TD: an absent root entry',
    scalable((guest) => guest.store(ROOT, 0n)),
  ),
  row(
    '0x3a CA TD: reserved bits of a root entry',
    scalable((guest) => guest.store(ROOT, 0x2003n)),
  ),
]

const CONTEXT_ROWS: readonly Row[] = [
  row(
    '0x40 CA TD: an unreadable context entry',
    scalable((g) => g.store(ROOT, HOLE | 1n)),
  ),
  row(
    '0x41 UR Q TD: an absent context entry',
    scalable(() => {}, 0xcn),
  ),
  row(
    '0x42 CA Q TD: reserved bits of one',
    scalable(() => {}, 0x8dn),
  ),
  row(
    '0x43 CA Q TD: a RID_PASID that is too large',
    scalable((g) => g.store(g.context + 8, 0x2000n)),
  ),
  row(
    '0x43 CA Q TD: EPTR without PASIDE',
    scalable(() => {}, 0x45n),
  ),
  row(
    '0x44 UR Q TD: DTE=0',
    scalable(() => {}, 0x9n),
  ),
  row(
    '0x45 UR Q: PASIDE=0',
    scalable(() => {}, 0x5n),
    { pasid: 5 },
  ),
  row(
    '0x46 UR Q TD: a PASID beyond the directory',
    scalable(() => {}, 0x4dn),
    { pasid: 0x2000 },
  ),
  row(
    '0x48 UR Q TD: the PASID that is RID_PASID',
    scalable(() => {}, 0x4dn),
    { pasid: 0 },
  ),
  row(
    '0x89 UR Q TD: a PASID beyond PSS',
    scalable(() => {}, 0x4dn),
    {
      pasid: 16,
      options: { lacks: 1n << 39n },
    },
  ),
  row('0x50 CA: an unreadable directory', (g, fpd) => {
    g.startScalable(0xdn | fpd)
    g.store(g.context, HOLE | 0xdn | fpd)
  }),
  row(
    '0x51 nothing Q: an absent directory entry',
    scalable((g) => g.store(Number(DIRECTORY), 0x5000n)),
  ),
  row(
    '0x52 CA Q: reserved bits of one',
    scalable((g) => g.store(Number(DIRECTORY), 0x5005n)),
  ),
  row(
    '0x58 CA: an unreadable PASID table',
    scalable((g) => g.store(Number(DIRECTORY), HOLE | 1n)),
  ),
  row(
    '0x59 nothing Q: an absent PASID entry',
    first((g) => g.store(PASIDS, 0x40n)),
  ),
  row(
    '0x5a CA Q: reserved bits of one',
    first((g) => g.store(PASIDS, 0x61n)),
  ),
  row(
    '0x5b CA Q: a type that does not exist',
    first((g) => g.store(PASIDS, 0x1n)),
  ),
  row(
    '0x5b CA Q: a width that is not supported',
    second((g) => g.store(PASIDS, BigInt(SECOND) | 0x8dn)),
  ),
  row(
    '0x5c nothing Q: execute, before version 8',
    first(() => {}, 5),
    { pasid: 5, access: 'rx' },
  ),
  row(
    '0x5d nothing Q: privilege without SRE',
    first(() => {}, 5),
    { pasid: 5, access: 'rp' },
  ),
]

tellRows('legacy tables', LEGACY)
tellRows('the table mode and the root table', MODES)
tellRows('context and PASID tables', CONTEXT_ROWS)

describe('a PASID in translated requests', () => {
  it('is 0x31 in legacy mode, 0x34 when it executes from version 8, and 0x49 without EPTR', () => {
    const old = new AtsGuest()
    legacy(() => {})(old, 0n)
    expect(old.translated(PA, 'r', 5)).toBe('fault 0x31')
    const late = new AtsGuest(version(0x80))
    late.startScalable(0x4dn)
    expect([late.translated(PA, 'rx', 5), late.translated(PA, 'r', 5)]).toEqual(['fault 0x34', '0x800000'])
    const guest = new AtsGuest()
    for (const fpd of [0n, 2n]) {
      guest.startScalable(0xdn | fpd)
      expect(guest.translated(PA, 'r', 5)).toBe('fault 0x49')
      guest.stop()
    }
    expect(guest.faults()).toEqual(['0x49 AT=2'])
  })
})
