/** Runs epochs through both units and counts. While the reference lives one epoch, ours lives the next. */

import type { Qemu } from '../install.js'
import { QemuDied } from '../qtest.js'
import { Tally } from '../report.js'
import { EPOCH_CASES, isTwoLevelEpoch, makeEpoch } from './epoch.js'
import { endingsOf, judge, nameOf, type Verdict } from './judge.js'
import { SmmuMachine } from './machine.js'
import type { Epoch } from './pair.js'
import { makeProbe } from './probe-stage.js'
import { PROBES } from './probes.js'
import { judgeProbe } from './probing.js'
import type { SmmuQuirk } from './quirks.js'
import { clearPages, putImage, Ram } from './ram.js'

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

/** A reference with the state that outlives an epoch. */
class Reference {
  readonly #qemu: Qemu
  #machine: SmmuMachine | null = null
  #dirty: readonly number[] = []
  #epochs = 0

  constructor(qemu: Qemu) {
    this.#qemu = qemu
  }

  async machine(): Promise<SmmuMachine> {
    this.#machine ??= await SmmuMachine.start(this.#qemu)
    return this.#machine
  }

  /** Makes an epoch happen; its answers come later. */
  async start(epoch: Epoch): Promise<{ readonly answers: Promise<readonly string[]> }> {
    const { files, qtest } = await this.machine()
    clearPages(files.ram, this.#dirty)
    putImage(files.ram, epoch.image)
    this.#dirty = epoch.touched
    if (++this.#epochs % 64 === 0) files.trimLog()
    const answers = qtest.exchange(epoch.requests)
    answers.catch(() => undefined)
    return { answers }
  }

  async drop(): Promise<void> {
    await this.#machine?.close()
    this.#machine = null
    this.#dirty = []
  }
}

/** What a run is told. */
export interface Plan {
  readonly seed: number
  readonly cases: number
  /** The one case to make again, or null. */
  readonly only: number | null
}

/** What a run tells while it goes on. */
export interface Listener {
  /** Every case, with its number. */
  verdict(verdict: Verdict, number: number): void
  progress(tally: Tally): void
  say(text: string): void
}

interface UnderWay {
  readonly number: number
  readonly epoch: Epoch
  readonly reference: Reference
  readonly answers: Promise<readonly string[]>
}

/** Runs a plan, after the probes. */
export async function runSmmuV3(qemu: Qemu, plan: Plan, listener: Listener): Promise<Tally> {
  const tally = new Tally(OUTCOMES)
  const references = [new Reference(qemu), new Reference(qemu)]
  const ram = new Ram()
  const first = plan.only === null ? 0 : Math.floor(plan.only / EPOCH_CASES)
  const end = plan.only === null ? Math.ceil(plan.cases / EPOCH_CASES) : first + 1
  let before: UnderWay | null = null
  try {
    const lost = await probeAll(references, ram, tally, listener)
    const isOn = (name: SmmuQuirk): boolean => !lost.has(name)
    for (let number = first; number < end; number++) {
      const reference = references[isTwoLevelEpoch(number) ? 1 : 0]
      const { id, bars } = await reference.machine()
      const epoch = makeEpoch(ram, id, bars, plan.seed, number, plan.only !== null)
      if (before !== null) await settle(before, plan.only, isOn, tally, listener)
      listener.progress(tally)
      before = { number, epoch, reference, ...(await reference.start(epoch)) }
    }
    if (before !== null) await settle(before, plan.only, isOn, tally, listener)
  } finally {
    for (const reference of references) await reference.drop()
  }
  return tally
}

/** Asks the reference for each quirk. Answers those that it no longer has. */
async function probeAll(
  references: readonly Reference[],
  ram: Ram,
  tally: Tally,
  { say }: Listener,
): Promise<ReadonlySet<SmmuQuirk>> {
  const lost = new Set<SmmuQuirk>()
  for (const probe of PROBES) {
    const reference = references[probe.isTwoLevel === true ? 1 : 0]
    const { id, bars, files } = await reference.machine()
    const epoch = makeProbe(ram, id, bars, probe)
    const answers = await (await reference.start(epoch)).answers
    const endings = endingsOf(epoch, answers, files.newLog(), new Int32Array(files.ram.buffer))
    const last = epoch.cases.length - 1
    if (last < 0) throw new Error(`the probe of ${probe.quirk} makes no access`)
    const { isShown, ours, reference: theirs } = judgeProbe(probe.manual, epoch.cases[last], endings[last], answers)
    if (ours !== '') {
      tally.wrong.push(probe.quirk)
      say(`probe of ${probe.quirk}: ours answers ${ours}`)
    }
    if (isShown) continue
    lost.add(probe.quirk)
    tally.gone.push(probe.quirk)
    say(`probe of ${probe.quirk}: the reference answers as the manual, ${theirs}; its excuse is off`)
  }
  return lost
}

async function settle(
  { number, epoch, reference, answers }: UnderWay,
  only: number | null,
  isOn: (name: SmmuQuirk) => boolean,
  tally: Tally,
  listener: Listener,
): Promise<void> {
  let replies: readonly string[]
  try {
    replies = await answers
  } catch (error) {
    if (!(error instanceof QemuDied)) throw error
    listener.say(`epoch ${number}: ${error.message}`)
    tally.crashes++
    await reference.drop()
    return
  }
  const { files } = await reference.machine()
  const endings = endingsOf(epoch, replies, files.newLog(), new Int32Array(files.ram.buffer))
  tally.withheld += epoch.withheld
  epoch.cases.forEach((own, i) => {
    if (only !== null && only !== number * EPOCH_CASES + i) return
    const verdict = judge(own, endings[i], replies, isOn)
    const { excuses, differences } = verdict
    tally.count({ ends: nameOf(endings[i]), change: own.change, excuses, hasDifferences: differences.length > 0 })
    listener.verdict(verdict, number * EPOCH_CASES + i)
  })
}
