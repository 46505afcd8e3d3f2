/**
 * The daemon's book of what a bound device was granted: which pages its ATS translation requests were answered with, and
 * which of them it was not yet asked to forget, or did not say that it has. A translated access is honoured for what is
 * in the book and for nothing else; places are regions and offsets, so no client ever names a physical address.
 */

import { DMA_ACCESS } from './driver.js'
import type { Region } from './region.js'

/** What a device was granted. */
export interface Grant {
  /** The PASID of its request, or -1 for none. */
  readonly pasid: number
  /** First page of the translation, of 4096 bytes. */
  readonly page: number
  /** log2 of its bytes. */
  readonly sizeLg2: number
  readonly region: Region
  /** First byte, from the region's start; below 0 where a large page begins before its region. */
  readonly offset: number
  /** Asked for in privileged mode. */
  readonly isPrivileged: boolean
  /** Bits of DMA_ACCESS. */
  rights: number
  /** The device was asked to forget it and has not said that it has: it may use what it holds, and asks for no more. */
  isLeaving: boolean
}

/** What is to be forgotten. */
export interface Forgotten {
  readonly pasid: number
  readonly allPasids: boolean
  readonly page: number
  readonly sizeLg2: number
}

const PAGE_LG2 = 12

/** Rights that an access needs; privilege is the request's and not a right. */
const RIGHTS = DMA_ACCESS.READ | DMA_ACCESS.WRITE | DMA_ACCESS.EXECUTE

/** The page of an address of two halves. */
export const pageOf = (lo: number, hi: number): number => (hi >>> 0) * 2 ** 20 + (lo >>> PAGE_LG2)

/** Grants by a number, for each of their sizes. */
type Index = Map<number, Map<number, Grant[]>>

/** Grants of one PASID, or of none. */
interface Shelf {
  readonly byIova: Index
  /** By the physical address. */
  readonly byPlace: Index
}

/** One device's book. */
export class Atc {
  readonly #capacity: number
  readonly #shelves = new Map<number, Shelf>()
  /** The oldest first. */
  readonly #all = new Set<Grant>()

  /** @param capacity grants kept; beyond, the oldest is taken back without a word, as a small ATC replaces its own */
  constructor(capacity: number) {
    this.#capacity = capacity
  }

  /** Grants in the book. */
  get size(): number {
    return this.#all.size
  }

  /** Writes down what a translation request was answered with. */
  add(grant: Grant): void {
    const shelf = this.#shelfOf(grant.pasid)
    const there = at(shelf.byIova, grant.sizeLg2, keyOf(grant.page, grant.sizeLg2))
    const same = there?.find((one) => isSame(one, grant))
    if (same !== undefined) {
      same.rights |= grant.rights
      return
    }
    const [oldest] = this.#all
    if (this.#all.size >= this.#capacity && oldest !== undefined) this.#remove(oldest)
    this.#all.add(grant)
    put(shelf.byIova, grant.sizeLg2, keyOf(grant.page, grant.sizeLg2), grant)
    put(shelf.byPlace, grant.sizeLg2, placeKeyOf(grant), grant)
  }

  /** What the device would find for an IOVA in its own cache: the latest that it was not asked to forget. */
  find(pasid: number, page: number, access: number): Grant | undefined {
    for (const [sizeLg2, grants] of this.#shelves.get(pasid)?.byIova ?? []) {
      const found = grants.get(keyOf(page, sizeLg2))?.findLast((one) => !one.isLeaving && allows(one, access))
      if (found !== undefined) return found
    }
    return undefined
  }

  /** The same, whatever rights it gives. Without a PASID nothing is privileged. */
  kept(pasid: number, page: number, isPrivileged: boolean): Grant | undefined {
    for (const [sizeLg2, grants] of this.#shelves.get(pasid)?.byIova ?? []) {
      const isIt = (one: Grant): boolean => !one.isLeaving && (pasid < 0 || one.isPrivileged === isPrivileged)
      const found = grants.get(keyOf(page, sizeLg2))?.findLast(isIt)
      if (found !== undefined) return found
    }
    return undefined
  }

  /** A grant that covers a byte of a region. One that is leaving counts: the device has not said that it forgot it. */
  covering(pasid: number, region: Region, offset: number, access: number): Grant | undefined {
    const address = region.memory.address + offset
    for (const [sizeLg2, grants] of this.#shelves.get(pasid)?.byPlace ?? []) {
      const key = Math.floor(address / 2 ** sizeLg2)
      const found = grants.get(key)?.find((one) => one.region === region && allows(one, access))
      if (found !== undefined) return found
    }
    return undefined
  }

  /** What an invalidation reaches; all of it is leaving from now on. */
  leave(what: Forgotten): readonly Grant[] {
    const found: Grant[] = []
    for (const [pasid, { byIova }] of this.#shelves) {
      if (what.allPasids ? pasid < 0 : pasid !== what.pasid) continue
      for (const [sizeLg2, grants] of byIova) collect(grants, sizeLg2, what, found)
    }
    for (const grant of found) grant.isLeaving = true
    return found
  }

  /** The device has forgotten them. */
  takeBack(grants: readonly Grant[]): void {
    for (const grant of grants) if (this.#all.has(grant)) this.#remove(grant)
  }

  /** The device has forgotten everything. */
  clear(): void {
    this.#all.clear()
    this.#shelves.clear()
  }

  #shelfOf(pasid: number): Shelf {
    const known = this.#shelves.get(pasid)
    if (known !== undefined) return known
    const shelf: Shelf = { byIova: new Map(), byPlace: new Map() }
    this.#shelves.set(pasid, shelf)
    return shelf
  }

  #remove(grant: Grant): void {
    this.#all.delete(grant)
    const shelf = this.#shelfOf(grant.pasid)
    takeOut(shelf.byIova, grant.sizeLg2, keyOf(grant.page, grant.sizeLg2), grant)
    takeOut(shelf.byPlace, grant.sizeLg2, placeKeyOf(grant), grant)
    if (shelf.byIova.size === 0) this.#shelves.delete(grant.pasid)
  }
}

const allows = ({ rights, isPrivileged }: Grant, access: number): boolean =>
  (access & RIGHTS & ~rights) === 0 && isPrivileged === ((access & DMA_ACCESS.PRIVILEGED) !== 0)

/** The number of a page among those of its size. */
const keyOf = (page: number, sizeLg2: number): number => Math.floor(page / 2 ** (sizeLg2 - PAGE_LG2))

const placeKeyOf = ({ region, offset, sizeLg2 }: Grant): number =>
  Math.floor((region.memory.address + offset) / 2 ** sizeLg2)

const isSame = (one: Grant, other: Grant): boolean =>
  !one.isLeaving &&
  one.region === other.region &&
  one.offset === other.offset &&
  one.isPrivileged === other.isPrivileged

/** Grants of one size in a range: by their numbers where those are few, else by looking at each. */
function collect(grants: ReadonlyMap<number, Grant[]>, sizeLg2: number, what: Forgotten, into: Grant[]): void {
  const first = keyOf(what.page, sizeLg2)
  const count = 2 ** Math.max(0, what.sizeLg2 - sizeLg2)
  if (count <= grants.size) {
    for (let key = first; key < first + count; key++) into.push(...(grants.get(key) ?? []))
    return
  }
  for (const [key, some] of grants) if (key >= first && key < first + count) into.push(...some)
}

const at = (index: Index, sizeLg2: number, key: number): Grant[] | undefined => index.get(sizeLg2)?.get(key)

function put(index: Index, sizeLg2: number, key: number, grant: Grant): void {
  const ofSize = index.get(sizeLg2) ?? new Map<number, Grant[]>()
  index.set(sizeLg2, ofSize)
  const there = ofSize.get(key)
  if (there === undefined) ofSize.set(key, [grant])
  else there.push(grant)
}

function takeOut(index: Index, sizeLg2: number, key: number, grant: Grant): void {
  const ofSize = index.get(sizeLg2)
  const there = ofSize?.get(key)
  if (ofSize === undefined || there === undefined) return
  there.splice(there.indexOf(grant), 1)
  if (there.length === 0) ofSize.delete(key)
  if (ofSize.size === 0) index.delete(sizeLg2)
}
