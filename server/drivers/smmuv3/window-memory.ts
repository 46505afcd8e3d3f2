/** The memory behind a window: pages of the host's RAM that the nesting parent maps read-only. */

import { type Completion, type Range, Refusal } from '../../core/driver.js'
import type { Host } from './host.js'
import type { StageTwoDomain } from './paging.js'

const PAGE_BYTES = 4096
const PAGE_LG2 = 12n
/** A device may read the table that serves it, and nobody but the host writes there. */
const READ_ONLY = { read: true, write: false } as const

/** Pages by IPA >> 12. */
export class WindowMemory {
  readonly #host: Host
  readonly #parent: StageTwoDomain
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
   * @returns its pages
   * @throws Refusal ENOMEM; then it is as before
   */
  back({ start, last }: Range): readonly number[] {
    const { ram } = this.#host
    const end = (last + 1n) >> PAGE_LG2
    const bytes = Number(last + 1n - start)
    if (bytes > ram.lengthBytes - ram.usedBytes) {
      throw new Refusal('ENOMEM', 'the host drivers have no memory left for a window of this size', { bytes })
    }
    const pages: number[] = []
    try {
      for (let page = start >> PAGE_LG2; page < end; page++) {
        const frame = ram.alloc(PAGE_BYTES)
        this.#frames.set(Number(page), frame)
        pages.push(Number(page))
        this.#parent.map(page << PAGE_LG2, frame, BigInt(PAGE_BYTES), READ_ONLY, true)
      }
    } catch (error) {
      this.release(pages)
      throw error
    }
    return pages
  }

  /** Unmaps pages; they are given back when neither unit nor device can be reading them any more. */
  release(pages: readonly number[]): Completion {
    const frames = pages.map((page) => this.address(page))
    for (const page of pages) {
      this.#parent.unmap(BigInt(page) << PAGE_LG2, BigInt(PAGE_BYTES))
      this.#frames.delete(page)
    }
    const flushed = this.#parent.flush()
    const giveBack = (): void => this.#host.ram.freePages(frames, frames.length)
    if (flushed !== undefined) return flushed.then(giveBack)
    giveBack()
    return undefined
  }

  /** Unmaps everything. */
  releaseAll(): Completion {
    return this.release([...this.#frames.keys()])
  }

  /** Where a page is in physical memory. */
  address(page: number): number {
    return this.#frames.get(page) as number
  }
}
