/**
 * The four registers behind one event of the unit (xECTL, xEDATA, xEADDR, xEUADDR) and the message they send.
 * [VTD 7.3 Non-Recoverable Fault Event, 6.5.2.10 Hardware Generation of Invalidation Completion Events]
 */

import { joinWord } from '../bits/address.js'
import type { Memory } from '../memory/memory.js'
import type { UnitOwner } from '../port.js'
import { EVENT_CONTROL } from './registers.js'

const { IM, IP } = EVENT_CONTROL

/** Control, data and address of one event. */
export class EventBlock {
  readonly #words: Int32Array
  readonly #at: number
  readonly #memory: Memory
  readonly #owner: UnitOwner
  readonly #source: string

  /**
   * @param words the register file
   * @param control offset of the control register, bytes; data and address follow it
   * @param source what the owner calls this event
   */
  constructor(words: Int32Array, control: number, memory: Memory, owner: UnitOwner, source: string) {
    this.#words = words
    this.#at = control >>> 2
    this.#memory = memory
    this.#owner = owner
    this.#source = source
  }

  /** Masked at power-on. */
  reset(): void {
    IM.set(this.#words, this.#at, 1)
  }

  /** The event happened: it pends, and is sent unless it is masked. */
  trigger(): void {
    IP.set(this.#words, this.#at, 1)
    this.#sendIfUnmasked()
  }

  /** Its last cause is gone before it was sent. */
  withdraw(): void {
    IP.set(this.#words, this.#at, 0)
  }

  /** A write to the control register; only IM is software's. Unmasking sends what pends. */
  writeControl(value: number): void {
    IM.set(this.#words, this.#at, value >>> 31)
    this.#sendIfUnmasked()
  }

  #sendIfUnmasked(): void {
    const words = this.#words
    if (IM.get(words, this.#at) !== 0 || IP.get(words, this.#at) === 0) return
    IP.set(words, this.#at, 0)
    const data = words[this.#at + 1] & 0xffff
    const address = joinWord(words[this.#at + 2] & ~3, words[this.#at + 3])
    // The message is a plain 4-byte write; whoever polls memory for it sees it too.
    if (address < 2 ** 52) this.#memory.store32(address, data)
    this.#owner.message(address, data)
    this.#owner.interrupt(this.#source)
  }
}
