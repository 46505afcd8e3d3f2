/** One table of a tree of page tables, as its builder keeps count of it. What is in its entries stands in memory. */

/** Bytes of a table. */
export const TABLE_BYTES = 4096
/** Entries of a table, 8 bytes each. */
export const ENTRIES = 512

/** Pages of 4 KiB that one entry maps, by its table's level. */
export const SPANS: readonly number[] = [0, 1, 2, 3, 4, 5].map((level) => ENTRIES ** level)

/** Leaves that are about to be stored together. */
const scratch = new Int32Array(ENTRIES * 2)

/**
 * The words of leaves of pages that follow each other, good until the next call. Four at a time take half as long as one
 * at a time.
 *
 * @param lo of the first. None of them may overflow it
 */
export function leavesOf(count: number, lo: number, hi: number): Int32Array {
  let next = lo
  for (let at = 0; at < count * 2; at += 8) {
    scratch[at] = next
    scratch[at + 1] = hi
    scratch[at + 2] = next + 0x1000
    scratch[at + 3] = hi
    scratch[at + 4] = next + 0x2000
    scratch[at + 5] = hi
    scratch[at + 6] = next + 0x3000
    scratch[at + 7] = hi
    next = (next + 0x4000) | 0
  }
  return scratch
}

/** What is below leaves. */
const NOTHING: (PageTable | undefined)[] = []

/** A table, or a root of several that follow each other. */
export class PageTable {
  /** Physical. */
  readonly address: number
  /** 0 holds leaves of 4 KiB. */
  readonly level: number
  readonly entries: number
  /** Entries that are not zero. */
  live = 0
  /** Tables that entries point to, by the entry's index. */
  readonly below: (PageTable | undefined)[]
  /** The one that has an entry for it; the root has none. */
  readonly above: PageTable | undefined
  /** Entries that are leaves, or tables without a hole. At level 0 all that live are. */
  #full = 0

  constructor(address: number, level: number, entries = ENTRIES, above?: PageTable) {
    this.above = above
    this.address = address
    this.level = level
    this.entries = entries
    this.below = level === 0 ? NOTHING : []
  }

  /** Whether there is no hole in all that it maps. */
  get isFull(): boolean {
    return (this.level === 0 ? this.live : this.#full) === this.entries
  }

  /** Leaves were stored into entries that were empty. */
  addLeaves(count: number): void {
    this.live += count
    if (this.level > 0) this.#full += count
    for (let table: PageTable = this; table.isFull && table.above !== undefined; table = table.above)
      table.above.#full++
  }

  /** Leaves were taken out. */
  removeLeaves(count: number): void {
    for (let table: PageTable = this; table.isFull && table.above !== undefined; table = table.above)
      table.above.#full--
    this.live -= count
    if (this.level > 0) this.#full -= count
  }

  /** Index of the entry on the way to a page that the table maps. */
  indexOf(page: number): number {
    const index = Math.floor(page / SPANS[this.level])
    return this.above === undefined ? index : index & (ENTRIES - 1)
  }

  /** Physical address of an entry. */
  slot(index: number): number {
    return this.address + index * 8
  }

  /** The addresses of all tables below it. */
  *addressesBelow(): Generator<number> {
    if (this.level === 0) return
    for (const table of this.below) {
      if (table === undefined) continue
      yield table.address
      yield* table.addressesBelow()
    }
  }
}
