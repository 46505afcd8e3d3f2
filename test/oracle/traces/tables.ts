/** Tables that are made to say what a trace says: four levels of 512 entries, 4 KiB pages. */

import type { Ram } from '../../simulation/ram.js'

/** How a format writes its entries. */
export interface Writing {
  /** An entry that leads to another table. */
  table(address: bigint): bigint
  /** An entry that maps 2^`leafLg2` bytes. */
  leaf(address: bigint, leafLg2: number, read: boolean, write: boolean): bigint
}

const TOP = 3
const sizeOf = (level: number): bigint => 1n << BigInt(12 + 9 * level)

interface Table {
  readonly address: bigint
  readonly below: Map<number, Table>
  /** Leaves by index. */
  readonly leaves: Map<number, bigint>
}

/** One address space. */
export class TraceTables {
  readonly #ram: Ram
  readonly #writing: Writing
  readonly #root: Table

  constructor(ram: Ram, writing: Writing) {
    this.#ram = ram
    this.#writing = writing
    this.#root = this.#table()
  }

  /** Where the root is. */
  get root(): bigint {
    return this.#root.address
  }

  /** Makes an address lead where a trace says; a size that is not said is what stands there, or a page. */
  map(iova: bigint, pa: bigint, leafLg2: number | undefined, read: boolean, write: boolean): void {
    const found = this.#find(iova)
    const size = leafLg2 ?? found?.leafLg2 ?? 12
    const start = pa & ~((1n << BigInt(size)) - 1n)
    const word = this.#writing.leaf(start, size, read, write)
    if (found !== undefined && found.leafLg2 === size && found.word === word) return
    if (found !== undefined && found.leafLg2 !== size) this.clear(iova, iova)
    let table = this.#root
    for (let level = TOP; 12 + 9 * level > size; level--) table = this.#below(table, indexOf(iova, level))
    const index = indexOf(iova, (size - 12) / 9)
    this.#drop(table, index)
    table.leaves.set(index, word)
    this.#ram.write(table.address + BigInt(index) * 8n, word)
  }

  /** Takes away what maps any address of a range, as software does before it says so to the unit. */
  clear(first: bigint, last: bigint): void {
    this.#clearIn(this.#root, TOP, 0n, first, last)
  }

  #clearIn(table: Table, level: number, base: bigint, first: bigint, last: bigint): void {
    const size = sizeOf(level)
    for (const index of [...table.leaves.keys()]) {
      const start = base + BigInt(index) * size
      if (start > last || start + size <= first) continue
      table.leaves.delete(index)
      this.#ram.write(table.address + BigInt(index) * 8n, 0n)
    }
    for (const [index, below] of table.below) {
      const start = base + BigInt(index) * size
      if (start <= last && start + size > first) this.#clearIn(below, level - 1, start, first, last)
    }
  }

  #find(iova: bigint): { readonly leafLg2: number; readonly word: bigint } | undefined {
    let table: Table | undefined = this.#root
    for (let level = TOP; table !== undefined; level--) {
      const index = indexOf(iova, level)
      const word = table.leaves.get(index)
      if (word !== undefined) return { leafLg2: 12 + 9 * level, word }
      table = table.below.get(index)
    }
    return undefined
  }

  #below(table: Table, index: number): Table {
    const known = table.below.get(index)
    if (known !== undefined) return known
    const below = this.#table()
    table.leaves.delete(index)
    table.below.set(index, below)
    this.#ram.write(table.address + BigInt(index) * 8n, this.#writing.table(below.address))
    return below
  }

  /** A table that gives way to a large leaf. */
  #drop(table: Table, index: number): void {
    table.below.delete(index)
  }

  #table(): Table {
    return { address: this.#ram.allocate(4096n), below: new Map(), leaves: new Map() }
  }
}

const indexOf = (iova: bigint, level: number): number => Number((iova >> BigInt(12 + 9 * level)) & 511n)
