/**
 * Translation tables as a guest writes them, from the manual's arithmetic, and two streams that most tests start from.
 * [Arm D8.2 Translation process]
 */

import { Guest, type GuestOptions, SID, VA } from './guest.js'

/** A tree of tables: granule, input bits, and the level it starts at. */
export interface Shape {
  /** log2 of the granule: 12, 14, 16. */
  readonly granule: number
  readonly bits: number
  readonly start: number
}

/** A stage 1 tree, which starts where its input bits say. */
export function stage1Shape(granule: number, bits: number): Shape {
  return { granule, bits, start: 4 - Math.ceil((bits - granule) / (granule - 3)) }
}

/** What a table's address is more than its place in memory, where another stage translates it. */
export const GUEST = 0x1_0000_0000n

/** Tables of one tree. `root` is in physical memory, as is what `set` answers. */
export class Tables {
  readonly root: bigint

  constructor(
    private readonly guest: Guest,
    readonly shape: Shape,
    /** What a pointer to a table is more than the table's place. */
    private readonly offset = 0n,
    /** Where in memory something is that is `offset` less than its address. */
    private readonly place: (address: bigint) => bigint = (address) => address,
  ) {
    this.root = guest.alloc(1n << BigInt(Math.max(6, this.lg2(shape.start, true) + 3)))
  }

  /** Writes a descriptor at a level, makes the tables above it, and answers where the descriptor is. */
  set(input: bigint, level: number, descriptor: bigint, tableBits = 0n): bigint {
    const { bits, start } = this.shape
    const within = BigInt.asUintN(bits, input)
    let table = this.root
    for (let at = start; ; at++) {
      const index = (within >> BigInt(this.shift(at))) & ((1n << BigInt(this.lg2(at, at === start))) - 1n)
      const place = this.place(table + index * 8n)
      if (at === level) {
        this.guest.store(place, descriptor)
        return place
      }
      let next = this.guest.load(place)
      if ((next & 3n) !== 3n) {
        next = (this.guest.alloc(1n << BigInt(this.shape.granule)) + this.offset) | 3n
      }
      this.guest.store(place, next | tableBits)
      table = (next & 0xffff_ffff_f000n) - this.offset
    }
  }

  /** Lowest address bit that chooses an entry at a level. */
  private shift(level: number): number {
    return this.shape.granule + (this.shape.granule - 3) * (3 - level)
  }

  private lg2(level: number, isStart: boolean): number {
    return isStart ? this.shape.bits - this.shift(level) : this.shape.granule - 3
  }
}

/** The codes of a granule: CD.TG0 and STE.S2TG, and CD.TG1, which has others. */
export const TG0: Readonly<Record<number, bigint>> = { 12: 0n, 14: 2n, 16: 1n }
export const TG1: Readonly<Record<number, bigint>> = { 12: 2n, 14: 1n, 16: 3n }

/** A page of stage 1 for EL0 and EL1: read-write, not global, AF, inner shareable, AttrIndx 1. */
export const PAGE = 0xf47n
/** The same in a block. */
export const BLOCK = 0xf45n
/** A page of stage 2: read-write, write-back, AF, inner shareable. */
export const S2_PAGE = 0x7ffn
/** The same in a block. */
export const S2_BLOCK = 0x7fdn

/** A guest with one stream, whose STE and CD are arrays of words that a test changes before it applies them. */
export class World extends Guest {
  readonly ste: bigint[] = [0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n]
  readonly cd: bigint[] = [0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n]
  /** Place of the CD. */
  readonly context = this.alloc()
  /** Stage 1 and stage 2 tables: 4 KiB, 48 bits from level 0. */
  readonly one: Tables
  readonly two: Tables
  /** The page that VA goes to through stage 1. */
  readonly page: bigint
  /** What stage 1 puts out for it. */
  readonly leaf: bigint
  readonly isNested: boolean

  constructor(config: 0b100 | 0b101 | 0b110 | 0b111, options: GuestOptions = {}) {
    super(options)
    this.isNested = config === 0b111
    const offset = this.isNested ? GUEST : 0n
    this.one = new Tables(this, stage1Shape(12, 48), offset)
    this.two = new Tables(this, { granule: 12, bits: 48, start: 0 })
    this.page = this.alloc()
    // Stage 2 is four blocks of 1 GiB: all of RAM, one GUEST higher.
    for (let at = 0n; at < 0x1_0000_0000n; at += 0x4000_0000n) this.two.set(GUEST + at, 1, at | S2_BLOCK)
    this.leaf = this.one.set(VA, 3, (this.page + offset) | PAGE)
    this.ste[0] = (BigInt(config) << 1n) | 1n
    if ((config & 1) === 1) {
      this.ste[0] |= this.context + offset
      this.ste[1] |= 0xd4n
    }
    if ((config & 2) === 2) {
      this.ste[2] = 0x044d_3590_0000_0005n
      this.ste[3] = this.two.root
    } else this.ste[2] = 5n
    this.cd[0] = 0x0007_e205_c000_3510n
    this.cd[1] = this.one.root + offset
    this.cd[3] = 0xf404_ff44n
    this.apply()
  }

  /** Stores STE and CD and has the unit forget what it knew. */
  apply(): this {
    this.store(this.context, ...this.cd)
    this.storeSte(SID, ...this.ste)
    this.forget()
    return this
  }
}

/** Gives one half of a CD new tables; the other half is off. */
export function stage1(w: World, granule: number, bits: number, half: 0 | 1, start?: number): Tables {
  const offset = w.isNested ? GUEST : 0n
  const shape = stage1Shape(granule, bits)
  const tables = new Tables(w, start === undefined ? shape : { ...shape, start }, offset)
  const off = half === 0 ? 1n << 30n : 1n << 14n
  const size = BigInt(64 - bits)
  w.cd[0] =
    0x0007_e205_8000_3500n | off | (half === 0 ? size | (TG0[granule] << 6n) : (size << 16n) | (TG1[granule] << 22n))
  w.cd[1 + half] = tables.root + offset
  return tables
}

/** Gives the STE new stage 2 tables. */
export function stage2(w: World, granule: number, bits: number, start: number): Tables {
  const code = granule === 12 ? 2 - start : 3 - start
  const tables = new Tables(w, { granule, bits, start })
  w.ste[2] = 0x040d_3500_0000_0005n | (TG0[granule] << 46n) | (BigInt(code) << 38n) | (BigInt(64 - bits) << 32n)
  w.ste[3] = tables.root
  return tables
}
