/** P11: what a thousand times as much costs. */

import { type Drop, type DropTimes, timeDrop } from '../drops.js'
import { flatC, flatCById, type LookupNs, lookUp, of, RUNNER, WITHOUT_QEMU } from '../lookups.js'
import { FIRST_FRAME, FIRST_PAGE, FORMATS, type Format, Mapped, SEED } from '../mapped.js'
import { nsOf } from '../measure.js'
import { OurTlb } from '../ours.js'
import { onePageOfTlb, rangesOfTlb } from '../ranges.js'
import { type Bench, type Criterion, Missing, type Row } from '../row.js'
import { makeWork, type Work, type WorkPlan, withFiles, workParts } from '../work.js'

const { TLB, IOTLB, SECTORS } = RUNNER
const MUST = { atMost: 1.5 }
const SPACE = { first: 0, last: 0 }
/** Invalidations of an ASID in one go. */
const MANY = 1024

/** What grows: from the first to the second. */
interface Growth {
  readonly name: string
  readonly plans: readonly [WorkPlan, WorkPlan]
}

const resident = (entries: number, contexts: number): WorkPlan => ({
  contexts,
  entries,
  capacity: Math.min(2 ** 20, 2 ** Math.ceil(Math.log2(2 * entries))),
  pattern: 'random',
  isSmall: true,
})

export const row: Row = {
  id: 'P11',
  what: 'growth beyond flat C’s own: a hit, an invalidation and a map, from 1K to 1M, and from 1 to 10,000 devices',
  async run(bench) {
    const most = bench.quick ? 2 ** 13 : 2 ** 20
    const many = bench.quick ? 1000 : 10_000
    const some = bench.quick ? 8000 : 60_000
    const growths: readonly Growth[] = [
      { name: '1K to 1M', plans: [resident(1024, 16), resident(most, 16)] },
      { name: '1 to 10,000', plans: [resident(some, 1), resident(some, many)] },
    ]
    const criteria: Criterion[] = []
    const detail: Record<string, unknown> = {}
    for (const { name, plans } of growths) {
      const { times, missing } = await lookUp(bench, plans, WITHOUT_QEMU)
      const [before, after] = times.map(({ ns }) => ns)
      criteria.push(hit(`SMMUv3 hit, ${name}`, of(TLB), flatC, before, after, missing[SECTORS]))
      criteria.push(hit(`VT-d hit, ${name}`, of(IOTLB), flatCById, before, after, missing[SECTORS]))
      const drops = [await invalidations(bench, plans[0]), await invalidations(bench, plans[1])] as const
      drops[0].forEach((drop, i) => {
        criteria.push(invalidation(`${KINDS[i].name}, ${name}`, drop, drops[1][i]))
      })
      detail[name] = { hits: times, invalidations: drops }
    }
    for (const format of FORMATS) criteria.push(await maps(bench, format))
    return { criteria, detail }
  },
}

/** Pages that are mapped one by one, by the host driver and by a loop in C that walks for each. */
async function maps(bench: Bench, format: Format): Promise<Criterion> {
  const name = `a map, ${format.name}, 1K to 1M`
  const ratios: number[] = []
  for (const pages of [1024, bench.quick ? 2 ** 13 : 2 ** 20]) {
    const mapped = new Mapped(format, pages)
    const ours = mapped.contenders().find(({ name }) => name === 'map-each')
    if (ours === undefined) throw new Error('nothing maps page by page')
    try {
      const peer = await bench.peer('map', [format.name, mapped.levels, FIRST_PAGE, pages, FIRST_FRAME, SEED])
      const theirs = peer.contender('C', pages, ours.name)
      const timings = await bench.race([ours, theirs], { turns: 5, turnMs: bench.quick ? 2 : 50 })
      peer.stop()
      const [oursNs, theirsNs] = [nsOf(timings, ours.name), nsOf(timings, 'C')]
      bench.say(`${format.name}, ${pages} maps: ${oursNs.toFixed(1)} ns each, C ${theirsNs.toFixed(1)} ns`)
      ratios.push(oursNs / theirsNs)
    } catch (error) {
      if (!(error instanceof Missing)) throw error
      return { name, measured: null, must: MUST, missing: error.message }
    }
  }
  return { name, measured: ratios[1] / ratios[0], must: MUST }
}

/** Ours, against each design in C. */
type Beside = readonly DropTimes[]

const KINDS: readonly { readonly name: string; readonly what: string; drop(work: Work, quick: boolean): Drop }[] = [
  { name: 'one page', what: 'drop-page', drop: (work, quick) => onePageOfTlb(work, 'SMMUv3', quick ? 4096 : 32_768) },
  { name: '64 pages', what: 'drop-64', drop: (work) => ({ ...rangesOfTlb(work, 64, 'SMMUv3'), batch: 1 }) },
  { name: 'an ASID', what: 'drop-tags', drop: asids },
]

/** In C. */
const DESIGNS = ['flat-sectors', 'flat-regions', 'flat-sets'] as const

/** Of C, a turn. */
const ROUNDS: Readonly<Record<string, number>> = { 'drop-page': 16_384, 'drop-64': 64, 'drop-tags': 8 }

async function invalidations(bench: Bench, plan: WorkPlan): Promise<readonly Beside[]> {
  const work = makeWork(plan)
  return withFiles(async (write) => {
    const path = write('work', ...workParts(work))
    const found: Beside[] = []
    for (const { what, drop } of KINDS) {
      const beside: DropTimes[] = []
      for (const source of bench.quick ? DESIGNS.slice(0, 1) : DESIGNS) {
        if (what === 'drop-64' && (plan.entries / plan.contexts) % 64 !== 0) continue
        const rounds = ROUNDS[what]
        beside.push(await timeDrop(bench, drop(work, bench.quick), { source, words: [path], what, rounds }))
      }
      found.push(beside)
    }
    return found
  })
}

/** A thousand, one after the other. */
function asids(work: Work): Drop {
  const ours = new OurTlb(work)
  const { contexts } = work.plan
  const { first } = work
  const each = (n: number, forgotten: (entry: number) => void): void => {
    for (let i = 0; i < Math.min(MANY, contexts); i++) {
      const context = (n * MANY + i) % contexts
      for (let entry = first[context]; entry < first[context + 1]; entry++) forgotten(entry)
    }
  }
  const drop = (n: number): void => {
    for (let i = 0; i < MANY; i++) ours.tlb.dropAsid(SPACE, (n * MANY + i) % contexts)
  }
  return { name: 'SMMUv3 ASIDs', ours, work, drop, each, batch: 1, rounds: 4 }
}

function hit(
  name: string,
  ours: (ns: LookupNs) => number | undefined,
  c: (ns: LookupNs) => number,
  before: LookupNs,
  after: LookupNs,
  missing: string | undefined,
): Criterion {
  const [grown, limit] = [(ours(after) as number) / (ours(before) as number), c(after) / c(before)]
  return { name, measured: missing === undefined ? grown / limit : null, must: MUST, missing }
}

function invalidation(name: string, before: Beside, after: Beside): Criterion {
  const missing = before[0]?.missing
  if (before.length === 0 || after.length === 0) return { name: `${name}: contexts have fewer`, measured: null }
  const best = (beside: Beside): number => Math.min(...beside.map(({ sweepNs }) => sweepNs ?? Number.NaN))
  const ours = (beside: Beside): number => Math.min(...beside.map(({ oursNs }) => oursNs))
  const measured = missing === undefined ? ours(after) / ours(before) / (best(after) / best(before)) : null
  return { name, measured, must: MUST, missing }
}
