/**
 * First stage, second stage and nested translation of one address. In a nested walk every address in the first stage,
 * its tables' own included, is guest-physical and goes through the second stage.
 * [VTD 3.6 First-Stage Translation, 3.7 Second-Stage Translation, 3.8 Nested Translation]
 *
 * A walk runs once for access flags and permissions. Only when nothing can fault any more, and a write finds a dirty
 * flag clear, it runs again to set it: access flags may be set for a request that then faults, dirty flags not.
 * [VTD 3.6.2 Accessed, Extended Accessed, and Dirty Flags]
 */

import { downLow, highHalf, isBeyond, joinWord, offsetLow, TWO32 } from '../bits/address.js'
import type { Memory } from '../memory/memory.js'
import { ACCESS, type Transaction } from '../port.js'
import { PlainTables, type TableStage, WALK } from '../walk/format.js'
import { Walker } from '../walk/walker.js'
import type { Capabilities } from './capabilities.js'
import type { DmaConfig } from './dma-config.js'
import { REASON } from './faults.js'
import { FirstStageFormat, RIGHT, SecondStageFormat } from './formats.js'
import { coversInterrupts, isInInterruptRange } from './interrupt-range.js'
import { GRANT, rightsOf } from './iotlb.js'
import { PGTT } from './records.js'
import {
  bothGrants,
  firstGrants,
  firstPermission,
  firstRights,
  legacyReason,
  secondGrants,
  secondPermission,
  secondRights,
} from './rights.js'
import type { TableCaches } from './table-caches.js'
import { WalkCache } from './walk-cache.js'

const RW = ACCESS.READ | ACCESS.WRITE
const TABLE_LG2 = 12

/** A nested read of a first-stage entry with SSADE needs, and dirties, a writable page. [VTD 3.8.1; choice] */
const DIRTY_TABLES_ON_READ = true

/** Translates one address; its fields hold the last result. */
export class PageWalk implements TableStage {
  /** First byte of the leaf, physical. */
  addressLo = 0
  addressHi = 0
  /** log2 of the leaf's bytes; nested: of the smaller of the two. */
  leafLg2 = 0
  /** Bits of GRANT. */
  grants = 0
  /** Nested: the guest-physical page of 4 KiB that the first stage has led to; -1 in both where it has not come so far. */
  guestLo = -1
  guestHi = -1
  /** Walks that had to read memory. */
  reads = 0
  /** The last fault was found in the first stage, whose results no cache keeps. [VTD 6.2.4.1 Details of IOTLB Use] */
  isFirstFault = false
  /** [TableStage] Where the last table address really is. */
  tableLo = 0
  tableHi = 0
  /** Input of the last second-stage walk. */
  secondLo = 0
  secondHi = 0
  readonly first: Walker
  readonly second: Walker
  /** Where the walks start. */
  firstCache: WalkCache
  secondCache: WalkCache

  readonly #tables: TableCaches
  /** Caching mode keeps what faulted in the second stage. */
  #keepsFaults: boolean
  readonly #firstFormat: FirstStageFormat
  readonly #secondFormat: SecondStageFormat
  readonly #plainSecond: PlainTables
  /** Nothing is kept of a walk of the second stage, nor of where a guest's tables are. */
  #keepsNothing = false
  readonly #hasProbes: boolean
  #config: DmaConfig | null = null
  #isPrivileged = false
  /** What must be granted, bits of ACCESS: nothing to a translation request, which is told what there is. */
  #required = 0
  #isOffer = false
  /** Why the second stage refused a first-stage table. */
  #tableFault = 0
  #tableWrite = false

  constructor(memory: Memory, caps: Capabilities, tables: TableCaches, keepsFaults: boolean) {
    this.first = new Walker(memory)
    this.second = new Walker(memory)
    this.firstCache = new WalkCache(tables.first)
    this.secondCache = new WalkCache(tables.second)
    this.#tables = tables
    this.#keepsFaults = keepsFaults
    this.#keepTables()
    this.#firstFormat = new FirstStageFormat(caps)
    this.#secondFormat = new SecondStageFormat(caps)
    this.#plainSecond = new PlainTables(this.#secondFormat.plain)
    this.#hasProbes = caps.cap.ZLR !== 0
  }

  /** Other caches than before stand behind the walks. */
  replan(keepsFaults: boolean): void {
    this.#keepsFaults = keepsFaults
    this.firstCache = new WalkCache(this.#tables.first)
    this.secondCache = new WalkCache(this.#tables.second)
    this.#keepTables()
  }

  #keepTables(): void {
    this.first.keeper = this.#tables.first.isOn ? this.firstCache : null
    this.second.keeper = this.#tables.second.isOn ? this.secondCache : null
    this.#keepsNothing = this.first.keeper === null && this.second.keeper === null
  }

  /** `guestLo` and `guestHi` as one number, or -1. */
  get guest(): number {
    return this.guestHi < 0 ? -1 : joinWord(this.guestLo, this.guestHi)
  }

  /** [TableStage] */
  get plainTables(): PlainTables | null {
    return this.#keepsNothing && this.second.trace === null ? this.#plainSecond : null
  }

  /** RTADDR.SSIRWE: the second stage's rights are IR and IW. */
  get ioRights(): boolean {
    return this.#secondFormat.hasIoRights
  }

  set ioRights(isOn: boolean) {
    this.#secondFormat.hasIoRights = isOn
  }

  /** Walks for a request. Answers REASON.NONE, and then the fields hold, or why it is blocked. */
  run(config: DmaConfig, tx: Transaction, isPrivileged: boolean): number {
    this.#begin(config, isPrivileged, tx.access)
    this.#isOffer = false
    const fault = this.#pass(config, tx, tx.access & ACCESS.READ)
    return fault === REASON.NONE && (tx.access & ACCESS.WRITE) !== 0 ? this.#dirty(config, tx, tx.access & RW) : fault
  }

  /**
   * Walks for a translation request that wants `wanted`, bits of ACCESS: whatever is left of it is right, and a write
   * that is granted counts as one that happened. [VTD 4.2.3.1 Accessed, Extended Accessed, and Dirty Flags]
   */
  offer(config: DmaConfig, tx: Transaction, isPrivileged: boolean, wanted: number): number {
    this.#begin(config, isPrivileged, 0)
    this.#isOffer = true
    const fault = this.#pass(config, tx, ACCESS.READ)
    if (fault !== REASON.NONE) return fault
    const granted = rightsOf(this.grants, isPrivileged) & wanted
    return (granted & ACCESS.WRITE) === 0 ? REASON.NONE : this.#dirty(config, tx, granted)
  }

  #begin(config: DmaConfig, isPrivileged: boolean, required: number): void {
    this.#config = config
    this.#isPrivileged = isPrivileged
    this.#required = required
    this.isFirstFault = false
    this.guestLo = -1
    this.guestHi = -1
    this.#tables.select(config)
    if (config.pgtt !== PGTT.FIRST) {
      const { secondTableLo, secondTableHi, secondLevels, secondBits } = config
      this.#secondFormat.begin(secondRights(config))
      this.#plainSecond.begin(secondTableLo, secondTableHi, secondLevels - 1, TABLE_LG2, secondBits)
    }
    this.first.flagsForbidden = !config.isSnooped
    this.second.flagsForbidden = !config.isSnooped
  }

  /** Sets the dirty flags that a write finds clear. */
  #dirty(config: DmaConfig, tx: Transaction, flags: number): number {
    if ((this.grants & GRANT.DIRTY) !== 0) return REASON.NONE
    const fault = this.#pass(config, tx, flags)
    if (fault === REASON.NONE) this.grants |= GRANT.DIRTY
    return fault
  }

  /** [TableStage] Translates the address of a first-stage entry. */
  translateTable(lo: number, hi: number, write: boolean): boolean {
    const config = this.#config as DmaConfig
    const needsWrite = write || (config.ssade && DIRTY_TABLES_ON_READ)
    if (this.#isWhereItWas(lo, hi, needsWrite)) return true
    this.#tableFault = this.#walkSecond(config, lo, hi, needsWrite ? RW : ACCESS.READ)
    this.#tableWrite = false
    if (this.#tableFault !== REASON.NONE) return false
    const { rights } = this.second
    if ((rights & (RIGHT.READ | RIGHT.WRITE)) === 0) return this.#refuseTable(REASON.SSS_2)
    if ((rights & RIGHT.READ) === 0) return this.#refuseTable(REASON.NONE)
    this.#tableWrite = needsWrite
    if (needsWrite && (rights & RIGHT.WRITE) === 0) return this.#refuseTable(REASON.NONE)
    this.tableLo = this.second.addressLo | offsetLow(lo, this.second.leafLg2)
    this.tableHi = this.second.addressHi
    const isWritable = (rights & RIGHT.WRITE) !== 0 && this.#secondDirty(config) !== 0
    this.firstCache.settle(this.tableLo, this.tableHi, isWritable)
    return true
  }

  /** Where a guest's table stands, by the configuration that was walked last; -1 where that leads nowhere. */
  whereIs(guest: number): number {
    const isThere = this.isNested && this.translateTable(guest | 0, highHalf(guest), false)
    return isThere ? joinWord(this.tableLo, this.tableHi) : -1
  }

  /** Whether the configuration that was walked last has both stages. */
  get isNested(): boolean {
    return this.#config !== null && this.#config.pgtt === PGTT.NESTED
  }

  /** The table that the walk started with, whose address was translated when it was kept. */
  #isWhereItWas(lo: number, hi: number, needsWrite: boolean): boolean {
    const { guest, host, isWritable } = this.firstCache
    if (guest < 0 || joinWord(downLow(lo, TABLE_LG2), hi) !== guest || (needsWrite && !isWritable)) return false
    this.tableLo = host | offsetLow(lo, TABLE_LG2)
    this.tableHi = (host / TWO32) | 0
    this.firstCache.settle(this.tableLo, this.tableHi, isWritable)
    return true
  }

  /** NONE as fault: the second stage grants something, but not what this access needs; SFS.6 to SFS.8 say what. */
  #refuseTable(fault: number): boolean {
    this.#tableFault = fault
    return false
  }

  #pass(config: DmaConfig, tx: Transaction, flags: number): number {
    this.grants = 0
    if (config.pgtt === PGTT.SECOND) return this.#runSecond(config, tx, flags)
    const fault = this.#walkFirst(config, tx.lo, tx.hi, flags)
    if (fault !== REASON.NONE) return fault
    const refused = firstPermission(this.first.rights, this.#required)
    this.isFirstFault = refused !== REASON.NONE
    if (this.isFirstFault) return refused
    const isDirty = this.#firstFormat.isDirty(this.first.lo)
    if (config.pgtt === PGTT.NESTED) return this.#runNested(config, tx, flags, isDirty)
    this.addressLo = this.first.addressLo
    this.addressHi = this.first.addressHi
    this.leafLg2 = this.first.leafLg2
    this.grants = firstGrants(config, this.first.rights) | (isDirty ? GRANT.DIRTY : 0)
    return this.#outputFault(tx, REASON.SGN_8)
  }

  #runSecond(config: DmaConfig, tx: Transaction, flags: number): number {
    const { isLegacy, secondBits } = config
    // [VTD 7.1.3 LGN.1.1, SGN.5]
    if (isBeyond(tx.hi, secondBits)) return isLegacy ? REASON.LGN_1 : REASON.SGN_5
    const fault = this.#walkSecond(config, tx.lo, tx.hi, flags)
    if (fault !== REASON.NONE) return isLegacy ? legacyReason(fault, tx.access) : fault
    const { rights } = this.second
    const refused = secondPermission(rights, this.#required, this.#hasProbes || this.#isOffer)
    if (refused !== REASON.NONE) return isLegacy ? legacyReason(refused, tx.access) : refused
    this.addressLo = this.second.addressLo
    this.addressHi = this.second.addressHi
    this.leafLg2 = this.second.leafLg2
    this.grants = secondGrants(config, rights, this.#hasProbes) | this.#secondDirty(config)
    return this.#outputFault(tx, isLegacy ? REASON.LGN_4 : REASON.SGN_8)
  }

  /** The final guest-physical address, through the second stage. [VTD 3.8.1 Access Rights] */
  #runNested(config: DmaConfig, tx: Transaction, flags: number, isFirstDirty: boolean): number {
    const { rights: firstRights, leafLg2: firstLg2, addressHi: guestHi } = this.first
    const guestLo = this.first.addressLo | offsetLow(tx.lo, firstLg2)
    this.guestLo = downLow(guestLo, TABLE_LG2)
    this.guestHi = guestHi
    const fault = this.#walkSecond(config, guestLo, guestHi, flags)
    if (fault !== REASON.NONE) return fault
    const { rights } = this.second
    const refused = secondPermission(rights, this.#required, this.#hasProbes || this.#isOffer)
    if (refused !== REASON.NONE) return refused
    this.leafLg2 = Math.min(firstLg2, this.second.leafLg2)
    // The smaller leaf's place inside the second stage's.
    this.addressLo = this.second.addressLo | downLow(offsetLow(guestLo, this.second.leafLg2), this.leafLg2)
    this.addressHi = this.second.addressHi
    this.grants = bothGrants(firstGrants(config, firstRights), secondGrants(config, rights, this.#hasProbes))
    if (isFirstDirty) this.grants |= this.#secondDirty(config)
    return this.#outputFault(tx, REASON.SGN_8)
  }

  /** [VTD 3.6] */
  #walkFirst(config: DmaConfig, lo: number, hi: number, flags: number): number {
    const top = config.firstLevels - 1
    // Canonical: the bits above the input all equal its highest. [VTD 7.1.3 SGN.1]
    const sign = hi >> (top === 4 ? 24 : 15)
    this.isFirstFault = true
    if (sign !== 0 && sign !== -1) return REASON.SGN_1
    const isNested = config.pgtt === PGTT.NESTED
    const { firstTag, firstGroup } = this.#tables
    const from = this.firstCache
    const rights = firstRights(config, this.#isPrivileged)
    this.#firstFormat.begin(isNested ? config.secondBits : 64, rights)
    from.begin(firstTag, firstGroup, config.firstTableLo, config.firstTableHi, top, lo, hi, rights)
    if (isNested) from.nest()
    this.reads++
    const end = this.first.walk(
      this.#firstFormat,
      isNested ? this : null,
      from.tableLo,
      from.tableHi,
      from.top,
      TABLE_LG2,
      from.index,
      lo,
      hi,
      flags,
      from.rights,
    )
    switch (end) {
      case WALK.OK:
        this.isFirstFault = false
        return REASON.NONE
      case WALK.INVALID:
        return REASON.SFS_2
      case WALK.RESERVED:
        return REASON.SFS_3
      case WALK.FETCH:
        return this.first.level === top ? REASON.SFS_4 : REASON.SFS_1
      case WALK.TOO_WIDE:
        return REASON.SFS_5
      case WALK.FLAG:
        return this.first.flagsForbidden ? REASON.SFS_9 : REASON.SFS_10
      default:
        return this.#tableReason(this.first.level === top)
    }
  }

  /** Why the second stage refused a first-stage table. [VTD 7.1.3 SFS.6, SFS.7, SFS.8] */
  #tableReason(isRoot: boolean): number {
    this.isFirstFault = this.#tableFault === REASON.NONE
    if (!this.isFirstFault) return this.#tableFault
    if (this.#tableWrite) return REASON.SFS_8
    return isRoot ? REASON.SFS_6 : REASON.SFS_7
  }

  /** [VTD 3.7] Answers scalable-mode reasons; legacy mode renames them. */
  #walkSecond(config: DmaConfig, lo: number, hi: number, flags: number): number {
    this.secondLo = lo
    this.secondHi = hi
    const top = config.secondLevels - 1
    const from = this.secondCache
    const rights = secondRights(config)
    const plain = this.plainTables
    if (plain !== null && this.second.walkPlainly(plain, lo, hi, rights)) {
      this.reads++
      return REASON.NONE
    }
    from.begin(this.#tables.secondTag, 0, config.secondTableLo, config.secondTableHi, top, lo, hi, rights)
    switch (from.end === WALK.OK ? this.#enterSecond(lo, hi, flags) : from.end) {
      case WALK.OK:
        return REASON.NONE
      case WALK.INVALID:
        return REASON.SSS_2
      case WALK.RESERVED:
        return REASON.SSS_3
      case WALK.FETCH:
        return this.second.level === top ? REASON.SSS_4 : REASON.SSS_1
      default:
        return this.second.flagsForbidden ? REASON.SSS_5 : REASON.SSS_6
    }
  }

  /**
   * From where the cache says. With caching mode an entry that leads nowhere is kept too, unless it is a leaf: an
   * invalidation with IH says that nothing but leaves has changed. [VTD 6.2.5.5, 6.5.2.3 IOTLB Invalidate Descriptor]
   */
  #enterSecond(lo: number, hi: number, flags: number): number {
    const { tableLo, tableHi, top, index, rights } = this.secondCache
    const format = this.#secondFormat
    this.reads++
    const end = this.second.walk(format, null, tableLo, tableHi, top, TABLE_LG2, index, lo, hi, flags, rights)
    const leadsNowhere = end === WALK.INVALID || end === WALK.RESERVED
    if (this.#keepsFaults && leadsNowhere && !format.isLarge(this.second.lo)) {
      this.secondCache.keepEnd(this.second, end)
    }
    return end
  }

  #secondDirty(config: DmaConfig): number {
    return !config.ssade || this.#secondFormat.isDirty(this.second.lo) ? GRANT.DIRTY : 0
  }

  /** Nothing a device sends may come out in the interrupt range, nor may what it is told of. [VTD 3.15, 7.1.3 LGN.4, SGN.8] */
  #outputFault(tx: Transaction, reason: number): number {
    const { addressLo, addressHi, leafLg2 } = this
    // Nothing above 4 GiB is in the range or reaches it.
    if (addressHi !== 0) return REASON.NONE
    const isBarred = this.#isOffer
      ? coversInterrupts(addressLo >>> 0, leafLg2)
      : isInInterruptRange((addressLo | offsetLow(tx.lo, leafLg2)) >>> 0)
    return isBarred ? reason : REASON.NONE
  }
}
