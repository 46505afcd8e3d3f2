/** VT-d as the runner needs it: no single set of options offers every mode, so there is a machine for each. */

import { faultName } from '../../../hw-model/vtd/index.js'
import type { Judged, Rig } from '../runner.js'
import { EPOCH_CASES, machineOf, makeEpoch } from './epoch.js'
import { endingsOf, explainCase, judge, memoryDifference, nameOf, type Verdict, wipe } from './judge.js'
import { VARIANT_NAMES, VARIANTS, VtdMachine } from './machine.js'
import type { Epoch } from './pair.js'
import { VtdRam } from './places.js'
import { makeProbe } from './probe-stage.js'
import { PROBES } from './probes.js'
import { judgeProbe } from './probing.js'

/** Fault reasons that QEMU can produce: of legacy mode, of PASID structures, of the first stage. */
const REASONS: readonly number[] = [
  ...[0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0e],
  ...[0x50, 0x51, 0x58, 0x59, 0x5b],
  ...[0x70, 0x71, 0x72, 0x73, 0x80, 0x81, 0x85, 0x87],
]

/** Ends that QEMU can produce. */
export const OUTCOMES: readonly string[] = [
  'translated',
  'passed',
  'suppressed',
  'overflowed',
  ...REASONS.map((reason) => faultName(reason)),
]

/** What the runner runs. */
export function vtdRig(): Rig<VtdMachine, Epoch> {
  const ram = new VtdRam()
  return {
    outcomes: OUTCOMES,
    epochCases: EPOCH_CASES,
    machines: VARIANT_NAMES.length,
    machineOf,
    start: (qemu, machine) => VtdMachine.start(qemu, VARIANTS[VARIANT_NAMES[machine]]),
    make: ({ id, bars }, seed, number, tells) => makeEpoch(ram, id, bars, seed, number, tells),
    judge: (epoch, answers, { files }, isOn) => {
      const endings = endingsOf(epoch, answers, files.newLog())
      const verdicts = epoch.cases.map((own, i) => judge(own, endings[i], answers, isOn))
      const difference = memoryDifference(epoch, verdicts, files.ram)
      if (difference !== '') verdicts.at(-1)?.differences.push(difference)
      wipe(verdicts, files.ram)
      return verdicts.map(judgedOf)
    },
    probes: PROBES.map((probe) => ({
      quirk: probe.quirk,
      machine: VARIANT_NAMES.indexOf(probe.variant),
      make: ({ id, bars }) => makeProbe(ram, id, bars, probe),
      judge: (epoch, answers, { files }) => {
        const last = epoch.cases.length - 1
        if (last < 0) throw new Error(`the probe of ${probe.quirk} makes no access`)
        const endings = endingsOf(epoch, answers, files.newLog())
        const verdicts = epoch.cases.map((own, i) => judge(own, endings[i], answers, () => true))
        wipe(verdicts, files.ram)
        return judgeProbe(probe.manual, epoch.cases[last], endings[last], answers)
      },
    })),
  }
}

function judgedOf(verdict: Verdict): Judged {
  const { case: own, reference, excuses, differences } = verdict
  const story = (): string => explainCase(verdict)
  return { ends: nameOf(own, reference), expected: own.ends, change: own.change, excuses, differences, story }
}
