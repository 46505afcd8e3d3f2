/** A guest program that writes VT-d tables, first stage or second. */

import type { Space } from './ram.js'
import type { Rng } from './rng.js'

/** One entry that the guest wrote. */
export interface Entry {
  readonly space: Space
  readonly at: bigint
  /** First input address that it covers. */
  readonly input: bigint
  /** 1 for a 4 KiB page, 2 for 2 MiB, and so on. */
  readonly level: number
  readonly isLeaf: boolean
}

const shiftOf = (level: number): bigint => BigInt(12 + 9 * (level - 1))

/** One tree of 512-entry tables. */
export class IntelTables {
  readonly root: bigint
  entries: Entry[] = []
  readonly #children = new Map<bigint, bigint>()

  /**
   * @param levels 3, 4 or 5
   * @param tableBits what a pointer to a table has besides its address
   */
  constructor(
    readonly space: Space,
    readonly levels: number,
    readonly tableBits: (rng: Rng) => bigint,
  ) {
    this.root = space.allocate(4096n)
  }

  /** Maps the leaf that holds `input`; a leaf already there, or a table below, is left. */
  map(rng: Rng, input: bigint, output: bigint, level: number, bits: bigint): Entry | undefined {
    let table = this.root
    for (let at = this.levels; ; at--) {
      const shift = shiftOf(at)
      const entry = table + ((input >> shift) & 511n) * 8n
      const first = (input >> shift) << shift
      if (at === level) {
        if (this.space.read(entry) !== 0n || this.#children.has(entry)) return undefined
        this.space.write(entry, ((output >> shift) << shift) | bits | (level > 1 ? 0x80n : 0n))
        const leaf = { space: this.space, at: entry, input: first, level, isLeaf: true }
        // A cleared entry that was known is the same entry.
        this.entries = this.entries.filter(({ at: other }) => other !== entry)
        this.entries.push(leaf)
        return leaf
      }
      let next = this.#children.get(entry)
      if (next === undefined) {
        if (this.space.read(entry) !== 0n) return undefined
        next = this.space.allocate(4096n)
        this.#children.set(entry, next)
        this.space.write(entry, next | this.tableBits(rng))
        this.entries = this.entries.filter(({ at: other }) => other !== entry)
        this.entries.push({ space: this.space, at: entry, input: first, level: at, isLeaf: false })
      }
      table = next
    }
  }

  /** Clears an entry; whatever was mapped below it is forgotten. */
  clear({ at, level, input }: Entry): void {
    this.space.write(at, 0n)
    this.#children.delete(at)
    const shift = shiftOf(level)
    const isBelow = (entry: Entry): boolean => entry.level < level && entry.input >> shift === input >> shift
    for (const entry of this.entries) if (isBelow(entry)) this.#children.delete(entry.at)
    this.entries = this.entries.filter((entry) => !isBelow(entry))
  }
}
