/** Pages of objects that their owner may map: where in the file, and what is mapped. [uAPI IOMMU_VIOMMU_ALLOC, mmap(2)] */

import type { Call } from './call.js'
import type { RegionMemory } from './machine.js'
import type { Holder, IommuObject } from './object.js'
import { assert, Refusal } from './refusal.js'
import type { Region } from './region.js'
import { hexRange, PAGE } from './u64.js'

/** A range of the file that is an object's memory. */
export interface MapPlace {
  readonly offset: bigint
  /** Bytes, whole pages. */
  readonly length: bigint
  readonly owner: IommuObject
  readonly memory: RegionMemory
}

/** The offsets of one context's file. */
export class MapSpace {
  /** Ascending. */
  readonly #places: MapPlace[] = []

  /** Gives an object the lowest gap that holds its memory. Offset 0 is nobody's, so that callers can tell it apart. */
  add(owner: IommuObject, memory: RegionMemory): MapPlace {
    const length = BigInt(memory.lengthBytes)
    assert(length > 0n && length % PAGE === 0n, 'what can be mapped is whole pages')
    let offset = PAGE
    let at = 0
    for (const place of this.#places) {
      if (place.offset - offset >= length) break
      offset = place.offset + place.length
      at++
    }
    const added = { offset, length, owner, memory }
    this.#places.splice(at, 0, added)
    return added
  }

  /** The owner goes; nothing of it is mapped, as that would hold it. */
  remove(place: MapPlace): void {
    this.#places.splice(this.#places.indexOf(place), 1)
  }

  /** The place that is exactly this range. @throws Refusal ENXIO */
  get(offset: bigint, length: bigint): MapPlace {
    const found = this.#places.find((place) => place.offset === offset && place.length === length)
    if (found !== undefined) return found
    const ranges = this.#places.map((place) =>
      hexRange({ start: place.offset, last: place.offset + place.length - 1n }),
    )
    const reason =
      ranges.length === 0
        ? 'no object of this context has memory that can be mapped'
        : `a mapping is one whole range that was given out: ${ranges.slice(0, RANGES_TOLD).join(', ')}`
    throw new Refusal('ENXIO', reason, { offset, length })
  }
}

/** Ranges that a refusal names. */
const RANGES_TOLD = 8

/** Bits of a mapping's protection. [mmap(2)] */
const PROT = { WRITE: 2, EXEC: 4 } as const

/** What is to be mapped. */
export interface MapRequest {
  readonly offset: bigint
  readonly length: bigint
  /** Bits of PROT. */
  readonly protection: number
}

/** Maps a page of an object of the context; the region's end unmaps it. [mmap(2)] */
export function mapPage(call: Call, { offset, length, protection }: MapRequest): Region {
  if (length === 0n || length % PAGE !== 0n) {
    throw new Refusal('EINVAL', 'the length of a mapping is a multiple of 4096, and not 0', { length })
  }
  if ((protection & PROT.EXEC) !== 0) {
    throw new Refusal('EPERM', 'nothing here can be executed; leave PROT_EXEC (4) out', { protection })
  }
  const { context, core } = call
  const place = context.maps.get(offset, length)
  context.quota.check('region_bytes', Number(length))
  core.failPoint?.('mapping')
  context.quota.charge('regions')
  // Nothing is refused from here on; the region's end gives both back.
  context.quota.charge('region_bytes', Number(length))
  const memory = new MappedPage(place, (protection & PROT.WRITE) !== 0)
  const spec = { path: '', label: '', clientAddress: undefined, busAddress: undefined }
  const region = context.regions.add(memory, { ...spec, isMapping: true })
  memory.id = region.id
  call.onUndo(() => context.regions.destroy(region))
  return region
}

/** An object's memory while it is mapped: it holds its owner. */
class MappedPage implements RegionMemory, Holder {
  /** The region's. */
  id = 0
  readonly kind = 'mapping as region'
  readonly address: number
  readonly lengthBytes: number
  readonly residentBytes = 0
  readonly writable: boolean
  readonly #place: MapPlace

  constructor(place: MapPlace, writable: boolean) {
    this.#place = place
    this.address = place.memory.address
    this.lengthBytes = place.memory.lengthBytes
    this.writable = writable
    place.owner.hold(this)
  }

  read(offset: number, into: Uint8Array): void {
    this.#place.memory.read(offset, into)
  }

  write(offset: number, from: Uint8Array): void {
    this.#place.memory.write(offset, from)
  }

  release(): void {
    this.#place.owner.drop(this)
  }
}
