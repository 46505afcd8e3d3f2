/** A guest's own tables: CDs and stage 1, written by its CPU into memory that a nesting parent maps. */

import { ArmTables } from '../arm-tables.js'
import type { Space } from '../ram.js'
import type { Rng } from '../rng.js'
import { Changing, type GuestSpace, type GuestTable, leafLg2, type Run } from './model.js'
import type { WatchedMemory } from './watched-memory.js'

/** The one run of a parent that holds the tables of its guests. */
export const TABLES_PAGE = 0x80000
export const TABLES_PAGES = 512
const TABLES_IPA = BigInt(TABLES_PAGE) * 4096n
const TABLES_BYTES = BigInt(TABLES_PAGES) * 4096n

/** T0SZ 16, 4 KiB granules, write-back, EPD1, V, IPS 48 bits, AA64, R, A, ASET. [SMMU 5.4 Context Descriptor] */
const CD_WORD_0 = 0x0000_e205_c000_3510n
const MAIR0 = 0xff44n
/** AttrIndx 1, SH 3, AF, nG; AP[1] unprivileged. */
const LEAF = (1n << 2n) | (1n << 6n) | (3n << 8n) | (1n << 10n) | (1n << 11n)
const READ_ONLY = 1n << 7n

/** The memory of all guests of one parent. */
export class GuestMemory implements Space {
  readonly spaces: GuestSpace[] = []
  readonly tables: GuestTable[] = []
  #next = TABLES_IPA
  readonly #arm = new Map<GuestSpace, ArmTables>()
  /** Leaves of two-level CD tables, by table and by index. */
  readonly #leaves = new Map<GuestTable, Map<number, bigint>>()

  /** @param physical where the tables are indeed */
  constructor(
    readonly memory: WatchedMemory,
    readonly physical: number,
  ) {}

  /** Whether there is room for more. */
  get hasRoom(): boolean {
    return this.#next + 0x60000n < TABLES_IPA + TABLES_BYTES
  }

  allocate(bytes: bigint, alignment = bytes): bigint {
    const at = (this.#next + alignment - 1n) & ~(alignment - 1n)
    this.#next = at + bytes
    return at
  }

  read(address: bigint): bigint {
    return this.memory.peek(this.#really(address)) ?? 0n
  }

  write(address: bigint, value: bigint): void {
    this.memory.poke(this.#really(address), value)
  }

  makeSpace(): GuestSpace {
    const shape = { granule: 12, inputBits: 48, start: 0, ds: false, lpa: false }
    const tables = new ArmTables(this, shape, () => 0n)
    const space = { asid: this.spaces.length + 1, root: tables.root, runs: new Changing<readonly Run[]>([]) }
    this.spaces.push(space)
    this.#arm.set(space, tables)
    return space
  }

  /** Writes leaves; tables on the way are made. False where something stands in the way of the first. */
  map(rng: Rng, space: GuestSpace, run: Run): boolean {
    const tables = this.#arm.get(space) as ArmTables
    const isBlock = run.pages === 512
    const attributes = LEAF | (run.write ? 0n : READ_ONLY)
    for (let i = 0; i < (isBlock ? 1 : run.pages); i++) {
      const input = BigInt(run.page + i) * 4096n
      if (tables.map(rng, input, BigInt(run.frame + i) * 4096n, isBlock ? 2 : 3, attributes) === undefined) return false
    }
    return true
  }

  unmap(space: GuestSpace, { page, pages }: Run): void {
    const tables = this.#arm.get(space) as ArmTables
    for (const slot of tables.leaves) {
      const at = Number(slot.input >> 12n)
      if (at >= page && at < page + pages) this.write(slot.at, 0n)
    }
  }

  /** @param format S1Fmt; leaves of a table of two levels come when they are needed */
  makeTable(format: number, lg2: number): GuestTable {
    const bytes = format === 0 ? 64n << BigInt(lg2) : 8n << BigInt(Math.max(0, lg2 - leafLg2(format)))
    const pointer = this.allocate(bytes < 64n ? 64n : bytes)
    const table: GuestTable = {
      pointer,
      format,
      lg2,
      spaces: new Changing<ReadonlyMap<number, GuestSpace>>(new Map()),
      leaves: new Changing<ReadonlySet<number>>(new Set()),
    }
    this.tables.push(table)
    this.#leaves.set(table, new Map())
    return table
  }

  /** Makes a leaf known; its CDs are invalid. */
  writeLeaf(table: GuestTable, index: number): void {
    const bytes = 64n << BigInt(leafLg2(table.format))
    const leaf = this.allocate(bytes)
    this.#leaves.get(table)?.set(index, leaf)
    this.write(table.pointer + BigInt(index) * 8n, leaf | 1n)
  }

  /** Writes a CD: what says that it is valid comes last. */
  writeCd(table: GuestTable, index: number, space: GuestSpace): void {
    const at = this.#cdOf(table, index)
    this.write(at + 8n, space.root)
    this.write(at + 24n, MAIR0)
    this.write(at, CD_WORD_0 | (BigInt(space.asid) << 48n))
  }

  clearCd(table: GuestTable, index: number): void {
    this.write(this.#cdOf(table, index), 0n)
  }

  #cdOf(table: GuestTable, index: number): bigint {
    if (table.format === 0) return table.pointer + BigInt(index) * 64n
    const lg2 = leafLg2(table.format)
    const leaf = this.#leaves.get(table)?.get(index >>> lg2)
    if (leaf === undefined) throw new Error('the guest has no such leaf')
    return leaf + BigInt(index % 2 ** lg2) * 64n
  }

  #really(address: bigint): number {
    return this.physical + Number(address - TABLES_IPA)
  }
}
