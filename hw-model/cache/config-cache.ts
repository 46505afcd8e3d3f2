/**
 * A small cache of decoded configuration (STE, CD, context entry, PASID entry), filled when an entry is fetched and
 * emptied only by the commands that say so. Keys are exact numbers that the owner composes. When it is full the oldest
 * entry makes room.
 */
export class ConfigCache<T> {
  hits = 0
  misses = 0
  evictions = 0
  readonly #entries: Map<number, T>
  readonly #capacity: number

  /**
   * @param capacity entries kept; 0 switches it off
   * @param entries those of another cache, for `view`
   */
  constructor(capacity: number, entries = new Map<number, T>()) {
    this.#capacity = capacity
    this.#entries = entries
  }

  /** The same entries, to look at only: nothing can be kept there, and look-ups are not counted here. */
  view(): ConfigCache<T> {
    return new ConfigCache(0, this.#entries)
  }

  /** The decoded entry, or undefined. */
  get(key: number): T | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) this.misses++
    else this.hits++
    return entry
  }

  /** Keeps a decoded entry. */
  set(key: number, entry: T): void {
    if (this.#capacity === 0) return
    if (this.#entries.size >= this.#capacity && !this.#entries.has(key)) {
      for (const oldest of this.#entries.keys()) {
        this.#entries.delete(oldest)
        this.evictions++
        break
      }
    }
    this.#entries.set(key, entry)
  }

  /** Forgets one entry. */
  drop(key: number): void {
    this.#entries.delete(key)
  }

  /** Forgets every entry that matches. */
  dropWhere(matches: (key: number, entry: T) => boolean): void {
    for (const [key, entry] of this.#entries) if (matches(key, entry)) this.#entries.delete(key)
  }

  /** Forgets everything. */
  clear(): void {
    this.#entries.clear()
  }

  get size(): number {
    return this.#entries.size
  }
}
