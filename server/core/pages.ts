/**
 * What a mapping maps: memory as the caller named it, shared by the areas that map slices of it. Nothing is looked up
 * until the IOAS has a domain; then each area pins what it needs, and a bad address shows. [uAPI IOMMU_IOAS_MAP]
 */

import type { DmaBuf } from './dma-buf.js'
import type { AccountMode, LockedMemory, Payer } from './locked.js'
import { Pin, type Segment } from './pin.js'
import { PinTree } from './pin-tree.js'
import { assert, Refusal } from './refusal.js'
import type { Region, RegionTable } from './region.js'
import { hex, min, PAGE } from './u64.js'

const PAGE_BYTES = Number(PAGE)

/** How the caller named the memory. */
export type PagesSource =
  | { readonly kind: 'region' | 'file'; readonly region: Region; readonly offset: bigint }
  | { readonly kind: 'client'; readonly address: bigint; readonly regions: RegionTable }
  /** Its exporter may take it back. */
  | { readonly kind: 'dma-buf'; readonly region: Region; readonly offset: bigint; readonly buffer: DmaBuf }
  /** An open file without memory, such as /dev/iommu: the kernel takes it, and refuses it where pages are pinned. */
  | { readonly kind: 'special'; readonly name: string; readonly offset: bigint }

/** On whom pages are charged as long as they are pinned, each of them once. */
export interface Account {
  readonly book: LockedMemory
  readonly mode: AccountMode
  readonly payer: Payer
}

/** Memory behind one IoasMap or IoasMapFile, and the copies of it. */
export class Pages {
  readonly source: PagesSource
  /** Bytes. */
  readonly length: bigint
  /** The mapping that named it first asked for WRITEABLE, and the memory has it. */
  readonly writable: boolean
  #account: Account
  /** Pays as well, for a time. */
  #next: Payer | undefined
  /** The exporter has taken it back: these pages are nothing any more, whatever he allows later. */
  #isGone = false
  /** What areas and accesses pin; pages that several of them do are pinned, and paid for, once. */
  readonly #pinned: PinTree
  /** Whoever makes pages holds them until each area that maps them does. */
  #holds = 1

  constructor(source: PagesSource, length: bigint, asksWrite: boolean, account: Account) {
    this.source = source
    this.length = length
    this.writable = asksWrite && (regionOf(source)?.memory.writable ?? true)
    this.#account = account
    this.#pinned = new PinTree(this.#pageAt(length - 1n) + 1)
    regionOf(source)?.hold()
  }

  /** It is a file's memory, which has an owner of its own. */
  get isFile(): boolean {
    return this.source.kind === 'file' || this.source.kind === 'special'
  }

  /** Bytes of pages that are pinned. */
  get pinnedBytes(): number {
    return this.#pinned.covered * PAGE_BYTES
  }

  /** Another process is to pay, and does so beside the present one until `settle`. False if it does already. @throws Refusal ENOMEM */
  chargeAlso(payer: Payer): boolean {
    const { book, mode, payer: now } = this.#account
    if (payer.uid === now.uid && payer.process === now.process) return false
    book.charge(payer, mode, this.pinnedBytes)
    this.#next = payer
    return true
  }

  /** Ends a `chargeAlso`: one of the two pays alone. */
  settle(moves: boolean): void {
    const { book, mode, payer } = this.#account
    assert(this.#next !== undefined, 'two pay before one of them does alone')
    book.release(moves ? payer : this.#next, mode, this.pinnedBytes)
    if (moves) this.#account = { book, mode, payer: this.#next }
    this.#next = undefined
  }

  /** The address whose low bits decide about alignment: the client's own, or the offset in the region. */
  addressAt(offset: bigint): bigint {
    return (this.source.kind === 'client' ? this.source.address : this.source.offset) + offset
  }

  /** The exporter of its buffer takes it back. What has pinned it lets go next. */
  takeBack(): void {
    this.#isGone = true
  }

  /** An area maps a slice of it. */
  hold(): void {
    this.#holds++
  }

  /** An area is gone, or was never made. */
  drop(): void {
    assert(this.#holds > 0, 'pages are held before they are dropped')
    this.#holds--
    if (this.#holds === 0) regionOf(this.source)?.drop()
  }

  /**
   * Finds and holds the bytes of a slice.
   *
   * @throws Refusal EFAULT (no memory there), EINVAL (beyond the end of a file), ENOMEM (the limit `locked_bytes`)
   */
  pin(offset: bigint, length: bigint): Pin {
    return this.pinKnown({ offset, length }, this.find(offset, length))
  }

  /** Finds the bytes of a slice, which may be gone in the next step. @throws Refusal EFAULT, EINVAL */
  find(offset: bigint, length: bigint): readonly Segment[] {
    if (this.#isGone) return []
    const segments = this.source.kind === 'client' ? this.#byAddress(offset, length) : this.#inRegion(offset, length)
    for (const { region } of segments) {
      if (region.spec.isMapping !== true) continue
      throw new Refusal('EFAULT', `region ${region.id} is a mapped page of an object, which no DMA reaches`)
    }
    return segments
  }

  /** Pins a slice whose bytes have been found. For `Pin`. @throws Refusal ENOMEM, never where all of it is pinned */
  pinKnown(slice: { readonly offset: bigint; readonly length: bigint }, segments: readonly Segment[]): Pin {
    const [first, last] = this.#span(slice)
    this.#charge(this.#pinned.missing(first, last) * PAGE_BYTES)
    this.#pinned.change(first, last, 1)
    return new Pin({ pages: this, ...slice }, segments)
  }

  /** A pin is released. For `Pin`. */
  unpin(slice: { readonly offset: bigint; readonly length: bigint }): void {
    const [first, last] = this.#span(slice)
    const before = this.#pinned.covered
    this.#pinned.change(first, last, -1)
    if (this.source.kind === 'dma-buf') return
    const { book, mode, payer } = this.#account
    for (const one of [payer, this.#next]) {
      if (one !== undefined) book.release(one, mode, (before - this.#pinned.covered) * PAGE_BYTES)
    }
  }

  #charge(bytes: number): void {
    if (this.source.kind === 'dma-buf') return
    const { book, mode, payer } = this.#account
    book.charge(payer, mode, bytes)
    if (this.#next === undefined) return
    try {
      book.charge(this.#next, mode, bytes)
    } catch (error) {
      book.release(payer, mode, bytes)
      throw error
    }
  }

  /** Whether the page of a region's memory with a byte at `offset` is pinned through these pages. */
  pins(region: Region, offset: number): boolean {
    const from = this.#offsetOf(region)
    if (from === undefined) return false
    const page = Math.floor((offset - from) / PAGE_BYTES)
    return page >= 0 && page <= this.#pageAt(this.length - 1n) && this.#pinned.missing(page, page) === 0
  }

  /** Where the page of the first byte is in a region, if these pages are of that region at all. */
  #offsetOf(region: Region): number | undefined {
    const { source } = this
    if (source.kind === 'client') {
      const { clientAddress } = region.spec
      return clientAddress === undefined ? undefined : Number((source.address & ~(PAGE - 1n)) - clientAddress)
    }
    return regionOf(source) === region ? Number(source.offset & ~(PAGE - 1n)) : undefined
  }

  /** Number of the page with a byte, from that of the first byte. */
  #pageAt(offset: bigint): number {
    return Number(((this.addressAt(0n) % PAGE) + offset) / PAGE)
  }

  #span({ offset, length }: { readonly offset: bigint; readonly length: bigint }): readonly [number, number] {
    return [this.#pageAt(offset), this.#pageAt(offset + length - 1n)]
  }

  #inRegion(offset: bigint, length: bigint): readonly Segment[] {
    if (this.source.kind === 'special') {
      throw new Refusal('EINVAL', `${this.source.name} has no memory that could be mapped`, { file: this.source.name })
    }
    assert(this.source.kind !== 'client', 'a client address is in no one region')
    const { region, kind } = this.source
    const from = this.source.offset + offset
    const bytes = BigInt(region.memory.lengthBytes)
    if (from + length > bytes) {
      const facts = { region: region.id, offset: from, length, region_bytes: bytes }
      const reason = `region ${region.id} ends at byte ${bytes}, before the end of the mapping`
      throw new Refusal(kind === 'file' ? 'EINVAL' : 'EFAULT', reason, facts)
    }
    return [{ region, offset: Number(from), length }]
  }

  #byAddress(offset: bigint, length: bigint): readonly Segment[] {
    assert(this.source.kind === 'client', 'a region has no client address of its own here')
    const { address, regions } = this.source
    const segments: Segment[] = []
    let at = address + offset
    const end = at + length
    while (at < end) {
      const region = regions.atClientAddress(at)
      if (region?.spec.clientAddress === undefined) {
        const reason = 'no memory region of this context has this client_address; give CreateMemoryRegion one'
        throw new Refusal('EFAULT', reason, { address: hex(at) })
      }
      if (this.writable && !region.memory.writable) {
        const facts = { region: region.id, address: hex(at) }
        throw new Refusal('EFAULT', `region ${region.id} is read-only and the mapping asks for WRITEABLE`, facts)
      }
      const start = at - region.spec.clientAddress
      const left = BigInt(region.memory.lengthBytes) - start
      const bytes = min(left, end - at)
      segments.push({ region, offset: Number(start), length: bytes })
      at += bytes
    }
    return segments
  }
}

/** The region that the source names, if it names one. */
const regionOf = (source: PagesSource): Region | undefined => ('region' in source ? source.region : undefined)

/** Offset in its page of the byte that a slice begins with. */
export const pageOffset = (pages: Pages, offset: bigint): bigint => pages.addressAt(offset) % PAGE
