/**
 * Looks on while the driver works: after each 8-byte store of the driver's (but for those into its queues), and before
 * each SYNC is consumed, it sends DMAs and compares each with the plain model and with the reference walker.
 *
 * When an entry is stored (STE, CD, level 1 descriptors), every probe of the operation is sent, and each device has one at
 * least. When a table is stored, or a SYNC is about to be consumed, the same holds for the operation's first moments; in
 * later ones the probes are sent of which the reference says something new, and others in turn, a few at a time.
 */

import { fits, textOf } from './answers.js'
import { Atc } from './atc.js'
import { bump, type Counts, count } from './counts.js'
import { answersOf, type Expected, judgeEnd, tell } from './expected.js'
import type { Machine } from './machine.js'
import { type Device, type Paging, windowOn } from './model.js'
import type { Probe } from './oracle.js'
import type { StoreListener } from './watched-memory.js'

/** Moments that every probe is sent in, where no entry is stored, and probes in turn in each later one. */
const WHOLE_LOOKS = 2
const IN_TURN = 1

/** Moments between two translation requests. */
const LOOKS_A_REQUEST = 3

const OPCODE_SYNC = 0x46

/** What an operation may show for a moment beside its old state and its new one. */
export interface Moment {
  /** An entry of this device may be invalid. */
  readonly device: Device | undefined
  /** The CD of this slot may be. */
  readonly slot: number
  /** The entry of the stream may be, too. */
  readonly hasSte: boolean
}

/** No entry is changed. */
export const NO_MOMENT: Moment = { device: undefined, slot: -1, hasSte: false }

/** Sends DMAs and judges them. */
export class Onlooker implements StoreListener {
  /** What the devices keep themselves. */
  readonly atc: Atc
  /** What was wrong first, in words. */
  found: string | undefined
  /** The DMA of this operation that met an invalid entry, in words. */
  sawInvalid: string | undefined
  /** The operation under way stores entries. */
  isEntry = false
  /** Whose log of writes is being collected, and the pages written to it meanwhile. */
  collecting: { readonly domain: Paging; readonly pages: Set<number> } | undefined
  #probes: readonly Probe[] = []
  /** What the model says of each probe in this phase of the operation. */
  #expected: readonly Expected[] = []
  #moment = NO_MOMENT
  #isOn = false
  #isSending = false
  #looks = 0
  #turn = 0

  constructor(
    readonly machine: Machine,
    readonly counts: Counts,
  ) {
    this.atc = new Atc(machine, counts)
    machine.driver.listener = this.atc
  }

  /** The state before: its answers go into the caches, as a busy device's do. */
  before(probes: readonly Probe[], moment: Moment, isEntry: boolean): void {
    this.#probes = probes
    this.#moment = moment
    this.isEntry = isEntry
    this.#looks = 0
    this.sawInvalid = undefined
    this.#expect()
    for (let i = 0; i < probes.length; i++) {
      probes[i].seen.length = 0
      this.#ask(probes[i])
      probes[i].seen.push(probes[i].walked.code)
      this.#send(i, false)
    }
  }

  /** From now on the driver is looked at: the model knows the new state beside the old one. */
  begin(): void {
    this.#expect()
    this.#isOn = true
  }

  /** The operation is over, and the model has no old state any more: each answer is the new one, to the letter. */
  end(isDone: boolean): void {
    this.#isOn = false
    this.found ??= this.atc.audit(isDone)
    this.#moment = NO_MOMENT
    this.#expect()
    for (let i = 0; i < this.#probes.length; i++) {
      this.#ask(this.#probes[i])
      this.#send(i, true)
    }
  }

  stored(address: number): void {
    if (!this.#isOn || this.#isSending) return
    if (!this.machine.isQueue(address)) {
      this.counts.stores++
      this.#look(this.isEntry)
    } else if (this.machine.isCommand(address) && address % 16 === 8 && this.#isSync(address - 8)) {
      this.counts.syncs++
      this.#look(false)
    }
  }

  wiped(): void {
    if (!this.#isOn || this.#isSending) return
    this.counts.wiped++
    this.#look(false)
  }

  #isSync(slot: number): boolean {
    const { memory } = this.machine
    memory.loadWord(slot)
    return (memory.lo & 0xff) === OPCODE_SYNC
  }

  #expect(): void {
    this.#expected = this.#probes.map((probe) => answersOf(this.machine, probe, this.#moment))
  }

  #look(isEntry: boolean): void {
    const isWhole = isEntry || this.#looks < WHOLE_LOOKS
    for (let i = 0; i < this.#probes.length; i++) {
      const probe = this.#probes[i]
      const isNew = this.#ask(probe)
      if (isNew) probe.seen.push(probe.walked.code)
      if (isNew || isWhole) this.#send(i, false)
    }
    this.#askForPage()
    if (isWhole || this.#probes.length === 0) return
    for (let i = 0; i < IN_TURN; i++) this.#send(this.#turn++ % this.#probes.length, false)
  }

  /** Now and then a device that keeps translations asks for one. */
  #askForPage(): void {
    if (this.#looks++ % LOOKS_A_REQUEST !== 0 || this.found !== undefined) return
    const { devices } = this.machine
    // Under PASID 0 nobody asks: between CD 0 and the STE it would get what is invalidated without a PASID. And nobody asks
    // under one that he cannot send, whatever a guest's CD table has: a device without any is told of none.
    const able = this.#probes.filter(({ device, pasid }) => {
      const { ops } = devices[device]
      return ops?.ats !== undefined && pasid !== 0 && pasid < Math.max(1, ops.maxPasids)
    })
    if (able.length === 0) return
    this.#isSending = true
    this.found = this.atc.request(able[this.#turn++ % able.length])
    this.#isSending = false
  }

  /** Whether the reference says something new. */
  #ask(probe: Probe): boolean {
    return this.machine.oracle.ask(probe)
  }

  /** @param isSettled the operation is over */
  #send(index: number, isSettled: boolean): void {
    if (this.found !== undefined) return
    const probe = this.#probes[index]
    const expected = this.#expected[index]
    this.#isSending = true
    const got = this.machine.send(probe)
    this.#isSending = false
    const wrong = judgeEnd(this.machine, probe, got, expected, isSettled)
    if (wrong !== undefined) this.found = `${isSettled ? 'afterwards ' : ''}${tell(probe)} ${wrong}`
    this.machine.consumeEvents()
    this.#count(probe, got, expected)
  }

  #count(probe: Probe, got: number, expected: Expected): void {
    const { counts, machine } = this
    const { old, now, also, kept } = expected
    const isPlain = [old, now, ...also, ...kept].some((answer) => fits(got, answer))
    if (!isPlain) this.sawInvalid ??= `${tell(probe)} ends as ${textOf(got)}`
    count(counts, probe, got, machine.outcome, !isPlain)
    if (got >= 0) this.#countGuest(machine.devices[probe.device])
    if (old !== now) {
      if (got === old) counts.sawOld++
      else if (got === now) counts.sawNew++
    }
    if (got < 0 || expected.writes === undefined) return
    const { collecting } = this
    const pages = collecting?.domain === expected.writes ? collecting.pages : expected.writes.written
    pages.add(probe.page)
  }

  #countGuest(device: Device): void {
    if (device.slots.now.get(0)?.kind === 'user') bump(this.counts.met, 'nested')
    else if (windowOn(device) !== undefined) bump(this.counts.met, 'window')
  }
}
