/**
 * Which invalidation follows which change: the rows of the manual's table, each chosen at random among those that
 * suffice. [VTD 6.5.3.3 Guidance to Software for Invalidations, Table 28] Methods are named after what software changed;
 * `wasPresent` is false where the entry as it stood could not be cached, which then needs nothing unless CM is 1.
 */

import type { Driver } from './guest-vtd-driver.js'
import type { Entry } from './intel-tables.js'
import type { VtdFeatures } from './reference/vtd-features.js'
import type { Rng } from './rng.js'

/** One user of a first stage. */
export interface FirstUser {
  readonly did: number
  readonly pasid: number
}

/** What a table entry was before it changed. */
export interface Before {
  readonly entry: Entry
  readonly wasPresent: boolean
  /** It may have led to another table. */
  readonly wasTable: boolean
}

/** Issues descriptors, or writes registers while there is no queue. */
export class Rules {
  /**
   * Somewhere a pointer is not what the guest believes, so that a table may be read at another place than the guest
   * would name: then every edit invalidates everything.
   */
  isBent = false
  readonly #rng: Rng
  readonly #driver: Driver
  readonly #features: VtdFeatures
  readonly #isScalable: boolean
  readonly #used = new Set<number>()

  constructor(rng: Rng, driver: Driver, features: VtdFeatures, isScalable: boolean) {
    this.#rng = rng
    this.#driver = driver
    this.#features = features
    this.#isScalable = isScalable
  }

  /** "RTADDR + SRTP" where ESRTPS is 0, and "root entry, present". */
  everything(): void {
    this.#contextGlobal()
    if (this.#isScalable) this.#pasidGlobal()
    this.#iotlbGlobal()
  }

  /** "RTADDR + SRTP": hardware does it where ESRTPS is 1. */
  rootSet(): void {
    if (!this.#features.esrtps) this.everything()
  }

  /** "root entry", legacy or scalable. */
  root(wasPresent: boolean): void {
    if (wasPresent || this.#features.cm) this.everything()
  }

  /** "legacy context entry": by the old DID; what was absent or faulted is cached with DID 0, and only with CM = 1. */
  legacyContext(sid: number, did: number, wasPresent: boolean): void {
    if (!wasPresent && !this.#features.cm) return
    const by = this.#rng.int(4)
    if (by === 0) this.#contextGlobal()
    else if (by === 1) {
      this.#contextDomain(did)
      if (this.#features.cm) this.#contextDomain(0)
    } else {
      this.#contextDevice(sid, did)
      if (this.#features.cm) this.#contextDevice(sid, 0)
    }
    this.#iotlbDomain(did)
  }

  /** "scalable context entry": every domain that is reached through it. */
  context(sid: number, dids: readonly number[], wasPresent: boolean): void {
    if (!wasPresent && !this.#features.cm) return
    const by = this.#rng.int(5)
    if (by === 0) this.#contextGlobal()
    // The domain form acts as the global one. [VTD 6.5.2.1]
    else if (by === 1) this.#contextDomain(this.#rng.pick(dids))
    else this.#contextDevice(sid, this.#rng.int(0x10000))
    for (const did of this.#withNegatives(dids)) this.#pasidDomain(did)
    for (const did of dids) this.#iotlbDomain(did)
  }

  /** "PASID directory entry": each PASID under it, each of their domains. */
  directory(users: readonly FirstUser[], wasPresent: boolean): void {
    if (!wasPresent && !this.#features.cm) return
    // With CM = 1 any PASID under it may be cached as absent, under DID 0.
    if (this.#features.cm) this.#pasidDomain(0)
    for (const { did, pasid } of users) this.#pasidOne(did, pasid)
    for (const did of new Set(users.map((user) => user.did))) this.#iotlbDomain(did)
  }

  /** "PASID entry, absent -> present": Linux's way with the new DID, or by the manual's tag of what is not there. */
  pasidAppeared({ did, pasid }: FirstUser): void {
    if (!this.#features.cm) return
    this.#pasidOne(0, pasid)
    this.#pasidOne(did, pasid)
    this.#pasidIotlb(did, pasid)
  }

  /** "PASID entry P 1 -> 0, or SSADE 0 -> 1", by PGTT. */
  pasidVanished({ did, pasid }: FirstUser, type: number): void {
    if (this.#features.cm) this.#pasidOne(0, pasid)
    this.#pasidOne(did, pasid)
    if (type === 2 || type === 3) this.#iotlbDomain(did)
    else this.#pasidIotlb(did, pasid)
  }

  /** "PASID entry present, any other field", with the old DID. */
  pasidChanged({ did, pasid }: FirstUser): void {
    if (this.#features.cm) this.#pasidOne(0, pasid)
    this.#pasidOne(did, pasid)
    this.#pasidIotlb(did, pasid)
  }

  /** "DID taken into use again". */
  didTaken(did: number): void {
    if (this.#used.has(did)) {
      if (this.#isScalable) this.#pasidDomain(did)
      else this.#contextDomain(did)
      this.#iotlbDomain(did)
    }
    this.#used.add(did)
  }

  /** "FS leaf" and "FS non-leaf": CM does not apply to the first stage. */
  first(users: readonly FirstUser[], { entry, wasPresent, wasTable }: Before, bits: number): void {
    if (this.isBent) {
      this.everything()
      return
    }
    if (!wasPresent) return
    const address = BigInt.asUintN(64, BigInt.asIntN(bits, entry.input))
    const am = 9 * (entry.level - 1)
    for (const { did, pasid } of users) {
      const by = this.#rng.int(8)
      if (by === 0) this.#iotlbDomain(did)
      else if (by < 3) this.#pasidIotlb(did, pasid)
      else {
        const hint = wasTable ? 0n : this.#rng.bit()
        const wide = am + (this.#rng.chance(0.3) ? this.#rng.int(4) : 0)
        this.#pasidPages(did, pasid, address | (this.#rng.bits(12 + am) & ~0xfffn), wide, hint)
      }
    }
  }

  /** "SS leaf" and "SS non-leaf", for every DID that uses the table. */
  second(dids: readonly number[], { entry, wasPresent, wasTable }: Before): void {
    if (this.isBent) {
      this.everything()
      return
    }
    if (!wasPresent && !this.#features.cm) return
    const am = 9 * (entry.level - 1)
    for (const did of dids) {
      if (am > this.#features.mamv || !this.#features.psi || this.#rng.chance(0.2)) this.#iotlbDomain(did)
      else this.#iotlbPages(did, entry.input | (this.#rng.bits(12 + am) & ~0xfffn), am, wasTable ? 0n : this.#rng.bit())
    }
  }

  /** Second-stage entries appeared for tables of a first stage. */
  secondGrew(dids: readonly number[]): void {
    if (this.#features.cm) for (const did of dids) this.#iotlbDomain(did)
  }

  /** Descriptors that nothing needs; whatever they drop is found again. */
  noise(dids: readonly number[]): void {
    const rng = this.#rng
    const did = rng.chance(0.8) ? rng.pick(dids) : rng.int(0x10000)
    const by = rng.int(this.#isScalable ? 8 : 4)
    if (by === 0) this.#contextDevice(rng.int(0x10000), did)
    else if (by === 1) this.#iotlbDomain(did)
    else if (by === 2 && this.#features.psi) {
      this.#iotlbPages(did, rng.bits(64), rng.int(Math.min(53, this.#features.mamv + 1)), rng.bit())
    } else if (by === 3) this.#iotlbGlobal()
    else if (by === 4) this.#pasidOne(did, rng.int(64))
    else if (by === 5) this.#pasidIotlb(did, rng.int(64))
    else if (by === 6) this.#pasidPages(did, rng.int(64), rng.bits(64), rng.int(64), rng.bit())
    else if (by === 7) this.#pasidDomain(did)
  }

  #withNegatives(dids: readonly number[]): readonly number[] {
    return this.#features.cm ? [0, ...dids] : dids
  }

  // What follows is one method a descriptor. [VTD 6.5.2.1 to 6.5.2.4]

  #contextGlobal(): void {
    if (this.#driver.isQueued) this.#driver.put(0x11n, 0n)
    else this.#driver.contextByRegister(1, 0, 0, 0)
  }

  #contextDomain(did: number): void {
    if (this.#driver.isQueued) this.#driver.put(0x21n | (BigInt(did) << 16n), 0n)
    else this.#driver.contextByRegister(2, did, 0, 0)
  }

  /** Function mask: bits of the source-id that are not compared. */
  #contextDevice(sid: number, did: number): void {
    const mask = this.#rng.chance(0.7) ? 0 : this.#rng.int(4)
    const other = sid ^ (this.#rng.int(8) & [0, 4, 6, 7][mask])
    if (!this.#driver.isQueued) this.#driver.contextByRegister(3, did, other, mask)
    else this.#driver.put(0x31n | (BigInt(did) << 16n) | (BigInt(other) << 32n) | (BigInt(mask) << 48n), 0n)
  }

  #pasidGlobal(): void {
    this.#driver.put(0x37n, 0n)
  }

  #pasidDomain(did: number): void {
    if (this.#rng.chance(0.1)) this.#pasidGlobal()
    else this.#driver.put(0x07n | (BigInt(did) << 16n), 0n)
  }

  #pasidOne(did: number, pasid: number): void {
    if (this.#rng.chance(0.1)) this.#pasidDomain(did)
    else this.#driver.put(0x17n | (BigInt(did) << 16n) | (BigInt(pasid) << 32n), 0n)
  }

  #iotlbGlobal(): void {
    if (this.#driver.isQueued) this.#driver.put(0x12n | this.#drains, 0n)
    else this.#driver.iotlbByRegister(1, 0, 0n)
  }

  #iotlbDomain(did: number): void {
    if (this.#rng.chance(0.05)) this.#iotlbGlobal()
    else if (this.#driver.isQueued) this.#driver.put(0x22n | this.#drains | (BigInt(did) << 16n), 0n)
    else this.#driver.iotlbByRegister(2, did, 0n)
  }

  #iotlbPages(did: number, address: bigint, am: number, hint: bigint): void {
    const page = (address & ~0xfffn) | (hint << 6n) | BigInt(am)
    if (this.#driver.isQueued) this.#driver.put(0x32n | this.#drains | (BigInt(did) << 16n), page)
    else this.#driver.iotlbByRegister(3, did, page)
  }

  #pasidIotlb(did: number, pasid: number): void {
    if (this.#rng.chance(0.1)) this.#iotlbDomain(did)
    else this.#driver.put(0x26n | (BigInt(did) << 16n) | (BigInt(pasid) << 32n), 0n)
  }

  #pasidPages(did: number, pasid: number, address: bigint, am: number, hint: bigint): void {
    const low = 0x36n | (BigInt(did) << 16n) | (BigInt(pasid) << 32n)
    this.#driver.put(low, (address & ~0xfffn) | (hint << 6n) | BigInt(am))
  }

  /** DR and DW: all is drained anyhow. */
  get #drains(): bigint {
    return this.#rng.bits(2) << 6n
  }
}
