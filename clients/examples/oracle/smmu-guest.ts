/** A guest that drives an SMMUv3 by its registers and by words in RAM: one stream, one CD, two trees of tables. */

import { CachePolicy, type Client, type StaleTranslation, UnitType } from '../../node/index.js'
import { Memory, RAM } from './memory.js'

/** StreamID of the guest's device. */
const SID = 8n
const STE = RAM + SID * 0x40n
const CD = RAM + 0x1000n
/** The tables of one address space. */
export const FIRST = RAM + 0x2000n
/** And of another. */
export const SECOND = RAM + 0x8000n
const QUEUE = RAM + 0xe000n
const EVENTS = RAM + 0xf000n

/** 48-bit addresses in pages of 4 KiB, little-endian, ASID 1. [SMMU 5.4 Context Descriptor] */
const CD_WORD = 0xe205_c000_3510n
const MAIR = 0xf404_ff44n
const TABLE = 3n
/** The device may keep translations, in word 1. [SMMU 5.2 STE.EATS] */
const EATS = 1n << 28n
/** Valid, AF, not global, read-write for everybody. [Arm D8.3 Translation table descriptor formats] */
const PAGE = 0xf47n

/** A command: two words. [SMMU 4.1 Commands overview] */
export type Command = readonly [bigint, bigint]

/** Commands that a driver sends. */
export const command = {
  cfgiSte: (): Command => [0x03n | (SID << 32n), 1n],
  cfgiCd: (): Command => [0x05n | (SID << 32n), 1n],
  tlbiVa: (va: bigint, asid: bigint, leaf = true): Command => [0x12n | (asid << 48n), va | (leaf ? 1n : 0n)],
  tlbiAsid: (asid: bigint): Command => [0x11n | (asid << 48n), 0n],
  sync: (): Command => [0x46n, 0n],
}

/** The guest. */
export class SmmuGuest {
  readonly memory: Memory
  readonly unitId: number
  #produced = 0

  private constructor(memory: Memory, unitId: number) {
    this.memory = memory
    this.unitId = unitId
  }

  /** Makes a unit, writes its tables, switches it and its oracle on. */
  static async start(daemon: Client, cachePolicy: CachePolicy = CachePolicy.HARDWARE): Promise<SmmuGuest> {
    const memory = await Memory.open(daemon)
    const { unitId } = await memory.client.createUnit({ type: UnitType.SMMUV3, preset: 'full', cachePolicy })
    const guest = new SmmuGuest(memory, unitId)
    for (const root of [FIRST, SECOND]) await memory.chain(root, 4, TABLE)
    await memory.store(STE, CD | 0xbn, 0xd6n | EATS)
    await guest.use(FIRST)
    await guest.#write([0x80, 8, RAM], [0x88, 4, 4n], [0x90, 8, QUEUE | 5n], [0xa0, 8, EVENTS | 5n], [0x20, 4, 0x0dn])
    await memory.watch(unitId)
    return guest
  }

  /** Points the CD at an address space. */
  use(root: bigint): Promise<void> {
    return this.memory.store(CD, CD_WORD | (1n << 48n), root, 0n, MAIR)
  }

  /** The stream translates nothing any more: it goes straight to memory. */
  bypass(): Promise<void> {
    return this.memory.store(STE, 0x9n, 0n)
  }

  /** Maps a page of an address space. */
  map(iova: bigint, page: bigint, root = FIRST): Promise<void> {
    return this.memory.store(leafOf(iova, root), page | PAGE)
  }

  /** Takes a page away. */
  unmap(iova: bigint, root = FIRST): Promise<void> {
    return this.memory.store(leafOf(iova, root), 0n)
  }

  /** Puts another last table in the place of the one that maps the first 2 MiB. */
  replaceTable(table: bigint): Promise<void> {
    return this.memory.store(FIRST + 0x2000n, table | TABLE)
  }

  /** Puts commands into the queue, and lets the unit take them. */
  async send(...commands: readonly Command[]): Promise<void> {
    for (const words of commands) {
      await this.memory.store(QUEUE + BigInt(this.#produced % 32) * 16n, ...words)
      this.#produced++
    }
    await this.#write([0x98, 4, BigInt(this.#produced % 64)])
  }

  /** The device reads. */
  async read(iova: bigint): Promise<void> {
    await this.memory.client.translateUnit({ unitId: this.unitId, sourceIds: [Number(SID)], iovas: [iova] })
  }

  /** The device asks for a translation, and keeps it. Answers where the page is. */
  async ask(iova: bigint): Promise<bigint> {
    const stream = { unitId: this.unitId, sourceId: Number(SID) }
    return (await this.memory.client.requestTranslations({ stream, iovas: [iova] })).addresses[0]
  }

  /** The device reads with an address that was translated for it. */
  async readTranslated(address: bigint): Promise<void> {
    const { unitId } = this
    await this.memory.client.translateUnit({ unitId, sourceIds: [Number(SID)], iovas: [address], translated: true })
  }

  /** What the oracle has found. */
  reports(): Promise<readonly StaleTranslation[]> {
    return this.memory.reports(this.unitId)
  }

  /** What is stale, whether a SYNC has completed or not. */
  async check(): Promise<readonly StaleTranslation[]> {
    return (await this.memory.client.checkStale({ unitId: this.unitId })).stale
  }

  async #write(...writes: readonly (readonly [offset: number, width: number, value: bigint])[]): Promise<void> {
    const { client } = this.memory
    const given = writes.map(([offset, width, value]) => ({ offset, width, value }))
    await client.writeUnitRegisters({ unitId: this.unitId, writes: given })
  }
}

const leafOf = (iova: bigint, root: bigint): bigint => root + 0x3000n + (iova >> 12n) * 8n
