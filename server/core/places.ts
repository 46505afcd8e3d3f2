/** Where translations lead, as replies tell it: regions and offsets in dense arrays, never physical addresses. */

import type { Region, RegionTable } from './region.js'

/** Two columns of a reply. */
export interface PlaceColumns {
  readonly regionIds: Uint32Array
  readonly offsets: BigUint64Array
}

/** The columns while they are filled. */
export class Places {
  readonly #regions: RegionTable
  readonly #regionIds: Uint32Array
  readonly #offsets: BigUint64Array
  /** Halves of the offsets, low first. */
  readonly #halves: Uint32Array

  constructor(regions: RegionTable, count: number) {
    this.#regions = regions
    this.#regionIds = new Uint32Array(count)
    this.#offsets = new BigUint64Array(count)
    this.#halves = new Uint32Array(this.#offsets.buffer)
  }

  /** Writes down where an element leads; answers the region, if the memory is in one. Allocates nothing. */
  tell(index: number, address: number): Region | undefined {
    const region = this.#regions.atPhysical(address)
    if (region === undefined) return undefined
    const offset = address - region.memory.address
    this.#regionIds[index] = region.id
    this.#halves[2 * index] = offset
    this.#halves[2 * index + 1] = offset / 2 ** 32
    return region
  }

  /** The columns of so many elements. */
  first(count: number): PlaceColumns {
    return { regionIds: this.#regionIds.subarray(0, count), offsets: this.#offsets.subarray(0, count) }
  }
}
