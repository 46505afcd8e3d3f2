/** P12: which pages of 1 TiB were written, beside a loop in C over all leaf entries. */

import { freemem } from 'node:os'
import { DirtyTables } from '../dirty-tables.js'
import { nsOf } from '../measure.js'
import type { Criterion, Row } from '../row.js'

const TIB_PAGES = 2 ** 28
/** Both hold the tables: 2 GiB each for 1 TiB in 4 KiB pages. */
const NEEDED_BYTES = 6 * 2 ** 30
/** What is measured where that is not there: a part, in which as many pages are dirty. */
const PART = 16
const DIRTY = 1000

export const row: Row = {
  id: 'P12',
  what: 'which 1,000 pages of 1 TiB were written, as runs, against a loop in C over all leaf entries',
  async run(bench) {
    const pages = bench.quick || freemem() < NEEDED_BYTES ? TIB_PAGES / PART : TIB_PAGES
    const criteria: Criterion[] = []
    const detail: Record<string, unknown> = { 'GiB measured': pages / 2 ** 18, 'dirty pages': DIRTY }
    for (const [name, level] of [
      ['4K', 0],
      ['2M', 1],
    ] as const) {
      bench.say(name)
      const pagesOfLeaf = 512 ** level
      const tables = new DirtyTables(pages, level, DIRTY)
      const peer = await bench.peer('dirty', [pages / pagesOfLeaf, pagesOfLeaf, DIRTY])
      const timings = await bench.race([
        { name: 'ours', operations: 1, run: (rounds) => tables.turn(rounds) },
        peer.contender('C', 1),
      ])
      peer.stop()
      const measured = nsOf(timings, 'C') / nsOf(timings, 'ours')
      criteria.push({ name: `C / ours, ${name}`, measured, must: { atLeast: 100 } })
      detail[name] = { 'ours us': nsOf(timings, 'ours') / 1000, 'C us': nsOf(timings, 'C') / 1000 }
    }
    return { criteria, detail, limit: LIMIT }
  },
}

const LIMIT =
  'in leaves of 2 MiB all entries of 1 TiB are 4 MiB, which C reads within the time of a few hundred runs: no answer of 1,000 is a hundred times faster'
