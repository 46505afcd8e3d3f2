/** A guest that drives a VT-d unit by its registers and by words in RAM: one function, first-stage tables in scalable mode. */

import { CachePolicy, type Client, type NamedRegister, type StaleTranslation, UnitType } from '../../node/index.js'
import { Memory, RAM } from './memory.js'

/** Source-id of the guest's device: 00:01.0. */
const SID = 8n
const ROOT = RAM
const CONTEXTS = RAM + 0x1000n
const DIRECTORY = RAM + 0x2000n
const PASIDS = RAM + 0x3000n
const QUEUE = RAM + 0x4000n
const STATUS = RAM + 0x5ff8n
const TABLES = RAM + 0x6000n

/** P, R/W, U/S, A of a table; D of a leaf. [VTD 9.7 First-Stage Paging Entries] */
const TABLE = 0x27n
const LEAF = 0x67n

/** A descriptor: its lower half. [VTD 6.5.2 Queued Invalidation Interface] */
export type Descriptor = readonly [bigint, bigint]

/** Descriptors that a driver sends, about requests without PASID. */
export const descriptor = {
  /** PASID-based IOTLB, one page. */
  page: (did: bigint, iova: bigint): Descriptor => [0x36n | (did << 16n), iova],
  /** PASID-based IOTLB, all of a PASID. */
  pasid: (did: bigint): Descriptor => [0x26n | (did << 16n), 0n],
  pasidCache: (did: bigint): Descriptor => [0x17n | (did << 16n), 0n],
}

/** The guest. */
export class VtdGuest {
  readonly memory: Memory
  readonly unitId: number
  #tail = 0

  private constructor(memory: Memory, unitId: number) {
    this.memory = memory
    this.unitId = unitId
  }

  /** Makes a unit, writes its tables, switches it and its oracle on. */
  static async start(
    daemon: Client,
    cachePolicy: CachePolicy = CachePolicy.HARDWARE,
    overrides: readonly Required<NamedRegister>[] = [],
  ): Promise<VtdGuest> {
    const memory = await Memory.open(daemon)
    const made = { type: UnitType.VTD, preset: 'vtd-scalable', cachePolicy, overrides: [...overrides] }
    const { unitId } = await memory.client.createUnit(made)
    const guest = new VtdGuest(memory, unitId)
    await memory.chain(TABLES, 4, TABLE)
    await memory.store(ROOT, CONTEXTS | 1n)
    await memory.store(CONTEXTS + SID * 32n, DIRECTORY | 9n)
    await memory.store(DIRECTORY, PASIDS | 1n)
    await guest.own(2n)
    await guest.#write([0x88, 8, 0n], [0x90, 8, QUEUE | 0x801n], [0x18, 4, 1n << 26n])
    await guest.#write([0x20, 8, ROOT | 0x400n], [0x18, 4, (1n << 30n) | (1n << 26n)])
    await guest.#write([0x18, 4, (1n << 31n) | (1n << 26n)])
    await memory.watch(unitId)
    return guest
  }

  /** The PASID table entry of requests without PASID, with a domain-id. [VTD 9.6 Scalable-Mode PASID Table Entry] */
  own(did: bigint): Promise<void> {
    return this.memory.store(PASIDS, 0x41n, did, TABLES)
  }

  /** The entry is not present. */
  disown(): Promise<void> {
    return this.memory.store(PASIDS, 0n)
  }

  /** Maps a page. */
  map(iova: bigint, page: bigint): Promise<void> {
    return this.memory.store(leafOf(iova), page | LEAF)
  }

  /** Takes a page away. */
  unmap(iova: bigint): Promise<void> {
    return this.memory.store(leafOf(iova), 0n)
  }

  /** Puts descriptors into the queue and a wait behind them, and lets the unit take them. */
  async send(...descriptors: readonly Descriptor[]): Promise<void> {
    for (const words of [...descriptors, [0x2_0000_0025n, STATUS] as const]) {
      await this.memory.store(QUEUE + BigInt(this.#tail) * 32n, ...words, 0n, 0n)
      this.#tail++
    }
    await this.#write([0x88, 8, BigInt(this.#tail) * 32n])
  }

  /** The device reads. */
  async read(iova: bigint): Promise<void> {
    await this.memory.client.translateUnit({ unitId: this.unitId, sourceIds: [Number(SID)], iovas: [iova] })
  }

  /** What the oracle has found. */
  reports(): Promise<readonly StaleTranslation[]> {
    return this.memory.reports(this.unitId)
  }

  async #write(...writes: readonly (readonly [offset: number, width: number, value: bigint])[]): Promise<void> {
    const { client } = this.memory
    const given = writes.map(([offset, width, value]) => ({ offset, width, value }))
    await client.writeUnitRegisters({ unitId: this.unitId, writes: given })
  }
}

const leafOf = (iova: bigint): bigint => TABLES + 0x3000n + (iova >> 12n) * 8n
