/** Mapping and unmapping: the path that IoasMap, IoasMapFile and IoasCopy share, and the way back. */

import { notifyUnmap } from './access.js'
import type { Area } from './area.js'
import type { Call } from './call.js'
import { Claim } from './claim.js'
import { all } from './completion.js'
import type { Protection } from './driver.js'
import type { Ioas } from './ioas.js'
import { type Pages, pageOffset } from './pages.js'
import type { Pin } from './pin.js'
import { placeAutomatically } from './place.js'
import { Refusal } from './refusal.js'
import { hex, hexRange, min, U64_MAX } from './u64.js'
import type { Work } from './work.js'

/** Part of some pages that becomes one area. Whoever makes one holds the pages. */
export interface Slice {
  readonly pages: Pages
  /** Bytes from the start of the pages. */
  readonly offset: bigint
  /** Bytes. */
  readonly length: bigint
  /** A copy of memory that is pinned already: pinned once more for the slice. */
  pinned?: Pin
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
 * Maps slices one after the other. All of them, or none, and for others all at once.
 *
 * @returns the first IOVA
 * @throws Refusal EINVAL, EOVERFLOW, EEXIST, ENOSPC, EPERM, EFAULT, ENOMEM, EBUSY, EDQUOT
 */
export function* mapSlices(call: Call, ioas: Ioas, spec: MapSpec): Work<bigint> {
  ioas.beginMapping(call)
  try {
    const { alignment } = ioas
    if (spec.length % alignment !== 0n) {
      const reason = `the length is not a multiple of the IOAS's alignment of ${alignment} bytes`
      throw new Refusal('EINVAL', reason, { length: spec.length, alignment })
    }
    const iova = spec.iova === undefined ? choose(ioas, spec) : fixed(ioas, spec.iova, spec.length)
    const claim = new Claim(ioas, spec, iova)
    try {
      yield* fill(call, ioas, spec, claim)
    } catch (error) {
      yield* claim.giveUp()
      throw error
    }
    claim.settle()
    return iova
  } finally {
    ioas.endMapping(call)
  }
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
export function* unmapRange(call: Call, ioas: Ioas, start: bigint, last: bigint): Work<Unmapped> {
  ioas.beginMapping(call)
  try {
    const gone: Area[] = []
    let removed = 0n
    let refusal: Refusal | undefined
    let area = ioas.areas.firstIn(start, last)
    while (area !== undefined) {
      refusal = whyKept(area, start, last, removed)
      if (refusal !== undefined) break
      if (area.accesses > 0) {
        refusal = yield* askAccesses(ioas, area)
        if (refusal !== undefined) break
        // Others had their turn meanwhile: look again at what is there.
        area = ioas.areas.firstIn(area.start, last)
        continue
      }
      area.leaving = true
      ioas.unmappedCount++
      for (const domain of ioas.domains) yield* domain.remove(area)
      gone.push(area)
      removed += area.length
      yield
      area = area.last >= last ? undefined : ioas.areas.firstIn(area.last + 1n, last)
    }
    if (gone.length > 0) yield all([...ioas.domains].map(({ ops }) => ops.flush()))
    for (const area of gone) {
      ioas.discard(area)
      yield
    }
    for (const domain of ioas.domains) domain.releaseTables()
    return { removed, refusal }
  } finally {
    ioas.endMapping(call)
  }
}

/**
 * The slices of an IOAS's areas behind a range that they cover without a hole, for `dropSlices` when they are used.
 *
 * @throws Refusal ENOENT, EBUSY
 */
export function* slicesOf(ioas: Ioas, start: bigint, last: bigint): Work<readonly Slice[]> {
  const slices: Slice[] = []
  try {
    const before = ioas.unmappedCount
    let at = start
    while (at <= last) {
      const area = ioas.areas.firstFrom(at)
      if (area === undefined || area.start > at) break
      if (area.busy !== undefined) throw new Refusal('EBUSY', `the mapping ${hexRange(area)} is being ${area.busy}`)
      const end = min(area.last, last)
      slices.push(sliceOf(area, at - area.start, end - at + 1n))
      at = end + 1n
      yield
      if (ioas.unmappedCount === before) continue
      throw new Refusal('EBUSY', 'another call unmapped in the source meanwhile; try again', { ioas: ioas.id })
    }
    if (at > last) return slices
    const reason = `nothing is mapped at ${hex(at)}, and mappings must cover the whole source range`
    throw new Refusal('ENOENT', reason, { ioas: ioas.id, range: hexRange({ start, last }), hole: hex(at) })
  } catch (error) {
    yield* dropSlices(slices)
    throw error
  }
}

/** Ends the holds of slices; what became areas has its own. */
export function* dropSlices(slices: readonly Slice[]): Work<void> {
  for (const slice of slices) {
    slice.pinned?.release()
    slice.pages.drop()
    yield
  }
}

function sliceOf({ pages, offset, pin }: Area, skip: bigint, length: bigint): Slice {
  pages.hold()
  return { pages, offset: offset + skip, length, pinned: pin?.again(skip, length) }
}

function choose(ioas: Ioas, { slices, length }: MapSpec): bigint {
  const [first] = slices
  return placeAutomatically(ioas, length, first.pages.addressAt(first.offset), ioas.context.core.autoIovaAlignment)
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
  if (area.busy !== undefined) throw new Refusal('EBUSY', `the mapping ${hexRange(area)} is being ${area.busy}`, facts)
  throw new Refusal('EEXIST', `${hexRange(area)} is mapped already`, facts)
}

/** Checks the slices, makes them areas, pins and installs. What a refusal leaves is the claim's to give up. */
function* fill(call: Call, ioas: Ioas, { slices, protection }: MapSpec, claim: Claim): Work<void> {
  for (const { pages, offset } of slices) {
    if (protection.write && !pages.writable) {
      const why =
        'WRITEABLE is asked for, and the memory was first mapped without it, or is a region made without `writable`'
      throw new Refusal('EPERM', why)
    }
    if (pageOffset(pages, offset) % ioas.alignment !== 0n) {
      const facts = { source: hex(pages.addressAt(offset)), alignment: ioas.alignment }
      throw new Refusal('EINVAL', `the source is not aligned to ${ioas.alignment} bytes in its page`, facts)
    }
    if (slices.length > 1) yield
  }
  call.core.failPoint?.('area')
  claim.charge(slices.length)
  for (const slice of slices) {
    yield* claim.add(slice)
    yield
  }
}

/** How often an access is asked for what it has pinned, before the unmap gives up. [uAPI IOMMU_IOAS_UNMAP] */
const ASKED_MOST = 101

/** Has the users of an area let go of it. Answers why it stays, if they do not. */
function* askAccesses(ioas: Ioas, area: Area): Work<Refusal | undefined> {
  area.preventsAccess = true
  for (let asked = 0; asked < ASKED_MOST; asked++) {
    notifyUnmap(ioas, area.start, area.last)
    if (area.accesses === 0) return undefined
    // A pin in the middle is nobody's to let go yet.
    if ([...ioas.accesses].some(({ inFlight }) => inFlight)) {
      area.preventsAccess = false
      const reason = `another call is pinning through an access of IOAS ${ioas.id}; try again when it has answered`
      return new Refusal('EBUSY', reason, { ioas: ioas.id, mapping: hexRange(area) })
    }
    yield
  }
  const reason = `something inside the daemon keeps the mapping ${hexRange(area)} pinned, and was asked in vain`
  return new Refusal('EDEADLK', reason, { ioas: ioas.id, mapping: hexRange(area) })
}

function whyKept(area: Area, start: bigint, last: bigint, removed: bigint): Refusal | undefined {
  const facts = { mapping: hexRange(area), removed }
  if (area.busy !== undefined) {
    return new Refusal('EBUSY', `the mapping ${hexRange(area)} is being ${area.busy} already`, facts)
  }
  if (area.locks > 0) {
    const reason = `a hardware queue of a vIOMMU is in the mapping ${hexRange(area)}; destroy the queue first`
    return new Refusal('EBUSY', reason, facts)
  }
  if (area.start >= start && area.last <= last) return undefined
  return new Refusal('ENOENT', `the range cuts the mapping ${hexRange(area)}; unmap it whole`, facts)
}
