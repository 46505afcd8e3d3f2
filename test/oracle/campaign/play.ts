/** Plays one machine of the simulation with the oracle on, once with one command gone wrong, and again with what it named put in. */

import type { Invalidation, RemappingUnit, StaleReport } from '../../../hw-model/port.js'
import { stepSmmuv3 } from '../../simulation/guest-smmuv3.js'
import { stepVtd } from '../../simulation/guest-vtd.js'
import { Rng } from '../../simulation/rng.js'
import { ARCHITECTURES, type Architecture } from '../../simulation/run.js'
import type { Command, StepReport } from '../../simulation/step.js'
import type { Dialect, Mistake } from './dialect.js'
import { SMMUV3 } from './smmuv3.js'
import { VTD } from './vtd.js'

const STEPS = { smmuv3: stepSmmuv3, vtd: stepVtd } as const

/** How each architecture's software speaks. */
export const DIALECTS: Readonly<Record<Architecture, Dialect>> = { smmuv3: SMMUV3, vtd: VTD }

/** More reports than a play can end with. */
const MOST = 1000

/** Which machine, and what goes wrong in it. */
export interface Script {
  readonly arch: Architecture
  readonly seed: number
  readonly step: number
  /** The command that goes wrong, and how. */
  readonly wrong?: { readonly number: number; readonly mistake: Mistake }
  /** What is put in before an access, each followed by a SYNC or wait. */
  readonly put?: { readonly access: number; readonly commands: readonly Invalidation[] }
  /** What is put in at the end, where what is still cached is asked for. */
  readonly last?: readonly Invalidation[]
}

/** What the oracle has said, and before the end of which access; none where it is found at the end. */
export interface Said {
  readonly stale: StaleReport
  readonly access: number | undefined
}

/** What came of it. */
export interface Played {
  readonly report: StepReport
  /** By their numbers; those before the first access are left out. */
  readonly commands: readonly (Command | undefined)[]
  readonly said: readonly Said[]
}

/** Plays it to its end, or to the first access that ends otherwise than the tables say. */
export function play({ arch, seed, step, wrong, put, last = [] }: Script): Played {
  const dialect = DIALECTS[arch]
  const spelled = (all: readonly Invalidation[]): readonly Command[] =>
    all.flatMap((each) => [dialect.words(each), dialect.sync])
  const commands: (Command | undefined)[] = []
  const said: Said[] = []
  let played: RemappingUnit | undefined
  let access: number | undefined = 0
  const report = STEPS[arch](new Rng(seed, step, ARCHITECTURES.indexOf(arch)), {
    cached: true,
    insists: true,
    onlooker: {
      unit: (unit) => {
        played = unit
        unit.setOracle({ fails: false, graceSyncs: 0, reportLimit: MOST })
        const { oracle } = unit
        if (oracle === null) throw new Error('the oracle is on')
        oracle.onReport = (stale) => said.push({ stale, access })
      },
      instead: (number, command) => {
        if (access !== 0) commands[number] = command
        return number === wrong?.number ? wrong.mistake.instead : [command]
      },
      before: (number) => {
        access = number
        return put?.access === number ? spelled(put.commands) : []
      },
      after: () => spelled(last),
    },
  })
  access = undefined
  played?.oracle?.check(MOST)
  return { report, commands, said }
}
