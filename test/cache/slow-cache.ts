/** A list of translations that never forgets one by itself: what a cache should answer, said as plainly as can be. */

import type { FlagMatch } from '../../hw-model/cache/geometry.js'

/** log2 of the largest leaf that gives way to a younger one which it overlaps. */
const REGION_LG2 = 21

/** What is kept of one fill. */
export interface Kept {
  readonly tag: number
  readonly group: number
  readonly first: number
  readonly leafLg2: number
  readonly spanLg2: number
  readonly address: number
  readonly flags: number
  readonly extra: number
}

/** Pages of a size. */
export const pagesOf = (lg2: number): number => 2 ** (lg2 - 12)

const startOf = (page: number, lg2: number): number => page - (page % pagesOf(lg2))

/** The list. */
export class SlowCache {
  /** Entries that were dropped, and not replaced. */
  invalidated = 0
  entries: Kept[]

  constructor(entries: readonly Kept[] = []) {
    this.entries = [...entries]
  }

  fill(kept: Omit<Kept, 'first'>, page: number): void {
    const first = startOf(page, kept.leafLg2)
    const last = first + pagesOf(kept.leafLg2) - 1
    this.entries = this.entries.filter((old) => {
      if (old.tag !== kept.tag) return true
      if (old.leafLg2 > REGION_LG2 || kept.leafLg2 > REGION_LG2) {
        return old.leafLg2 !== kept.leafLg2 || old.first !== first
      }
      return old.first > last || first > old.first + pagesOf(old.leafLg2) - 1
    })
    this.entries.push({ ...kept, first })
  }

  /** Those that may answer, the one that does first. */
  covering(tag: number, page: number): readonly Kept[] {
    return this.entries
      .filter((each) => each.tag === tag && startOf(page, each.leafLg2) === each.first)
      .sort((one, other) => one.leafLg2 - other.leafLg2)
  }

  drop(isMeant: (kept: Kept) => boolean): void {
    const left = this.entries.filter((kept) => !isMeant(kept))
    this.invalidated += this.entries.length - left.length
    this.entries = left
  }

  /** Drops what shares a page with some pages, of those of some flags that are meant. */
  dropPages(isMeant: (kept: Kept) => boolean, first: number, last: number, { mask, want, some }: FlagMatch): void {
    this.drop((kept) => {
      const start = startOf(kept.first, kept.spanLg2)
      const isThere = start <= last && first <= start + pagesOf(kept.spanLg2) - 1
      const hasFlags = (kept.flags & mask) === want && (some === 0 || (kept.flags & some) !== 0)
      return isMeant(kept) && isThere && hasFlags
    })
  }
}
