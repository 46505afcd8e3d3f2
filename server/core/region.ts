/**
 * Memory regions: the memory of the client's process. A region that was destroyed gives its id back at once; its bytes
 * stay as long as a mapping holds them, as pinned pages do in the kernel.
 */

import type { Context } from './context.js'
import { LowestFree } from './ids.js'
import { IntervalMap } from './interval-map.js'
import type { RegionMemory } from './machine.js'
import { assert, Refusal } from './refusal.js'
import { hex } from './u64.js'

/** What a region was made with. */
export interface RegionSpec {
  /** The file's path; empty for other sources. */
  readonly path: string
  readonly label: string
  /** Where the client itself sees it, a multiple of 4096. */
  readonly clientAddress: bigint | undefined
  /** Where raw units of the context see it, a multiple of 4096. */
  readonly busAddress: number | undefined
  /** It is a page of an object, mapped: no DMA can reach it, and it ends before its owner. */
  readonly isMapping?: boolean
}

/** One region. */
export class Region {
  /** Its id; 0 once it is destroyed. */
  id: number
  readonly memory: RegionMemory
  readonly spec: RegionSpec
  readonly #table: RegionTable
  /** Its id, and every mapping, hold it. */
  #holds = 1

  constructor(table: RegionTable, id: number, memory: RegionMemory, spec: RegionSpec) {
    this.#table = table
    this.id = id
    this.memory = memory
    this.spec = spec
  }

  /** Keeps the bytes where they are. */
  hold(): void {
    this.#holds++
  }

  /** Ends a hold; the last one releases the memory. */
  drop(): void {
    assert(this.#holds > 0, 'a region is held before it is dropped')
    this.#holds--
    if (this.#holds === 0) this.#table.release(this)
  }
}

/** Where somebody sees a region. */
interface Seen {
  readonly start: bigint
  readonly last: bigint
  readonly region: Region
}

/** One context's regions: by id, by the client's address, and by physical address. */
export class RegionTable {
  readonly #context: Context
  readonly #ids = new LowestFree()
  readonly #byId = new Map<number, Region>()
  /** All that still have memory, ascending by physical address. */
  readonly #placed: Region[] = []
  /** Those that have an id, by where the client and where raw units see them. */
  readonly #seenAt = { clientAddress: new IntervalMap<Seen>(), busAddress: new IntervalMap<Seen>() }
  #lastFound: Region | undefined

  constructor(context: Context) {
    this.#context = context
  }

  /** Regions that have an id, ascending. */
  get all(): readonly Region[] {
    return [...this.#byId.values()].sort((a, b) => a.id - b.id)
  }

  /** Adds a region whose quotas have been charged. */
  add(memory: RegionMemory, spec: RegionSpec): Region {
    const region = new Region(this, this.#ids.take(), memory, spec)
    this.#byId.set(region.id, region)
    for (const [seen, map] of this.#seen(region)) map.insert(seen.start, seen.last, seen)
    if (spec.isMapping !== true) this.#placed.splice(this.#after(memory.address), 0, region)
    return region
  }

  /** Adds memory that no call names, charged alike. It is there until its last hold is dropped. */
  addNameless(memory: RegionMemory): Region {
    const spec = { path: '', label: '', clientAddress: undefined, busAddress: undefined }
    const region = new Region(this, 0, memory, spec)
    this.#placed.splice(this.#after(memory.address), 0, region)
    return region
  }

  /** Undefined: no region has this id. */
  find(id: number): Region | undefined {
    return this.#byId.get(id)
  }

  /** @throws Refusal ENOENT */
  get(id: number | undefined): Region {
    const region = this.#byId.get(id ?? 0)
    if (region !== undefined) return region
    throw new Refusal('ENOENT', `no memory region of this context has the id ${id ?? 0}`, { region: id ?? 0 })
  }

  /** The region with a byte at the client's own address. */
  atClientAddress(address: bigint): Region | undefined {
    return this.#seenAt.clientAddress.firstIn(address, address)?.region
  }

  /** The region with a byte at an address of raw units' buses. */
  atBusAddress(address: number): Region | undefined {
    const at = BigInt(address)
    return this.#seenAt.busAddress.firstIn(at, at)?.region
  }

  /** The region with a byte at a physical address; destroyed ones that are still mapped count. Allocates nothing. */
  atPhysical(address: number): Region | undefined {
    const last = this.#lastFound
    if (last !== undefined && holds(last.memory, address)) return last
    const found = this.#placed[this.#after(address) - 1]
    if (found === undefined || !holds(found.memory, address)) return undefined
    this.#lastFound = found
    return found
  }

  /** Gives a region's id back; its memory goes when nothing maps it any more. */
  destroy(region: Region): void {
    this.#byId.delete(region.id)
    for (const [seen, map] of this.#seen(region)) map.remove(seen.start, map.firstFrom(seen.start) as Seen)
    this.#ids.free(region.id)
    region.id = 0
    region.drop()
  }

  /** Destroys those that are mapped pages of objects. */
  destroyMapped(): void {
    for (const region of this.all) if (region.spec.isMapping === true) this.destroy(region)
  }

  /** Destroys all of them. */
  releaseAll(): void {
    for (const region of this.all) this.destroy(region)
    assert(this.#placed.length === 0, 'nothing maps a region when its context ends')
  }

  /** The last hold of a region is gone. For `Region`. */
  release(region: Region): void {
    if (region.spec.isMapping !== true) this.#placed.splice(this.#placed.indexOf(region), 1)
    if (this.#lastFound === region) this.#lastFound = undefined
    const { quota } = this.#context
    quota.release('regions')
    quota.release('region_bytes', region.memory.lengthBytes)
    releaseMemory(this.#context, region.memory)
  }

  /** Refuses a client range that another region covers. @throws Refusal EINVAL */
  refuseOverlap(from: bigint, lengthBytes: bigint, which: 'clientAddress' | 'busAddress'): void {
    const other = this.#seenAt[which].firstIn(from, from + lengthBytes - 1n)
    if (other === undefined) return
    const name = which === 'clientAddress' ? 'client_address' : 'bus_address'
    const { id } = other.region
    const facts = { region: id, first: hex(other.start), last: hex(other.last) }
    throw new Refusal('EINVAL', `region ${id} has part of this range of ${name} already`, facts)
  }

  *#seen(region: Region): Iterable<readonly [Seen, IntervalMap<Seen>]> {
    for (const which of ['clientAddress', 'busAddress'] as const) {
      const at = region.spec[which]
      if (at === undefined) continue
      const start = BigInt(at)
      yield [{ start, last: start + BigInt(region.memory.lengthBytes) - 1n, region }, this.#seenAt[which]]
    }
  }

  /** Index of the first placed region that starts beyond `address`. */
  #after(address: number): number {
    let low = 0
    let high = this.#placed.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#placed[middle].memory.address <= address) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** Lets memory go, and what of it was resident. */
export function releaseMemory({ quota }: Context, memory: RegionMemory): void {
  quota.release('resident_bytes', memory.residentBytes)
  memory.release()
}

const holds = (memory: RegionMemory, address: number): boolean =>
  address >= memory.address && address < memory.address + memory.lengthBytes
