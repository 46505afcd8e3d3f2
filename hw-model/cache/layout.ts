/**
 * How a cache's one array of words is laid out: first the lines, of sixteen words each, then blocks of leaves. A word
 * offset is a multiple of four wherever a leaf begins, and a *slot* is that offset divided by four.
 *
 * A line stands for a leaf, which it holds itself, or for all leaves of a 2 MiB region of one tag, which are in blocks:
 * one block for each eighth of the region that has any. It fills what a processor fetches at once.
 */

/** Words of a line, as a shift. */
export const LINE_LG2 = 4

/** The words of a line. */
export const LINE = {
  /** Low 32 bits of its first page. */
  KEY: 0,
  /** The other 20 bits of the page above bit 12, LARGE, and log2 of its pages in the lowest six. */
  HEAD: 1,
  /** When its tag was last forgotten: a line of another epoch than its tag's is dead; 0 for none. */
  EPOCH: 2,
  /** How many leaves its blocks have, or SINGLE. */
  COUNT: 3,
  /** The leaf, where it holds it itself. */
  LEAF: 4,
  /** Of blocks: the stamp that all of their leaves have, or MIXED, */
  STAMP: 4,
  /** and which flags all of them have had, and which any. */
  ALL: 5,
  ANY: 6,
  /** For each eighth of the region twice a slot: that of its block's first leaf, and 1, or that of the line's leaf. */
  WHERE: 8,
} as const

/** In COUNT: a line that holds its leaf itself. */
export const SINGLE = -1

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
  /** Its group with the group's generation, which a forgotten group changes; 0 for no leaf, as in a line with blocks. */
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

/** log2 of the words beside a line. */
export const SIDE_LG2 = 2

/** log2 of the pages of a region. */
export const REGION_LG2 = 9
/** The pages of a region. */
export const REGION = 1 << REGION_LG2

/** log2 of the leaves of a block, */
export const BLOCK_LG2 = 6
/** and how many these are. */
export const BLOCK = 1 << BLOCK_LG2
/** Blocks of a region. */
export const BLOCKS = REGION / BLOCK

/** log2 of a page's bytes. */
export const PAGE_LG2 = 12

/** The size that bit 0 of LARGES means, as log2 of pages. */
export const LARGE_LG2 = REGION_LG2 + 1

/** Numbers that groups may have; the other bits of a stamp are the generation. */
export const GROUP_BITS = 16
/** The bits of a stamp that are the group. */
export const GROUP_MASK = (1 << GROUP_BITS) - 1
