/**
 * The two entry formats, as the walker's four questions. Level 0 holds 4 KiB leaves, level 1 2 MiB, level 2 1 GiB.
 * [VTD 9.7 First-Stage Paging Entries, 9.8 Second-Stage Paging Entries]
 */

import { isBeyond } from '../bits/address.js'
import type { Field } from '../bits/layout.js'
import { ACCESS } from '../port.js'
import { ENTRY, type Format, Plain } from '../walk/format.js'
import type { Capabilities } from './capabilities.js'
import { FIRST_STAGE_ENTRY, SECOND_STAGE_ENTRY } from './records.js'

/** Rights of a walk in both formats. The upper ones come from the configuration and pass through every level. */
export const RIGHT = {
  READ: 1,
  WRITE: 2,
  /** First stage: U/S is set at every level so far. */
  USER: 4,
  /** The request is privileged: U/S is not looked at. [VTD 3.6.1 Access Rights] */
  SUPERVISOR: 8,
  /** Privileged and WPE=0: R/W is not looked at. */
  NO_WRITE_PROTECT: 16,
  /** EAFE: the extended access flag is set with the access flag. [VTD 3.6.2] */
  EXTENDED_ACCESSED: 32,
  /** SSADE: the second stage keeps access and dirty flags. [VTD 3.7.2] */
  ACCESSED_DIRTY: 64,
} as const

/** What belongs to the request, and not to the tables that it goes through. */
export const CARRIED_RIGHTS = RIGHT.SUPERVISOR | RIGHT.NO_WRITE_PROTECT | RIGHT.EXTENDED_ACCESSED | RIGHT.ACCESSED_DIRTY

/** A one-bit field, as it stands in its 32-bit half. */
const flag = (field: Field): number => 1 << (field.low & 31)

const FS_P = flag(FIRST_STAGE_ENTRY.P)
const FS_RW = flag(FIRST_STAGE_ENTRY.RW)
const FS_US = flag(FIRST_STAGE_ENTRY.US)
const FS_A = flag(FIRST_STAGE_ENTRY.A)
const FS_D = flag(FIRST_STAGE_ENTRY.D)
const FS_EA = flag(FIRST_STAGE_ENTRY.EA)
/** A table entry that leaves a walk as it is. */
const FS_PLAIN = FS_P | FS_RW | FS_US | FS_A
const SS_A = flag(SECOND_STAGE_ENTRY.A)
const SS_D = flag(SECOND_STAGE_ENTRY.D)
const SS_SNP = flag(SECOND_STAGE_ENTRY.SNP)
const SS_IW_HIGH = flag(SECOND_STAGE_ENTRY.IW)
/** Where IR stands in the high half; IW follows it, as W follows R in the low one. */
const SS_IR_SHIFT = SECOND_STAGE_ENTRY.IR.low - 32
/** R and W, or IR and IW: the numbers of RIGHT. */
const SS_RIGHTS = 3
/** The same bit in both formats. */
const PS = flag(FIRST_STAGE_ENTRY.PS)

/** Address bits of the high half. */
const ADDRESS_HIGH = 0xfffff

/** Low-half bits below the frame of a leaf that must be zero: none, 20:12 of 2 MiB, 29:12 of 1 GiB. */
const LEAF_LOW = [0, 0x1ff000, 0x3ffff000] as const

/** Whether a first-stage walk with these rights may write. */
export const mayWriteFirst = (rights: number): boolean =>
  (rights & (RIGHT.USER | RIGHT.SUPERVISOR)) !== 0 && (rights & (RIGHT.WRITE | RIGHT.NO_WRITE_PROTECT)) !== 0

/** x86-64 paging entries, four or five levels. [VTD 9.7 T34-T40] */
export class FirstStageFormat implements Format {
  readonly plain = new Plain()
  /** Nested walks: bits of a guest-physical address, which every entry's address must fit; else 64. */
  #addressBits = 64
  readonly #tooHigh: number
  readonly #topLeaf: number

  constructor(caps: Capabilities) {
    this.#tooHigh = reservedHigh(caps.hawBits)
    this.#topLeaf = caps.cap.FS1GP ? 2 : 1
    this.plain.frameHi = ADDRESS_HIGH
    this.begin(64, 0)
  }

  /** Before a walk: what addresses must fit, and the rights that it starts with, which plain entries leave as they are. */
  begin(addressBits: number, rights: number): void {
    this.#addressBits = addressBits
    const beyond = addressBits >= 52 ? 0 : ADDRESS_HIGH & -(1 << (addressBits - 32))
    const flags = (rights & RIGHT.EXTENDED_ACCESSED) === 0 ? FS_PLAIN : FS_PLAIN | FS_EA
    this.plain.tables.set(flags | PS, flags, this.#tooHigh | beyond)
    this.plain.leaves.set(flags | FS_D, flags | FS_D, this.#tooHigh | beyond)
  }

  classify(lo: number, hi: number, level: number): number {
    if ((lo & FS_P) === 0) return ENTRY.INVALID
    if ((hi & this.#tooHigh) !== 0) return ENTRY.RESERVED
    if ((lo & PS) === 0 || level === 0)
      return this.#fits(hi) ? (level === 0 ? ENTRY.LEAF : ENTRY.TABLE) : ENTRY.TOO_WIDE
    // PS is reserved above the largest leaf; bit 12 of a large leaf is PAT, the rest below the frame is reserved.
    if (level > this.#topLeaf || (lo & LEAF_LOW[level] & ~PAT_LARGE) !== 0) return ENTRY.RESERVED
    return this.#fits(hi) ? ENTRY.LEAF : ENTRY.TOO_WIDE
  }

  addressLow(lo: number, level: number): number {
    const isLargeLeaf = level !== 0 && (lo & PS) !== 0
    return lo & ~(isLargeLeaf ? LEAF_LOW[level] | 0xfff : 0xfff)
  }

  addressHigh(_lo: number, hi: number, _level: number): number {
    return hi & ADDRESS_HIGH
  }

  narrow(rights: number, lo: number, _hi: number, _level: number): number {
    return rights & (CARRIED_RIGHTS | RIGHT.READ | (lo & FS_RW ? RIGHT.WRITE : 0) | (lo & FS_US ? RIGHT.USER : 0))
  }

  flagged(lo: number, _hi: number, level: number, access: number, rights: number): number {
    let next = lo | FS_A
    if ((rights & RIGHT.EXTENDED_ACCESSED) !== 0) next |= FS_EA
    const isLeaf = level === 0 || (lo & PS) !== 0
    if (isLeaf && (access & ACCESS.WRITE) !== 0 && mayWriteFirst(rights)) next |= FS_D
    return next
  }

  /** Whether a leaf has its dirty flag. */
  isDirty(lo: number): boolean {
    return (lo & FS_D) !== 0
  }

  /** [VTD 7.1.3 SFS.5] */
  #fits(hi: number): boolean {
    return this.#addressBits >= 52 || !isBeyond(hi & ADDRESS_HIGH, this.#addressBits)
  }
}

/** PAT of a 2 MiB or 1 GiB first-stage leaf; ignored. */
const PAT_LARGE = 1 << 12

/** Second-stage entries, three to five levels. [VTD 9.8 T41-T47] */
export class SecondStageFormat implements Format {
  readonly plain = new Plain()
  /** RTADDR.SSIRWE: IR and IW say what R and W say otherwise, and those are ignored. [VTD 11.4.5] */
  hasIoRights = false
  readonly #tooHigh: number
  readonly #sizes: number
  readonly #leafReserved: number

  constructor(caps: Capabilities) {
    this.#tooHigh = reservedHigh(caps.hawBits)
    this.#sizes = caps.cap.SSLPS
    this.#leafReserved = caps.ecap.SC ? 0 : SS_SNP
    this.plain.frameHi = ADDRESS_HIGH
    this.begin(0)
  }

  /** Before a walk: the rights that it starts with, which plain entries leave as they are. */
  begin(rights: number): void {
    if (this.hasIoRights) {
      this.plain.tables.clear()
      return
    }
    const isFlagged = (rights & RIGHT.ACCESSED_DIRTY) !== 0
    const flags = isFlagged ? SS_RIGHTS | SS_A : SS_RIGHTS
    const written = isFlagged ? flags | SS_D : flags
    this.plain.tables.set(flags | PS | SS_SNP, flags, this.#tooHigh | SS_IW_HIGH)
    this.plain.leaves.set(written | this.#leafReserved, written, this.#tooHigh | SS_IW_HIGH)
  }

  classify(lo: number, hi: number, level: number): number {
    if (this.#rightsIn(lo, hi) === 0) return ENTRY.INVALID
    // IR is ignored where it is not enabled, IW is reserved.
    if ((hi & (this.hasIoRights ? this.#tooHigh : this.#tooHigh | SS_IW_HIGH)) !== 0) return ENTRY.RESERVED
    if (level === 0) return (lo & this.#leafReserved) !== 0 ? ENTRY.RESERVED : ENTRY.LEAF
    if ((lo & PS) === 0) return (lo & SS_SNP) !== 0 ? ENTRY.RESERVED : ENTRY.TABLE
    const hasSize = level <= 2 && ((this.#sizes >>> (level - 1)) & 1) !== 0
    if (!hasSize || (lo & (LEAF_LOW[level] | this.#leafReserved)) !== 0) return ENTRY.RESERVED
    return ENTRY.LEAF
  }

  addressLow(lo: number, _level: number): number {
    return lo & ~0xfff
  }

  addressHigh(_lo: number, hi: number, _level: number): number {
    return hi & ADDRESS_HIGH
  }

  narrow(rights: number, lo: number, hi: number, _level: number): number {
    return rights & (CARRIED_RIGHTS | this.#rightsIn(lo, hi))
  }

  flagged(lo: number, _hi: number, level: number, access: number, rights: number): number {
    if ((rights & RIGHT.ACCESSED_DIRTY) === 0) return lo
    const isLeaf = level === 0 || (lo & PS) !== 0
    // Where both are asked for and one is missing nothing will be written. The numbers of RIGHT are those of ACCESS.
    const isGranted = (access & ~rights & (ACCESS.READ | ACCESS.WRITE)) === 0
    const writes = isLeaf && (access & ACCESS.WRITE) !== 0 && isGranted
    return writes ? lo | SS_A | SS_D : lo | SS_A
  }

  /** Whether a leaf has its dirty flag. */
  isDirty(lo: number): boolean {
    return (lo & SS_D) !== 0
  }

  /** Whether an entry above the leaves' own level is a leaf too, or would be one. */
  isLarge(lo: number): boolean {
    return (lo & PS) !== 0
  }

  #rightsIn(lo: number, hi: number): number {
    return (this.hasIoRights ? hi >>> SS_IR_SHIFT : lo) & SS_RIGHTS
  }
}

/** Address bits `[51:HAW]` as they stand in the high half. */
const reservedHigh = (hawBits: number): number => ADDRESS_HIGH & ~(2 ** (hawBits - 32) - 1)
