/**
 * The fault records that a VT-d unit has to show: a ring of registers, an overflow, and an event for the first of them.
 * [VTD 7.2.1 Primary Fault Logging] [VTD 7.3 Non-Recoverable Fault Event]
 */

import type { VtdUnit } from '../../hw-model/vtd/index.js'
import type { VtdRecord } from './reference/vtd-types.js'
import type { Rng } from './rng.js'
import { Disagreement, hex } from './step.js'

const FSTS = 0x34
const PFO = 1
const PPF = 2

/** Follows one unit. */
export class FaultLog {
  readonly #unit: VtdUnit
  readonly #offset: number
  readonly #slots: (VtdRecord | undefined)[]
  #next = 0
  /** The oldest record that is pending, and what was the oldest when PPF was set. */
  #first = 0
  #index = 0
  #pending = 0
  #isOverflown = false
  /** Events that had to be raised. */
  events = 0

  /** @param offset of the first record in the register window */
  constructor(unit: VtdUnit, offset: number, count: number) {
    this.#unit = unit
    this.#offset = offset
    this.#slots = new Array<VtdRecord | undefined>(count).fill(undefined)
  }

  /** A fault was recorded, or nothing was; FSTS and the record say so. */
  expect(record: VtdRecord | undefined): string | undefined {
    let slot: number | undefined
    if (record !== undefined && !this.#isOverflown) {
      if (this.#slots[this.#next] !== undefined) this.#isOverflown = true
      else {
        slot = this.#next
        this.#slots[slot] = record
        this.#next = (slot + 1) % this.#slots.length
        if (this.#pending++ === 0) {
          this.#first = slot
          this.#index = slot
          this.events++
        }
      }
    }
    return this.#status() ?? (slot === undefined ? undefined : this.#compare(slot))
  }

  /** One of these was recorded, or nothing where that is among them; the record tells which. */
  expectOneOf(records: readonly (VtdRecord | undefined)[]): string | undefined {
    const mayBeNone = records.includes(undefined)
    if (this.#slots[this.#next] !== undefined || this.#isOverflown) {
      const isLost = (this.#unit.readRegister(FSTS, 4)[0] & PFO) !== 0
      return this.expect(isLost || !mayBeNone ? records.find((record) => record !== undefined) : undefined)
    }
    const high = this.#read(this.#next, 8)
    const found = records.find((record) => record?.words[1] === high)
    return this.expect(found ?? (mayBeNone ? undefined : records[0]))
  }

  /** The queue met an error: an event, unless one was due already. */
  otherEvent(isDue: boolean): void {
    if (!isDue) this.events++
  }

  /** Reads all records and clears some of them, the oldest first. */
  clear(rng: Rng): void {
    const wrong = this.#slots.map((_, slot) => this.#compare(slot)).find((text) => text !== undefined)
    if (wrong !== undefined) throw new Disagreement(wrong)
    const count = rng.chance(0.8) ? this.#pending : rng.int(this.#pending + 1)
    for (let i = 0; i < count; i++) {
      this.#unit.writeRegister(this.#at(this.#first) + 12, 4, 0x8000_0000, 0)
      this.#slots[this.#first] = undefined
      this.#first = (this.#first + 1) % this.#slots.length
      this.#pending--
    }
    if (this.#isOverflown && rng.chance(0.9)) {
      this.#unit.writeRegister(FSTS, 4, PFO, 0)
      this.#isOverflown = false
    }
    const status = this.#status()
    if (status !== undefined) throw new Disagreement(status)
  }

  /** Translation is off, and so is interrupt remapping: recording starts over. */
  restart(rng: Rng): void {
    while (this.#pending > 0 || this.#isOverflown) this.clear(rng)
    this.#next = 0
  }

  get isFull(): boolean {
    return this.#isOverflown
  }

  #status(): string | undefined {
    const [found] = this.#unit.readRegister(FSTS, 4)
    const flags = (this.#isOverflown ? PFO : 0) | (this.#pending > 0 ? PPF : 0)
    if ((found & 0x73) !== flags) return `FSTS is ${hex(found)}, not ${hex(flags)}`
    const index = (found >>> 8) & 0xff
    return this.#pending > 0 && index !== this.#index ? `FSTS.FRI is ${index}, not ${this.#index}` : undefined
  }

  #compare(slot: number): string | undefined {
    const words = [this.#read(slot, 0), this.#read(slot, 8)]
    const record = this.#slots[slot]
    const shown = words.map(hex).join(' ')
    if (record === undefined) return words[1] >> 63n === 0n ? undefined : `record ${slot} is ${shown}, and none is due`
    const isRight = words[1] === record.words[1] && (words[0] === record.words[0] || !record.hasAddress)
    return isRight ? undefined : `record ${slot} is ${shown}, not ${record.words.map(hex).join(' ')}`
  }

  #at(slot: number): number {
    return this.#offset + slot * 16
  }

  #read(slot: number, offset: number): bigint {
    const [lo, hi] = this.#unit.readRegister(this.#at(slot) + offset, 8)
    return (BigInt(hi) << 32n) | BigInt(lo)
  }
}
