/**
 * Descends one stage of tables, entry by entry, in whatever format it is given. Where the tables stand behind another
 * stage (nesting), each entry's own address is translated first, one entry at a time: a table may span several pages
 * of the stage below it.
 */

import { TWO32 } from '../bits/address.js'
import { MEMORY, type Memory } from '../memory/memory.js'
import { ENTRY, type Format, type Plain, type TableStage, WALK } from './format.js'

/** Sees every entry of a traced walk. */
export interface EntryTrace {
  /**
   * `walker` holds the entry, its level and its address as the table names it.
   *
   * @param physical where it was read
   * @param kind one of ENTRY
   * @param above the rights that were left before it
   */
  entry(walker: Walker, format: Format, stage: TableStage | null, physical: number, kind: number, above: number): void
  /** The low half of the entry just shown becomes `next`, if it still is what it was. */
  flags?(walker: Walker, physical: number, next: number): void
}

/** Is told of each table entry that a walk goes down through, so that a later walk may start below it. */
export interface TableKeeper {
  /** `walker` holds the entry's level, the size that it covers, the next table's address, and what is left of the rights. */
  keepTable(walker: Walker): void
}

/**
 * How often a level is read again because a flag update lost its race. A writer that stores all the time wins four of five
 * such races behind a second stage, and 64 of them in a row once in a million.
 */
const RACE_LIMIT = 512

/** One walker per stage and unit; its fields hold the last walk's result. */
export class Walker {
  /** Address in the last entry: the leaf's first byte when the walk ended OK. */
  address = 0
  /** Level of the last entry; 0 holds the smallest leaves. */
  level = 0
  /** log2 of the bytes that the last entry's level maps. */
  leafLg2 = 0
  /** What is left of the rights, in the format's own bits. */
  rights = 0
  /** Address of the last entry read, as its table names it. */
  entryAddress = 0
  /** The last entry. */
  lo = 0
  hi = 0
  /** Dry walks read and never write. */
  dry = false
  /** Flags may not be set in these tables (they are read without snooping): a walk that needs one ends FLAG. */
  flagsForbidden = false
  /** Where the entries are shown, if anybody looks. */
  trace: EntryTrace | null = null
  /** Who keeps table entries, if anybody does. */
  keeper: TableKeeper | null = null

  readonly #memory: Memory
  /** The table in hand, and the index into it. */
  #base = 0
  #index = 0

  constructor(memory: Memory) {
    this.#memory = memory
  }

  /**
   * Walks from a root table.
   *
   * @param format how to read an entry
   * @param stage what the tables stand behind, or null when their addresses are physical
   * @param table address of the root table
   * @param top level of the root table
   * @param granuleLg2 log2 of the smallest page, 12, 14 or 16; a table fills one such page
   * @param topIndex index into the root table, which may be concatenated and so longer than a page
   * @param inputLo low half of the input address
   * @param inputHi high half of the input address
   * @param access what the format is asked flags for, in bits that it knows: those of ACCESS at least
   * @param rights the rights before the root, in the format's bits
   * @returns one of WALK
   */
  walk(
    format: Format,
    stage: TableStage | null,
    table: number,
    top: number,
    granuleLg2: number,
    topIndex: number,
    inputLo: number,
    inputHi: number,
    access: number,
    rights: number,
  ): number {
    const stride = granuleLg2 - 3
    this.rights = rights
    this.#base = table
    this.#index = topIndex
    this.level = top
    const { plain } = format
    if (this.trace === null && this.keeper === null && plain.tables.mask !== 0) {
      if (this.#descend(plain, stage, granuleLg2, inputLo, inputHi)) {
        this.leafLg2 = granuleLg2
        this.address = this.#base
        this.rights = (rights & plain.kept) | plain.granted
        return WALK.OK
      }
    }
    for (;;) {
      const level = this.level
      this.leafLg2 = granuleLg2 + stride * level
      this.entryAddress = this.#base + this.#index * 8
      const status = this.#read(format, stage, level, access)
      if (status !== DESCEND) return status
      if (this.keeper !== null) this.keeper.keepTable(this)
      this.#base = this.address
      this.level = level - 1
      this.#index = indexAt(inputLo, inputHi, granuleLg2 + stride * (level - 1), stride)
    }
  }

  /**
   * Goes down as far as entries are plain, which leave nothing to decide; true where that is to a leaf. The first that is
   * not, and whatever cannot be read, is left to the walk proper, which reads it again.
   */
  #descend(plain: Plain, stage: TableStage | null, granuleLg2: number, inputLo: number, inputHi: number): boolean {
    const memory = this.#memory
    const { tables, leaves, frameLo, frameHi } = plain
    const stride = granuleLg2 - 3
    let { level } = this
    let index = this.#index
    let baseLo = this.#base | 0
    let baseHi = (this.#base / TWO32) | 0
    let isLeaf = false
    while (!isLeaf) {
      // A table stands at a multiple of its size.
      const at = baseLo + index * 8
      if (stage === null) {
        if (memory.loadAt(at, baseHi) !== MEMORY.OK) break
      } else {
        if (!stage.translateTable(baseHi * TWO32 + (at >>> 0), false)) break
        if (memory.loadWord(stage.tableAddress) !== MEMORY.OK) break
      }
      const { lo, hi } = memory
      const { mask, want, none } = level === 0 ? leaves : tables
      if ((lo & mask) !== want || (hi & none) !== 0) break
      if (level === 0) {
        this.lo = lo
        this.hi = hi
        this.entryAddress = baseHi * TWO32 + (at >>> 0)
        isLeaf = true
      } else {
        level--
        index = indexAt(inputLo, inputHi, granuleLg2 + stride * level, stride)
      }
      baseLo = lo & frameLo
      baseHi = hi & frameHi
    }
    this.level = level
    this.#index = index
    this.#base = baseHi * TWO32 + (baseLo >>> 0)
    return isLeaf
  }

  /** Reads, classifies and flags one entry. Answers DESCEND for a table, else the walk's end. */
  #read(format: Format, stage: TableStage | null, level: number, access: number): number {
    const memory = this.#memory
    const above = this.rights
    for (let attempt = 0; attempt < RACE_LIMIT; attempt++) {
      if (stage !== null && !stage.translateTable(this.entryAddress, false)) return WALK.TABLE_STAGE
      const physical = stage === null ? this.entryAddress : stage.tableAddress
      if (memory.loadWord(physical) !== MEMORY.OK) return WALK.FETCH
      const lo = memory.lo
      const hi = memory.hi
      this.lo = lo
      this.hi = hi
      const kind = format.classify(lo, hi, level)
      if (this.trace !== null) this.trace.entry(this, format, stage, physical, kind, above)
      if (kind !== ENTRY.TABLE && kind !== ENTRY.LEAF) return ENDS[kind]
      this.address = format.addressIn(lo, hi, level)
      this.rights = format.narrow(above, lo, hi, level)
      const next = format.flagged(lo, hi, level, access, this.rights)
      if (next !== lo) {
        const end = this.#flag(stage, physical, next)
        if (end === AGAIN) continue
        if (end !== WALK.OK) return end
        this.rights = format.narrow(above, next, hi, level)
      }
      return kind === ENTRY.LEAF ? WALK.OK : DESCEND
    }
    return WALK.FLAG
  }

  /** Stores the flags of the last entry, which the other stage must let be written. Answers OK, AGAIN or the end. */
  #flag(stage: TableStage | null, physical: number, next: number): number {
    if (this.flagsForbidden) return WALK.FLAG
    if (stage !== null && !stage.translateTable(this.entryAddress, true)) return WALK.TABLE_STAGE
    if (this.trace !== null) this.trace.flags?.(this, physical, next)
    if (!this.dry) {
      const at = stage === null ? physical : stage.tableAddress
      const stored = this.#memory.updateFlags(at, this.lo, next, this.hi)
      if (stored === MEMORY.LOST) return AGAIN
      if (stored !== MEMORY.OK) return WALK.FLAG
    }
    this.lo = next
    return WALK.OK
  }
}

/** Not an end: go one level down. */
const DESCEND = -1

/** Not an end: the entry is no longer the one that was read. */
const AGAIN = -2

/** The walk's end for each kind of entry that ends it. */
const ENDS: readonly number[] = [WALK.INVALID, DESCEND, WALK.OK, WALK.RESERVED, WALK.TOO_WIDE, WALK.UNACCESSED]

/** Bits `[shift + width - 1 : shift]` of the input, width at most 13. */
export function indexAt(lo: number, hi: number, shift: number, width: number): number {
  const mask = (1 << width) - 1
  if (shift >= 32) return (hi >>> (shift - 32)) & mask
  if (shift + width <= 32) return (lo >>> shift) & mask
  return ((lo >>> shift) | (hi << (32 - shift))) & mask
}

/** Bits `[top:shift]` of the input as one number; the root's index may have up to 17 bits. */
export function topIndexAt(lo: number, hi: number, shift: number, inputBits: number): number {
  return indexAt(lo, hi, shift, Math.max(1, inputBits - shift))
}
