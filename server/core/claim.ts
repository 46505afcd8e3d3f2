/**
 * What a map in progress has for itself: a range of IOVAs where nobody else maps, and the areas that it has become so
 * far. Others meet it with EBUSY until it is settled or given up.
 */

import { Area, type Setup } from './area.js'
import { all } from './completion.js'
import type { Protection } from './driver.js'
import type { Ioas } from './ioas.js'
import type { MapSpec, Slice } from './ioas-map.js'
import type { PagingDomain } from './paging-domain.js'
import type { Work } from './work.js'

/** A range of an IOAS that one call is mapping. */
export class Claim {
  readonly #ioas: Ioas
  readonly #protection: Protection
  readonly #last: bigint
  readonly #setup: Setup = { isDone: false }
  readonly #areas: Area[] = []
  /** In the order of the work. */
  readonly #installed: { readonly domain: PagingDomain; readonly area: Area }[] = []
  /** Stands for what has not become areas yet. */
  #rest: Area | undefined
  #next: bigint
  #charged = 0

  /** Nothing of the IOAS is in the range. A single slice claims it only when it is added, without a pause before. */
  constructor(ioas: Ioas, { slices: [first, second], length, protection }: MapSpec, iova: bigint) {
    this.#ioas = ioas
    this.#protection = protection
    this.#last = iova + length - 1n
    this.#next = iova
    if (second !== undefined) this.#setRest(first)
  }

  /** @throws Refusal EDQUOT */
  charge(areas: number): void {
    this.#ioas.context.quota.charge('areas', areas)
    this.#charged = areas
  }

  /** The lowest part that is left becomes an area, in the tables of every domain. @throws Refusal EFAULT, ENOMEM … */
  *add(slice: Slice): Work<void> {
    const { areas, domains, hugePages } = this.#ioas
    const area = new Area(slice, this.#next, this.#protection, this.#setup)
    slice.pages.hold()
    this.#areas.push(area)
    this.#next = area.last + 1n
    this.#setRest(slice)
    areas.insert(area.start, area.last, area)
    if (domains.size === 0) return
    area.pin = slice.pinned ?? slice.pages.pin(slice.offset, slice.length)
    slice.pinned = undefined
    for (const domain of domains) {
      yield* domain.install(area, hugePages)
      this.#installed.push({ domain, area })
    }
  }

  /** All of it is mapped now. */
  settle(): void {
    this.#setup.isDone = true
  }

  /** All of it is as before. */
  *giveUp(): Work<void> {
    for (const { domain, area } of this.#installed.reverse()) yield* domain.remove(area)
    const { areas, domains, context } = this.#ioas
    if (this.#areas.length > 0) {
      yield all([...domains].map(({ ops }) => ops.flush()))
      for (const domain of domains) domain.releaseTables()
    }
    if (this.#rest !== undefined) areas.remove(this.#rest.start, this.#rest)
    for (const area of this.#areas) {
      areas.remove(area.start, area)
      area.unpin()
      area.pages.drop()
      yield
    }
    context.quota.release('areas', this.#charged)
  }

  /** Maps of one slice have no rest once it is an area. */
  #setRest({ pages }: Slice): void {
    const { areas } = this.#ioas
    if (this.#rest !== undefined) areas.remove(this.#rest.start, this.#rest)
    const length = this.#last - this.#next + 1n
    this.#rest =
      length > 0n ? new Area({ pages, offset: 0n, length }, this.#next, this.#protection, this.#setup) : undefined
    if (this.#rest !== undefined) areas.insert(this.#rest.start, this.#rest.last, this.#rest)
  }
}
