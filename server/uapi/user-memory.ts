/**
 * The caller's memory, as the kernel sees it through pointers in structs: ranges that came with the call, and memory
 * regions that have a client address. Anything else is EFAULT, at the moment it would be touched.
 */

import type { Call } from '../core/call.js'
import { checkBytes, checkCount } from '../core/checks.js'
import { Refusal } from '../core/refusal.js'
import type { RegionTable } from '../core/region.js'
import { hex, U64_MAX } from '../core/u64.js'
import type { Work } from '../core/work.js'

/** A range that came with the call, or one that was written. */
export interface MemoryRange {
  /** The caller's own address of its first byte. */
  readonly address: bigint
  readonly data: Uint8Array
  readonly writable: boolean
}

/** Where the bytes from an address on are, up to the end of what holds them. */
interface Place {
  readonly bytes: number
  read(into: Uint8Array): void
  /** Absent where nothing may be written. */
  readonly write?: (from: Uint8Array) => void
}

/** What pointers of one call may name. */
export class UserMemory {
  readonly #regions: RegionTable
  /** Ascending. */
  readonly #ranges: readonly MemoryRange[]
  /** Written parts of ranges, `[start, end)` in the range, ascending and apart. */
  readonly #written = new Map<MemoryRange, [number, number][]>()

  /** @throws Refusal EINVAL (ranges overlap, or end beyond 2^64), E2BIG */
  constructor(call: Call, ranges: readonly MemoryRange[]) {
    checkCount(call, ranges.length)
    checkBytes(
      call,
      ranges.reduce((sum, { data }) => sum + data.length, 0),
    )
    this.#regions = call.context.regions
    this.#ranges = ranges
      .filter(({ data }) => data.length > 0)
      .map(({ address, data, writable }) => ({ address, data: data.slice(), writable }))
      .sort((a, b) => (a.address < b.address ? -1 : 1))
    for (const [index, { address, data }] of this.#ranges.entries()) {
      const last = address + BigInt(data.length) - 1n
      const next = this.#ranges[index + 1]
      if (last <= U64_MAX && (next === undefined || next.address > last)) continue
      const reason = last > U64_MAX ? 'memory ends beyond 2^64' : 'two ranges of memory overlap'
      throw new Refusal('EINVAL', reason, { address: hex(address), length: data.length })
    }
  }

  /** Copies in. @throws Refusal EFAULT */
  read(address: bigint, length: number): Uint8Array {
    this.mustHold(address, length)
    const bytes = new Uint8Array(length)
    this.#walk(address, length, (place, at, count) => {
      place.read(bytes.subarray(at, at + count))
      return true
    })
    return bytes
  }

  /** Copies out; up to the byte that cannot be, as the kernel does. @throws Refusal EFAULT */
  write(address: bigint, bytes: Uint8Array): void {
    this.#walk(address, bytes.length, (place, at, count) => {
      place.write?.(bytes.subarray(at, at + count))
      return place.write !== undefined
    })
  }

  /** Writes zeros. @throws Refusal EFAULT */
  *clear(address: bigint, length: number): Work<void> {
    for (let at = 0; at < length; at += CHUNK) {
      this.write(address + BigInt(at), new Uint8Array(Math.min(CHUNK, length - at)))
      yield
    }
  }

  /** What came with the call and was written: the bytes there now. */
  get written(): readonly MemoryRange[] {
    return this.#ranges.flatMap((range) =>
      (this.#written.get(range) ?? []).map(([start, end]) => ({
        address: range.address + BigInt(start),
        data: range.data.slice(start, end),
        writable: true,
      })),
    )
  }

  /** Looks whether all of it is there, before anything is allocated for it. @throws Refusal EFAULT */
  mustHold(address: bigint, length: number): void {
    this.#walk(address, length, () => true)
  }

  /**
   * Goes through the places behind `[address, address + length)`.
   *
   * @param each answers false where the place cannot take it
   */
  #walk(address: bigint, length: number, each: (place: Place, at: number, count: number) => boolean): void {
    for (let at = 0; at < length; ) {
      const here = address + BigInt(at)
      const place = here <= U64_MAX ? this.#placeAt(here) : undefined
      if (place === undefined)
        throw fault(here, 'no memory of the call and no region’s client_address has this address')
      const count = Math.min(place.bytes, length - at)
      if (!each(place, at, count)) throw fault(here, 'the memory there was given as not writable')
      at += count
    }
  }

  #placeAt(address: bigint): Place | undefined {
    const behind = this.#firstBeyond(address)
    const range = this.#ranges[behind - 1]
    if (range !== undefined && address < range.address + BigInt(range.data.length)) {
      const start = Number(address - range.address)
      const write = (from: Uint8Array): void => {
        range.data.set(from, start)
        this.#note(range, start, start + from.length)
      }
      return {
        bytes: range.data.length - start,
        read: (into) => into.set(range.data.subarray(start, start + into.length)),
        write: range.writable ? write : undefined,
      }
    }
    const region = this.#regions.atClientAddress(address)
    if (region?.spec.clientAddress === undefined) return undefined
    const offset = Number(address - region.spec.clientAddress)
    const { memory } = region
    // A range of the call that begins inside a region is looked at first.
    const next = this.#ranges[behind]
    const left = memory.lengthBytes - offset
    return {
      bytes: next === undefined ? left : Math.min(left, Number(next.address - address)),
      read: (into) => memory.read(offset, into),
      write: memory.writable ? (from) => memory.write(offset, from) : undefined,
    }
  }

  /** Index of the first range that begins beyond an address. */
  #firstBeyond(address: bigint): number {
    let low = 0
    let high = this.#ranges.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#ranges[middle].address <= address) low = middle + 1
      else high = middle
    }
    return low
  }

  #note(range: MemoryRange, start: number, end: number): void {
    if (start === end) return
    const parts = this.#written.get(range) ?? []
    const last = parts.at(-1)
    // Most callers write upwards, and a bitmap in a hundred thousand places.
    if (last !== undefined && start > last[1]) {
      parts.push([start, end])
      return
    }
    const apart = parts.filter(([from, to]) => to < start || from > end)
    const touching = parts.filter(([from, to]) => to >= start && from <= end)
    const merged: [number, number] = [
      Math.min(start, ...touching.map(([from]) => from)),
      Math.max(end, ...touching.map(([, to]) => to)),
    ]
    this.#written.set(
      range,
      [...apart, merged].sort((a, b) => a[0] - b[0]),
    )
  }
}

/** Bytes that are cleared in one go. */
const CHUNK = 65_536

const fault = (address: bigint, why: string): Refusal => new Refusal('EFAULT', why, { address: hex(address) })
