/**
 * Runs epochs through both units and counts, whatever the architecture. While the reference lives one epoch, ours lives
 * the next.
 */

import type { Qemu } from './install.js'
import { QemuDied, type Qtest } from './qtest.js'
import { clearPages, type Image, putImage } from './ram.js'
import { Tally } from './report.js'
import type { SharedFiles } from './shared-ram.js'

/** A reference that runs. */
export interface Machine {
  readonly qtest: Qtest
  readonly files: SharedFiles
  close(): Promise<void>
}

/** What every epoch has, besides its cases. */
export interface EpochBase {
  readonly image: Image
  readonly touched: readonly number[]
  readonly requests: readonly string[]
  /** Accesses that were not made. */
  readonly withheld: number
}

/** What became of one case. */
export interface Judged {
  /** How it ended in the reference, and how it ought to as memory stood. */
  readonly ends: string
  readonly expected: string
  readonly change: string
  readonly excuses: readonly string[]
  readonly differences: readonly string[]
  /** In words, for whoever reruns it. */
  story(): string
}

/** What a probe found. */
export interface Finding {
  /** The reference does not answer as the manual. */
  readonly isShown: boolean
  /** What ours answers where it does not either; empty where it does. */
  readonly ours: string
  readonly reference: string
}

/** A probe, made ready to run. */
export interface ProbePlan<M extends Machine, E extends EpochBase> {
  readonly quirk: string
  /** Which of the machines it needs. */
  readonly machine: number
  make(machine: M): E
  judge(epoch: E, answers: readonly string[], machine: M): Finding
}

/** One architecture, as the runner needs it. */
export interface Rig<M extends Machine, E extends EpochBase> {
  /** Ends that the reference can produce. */
  readonly outcomes: readonly string[]
  /** Cases of an epoch. */
  readonly epochCases: number
  /** How many machines there are, and which one an epoch needs. */
  readonly machines: number
  machineOf(epoch: number): number
  start(qemu: Qemu, machine: number): Promise<M>
  make(machine: M, seed: number, epoch: number, tells: boolean): E
  judge(epoch: E, answers: readonly string[], machine: M, isOn: (quirk: string) => boolean): readonly Judged[]
  readonly probes: readonly ProbePlan<M, E>[]
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
  verdict(verdict: Judged, number: number): void
  progress(tally: Tally): void
  say(text: string): void
}

/** Epochs between two trims of the log. */
const TRIMMED_EVERY = 64

/** A reference with the state that outlives an epoch. */
class Reference<M extends Machine> {
  readonly #start: () => Promise<M>
  #machine: M | null = null
  #dirty: readonly number[] = []
  #epochs = 0

  constructor(start: () => Promise<M>) {
    this.#start = start
  }

  async machine(): Promise<M> {
    this.#machine ??= await this.#start()
    return this.#machine
  }

  /** Makes an epoch happen; its answers come later. */
  async live(epoch: EpochBase): Promise<{ readonly answers: Promise<readonly string[]> }> {
    const { files, qtest } = await this.machine()
    clearPages(files.ram, this.#dirty)
    putImage(files.ram, epoch.image)
    this.#dirty = epoch.touched
    if (++this.#epochs % TRIMMED_EVERY === 0) files.trimLog()
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

interface UnderWay<M extends Machine, E> {
  readonly number: number
  readonly epoch: E
  readonly reference: Reference<M>
  readonly answers: Promise<readonly string[]>
}

/** Runs a plan, after the probes. */
export async function run<M extends Machine, E extends EpochBase>(
  rig: Rig<M, E>,
  qemu: Qemu,
  plan: Plan,
  listener: Listener,
): Promise<Tally> {
  const tally = new Tally(rig.outcomes)
  const references = Array.from({ length: rig.machines }, (_, i) => new Reference(() => rig.start(qemu, i)))
  const first = plan.only === null ? 0 : Math.floor(plan.only / rig.epochCases)
  const end = plan.only === null ? Math.ceil(plan.cases / rig.epochCases) : first + 1
  let before: UnderWay<M, E> | null = null
  try {
    const lost = await probeAll(rig, references, tally, listener)
    const isOn = (name: string): boolean => !lost.has(name)
    for (let number = first; number < end; number++) {
      const reference = references[rig.machineOf(number)]
      const epoch = rig.make(await reference.machine(), plan.seed, number, plan.only !== null)
      if (before !== null) await settle(rig, before, plan.only, isOn, tally, listener)
      listener.progress(tally)
      before = { number, epoch, reference, ...(await reference.live(epoch)) }
    }
    if (before !== null) await settle(rig, before, plan.only, isOn, tally, listener)
  } finally {
    for (const reference of references) await reference.drop()
  }
  return tally
}

/** Asks the reference for each quirk. Answers those that it no longer has. */
async function probeAll<M extends Machine, E extends EpochBase>(
  rig: Rig<M, E>,
  references: readonly Reference<M>[],
  tally: Tally,
  { say }: Listener,
): Promise<ReadonlySet<string>> {
  const lost = new Set<string>()
  for (const probe of rig.probes) {
    const reference = references[probe.machine]
    const machine = await reference.machine()
    const epoch = probe.make(machine)
    const answers = await (await reference.live(epoch)).answers
    const { isShown, ours, reference: theirs } = probe.judge(epoch, answers, machine)
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

async function settle<M extends Machine, E extends EpochBase>(
  rig: Rig<M, E>,
  { number, epoch, reference, answers }: UnderWay<M, E>,
  only: number | null,
  isOn: (name: string) => boolean,
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
  const verdicts = rig.judge(epoch, replies, await reference.machine(), isOn)
  tally.withheld += epoch.withheld
  verdicts.forEach((verdict, i) => {
    const own = number * rig.epochCases + i
    if (only !== null && only !== own) return
    const { ends, change, excuses, differences } = verdict
    tally.count({ ends, change, excuses, hasDifferences: differences.length > 0 })
    listener.verdict(verdict, own)
  })
}
