/** A guest's tree with pages and tables of any granule, and any width of its addresses; every word spelled by hand. */

import type { GuestMemory } from './guest-memory.js'

/** TG0's codes. [SMMU 5.4 Context Descriptor] */
export const GRANULES = [
  { name: '4 KiB', tg0: 0, lg2: 12n },
  { name: '64 KiB', tg0: 1, lg2: 16n },
  { name: '16 KiB', tg0: 2, lg2: 14n },
] as const

/** Tables one after the other, each aligned to the granule. */
export class GranuleTree {
  readonly root: bigint
  readonly #memory: GuestMemory
  readonly #lg2: bigint
  /** Bits of the widest address. */
  readonly #width: bigint
  readonly #tables = new Map<string, bigint>()
  #next: bigint

  constructor(memory: GuestMemory, root: bigint, lg2: bigint, width: bigint) {
    this.#memory = memory
    this.#lg2 = lg2
    this.#width = width
    this.root = root
    this.#next = root + (1n << lg2)
  }

  /** Levels of a walk: as few as reach the width. [ARM D8.2 Translation process] */
  get levels(): number {
    const index = this.#lg2 - 3n
    return Number((this.#width - this.#lg2 + index - 1n) / index)
  }

  /** Maps one page. Answers where its entry stands. */
  async map(iova: bigint, address: bigint, attributes = 0xf47n): Promise<bigint> {
    const index = this.#lg2 - 3n
    let table = this.root
    for (let level = this.levels - 1; level > 0; level--) {
      const entry = table + this.#indexOf(iova, this.#lg2 + index * BigInt(level)) * 8n
      table = await this.#below(entry)
    }
    const entry = table + this.#indexOf(iova, this.#lg2) * 8n
    await this.#memory.store(entry, address | attributes)
    return entry
  }

  #indexOf(iova: bigint, shift: bigint): bigint {
    return (iova >> shift) & ((1n << (this.#lg2 - 3n)) - 1n)
  }

  async #below(entry: bigint): Promise<bigint> {
    const known = this.#tables.get(`${entry}`)
    if (known !== undefined) return known
    const below = this.#next
    this.#next += 1n << this.#lg2
    this.#tables.set(`${entry}`, below)
    await this.#memory.store(entry, below | 3n)
    return below
  }
}
