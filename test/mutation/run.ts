/**
 * Changes bytes of tables, commands and registers one after the other, with DMA in between. Nothing may throw, hang or
 * grow, whatever was changed; what a unit answers is for other tests to judge.
 */

import { type AtsPort, NO_PASID, Outcome, PageRequest, REQUEST, STATUS, Transaction } from '../../hw-model/port.js'
import { Random } from '../hostile/random.js'
import { SmmuVictim } from './guest-smmuv3.js'
import { VtdVictim } from './guest-vtd.js'
import { aim, LateDevices, type Victim } from './victim.js'

/** What can be mutated. */
export const ARCHITECTURES = ['smmuv3', 'vtd'] as const

/** One of them. */
export type Architecture = (typeof ARCHITECTURES)[number]

/** What was done, and what it came to. */
export interface Summary {
  readonly arch: Architecture
  readonly seed: number
  readonly mutations: number
  readonly tableBytes: number
  readonly commands: number
  readonly registerWrites: number
  readonly translations: number
  readonly translated: number
  /** Kinds of outcome and of fault that were met. */
  readonly outcomes: readonly string[]
  readonly faults: readonly string[]
  /** The longest single call of the unit, and the bytes that the process grew by. */
  readonly slowestMs: number
  readonly grownBytes: number
}

/** Mutations between two DMAs, and between two times that everything is put right. */
const PER_TRANSLATION = 2
const PER_REPAIR = 2000

/** Calls between two looks at what the process has worked. */
const PER_LOOK = 1000

/** Queue entries that the unit may take for one write: more than a queue of ours holds, times its 16 a run. */
const RUNS = 256

/** Plays `count` mutations; `tick` hears of every hundred thousandth. */
export function run(
  arch: Architecture,
  seed: number,
  count: number,
  tick: (done: number) => void = () => undefined,
): Summary {
  const play = new Play(arch, seed)
  const before = bytesInUse()
  for (let done = 0; done < count; done++) {
    if (done % PER_REPAIR === 0) play.repair()
    play.mutate()
    if (done % PER_TRANSLATION === 0) play.access()
    if (done % 100_000 === 99_999) tick(done + 1)
  }
  return play.summary(arch, seed, count, bytesInUse() - before)
}

const bytesInUse = (): number => {
  ;(globalThis as { gc?: () => void }).gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

class Play {
  readonly #random: Random
  readonly #devices: LateDevices
  readonly #victim: Victim
  readonly #transaction = new Transaction()
  readonly #request = new PageRequest()
  readonly #outcome = new Outcome()
  readonly #byte = new Uint8Array(1)
  readonly #outcomes = new Set<number>()
  readonly #faults = new Set<number>()
  #tableBytes = 0
  #commands = 0
  #registerWrites = 0
  #translations = 0
  #translated = 0
  #slowestMs = 0
  #calls = 0
  #worked = process.cpuUsage()

  constructor(arch: Architecture, seed: number) {
    const random = new Random(seed)
    this.#random = random
    this.#devices = new LateDevices(random)
    this.#victim = arch === 'vtd' ? new VtdVictim(random, this.#devices) : new SmmuVictim(random, this.#devices)
  }

  /** Everything as it was meant to be. */
  repair(): void {
    const { unit } = this.#victim
    if (this.#random.oneIn(4)) unit.reset()
    this.#victim.fill()
    this.#victim.program((offset, bytes, lo, hi = 0) => unit.writeRegister(offset, bytes, lo, hi))
  }

  /** One byte of a table, one command, or one register. */
  mutate(): void {
    const kind = this.#random.below(8)
    if (kind < 5) this.#mutateTable()
    else if (kind < 7) this.#command()
    else this.#writeRegister()
  }

  access(): void {
    const random = this.#random
    const transaction = this.#transaction
    aim(random, transaction)
    transaction.type = random.oneIn(8) ? random.pick(Object.values(REQUEST)) : REQUEST.UNTRANSLATED
    transaction.bytes = random.pick([0, 4, 8])
    this.#timed(() => this.#victim.unit.translate(transaction, this.#outcome))
    this.#translations++
    const { status, fault, address } = this.#outcome
    this.#outcomes.add(status)
    if (status === STATUS.FAULT) this.#faults.add(fault)
    if (status !== STATUS.OK) return
    this.#translated++
    if (!(address >= 0 && address < 2 ** 52)) throw new Error(`an address of ${address}`)
  }

  summary(arch: Architecture, seed: number, mutations: number, grownBytes: number): Summary {
    const names = new Map(Object.entries(STATUS).map(([name, status]) => [status as number, name]))
    return {
      arch,
      seed,
      mutations,
      tableBytes: this.#tableBytes,
      commands: this.#commands,
      registerWrites: this.#registerWrites,
      translations: this.#translations,
      translated: this.#translated,
      outcomes: [...this.#outcomes].map((status) => names.get(status) ?? `status ${status}`).sort(),
      faults: [...this.#faults].map((fault) => this.#victim.unit.faultName(fault)).sort(),
      slowestMs: this.#slowestMs,
      grownBytes,
    }
  }

  #mutateTable(): void {
    this.#tableBytes++
    const { memory, structures } = this.#victim
    const at = structures.start + this.#random.below(this.#random.oneIn(2) ? structures.hotBytes : structures.bytes)
    memory.readBytes(at, this.#byte)
    this.#byte[0] = this.#random.oneIn(2) ? this.#random.u32() : this.#byte[0] ^ (1 << this.#random.below(8))
    memory.writeBytes(at, this.#byte)
  }

  #command(): void {
    this.#commands++
    this.#victim.command((offset, bytes, lo, hi = 0) => this.#write(offset, bytes, lo, hi))
    this.#answerDevices()
  }

  #answerDevices(): void {
    const ats: AtsPort | null = this.#victim.unit.ats
    if (ats === null) return
    const random = this.#random
    if (random.oneIn(4)) {
      for (const tag of this.#devices.tags.splice(0)) {
        if (random.oneIn(8)) ats.timedOut(tag)
        else ats.completed(tag)
      }
      ats.completed(random.below(1000))
    }
    const request = this.#request
    request.rid = random.below(64)
    request.pasid = random.oneIn(2) ? NO_PASID : random.below(16)
    request.lo = random.u32()
    request.access = random.below(16)
    request.group = random.below(512)
    request.isLast = random.oneIn(2)
    this.#timed(() => ats.requestPage(request))
  }

  #writeRegister(): void {
    this.#registerWrites++
    const random = this.#random
    const { unit, offsets } = this.#victim
    const offset = random.oneIn(8) ? random.below(unit.registerBytes / 8) * 8 : random.pick(offsets)
    const bytes = offset % 8 === 0 && random.oneIn(2) ? 8 : 4
    const [now] = unit.readRegister(offset, 4)
    // One bit of what is there, or anything at all.
    const lo = random.oneIn(3) ? random.u32() : (now ^ (1 << random.below(32))) >>> 0
    this.#write(offset, bytes, lo, random.oneIn(3) ? random.u32() : 0)
  }

  #write(offset: number, bytes: 4 | 8, lo: number, hi: number): void {
    const { unit } = this.#victim
    this.#timed(() => unit.writeRegister(offset, bytes, lo, hi))
    for (let runs = 0; unit.hasWork && runs < RUNS; runs++) this.#timed(() => unit.run())
  }

  /** A call takes no longer than the process has worked since a little before it: on a busy machine, it also waits. */
  #timed(work: () => void): void {
    if (this.#calls++ % PER_LOOK === 0) this.#worked = process.cpuUsage()
    const began = performance.now()
    work()
    const took = performance.now() - began
    if (took <= this.#slowestMs) return
    const { user, system } = process.cpuUsage(this.#worked)
    this.#slowestMs = Math.max(this.#slowestMs, Math.min(took, (user + system) / 1000))
  }
}
