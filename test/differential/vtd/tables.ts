/** Builds the tables of one domain in memory, and finds its way through them for whoever wants to spoil an entry. */

import type { Rng } from '../../simulation/rng.js'
import type { Ram } from '../ram.js'
import { addressIn, BIT, entryAt, IGNORED, TABLE_1, TABLE_2 } from './entries.js'

/** Hands out pages of one region, upwards. */
export class Arena {
  readonly #end: number
  #next: number

  constructor(start: number, end: number) {
    this.#next = start
    this.#end = end
  }

  page(): number {
    const at = this.#next
    this.#next += 4096
    if (this.#next > this.#end) throw new Error('a region of the memory is used up')
    return at
  }
}

/** The tables of one domain. */
export class Tables {
  /** 3 or 4. */
  readonly levels: number
  readonly stage: 1 | 2
  /** Physical address of the root. */
  readonly root: number
  readonly #ram: Ram
  readonly #rng: Rng
  readonly #arena: Arena

  constructor(ram: Ram, rng: Rng, arena: Arena, levels: number, stage: 1 | 2) {
    this.#ram = ram
    this.#rng = rng
    this.#arena = arena
    this.levels = levels
    this.stage = stage
    this.root = arena.page()
  }

  /** Writes a leaf (or any other last entry) and the tables above it. Answers its address, or -1 where one is in the way. */
  map(input: bigint, level: number, entry: bigint): number {
    let table = this.root
    for (let at = this.levels - 1; ; at--) {
      const slot = entryAt(table, at, input)
      const found = this.#ram.get(slot)
      if (at === level) {
        if (found !== 0n) return -1
        this.#ram.set(slot, entry)
        return slot
      }
      if (found === 0n) table = this.#link(slot)
      else if ((found & BIT.PS) === 0n) table = addressIn(found)
      else return -1
      if (!this.#ram.has(table)) return -1
    }
  }

  /** Addresses of the entries on the way to an input, the root's first; as far as tables lead. */
  path(input: bigint): number[] {
    const slots: number[] = []
    let table = this.root
    for (let level = this.levels - 1; level >= 0; level--) {
      const slot = entryAt(table, level, input)
      slots.push(slot)
      const found = this.#ram.get(slot)
      if ((found & 3n) === 0n || (found & BIT.PS) !== 0n) break
      table = addressIn(found)
      if (!this.#ram.has(table)) break
    }
    return slots
  }

  #link(slot: number): number {
    const rng = this.#rng
    const table = this.#arena.page()
    const ignored = rng.chance(0.3) ? rng.bits(64) & (this.stage === 1 ? IGNORED.TABLE_1 : IGNORED.TABLE_2) : 0n
    let bits = this.stage === 1 ? TABLE_1 : TABLE_2
    const roll = rng.int(200)
    if (roll < 3) bits &= ~BIT.W
    else if (roll < 4) bits &= this.stage === 1 ? ~BIT.US : ~BIT.R
    this.#ram.set(slot, BigInt(table) | bits | ignored)
    return table
  }
}
