/** P6: invalidations of ranges, and of one page. */

import { type DropTimes, type Sweep, timeDrop } from '../drops.js'
import { onePageOfTlb, rangesOfIotlb, rangesOfTlb } from '../ranges.js'
import type { Criterion, Row } from '../row.js'
import { makeWork, type Work, withFiles, workParts } from '../work.js'

const CONTEXTS = 8
const SIZES = [
  { name: '64K', entries: 2 ** 16, capacity: 2 ** 17 },
  { name: '1M', entries: 2 ** 20, capacity: 2 ** 20 },
] as const
const QUICK = { name: '32K', entries: 2 ** 15, capacity: 2 ** 16 }

export const row: Row = {
  id: 'P6',
  what: 'invalidate 64 and 4,096 resident pages against the sweep of a GHashTable; one page against a removal by key',
  async run(bench) {
    const times: DropTimes[] = []
    const criteria: Criterion[] = []
    for (const size of bench.quick ? [QUICK] : SIZES) {
      const work = makeWork({ contexts: CONTEXTS, entries: size.entries, capacity: size.capacity, isSmall: true })
      await withFiles(async (write) => {
        const path = write('work', ...workParts(work))
        for (const pages of [64, 4096]) {
          for (const make of [rangesOfTlb, rangesOfIotlb]) {
            const found = await timeDrop(
              bench,
              make(work, pages, size.name),
              sweepOf(make === rangesOfTlb, path, pages, work),
            )
            times.push(found)
            criteria.push(faster(found))
          }
        }
        const page = onePageOfTlb(work, size.name, bench.quick ? 4096 : 32_768)
        const sweep = { source: 'qemu-smmu', words: [path], what: 'drop-page', rounds: 16_384 }
        const one = await timeDrop(bench, page, sweep)
        times.push(one)
        criteria.push(keyed(one))
      })
    }
    return { criteria, detail: { times } }
  },
}

function sweepOf(isSmmu: boolean, path: string, pages: number, { plan }: Work): Sweep {
  const words = isSmmu ? [path] : [path, 'pasids']
  const rounds = plan.entries > 500_000 ? 2 : 8
  return { source: isSmmu ? 'qemu-smmu' : 'qemu-vtd', words, what: `drop-${pages}`, rounds }
}

function faster({ name, oursNs, sweepNs, missing }: DropTimes): Criterion {
  const measured = sweepNs === null ? null : sweepNs / oursNs
  return { name: `${name}: sweep / ours`, measured, must: { atLeast: 300 }, missing }
}

function keyed({ name, oursNs, sweepNs, missing }: DropTimes): Criterion {
  const measured = sweepNs === null ? null : oursNs / sweepNs
  return { name: `${name}: ours / keyed removal`, measured, must: { atMost: 2 }, missing }
}
