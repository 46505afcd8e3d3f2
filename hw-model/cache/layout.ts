/**
 * How a cache's one array of words is laid out: first the lines, of eight words each, then blocks of leaves. A word
 * offset is a multiple of four wherever a leaf begins, and a *slot* is that offset divided by four.
 *
 * A line stands for a leaf, which it holds itself, or for a block: the 512 leaves of a 2 MiB region of one tag.
 */

/** Words of a line, as a shift: two lines fill what a processor fetches at once. */
export const LINE_LG2 = 3

/** The words of a line. */
export const LINE = {
  /** Low 32 bits of its first page. */
  KEY: 0,
  /** The other 20 bits of the page above bit 12, LARGE, and log2 of its pages in the lowest six. */
  HEAD: 1,
  /** When its tag was last forgotten: a line of another epoch than its tag's is dead; 0 for none. */
  EPOCH: 2,
  /** Twice the slot of its leaf or of its block's first leaf, and 1 for a block. */
  WHERE: 3,
  /** The leaf, where the line is no block. */
  LEAF: 4,
  /** Of a block: how many leaves it has, */
  COUNT: 4,
  /** the stamp that all of them have, or MIXED, */
  STAMP: 5,
  /** and which flags all of them have had, and which any. */
  ALL: 6,
  ANY: 7,
} as const

/** In HEAD: larger than a region, so that a look-up by region passes it by. */
export const LARGE = 1 << 11

/** In STAMP: leaves of several groups. No stamp is negative in all its bits. */
export const MIXED = -1

/** The words of a leaf. */
export const LEAF = {
  /** Low 32 bits of its address. */
  LOW: 0,
  /** The other 20 bits, log2 of the leaf's bytes from bit 20, of its span's bytes from bit 26. */
  HIGH: 1,
  FLAGS: 2,
  /** Its group with the group's generation, which a forgotten group changes; 0 for no leaf. */
  STAMP: 3,
} as const

/** The words of a tag's record. */
export const TAG = {
  EPOCH: 0,
  /** One bit for each size above a region that was kept under it, 2^22 first. */
  LARGES: 1,
  /** Leaves in its lines. */
  COUNT: 2,
  /** The word after the offset of its first line, the rest being linked; 0 for none. */
  FIRST: 3,
} as const

/** The words beside a line: whose it is, and the other lines of that tag, as FIRST. */
export const SIDE = { TAG: 0, NEXT: 1, PREVIOUS: 2 } as const

/** log2 of the pages of a region. */
export const REGION_LG2 = 9
/** The leaves of a block. */
export const REGION = 1 << REGION_LG2

/** log2 of a page's bytes. */
export const PAGE_LG2 = 12

/** The size that bit 0 of LARGES means, as log2 of pages. */
export const LARGE_LG2 = REGION_LG2 + 1

/** Numbers that groups may have; the other bits of a stamp are the generation. */
export const GROUP_BITS = 16
/** The bits of a stamp that are the group. */
export const GROUP_MASK = (1 << GROUP_BITS) - 1
