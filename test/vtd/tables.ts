/** Paging structures of any depth, made as they are needed: 512 entries of 8 bytes, 9 bits of input a level. */

import type { Guest } from './guest.js'

const PAGE = 0x1000

/** One tree of tables; the root is its first page. */
export class Tables {
  readonly root: number
  readonly #guest: Guest
  readonly #levels: number
  readonly #tableFlags: bigint
  #next: number

  /**
   * @param base where its pages stand, one after the other
   * @param levels 3 to 5
   * @param tableFlags low and high bits of an entry that names a table
   */
  constructor(guest: Guest, base: number, levels: number, tableFlags: bigint) {
    this.#guest = guest
    this.root = base
    this.#levels = levels
    this.#tableFlags = tableFlags
    this.#next = base + PAGE
  }

  /** Pages in use, the root first. */
  get pages(): readonly number[] {
    return Array.from({ length: (this.#next - this.root) / PAGE }, (_, i) => this.root + i * PAGE)
  }

  /** Where the entry of an input address stands; level 1 maps 4 KiB, 2 maps 2 MiB. Tables on the way are made. */
  at(input: bigint, level = 1): number {
    let table = this.root
    for (let l = this.#levels; l > level; l--) {
      const slot = table + index(input, l) * 8
      if (this.#guest.load(slot) === 0n) {
        this.#guest.store(slot, BigInt(this.#next) | this.#tableFlags)
        this.#next += PAGE
      }
      table = Number(this.#guest.load(slot) & 0x000f_ffff_ffff_f000n)
    }
    return table + index(input, level) * 8
  }

  /** Stores the entry of an input address. */
  map(input: bigint, entry: bigint, level = 1): void {
    this.#guest.store(this.at(input, level), entry)
  }
}

const index = (input: bigint, level: number): number => Number((input >> BigInt(3 + 9 * level)) & 511n)

/** VER 1.0; CAP of `vtd-full` with other widths. [VTD 11.4.2 SAGAW, MGAW, SSLPS] */
export function widths(sagaw: number, mgawBits: number, hawBits: number): { CAP: [number, number]; hawBits: number } {
  // ND 6, ZLR, FRO 0x22; SSLPS 3, PSI, NFR 7, MAMV 18, DWD, DRD, FS1GP, FS5LP, ESRTPS.
  const low = 0x2240_0006 | (sagaw << 8) | ((mgawBits - 1) << 16)
  return { CAP: [low >>> 0, 0x91d2_078c], hawBits }
}

/** SAGAW, and AW of an entry, by levels. */
export const SAGAW = { 3: 2, 4: 4, 5: 8, all: 14 } as const
