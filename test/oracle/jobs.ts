/** What the whole of the oracle's proof consists of, in pieces that processes of their own can do. */

import type { RemappingUnit } from '../../hw-model/port.js'
import { slicesFolder } from '../fixtures/traces.js'
import { stepSmmuv3 } from '../simulation/guest-smmuv3.js'
import { stepVtd } from '../simulation/guest-vtd.js'
import { Rng } from '../simulation/rng.js'
import { ARCHITECTURES, type Architecture } from '../simulation/run.js'
import { type Counts, emptyCounts, tellReport, tryStep } from './campaign/run.js'
import { replaySmmuv3 } from './traces/smmuv3.js'
import { replayVtd } from './traces/vtd.js'

/** One piece. */
export type Job =
  | { readonly kind: 'trace'; readonly guest: 'A' | 'F'; readonly folder: string }
  | {
      readonly kind: 'proper'
      readonly arch: Architecture
      readonly seed: number
      readonly from: number
      readonly to: number
    }
  | {
      readonly kind: 'mutants'
      readonly arch: Architecture
      readonly seed: number
      readonly from: number
      readonly to: number
    }

/** What came of it. */
export interface Done {
  /** DMAs that were compared. */
  accesses: number
  /** Reports of software that has forgotten nothing, in words. */
  readonly accused: string[]
  /** Of mutants. */
  readonly mutants: Counts
  /** Mutants that the oracle is wrong about, in words. */
  readonly failures: string[]
}

/** Nothing yet. */
export const nothingDone = (): Done => ({ accesses: 0, accused: [], mutants: emptyCounts(0), failures: [] })

/** More reports than are looked at. */
const MOST = 100

/** Does one piece. */
export function doJob(job: Job): Done {
  const done = nothingDone()
  switch (job.kind) {
    case 'trace':
      trace(job.guest, job.folder, done)
      break
    case 'proper':
      for (let step = job.from; step < job.to; step++) proper(job.arch, job.seed, step, done)
      break
    case 'mutants':
      for (let step = job.from; step < job.to; step++) {
        tryStep(job.arch, job.seed, step, done.mutants, ({ number, mistake, what }) => {
          const list = mistake === 'none' ? done.accused : done.failures
          list.push(`${job.arch}, seed ${job.seed}, step ${step}, command ${number}, ${mistake}: ${what}`)
        })
      }
      break
  }
  return done
}

function trace(guest: 'A' | 'F', folder: string, done: Done): void {
  const replay = guest === 'A' ? replaySmmuv3 : replayVtd
  const { translations, wrong, reports, evictions } = replay(folder, slicesFolder())
  done.accesses += translations
  done.accused.push(...reports.map((report) => `trace ${guest}: ${tellReport(report)}`))
  done.accused.push(...wrong.map((what) => `trace ${guest}: ${what}`))
  if (evictions > 0)
    done.accused.push(`trace ${guest}: a cache that is to keep everything made room ${evictions} times`)
}

/** A guest that does everything right, with whatever caches. */
function proper(arch: Architecture, seed: number, step: number, done: Done): void {
  const play = arch === 'smmuv3' ? stepSmmuv3 : stepVtd
  let played: RemappingUnit | undefined
  const report = play(new Rng(seed, step, ARCHITECTURES.indexOf(arch)), {
    cached: true,
    onlooker: {
      unit: (unit) => {
        unit.setOracle({ fails: false, graceSyncs: 0, reportLimit: MOST })
        if (unit.oracle === null) throw new Error('the oracle is on')
        unit.oracle.onReport = (stale) => {
          if (done.accused.length < MOST) done.accused.push(`${arch}, seed ${seed}, step ${step}: ${tellReport(stale)}`)
        }
        played = unit
      },
      instead: (_number, command) => [command],
      before: () => [],
      after: () => [],
    },
  })
  played?.oracle?.check(Number.MAX_SAFE_INTEGER)
  if (report.disagreement !== undefined)
    done.accused.push(`${arch}, seed ${seed}, step ${step}: ${report.disagreement}`)
  done.accesses += report.accesses
}

/** The traces that are always here. */
export const slices = (): readonly Job[] => [
  { kind: 'trace', guest: 'A', folder: slicesFolder() },
  { kind: 'trace', guest: 'F', folder: slicesFolder() },
]

/** The whole ones. */
export const wholeTraces = (captures: string): readonly Job[] => [
  { kind: 'trace', guest: 'A', folder: captures },
  { kind: 'trace', guest: 'F', folder: captures },
]

/** Adds up. */
export function add(sum: Done, done: Done): void {
  sum.accesses += done.accesses
  sum.accused.push(...done.accused)
  sum.failures.push(...done.failures)
  const { mutants } = sum
  for (const name of ['mutants', 'reached', 'reported', 'right', 'beyond', 'false', 'accesses'] as const) {
    mutants[name] += done.mutants[name]
  }
  for (const [name, count] of Object.entries(done.mutants.mix)) mutants.mix[name] = (mutants.mix[name] ?? 0) + count
}
