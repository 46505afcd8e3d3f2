/** Which pages of a range were written, as bits: the lowest page is bit 0 of byte 0. [uAPI IOMMU_HWPT_GET_DIRTY_BITMAP] */

import type { Area } from './area.js'
import type { Ioas } from './ioas.js'
import type { PagingDomain } from './paging-domain.js'
import { lowestBit, min, U64_MAX } from './u64.js'
import type { Work } from './work.js'

/**
 * Takes dirty bytes of a span, counted from its start, in ascending order. They are whole leaves, or what of them is in the
 * span. One large leaf may be millions of bits of a bitmap, and so work.
 */
export type DirtySink = (offset: number, length: number) => Work<void> | void

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

/** What sets the bits of a bitmap that has them all. Bits may be set again: a page may have several leaves. */
export function bitmapSink(bitmap: Uint8Array, { bytesOfBit }: DirtySpan): DirtySink {
  const size = Number(bytesOfBit)
  // Powers of two: no quotient is rounded, and no bit of a bitmap that there is room for is beyond 2^53.
  return (offset, length) => setBits(bitmap, Math.floor(offset / size), Math.ceil((offset + length) / size) - 1)
}

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
 * @param isFull the sink has what it can take for now
 * @returns where to go on, at a multiple of the span's pages, when it was full; undefined at the end
 */
export function* readDirty(
  domain: PagingDomain,
  span: DirtySpan,
  clears: boolean,
  sink: DirtySink,
  isFull: () => boolean = () => false,
): Work<bigint | undefined> {
  const { start, last, bytesOfBit } = span
  const base = Number(start)
  const offsets: number[] = []
  const lengths: number[] = []
  const found = (iova: number, length: number): void => {
    offsets.push(iova - base)
    lengths.push(length)
  }
  let at = start
  while (at <= last) {
    const area = settledAt(domain.ioas, at)
    if (area === undefined) return undefined
    const end = min(area.last, last)
    at = domain.ops.dirty?.collect(at, end, clears, found) ?? end + 1n
    for (let i = 0; i < offsets.length; i++) {
      const work = sink(offsets[i], lengths[i])
      if (work !== undefined) yield* work
    }
    offsets.length = 0
    lengths.length = 0
    // A page that was read in part is read again: what of it was dirty has been told.
    const next = at - ((at - start) % bytesOfBit)
    if (next > start && next <= last && isFull()) return next
    yield
  }
  return undefined
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
