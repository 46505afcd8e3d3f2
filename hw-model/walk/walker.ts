/**
 * Descends one stage of tables, entry by entry, in whatever format it is given. Where the tables stand behind another
 * stage (nesting), each entry's own address is translated first, one entry at a time: a table may span several pages
 * of the stage below it.
 */

import { joinWord } from '../bits/address.js'
import { MEMORY, type Memory } from '../memory/memory.js'
import { bitsOfLeaf, ENTRY, type Format, type Plain, type PlainTables, type TableStage, WALK } from './format.js'

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

const LOADED = MEMORY.OK
const DONE = WALK.OK

/** One walker per stage and unit; its fields hold the last walk's result. */
export class Walker {
  /** Address in the last entry: the leaf's first byte when the walk ended OK. */
  addressLo = 0
  addressHi = 0
  /** Level of the last entry; 0 holds the smallest leaves. */
  level = 0
  /** log2 of the bytes that the last entry's level maps. */
  leafLg2 = 0
  /** What is left of the rights, in the format's own bits. */
  rights = 0
  /** Address of the last entry read, as its table names it. */
  entryLo = 0
  entryHi = 0
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
  #baseLo = 0
  #baseHi = 0
  #index = 0
  /** Where an entry really is. */
  #placeLo = 0
  #placeHi = 0

  constructor(memory: Memory) {
    this.#memory = memory
  }

  /** `addressLo` and `addressHi` as one exact number, */
  get address(): number {
    return joinWord(this.addressLo, this.addressHi)
  }

  /** and `entryLo` and `entryHi`. */
  get entryAddress(): number {
    return joinWord(this.entryLo, this.entryHi)
  }

  /**
   * Walks from a root table.
   *
   * @param format how to read an entry
   * @param stage what the tables stand behind, or null when their addresses are physical
   * @param tableLo low half of the root table's address
   * @param tableHi high half of it
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
    tableLo: number,
    tableHi: number,
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
    this.#baseLo = tableLo
    this.#baseHi = tableHi
    this.#index = topIndex
    this.level = top
    if (this.trace === null && (this.keeper === null || top === 0)) {
      const { plain } = format
      const isPlain = plain.tables.mask !== 0 && (rights & plain.barred) === 0
      if (isPlain && this.#descend(plain, stage, granuleLg2, inputLo, inputHi)) return DONE
    }
    for (;;) {
      const level = this.level
      this.leafLg2 = granuleLg2 + stride * level
      // A table stands at a multiple of its size.
      this.entryLo = this.#baseLo | (this.#index << 3)
      this.entryHi = this.#baseHi
      const status = this.#read(format, stage, level, access)
      if (status !== DESCEND) return status
      if (this.keeper !== null) this.keeper.keepTable(this)
      this.#baseLo = this.addressLo
      this.#baseHi = this.addressHi
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
    const behind = stage === null ? null : stage.plainTables
    const stride = granuleLg2 - 3
    let { level } = this
    let index = this.#index
    let baseLo = this.#baseLo
    let baseHi = this.#baseHi
    for (;;) {
      const at = baseLo | (index << 3)
      if (stage === null) {
        if (memory.loadAt(at, baseHi) !== LOADED) break
      } else if (behind !== null) {
        if (!this.#locate(behind, at, baseHi) || memory.loadAt(this.#placeLo, this.#placeHi) !== LOADED) break
      } else {
        if (!stage.translateTable(at, baseHi, false)) break
        if (memory.loadAt(stage.tableLo, stage.tableHi) !== LOADED) break
      }
      const { lo, hi } = memory
      const { mask, want, none } = level === 0 ? leaves : tables
      if ((lo & mask) !== want || (hi & none) !== 0) break
      if (level === 0) {
        this.#endAt(plain, lo, hi, at, baseHi, granuleLg2)
        return true
      }
      baseLo = lo & frameLo
      baseHi = hi & frameHi
      level--
      index = indexAt(inputLo, inputHi, granuleLg2 + stride * level, stride)
    }
    this.level = level
    this.#index = index
    this.#baseLo = baseLo
    this.#baseHi = baseHi
    return false
  }

  /** The walk ends OK at a plain leaf. */
  #endAt(plain: Plain, lo: number, hi: number, entryLo: number, entryHi: number, leafLg2: number): void {
    this.lo = lo
    this.hi = hi
    this.entryLo = entryLo
    this.entryHi = entryHi
    this.level = 0
    this.leafLg2 = leafLg2
    this.addressLo = lo & plain.frameLo
    this.addressHi = hi & plain.frameHi
    this.rights = (this.rights & plain.kept) | plain.granted[bitsOfLeaf(lo, hi)]
  }

  /** Where an entry behind another stage is, if plain entries of that stage lead there. */
  #locate(behind: PlainTables, lo: number, hi: number): boolean {
    const memory = this.#memory
    const { plain, granuleLg2 } = behind
    const { leaves, frameLo, frameHi } = plain
    const { mask, want, none } = plain.tables
    if ((hi & behind.beyond) !== 0) return false
    let indexMask = behind.topMask
    let baseLo = behind.lo
    let baseHi = behind.hi
    for (let shift = granuleLg2 + (granuleLg2 - 3) * behind.top; shift > granuleLg2; shift -= granuleLg2 - 3) {
      const index = shift < 32 ? (lo >>> shift) | (hi << (32 - shift)) : hi >>> (shift - 32)
      if (memory.loadAt(baseLo | ((index & indexMask) << 3), baseHi) !== LOADED) return false
      if ((memory.lo & mask) !== want || (memory.hi & none) !== 0) return false
      baseLo = memory.lo & frameLo
      baseHi = memory.hi & frameHi
      indexMask = (1 << (granuleLg2 - 3)) - 1
    }
    const index = (lo >>> granuleLg2) | (hi << (32 - granuleLg2))
    if (memory.loadAt(baseLo | ((index & indexMask) << 3), baseHi) !== LOADED) return false
    if ((memory.lo & leaves.mask) !== leaves.want || (memory.hi & leaves.none) !== 0) return false
    this.#placeLo = (memory.lo & frameLo) | (lo & ((1 << granuleLg2) - 1))
    this.#placeHi = memory.hi & frameHi
    return true
  }

  /**
   * Walks tables that are not themselves behind others, where plain entries lead to a plain leaf; else nothing has been
   * done, and `walk` has to be asked.
   */
  walkPlainly(tables: PlainTables, lo: number, hi: number, rights: number): boolean {
    if (!this.#locate(tables, lo, hi)) return false
    const memory = this.#memory
    const { plain, granuleLg2 } = tables
    this.lo = memory.lo
    this.hi = memory.hi
    this.level = 0
    this.leafLg2 = granuleLg2
    this.addressLo = memory.lo & plain.frameLo
    this.addressHi = memory.hi & plain.frameHi
    this.rights = (rights & plain.kept) | plain.granted[bitsOfLeaf(memory.lo, memory.hi)]
    return true
  }

  /** Reads, classifies and flags one entry. Answers DESCEND for a table, else the walk's end. */
  #read(format: Format, stage: TableStage | null, level: number, access: number): number {
    const memory = this.#memory
    const above = this.rights
    for (let attempt = 0; attempt < RACE_LIMIT; attempt++) {
      if (!this.#find(stage, false)) return WALK.TABLE_STAGE
      if (memory.loadAt(this.#placeLo, this.#placeHi) !== LOADED) return WALK.FETCH
      const lo = memory.lo
      const hi = memory.hi
      this.lo = lo
      this.hi = hi
      const kind = format.classify(lo, hi, level)
      if (this.trace !== null) this.trace.entry(this, format, stage, this.#place, kind, above)
      if (kind !== ENTRY.TABLE && kind !== ENTRY.LEAF) return ENDS[kind]
      this.addressLo = format.addressLow(lo, level)
      this.addressHi = format.addressHigh(lo, hi, level)
      this.rights = format.narrow(above, lo, hi, level)
      const next = format.flagged(lo, hi, level, access, this.rights)
      if (next !== lo) {
        const end = this.#flag(stage, next)
        if (end === AGAIN) continue
        if (end !== DONE) return end
        this.rights = format.narrow(above, next, hi, level)
      }
      return kind === ENTRY.LEAF ? DONE : DESCEND
    }
    return WALK.FLAG
  }

  /** Finds out where the last entry really is; false where the stage that it stands behind refuses. */
  #find(stage: TableStage | null, write: boolean): boolean {
    if (stage === null) {
      this.#placeLo = this.entryLo
      this.#placeHi = this.entryHi
      return true
    }
    if (!stage.translateTable(this.entryLo, this.entryHi, write)) return false
    this.#placeLo = stage.tableLo
    this.#placeHi = stage.tableHi
    return true
  }

  get #place(): number {
    return joinWord(this.#placeLo, this.#placeHi)
  }

  /** Stores the flags of the last entry, which the other stage must let be written. Answers OK, AGAIN or the end. */
  #flag(stage: TableStage | null, next: number): number {
    if (this.flagsForbidden) return WALK.FLAG
    const physical = this.#place
    if (!this.#find(stage, true)) return WALK.TABLE_STAGE
    if (this.trace !== null) this.trace.flags?.(this, physical, next)
    if (!this.dry) {
      const stored = this.#memory.updateFlags(this.#place, this.lo, next, this.hi)
      if (stored === MEMORY.LOST) return AGAIN
      if (stored !== LOADED) return WALK.FLAG
    }
    this.lo = next
    return DONE
  }
}

/** Not an end: go one level down. */
const DESCEND = -1

/** Not an end: the entry is no longer the one that was read. */
const AGAIN = -2

/** The walk's end for each kind of entry that ends it. */
const ENDS: readonly number[] = [WALK.INVALID, DESCEND, DONE, WALK.RESERVED, WALK.TOO_WIDE, WALK.UNACCESSED]

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
