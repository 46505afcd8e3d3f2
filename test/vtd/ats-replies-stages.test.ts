/** The columns of translation requests and translated requests, row by row: page tables. [VTD 7.1.3 T30] */

import { FIRST, SECOND } from './ats-guest.js'
import {
  entry,
  first,
  HOLE,
  leaves,
  nested,
  noUpdates,
  PA,
  PASIDS,
  type Row,
  row,
  scalable,
  second,
  tellRows,
} from './ats-rows.js'
import { FS, SS } from './guest.js'

const FIRST_ROWS: readonly Row[] = [
  row(
    '0x70 nothing Q: an unreadable entry',
    first((g) => g.store(entry(FIRST, 3), HOLE | FS.TABLE)),
  ),
  row(
    '0x71 nothing Q: an absent entry',
    first((g) => g.store(entry(FIRST, 0), PA)),
  ),
  row(
    '0x72 nothing Q: reserved bits',
    first((g) => g.store(entry(FIRST, 3), 0x21000n | FS.TABLE | FS.PS)),
  ),
  row(
    '0x73 nothing Q: an unreadable root',
    first((g) => g.store(PASIDS + 16, HOLE)),
  ),
  row(
    '0x74 nothing Q: an address beyond the second stage',
    nested(
      (g) => {
        // 39 bits and three levels; one leaf of 1 GiB.
        g.store(PASIDS, BigInt(SECOND + 0x1000) | 0xc5n)
        g.store(SECOND + 0x1000, SS.RW | SS.PS)
      },
      (1n << 40n) | FS.PAGE,
    ),
  ),
  row('0x75 nothing Q: no read of the root', nested(leaves(FIRST, SS.W))),
  row('0x76 nothing Q: no read of a lower table', nested(leaves(FIRST + 0x2000, SS.W))),
  row('0x77 nothing Q: no write of an A flag', nested(leaves(FIRST + 0x3000, SS.R), PA | FS.P | FS.US)),
  row('0x77 nothing Q: no write of a D flag', nested(leaves(FIRST + 0x3000, SS.R), PA | 0x27n)),
  row(
    '0x90 nothing Q: a flag that may not be set',
    first((g) => {
      g.store(PASIDS + 8, 2n)
      g.store(entry(FIRST, 0), PA | 7n)
    }),
  ),
  row(
    '0x91 nothing Q: a flag that cannot be set',
    first((g) => {
      g.store(entry(FIRST, 0), PA | 7n)
      noUpdates(g)
    }),
  ),
  row(
    '0x80 nothing Q: an address that is not canonical',
    first(() => {}),
    { address: 1n << 47n },
  ),
  row(
    "0x81 nothing Q: a supervisor's page",
    first((g) => g.store(entry(FIRST, 0), PA | 0x63n)),
  ),
  row(
    '0x85 r Q: no write permission',
    first((g) => g.store(entry(FIRST, 0), PA | 0x65n)),
  ),
  row(
    '0x87 CA Q: an output in the interrupt range',
    first((g) => g.store(entry(FIRST, 0), 0xfee00067n)),
  ),
]

const SECOND_ROWS: readonly Row[] = [
  row(
    '0x78 CA Q: an unreadable entry',
    second((g) => g.store(entry(SECOND, 2), HOLE | 3n)),
  ),
  row(
    '0x79 nothing Q: an absent entry',
    second((g) => g.store(entry(SECOND, 1), 0n)),
  ),
  row(
    '0x79 nothing Q: an AND of rights that is empty',
    second((g) => {
      g.store(entry(SECOND, 1), BigInt(SECOND + 0x3000) | SS.R)
      g.store(entry(SECOND, 0), PA | SS.W)
    }),
  ),
  row(
    '0x7a CA Q: reserved bits',
    second((g) => g.store(entry(SECOND, 0), PA | 3n | (1n << 62n))),
  ),
  row(
    '0x7b CA Q: an unreadable root',
    second((g) => g.store(PASIDS, HOLE | 0x89n)),
  ),
  row(
    '0x7c CA Q: a flag that may not be set',
    second((g) => g.store(PASIDS + 8, 2n), 1n << 9n),
  ),
  row('0x7d CA Q: a flag that cannot be set', second(noUpdates, 1n << 9n)),
  row(
    '0x84 nothing Q: an address beyond the width',
    second(() => {}),
    { address: 1n << 48n },
  ),
  row(
    '0x85 r Q: no write permission',
    second((g) => g.store(entry(SECOND, 0), PA | SS.R)),
  ),
  row(
    '0x86 w Q: no read permission',
    second((g) => g.store(entry(SECOND, 0), PA | SS.W)),
  ),
  row(
    '0x87 CA Q: an output in the interrupt range',
    second((g) => g.store(entry(SECOND, 0), 0xfeeff003n)),
  ),
  row(
    '0x83 nothing Q: an untranslated address beyond the host width',
    scalable((g) => g.passThrough(0, 2)),
    {
      address: 1n << 48n,
    },
  ),
]

tellRows('the first stage', FIRST_ROWS)
tellRows('the second stage', SECOND_ROWS)
