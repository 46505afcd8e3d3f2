/**
 * What the walker asks of a table format. It knows nothing else about one: an entry is classified, names an address,
 * narrows the rights, and may want a flag set. Addresses are exact numbers; entries come as two signed 32-bit halves.
 */

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
 * leaves of level 0, which both want no flag. The address is what is left under `frameLo` and `frameHi`.
 */
export class Plain {
  readonly tables = new PlainEntries()
  readonly leaves = new PlainEntries()
  frameLo = ~0xfff
  frameHi = 0
  /** What such a leaf leaves of any rights: AND, then OR. */
  kept = -1
  granted = 0
}

/** The four questions, and the geometry of one level. Level 0 holds the smallest leaves. */
export interface Format {
  /** Which entries need not be asked about. They answer the questions below as any other does. */
  readonly plain: Plain
  /** 1. What is this entry? One of ENTRY. */
  classify(lo: number, hi: number, level: number): number
  /** 2. Which address does it hold: the next table's or the leaf's first byte? */
  addressIn(lo: number, hi: number, level: number): number
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

/** A stage that the tables themselves stand behind. */
export interface TableStage {
  /** Where the last translated table address really is. */
  readonly tableAddress: number
  /** Translates an entry's address. True, or false with the reason kept on the other side. */
  translateTable(address: number, write: boolean): boolean
}
