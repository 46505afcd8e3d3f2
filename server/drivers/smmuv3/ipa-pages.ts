/** The pages of a window that its table does not use, handed out lowest first. */

/** Pages of 4 KiB that follow each other, by IPA >> 12. */
export interface PageRun {
  readonly first: number
  readonly pages: number
}

/** Free pages of 4 KiB, by IPA >> 12. */
export class IpaPages {
  /** Ascending; no two of them touch. */
  #runs: PageRun[] = []

  /** Free pages. */
  get count(): number {
    return this.#runs.reduce((sum, { pages }) => sum + pages, 0)
  }

  /** Pages become free. */
  give({ first, pages }: PageRun): void {
    const end = first + pages
    const before = this.#runs.find((run) => run.first + run.pages === first)
    const after = this.#runs.find((run) => run.first === end)
    const start = before?.first ?? first
    const whole = { first: start, pages: (after === undefined ? end : after.first + after.pages) - start }
    const others = this.#runs.filter((run) => run !== before && run !== after)
    const index = others.findIndex((run) => run.first > start)
    this.#runs = others.toSpliced(index < 0 ? others.length : index, 0, whole)
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

const fits = (run: PageRun, pages: number): boolean => alignUp(run.first, pages) + pages <= run.first + run.pages

const alignUp = (page: number, pages: number): number => Math.ceil(page / pages) * pages
