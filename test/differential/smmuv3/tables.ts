/** Builds the tables of one stage in memory, and finds its way through them for whoever wants to spoil an entry. */

import type { Rng } from '../../simulation/rng.js'
import type { Ram } from '../ram.js'
import { addressIn, entryAt, type Geometry, rootBytes } from './geometry.js'
import { RAM_BASE } from './ram.js'

/** Hands out memory of one region, upwards. */
export class Arena {
  readonly #end: number
  #next: number

  constructor(start: number, end: number) {
    this.#next = start
    this.#end = end
  }

  /** Bytes aligned to their size, a power of two. */
  take(bytes: number): number {
    const at = Math.ceil(this.#next / bytes) * bytes
    this.#next = at + bytes
    if (this.#next > this.#end) throw new Error('a region of the memory is used up')
    return at
  }
}

/** Where tables are named by IPAs, guest memory starts here instead of at RAM_BASE. */
export interface Naming {
  readonly origin: number
}

/** Bits [11:2] of a table entry are ignored; these make a sensible leaf of it when bit 1 is cleared. */
const IGNORED_1 = (1n << 10n) | (1n << 11n) | (1n << 6n)
const IGNORED_2 = (1n << 10n) | (3n << 6n) | (0xfn << 2n)

/** The tables of one stage. */
export class Tables {
  readonly geometry: Geometry
  /** Physical address of the root. */
  readonly root: number
  /** Every table made, by physical address, with its bytes. */
  readonly made: { readonly at: number; readonly bytes: number }[] = []
  readonly #ram: Ram
  readonly #rng: Rng
  readonly #arena: Arena
  readonly #origin: number
  readonly #ignored: bigint

  constructor(ram: Ram, rng: Rng, arena: Arena, geometry: Geometry, stage: 1 | 2, naming: Naming | null) {
    this.#ram = ram
    this.#rng = rng
    this.#arena = arena
    this.geometry = geometry
    this.#origin = naming === null ? RAM_BASE : naming.origin
    this.#ignored = stage === 1 ? IGNORED_1 : IGNORED_2
    this.root = this.#make(rootBytes(geometry))
  }

  /** The name that software gives to a physical address. */
  nameOf(physical: number): number {
    return physical - RAM_BASE + this.#origin
  }

  /** Writes a leaf (or any other last entry) and the tables above it. Answers its address, or -1 where one is in the way. */
  map(input: bigint, level: number, entry: bigint): number {
    let table = this.root
    for (let at = this.geometry.start; ; at++) {
      const slot = entryAt(table, this.geometry, at, input)
      const found = this.#ram.get(slot)
      if (at === level) {
        if (found !== 0n) return -1
        this.#ram.set(slot, entry)
        return slot
      }
      if ((found & 3n) === 3n) table = this.#physical(found)
      else if (found === 0n) table = this.#link(slot)
      else return -1
      if (!this.#ram.has(table)) return -1
    }
  }

  /** Addresses of the entries on the way to an input, the root's first; as far as tables lead. */
  path(input: bigint): number[] {
    const slots: number[] = []
    let table = this.root
    for (let level = this.geometry.start; level <= 3; level++) {
      const slot = entryAt(table, this.geometry, level, input)
      slots.push(slot)
      const found = this.#ram.get(slot)
      if (level === 3 || (found & 3n) !== 3n) break
      table = this.#physical(found)
      if (!this.#ram.has(table)) break
    }
    return slots
  }

  #link(slot: number): number {
    const table = this.#make(2 ** this.geometry.granuleLg2)
    const bits = this.#rng.chance(0.7) ? this.#ignored : 0n
    this.#ram.set(slot, BigInt(this.nameOf(table)) | bits | 3n)
    return table
  }

  #make(bytes: number): number {
    const at = this.#arena.take(Math.max(64, bytes))
    this.made.push({ at, bytes })
    return at
  }

  #physical(entry: bigint): number {
    return addressIn(entry, this.geometry.granuleLg2) - this.#origin + RAM_BASE
  }
}
