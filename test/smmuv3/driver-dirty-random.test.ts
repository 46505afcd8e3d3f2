import { describe, expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import type { DirtyOps, PagingOps } from '../../server/core/driver.js'
import { Rng } from '../simulation/rng.js'
import { GUEST_RAM, PLAIN, World } from './world.js'

/** Places of 8 MiB each; an area fills one of them from its first page. */
const PLACES = 4
const PLACE = 2048

/** An area, and its leaves that are dirty, by their first page. */
interface Area {
  readonly first: number
  readonly pages: number
  readonly leaf: number
  readonly writable: boolean
  readonly dirty: Set<number>
}

/** A domain beside the plainest account of it. */
class Beside {
  readonly #world = new World()
  readonly #domain: PagingOps
  readonly #areas: (Area | undefined)[] = new Array(PLACES).fill(undefined)
  readonly #rng: Rng

  constructor(seed: number) {
    this.#rng = new Rng(seed)
    this.#domain = this.#world.driver.createPaging(this.#world.a, { ...PLAIN, dirtyTracking: true })
    this.#world.a.set(0, this.#domain, null)
  }

  step(): void {
    const rng = this.#rng
    const place = rng.int(PLACES)
    const area = this.#areas[place]
    const what = rng.int(10)
    if (what === 0 && area !== undefined) this.#unmap(place, area)
    else if (area === undefined) this.#map(place)
    else if (what < 6) this.#write(area)
    else this.#collect()
  }

  #map(place: number): void {
    const rng = this.#rng
    const first = place * PLACE
    const isPages = rng.int(2) === 0
    const leaf = isPages ? 1 : 512
    const pages = isPages ? [3, 512, 700, PLACE][rng.int(4)] : 512 * (1 + rng.int(4))
    const writable = rng.int(4) !== 0
    // One page beside where a block could be.
    const address = GUEST_RAM + first * 4096 + (isPages ? 4096 : 0)
    this.#domain.map(BigInt(first) << 12n, address, BigInt(pages) << 12n, { read: true, write: writable })
    const leaves = Array.from({ length: pages / leaf }, (_, i) => first + i * leaf)
    this.#areas[place] = { first, pages, leaf, writable, dirty: new Set(writable ? leaves : []) }
  }

  #unmap(place: number, { first, pages }: Area): void {
    this.#domain.unmap(BigInt(first) << 12n, BigInt(pages) << 12n)
    this.#domain.flush()
    this.#areas[place] = undefined
  }

  #write(area: Area): void {
    const page = area.first + this.#rng.int(area.pages)
    const isWrite = this.#rng.int(3) !== 0
    const ended = this.#world.dma(this.#world.a, BigInt(page) << 12n, -1, isWrite ? ACCESS.WRITE : ACCESS.READ)
    expect(ended.startsWith('ok')).toBe(!isWrite || area.writable)
    if (isWrite && area.writable) area.dirty.add(page - ((page - area.first) % area.leaf))
  }

  #collect(): void {
    const rng = this.#rng
    const start = rng.int(PLACES * PLACE)
    const last = Math.min(PLACES * PLACE - 1, start + [0, 1, 600, PLACE, PLACES * PLACE][rng.int(5)])
    const clears = rng.int(2) === 0
    const found: string[] = []
    const told = (iova: number, length: number): void => void found.push(`${iova / 4096}+${length / 4096}`)
    let at: bigint | undefined = BigInt(start) << 12n
    while (at !== undefined) {
      at = (this.#domain.dirty as DirtyOps).collect(at, (BigInt(last + 1) << 12n) - 1n, clears, told)
    }
    this.#domain.flush()
    expect(found).toEqual(this.#expected(start, last, clears))
  }

  #expected(start: number, last: number, clears: boolean): string[] {
    const found: string[] = []
    for (let page = start; page <= last; ) {
      const area = this.#areas[Math.floor(page / PLACE)]
      if (area === undefined || page >= area.first + area.pages) break
      const leaf = page - ((page - area.first) % area.leaf)
      const end = Math.min(last + 1, leaf + area.leaf)
      if (area.dirty.has(leaf)) found.push(`${page}+${end - page}`)
      if (clears) area.dirty.delete(leaf)
      page = end
    }
    return found
  }
}

describe('the log of writes beside a plain account of it', () => {
  it.each([...Array(20).keys()])('tells the same, seed %i', (seed) => {
    const beside = new Beside(seed)
    for (let i = 0; i < 300; i++) beside.step()
  })
})
