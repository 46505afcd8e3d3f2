/**
 * A small cache of decoded configuration (STE, CD, context entry, PASID entry), filled when an entry is fetched and
 * emptied only by the commands that say so. Keys are exact numbers that the owner composes. When it is full the oldest
 * entry makes room, or one that chance chooses.
 */

import type { CacheStatistics } from '../port.js'
import type { Chance } from './chance.js'

/** Entries among which chance chooses, the oldest ones: finding one takes as many steps. */
const CHOICES = 64

/** Decoded entries by key. */
export class ConfigCache<T> {
  hits = 0
  misses = 0
  evictions = 0
  /** Moves on whenever entries are lost: what was found before may be here no more. */
  generation = 0
  fills = 0
  /** Entries that commands dropped. */
  invalidated = 0
  /** Of a view: the shown cache's, or a copy once something was dropped. */
  #entries: Map<number, T>
  #isShown: boolean
  readonly #capacity: number
  readonly #chance: Chance | null

  /**
   * @param capacity entries kept; 0 switches it off
   * @param chance chooses who makes room; without it the oldest does
   * @param shown entries of another cache, for `view`
   */
  constructor(capacity: number, chance: Chance | null = null, shown: Map<number, T> | null = null) {
    this.#capacity = capacity
    this.#chance = chance
    this.#entries = shown ?? new Map<number, T>()
    this.#isShown = shown !== null
  }

  /**
   * The same entries, to look at: nothing can be kept there, what is dropped there is not dropped here, and look-ups are
   * not counted here.
   */
  view(): ConfigCache<T> {
    return new ConfigCache(0, null, this.#entries)
  }

  /** The decoded entry, or undefined. */
  get(key: number): T | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) this.misses++
    else this.hits++
    return entry
  }

  /** Keeps a decoded entry. True when another one had to go. */
  set(key: number, entry: T): boolean {
    if (this.#capacity === 0) return false
    const isFull = this.#entries.size >= this.#capacity && !this.#entries.has(key)
    if (isFull) this.#makeRoom()
    this.fills++
    this.#entries.set(key, entry)
    return isFull
  }

  #makeRoom(): void {
    let before = this.#chance === null ? 0 : this.#chance.below(Math.min(this.#entries.size, CHOICES))
    for (const key of this.#entries.keys()) {
      if (before-- > 0) continue
      this.#entries.delete(key)
      this.evictions++
      this.generation++
      return
    }
  }

  /** Forgets one entry. */
  drop(key: number): void {
    this.#own()
    if (this.#entries.delete(key)) this.invalidated++
  }

  /** Forgets every entry that matches. */
  dropWhere(matches: (key: number, entry: T) => boolean): void {
    this.#own()
    for (const [key, entry] of this.#entries) if (matches(key, entry)) this.drop(key)
  }

  /** Forgets everything. */
  clear(): void {
    this.#own()
    this.invalidated += this.#entries.size
    this.#entries.clear()
  }

  /** Before a drop. What a view drops it drops from a copy. */
  #own(): void {
    this.generation++
    if (!this.#isShown) return
    this.#isShown = false
    this.#entries = new Map(this.#entries)
  }

  get size(): number {
    return this.#entries.size
  }

  /** What a reader of statistics is told. */
  statistics(name: string): CacheStatistics {
    const { hits, misses, evictions, fills, invalidated } = this
    return { name, entries: this.#capacity, live: this.#entries.size, hits, misses, evictions, fills, invalidated }
  }
}
