/** A function behind a guest's VT-d unit: its context entry, its PASID table and first-stage tables, by hand. */

import type { Descriptor, VtdGuest } from './vtd-guest.js'

/** What a context entry allows, and whose tables a PASID has. */
export interface FunctionOptions {
  /** DTE: translation requests. PRE: page requests. */
  readonly ats?: boolean
  readonly pages?: boolean
  /** The domain-id of its PASID entries. */
  readonly did?: bigint
}

/** P, R/W, U/S, A, D of a first-stage leaf; a table has no D. [VTD 9.7] */
const LEAF = 0x67n
const READ_ONLY = 0x25n
const TABLE = 0x27n

/** A function. */
export class VtdFunction {
  readonly guest: VtdGuest
  readonly sid: number
  readonly did: bigint
  readonly #hasAts: boolean
  readonly #directory: bigint
  /** Roots of first-stage tables by PASID. */
  readonly #roots = new Map<number, bigint>()

  private constructor(guest: VtdGuest, sid: number, options: FunctionOptions) {
    this.guest = guest
    this.sid = sid
    this.did = options.did ?? 2n
    this.#hasAts = options.ats ?? false
    this.#directory = guest.ram.allocate(0x1000n)
  }

  /** Writes the context entry, with RID_PASID 0 and a directory of 2^13 PASIDs. [VTD 9.4] */
  static attach(guest: VtdGuest, sid: number, options: FunctionOptions = {}): VtdFunction {
    const made = new VtdFunction(guest, sid, options)
    const flags = (options.ats ? 4n : 0n) | 8n | (options.pages ? 0x10n : 0n)
    // P last.
    guest.ram.store(guest.contextEntry(sid) + 8n, 0n, 0n, 0n)
    guest.ram.store(guest.contextEntry(sid), made.#directory | flags | 1n)
    made.enable(0)
    return made
  }

  /** Gives a PASID a first-stage table of its own, of four levels. [VTD 9.6] */
  enable(pasid: number): void {
    const root = this.guest.ram.allocate(0x1000n)
    this.#roots.set(pasid, root)
    this.write(pasid, [0x41n, this.did, root])
  }

  /** Writes the quadwords of a PASID entry, P last. */
  write(pasid: number, [qw0, ...rest]: readonly bigint[]): void {
    const { ram } = this.guest
    const slot = this.#directory + BigInt(pasid >>> 6) * 8n
    let table = ram.load(slot) & ~0xfffn
    if (table === 0n) {
      table = ram.allocate(0x1000n)
      ram.store(slot, table | 1n)
    }
    const at = table + BigInt(pasid & 63) * 64n
    ram.store(at + 8n, ...rest)
    ram.store(at, qw0)
  }

  /** Maps a page of a PASID. */
  map(pasid: number, iova: bigint, page: bigint, readOnly = false): void {
    this.guest.ram.store(this.leaf(pasid, iova), page | (readOnly ? READ_ONLY : LEAF))
  }

  /** Takes a page away, and answers the descriptors that make the unit and the device forget it, in their order. */
  unmap(pasid: number, iova: bigint): Descriptor[] {
    this.guest.ram.store(this.leaf(pasid, iova), 0n)
    const flush = this.iotlbInvalidation(pasid, iova)
    return this.#hasAts ? [flush, this.deviceInvalidation(pasid, iova)] : [flush]
  }

  /** PASID-based-IOTLB invalidate, one page. [VTD 6.5.2.4] */
  iotlbInvalidation(pasid: number, iova: bigint): Descriptor {
    return [0x36n | (this.did << 16n) | (BigInt(pasid) << 32n), iova & ~0xfffn]
  }

  /** Device-TLB invalidate, with a PASID or without one, one page. [VTD 6.5.2.5, 6.5.2.6] */
  deviceInvalidation(pasid: number, iova: bigint): Descriptor {
    const sid = BigInt(this.sid)
    if (pasid === 0) return [0x3n | (sid << 32n), iova & ~0xfffn]
    // Type 8: its high bits stand at 11:9.
    return [0x8n | (sid << 16n) | (BigInt(pasid) << 32n), iova & ~0xfffn]
  }

  /** Page group response. [VTD 7.6.1] */
  response(pasid: number, group: bigint, code: bigint): Descriptor {
    return [0x19n | (code << 12n) | (BigInt(this.sid) << 16n) | (BigInt(pasid) << 32n), group << 3n]
  }

  /** Where the leaf of an address is; tables are made on the way. */
  leaf(pasid: number, iova: bigint): bigint {
    const { ram } = this.guest
    const root = this.#roots.get(pasid)
    if (root === undefined) throw new Error(`PASID ${pasid} has no tables`)
    let table: bigint = root
    for (const shift of [39n, 30n, 21n]) {
      const entry = table + ((iova >> shift) & 511n) * 8n
      let next = ram.load(entry) & ~0xfffn
      if (next === 0n) {
        next = ram.allocate(0x1000n)
        ram.store(entry, next | TABLE)
      }
      table = next
    }
    return table + ((iova >> 12n) & 511n) * 8n
  }
}
