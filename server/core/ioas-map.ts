/** Mapping and unmapping: the path that IoasMap, IoasMapFile and IoasCopy share, and the way back. */

import { Area, install } from './area.js'
import type { Call } from './call.js'
import { all } from './completion.js'
import type { Protection } from './driver.js'
import type { Ioas } from './ioas.js'
import { type Pages, pageOffset, pinAgain, type Segment } from './pages.js'
import { placeAutomatically } from './place.js'
import { Refusal } from './refusal.js'
import { hex, hexRange, min, U64_MAX } from './u64.js'

/** Part of some pages that becomes one area. */
export interface Slice {
  readonly pages: Pages
  /** Bytes from the start of the pages. */
  readonly offset: bigint
  /** Bytes. */
  readonly length: bigint
  /** A copy of memory that is pinned already: those segments, and where the slice begins in them. */
  readonly pinned?: { readonly segments: readonly Segment[]; readonly offset: bigint }
}

/** A mapping to be made. */
export interface MapSpec {
  readonly slices: readonly Slice[]
  /** Bytes of all slices. */
  readonly length: bigint
  readonly protection: Protection
  /** Where, or undefined for the lowest place that fits. */
  readonly iova: bigint | undefined
}

/**
 * Maps slices one after the other. All of them, or none.
 *
 * @returns the first IOVA
 * @throws Refusal EINVAL, EOVERFLOW, EEXIST, ENOSPC, EPERM, EFAULT, ENOMEM, EBUSY, EDQUOT
 */
export function mapSlices(call: Call, ioas: Ioas, spec: MapSpec): bigint {
  const { alignment } = ioas
  if (spec.length % alignment !== 0n) {
    const reason = `the length is not a multiple of the IOAS's alignment of ${alignment} bytes`
    throw new Refusal('EINVAL', reason, { length: spec.length, alignment })
  }
  const iova = spec.iova === undefined ? choose(ioas, spec) : fixed(ioas, spec.iova, spec.length)
  for (const { pages, offset } of spec.slices) {
    if (spec.protection.write && !pages.writable) {
      throw new Refusal('EPERM', 'WRITEABLE is asked for, and the memory was first mapped, or made, without it')
    }
    if (pageOffset(pages, offset) % alignment !== 0n) {
      const facts = { source: hex(pages.addressAt(offset)), alignment }
      throw new Refusal('EINVAL', `the source is not aligned to ${alignment} bytes in its page`, facts)
    }
  }
  call.core.failPoint?.('area')
  const { quota } = ioas.context
  quota.charge('areas', spec.slices.length)
  try {
    add(call, ioas, spec, iova)
  } catch (error) {
    quota.release('areas', spec.slices.length)
    throw error
  }
  return iova
}

/** What an unmap removed, and why it stopped. */
export interface Unmapped {
  /** Bytes. */
  readonly removed: bigint
  readonly refusal?: Refusal
}

/**
 * Removes every area in `[start, last]`, lowest first, up to the first that cannot be. Those below it stay removed.
 * [uAPI IOMMU_IOAS_UNMAP]
 */
export function unmapRange(call: Call, ioas: Ioas, start: bigint, last: bigint): Unmapped {
  const gone: Area[] = []
  let removed = 0n
  let refusal: Refusal | undefined
  for (const area of ioas.areas.in(start, last)) {
    refusal = whyKept(area, start, last, removed)
    if (refusal !== undefined) break
    area.leaving = true
    for (const { ops } of ioas.domains) ops.unmap(area.start, area.length)
    gone.push(area)
    removed += area.length
  }
  if (gone.length > 0) {
    ioas.holdWhile(call, all([...ioas.domains].map(({ ops }) => ops.flush())), () => {
      for (const area of gone) ioas.discard(area)
      for (const domain of ioas.domains) domain.releaseTables()
    })
  }
  return { removed, refusal }
}

/** The slices of an IOAS's areas behind a range that they cover without a hole. @throws Refusal ENOENT, EBUSY */
export function slicesOf(ioas: Ioas, start: bigint, last: bigint): readonly Slice[] {
  const slices: Slice[] = []
  let at = start
  for (const area of ioas.areas.in(start, last)) {
    if (area.start > at) break
    if (area.leaving) throw new Refusal('EBUSY', `the mapping ${hexRange(area)} is being unmapped`)
    const skip = at - area.start
    const end = min(area.last, last)
    slices.push({
      pages: area.pages,
      offset: area.offset + skip,
      length: end - at + 1n,
      pinned: area.segments.length > 0 ? { segments: area.segments, offset: skip } : undefined,
    })
    at = end + 1n
  }
  if (at > last) return slices
  const reason = `nothing is mapped at ${hex(at)}, and mappings must cover the whole source range`
  throw new Refusal('ENOENT', reason, { ioas: ioas.id, range: hexRange({ start, last }), hole: hex(at) })
}

function choose(ioas: Ioas, { slices, length }: MapSpec): bigint {
  const [first] = slices
  return placeAutomatically(ioas, length, first.pages.addressAt(first.offset))
}

function fixed(ioas: Ioas, iova: bigint, length: bigint): bigint {
  if (iova % ioas.alignment !== 0n) {
    const reason = `the IOVA is not a multiple of the IOAS's alignment of ${ioas.alignment} bytes`
    throw new Refusal('EINVAL', reason, { iova: hex(iova), alignment: ioas.alignment })
  }
  const last = iova + length - 1n
  if (last > U64_MAX) throw new Refusal('EOVERFLOW', 'the mapping ends beyond 2^64', { iova: hex(iova), length })
  const reserved = ioas.reserved.firstIn(iova, last)
  if (reserved !== undefined) {
    const owner = ioas.reserved.ownerIn(iova, last)
    const reason = `${hexRange(reserved)} is reserved by ${owner}`
    throw new Refusal('EINVAL', reason, { asked: hexRange({ start: iova, last }), owner })
  }
  const area = ioas.areas.firstIn(iova, last)
  if (area === undefined) return iova
  const facts = { asked: hexRange({ start: iova, last }), mapped: hexRange(area) }
  if (area.leaving) throw new Refusal('EBUSY', `the mapping ${hexRange(area)} is being unmapped`, facts)
  throw new Refusal('EEXIST', `${hexRange(area)} is mapped already`, facts)
}

/** Pins and installs; when something is refused, everything is as before. */
function add(call: Call, ioas: Ioas, { slices, protection }: MapSpec, iova: bigint): void {
  const areas: Area[] = []
  const installed: { readonly area: Area; readonly unmap: () => void }[] = []
  try {
    let at = iova
    for (const { pages, offset, length, pinned } of slices) {
      const area = new Area(at, length, pages, offset, protection)
      pages.hold()
      areas.push(area)
      at += length
      if (ioas.domains.size === 0) continue
      area.segments =
        pinned === undefined ? pages.pin(offset, length) : pinAgain(pinned.segments, pinned.offset, length)
      for (const domain of ioas.domains) {
        const { ops } = domain
        domain.checkRoom(area, ioas.hugePages)
        install(ops, area, ioas.hugePages)
        installed.push({ area, unmap: () => ops.unmap(area.start, area.length) })
      }
    }
    for (const domain of ioas.domains) domain.chargeTables()
  } catch (error) {
    for (const { unmap } of installed.reverse()) unmap()
    for (const domain of ioas.domains) call.after(domain.ops.flush(), () => domain.releaseTables())
    for (const area of areas) {
      area.unpin()
      area.pages.drop()
    }
    throw error
  }
  for (const area of areas) ioas.areas.insert(area)
}

function whyKept(area: Area, start: bigint, last: bigint, removed: bigint): Refusal | undefined {
  const facts = { mapping: hexRange(area), removed }
  if (area.leaving) return new Refusal('EBUSY', `the mapping ${hexRange(area)} is being unmapped already`, facts)
  if (area.start >= start && area.last <= last) return undefined
  return new Refusal('ENOENT', `the range cuts the mapping ${hexRange(area)}; unmap it whole`, facts)
}
