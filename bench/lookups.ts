/** A hit of our caches beside the flat C limit and QEMU's way, over several pieces of work; rows P1 and P2. */

import { geometricMean, nsOf, type Timing } from './measure.js'
import { OurIotlb, OurTlb } from './ours.js'
import type { Peer } from './peer.js'
import { type Bench, Missing } from './row.js'
import { makeWork, type Pattern, type WorkPlan, withFiles, workParts } from './work.js'

const LOOKUPS = 2 ** 17
const CONTEXTS = 16

/** Names of the contenders. */
export const RUNNER = {
  TLB: 'SMMUv3 TLB',
  IOTLB: 'VT-d IOTLB',
  SECTORS: 'C sectors',
  SETS: 'C sets',
  QEMU_SMMU: 'QEMU SMMUv3',
  QEMU_VTD: 'QEMU VT-d',
} as const

/** What one piece of work took: nanoseconds a look-up, by contender, and why others took no part. */
export interface LookupTimes {
  readonly name: string
  readonly ns: Readonly<Record<string, number>>
}

/** What was found, and what is missing for the rest. */
export interface Lookups {
  readonly times: readonly LookupTimes[]
  readonly missing: Readonly<Record<string, string>>
}

/** Runs every combination of resident translations and pattern. */
export async function lookUp(
  bench: Bench,
  residents: readonly number[],
  patterns: readonly Pattern[],
  more: Partial<WorkPlan> = {},
): Promise<Lookups> {
  const times: LookupTimes[] = []
  const missing: Record<string, string> = {}
  for (const entries of residents) {
    for (const pattern of patterns) {
      const plan = { contexts: CONTEXTS, entries, capacity: 2 * entries, pattern, lookups: LOOKUPS, ...more }
      const name = `${entries} ${pattern}`
      const timings = await oneWork(bench, plan, missing)
      const ns = Object.fromEntries(timings.map((timing) => [timing.name, nsOf(timings, timing.name)]))
      times.push({ name, ns })
      bench.say(`${name}: ${timings.map(({ name, medianNs }) => `${name} ${medianNs.toFixed(1)}`).join(', ')}`)
    }
  }
  return { times, missing }
}

async function oneWork(bench: Bench, plan: WorkPlan, missing: Record<string, string>): Promise<readonly Timing[]> {
  const work = makeWork(plan)
  return withFiles(async (write) => {
    const path = write('work', ...workParts(work))
    const peers: Peer[] = []
    const peer = async (source: string, name: string, what = 'hit') => {
      try {
        const started = await bench.peer(source, [path])
        peers.push(started)
        return [started.contender(name, LOOKUPS, what)]
      } catch (error) {
        if (!(error instanceof Missing)) throw error
        missing[name] = error.message
        return []
      }
    }
    const [tlb, iotlb] = [new OurTlb(work), new OurIotlb(work)]
    try {
      return await bench.race(
        [
          { name: RUNNER.TLB, operations: LOOKUPS, run: (rounds) => tlb.hit(rounds) },
          { name: RUNNER.IOTLB, operations: LOOKUPS, run: (rounds) => iotlb.hit(rounds) },
          ...(await peer('flat-sectors', RUNNER.SECTORS)),
          ...(await peer('flat-sets', RUNNER.SETS)),
          ...(await peer('qemu-smmu', RUNNER.QEMU_SMMU)),
          ...(await peer('qemu-vtd', RUNNER.QEMU_VTD)),
        ],
        { turnMs: bench.quick ? 10 : 60 },
      )
    } finally {
      for (const peer of peers) peer.stop()
    }
  })
}

/** The geometric mean of a ratio over all pieces of work; null where a part took no part. */
export function ratio(
  { times }: Lookups,
  one: (ns: Readonly<Record<string, number>>) => number | undefined,
  other: (ns: Readonly<Record<string, number>>) => number | undefined,
): number | null {
  const ratios = times.map(({ ns }) => (one(ns) ?? Number.NaN) / (other(ns) ?? Number.NaN))
  const mean = geometricMean(ratios)
  return Number.isFinite(mean) ? mean : null
}

/** The faster of the two designs in C. */
export const flatC = (ns: Readonly<Record<string, number>>): number | undefined =>
  ns[RUNNER.SECTORS] === undefined ? undefined : Math.min(ns[RUNNER.SECTORS], ns[RUNNER.SETS])
