/** The host under test: memory, one unit with its host driver, another unit beside it, and clients' RAM. */

import { SparseBacking } from '../../../hw-model/memory/index.js'
import { ACCESS, NO_PASID, Outcome, REQUEST, Transaction } from '../../../hw-model/port.js'
import { OFFSET, PAGE_1, PRESETS, type SmmuV3 } from '../../../hw-model/smmuv3/index.js'
import { HostRam } from '../../../server/drivers/host-ram.js'
import { createSmmuV3Driver, type SmmuV3Driver } from '../../../server/drivers/smmuv3/index.js'
import { featuresOf, type SmmuFeatures } from '../reference/smmuv3-features.js'
import type { SmmuRegisters } from '../reference/smmuv3-types.js'
import type { Device, UnitFacts } from './model.js'
import { codeOfOutcome, Oracle, type Probe } from './oracle.js'
import type { Choice } from './units.js'
import type { WatchedMemory } from './watched-memory.js'

const HOST_RAM = 2 ** 32
const HOST_RAM_BYTES = 2 ** 30
/** Clients' RAM: within the narrowest unit's addresses, and large enough for blocks of 1 GiB. */
export const CLIENT_RAM = 2 ** 34
export const CLIENT_RAM_BYTES = 2 ** 33
const PAGE_BYTES = 4096
const RECORD_BYTES = 32
/** 32-bit words of a record that say which event it is, and whose. */
const IDENTITY_WORDS = 2

/** One machine. */
export class Machine {
  readonly ram: HostRam
  readonly driver: SmmuV3Driver
  /** A unit of its own, whose domains are not for the devices of the first. */
  readonly stranger: SmmuV3Driver
  readonly unit: SmmuV3
  readonly oracle: Oracle
  readonly facts: UnitFacts
  readonly features: SmmuFeatures
  readonly devices: Device[] = []
  readonly outcome = new Outcome()
  /** Counted down when the driver makes something; at 0 it fails. */
  failAfter = Number.POSITIVE_INFINITY
  /** Some domain has unmapped what it has not flushed. */
  lingers = false
  readonly #transaction = new Transaction()
  readonly #queues = new Set<number>()
  readonly #commands: number
  readonly #events: number
  readonly #eventSlots: number
  #written = 0

  constructor(
    readonly choice: Choice,
    readonly memory: WatchedMemory,
  ) {
    const failPoint = (): void => {
      if (--this.failAfter === 0) throw new OutOfMemory()
    }
    this.ram = new HostRam(memory, HOST_RAM, HOST_RAM_BYTES, failPoint)
    memory.place(CLIENT_RAM, new SparseBacking(CLIENT_RAM_BYTES))
    const common = { memory, ram: this.ram, onEvent: () => {} }
    this.driver = createSmmuV3Driver({
      ...common,
      name: 'smmu0',
      overrides: choice.overrides,
      caches: choice.caches,
    })
    const small = { ...PRESETS.default, IDR1: (PRESETS.default.IDR1 & ~63) | 6 }
    this.stranger = createSmmuV3Driver({ ...common, name: 'smmu1', overrides: small })
    this.unit = this.driver.unit
    this.features = featuresOf(this.unit.id)
    this.oracle = new Oracle(memory, this.features, this.#registersOf(this.features))
    const { stage1, stage2, cd2l, ssidSize, httu } = this.features
    this.facts = {
      stage1,
      stage2,
      cd2l,
      ssidSize,
      oasBits: Math.min(48, this.features.oasBits),
      fwb: this.unit.features.fwb,
      tracksDirty: httu >= 2 && (this.unit.id.IDR0 & 16) !== 0,
    }
    for (const base of [OFFSET.CMDQ_BASE, OFFSET.EVENTQ_BASE, OFFSET.PRIQ_BASE]) {
      this.#queues.add(this.#pageOf(this.unit, base))
      this.#queues.add(this.#pageOf(this.stranger.unit, base))
    }
    this.#commands = this.#pageOf(this.unit, OFFSET.CMDQ_BASE)
    this.#events = this.#pageOf(this.unit, OFFSET.EVENTQ_BASE) * PAGE_BYTES
    this.#eventSlots = 2 ** (this.unit.readRegister(OFFSET.EVENTQ_BASE, 8)[0] & 31)
  }

  /** Whether an address is in a queue, and no table of the driver's. */
  isQueue(address: number): boolean {
    return this.#queues.has(Math.floor(address / PAGE_BYTES))
  }

  /** Whether an address is in the command queue. */
  isCommand(address: number): boolean {
    return Math.floor(address / PAGE_BYTES) === this.#commands
  }

  /** Sends a DMA past the driver, as a device does: the driver hears of nothing. Its end as one number. */
  send(probe: Probe): number {
    const { lo, hi } = halves(probe.page, probe.offset)
    return this.sendAs(probe.sid, probe.pasid, lo, hi, probe.write ? ACCESS.WRITE : ACCESS.READ, REQUEST.UNTRANSLATED)
  }

  /** The same of any kind of access. */
  sendAs(sid: number, pasid: number, lo: number, hi: number, access: number, type: number): number {
    const transaction = this.#transaction
    transaction.rid = sid
    transaction.pasid = pasid < 0 ? NO_PASID : pasid
    transaction.lo = lo
    transaction.hi = hi
    transaction.access = access
    transaction.type = type
    this.#written = this.unit.events.written
    const { outcome } = this
    this.unit.translate(transaction, outcome)
    return codeOfOutcome(outcome.status, outcome.address, outcome.fault)
  }

  /**
   * Whether the last DMA left this record and no other; undefined for none. A unit that keeps CDs meets what a guest's
   * parent no longer maps one step later than one that does not: which step it was, and at which IPA, is not compared.
   */
  hasRecorded(record: Int32Array | undefined): boolean {
    const count = this.unit.events.written - this.#written
    if (record === undefined || count !== 1) return record === undefined && count === 0
    const at = this.#slotOfRecord(1)
    const length = this.choice.isCached ? IDENTITY_WORDS : record.length
    for (let i = 0; i < length; i += 2) {
      if (this.memory.loadWord(at + i * 4) !== 0) return false
      if (this.memory.lo !== record[i] || this.memory.hi !== record[i + 1]) return false
    }
    return true
  }

  /** The records of the last DMA. */
  records(): bigint[][] {
    const count = this.unit.events.written - this.#written
    return Array.from({ length: count }, (_, i) => this.words(this.#slotOfRecord(count - i), RECORD_BYTES / 8))
  }

  /** Takes them out, so that the queue never runs full. */
  consumeEvents(): void {
    if (this.unit.events.written === this.#written) return
    const [prod] = this.unit.readRegister(PAGE_1 + OFFSET.EVENTQ_PROD, 4)
    this.unit.writeRegister(PAGE_1 + OFFSET.EVENTQ_CONS, 4, prod, 0)
    this.#written = this.unit.events.written
  }

  /** @param back 1 for the newest record */
  #slotOfRecord(back: number): number {
    const [prod] = this.unit.readRegister(PAGE_1 + OFFSET.EVENTQ_PROD, 4)
    return this.#events + ((prod - back) & (this.#eventSlots - 1)) * RECORD_BYTES
  }

  /** The words of a stream's entry as they stand in memory, through the reference's eyes; empty where there is none. */
  steWords(sid: number): bigint[] {
    const { strtabBase, twoLevel, strtabSplit } = this.#registersOf(this.features)
    let at = Number(strtabBase) + sid * 64
    if (twoLevel) {
      const l1 = this.memory.peek(Number(strtabBase) + (sid >>> strtabSplit) * 8) ?? 0n
      if ((l1 & 31n) === 0n) return []
      at = Number(l1 & 0xf_ffff_ffff_ffc0n) + (sid % 2 ** strtabSplit) * 64
    }
    return this.words(at, 8)
  }

  words(at: number, count: number): bigint[] {
    return Array.from({ length: count }, (_, i) => this.memory.peek(at + i * 8) ?? 0n)
  }

  #pageOf(unit: SmmuV3, register: number): number {
    const [lo, hi] = unit.readRegister(register, 8)
    return (hi & 0xfffff) * 2 ** 20 + (lo >>> 12)
  }

  #registersOf({ ats }: SmmuFeatures): SmmuRegisters {
    const [lo, hi] = this.unit.readRegister(OFFSET.STRTAB_BASE, 8)
    const [config] = this.unit.readRegister(OFFSET.STRTAB_BASE_CFG, 4)
    return {
      strtabBase: ((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)) & 0xf_ffff_ffff_ffc0n,
      strtabLog2Size: config & 63,
      strtabSplit: (config >>> 6) & 31,
      twoLevel: ((config >>> 16) & 3) === 1,
      recordInvalidSid: true,
      e2h: false,
      recordAtsConfig: false,
      atsCheck: ats,
    }
  }
}

/** Thrown in place of an allocation. */
export class OutOfMemory extends Error {
  override name = 'ENOMEM'
}

/** Both halves of an address. */
export const halves = (page: number, offset: number): { lo: number; hi: number } => ({
  lo: ((page % 2 ** 20) * 4096 + offset) >>> 0,
  hi: Math.floor(page / 2 ** 20),
})
