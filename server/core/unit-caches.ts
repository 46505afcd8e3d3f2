/** The caches of a unit, as core sees them: a policy to choose, and numbers to tell. */

/** How eagerly a unit's caches keep entries; `random` lets chance choose which entry makes room. */
export type CacheMode = 'off' | 'minimal' | 'hardware' | 'greedy' | 'random'

/** What one cache holds, and has done since it was made. */
export interface CacheFacts {
  /** Its unit's short name for it: `ste`, `tlb`, `iotlb`, `walk1` … */
  readonly name: string
  /** Entries that it has room for; 0 where it is off. */
  readonly entries: number
  /** Entries that would answer. */
  readonly live: number
  readonly hits: number
  readonly misses: number
  /** Entries that made room for others. */
  readonly evictions: number
  /** Entries kept so far. */
  readonly fills: number
  /** Entries that commands dropped. */
  readonly invalidated: number
}

/** All caches of a unit. */
export interface UnitCaches {
  /** `platform`: sizes that the platform gives. */
  readonly mode: CacheMode | 'platform'
  statistics(): readonly CacheFacts[]
  /**
   * New caches, all empty. What is outstanding at devices, and what is held, stays.
   *
   * @param mode null: as the unit was made
   * @param seed where chance starts
   */
  setMode(mode: CacheMode | null, seed: number): void
}
