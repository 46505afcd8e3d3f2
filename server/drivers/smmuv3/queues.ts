/** The driver's ends of the unit's queues: commands in, event records out. [SMMU 3.5 Command and Event queues] */

import { type FieldSpec, type Layout, pack } from '../../../hw-model/bits/layout.js'
import type { Memory } from '../../../hw-model/memory/index.js'
import {
  CMD_SYNC,
  COMMAND,
  EVENT_RECORD,
  EVENTQ_CONS,
  OFFSET,
  PAGE_1,
  QUEUE_BASE,
  SYNC_CS,
} from '../../../hw-model/smmuv3/index.js'
import { assert } from '../../core/driver.js'
import type { HostRam } from '../host-ram.js'
import type { Registers } from './registers.js'

/** Both queues are one page: commands are consumed as they come, and events are drained after every DMA. */
const QUEUE_BYTES = 4096

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
  #prod = 0
  #pending = 0

  constructor(memory: Memory, ram: HostRam, registers: Registers, limitLg2: number, syncByMsi: boolean) {
    this.#memory = memory
    this.#registers = registers
    this.#slotsLg2 = Math.min(limitLg2, Math.log2(QUEUE_BYTES / COMMAND.$.bytes))
    this.#base = ram.alloc(QUEUE_BYTES)
    this.#syncByMsi = syncByMsi
  }

  /** Tells the unit where the queue is. */
  program(): void {
    this.#registers.write64(OFFSET.CMDQ_BASE, pack(QUEUE_BASE, { ADDR: this.#base, LOG2SIZE: this.#slotsLg2, RA: 1 }))
    this.#registers.write32(OFFSET.CMDQ_PROD, 0)
    this.#registers.write32(OFFSET.CMDQ_CONS, 0)
  }

  /** Queues a command; it is carried out at the next `sync`, or when the queue fills up. */
  push(command: Int32Array): void {
    const slot = this.#base + (this.#prod % 2 ** this.#slotsLg2) * COMMAND.$.bytes
    this.#memory.storeRecord(slot, command, 0, COMMAND.$.words)
    this.#prod = (this.#prod + 1) % 2 ** (this.#slotsLg2 + 1)
    this.issued++
    if (++this.#pending === 2 ** this.#slotsLg2) this.#kick()
  }

  /** Queues a command given by its fields. */
  add<F extends Record<string, FieldSpec>>(
    record: Layout<F>,
    opcode: number,
    fields: { readonly [K in keyof F]?: number },
  ): void {
    this.push(pack(record, { ...fields, Opcode: opcode }))
  }

  /** Ends the batch: when this returns, everything queued has happened. */
  sync(): void {
    const slot = this.#base + (this.#prod % 2 ** this.#slotsLg2) * COMMAND.$.bytes
    const msi = this.#syncByMsi ? { CS: SYNC_CS.IRQ, MSIAddress: slot } : { CS: SYNC_CS.SEV }
    this.syncs++
    this.add(CMD_SYNC, 0x46, { ...msi, MSH: MSI_SHAREABILITY, MSIAttr: MSI_ATTRIBUTES })
    this.#kick()
    if (!this.#syncByMsi) return
    this.#memory.loadWord(slot)
    assert(this.#memory.lo === 0, 'a SYNC writes zero over its own slot')
  }

  #kick(): void {
    if (this.#pending === 0) return
    this.#pending = 0
    this.#registers.write32(OFFSET.CMDQ_PROD, this.#prod)
    const cons = this.#registers.read32(OFFSET.CMDQ_CONS)
    assert((cons & 0xfffff) === this.#prod, `the unit stopped at a command of ours (CMDQ_CONS ${cons.toString(16)})`)
  }
}

/** The event queue. */
export class EventRing {
  /** Overflows seen: records were lost. */
  overflows = 0
  readonly #memory: Memory
  readonly #registers: Registers
  readonly #base: number
  readonly #slotsLg2: number
  readonly #record = new Int32Array(EVENT_RECORD.$.words)

  constructor(memory: Memory, ram: HostRam, registers: Registers, limitLg2: number) {
    this.#memory = memory
    this.#registers = registers
    this.#slotsLg2 = Math.min(limitLg2, Math.log2(QUEUE_BYTES / EVENT_RECORD.$.bytes))
    this.#base = ram.alloc(QUEUE_BYTES)
  }

  /** Tells the unit where the queue is. */
  program(): void {
    this.#registers.write64(OFFSET.EVENTQ_BASE, pack(QUEUE_BASE, { ADDR: this.#base, LOG2SIZE: this.#slotsLg2, RA: 1 }))
    this.#registers.write32(PAGE_1 + OFFSET.EVENTQ_PROD, 0)
    this.#registers.write32(PAGE_1 + OFFSET.EVENTQ_CONS, 0)
  }

  /** Takes out every record. `visit` must copy what it keeps. Answers whether records had been lost. */
  drain(visit: (record: Int32Array) => void): boolean {
    const prod = this.#registers.read32(PAGE_1 + OFFSET.EVENTQ_PROD)
    const cons = this.#registers.read32(PAGE_1 + OFFSET.EVENTQ_CONS)
    const wrap = 2 ** (this.#slotsLg2 + 1)
    let at = cons % wrap
    const end = (prod & 0xfffff) % wrap
    while (at !== end) {
      const slot = this.#base + (at % 2 ** this.#slotsLg2) * EVENT_RECORD.$.bytes
      this.#memory.loadRecord(slot, this.#record, 0, EVENT_RECORD.$.words)
      visit(this.#record)
      at = (at + 1) % wrap
    }
    const overflowed = prod >>> 31 !== cons >>> 31
    if (overflowed) this.overflows++
    const next = pack(EVENTQ_CONS, { RD: end, OVACKFLG: prod >>> 31 })
    this.#registers.write32(PAGE_1 + OFFSET.EVENTQ_CONS, next[0])
    return overflowed
  }
}
