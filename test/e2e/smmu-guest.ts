/**
 * A guest's SMMUv3 driver that has nothing but the unit's registers and its own RAM: it resets and drives the unit in
 * the order in which Linux does, and knows no layout of the daemon's. Every word is spelled from the manual by hand.
 */

import { CachePolicy, type ContextClient, type UnitInterrupt, UnitType } from '../../clients/node/index.js'
import type { FileRam } from './file-ram.js'

/** Offsets of registers. [SMMU 6.2 Register overview] */
export const REG = {
  IDR0: 0x0,
  IDR1: 0x4,
  CR0: 0x20,
  CR0ACK: 0x24,
  CR1: 0x28,
  CR2: 0x2c,
  GBPA: 0x44,
  IRQ_CTRL: 0x50,
  IRQ_CTRLACK: 0x54,
  GERROR: 0x60,
  GERRORN: 0x64,
  GERROR_IRQ_CFG0: 0x68,
  STRTAB_BASE: 0x80,
  STRTAB_BASE_CFG: 0x88,
  CMDQ_BASE: 0x90,
  CMDQ_PROD: 0x98,
  CMDQ_CONS: 0x9c,
  EVENTQ_BASE: 0xa0,
  EVENTQ_IRQ_CFG0: 0xb0,
  PRIQ_BASE: 0xc0,
  PRIQ_IRQ_CFG0: 0xd0,
  EVENTQ_PROD: 0x100a8,
  EVENTQ_CONS: 0x100ac,
  PRIQ_PROD: 0x100c8,
  PRIQ_CONS: 0x100cc,
} as const

/** Bits of CR0. [SMMU 6.3.9 SMMU_CR0] */
export const SMMUEN = 1
const PRIQEN = 2
const EVENTQEN = 4
const CMDQEN = 8
const ATSCHK = 16

/** log2 of the entries of each queue; Linux takes the most that it can allocate. */
const QUEUE_LG2 = 8

/** Two doublewords. [SMMU 4.1 Commands overview] */
export type Command = readonly [dw0: bigint, dw1: bigint]

/** CMD_SYNC that writes 0 over its own slot when it is done, and one that signals an event. [SMMU 4.7.3 CMD_SYNC] */
const syncAt = (slot: bigint): Command => [0xfc0_1046n, slot]
const SYNC_SEV: Command = [0xfc0_2046n, 0n]

/** A CMD_SYNC that was sent. */
export interface Sync {
  readonly slot: bigint
  /** PROD behind it. */
  readonly end: number
}

/** What a driver does with a unit. */
export class SmmuGuest {
  readonly client: ContextClient
  readonly ram: FileRam
  readonly unitId: number
  /** The host runs at EL2 with VHE, as arm64 servers do where the unit lets them. */
  readonly isE2h: boolean
  readonly #idr0: number
  /** log2 of the entries of each queue: the fewest that any of them may have. */
  readonly #queueLg2: number
  readonly #indexMask: number
  #streamTable = 0n
  #commands = 0n
  #events = 0n
  #pages = 0n
  #prod = 0
  #cr0 = 0

  private constructor(client: ContextClient, ram: FileRam, unitId: number, idr0: number, idr1: number) {
    this.client = client
    this.ram = ram
    this.unitId = unitId
    this.#idr0 = idr0
    const sizes = [(idr1 >>> 21) & 31, (idr1 >>> 16) & 31, this.hasPri ? (idr1 >>> 11) & 31 : QUEUE_LG2]
    this.#queueLg2 = Math.min(QUEUE_LG2, ...sizes)
    this.#indexMask = 2 ** this.#queueLg2 - 1
    this.isE2h = (idr0 & 0x200) !== 0
  }

  /** Makes a unit whose bus has the RAM alone, and resets it. */
  static async start(
    client: ContextClient,
    ram: FileRam,
    preset: string,
    cachePolicy: CachePolicy = CachePolicy.UNSPECIFIED,
  ): Promise<SmmuGuest> {
    const { path, bytes, base } = ram
    await client.createMemoryRegion({ file: { path, bytes, writable: true }, busAddress: base })
    const { unitId } = await client.createUnit({ type: UnitType.SMMUV3, preset, cachePolicy })
    const reads = [REG.IDR0, REG.IDR1].map((offset) => ({ offset, width: 4 }))
    const { values } = await client.readUnitRegisters({ unitId, reads })
    const guest = new SmmuGuest(client, ram, unitId, Number(values[0]), Number(values[1]))
    guest.#streamTable = ram.allocate(0x800n)
    guest.#commands = ram.allocate(0x1000n)
    guest.#events = ram.allocate(0x2000n)
    guest.#pages = ram.allocate(0x1000n)
    await guest.reset()
    return guest
  }

  /** Software chooses whether streams stall. */
  get canStall(): boolean {
    return (this.#idr0 & 0x300_0000) === 0
  }

  /** It writes messages, and where SYNCs can say so by one: Linux then waits for those. */
  get #hasMsi(): boolean {
    return (this.#idr0 & 0x2000) !== 0
  }

  get hasPri(): boolean {
    return (this.#idr0 & 0x1_0000) !== 0
  }

  get hasAts(): boolean {
    return (this.#idr0 & 0x400) !== 0
  }

  async read(offset: number): Promise<number> {
    const { unitId } = this
    const { values } = await this.client.readUnitRegisters({ unitId, reads: [{ offset, width: 4 }] })
    return Number(values[0])
  }

  async write(offset: number, value: number | bigint, width: 4 | 8 = 4): Promise<void> {
    const { unitId } = this
    await this.client.writeUnitRegisters({ unitId, writes: [{ offset, width, value: BigInt(value) }] })
  }

  /** The order in which Linux writes registers when it finds a unit. */
  async reset(): Promise<void> {
    if (((await this.read(REG.CR0)) & SMMUEN) !== 0) await this.write(REG.GBPA, 0x8010_0000n)
    await this.#setCr0(0)
    // Tables and queues inner shareable, write-back.
    await this.write(REG.CR1, 0xd75)
    await this.write(REG.CR2, this.isE2h ? 0b111 : 0b110)
    // Two levels, 256 STEs a leaf, 16-bit StreamIDs.
    await this.write(REG.STRTAB_BASE, (1n << 62n) | this.#streamTable, 8)
    await this.write(REG.STRTAB_BASE_CFG, (1 << 16) | (8 << 6) | 16)
    await this.#startQueue(REG.CMDQ_BASE, REG.CMDQ_PROD, REG.CMDQ_CONS, this.#commands)
    this.#prod = 0
    await this.#setCr0(CMDQEN)
    await this.run([0x4n, 0x1fn]) // CFGI_ALL
    if (this.isE2h) await this.run([0x20n, 0n]) // TLBI_EL2_ALL
    await this.run([0x30n, 0n]) // TLBI_NSNH_ALL
    await this.#startQueue(REG.EVENTQ_BASE, REG.EVENTQ_PROD, REG.EVENTQ_CONS, this.#events)
    await this.#setCr0(this.#cr0 | EVENTQEN)
    if (this.hasPri) {
      await this.#startQueue(REG.PRIQ_BASE, REG.PRIQ_PROD, REG.PRIQ_CONS, this.#pages)
      await this.#setCr0(this.#cr0 | PRIQEN)
    }
    if (this.hasAts) await this.#setCr0(this.#cr0 | ATSCHK)
    await this.#setInterrupts(0)
    for (const offset of [REG.GERROR_IRQ_CFG0, REG.EVENTQ_IRQ_CFG0]) await this.write(offset, 0, 8)
    if (this.hasPri) await this.write(REG.PRIQ_IRQ_CFG0, 0, 8)
    await this.#setInterrupts(this.hasPri ? 0b111 : 0b101)
    await this.#setCr0(this.#cr0 | SMMUEN)
  }

  /** Switches translation off. */
  async disable(): Promise<void> {
    await this.#setCr0(this.#cr0 & ~SMMUEN)
  }

  /** Writes commands and one SYNC. */
  async issue(...commands: Command[]): Promise<Sync> {
    for (const command of commands) this.push(command)
    const slot = this.#slot
    this.push(this.#hasMsi ? syncAt(slot) : SYNC_SEV)
    await this.write(REG.CMDQ_PROD, this.#prod)
    return { slot, end: this.#prod }
  }

  /** A SYNC has written over itself; without MSIs, CONS is behind it. */
  async isDone({ slot, end }: Sync): Promise<boolean> {
    if (this.#hasMsi) return (this.ram.load(slot) & 0xffff_ffffn) === 0n
    const wrap = 2 * this.#indexMask + 1
    const left = (this.#prod - (await this.read(REG.CMDQ_CONS))) & wrap
    return left <= ((this.#prod - end) & wrap)
  }

  /** Commands, and the end of them. */
  async run(...commands: Command[]): Promise<void> {
    const sync = await this.issue(...commands)
    if (!(await this.isDone(sync))) throw new Error('the SYNC is not done when the write to CMDQ_PROD has returned')
  }

  /** Commands without a SYNC; nothing says when they are done. */
  async post(...commands: Command[]): Promise<void> {
    for (const command of commands) this.push(command)
    await this.write(REG.CMDQ_PROD, this.#prod)
  }

  /** What Linux does when the unit says that a command was bad: a harmless one in its place, and go on. */
  async recoverCommandQueue(): Promise<number> {
    const cons = await this.read(REG.CMDQ_CONS)
    const reason = (cons >>> 24) & 0x7f
    const bad = this.#commands + BigInt((cons & this.#indexMask) * 16)
    // A SYNC without a message. What timed out is retried as it is.
    if (reason === 1) this.ram.store(bad, 0x46n, 0n)
    await this.write(REG.GERRORN, await this.read(REG.GERROR))
    return reason
  }

  /** Takes event records, four doublewords each. */
  async takeEvents(): Promise<bigint[][]> {
    return this.#take(REG.EVENTQ_PROD, REG.EVENTQ_CONS, this.#events, 4)
  }

  /** Takes page requests, two doublewords each. */
  async takePageRequests(): Promise<bigint[][]> {
    return this.#take(REG.PRIQ_PROD, REG.PRIQ_CONS, this.#pages, 2)
  }

  /** The interrupts since the last time. */
  async takeInterrupts(): Promise<string[]> {
    const { interrupts } = await this.client.pollUnitInterrupts({ unitId: this.unitId })
    return interrupts.map(({ source }: UnitInterrupt) => source)
  }

  /** Where a stream's entry is; its leaf table is made when it is first needed, full of entries that abort. */
  async streamEntry(sid: number): Promise<bigint> {
    const descriptor = this.#streamTable + BigInt(sid >>> 8) * 8n
    let leaf = this.ram.load(descriptor) & ~0x3fn
    if (leaf === 0n) {
      leaf = this.ram.allocate(0x4000n)
      for (let i = 0n; i < 256n; i++) this.ram.store(leaf + i * 64n, 1n)
      this.ram.store(descriptor, leaf | 9n)
      await this.run([0x3n | (BigInt(sid) << 32n), 0n])
    }
    return leaf + BigInt(sid & 255) * 64n
  }

  /** Writes a command, and does not ring the doorbell. */
  push(command: Command): void {
    this.ram.store(this.#slot, ...command)
    this.#prod = (this.#prod + 1) & (2 * this.#indexMask + 1)
  }

  get #slot(): bigint {
    return this.#commands + BigInt((this.#prod & this.#indexMask) * 16)
  }

  async #take(prodAt: number, consAt: number, queue: bigint, words: number): Promise<bigint[][]> {
    const prod = await this.read(prodAt)
    const wrap = 2 * this.#indexMask + 1
    const records: bigint[][] = []
    let cons = await this.read(consAt)
    for (; (cons & wrap) !== (prod & wrap); cons = (cons + 1) & wrap) {
      const at = queue + BigInt((cons & this.#indexMask) * words * 8)
      records.push(Array.from({ length: words }, (_, i) => this.ram.load(at + BigInt(i * 8))))
    }
    // The overflow flag is acknowledged with it.
    await this.write(consAt, ((prod & 0x8000_0000) | cons) >>> 0)
    return records
  }

  async #startQueue(base: number, prod: number, cons: number, at: bigint): Promise<void> {
    await this.write(base, (1n << 62n) | at | BigInt(this.#queueLg2), 8)
    await this.write(prod, 0)
    await this.write(cons, 0)
  }

  async #setCr0(value: number): Promise<void> {
    this.#cr0 = value
    await this.write(REG.CR0, value)
    const acknowledged = await this.read(REG.CR0ACK)
    if (acknowledged !== value) throw new Error(`CR0ACK is ${acknowledged} after ${value} was written to CR0`)
  }

  async #setInterrupts(value: number): Promise<void> {
    await this.write(REG.IRQ_CTRL, value)
    const acknowledged = await this.read(REG.IRQ_CTRLACK)
    if (acknowledged !== value) throw new Error(`IRQ_CTRLACK is ${acknowledged}, not ${value}`)
  }
}
