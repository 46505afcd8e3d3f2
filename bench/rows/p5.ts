/** P5: invalidations of all that an address space or a domain has. */

import { highHalf, type Page } from '../../hw-model/bits/address.js'
import { type Drop, type DropTimes, type Sweep, timeDrop } from '../drops.js'
import { OurIotlb, OurTlb } from '../ours.js'
import type { Bench, Criterion, Row } from '../row.js'
import { makeWork, type Work, withFiles, workParts } from '../work.js'

/** ASIDs of the VMID, source-ids of the domain, PASIDs. */
const CONTEXTS = 1000
/** A whole number of translations for each; beside 1M, room for the rest of 2^20. */
const SIZES = [
  { name: '64K', entries: 64_000, capacity: 2 ** 17 },
  { name: '1M', entries: 1_000_000, capacity: 2 ** 20 },
] as const
const QUICK = { name: '16K', entries: 16000, capacity: 2 ** 16 }
const SPACE = { first: 0, last: 0 }

export const row: Row = {
  id: 'P5',
  what: 'TLBI_NH_ASID, TLBI_NH_ALL of 1,000 ASIDs, VT-d domain of 1,000 source-ids, PASID, all: against the sweep of a GHashTable',
  async run(bench) {
    const sizes = bench.quick ? [QUICK] : SIZES
    const found: DropTimes[][] = []
    for (const size of sizes) {
      const work = makeWork({ contexts: CONTEXTS, entries: size.entries, capacity: size.capacity, isSmall: true })
      found.push(await withFiles((write) => timesOf(bench, work, write('work', ...workParts(work)), size.name)))
    }
    const criteria = [...found.flatMap((times) => times.map(faster)), ...growth(found)]
    return { criteria, detail: { times: found.flat() } }
  },
}

async function timesOf(bench: Bench, work: Work, path: string, size: string): Promise<DropTimes[]> {
  const times: DropTimes[] = []
  for (const [drop, sweep] of pairs(work, path, size, bench.quick)) times.push(await timeDrop(bench, drop(), sweep))
  return times
}

/** Each makes its cache when its turn comes: five of a million translations are more than a machine may have. */
function pairs(work: Work, path: string, size: string, quick: boolean): readonly (readonly [() => Drop, Sweep])[] {
  const isLarge = work.plan.entries > 500_000
  const [few, one] = [isLarge || quick ? 2 : 8, isLarge ? 1 : 3]
  const every = (_: number, forgotten: (entry: number) => void): void => {
    for (let entry = 0; entry < work.plan.entries; entry++) forgotten(entry)
  }
  const whole = { work, each: every, batch: 1, rounds: isLarge ? 1 : 3 }
  const single = { work, each: ofContext(work), batch: 64, rounds: quick ? 64 : 256 }
  const sweep = (source: string, what: string, rounds: number, ...more: string[]): Sweep => ({
    source,
    words: [path, ...more],
    what,
    rounds,
  })
  return [
    [
      () => {
        const ours = new OurTlb(work)
        const isKept = withGlobals(ours)
        const drop = (n: number): void => ours.tlb.dropAsid(SPACE, n % CONTEXTS)
        const each = (n: number, forgotten: (entry: number) => void): void => {
          isKept()
          single.each(n, forgotten)
        }
        return { ...single, name: `TLBI_NH_ASID ${size}`, ours, drop, each }
      },
      sweep('qemu-smmu', 'drop-context', few),
    ],
    [
      () => {
        const ours = new OurTlb(work)
        return { ...whole, name: `TLBI_NH_ALL ${size}`, ours, drop: () => ours.tlb.dropStageOne(SPACE) }
      },
      sweep('qemu-smmu', 'drop-group', one),
    ],
    [
      () => {
        const ours = new OurIotlb(work)
        return { ...whole, name: `VT-d domain ${size}`, ours, drop: () => ours.iotlb.dropDomain(1) }
      },
      sweep('qemu-vtd', 'drop-group', one),
    ],
    [
      () => {
        const ours = new OurIotlb(work, true)
        const drop = (n: number): void => ours.iotlb.dropPasid(1, (n % CONTEXTS) + 1)
        return { ...single, name: `VT-d PASID ${size}`, ours, drop }
      },
      sweep('qemu-vtd', 'drop-context', few, 'pasids'),
    ],
    [
      () => {
        const ours = new OurTlb(work)
        return { ...whole, name: `all ${size}`, ours, drop: () => ours.tlb.dropAll() }
      },
      sweep('qemu-smmu', 'drop-all', one),
    ],
  ]
}

const ofContext =
  ({ first }: Work) =>
  (n: number, forgotten: (entry: number) => void): void => {
    const context = n % CONTEXTS
    for (let entry = first[context]; entry < first[context + 1]; entry++) forgotten(entry)
  }

/** Puts a few global pages beside the rest; answers what looks whether they are all still there. */
function withGlobals({ tlb, contexts }: OurTlb): () => void {
  const [{ globalTag, group }] = contexts
  const pages = Array.from({ length: 16 }, (_, i) => (0x7_0000_0000 + i) as Page)
  for (const page of pages) tlb.va.fill(globalTag, group, page, 12, 0x1000, 3, -1)
  return () => {
    for (const page of pages)
      if (tlb.findVaAt(contexts[1], page | 0, highHalf(page)) < 0)
        throw new Error('a global page has gone with an ASID')
  }
}

function faster({ name, oursNs, sweepNs, missing }: DropTimes): Criterion {
  const measured = sweepNs === null ? null : sweepNs / oursNs
  return { name: `${name}: sweep / ours`, measured, must: { atLeast: 1000 }, missing }
}

/** Ours at a million against ours at 64K: flat, but for memory that is further away. */
function growth([small, large]: readonly DropTimes[][]): Criterion[] {
  if (large === undefined) return []
  return large.map(({ name, oursNs }, i) => ({
    name: `${name} / 64K`,
    measured: oursNs / small[i].oursNs,
    must: { atMost: 2 },
  }))
}
