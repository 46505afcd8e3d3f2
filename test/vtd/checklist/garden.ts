/**
 * Translations planted in a unit's caches. To ask what a descriptor drops, memory is spoilt under one cache, so that
 * whatever still works has come out of that cache and nowhere else.
 */

import { Guest, type GuestOptions } from './guest.js'
import { ROOT, Tables } from './world.js'

/** One function, with one PASID or none, and what translates it. */
export interface Plant {
  readonly kind: 'first' | 'second' | 'nested' | 'pass-through' | 'legacy' | 'legacy pass-through'
  readonly sid: number
  /** Absent: the function's RID_PASID, 0x43. */
  readonly pasid?: number
  readonly did: bigint
  readonly va: bigint
  /** Level of the leaf: 0 is a page, 1 is 2 MiB, 2 is 1 GiB. */
  readonly level?: number
}

export type Cache = 'context' | 'pasid' | 'iotlb' | 'first tables' | 'second tables'

const RID_PASID = 0x43

/** Where the probed page of a plant is: in the same 2 MiB for tables; else 64 GiB on, so that no table but the root is shared. */
const NEAR = 0x1000n
const FAR = 0x10_0000_0000n

/** Guest-physical addresses of a nested plant's tables, and of its pages. */
const GPA_OF_TABLES = 0x100_0000_0000n
const GPA_OF_PAGES = 0x200_0000_0000n

const CONTEXTS = 0x11n
const PASIDS = 0x37n

export class Garden extends Guest {
  readonly #plants: readonly (readonly [name: string, plant: Plant])[]
  readonly #directories = new Map<number, bigint>()
  readonly #second = new Map<bigint, Tables>()
  readonly #first = new Map<string, Tables>()
  readonly #isLegacy: boolean

  /** Plants everything and reads each plant once. */
  constructor(plants: Readonly<Record<string, Plant>>, options: GuestOptions = {}) {
    super(options)
    this.#plants = Object.entries(plants)
    this.#isLegacy = this.#plants.every(([, { kind }]) => kind.startsWith('legacy'))
    for (const [, plant] of this.#plants) this.#grow(plant)
    this.startQueue(!this.#isLegacy)
    this.start(ROOT | (this.#isLegacy ? 0n : 0x400n))
    for (const [name, plant] of this.#plants) {
      const ended = this.#read(plant, plant.va)
      if (!ended.startsWith('0x')) throw new Error(`${name}: ${ended}`)
    }
  }

  /** Names of the plants that one cache has lost after `act`. */
  gone(cache: Cache, act: (garden: this) => void): string[] {
    for (const [, plant] of this.#plants) this.#spoil(cache, plant)
    act(this)
    // An entry of the IOTLB alone is asked for: contexts are gone from memory, and now from the caches above it.
    if (cache === 'iotlb') this.queue(...(this.#isLegacy ? [CONTEXTS, 0n] : [PASIDS, 0n, CONTEXTS, 0n]))
    return this.#plants.filter(([, plant]) => this.#isGone(cache, plant)).map(([name]) => name)
  }

  /** The entry of a leaf, for tests that change it. */
  leaf({ kind, did, pasid, va, level = 0 }: Plant): bigint {
    return kind === 'first' || kind === 'nested'
      ? this.#firstOf(did, pasid).at(va, level)
      : this.#secondOf(did).at(va, level)
  }

  /** One read, of whoever a plant is for. */
  #read({ sid, pasid }: Plant, va: bigint): string {
    return this.dma(va, 'r', pasid === undefined ? { sid } : { sid, pasid })
  }

  #isGone(cache: Cache, plant: Plant): boolean {
    if (cache === 'iotlb') return !this.#read(plant, plant.va).startsWith('0x')
    if (cache === 'first tables' && plant.kind !== 'first' && plant.kind !== 'nested') return false
    if (cache === 'second tables' && !['second', 'nested', 'legacy'].includes(plant.kind)) return false
    const far = cache === 'context' || cache === 'pasid'
    return !this.#read(plant, plant.va + (far ? FAR : NEAR)).startsWith('0x')
  }

  #spoil(cache: Cache, plant: Plant): void {
    if (cache === 'context' || cache === 'iotlb') this.clear(this.#contextOf(plant.sid), 1n)
    if (cache === 'pasid') this.clear(this.#entryOf(plant), 1n)
    const { kind, did, pasid, va } = plant
    const isNested = kind === 'nested'
    if (cache === 'first tables' && (kind === 'first' || isNested)) this.store(this.#firstOf(did, pasid).at(va, 1), 0n)
    if (cache !== 'second tables') return
    if (isNested) this.store(this.#secondOf(did).at(va + GPA_OF_PAGES, 1), 0n)
    if (kind === 'second' || kind === 'legacy') this.store(this.#secondOf(did).at(va, 1), 0n)
  }

  #grow(plant: Plant): void {
    const { kind, sid, did, va, level = 0 } = plant
    for (const page of level > 0 ? [va, va + FAR] : [va, va + NEAR, va + FAR]) this.#map(plant, page)
    this.store(ROOT + BigInt(sid >> 8) * 16n, this.#contextTable | 1n)
    if (kind === 'legacy' || kind === 'legacy pass-through') {
      const translation = kind === 'legacy' ? this.#secondOf(did).root : 8n
      this.store(this.#contextOf(sid), translation | 1n, 2n | (did << 8n))
      return
    }
    this.store(this.#contextOf(sid), this.#directoryOf(sid) | 9n, BigInt(RID_PASID), 0n, 0n)
    const second = this.#secondOf(did).root | 8n
    const word0 = { first: 0x41n, second: second | 0x81n, nested: second | 0xc1n, 'pass-through': 0x109n }[kind]
    const first = kind === 'first' || kind === 'nested' ? this.#firstOf(did, plant.pasid).root : 0n
    const word2 = kind === 'nested' ? first + GPA_OF_TABLES : first
    this.store(this.#entryOf(plant), word0, did | (1n << 23n), word2)
  }

  readonly #contextTable = this.alloc()

  #contextOf(sid: number): bigint {
    return this.#contextTable + BigInt(sid & 0x7f) * (this.#isLegacy ? 16n : 32n)
  }

  /** A directory whose first two entries lead to two pages of PASID table entries. */
  #directoryOf(sid: number): bigint {
    const known = this.#directories.get(sid)
    if (known !== undefined) return known
    const directory = this.alloc(3n)
    this.store(directory, (directory + 0x1000n) | 1n, (directory + 0x2000n) | 1n)
    this.#directories.set(sid, directory)
    return directory
  }

  #entryOf({ sid, pasid = RID_PASID }: Plant): bigint {
    return this.#directoryOf(sid) + 0x1000n + BigInt(pasid) * 64n
  }

  #map({ kind, did, pasid, level = 0 }: Plant, page: bigint): void {
    const size = level === 0 ? 0n : 0x80n
    const frame = 0x4000_0000n + (page & 0x0fe0_0000n) + (level === 0 ? page & 0x1f_f000n : 0n)
    if (kind === 'first') this.#firstOf(did, pasid).map(page, frame | 0x67n | size, level)
    if (kind === 'second' || kind === 'legacy') this.#secondOf(did).map(page, frame | 3n | size, level)
    if (kind !== 'nested') return
    this.#firstOf(did, pasid, true).map(page, (page + GPA_OF_PAGES) | 0x67n | size, level)
    this.#secondOf(did).map(page + GPA_OF_PAGES, frame | 3n | size, level)
  }

  /** Domains share their second stage, as the manual asks. [VTD 6.2.3.1] */
  #secondOf(did: bigint): Tables {
    const known = this.#second.get(did)
    if (known !== undefined) return known
    const tables = new Tables(this, 4, 3n)
    this.#second.set(did, tables)
    return tables
  }

  /** A PASID of a domain has one first stage. */
  #firstOf(did: bigint, pasid = RID_PASID, isNested = false): Tables {
    const key = `${did} ${pasid}`
    const known = this.#first.get(key)
    if (known !== undefined) return known
    const tables = new Tables(this, 4, 0x27n, (hpa) => {
      if (isNested) this.#secondOf(did).map(hpa + GPA_OF_TABLES, hpa | 3n)
      return isNested ? hpa + GPA_OF_TABLES : hpa
    })
    this.#first.set(key, tables)
    return tables
  }
}

/** What `Garden.gone` says of each cache, in fresh gardens. */
export function lost(
  plants: Readonly<Record<string, Plant>>,
  caches: readonly Cache[],
  act: (garden: Garden) => void,
  options: GuestOptions = {},
): Record<string, string> {
  return Object.fromEntries(caches.map((cache) => [cache, new Garden(plants, options).gone(cache, act).join(', ')]))
}

export const did = (value: number): bigint => BigInt(value) << 16n
export const pasid = (value: number): bigint => BigInt(value) << 32n
