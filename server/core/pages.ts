/**
 * What a mapping maps: memory as the caller named it, shared by the areas that map slices of it. Nothing is looked up
 * until the IOAS has a domain; then each area pins what it needs, and a bad address shows. [uAPI IOMMU_IOAS_MAP]
 */

import { assert, Refusal } from './refusal.js'
import type { Region, RegionTable } from './region.js'
import { hex, min, PAGE } from './u64.js'

/** A physically contiguous part of an area, pinned. */
export interface Segment {
  readonly region: Region
  /** First byte in the region. */
  readonly offset: number
  /** Bytes. */
  readonly length: bigint
}

/** How the caller named the memory. */
export type PagesSource =
  | { readonly kind: 'region' | 'file'; readonly region: Region; readonly offset: bigint }
  | { readonly kind: 'client'; readonly address: bigint; readonly regions: RegionTable }
  /** An open file without memory, such as /dev/iommu: the kernel takes it, and refuses it where pages are pinned. */
  | { readonly kind: 'special'; readonly name: string; readonly offset: bigint }

/** Memory behind one IoasMap or IoasMapFile, and the copies of it. */
export class Pages {
  readonly source: PagesSource
  /** Bytes. */
  readonly length: bigint
  /** The mapping that named it first asked for WRITEABLE, and the memory has it. */
  readonly writable: boolean
  /** Whoever makes pages holds them until each area that maps them does. */
  #holds = 1

  constructor(source: PagesSource, length: bigint, asksWrite: boolean) {
    this.source = source
    this.length = length
    this.writable = asksWrite && (regionOf(source)?.memory.writable ?? true)
    regionOf(source)?.hold()
  }

  /** The address whose low bits decide about alignment: the client's own, or the offset in the region. */
  addressAt(offset: bigint): bigint {
    return (this.source.kind === 'client' ? this.source.address : this.source.offset) + offset
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
   * @throws Refusal EFAULT (no memory there), EINVAL (beyond the end of a file)
   */
  pin(offset: bigint, length: bigint): readonly Segment[] {
    const segments = this.source.kind === 'client' ? this.#byAddress(offset, length) : this.#inRegion(offset, length)
    for (const { region } of segments) {
      if (region.spec.isMapping !== true) continue
      throw new Refusal('EFAULT', `region ${region.id} is a mapped page of an object, which no DMA reaches`)
    }
    for (const { region } of segments) region.hold()
    return segments
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

/** A slice of segments that are pinned already, pinned once more. */
export function pinAgain(segments: readonly Segment[], offset: bigint, length: bigint): readonly Segment[] {
  const slice: Segment[] = []
  let skip = offset
  let left = length
  for (const segment of segments) {
    if (skip >= segment.length) {
      skip -= segment.length
      continue
    }
    const there = segment.length - skip
    const bytes = min(there, left)
    slice.push({ region: segment.region, offset: segment.offset + Number(skip), length: bytes })
    skip = 0n
    left -= bytes
    if (left === 0n) break
  }
  for (const { region } of slice) region.hold()
  return slice
}

/** Lets pinned memory go. */
export function unpin(segments: readonly Segment[]): void {
  for (const { region } of segments) region.drop()
}

/** Offset in its page of the byte that a slice begins with. */
export const pageOffset = (pages: Pages, offset: bigint): bigint => pages.addressAt(offset) % PAGE
