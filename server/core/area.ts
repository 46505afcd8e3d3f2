/** An area: one mapping of an IOAS, a slice of pages at a range of IOVAs with rights of its own. */

import type { PagingOps, Protection } from './driver.js'
import { type Pages, pageOffset, type Segment, unpin } from './pages.js'
import { min, PAGE } from './u64.js'

/** One mapping. Areas never merge and are never split. */
export class Area {
  readonly start: bigint
  readonly last: bigint
  readonly pages: Pages
  /** Bytes from the start of its pages. */
  readonly offset: bigint
  readonly protection: Protection
  /** Pinned memory, in order; none while the IOAS has no domain. */
  segments: readonly Segment[] = []
  /** It is out of every table, and its flush has not ended: EBUSY to others. */
  leaving = false

  constructor(start: bigint, length: bigint, pages: Pages, offset: bigint, protection: Protection) {
    this.start = start
    this.last = start + length - 1n
    this.pages = pages
    this.offset = offset
    this.protection = protection
  }

  /** Bytes. */
  get length(): bigint {
    return this.last - this.start + 1n
  }

  /** Whether IOVA, length and source are multiples of `alignment` alike. */
  isAligned(alignment: bigint): boolean {
    return ((this.start | this.length | pageOffset(this.pages, this.offset)) & (alignment - 1n)) === 0n
  }

  /** Lets its memory go. */
  unpin(): void {
    unpin(this.segments)
    this.segments = []
  }
}

/**
 * Writes a pinned area into one domain's tables, or, when the driver refuses, nothing of it.
 *
 * @param hugePages leaves may be larger than a page of 4096 bytes
 */
export function install(ops: PagingOps, area: Area, hugePages: boolean): void {
  let iova = area.start
  try {
    for (const { region, offset, length } of area.segments) {
      let address = region.memory.address + offset
      const step = hugePages ? length : PAGE
      for (let left = length; left > 0n; left -= step) {
        const bytes = min(left, step)
        ops.map(iova, address, bytes, area.protection)
        iova += bytes
        address += Number(bytes)
      }
    }
  } catch (error) {
    if (iova > area.start) ops.unmap(area.start, iova - area.start)
    throw error
  }
}
