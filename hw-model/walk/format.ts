/**
 * What the walker asks of a table format. It knows nothing else about one: an entry is classified, names an address,
 * narrows the rights, and may want a flag set. Entries and addresses come as two signed 32-bit halves.
 */

import { joinWord } from '../bits/address.js'

/** What an entry is. */
export const ENTRY = {
  /** Nothing is mapped here. */
  INVALID: 0,
  /** Points to the next level's table. */
  TABLE: 1,
  /** Maps something: a page or a block. */
  LEAF: 2,
  /** Present, with reserved bits set or an encoding this level does not have. */
  RESERVED: 3,
  /** Its address does not fit the output size. */
  TOO_WIDE: 4,
  /** Its access flag is clear and software manages it. */
  UNACCESSED: 5,
} as const

/** Entries of one kind that are known by their bits: `want` under `mask` in the low half, nothing under `none` in the high. */
export class PlainEntries {
  mask = 0
  want = 1
  none = 0

  /** No entry is plain. */
  clear(): void {
    this.mask = 0
    this.want = 1
  }

  /** Says which entries are. */
  set(mask: number, want: number, none: number): void {
    this.mask = mask
    this.want = want
    this.none = none
  }
}

/**
 * Entries that leave nothing to decide, most of those that a walk meets: tables above level 0 that take no right away, and
 * leaves of level 0, which both want no flag. The address is what is left under `frameLo` and `frameHi`. Where tables of
 * another stage stand behind this one, such a leaf lets them be read and written.
 */
export class Plain {
  readonly tables = new PlainEntries()
  readonly leaves = new PlainEntries()
  frameLo = ~0xfff
  frameHi = 0
  /** Rights that a walk may not have before it meets such a leaf. */
  barred = 0
  /** What such a leaf leaves of any rights, AND; and what it adds by the bits that `bitsOfLeaf` picks, OR. */
  kept = -1
  readonly granted = new Int32Array(64)
}

/** What a leaf says of its rights in bits [7:6] and [11], [54:53], as a place in `Plain.granted`. */
export const bitsOfLeaf = (lo: number, hi: number): number => ((lo >>> 6) & 0b100011) | ((hi >>> 19) & 0b1100)

/** Tables of one stage that are walked through plain entries: where they begin and what is plain there. */
export class PlainTables {
  plain: Plain
  /** The root table. */
  lo = 0
  hi = 0
  /** Its level, and what is left of the bits above its index. */
  top = 0
  topMask = 0
  granuleLg2 = 12
  /** Bits of the high half that no input has. */
  beyond = -1

  constructor(plain: Plain) {
    this.plain = plain
  }

  /** Says where they begin, and how many bits an input has: 32 to 63, or nothing is plain. */
  begin(lo: number, hi: number, top: number, granuleLg2: number, inputBits: number): void {
    this.lo = lo
    this.hi = hi
    this.top = top
    this.granuleLg2 = granuleLg2
    this.topMask = (1 << Math.max(1, inputBits - granuleLg2 - (granuleLg2 - 3) * top)) - 1
    this.beyond = inputBits < 32 ? -1 : -1 << (inputBits - 32)
  }
}

/** The four questions, and the geometry of one level. Level 0 holds the smallest leaves. */
export interface Format {
  /** Which entries need not be asked about. They answer the questions below as any other does. */
  readonly plain: Plain
  /** 1. What is this entry? One of ENTRY. */
  classify(lo: number, hi: number, level: number): number
  /** 2. Which address does it hold: the next table's or the leaf's first byte? Its low half, */
  addressLow(lo: number, level: number): number
  /** and its high half. */
  addressHigh(lo: number, hi: number, level: number): number
  /** 3. What is left of the rights above it? Their bits are the format's own. */
  narrow(rights: number, lo: number, hi: number, level: number): number
  /** 4. Which low word must hardware store for this access, `rights` being what is left of them? `lo` for none. */
  flagged(lo: number, hi: number, level: number, access: number, rights: number): number
}

/** How a walk ended. */
export const WALK = {
  OK: 0,
  /** An entry could not be read: nothing there, or it would not hold still. */
  FETCH: 1,
  INVALID: 2,
  RESERVED: 3,
  TOO_WIDE: 4,
  UNACCESSED: 5,
  /** The other stage refused the address of a table; ask that stage why. */
  TABLE_STAGE: 6,
  /** A flag had to be set and could not be. */
  FLAG: 7,
} as const

/** A stage that the tables themselves stand behind. Addresses come as two halves, so that nobody has to box them. */
export interface TableStage {
  /** Where the last translated table address really is. */
  readonly tableLo: number
  readonly tableHi: number
  /** Its own tables, where they are all that it takes to translate an address: nothing is kept, or shown to anybody. */
  readonly plainTables: PlainTables | null
  /** Translates an entry's address. True, or false with the reason kept on the other side. */
  translateTable(lo: number, hi: number, write: boolean): boolean
}

/** The address in an entry as one exact number, for those who show it. */
export const addressIn = (format: Format, lo: number, hi: number, level: number): number =>
  joinWord(format.addressLow(lo, level), format.addressHigh(lo, hi, level))
