/** An area: one mapping of an IOAS, a slice of pages at a range of IOVAs with rights of its own. */

import type { Protection } from './driver.js'
import { ENTRIES_A_STEP, PAGES_A_STEP } from './limits.js'
import { type Pages, pageOffset } from './pages.js'
import type { Pin, Segment } from './pin.js'
import { min } from './u64.js'

/** One call that maps: its areas are there for others when it is done, all at once. */
export interface Setup {
  isDone: boolean
}

/** One mapping. Areas never merge, and only VFIO’s first type cuts them. */
export class Area {
  readonly start: bigint
  readonly last: bigint
  readonly pages: Pages
  /** Bytes from the start of its pages. */
  readonly offset: bigint
  readonly protection: Protection
  /** Its memory, while the IOAS has a domain. */
  pin: Pin | undefined
  /** It is being taken out of the tables, or its flush has not ended. */
  leaving = false
  /** Accesses that have pinned part of it, each counted as often as it has. */
  accesses = 0
  /** Those that are never asked to let go: hardware queues. */
  locks = 0
  /** An unmap has asked the accesses to let go: they get no more of it. */
  preventsAccess = false
  readonly #setup: Setup

  constructor(slice: { pages: Pages; offset: bigint; length: bigint }, start: bigint, how: Protection, setup: Setup) {
    this.start = start
    this.last = start + slice.length - 1n
    this.pages = slice.pages
    this.offset = slice.offset
    this.protection = how
    this.#setup = setup
  }

  /** Bytes. */
  get length(): bigint {
    return this.last - this.start + 1n
  }

  /** What another call is doing with it, if anything: then it is EBUSY to all others. [uAPI IOMMU_IOAS_UNMAP] */
  get busy(): 'mapped' | 'unmapped' | undefined {
    if (this.leaving) return 'unmapped'
    return this.#setup.isDone ? undefined : 'mapped'
  }

  /** Whether IOVA, length and source are multiples of `alignment` alike. */
  isAligned(alignment: bigint): boolean {
    return ((this.start | this.length | pageOffset(this.pages, this.offset)) & (alignment - 1n)) === 0n
  }

  /** Two areas that are as it was, the first up to a byte inside it; it is spent. */
  cut(last: bigint): readonly [Area, Area] {
    const length = last - this.start + 1n
    const parts = [
      { start: this.start, skip: 0n, length },
      { start: last + 1n, skip: length, length: this.length - length },
    ]
    const [low, high] = parts.map(({ start, skip, length }) => {
      const slice = { pages: this.pages, offset: this.offset + skip, length }
      const area = new Area(slice, start, this.protection, this.#setup)
      area.pin = this.pin?.again(skip, length)
      return area
    })
    this.pages.hold()
    this.unpin()
    return [low, high]
  }

  /** Its memory, in order; none while the IOAS has no domain. */
  get segments(): readonly Segment[] {
    return this.pin?.segments ?? []
  }

  /** Lets its memory go. */
  unpin(): void {
    this.pin?.release()
    this.pin = undefined
  }
}

/** Part of an area that one step writes into a domain's tables: physically contiguous, in leaves of one size. */
export interface Piece {
  readonly iova: bigint
  readonly address: number
  readonly length: bigint
}

/**
 * The pieces of a pinned area, ascending, each of as many leaves as a step may write. A leaf that the driver would use for
 * the area as a whole is never cut.
 *
 * @param sizes that leaves may have, ascending
 */
export function* piecesOf(area: Area, sizes: readonly bigint[]): Iterable<Piece> {
  let iova = area.start
  for (const { region, offset, length } of area.segments) {
    let address = region.memory.address + offset
    for (let left = length; left > 0n; ) {
      const bytes = pieceAt(iova, BigInt(address), left, sizes)
      yield { iova, address, length: bytes }
      iova += bytes
      address += Number(bytes)
      left -= bytes
    }
  }
}

const LARGE_LEAVES = BigInt(ENTRIES_A_STEP)
const SMALL_LEAVES = BigInt(PAGES_A_STEP)

function pieceAt(iova: bigint, address: bigint, left: bigint, sizes: readonly bigint[]): bigint {
  let leaf = sizes.length - 1
  while (leaf > 0 && (((iova | address) & (sizes[leaf] - 1n)) !== 0n || left < sizes[leaf])) leaf--
  const size = sizes[leaf]
  const step = size * (leaf === 0 ? SMALL_LEAVES : LARGE_LEAVES)
  // Up to the end of a table, so that a step looks into no more of them than it has to.
  const bytes = min(left < size ? left : left - (left % size), step - (iova % step))
  const larger = sizes[leaf + 1]
  // Where a larger leaf can begin, its piece begins.
  if (larger === undefined || (iova - BigInt(address)) % larger !== 0n) return bytes
  return min(bytes, larger - (iova % larger))
}
