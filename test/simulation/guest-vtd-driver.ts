/** What drives a VT-d unit: its memory, registers and invalidation queue. */

import { Memory, SparseBacking } from '../../hw-model/memory/index.js'
import {
  ACCESS,
  type AtcInvalidation,
  type Invalidation,
  NO_DEVICES,
  NO_PASID,
  Outcome,
  REQUEST,
  Transaction,
} from '../../hw-model/port.js'
import { type UnitOptions, VtdUnit } from '../../hw-model/vtd/index.js'
import { FaultLog } from './fault-log-vtd.js'
import { LateDevices } from './guest-vtd-device-tlb.js'
import { modelIds } from './guest-vtd-ids.js'
import { SealedRam, WatchedBacking } from './memory-vtd.js'
import { Ram } from './ram.js'
import { field } from './reference/memory.js'
import type { VtdFeatures, VtdIds } from './reference/vtd-features.js'
import type { VtdAccess, VtdRegisters } from './reference/vtd-types.js'
import type { Rng } from './rng.js'
import { type Command, Disagreement, hex, type Onlooker } from './step.js'

/** Page tables, some that the unit cannot write to, configuration, queues: no bit that a guest gets wrong in a pointer leads from one to another. */
const RAM_BASE = 0x4000_0000n
const SEALED_BASE = 0x6000_0000n
const CONFIG_BASE = 0x7000_0000n
const QUEUE_BASE = 0x7800_0000n
const RAM_END = 0x8000_0000n
/** Memory that only 52-bit addresses reach; far from the addresses that guests use. */
const FAR_BASE = 0xd_0000_0000_0000n
const FAR_BYTES = 0x1000_0000n

const REG = {
  GCMD: 0x18,
  GSTS: 0x1c,
  RTADDR: 0x20,
  CCMD: 0x28,
  FSTS: 0x34,
  FECTL: 0x38,
  FEDATA: 0x3c,
  FEADDR: 0x40,
  IQH: 0x80,
  IQT: 0x88,
  IQA: 0x90,
} as const

const TE = 0x8000_0000n
const SRTP = 0x4000_0000n
const QIE = 0x0400_0000n
const RTPS = 0x4000_0000n
const ICC = 1n << 63n
const IVT = 1n << 63n

/** Where fault events go; no memory is there. */
const FAULT_ADDRESS = 0xfee0_1000
const PAGE_ADDRESS = 0xfee0_3000

/** An answer to a page request, as the device hears it. */
export interface PageAnswer {
  readonly rid: number
  readonly pasid: number | undefined
  readonly group: number
  readonly code: number
}

/** A unit in its machine. */
export class Driver {
  readonly memory = new Memory()
  readonly ram: Ram
  readonly far: Ram
  /** Where the unit can set no flags. */
  readonly sealed: Ram
  /** Where root, context and PASID tables are. */
  readonly config: Ram
  readonly unit: VtdUnit
  readonly faults: FaultLog
  readonly lateDevices: LateDevices
  /** What software says now is not told to the unit, since it keeps nothing. */
  isMuted = false
  /** Descriptors queued, and commands given by registers. */
  commands = 0
  readonly #rng: Rng
  readonly #onlooker: Onlooker | undefined
  readonly #tables = new WatchedBacking(Number(SEALED_BASE - RAM_BASE))
  readonly #remote = new WatchedBacking(Number(FAR_BYTES))
  readonly #settings = new WatchedBacking(Number(QUEUE_BASE - CONFIG_BASE))
  readonly #status: bigint
  readonly #queue: bigint
  /** 32-byte descriptors. */
  readonly #isWide: boolean
  readonly #sizeLg2: number
  readonly #transaction = new Transaction()
  readonly #outcome = new Outcome()
  #messages = 0
  #isQueued = false
  #isOn = false
  #tail = 0
  #shown = 0
  #serial = 0n

  constructor(
    rng: Rng,
    ids: VtdIds,
    features: VtdFeatures,
    caches: Omit<UnitOptions, 'ids'>,
    needsWide: boolean,
    onlooker?: Onlooker,
  ) {
    this.#rng = rng
    this.#onlooker = onlooker
    this.lateDevices = new LateDevices(rng)
    this.memory.place(Number(RAM_BASE), this.#tables)
    this.memory.place(Number(CONFIG_BASE), this.#settings)
    this.memory.place(Number(QUEUE_BASE), new SparseBacking(Number(RAM_END - QUEUE_BASE)))
    this.memory.place(Number(FAR_BASE), this.#remote)
    this.ram = new Ram(this.memory, RAM_BASE, SEALED_BASE)
    this.sealed = new SealedRam(this.memory, SEALED_BASE, CONFIG_BASE)
    this.far = new Ram(this.memory, FAR_BASE, FAR_BASE + FAR_BYTES)
    this.config = new Ram(this.memory, CONFIG_BASE, QUEUE_BASE)
    const queues = new Ram(this.memory, QUEUE_BASE, RAM_END)
    this.#queues = queues
    this.#isWide = needsWide || ((features.smts || features.adms) && rng.chance(0.5))
    this.#sizeLg2 = rng.pick([0, 0, 1, 3])
    this.#queue = queues.allocate(4096n << BigInt(this.#sizeLg2), 4096n)
    this.#status = queues.allocate(8n)
    const owner = {
      message: (address: number, data: number) => {
        if (address === FAULT_ADDRESS && data === 0x31) this.#messages++
        if (address === PAGE_ADDRESS && data === 0x33) this.pageEvents++
      },
      interrupt: () => {},
    }
    const late = this.lateDevices
    const devices = {
      ...NO_DEVICES,
      invalidateAtc: (invalidation: AtcInvalidation) => late.invalidateAtc(invalidation),
      respondToPages: (rid: number, pasid: number, group: number, code: number) => {
        this.#answers.push({ rid, pasid: pasid === NO_PASID ? undefined : pasid, group, code })
      },
    }
    this.unit = new VtdUnit(this.memory, owner, { ...caches, ids: modelIds(ids) }, devices)
    onlooker?.unit(this.unit)
    this.faults = new FaultLog(this.unit, field(ids.cap, 33, 24) * 16, features.records)
    this.#iotlbOffset = field(ids.ecap, 17, 8) * 16
  }

  readonly #iotlbOffset: number
  readonly #queues: Ram
  readonly #answers: PageAnswer[] = []
  /** Page request events so far. */
  pageEvents = 0

  /** Memory for another queue. */
  allocateQueue(bytes: bigint): bigint {
    return this.#queues.allocate(bytes, 4096n)
  }

  /** What devices heard of page requests since the last look. */
  takeAnswers(): PageAnswer[] {
    return this.#answers.splice(0)
  }

  /** Writes to tables and configuration so far. */
  get writes(): number {
    return this.#tables.writes + this.#remote.writes + this.#settings.writes
  }

  /** Whether invalidations go through the queue, and not through registers. */
  get isQueued(): boolean {
    return this.#isQueued
  }

  /** Fault events, and the address of the root table. */
  start(): void {
    this.write(REG.FEDATA, 0x31n)
    this.write(REG.FEADDR, BigInt(FAULT_ADDRESS))
    this.write(REG.FECTL, 0n)
  }

  /** SRTP. */
  setRoot({ rootTable, mode, ssirwe }: VtdRegisters): void {
    this.write(REG.RTADDR, rootTable | (BigInt(mode) << 10n) | (BigInt(ssirwe) << 7n), 8)
    this.write(REG.GCMD, this.#persistent | SRTP)
    this.#checkStatus(RTPS)
  }

  /** TE. */
  setOn(isOn: boolean): void {
    if (this.#isOn && !isOn) this.faults.restart(this.#rng)
    this.#isOn = isOn
    this.write(REG.GCMD, this.#persistent)
    this.#checkStatus(0n)
    if (!isOn) this.faults.restart(this.#rng)
  }

  /** QIE. The queue is empty and ended with a wait. */
  setQueued(isQueued: boolean): void {
    if (isQueued) {
      this.#tail = 0
      this.#shown = 0
      this.write(REG.IQT, 0n, 8)
      this.write(REG.IQA, this.#queue | (BigInt(this.#isWide) << 11n) | BigInt(this.#sizeLg2), 8)
    } else if (this.#isQueued) this.wait()
    this.#isQueued = isQueued
    this.write(REG.GCMD, this.#persistent)
    this.#checkStatus(0n)
  }

  /** One descriptor; the unit hears of it now or with the next ones. */
  put(low: bigint, high: bigint): void {
    if (this.isMuted) return
    const number = this.commands++
    if (this.#onlooker === undefined) this.#queueUp([low, high])
    else for (const command of this.#onlooker.instead(number, [low, high])) this.#queueUp(command)
    if (this.#rng.chance(0.3)) this.#ring()
  }

  /** What an onlooker has software say before an access: by the queue, or where that is off, not at all. */
  beforeAccess(number: number): void {
    this.#say(this.#onlooker?.before(number) ?? [])
  }

  /** The same at the end. */
  afterAll(): void {
    this.#say(this.#onlooker?.after() ?? [])
  }

  #say(commands: readonly Command[]): void {
    if (!this.#isQueued) return
    for (const command of commands) this.#queueUp(command)
    this.#ring()
  }

  #queueUp([low, high]: Command): void {
    const bytes = this.#isWide ? 32 : 16
    const at = this.#queue + BigInt(this.#tail)
    const words = this.#isWide ? [low, high, 0n, 0n] : [low, high]
    for (const [i, word] of words.entries()) this.memoryWrite(at + BigInt(i) * 8n, word)
    this.#tail = (this.#tail + bytes) % (4096 << this.#sizeLg2)
  }

  /** A wait with a status write, whose value must then stand in memory. */
  wait(): void {
    if (this.isMuted) return
    if (this.#isQueued && !this.waitWithoutLooking().isThere()) {
      throw new Disagreement('the wait descriptor wrote no status')
    }
    this.#checkHead()
  }

  /** A wait that may pend. */
  waitWithoutLooking(): { readonly isThere: () => boolean } {
    const value = ++this.#serial
    this.put(0x25n | (this.#rng.bit() << 6n) | (value << 32n), this.#status)
    this.#ring()
    return { isThere: () => this.ram.read(this.#status) === value }
  }

  /** CCMD. [VTD 6.5.1 Register-based Invalidation Interface] */
  contextByRegister(granularity: number, did: number, sid: number, mask: number): void {
    const word = (BigInt(granularity) << 61n) | (BigInt(mask) << 32n) | (BigInt(sid) << 16n) | BigInt(did)
    this.#byRegister(REG.CCMD, ICC | word, granularity, 59)
  }

  /** IVA and IOTLB. */
  iotlbByRegister(granularity: number, did: number, page: bigint): void {
    if (granularity === 3 && !this.isMuted) this.write(this.#iotlbOffset, page, 8)
    const drains = this.#rng.bits(2) << 48n
    this.#byRegister(
      this.#iotlbOffset + 8,
      IVT | (BigInt(granularity) << 60n) | drains | (BigInt(did) << 32n),
      granularity,
      57,
    )
  }

  #byRegister(offset: number, value: bigint, granularity: number, actual: number): void {
    if (this.isMuted) return
    this.commands++
    this.write(offset, value, 8)
    const found = this.read(offset)
    const done = field(found, actual + 1, actual)
    if (found >> 63n !== 0n || done === 0 || done > granularity) {
      throw new Disagreement(`register ${hex(offset)} is ${hex(found)} after ${hex(value)}`)
    }
  }

  /** Sends one access; the outcome holds until the next. */
  send(access: VtdAccess): Outcome {
    this.#fill(access)
    this.unit.translate(this.#transaction, this.#outcome)
    return this.#outcome
  }

  /** Has it explained, which changes nothing. */
  explain(access: VtdAccess): Outcome {
    this.#fill(access)
    this.unit.explain(this.#transaction, this.#outcome, { step: () => {} })
    return this.#outcome
  }

  /** The invalidations that the unit says it lacks. */
  missing(access: VtdAccess): readonly Invalidation[] {
    this.#fill(access)
    return this.unit.missing(this.#transaction)
  }

  /** Every fault event that was due has come. */
  checkEvents(): void {
    if (this.#messages !== this.faults.events) {
      throw new Disagreement(`${this.#messages} fault events came, and ${this.faults.events} were due`)
    }
  }

  /** A word of the queue, which the counters leave out. */
  memoryWrite(at: bigint, value: bigint): void {
    this.ram.write(at, value)
  }

  get #persistent(): bigint {
    return (this.#isOn ? TE : 0n) | (this.#isQueued ? QIE : 0n)
  }

  #checkStatus(also: bigint): void {
    const [status] = this.unit.readRegister(REG.GSTS, 4)
    const expected = this.#persistent | also
    if (BigInt((status & ~Number(also === 0n ? RTPS : 0n)) >>> 0) !== expected) {
      throw new Disagreement(`GSTS is ${hex(status)}, not ${hex(expected)}`)
    }
  }

  #ring(): void {
    if (this.#shown === this.#tail) return
    this.#shown = this.#tail
    this.write(REG.IQT, BigInt(this.#tail), 8)
    while (this.unit.hasWork) this.unit.run()
  }

  /** Everything was taken, and nothing was wrong with it. */
  #checkHead(): void {
    if (!this.#isQueued) return
    const head = this.read(REG.IQH)
    const [status] = this.unit.readRegister(REG.FSTS, 4)
    if (head !== BigInt(this.#tail) || (status & 0x70) !== 0) {
      throw new Disagreement(`IQH is ${hex(head)}, not ${hex(this.#tail)}; FSTS ${hex(status)}`)
    }
  }

  #fill(access: VtdAccess): void {
    const { address, kind, pasid } = access
    Object.assign(this.#transaction, {
      rid: access.sid,
      pasid: pasid ?? NO_PASID,
      lo: Number(BigInt.asIntN(32, address)),
      hi: Number(BigInt.asIntN(32, address >> 32n)),
      type: TYPES[kind],
      bytes: access.bytes,
      access:
        (access.read ? ACCESS.READ : 0) |
        (access.write ? ACCESS.WRITE : 0) |
        (access.execute ? ACCESS.EXECUTE : 0) |
        (access.privileged ? ACCESS.PRIVILEGED : 0),
    })
  }

  /** A register of 64 bits. */
  read(offset: number): bigint {
    const [lo, hi] = this.unit.readRegister(offset, 8)
    return (BigInt(hi) << 32n) | BigInt(lo)
  }

  /** Writes a register. */
  write(offset: number, value: bigint, bytes: 4 | 8 = 4): void {
    this.unit.writeRegister(offset, bytes, Number(value & 0xffffffffn), Number(value >> 32n))
  }
}

const TYPES = {
  untranslated: REQUEST.UNTRANSLATED,
  request: REQUEST.TRANSLATION,
  translated: REQUEST.TRANSLATED,
  page: REQUEST.UNTRANSLATED,
} as const
