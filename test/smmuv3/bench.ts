/**
 * A small machine for the tests of the unit: RAM, a stream table, queues, and a guest that writes its structures with
 * its own hands. It shares no code with the host driver.
 */

import { pack } from '../../hw-model/bits/layout.js'
import { NO_CACHE } from '../../hw-model/cache/geometry.js'
import { SparseBacking } from '../../hw-model/memory/backing.js'
import { Memory } from '../../hw-model/memory/memory.js'
import { ACCESS, type DevicePort, NO_DEVICES, NO_PASID, Outcome, STATUS, Transaction } from '../../hw-model/port.js'
import {
  type CacheOptions,
  CD,
  type IdOverrides,
  idRegisters,
  OFFSET,
  PAGE_1,
  type PresetName,
  SmmuV3,
  STE,
} from '../../hw-model/smmuv3/index.js'

/** Bytes of RAM, from address 0. */
export const RAM_BYTES = 2 ** 32

/** What a guest-physical address is more than the physical one, where stage 2 is on. */
export const GUEST = 2 ** 32

/** Streams of the linear stream table. */
export const STREAMS_LG2 = 6

/** Bits of table entries, spelled out. */
export const S1 = {
  TABLE: 0b11n,
  /** Page: AF, inner shareable, read-write for all, nG. */
  RW: 0xf43n,
  RO: 0xfc3n,
  /** Read-write, global. */
  GLOBAL: 0x743n,
  BLOCK_RW: 0xf41n,
} as const
export const S2 = { TABLE: 0b11n, RW: 0x7ffn, RO: 0x77fn, WO: 0x7bfn, DEVICE: 0x7c7n, BLOCK_RW: 0x7fdn } as const

/** Table entries are read afresh: what a test changes in a table counts where no leaf is kept. */
const LEAVES_ALONE: CacheOptions = {
  tlb: { entries: 1024, ways: 4 },
  ipa: { entries: 1024, ways: 4 },
  walk1: NO_CACHE,
  walk2: NO_CACHE,
  configEntries: 256,
}
/** No leaves either. */
export const NO_LEAVES: CacheOptions = { tlb: NO_CACHE, ipa: NO_CACHE }

type SteFields = Partial<Record<Exclude<keyof typeof STE, '$'>, number>>
type CdFields = Partial<Record<Exclude<keyof typeof CD, '$'>, number>>

/** One unit with everything around it. */
export class Bench {
  readonly memory = new Memory()
  readonly unit: SmmuV3
  readonly messages: [address: number, data: number][] = []
  readonly interrupts: string[] = []
  /** How pending transactions ended. */
  readonly endings: [tag: number, answer: string][] = []
  readonly commandQueue: number
  readonly eventQueue: number
  readonly commandLg2: number
  readonly eventLg2: number
  readonly streamTable: number
  #next = 0x100000
  #prod = 0

  constructor(
    options: {
      preset?: PresetName
      id?: IdOverrides
      commandLg2?: number
      eventLg2?: number
      caches?: CacheOptions
      devices?: DevicePort
      suppressesStalls?: boolean
      mergesEvents?: boolean
    } = {},
  ) {
    const { preset, id, commandLg2 = 6, eventLg2 = 6, caches = {}, devices } = options
    const { suppressesStalls = false, mergesEvents = false } = options
    this.commandLg2 = commandLg2
    this.eventLg2 = eventLg2
    this.memory.place(0, new SparseBacking(RAM_BYTES))
    this.unit = new SmmuV3({
      memory: this.memory,
      owner: {
        message: (address, data) => this.messages.push([address, data]),
        interrupt: (source) => this.interrupts.push(source),
      },
      devices: { ...NO_DEVICES, ended: (tag, outcome) => this.endings.push([tag, this.describe(outcome)]) },
      id: idRegisters(preset, id),
      caches: { ...LEAVES_ALONE, ...caches },
      suppressesStalls,
      ...(devices === undefined ? {} : { devices }),
      mergesEvents,
    })
    this.streamTable = this.alloc(2 ** (STREAMS_LG2 + 6))
    this.commandQueue = this.alloc(4096)
    this.eventQueue = this.alloc(4096)
    this.write(OFFSET.CR2, 0b10)
    this.write64(OFFSET.STRTAB_BASE, this.streamTable)
    this.write(OFFSET.STRTAB_BASE_CFG, STREAMS_LG2)
    this.write64(OFFSET.CMDQ_BASE, this.commandQueue + commandLg2)
    this.write64(OFFSET.EVENTQ_BASE, this.eventQueue + eventLg2)
    this.write(OFFSET.IRQ_CTRL, 0b101)
    this.write(OFFSET.CR0, 0b1101)
  }

  read(offset: number): number {
    return this.unit.readRegister(offset, 4)[0]
  }

  write(offset: number, value: number): void {
    this.unit.writeRegister(offset, 4, value, 0)
  }

  write64(offset: number, value: number): void {
    this.unit.writeRegister(offset, 8, value >>> 0, Math.floor(value / 2 ** 32))
  }

  /** Zeroed memory, aligned to its size. */
  alloc(bytes = 4096): number {
    const size = Math.max(4096, bytes)
    const at = Math.ceil(this.#next / size) * size
    this.#next = at + size
    return at
  }

  poke(address: number, word: bigint): void {
    this.memory.storeWord(address, Number(BigInt.asIntN(32, word)), Number(BigInt.asIntN(32, word >> 32n)))
  }

  peek(address: number): bigint {
    this.memory.loadWord(address)
    return (BigInt(this.memory.hi >>> 0) << 32n) | BigInt(this.memory.lo >>> 0)
  }

  ste(sid: number, fields: SteFields): void {
    this.memory.storeRecord(this.streamTable + sid * 64, pack(STE, fields), 0, 16)
  }

  cd(address: number, fields: CdFields): void {
    this.memory.storeRecord(address, pack(CD, fields), 0, 16)
  }

  /** Maps a page in 4 KiB tables of four levels; `below` is what table addresses are more than physical ones. */
  map(root: number, va: bigint, entry: bigint, leafLevel = 3, below = 0): void {
    let table = root
    for (let level = 0; level < leafLevel; level++) {
      const slot = table + this.#index(va, level) * 8
      let next = this.peek(slot)
      if ((next & 1n) === 0n) {
        next = BigInt(this.alloc() + below) | S1.TABLE
        this.poke(slot, next)
      }
      table = Number(next & 0xfffffffff000n) - below
    }
    this.poke(table + this.#index(va, leafLevel) * 8, entry)
  }

  #index(va: bigint, level: number): number {
    return Number((va >> BigInt(39 - 9 * level)) & 0x1ffn)
  }

  /** Puts commands into the queue and rings the bell. Each is two 64-bit words. */
  commands(...commands: readonly (readonly [bigint, bigint])[]): void {
    for (const [dw0, dw1] of commands) {
      const slot = this.commandQueue + (this.#prod % 2 ** this.commandLg2) * 16
      this.poke(slot, dw0)
      this.poke(slot + 8, dw1)
      this.#prod = (this.#prod + 1) % 2 ** (this.commandLg2 + 1)
    }
    this.write(OFFSET.CMDQ_PROD, this.#prod)
  }

  /** A DMA; answers `ok <address>`, an event's name, `aborted`, `raz/wi` or `pending <tag>`. */
  dma(sid: number, address: bigint, options: { pasid?: number; access?: number } = {}): string {
    return this.describe(this.outcome(sid, address, options))
  }

  outcome(sid: number, address: bigint, options: { pasid?: number; access?: number } = {}): Outcome {
    const transaction = this.transaction(sid, address, options)
    return this.outcomeOf((outcome) => this.unit.translate(transaction, outcome))
  }

  /** What `act` answers in an outcome of its own. */
  outcomeOf(act: (outcome: Outcome) => void): Outcome {
    const outcome = new Outcome()
    act(outcome)
    return outcome
  }

  transaction(sid: number, address: bigint, options: { pasid?: number; access?: number } = {}): Transaction {
    const transaction = new Transaction()
    transaction.rid = sid
    transaction.pasid = options.pasid ?? NO_PASID
    transaction.access = options.access ?? ACCESS.READ
    transaction.lo = Number(address & 0xffffffffn)
    transaction.hi = Number(address >> 32n)
    return transaction
  }

  describe(outcome: Outcome): string {
    if (outcome.status === STATUS.OK) return `ok ${outcome.address.toString(16)}`
    if (outcome.status === STATUS.ABORTED) return 'aborted'
    if (outcome.status === STATUS.PENDING) return `pending ${outcome.tag}`
    const name = this.unit.faultName(outcome.fault)
    const recorded = outcome.fault === 0 ? '' : ` ${name}`
    if (outcome.status === STATUS.UNSUPPORTED) return `UR${recorded}`
    if (outcome.status === STATUS.COMPLETER_ABORT) return `CA${recorded}`
    return outcome.status === STATUS.RAZ_WI ? `raz/wi ${name}` : name
  }

  /** Takes the waiting event records, as four 64-bit words each. */
  events(): bigint[][] {
    const prod = this.read(PAGE_1 + OFFSET.EVENTQ_PROD)
    let cons = this.read(PAGE_1 + OFFSET.EVENTQ_CONS) & 0xfffff
    const records: bigint[][] = []
    while (cons !== (prod & 0xfffff)) {
      const slot = this.eventQueue + (cons % 2 ** this.eventLg2) * 32
      records.push([0, 8, 16, 24].map((at) => this.peek(slot + at)))
      cons = (cons + 1) % 2 ** (this.eventLg2 + 1)
    }
    this.write(PAGE_1 + OFFSET.EVENTQ_CONS, cons | (prod & 0x80000000))
    return records
  }
}

/** A CD of a guest: 48-bit halves, TTB0 only, 4 KiB, aborting and recording, ASID set 1. */
export const contextFields = (asid: number, ttb0: number): CdFields => ({
  V: 1,
  T0SZ: 16,
  EPD1: 1,
  IPS: 5,
  AA64: 1,
  R: 1,
  A: 1,
  ASET: 1,
  ASID: asid,
  TTB0: ttb0,
})

/** An STE's stage 2 part: 48 bits of IPA, four levels of 4 KiB tables, recording. */
export const stageTwoFields = (vmid: number, root: number): SteFields => ({
  S2VMID: vmid,
  S2T0SZ: 16,
  S2SL0: 2,
  S2PS: 5,
  S2AA64: 1,
  S2PTW: 1,
  S2R: 1,
  S2TTB: root,
})
