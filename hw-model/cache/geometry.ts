/** How large a cache is, and which of its entries a drop means. */

/** Size and policy of a cache. */
export interface CacheGeometry {
  /** Entries, a power of two; 0 switches the cache off. */
  readonly entries: number
  /** Entries a page may choose from, a power of two. */
  readonly ways: number
}

/** What hardware-like units have. */
export const DEFAULT_GEOMETRY: CacheGeometry = { entries: 4096, ways: 4 }

/** A cache without entries. */
export const NO_CACHE: CacheGeometry = { entries: 0, ways: 1 }

/** Which entries, by the owner's flags. */
export interface FlagMatch {
  /** Bits that must be equal to `want`. */
  readonly mask: number
  readonly want: number
  /** Bits of which one must be set; 0 where none has to be. */
  readonly some: number
}

/** Every entry. */
export const ANY_FLAGS: FlagMatch = { mask: 0, want: 0, some: 0 }

/** Tags, and groups, that a cache can tell apart at once: all that 16 bits name. */
export const NAMES = 65536
