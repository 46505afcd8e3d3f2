/** What the flags of cached translations and table entries say, and what a command by address asks of them. */

import type { Page } from '../bits/address.js'
import { ANY_FLAGS, type FlagMatch } from '../cache/geometry.js'

/** Where the parts of an entry's flags stand. Table entries have the last two alone. */
export const TLB_FLAGS = {
  /** Stage 1 rights [8:0], stage 2 rights [17:9]. */
  STAGE_2_SHIFT: 9,
  /** Granule as commands code it (TG), [19:18]. */
  TG_SHIFT: 18,
  TG_MASK: 3 << 18,
  /** One bit a level, [24:20]: the manual's level -1 has the lowest. */
  LEVEL_SHIFT: 20,
} as const

/** Granule as commands and entries code it: 1, 2, 3 for 4, 16 and 64 KiB. */
const tgOf = (granuleLg2: number): number => (granuleLg2 - 10) >>> 1

/** The part of the flags that says which granule and level an entry has. `level` is the walker's. */
export const geometryFlags = (granuleLg2: number, level: number): number =>
  (tgOf(granuleLg2) << TLB_FLAGS.TG_SHIFT) | levelBit(3 - level)

/** The bit of a level as the manual counts it. */
const levelBit = (level: number): number => 1 << (TLB_FLAGS.LEVEL_SHIFT + 1 + level)

/** Entries that a command by address means. */
export interface AddressScope {
  readonly first: Page
  readonly last: Page
  /** Which leaves. */
  readonly leaves: FlagMatch
  /** Which table entries; null where the command means leaves alone (Leaf = 1). */
  readonly tables: FlagMatch | null
}

/** Leaves and tables of any granule and level. */
export const anyGeometry = (first: Page, last: Page, leafOnly: boolean): AddressScope => ({
  first,
  last,
  leaves: ANY_FLAGS,
  tables: leafOnly ? null : ANY_FLAGS,
})

/**
 * What a command by address asks of leaves: a level narrows them to itself, and the tables to the levels above it.
 * [SMMU 4.4.1.1 Range-based invalidation and level hint]
 *
 * @param tg TG of the command; 0 means any granule and level
 * @param ttl TTL of the command, 0 for any level
 */
export const leavesOf = (tg: number, ttl: number): FlagMatch => (tg === 0 ? ANY_FLAGS : LEAVES[tg * 4 + ttl])

/** The same of table entries. */
export const tablesOf = (tg: number, ttl: number): FlagMatch => (tg === 0 ? ANY_FLAGS : TABLES[tg * 4 + ttl])

/** For each granule and level, so that no command has to make its own. */
const [LEAVES, TABLES] = [levelBit, (ttl: number) => levelBit(ttl) - levelBit(-1)].map((some) =>
  Array.from({ length: 16 }, (_, i): FlagMatch => {
    const want = (i >>> 2) << TLB_FLAGS.TG_SHIFT
    return { mask: TLB_FLAGS.TG_MASK, want, some: (i & 3) === 0 ? 0 : some(i & 3) }
  }),
)
