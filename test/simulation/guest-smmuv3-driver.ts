/** What drives the unit: its memory, registers and queues, and the devices that wait for it. */

import { Memory, SparseBacking } from '../../hw-model/memory/index.js'
import { ACCESS, NO_DEVICES, NO_PASID, Outcome, REQUEST, Transaction } from '../../hw-model/port.js'
import { type CacheOptions, type IdRegisters, SmmuV3 } from '../../hw-model/smmuv3/index.js'
import { Ram } from './ram.js'
import type { SmmuAccess, SmmuRegisters } from './reference/smmuv3-types.js'
import type { Rng } from './rng.js'
import { type Command, Disagreement, hex, type Onlooker } from './step.js'

/** Tables, stream tables, and queues: no bit that a guest gets wrong in a pointer leads from one to another. */
const RAM_BASE = 0x4000_0000n
const STREAMS_BASE = 0x6000_0000n
const QUEUE_BASE = 0x7000_0000n
const RAM_END = 0x8000_0000n
/** Memory that only 52-bit addresses reach; far from the IPAs that guests use. */
const FAR_BASE = 0xd_0000_0000_0000n
const FAR_BYTES = 0x1000_0000n
const COMMANDS_LG2 = 5
const EVENTS_LG2 = 4

const REG = {
  CR0: 0x20,
  CR2: 0x2c,
  STRTAB_BASE: 0x80,
  CFG: 0x88,
  CMDQ_BASE: 0x90,
  CMDQ_PROD: 0x98,
  CMDQ_CONS: 0x9c,
  EVENTQ_BASE: 0xa0,
  EVENTQ_PROD: 0x100a8,
  EVENTQ_CONS: 0x100ac,
}

/** Memory that counts who writes to it. */
class WatchedBacking extends SparseBacking {
  readonly isWatched = true
  writes = 0

  override chunkForWrite(index: number): Int32Array | null {
    this.writes++
    return super.chunkForWrite(index)
  }
}

/** How a held transaction ended. */
export interface Ended {
  readonly tag: number
  readonly outcome: Outcome
}

/** A unit in its machine. */
export class Driver {
  readonly memory = new Memory()
  readonly ram: Ram
  readonly far: Ram
  /** Where stream tables are. */
  readonly apart: Ram
  readonly unit: SmmuV3
  /** Held transactions that ended since somebody looked. */
  readonly ended: Ended[] = []
  commands = 0
  readonly #rng: Rng
  readonly #onlooker: Onlooker | undefined
  readonly #tables = new WatchedBacking(Number(STREAMS_BASE - RAM_BASE))
  readonly #remote = new WatchedBacking(Number(FAR_BYTES))
  readonly #queue: bigint
  readonly #events: bigint
  readonly #transaction = new Transaction()
  readonly #outcome = new Outcome()
  #produced = 0
  #consumed = 0

  constructor(rng: Rng, id: IdRegisters, caches: CacheOptions, onlooker?: Onlooker) {
    this.#rng = rng
    this.#onlooker = onlooker
    this.memory.place(Number(RAM_BASE), this.#tables)
    this.memory.place(Number(STREAMS_BASE), new SparseBacking(Number(RAM_END - STREAMS_BASE)))
    this.memory.place(Number(FAR_BASE), this.#remote)
    this.ram = new Ram(this.memory, RAM_BASE, STREAMS_BASE)
    this.far = new Ram(this.memory, FAR_BASE, FAR_BASE + FAR_BYTES)
    this.apart = new Ram(this.memory, STREAMS_BASE, QUEUE_BASE)
    const queues = new Ram(this.memory, QUEUE_BASE, RAM_END)
    this.#queue = queues.allocate(16n << BigInt(COMMANDS_LG2), 4096n)
    this.#events = queues.allocate(32n << BigInt(EVENTS_LG2), 4096n)
    const ended = (tag: number, outcome: Outcome): void => {
      this.ended.push({ tag, outcome: Object.assign(new Outcome(), outcome) })
    }
    this.unit = new SmmuV3({
      memory: this.memory,
      owner: { message: () => {}, interrupt: () => {} },
      devices: { ...NO_DEVICES, ended },
      id,
      caches,
    })
    onlooker?.unit(this.unit)
  }

  /** Writes to memory outside the queues so far. */
  get writes(): number {
    return this.#tables.writes + this.#remote.writes
  }

  /** Programs everything and switches the unit on. */
  program(registers: SmmuRegisters, vmw: number): void {
    const { strtabBase, strtabLog2Size, strtabSplit, twoLevel } = registers
    const { e2h, recordInvalidSid, recordAtsConfig, atsCheck } = registers
    const flag = (value: boolean, at: number): bigint => BigInt(value) << BigInt(at)
    this.#write(REG.CR2, flag(e2h, 0) | flag(recordInvalidSid, 1) | 4n | flag(recordAtsConfig, 3))
    this.#write(REG.STRTAB_BASE, strtabBase, 8)
    this.#write(REG.CFG, BigInt(strtabLog2Size) | (BigInt(strtabSplit) << 6n) | flag(twoLevel, 16))
    this.#write(REG.CMDQ_BASE, this.#queue | BigInt(COMMANDS_LG2), 8)
    this.#write(REG.CMDQ_PROD, 0n)
    this.#write(REG.CMDQ_CONS, 0n)
    this.#write(REG.EVENTQ_BASE, this.#events | BigInt(EVENTS_LG2), 8)
    this.#write(REG.EVENTQ_PROD, 0n)
    this.#write(REG.EVENTQ_CONS, 0n)
    const rest = flag(atsCheck, 4) | (BigInt(vmw) << 6n)
    this.#write(REG.CR0, 0b1100n | rest)
    this.command(0x04n, 31n)
    this.command(0x30n, 0n)
    this.sync()
    this.#write(REG.CR0, 0b1101n | rest)
  }

  /** Switches translation off and on again. */
  restart(): void {
    const [cr0] = this.unit.readRegister(REG.CR0, 4)
    this.#write(REG.CR0, BigInt(cr0 & ~1))
    this.#write(REG.CR0, BigInt(cr0))
  }

  /** Puts one command into the queue, or what an onlooker makes of it. */
  command(low: bigint, high: bigint): void {
    const number = this.commands++
    if (this.#onlooker === undefined) this.#send([low, high])
    else for (const command of this.#onlooker.instead(number, [low, high])) this.#send(command)
  }

  /** What an onlooker has software say before an access. */
  beforeAccess(number: number): void {
    for (const command of this.#onlooker?.before(number) ?? []) this.#send(command)
  }

  /** The same at the end. */
  afterAll(): void {
    for (const command of this.#onlooker?.after() ?? []) this.#send(command)
  }

  #send([low, high]: Command): void {
    const slot = this.#queue + BigInt(this.#produced % 2 ** COMMANDS_LG2) * 16n
    this.ram.write(slot, low)
    this.ram.write(slot + 8n, high)
    this.#produced = (this.#produced + 1) % 2 ** (COMMANDS_LG2 + 1)
    this.#write(REG.CMDQ_PROD, BigInt(this.#produced))
    const [consumed] = this.unit.readRegister(REG.CMDQ_CONS, 4)
    if (consumed !== this.#produced) {
      const command = `command ${hex(low)} ${hex(high)}`
      throw new Disagreement(`${command}: CMDQ_CONS is ${hex(consumed)}, not ${hex(this.#produced)}`, 'command')
    }
  }

  sync(): void {
    this.command(this.#rng.pick([0x46n, 0x2046n]), 0n)
  }

  /** Sends one access; the outcome holds until the next. */
  send(access: SmmuAccess): Outcome {
    this.#fill(access)
    this.unit.translate(this.#transaction, this.#outcome)
    return this.#outcome
  }

  /** Has it explained, which changes nothing. */
  explain(access: SmmuAccess): Outcome {
    this.#fill(access)
    this.unit.explain(this.#transaction, this.#outcome, { step: () => {} })
    return this.#outcome
  }

  #fill(access: SmmuAccess): void {
    const { address, kind } = access
    Object.assign(this.#transaction, {
      rid: access.sid,
      pasid: access.ssid ?? NO_PASID,
      lo: Number(BigInt.asIntN(32, address)),
      hi: Number(BigInt.asIntN(32, address >> 32n)),
      type: TYPES[kind],
      access:
        (access.write ? ACCESS.WRITE : ACCESS.READ) |
        (kind === 'request' ? ACCESS.READ : 0) |
        (access.fetch ? ACCESS.EXECUTE : 0) |
        (access.privileged ? ACCESS.PRIVILEGED : 0),
    })
  }

  /** The records that the unit wrote since the last look; they are consumed. */
  takeEvents(): bigint[][] {
    const events: bigint[][] = []
    const [produced] = this.unit.readRegister(REG.EVENTQ_PROD, 4)
    while (this.#consumed !== produced && events.length < 2 ** EVENTS_LG2) {
      const at = this.#events + BigInt(this.#consumed % 2 ** EVENTS_LG2) * 32n
      events.push([0n, 8n, 16n, 24n].map((i) => this.ram.read(at + i)))
      this.#consumed = (this.#consumed + 1) % 2 ** (EVENTS_LG2 + 1)
    }
    if (events.length > 0) this.#write(REG.EVENTQ_CONS, BigInt(this.#consumed))
    return events
  }

  #write(offset: number, value: bigint, bytes: 4 | 8 = 4): void {
    this.unit.writeRegister(offset, bytes, Number(value & 0xffffffffn), Number(value >> 32n))
  }
}

const TYPES = {
  ordinary: REQUEST.UNTRANSLATED,
  request: REQUEST.TRANSLATION,
  translated: REQUEST.TRANSLATED,
} as const
