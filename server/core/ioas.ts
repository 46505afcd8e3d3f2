/**
 * An I/O address space: what is mapped where, what may not be, and the domains that hold every mapping in their
 * tables. The orders of checks are the kernel's. [uAPI IOMMU_IOAS_ALLOC]
 *
 * What walks all areas does so in slices. Calls that map and unmap may do so beside each other, as each has areas of its
 * own; one that looks at or changes all of them (a domain that joins, another alignment) is alone, and meets others, or
 * is met by them, with EBUSY where the kernel would wait for its lock.
 */

import type { Access } from './access.js'
import type { Area } from './area.js'
import type { Call } from './call.js'
import type { Context } from './context.js'
import type { Completion, Range } from './driver.js'
import { IntervalMap } from './interval-map.js'
import { type Holder, IommuObject, OBJECT_TYPE } from './object.js'
import type { PagingDomain } from './paging-domain.js'
import { Refusal } from './refusal.js'
import { firstOf, merge, ReservedRanges } from './reserved.js'
import { hex, hexRange, lowestBit, PAGE, U64_MAX } from './u64.js'
import { finish, type Work } from './work.js'

/** Who reserves, and how to call it in a refusal. */
export interface Reservation {
  readonly owner: Holder
  readonly ranges: readonly Range[]
}

/** A range with memory of the daemon's behind it: nothing else may be there. */
export interface Kept extends Holder, Range {}

/** An address space. */
export class Ioas extends IommuObject {
  static override readonly label = 'an IOAS'
  static readonly hint = (found: IommuObject): string | undefined =>
    found.type === OBJECT_TYPE.USER_DOMAIN
      ? 'its tables are their owner’s, in guest memory, and nothing can be mapped into them by a call'
      : undefined

  readonly type = OBJECT_TYPE.IOAS
  readonly kind = 'IOAS'
  readonly context: Context
  readonly areas = new IntervalMap<Area>()
  readonly reserved = new ReservedRanges()
  /** In the order they were made. */
  readonly domains = new Set<PagingDomain>()
  /** Users of it inside the daemon. */
  readonly accesses = new Set<Access>()
  /** Where free choices go, ascending and disjoint; empty is everywhere. */
  allowed: readonly Range[] = []
  /** Leaves may be larger than 4096 bytes. [uAPI IOMMU_OPTION_HUGE_PAGES] */
  hugePages = true
  /** Areas that were unmapped, ever: whoever collected some and paused can tell that they all are there still. */
  unmappedCount = 0
  #allowedCount = 0
  readonly #kept = new IntervalMap<Kept>()
  /** Calls that map or unmap. */
  #mappers = 0
  /** What a call does with all areas, and so alone. */
  #aloneFor: string | undefined

  constructor(id: number, context: Context) {
    super(id)
    this.context = context
  }

  get holds(): readonly IommuObject[] {
    return []
  }

  override get facts(): Readonly<Record<string, string>> {
    return { areas: String(this.areas.size), alignment: String(this.alignment), domains: String(this.domains.size) }
  }

  /** IOVAs, lengths and page offsets are multiples of this many bytes, a power of two. */
  get alignment(): bigint {
    let most = this.hugePages ? 1n : PAGE
    for (const { ops } of this.domains) {
      const smallest = lowestBit(ops.pageSizes)
      if (smallest > most) most = smallest
    }
    for (const { alignment } of this.accesses) if (alignment > most) most = alignment
    return most
  }

  /** Replaces the list of allowed ranges. @throws Refusal EADDRINUSE, EDQUOT; the old list stays then */
  allow(ranges: readonly Range[]): void {
    for (const [index, range] of ranges.entries()) {
      if (this.reserved.firstIn(range.start, range.last) === undefined) continue
      const owner = this.reserved.ownerIn(range.start, range.last)
      const reason = `${hexRange(range)} cannot be allowed: ${owner} reserves part of it`
      throw new Refusal('EADDRINUSE', reason, { index, owner })
    }
    const { quota } = this.context
    quota.charge('allowed_ranges', ranges.length)
    quota.release('allowed_ranges', this.#allowedCount)
    this.#allowedCount = ranges.length
    this.allowed = merge(ranges)
  }

  /** Reserves ranges for an owner. @throws Refusal EADDRINUSE (an area, an allowed range or a window is there) */
  reserve({ owner, ranges }: Reservation): void {
    for (const range of ranges) {
      const area = this.areas.firstIn(range.start, range.last)
      const allowed = firstOf(this.allowed, range.start, range.last)
      const kept = this.#kept.firstIn(range.start, range.last)
      const hit = area ?? allowed ?? kept
      if (hit === undefined) continue
      const what = hit === area ? 'a mapping' : hit === allowed ? 'an allowed range' : `${kept?.kind} ${kept?.id}`
      const reason = `${owner.kind} ${owner.id} reserves ${hexRange(range)}, and ${what} of IOAS ${this.id} is there`
      throw new Refusal('EADDRINUSE', reason, { reserved: hexRange(range), in_use: hexRange(hit) })
    }
    this.reserved.add(owner, ranges)
  }

  /** Reserves a range where nothing else is, and never will be. @throws Refusal EADDRINUSE */
  keep(kept: Kept): void {
    const reserved = this.reserved.firstIn(kept.start, kept.last)
    if (reserved !== undefined) {
      const owner = this.reserved.ownerIn(kept.start, kept.last)
      const reason = `${hexRange(kept)} cannot be reserved: ${hexRange(reserved)} is reserved by ${owner} already`
      throw new Refusal('EADDRINUSE', reason, { asked: hexRange(kept), in_use: hexRange(reserved), owner })
    }
    this.reserve({ owner: kept, ranges: [kept] })
    this.#kept.insert(kept.start, kept.last, kept)
  }

  /** Ends a `keep`. */
  endKeeping(kept: Kept): void {
    this.#kept.remove(kept.start, kept)
    this.reserved.removeSole(kept)
  }

  /**
   * A new domain takes over every mapping. [uAPI IOMMU_HWPT_ALLOC]
   *
   * @throws Refusal EINVAL, EADDRINUSE, EFAULT, ENOMEM, EDQUOT, EBUSY; the IOAS is as before, the domain's tables may
   * hold something still and must be destroyed
   */
  *join(domain: PagingDomain): Work<void> {
    const smallest = lowestBit(domain.ops.pageSizes)
    if (smallest > PAGE) {
      throw new Refusal('EINVAL', `the domain's smallest page has ${smallest} bytes, more than 4096`, { smallest })
    }
    yield* this.#alone('a domain takes over all mappings of', this.#takeOver(domain, smallest))
  }

  /** A domain is destroyed; the last one lets all memory go. Nothing if it never joined. */
  *leave(domain: PagingDomain): Work<void> {
    if (this.domains.has(domain)) yield* this.#forget(domain)
  }

  /** An access joins, and may raise the alignment. @throws Refusal EADDRINUSE, EBUSY; it has not joined then */
  *addAccess(access: Access): Work<void> {
    this.hold(access)
    try {
      if (access.alignment > this.alignment) {
        yield* this.#alone('the alignment changes of', this.#raiseAlignment(access.alignment))
      }
    } catch (error) {
      this.drop(access)
      throw error
    }
    this.accesses.add(access)
  }

  /** An access leaves. */
  removeAccess(access: Access): void {
    this.accesses.delete(access)
    this.drop(access)
  }

  /** Switches large pages. @throws Refusal EINVAL, EADDRINUSE, EBUSY */
  *setHugePages(on: boolean): Work<void> {
    if (!on && this.hugePages) {
      if (this.domains.size > 0 && this.areas.size > 0) {
        const facts = { domains: this.domains.size, areas: this.areas.size }
        throw new Refusal('EINVAL', 'mappings are in the tables of a domain with large pages already', facts)
      }
      yield* this.#alone('the alignment changes of', this.#raiseAlignment(PAGE))
    }
    this.hugePages = on
  }

  /** A call maps or unmaps; `endMapping` when it has. The IOAS stays until then. @throws Refusal EBUSY */
  beginMapping(call: Call): void {
    if (this.#aloneFor !== undefined) {
      throw new Refusal('EBUSY', `${this.#aloneFor} IOAS ${this.id}; try again when it has`, { ioas: this.id })
    }
    this.#mappers++
    this.hold(call)
  }

  /** Ends a `beginMapping`. */
  endMapping(call: Call): void {
    this.#mappers--
    this.drop(call)
  }

  /**
   * A call looks at or changes all areas; `endAlone` when it has. The IOAS stays until then.
   *
   * @param what as others are told, up to the IOAS's name
   * @throws Refusal EBUSY
   */
  beginAlone(call: Call, what: string): void {
    this.#takeAlone(what)
    this.hold(call)
  }

  /** Ends a `beginAlone`. */
  endAlone(call: Call): void {
    this.#aloneFor = undefined
    this.drop(call)
  }

  /** An area has become two; the tables stay as they are. */
  replace(area: Area, [low, high]: readonly [Area, Area]): void {
    this.areas.remove(area.start, area)
    this.areas.insert(low.start, low.last, low)
    this.areas.insert(high.start, high.last, high)
    for (const domain of this.domains) domain.cut(area, low, high)
  }

  /** An area is out of every table and no unit remembers it: its range and memory are free. */
  discard(area: Area): void {
    this.areas.remove(area.start, area)
    this.#letGo(area)
  }

  destroy(): Completion {
    if (this.context.vfioIoas === this) this.context.vfioIoas = undefined
    this.context.quota.release('allowed_ranges', this.#allowedCount)
    return finish(this.#discardAll(), this.context.core.turn)
  }

  /** Nobody finds it any more, so nothing changes between two slices. */
  *#discardAll(): Work<void> {
    for (const area of this.areas) {
      this.#letGo(area)
      yield
    }
  }

  #letGo(area: Area): void {
    area.unpin()
    area.pages.drop()
    this.context.quota.release('areas')
  }

  *#takeOver(domain: PagingDomain, smallest: bigint): Work<void> {
    yield* this.#raiseAlignment(smallest)
    const { start, last } = domain.ops.aperture
    const outside: Range[] = []
    if (start > 0n) outside.push({ start: 0n, last: start - 1n })
    if (last < U64_MAX) outside.push({ start: last + 1n, last: U64_MAX })
    this.reserve({ owner: domain, ranges: outside })
    this.domains.add(domain)
    try {
      for (const area of this.areas) {
        area.pin ??= area.pages.pin(area.offset, area.length)
        yield* domain.install(area, this.hugePages)
      }
      domain.chargeTables()
    } catch (error) {
      yield* this.#forget(domain)
      throw error
    }
  }

  /** The last domain lets all memory go, unless another one joins meanwhile, which needs it. */
  *#forget(domain: PagingDomain): Work<void> {
    this.domains.delete(domain)
    this.reserved.removeOwner(domain)
    let area = this.areas.firstFrom(0n)
    while (area !== undefined && this.domains.size === 0) {
      if (!area.leaving) area.unpin()
      yield
      area = area.last === U64_MAX ? undefined : this.areas.firstFrom(area.last + 1n)
    }
  }

  *#raiseAlignment(to: bigint): Work<void> {
    if (to <= this.alignment) return
    for (const area of this.areas) {
      if (!area.isAligned(to)) {
        const reason = `the mapping at ${hex(area.start)} is not aligned to ${to} bytes in IOVA, length and source`
        throw new Refusal('EADDRINUSE', reason, { mapping: hexRange(area), alignment: to })
      }
      yield
    }
  }

  /** Work on all areas: none comes or goes until it is done. */
  *#alone(what: string, work: Work<void>): Work<void> {
    this.#takeAlone(what)
    try {
      yield* work
    } finally {
      this.#aloneFor = undefined
    }
  }

  #takeAlone(what: string): void {
    const why = this.#mappers > 0 ? 'another call maps or unmaps in' : this.#aloneFor
    if (why !== undefined)
      throw new Refusal('EBUSY', `${why} IOAS ${this.id}; try again when it has`, { ioas: this.id })
    this.#aloneFor = what
  }
}
