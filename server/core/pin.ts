/** Pinned memory: where the bytes of a slice of pages are, and the hold that keeps them there. */

import type { Pages } from './pages.js'
import type { Region } from './region.js'
import { min } from './u64.js'

/** A physically contiguous part of a slice. */
export interface Segment {
  readonly region: Region
  /** First byte in the region. */
  readonly offset: number
  /** Bytes. */
  readonly length: bigint
}

/** A slice of pages whose memory stays until `release`. `Pages.pin` makes one. */
export class Pin {
  readonly pages: Pages
  /** Bytes from the start of the pages. */
  readonly offset: bigint
  /** Bytes. */
  readonly length: bigint
  /** In order. */
  readonly segments: readonly Segment[]

  constructor(slice: { pages: Pages; offset: bigint; length: bigint }, segments: readonly Segment[]) {
    this.pages = slice.pages
    this.offset = slice.offset
    this.length = slice.length
    this.segments = segments
    for (const { region } of segments) region.hold()
  }

  /** Part of it, pinned once more. It costs nothing, and cannot fail. */
  again(skip: bigint, length: bigint): Pin {
    const { pages, offset } = this
    return pages.pinKnown({ offset: offset + skip, length }, partOf(this.segments, skip, length))
  }

  /** Lets it go. */
  release(): void {
    this.pages.unpin(this)
    for (const { region } of this.segments) region.drop()
  }
}

/** Segments of part of what other segments are of. */
export function partOf(segments: readonly Segment[], offset: bigint, length: bigint): readonly Segment[] {
  const part: Segment[] = []
  let skip = offset
  let left = length
  for (const segment of segments) {
    if (left === 0n) break
    if (skip >= segment.length) {
      skip -= segment.length
      continue
    }
    const bytes = min(segment.length - skip, left)
    part.push({ region: segment.region, offset: segment.offset + Number(skip), length: bytes })
    skip = 0n
    left -= bytes
  }
  return part
}
