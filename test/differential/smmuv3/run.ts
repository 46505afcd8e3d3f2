/** Runs epochs through both units and counts. While the reference lives one epoch, ours lives the next. */

import type { Qemu } from '../install.js'
import { QemuDied } from '../qtest.js'
import { Tally } from '../report.js'
import { EPOCH_CASES, isTwoLevelEpoch, makeEpoch } from './epoch.js'
import { endingsOf, judge, nameOf, type Verdict } from './judge.js'
import { SmmuMachine } from './machine.js'
import type { SmmuQuirk } from './quirks.js'
import { clearPages, putImage, Ram } from './ram.js'
import type { Epoch } from './session.js'

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
  isOn(name: SmmuQuirk): boolean
}

interface UnderWay {
  readonly number: number
  readonly epoch: Epoch
  readonly reference: Reference
  readonly answers: Promise<readonly string[]>
}

/** Runs a plan; `onVerdict` sees every case with its number. */
export async function runSmmuV3(
  qemu: Qemu,
  plan: Plan,
  onVerdict: (verdict: Verdict, number: number) => void,
  onProgress: (tally: Tally) => void,
): Promise<Tally> {
  const tally = new Tally(OUTCOMES)
  const references = [new Reference(qemu), new Reference(qemu)]
  const ram = new Ram()
  const first = plan.only === null ? 0 : Math.floor(plan.only / EPOCH_CASES)
  const end = plan.only === null ? Math.ceil(plan.cases / EPOCH_CASES) : first + 1
  let before: UnderWay | null = null
  try {
    for (let number = first; number < end; number++) {
      const reference = references[isTwoLevelEpoch(number) ? 1 : 0]
      const { id, bars } = await reference.machine()
      const epoch = makeEpoch(ram, id, bars, plan.seed, number, plan.only !== null)
      if (before !== null) await settle(before, plan, tally, onVerdict)
      onProgress(tally)
      before = { number, epoch, reference, ...(await reference.start(epoch)) }
    }
    if (before !== null) await settle(before, plan, tally, onVerdict)
  } finally {
    for (const reference of references) await reference.drop()
  }
  return tally
}

async function settle(
  { number, epoch, reference, answers }: UnderWay,
  plan: Plan,
  tally: Tally,
  onVerdict: (verdict: Verdict, number: number) => void,
): Promise<void> {
  let replies: readonly string[]
  try {
    replies = await answers
  } catch (error) {
    if (!(error instanceof QemuDied)) throw error
    process.stderr.write(`epoch ${number}: ${error.message}\n`)
    tally.crashes++
    await reference.drop()
    return
  }
  const { files } = await reference.machine()
  const words = new Int32Array(files.ram.buffer)
  const endings = endingsOf(epoch, replies, files.newLog(), words)
  tally.withheld += epoch.withheld
  epoch.cases.forEach((own, i) => {
    const verdict = judge(own, endings[i], replies, plan.isOn)
    tally.count({
      ends: nameOf(endings[i]),
      change: own.change,
      excuses: verdict.excuses,
      hasDifferences: verdict.differences.length > 0,
    })
    onVerdict(verdict, number * EPOCH_CASES + i)
  })
}
