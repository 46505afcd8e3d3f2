/**
 * `npm run test:qemu -- --arch smmuv3|vtd --cases N --seed S [--only K] [--json]`: our unit against QEMU's, which is
 * installed beside the system if it is absent. Exit status 1 when they disagree or the run does not show what it must, 2
 * when the arguments make no sense, 3 when no QEMU can be had.
 */

import { type Arguments, argumentsOf } from './arguments.js'
import { NoQemu, obtainQemu } from './install.js'
import { type Listener, run } from './runner.js'
import { smmuV3Rig } from './smmuv3/run.js'
import { vtdRig } from './vtd/run.js'

/** Disagreements that are printed; the rest is only counted. */
const SHOWN = 10
const EXIT = { OK: 0, DISAGREED: 1, USAGE: 2, NO_QEMU: 3 } as const

const say = (text: string): void => void process.stderr.write(`${text}\n`)

async function main(): Promise<number> {
  let asked: Arguments
  try {
    asked = argumentsOf(process.argv.slice(2))
  } catch (error) {
    say((error as Error).message)
    return EXIT.USAGE
  }
  const { arch, cases, seed, only, json } = asked
  try {
    const qemu = obtainQemu(say)
    say(`${qemu.version}, from ${qemu.place}`)
    const began = performance.now()
    let shown = 0
    let told = 0
    const plan = { seed, cases, only }
    const listener: Listener = {
      say,
      verdict: (verdict, number) => {
        if (number === only) say(verdict.story())
        if (verdict.differences.length === 0 || ++shown > SHOWN) return
        say(`case ${number} (${verdict.expected}): ${verdict.differences.join('; ')}`)
        say(`    npm run test:qemu -- --arch ${arch} --seed ${seed} --only ${number}`)
      },
      progress: ({ cases: done, disagreed }) => {
        if (performance.now() - began < told * 10_000) return
        told++
        say(`${done} cases, ${disagreed} disagree`)
      },
    }
    const tally = await (arch === 'vtd' ? run(vtdRig(), qemu, plan, listener) : run(smmuV3Rig(), qemu, plan, listener))
    const report = tally.report(arch, seed, qemu.version, Math.round((performance.now() - began) / 100) / 10)
    if (!json) say(tally.summary())
    process.stdout.write(`${JSON.stringify(report)}\n`)
    const { disagreed, missing, wrong } = report
    return disagreed + missing.length + wrong.length === 0 ? EXIT.OK : EXIT.DISAGREED
  } catch (error) {
    if (!(error instanceof NoQemu)) throw error
    say(`no QEMU can be had: ${error.message}`)
    return EXIT.NO_QEMU
  }
}

process.exitCode = await main()
