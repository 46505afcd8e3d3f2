/** SMMUv3 as the runner needs it: two machines, because the reference never goes back to a linear stream table. */

import type { Qemu } from '../install.js'
import type { Judged, Rig } from '../runner.js'
import { EPOCH_CASES, isTwoLevelEpoch, makeEpoch } from './epoch.js'
import { endingsOf, judge, nameOf } from './judge.js'
import { SmmuMachine } from './machine.js'
import type { Epoch } from './pair.js'
import { makeProbe } from './probe-stage.js'
import { PROBES } from './probes.js'
import { judgeProbe } from './probing.js'
import { SmmuRam } from './ram.js'
import { explainCase } from './show.js'

/** Ends that QEMU can produce. */
export const OUTCOMES: readonly string[] = [
  'translated',
  'bypassed',
  'aborted',
  'C_BAD_STREAMID',
  'F_STE_FETCH',
  'C_BAD_STE',
  'F_CD_FETCH',
  'C_BAD_CD',
  'F_WALK_EABT',
  'F_TRANSLATION',
  'F_ADDR_SIZE',
  'F_ACCESS',
  'F_PERMISSION',
]

/** What the runner runs. */
export function smmuV3Rig(): Rig<SmmuMachine, Epoch> {
  const ram = new SmmuRam()
  const machineOf = (isTwoLevel: boolean): number => (isTwoLevel ? 1 : 0)
  return {
    outcomes: OUTCOMES,
    epochCases: EPOCH_CASES,
    machines: 2,
    machineOf: (number) => machineOf(isTwoLevelEpoch(number)),
    start: (qemu: Qemu) => SmmuMachine.start(qemu),
    make: ({ id, bars }, seed, number, tells) => makeEpoch(ram, id, bars, seed, number, tells),
    judge: (epoch, answers, machine, isOn) => {
      const endings = endingsIn(epoch, answers, machine)
      return epoch.cases.map((own, i): Judged => {
        const verdict = judge(own, endings[i], answers, isOn)
        const { excuses, differences } = verdict
        const ends = nameOf(endings[i])
        const story = (): string => explainCase(verdict)
        return { ends, expected: own.ends, change: own.change, excuses, differences, story }
      })
    },
    probes: PROBES.map((probe) => ({
      quirk: probe.quirk,
      machine: machineOf(probe.isTwoLevel === true),
      make: ({ id, bars }) => makeProbe(ram, id, bars, probe),
      judge: (epoch, answers, machine) => {
        const last = epoch.cases.length - 1
        if (last < 0) throw new Error(`the probe of ${probe.quirk} makes no access`)
        const endings = endingsIn(epoch, answers, machine)
        return judgeProbe(probe.manual, epoch.cases[last], endings[last], answers)
      },
    })),
  }
}

const endingsIn = (epoch: Epoch, answers: readonly string[], { files }: SmmuMachine): ReturnType<typeof endingsOf> =>
  endingsOf(epoch, answers, files.newLog(), new Int32Array(files.ram.buffer))
