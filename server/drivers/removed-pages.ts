/** What an unmap took out of page tables, for the flush: pages that follow each other in leaves of one size are one entry. */

/** What `unmap` took out: leaves of one size, or everything below tables that went, too. */
export interface Removed {
  readonly page: number
  pages: number
  /** Level of the leaves; `WITH_TABLES` where table entries are gone, whatever was below. */
  readonly level: number
}

/** Level of what was removed with its tables. */
export const WITH_TABLES = -1

/** A list of it, ascending. */
export class RemovedPages {
  readonly #all: Removed[] = []

  get all(): readonly Removed[] {
    return this.#all
  }

  /** Pages of the last entry. */
  get lastPages(): number {
    return this.#all.length === 0 ? 0 : this.#all[this.#all.length - 1].pages
  }

  clear(): void {
    // Setting its length takes longer than all else of an unmap of one page.
    while (this.#all.length > 0) this.#all.pop()
  }

  /** Some more pages are gone, behind all others. */
  note(page: number, pages: number, level: number): void {
    const before = this.#all.length === 0 ? undefined : this.#all[this.#all.length - 1]
    if (before?.level === level && before.page + before.pages === page) before.pages += pages
    else this.#all.push({ page, pages, level })
  }

  /** Forgets what was noted since there were so many entries, the last with so many pages. */
  backTo(entries: number, lastPages: number): void {
    while (this.#all.length > entries) this.#all.pop()
    if (entries > 0) this.#all[entries - 1].pages = lastPages
  }
}
