/** The memory behind a window: pages of the host's RAM that the nesting parent maps read-only. */

import { type Completion, type Range, Refusal } from '../../core/driver.js'
import type { Host } from './host.js'
import type { PageRun } from './ipa-pages.js'
import type { StageTwoDomain } from './paging.js'

const PAGE_BYTES = 4096
const PAGE_LG2 = 12n
/** A device may read the table that serves it, and nobody but the host writes there. */
const READ_ONLY = { read: true, write: false } as const

/** Pages by IPA >> 12. */
export class WindowMemory {
  readonly #host: Host
  readonly #parent: StageTwoDomain
  readonly #runs = new Set<PageRun>()
  /** Where each page is in physical memory. */
  readonly #frames = new Map<number, number>()

  constructor(host: Host, parent: StageTwoDomain) {
    this.#host = host
    this.#parent = parent
  }

  /** Bytes of host RAM. */
  get bytes(): number {
    return this.#frames.size * PAGE_BYTES
  }

  /**
   * Puts zeroed memory behind a range.
   *
   * @throws Refusal ENOMEM; then it is as before
   */
  back({ start, last }: Range): PageRun {
    const { ram } = this.#host
    const bytes = Number(last + 1n - start)
    if (bytes > ram.lengthBytes - ram.usedBytes) {
      throw new Refusal('ENOMEM', 'the host drivers have no memory left for a window of this size', { bytes })
    }
    const first = Number(start >> PAGE_LG2)
    const run = { first, pages: 0 }
    this.#runs.add(run)
    try {
      while (run.pages < bytes / PAGE_BYTES) {
        const page = first + run.pages
        const frame = ram.alloc(PAGE_BYTES)
        this.#frames.set(page, frame)
        run.pages++
        this.#parent.map(BigInt(page) << PAGE_LG2, frame, BigInt(PAGE_BYTES), READ_ONLY)
      }
    } catch (error) {
      this.release([run])
      throw error
    }
    return run
  }

  /** Unmaps what `back` answered; it is given back when neither unit nor device can be reading it any more. */
  release(runs: Iterable<PageRun>): Completion {
    const frames: number[] = []
    for (const run of runs) {
      const { first, pages } = run
      if (pages > 0) this.#parent.unmap(BigInt(first) << PAGE_LG2, BigInt(pages) << PAGE_LG2)
      for (let page = first; page < first + pages; page++) {
        frames.push(this.address(page))
        this.#frames.delete(page)
      }
      this.#runs.delete(run)
    }
    const flushed = this.#parent.flush()
    const giveBack = (): void => this.#host.ram.freePages(frames, frames.length)
    if (flushed !== undefined) return flushed.then(giveBack)
    giveBack()
    return undefined
  }

  /** Unmaps everything. */
  releaseAll(): Completion {
    return this.release([...this.#runs])
  }

  /** Where a page is in physical memory. */
  address(page: number): number {
    return this.#frames.get(page) as number
  }
}
