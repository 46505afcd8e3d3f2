/** Which pages of a range were written, as bits: the lowest page is bit 0 of byte 0. [uAPI IOMMU_HWPT_GET_DIRTY_BITMAP] */

import type { Area } from './area.js'
import type { Ioas } from './ioas.js'
import type { PagingDomain } from './paging-domain.js'
import { lowestBit, min, U64_MAX } from './u64.js'
import type { Work } from './work.js'

/**
 * Takes bits `[first, last]` of a bitmap, which were set. Bits come in ascending order, and may come again. One large leaf
 * may be millions of bits, and so work.
 */
export type BitSink = (first: bigint, last: bigint) => Work<void> | void

/** What a bitmap is about. */
export interface DirtySpan {
  readonly start: bigint
  readonly last: bigint
  /** A bit stands for as many bytes, a power of two. */
  readonly bytesOfBit: bigint
}

/**
 * What a bitmap of a page size is about. A page size may be no power of two, and then its lowest bit decides, as in the
 * kernel.
 */
export const spanOf = (start: bigint, last: bigint, pageSize: bigint): DirtySpan => ({
  start,
  last,
  bytesOfBit: lowestBit(pageSize),
})

/** Bits of the bitmap of a span. */
export const bitsIn = ({ start, last, bytesOfBit }: DirtySpan): bigint => (last - start) / bytesOfBit + 1n

/** Sets bits `[first, last]` of a bitmap. */
export function setBits(bitmap: Uint8Array, first: number, last: number): void {
  const [from, to] = [Math.floor(first / 8), Math.floor(last / 8)]
  const head = 0xff << (first % 8)
  const tail = 0xff >> (7 - (last % 8))
  if (from === to) {
    bitmap[from] |= head & tail
    return
  }
  bitmap[from] |= head
  bitmap.fill(0xff, from + 1, to)
  bitmap[to] |= tail
}

/**
 * Tells the dirty pages of a span, through areas that follow each other from its first byte; where none does, or one is
 * being mapped or unmapped, the walk ends. Between slices others may map and unmap: each slice sees what is there.
 *
 * @param clears the pages are clean afterwards; the caller flushes
 */
export function* readDirty(domain: PagingDomain, span: DirtySpan, clears: boolean, sink: BitSink): Work<void> {
  const { start, last, bytesOfBit } = span
  const spans: (readonly [first: bigint, last: bigint])[] = []
  // Shifts are several times as fast as divisions.
  const shift = BigInt(bytesOfBit.toString(2).length - 1)
  const found = (iova: bigint, length: bigint): void => {
    const from = iova - start
    spans.push([from >> shift, (from + length - 1n) >> shift])
  }
  let at = start
  while (at <= last) {
    const area = settledAt(domain.ioas, at)
    if (area === undefined) return
    const end = min(area.last, last)
    at = domain.ops.dirty?.collect(at, end, clears, found) ?? end + 1n
    for (const [first, lastBit] of spans.splice(0)) {
      const work = sink(first, lastBit)
      if (work !== undefined) yield* work
    }
    yield
  }
}

/** Makes every page of every area clean; the caller flushes. */
export function* cleanAll(domain: PagingDomain): Work<void> {
  const { areas } = domain.ioas
  let area = areas.firstFrom(0n)
  while (area !== undefined) {
    const { last } = area
    let at = area.busy === undefined ? area.start : last + 1n
    while (at <= last && area.busy === undefined) {
      at = domain.ops.dirty?.collect(at, last, true) ?? last + 1n
      yield
    }
    area = last === U64_MAX ? undefined : areas.firstFrom(last + 1n)
  }
}

function settledAt({ areas }: Ioas, at: bigint): Area | undefined {
  const area = areas.firstIn(at, at)
  return area?.busy === undefined ? area : undefined
}
