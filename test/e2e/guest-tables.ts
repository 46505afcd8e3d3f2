/**
 * Tables as a guest writes them, every word spelled from the manual by hand. Nothing here knows the daemon's layouts.
 * Each guest has a tree with one 4 KiB leaf a page, from a given root.
 */

import type { GuestMemory } from './guest-memory.js'

/** How one architecture's guest spells its tables. */
export interface TableStyle {
  /** Entry that points to the next table. */
  readonly table: (address: bigint) => bigint
  /** Leaf of 4 KiB that may be read and written. */
  readonly page: (address: bigint) => bigint
  /** Leaf of 4 KiB that may only be read. */
  readonly readOnlyPage: (address: bigint) => bigint
}

/** VMSAv8-64: valid table 0b11; leaf with AttrIndx 1, AP 01 / 11, SH 11, AF, nG. [ARM D8.3 Translation table descriptor formats] */
export const ARM64: TableStyle = {
  table: (address) => address | 0x3n,
  page: (address) => address | 0xf47n,
  readOnlyPage: (address) => address | 0xfc7n,
}

/** First stage: P, R/W, U/S, A in tables; D in the leaf too. [VTD 9.7 First-Stage Paging Entries] */
export const INTEL: TableStyle = {
  table: (address) => address | 0x27n,
  page: (address) => address | 0x67n,
  readOnlyPage: (address) => address | 0x25n,
}

/** A four-level tree at `root`; its tables follow it page by page. */
export class GuestTree {
  readonly root: bigint
  readonly #memory: GuestMemory
  readonly #style: TableStyle
  readonly #tables = new Map<string, bigint>()
  #next: bigint

  constructor(memory: GuestMemory, style: TableStyle, root: bigint) {
    this.#memory = memory
    this.#style = style
    this.root = root
    this.#next = root + 0x1000n
  }

  /** Maps one page. Answers where its leaf entry stands. */
  async map(iova: bigint, address: bigint, readOnly = false): Promise<bigint> {
    let table = this.root
    for (const shift of [39n, 30n, 21n]) table = await this.#below(table, (iova >> shift) & 511n)
    const entry = table + ((iova >> 12n) & 511n) * 8n
    await this.#memory.store(entry, readOnly ? this.#style.readOnlyPage(address) : this.#style.page(address))
    return entry
  }

  async #below(table: bigint, index: bigint): Promise<bigint> {
    const entry = table + index * 8n
    const known = this.#tables.get(`${entry}`)
    if (known !== undefined) return known
    const below = this.#next
    this.#next += 0x1000n
    this.#tables.set(`${entry}`, below)
    await this.#memory.store(entry, this.#style.table(below))
    return below
  }
}

/**
 * A context descriptor: T0SZ 16, 4 KiB, walks cacheable and shareable, EPD1, V, IPS 48 bits, AA64, R, A, ASET, MAIR
 * with index 1 write-back. [SMMU 5.4 Context Descriptor]
 */
export const contextDescriptor = (ttb0: bigint, asid: bigint): bigint[] => [
  0x0000_e205_c000_3510n | (asid << 48n),
  ttb0,
  0n,
  0xf404_ff44n,
  0n,
  0n,
  0n,
  0n,
]

/** V, Config 101 (stage 1 translates), one CD at `cd`. [SMMU 5.2 Stream Table Entry] */
export const steOneCd = (cd: bigint) => ({ ste0: cd | 0xbn, ste1: 0xd4n })

/** The same with a linear table of 2^`log2Cds` CDs and S1DSS 10: traffic without SubstreamID uses CD 0. */
export const steCdTable = (table: bigint, log2Cds: bigint) => ({ ste0: table | 0xbn | (log2Cds << 59n), ste1: 0xd6n })
