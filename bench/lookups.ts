/** A hit of our caches beside the flat C limit and QEMU's way, over several pieces of work; rows P1 and P2. */

import { type Contender, geometricMean, nsOf, type Timing } from './measure.js'
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
  REGIONS: 'C regions',
  SETS: 'C sets',
  /** The same, which find the requester's tag by source-id first, as the IOTLB has to. */
  SECTORS_BY_ID: 'C sectors by source-id',
  REGIONS_BY_ID: 'C regions by source-id',
  SETS_BY_ID: 'C sets by source-id',
  QEMU_SMMU: 'QEMU SMMUv3',
  QEMU_VTD: 'QEMU VT-d',
} as const

/** Which program does what a contender is to do; ours have none. */
const PEERS: Readonly<Record<string, readonly [source: string, what: string]>> = {
  [RUNNER.SECTORS]: ['flat-sectors', 'hit'],
  [RUNNER.REGIONS]: ['flat-regions', 'hit'],
  [RUNNER.SETS]: ['flat-sets', 'hit'],
  [RUNNER.SECTORS_BY_ID]: ['flat-sectors', 'hit-requester'],
  [RUNNER.REGIONS_BY_ID]: ['flat-regions', 'hit-requester'],
  [RUNNER.SETS_BY_ID]: ['flat-sets', 'hit-requester'],
  [RUNNER.QEMU_SMMU]: ['qemu-smmu', 'hit'],
  [RUNNER.QEMU_VTD]: ['qemu-vtd', 'hit'],
}

/** Ours and C. */
export const WITHOUT_QEMU = Object.values(RUNNER).filter((name) => !name.startsWith('QEMU'))

/** Nanoseconds a look-up, by contender. */
export type LookupNs = Readonly<Record<string, number>>

/** What was found, and what is missing for the rest. */
export interface Lookups {
  readonly times: readonly { readonly name: string; readonly ns: LookupNs }[]
  readonly missing: Readonly<Record<string, string>>
}

/** Plans for every combination of resident translations and pattern. */
export const plansOf = (
  residents: readonly number[],
  patterns: readonly Pattern[],
  more: Partial<WorkPlan> = {},
): readonly WorkPlan[] =>
  residents.flatMap((entries) =>
    patterns.map((pattern) => ({ contexts: CONTEXTS, entries, capacity: 2 * entries, pattern, ...more })),
  )

/** Runs pieces of work. */
export async function lookUp(
  bench: Bench,
  plans: readonly WorkPlan[],
  runners: readonly string[] = Object.values(RUNNER),
): Promise<Lookups> {
  const times: { name: string; ns: LookupNs }[] = []
  const missing: Record<string, string> = {}
  for (const plan of plans) {
    const timings = await oneWork(bench, { lookups: LOOKUPS, ...plan }, runners, missing)
    const name = `${plan.entries} of ${plan.contexts}, ${plan.pattern}`
    times.push({ name, ns: Object.fromEntries(timings.map((timing) => [timing.name, nsOf(timings, timing.name)])) })
    bench.say(`${name}: ${timings.map(({ name, medianNs }) => `${name} ${medianNs.toFixed(1)}`).join(', ')}`)
  }
  return { times, missing }
}

async function oneWork(
  bench: Bench,
  plan: WorkPlan,
  runners: readonly string[],
  missing: Record<string, string>,
): Promise<readonly Timing[]> {
  const work = makeWork(plan)
  return withFiles(async (write) => {
    const path = write('work', ...workParts(work))
    const peers = new Map<string, Peer>()
    const contenders: Contender[] = []
    for (const name of runners) {
      if (name === RUNNER.TLB || name === RUNNER.IOTLB) {
        const ours = name === RUNNER.TLB ? new OurTlb(work) : new OurIotlb(work)
        contenders.push({ name, operations: LOOKUPS, run: (rounds) => ours.hit(rounds) })
        continue
      }
      const [source, what] = PEERS[name]
      try {
        const peer = peers.get(source) ?? (await bench.peer(source, [path]))
        peers.set(source, peer)
        contenders.push(peer.contender(name, LOOKUPS, what))
      } catch (error) {
        if (!(error instanceof Missing)) throw error
        missing[name] = error.message
      }
    }
    try {
      return await bench.race(contenders, { turnMs: bench.quick ? 5 : 30 })
    } finally {
      for (const peer of peers.values()) peer.stop()
    }
  })
}

/** The geometric mean of a ratio over all pieces of work; null where a part took no part. */
export function ratio(
  times: Lookups['times'],
  one: (ns: LookupNs) => number | undefined,
  other: (ns: LookupNs) => number | undefined,
): number | null {
  const mean = geometricMean(times.map(({ ns }) => (one(ns) ?? Number.NaN) / (other(ns) ?? Number.NaN)))
  return Number.isFinite(mean) ? mean : null
}

/** One contender's. */
export const of =
  (name: string) =>
  (ns: LookupNs): number | undefined =>
    ns[name]

/** The fastest design in C, on each piece of work. */
export const flatC = (ns: LookupNs): number => Math.min(ns[RUNNER.SECTORS], ns[RUNNER.REGIONS], ns[RUNNER.SETS])

/** The same where the requester's tag is found first. */
export const flatCById = (ns: LookupNs): number =>
  Math.min(ns[RUNNER.SECTORS_BY_ID], ns[RUNNER.REGIONS_BY_ID], ns[RUNNER.SETS_BY_ID])
