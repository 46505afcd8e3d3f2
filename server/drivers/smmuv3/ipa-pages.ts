/** The pages of a window that its table does not use, handed out lowest first. */

/** Pages that follow each other. */
interface Run {
  first: number
  pages: number
}

/** Free pages of 4 KiB, by IPA >> 12. */
export class IpaPages {
  /** Ascending; no two of them touch. */
  #runs: Run[] = []

  /** Free pages. */
  get count(): number {
    return this.#runs.reduce((sum, { pages }) => sum + pages, 0)
  }

  /** Pages become free. */
  give(first: number, pages: number): void {
    const runs = [...this.#runs, { first, pages }].sort((a, b) => a.first - b.first)
    this.#runs = []
    for (const run of runs) {
      const before = this.#runs.at(-1)
      if (before !== undefined && before.first + before.pages === run.first) before.pages += run.pages
      else this.#runs.push(run)
    }
  }

  /** Whether `take` would find as many. */
  has(pages: number): boolean {
    return this.#runs.some((run) => fits(run, pages))
  }

  /**
   * The lowest free pages that follow each other and are aligned to their size.
   *
   * @param pages a power of two; `has` said that there are so many
   */
  take(pages: number): number {
    const index = this.#runs.findIndex((run) => fits(run, pages))
    const { first, pages: all } = this.#runs[index]
    const start = alignUp(first, pages)
    const parts = [
      { first, pages: start - first },
      { first: start + pages, pages: first + all - start - pages },
    ]
    this.#runs.splice(index, 1, ...parts.filter((part) => part.pages > 0))
    return start
  }
}

const fits = (run: Run, pages: number): boolean => alignUp(run.first, pages) + pages <= run.first + run.pages

const alignUp = (page: number, pages: number): number => Math.ceil(page / pages) * pages
