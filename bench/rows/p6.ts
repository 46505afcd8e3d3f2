/** P6: invalidations of ranges, and of one page. */

import type { Page } from '../../hw-model/bits/address.js'
import { ofGeometry } from '../../hw-model/smmuv3/tlb-flags.js'
import { type Drop, type DropTimes, type Sweep, timeDrop } from '../drops.js'
import { OurIotlb, OurTlb } from '../ours.js'
import type { Bench, Criterion, Row } from '../row.js'
import { ENTRY, makeWork, type Work, withFiles, workParts } from '../work.js'

const CONTEXTS = 8
const SIZES = [
  { name: '64K', entries: 2 ** 16, capacity: 2 ** 17 },
  { name: '1M', entries: 2 ** 20, capacity: 2 ** 20 },
] as const
const QUICK = { name: '32K', entries: 2 ** 15, capacity: 2 ** 16 }
const SPACE = { first: 0, last: 0 }
/** TG and TTL of a command that names leaves of 4 KiB, as Linux gives it. */
const [TG_4K, TTL_LEAF] = [1, 3]

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
          for (const make of [ofTlb, ofIotlb]) {
            const found = await timeDrop(
              bench,
              make(work, pages, size.name),
              sweepOf(make === ofTlb, path, pages, work),
            )
            times.push(found)
            criteria.push(faster(found))
          }
        }
        const one = await onePage(bench, work, path, size.name)
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

function ofTlb(work: Work, pages: number, size: string): Drop {
  const ours = new OurTlb(work)
  const range = rangesOf(work, pages)
  const drop = (n: number): void => {
    const entry = range(n)
    const first = pageAt(work, entry)
    const scope = ofGeometry(first, (first + pages - 1) as Page, true, TG_4K, TTL_LEAF)
    ours.tlb.dropVa(SPACE, work.entries[entry * ENTRY], scope)
  }
  return { name: `SMMUv3 ${pages} pages, ${size}`, ours, work, drop, ...manner(work, pages, range) }
}

function ofIotlb(work: Work, pages: number, size: string): Drop {
  const ours = new OurIotlb(work, true)
  const range = rangesOf(work, pages)
  const drop = (n: number): void => {
    const entry = range(n)
    const first = pageAt(work, entry)
    ours.iotlb.dropPasidPages(1, work.entries[entry * ENTRY] + 1, first, (first + pages - 1) as Page)
  }
  return { name: `VT-d ${pages} pages, ${size}`, ours, work, drop, ...manner(work, pages, range) }
}

/** One page at a time, wherever it stands. */
function onePage(bench: Bench, work: Work, path: string, size: string): Promise<DropTimes> {
  const ours = new OurTlb(work)
  const at = (n: number): number => work.order[n % work.plan.entries]
  const drop = (n: number): void => {
    const page = pageAt(work, at(n))
    ours.tlb.dropVa(SPACE, work.entries[at(n) * ENTRY], ofGeometry(page, page, true, TG_4K, TTL_LEAF))
  }
  const each = (n: number, forgotten: (entry: number) => void): void => forgotten(at(n))
  const rounds = bench.quick ? 4096 : 32_768
  return timeDrop(
    bench,
    { name: `SMMUv3 one page, ${size}`, ours, work, drop, each, batch: 1024, rounds },
    { source: 'qemu-smmu', words: [path], what: 'drop-page', rounds: 16_384 },
  )
}

function manner({ plan }: Work, pages: number, range: (n: number) => number): Pick<Drop, 'batch' | 'rounds' | 'each'> {
  const batch = pages === 64 ? 256 : Math.min(16, plan.entries / pages)
  const each = (n: number, forgotten: (entry: number) => void): void => {
    const from = range(n)
    for (let entry = from; entry < from + pages; entry++) forgotten(entry)
  }
  return { batch, rounds: 4 * batch, each }
}

/** The first translation of the nth range: through the contexts and all of their pages. */
function rangesOf({ plan }: Work, pages: number): (n: number) => number {
  const count = plan.entries / pages
  return (n) => (n % count) * pages
}

const pageAt = ({ entries }: Work, entry: number): Page =>
  (entries[entry * ENTRY + 2] * 2 ** 20 + (entries[entry * ENTRY + 1] >>> 12)) as Page

function faster({ name, oursNs, sweepNs, missing }: DropTimes): Criterion {
  const measured = sweepNs === null ? null : sweepNs / oursNs
  return { name: `${name}: sweep / ours`, measured, must: { atLeast: 300 }, missing }
}

function keyed({ name, oursNs, sweepNs, missing }: DropTimes): Criterion {
  const measured = sweepNs === null ? null : oursNs / sweepNs
  return { name: `${name}: ours / keyed removal`, measured, must: { atMost: 2 }, missing }
}
