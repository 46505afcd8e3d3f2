/** The driver's ends of the unit's queues: commands in, events and page requests out. [SMMU 3.5 Command and Event queues] */

import { type FieldSpec, type Layout, pack } from '../../../hw-model/bits/layout.js'
import type { Memory } from '../../../hw-model/memory/index.js'
import {
  CMD_SYNC,
  COMMAND,
  EVENT_RECORD,
  EVENTQ_CONS,
  OFFSET,
  OPCODE,
  PAGE_1,
  PRI_ENTRY,
  QUEUE_BASE,
  SYNC_CS,
} from '../../../hw-model/smmuv3/index.js'
import { assert } from '../../core/driver.js'
import type { HostRam } from '../host-ram.js'
import type { Registers } from './registers.js'

/** The largest queue, as Linux has it: a mebibyte, of which only what was used takes memory. */
const QUEUE_BYTES = 2 ** 20

/** Commands that are told to the unit at once, as Linux does: one for each bit of its longs. */
const BATCH = 64

/** The SYNC's MSI: inner shareable, write-back. */
const MSI_SHAREABILITY = 3
const MSI_ATTRIBUTES = 0xf

/** The command queue. */
export class CommandRing {
  /** Commands written. */
  issued = 0
  /** SYNCs among them. */
  syncs = 0
  readonly #memory: Memory
  readonly #registers: Registers
  readonly #base: number
  readonly #slotsLg2: number
  /** Whether a SYNC reports by writing over its own slot, as Linux has it where MSIs are coherent. */
  readonly #syncByMsi: boolean
  /** The next SYNC, but for its address. */
  readonly #syncCommand: Int32Array
  #prod = 0
  #pending = 0
  #isClosed = false
  #recover: () => boolean = () => false

  constructor(memory: Memory, ram: HostRam, registers: Registers, limitLg2: number, syncByMsi: boolean) {
    this.#memory = memory
    this.#registers = registers
    this.#slotsLg2 = Math.min(limitLg2, Math.log2(QUEUE_BYTES / COMMAND.$.bytes))
    this.#base = ram.alloc(2 ** this.#slotsLg2 * COMMAND.$.bytes)
    this.#syncByMsi = syncByMsi
    this.#syncCommand = syncCommand(syncByMsi ? SYNC_CS.IRQ : SYNC_CS.SEV)
  }

  /** Tells the unit where the queue is. */
  program(): void {
    this.#registers.write64(OFFSET.CMDQ_BASE, pack(QUEUE_BASE, { ADDR: this.#base, LOG2SIZE: this.#slotsLg2, RA: 1 }))
    this.#registers.write32(OFFSET.CMDQ_PROD, 0)
    this.#registers.write32(OFFSET.CMDQ_CONS, 0)
  }

  /** @param recover called when the unit stopped; answers whether it may go on now */
  onStop(recover: () => boolean): void {
    this.#recover = recover
  }

  /** Queues a command; it is carried out at the next `sync`, or when there are many. */
  push(command: Int32Array): void {
    if (this.#pending >= BATCH) this.#kick()
    this.#store(command)
  }

  /** Queues a command given by its fields. */
  add<F extends Record<string, FieldSpec>>(
    record: Layout<F>,
    opcode: number,
    fields: { readonly [K in keyof F]?: number },
  ): void {
    const command = pack(record, fields)
    COMMAND.Opcode.set(command, 0, opcode)
    this.push(command)
  }

  /** Gives a command that nothing waits for. */
  issue<F extends Record<string, FieldSpec>>(
    record: Layout<F>,
    opcode: number,
    fields: { readonly [K in keyof F]?: number },
  ): void {
    this.add(record, opcode, fields)
    this.#kick()
  }

  /** Ends the batch: when this returns, everything queued has happened. */
  sync(): void {
    const slot = this.#slotOf(this.#prod)
    this.syncs++
    if (this.#syncByMsi) CMD_SYNC.MSIAddress.set(this.#syncCommand, 0, slot)
    this.#store(this.#syncCommand)
    this.#kick()
    if (!this.#syncByMsi || this.#isClosed) return
    this.#memory.loadWord(slot)
    // Linux waits for a while and goes on. [SMMU 4.7.3 CMD_SYNC]
    if (this.#memory.lo !== 0) assert(this.#recover(), 'a SYNC writes zero over its own slot, or the write was aborted')
  }

  /** The command in a slot. */
  read(index: number): Int32Array {
    const command = new Int32Array(COMMAND.$.words)
    this.#memory.loadRecord(this.#slotOf(index), command, 0, command.length)
    return command
  }

  /** Puts a SYNC that tells nobody in place of a command that the unit cannot carry out, as Linux does. */
  replaceBySync(index: number): void {
    this.#memory.storeRecord(this.#slotOf(index), syncCommand(SYNC_CS.SEV), 0, COMMAND.$.words)
  }

  /** The unit is switched off: what is queued from now on is carried out by nobody, and nobody waits for it. */
  close(): void {
    this.#isClosed = true
  }

  #slotOf(index: number): number {
    return this.#base + (index % 2 ** this.#slotsLg2) * COMMAND.$.bytes
  }

  #store(command: Int32Array): void {
    if (this.#pending === 2 ** this.#slotsLg2) this.#kick()
    const slot = this.#slotOf(this.#prod)
    this.#memory.storeRecord(slot, command, 0, COMMAND.$.words)
    this.#prod = (this.#prod + 1) % 2 ** (this.#slotsLg2 + 1)
    this.issued++
    this.#pending++
  }

  #kick(): void {
    if (this.#pending === 0) return
    this.#pending = 0
    if (this.#isClosed) return
    this.#registers.write32(OFFSET.CMDQ_PROD, this.#prod)
    while (!this.#isClosed && this.#cons !== this.#prod) {
      assert(this.#recover(), 'the unit stops where an error says so, or a device is silent')
    }
  }

  get #cons(): number {
    return this.#registers.read32(OFFSET.CMDQ_CONS) & 0xfffff
  }
}

const syncCommand = (CS: number): Int32Array =>
  pack(CMD_SYNC, { Opcode: OPCODE.SYNC, CS, MSH: MSI_SHAREABILITY, MSIAttr: MSI_ATTRIBUTES })

/** A queue that the unit writes. */
export interface RingPlace {
  readonly base: number
  readonly prod: number
  readonly cons: number
  /** Layout of a record. */
  readonly record: { readonly $: { readonly bytes: number; readonly words: number } }
}

/** Where the event queue is told to the unit. [SMMU 6.3.95 SMMU_EVENTQ_PROD] */
export const EVENTQ: RingPlace = {
  base: OFFSET.EVENTQ_BASE,
  prod: PAGE_1 + OFFSET.EVENTQ_PROD,
  cons: PAGE_1 + OFFSET.EVENTQ_CONS,
  record: EVENT_RECORD,
}

/** Where the PRI queue is. [SMMU 6.3.97 SMMU_PRIQ_PROD] */
export const PRIQ: RingPlace = {
  base: OFFSET.PRIQ_BASE,
  prod: PAGE_1 + OFFSET.PRIQ_PROD,
  cons: PAGE_1 + OFFSET.PRIQ_CONS,
  record: PRI_ENTRY,
}

/** The driver's end of the event queue, or of the PRI queue, which is alike. */
export class RecordRing {
  /** Overflows seen: records were lost. */
  overflows = 0
  readonly #memory: Memory
  readonly #registers: Registers
  readonly #place: RingPlace
  readonly #base: number
  readonly #slotsLg2: number

  constructor(memory: Memory, ram: HostRam, registers: Registers, place: RingPlace, limitLg2: number) {
    this.#memory = memory
    this.#registers = registers
    this.#place = place
    this.#slotsLg2 = Math.min(limitLg2, Math.log2(QUEUE_BYTES / place.record.$.bytes))
    this.#base = ram.alloc(2 ** this.#slotsLg2 * place.record.$.bytes)
  }

  /** Tells the unit where the queue is. */
  program(): void {
    const { base, prod, cons } = this.#place
    this.#registers.write64(base, pack(QUEUE_BASE, { ADDR: this.#base, LOG2SIZE: this.#slotsLg2, RA: 1 }))
    this.#registers.write32(prod, 0)
    this.#registers.write32(cons, 0)
  }

  /** Takes out every record. An overflow is acknowledged. */
  drain(): Int32Array[] {
    const { record } = this.#place
    const prod = this.#registers.read32(this.#place.prod)
    const cons = this.#registers.read32(this.#place.cons)
    const wrap = 2 ** (this.#slotsLg2 + 1)
    const end = (prod & 0xfffff) % wrap
    const records: Int32Array[] = []
    for (let at = cons % wrap; at !== end; at = (at + 1) % wrap) {
      const slot = this.#base + (at % 2 ** this.#slotsLg2) * record.$.bytes
      const words = new Int32Array(record.$.words)
      this.#memory.loadRecord(slot, words, 0, words.length)
      records.push(words)
    }
    const overflowed = prod >>> 31 !== cons >>> 31
    if (overflowed) this.overflows++
    if (records.length === 0 && !overflowed) return records
    const next = pack(EVENTQ_CONS, { RD: end, OVACKFLG: prod >>> 31 })
    this.#registers.write32(this.#place.cons, next[0])
    return records
  }
}
