/** A gibibyte mapped in pages of 4 KiB, and unmapped, against loops in C that write the same entries. */

import { FIRST_FRAME, FIRST_PAGE, FORMATS, Mapped, PAGES, SEED } from '../mapped.js'
import { nsOf } from '../measure.js'
import type { Criterion, Row } from '../row.js'

const MUST = { atMost: 4 }
const SHOULD = { atMost: 2 }
/** Nothing is asked of these, and a round is long. */
const EACH = { turns: 5, turnMs: 1 }

export const row: Row = {
  id: 'P8',
  what: 'a GiB mapped in 4K pages, and unmapped, against a C loop that writes the same entries',
  async run(bench) {
    const asked: Criterion[] = []
    const told: Criterion[] = []
    const ns: Record<string, number> = {}
    for (const format of FORMATS) {
      bench.say(format.name)
      const mapped = new Mapped(format)
      const words = [format.name, mapped.levels, FIRST_PAGE, PAGES, FIRST_FRAME, SEED]
      const peer = await bench.peer('map', words)
      for (const ours of mapped.contenders()) {
        const theirs = peer.contender(`${ours.name} in C`, PAGES, ours.name)
        const isOne = !ours.name.endsWith('-each')
        const timings = await bench.race([ours, theirs], isOne ? {} : EACH)
        const measured = nsOf(timings, ours.name) / nsOf(timings, theirs.name)
        const name = `${format.name} ${ours.name}`
        if (isOne) asked.push({ name, measured, must: MUST, should: SHOULD })
        else told.push({ name: `${name} page, frames scattered`, measured })
        ns[name] = nsOf(timings, ours.name)
        ns[`${name} in C`] = nsOf(timings, theirs.name)
      }
    }
    const worst = Math.max(...asked.map(({ measured }) => measured as number))
    const criteria: Criterion[] = [{ name: 'worst', measured: worst, must: MUST, should: SHOULD }, ...asked, ...told]
    return { criteria, detail: { 'ns a page': ns, shape: SHAPE } }
  },
}

const SHAPE =
  'map and unmap: one request of 1 GiB without large pages, in the steps of IoasMap; its frames follow each other one ' +
  'page off, so no larger leaf fits anywhere. Unmapping includes the flush, which C does not have. map-each and ' +
  'unmap-each: 262,144 calls of one page, frames in no order, beside a C function that walks from the root for each.'
