/**
 * VMSAv8-64 table entries for both stages. [SMMU 3.4 Address sizes] [Arm D8.3 Translation table descriptor formats]
 *
 * Levels are the walker's: 0 holds pages, so the manual's level is 3 minus ours.
 *
 * Flags are set for an access that its stage lets happen, and for no other: a refused access leaves the entry that
 * refuses it as it was. Stage 1 is done before its output meets stage 2, so what stage 2 refuses has set the flags of
 * stage 1. The manual allows that much, and also more. [SMMU 3.13 Access flag and dirty state] [Arm D8.5.1, D8.5.2]
 */

import { bitsOfLeaf, ENTRY, type Format, Plain } from '../walk/format.js'
import { ASK, happensAt, makesDirty, PRIVILEGED_SHIFT, RIGHT } from './rights.js'

/** What tables above the leaf took away; kept beside the rights on the way down. */
const TABLE = {
  NO_USER: 1 << 9,
  NO_WRITE: 1 << 10,
  UXN: 1 << 11,
  PXN: 1 << 12,
} as const

/** The same in the high word of a table entry: UXNTable, PXNTable, APTable. */
const LIMITS = 0b1111 << 27

/** Where the bits that make the rights of a leaf are, a bit of `bitsOfLeaf` each, in the low word and in the high one. */
const AP_BITS = 3 << 6
const NG = 1 << 11
const PXN = 1 << 21
const UXN = 1 << 22

const VALID = 1
const TABLE_OR_PAGE = 2
const AF = 1 << 10
/** AP[2], which takes writes away, and S2AP[1], which grants them; one place for both. */
const WRITE_BIT = 1 << 7
/** DBM and Contiguous, in the high word. */
const DBM = 1 << 19
const CONTIGUOUS = 1 << 20

/** log2 of the leaves that the Contiguous bit joins, by granule and level of ours. [Arm Table D8-104] */
const RUNS: Readonly<Record<number, readonly number[]>> = { 12: [4, 4, 4], 14: [7, 5], 16: [5, 5] }

/** What a CD or STE says about the flags of its stage. [SMMU 5.4 HA, HD, AFFD] */
export interface FlagRules {
  /** A clear access flag is treated as set (AFFD). Without meaning where hardware sets it. */
  readonly ignoresAf: boolean
  /** Hardware sets access flags (HA). */
  readonly setsAccess: boolean
  /** Hardware keeps the dirty state (HA and HD). */
  readonly setsDirty: boolean
}

/** Where an entry keeps bits [51:48] of its address. [Arm D8.3.1 VMSAv8-64 descriptor formats] */
export const WIDE = {
  /** Nowhere: they are 0. */
  NO: 0,
  /** 64 KiB granules: in [15:12]. */
  GRANULE_64K: 1,
  /** DS, with smaller granules: [49:48] in place, [51:50] in [9:8], where SH was. */
  DS: 2,
} as const

/** Bits of the high word that stay in place; and bits of the low word that go up there, and how far. */
const HIGH_MASK: readonly number[] = [0xffff, 0xffff, 0x3ffff]
const MOVED_MASK: readonly number[] = [0, 0xf000, 0x300]
const MOVED_SHIFT: readonly number[] = [0, 4, 10]

/** One of WIDE for a set of tables. 64 KiB granules have wide entries where any output has 52 bits. */
export function wideOf(granuleLg2: number, ds: boolean, oasBits: number): number {
  if (granuleLg2 === 16) return oasBits === 52 ? WIDE.GRANULE_64K : WIDE.NO
  return ds ? WIDE.DS : WIDE.NO
}

/** What a CD or STE says about its tables. */
export interface TableRules extends FlagRules {
  readonly granuleLg2: number
  /** eff_IPS or eff_S2PS, 32 to 52. */
  readonly outputBits: number
  /** One of WIDE. */
  readonly wide: number
}

/** What both stages share: geometry, address width, flags. */
export abstract class Vmsa implements Format {
  /** One of WIDE. */
  readonly wide: number
  readonly plain = new Plain()
  readonly #granuleLg2: number
  readonly #stride: number
  /** Highest level of ours that may hold a block. */
  readonly #topBlock: number
  readonly #highMask: number
  readonly #movedMask: number
  readonly #movedShift: number
  /** How many bits of the high word an output address may use. */
  readonly #highBits: number
  readonly #ignoresAf: boolean
  readonly #setsAccess: boolean
  readonly #setsDirty: boolean

  constructor({ granuleLg2, outputBits, wide, ignoresAf, setsAccess, setsDirty }: TableRules) {
    this.wide = wide
    this.#granuleLg2 = granuleLg2
    this.#stride = granuleLg2 - 3
    // 2 MiB, 32 MiB and 512 MiB, and 1 GiB with 4 KiB granules; wider addresses have one size more.
    this.#topBlock = (granuleLg2 === 12 ? 2 : 1) + (wide === WIDE.NO ? 0 : 1)
    this.#highMask = HIGH_MASK[wide]
    this.#movedMask = MOVED_MASK[wide]
    this.#movedShift = MOVED_SHIFT[wide]
    this.#highBits = outputBits - 32
    this.#ignoresAf = ignoresAf || setsAccess
    this.#setsAccess = setsAccess
    this.#setsDirty = setsDirty
    if (wide !== WIDE.NO) return
    const tooHigh = HIGH_MASK[wide] & -(2 ** this.#highBits)
    const both = VALID | TABLE_OR_PAGE
    this.plain.tables.set(both, both, tooHigh | LIMITS)
    this.plain.frameLo = -(1 << granuleLg2)
    this.plain.frameHi = HIGH_MASK[wide]
    this.plain.kept = 0
  }

  classify(lo: number, hi: number, level: number): number {
    if ((lo & VALID) === 0) return ENTRY.INVALID
    const isTable = (lo & TABLE_OR_PAGE) !== 0
    if (level === 0 ? !isTable : !isTable && level > this.#topBlock) return ENTRY.INVALID
    if (this.addressHigh(lo, hi, level) >>> this.#highBits !== 0) return ENTRY.TOO_WIDE
    if (isTable && level !== 0) return ENTRY.TABLE
    return (lo & AF) !== 0 || this.#ignoresAf ? ENTRY.LEAF : ENTRY.UNACCESSED
  }

  addressLow(lo: number, level: number): number {
    const lg2 = this.#alignmentLg2(lo, level)
    return lg2 < 32 ? lo & -(1 << lg2) : 0
  }

  /** Bits [51:32] of the address; a block larger than 4 GiB starts at a multiple of its size. */
  addressHigh(lo: number, hi: number, level: number): number {
    const high = (hi & this.#highMask) | ((lo & this.#movedMask) << this.#movedShift)
    const lg2 = this.#alignmentLg2(lo, level)
    return lg2 < 32 ? high : high & -(1 << (lg2 - 32))
  }

  /** What the address in an entry is a multiple of. */
  #alignmentLg2(lo: number, level: number): number {
    return (lo & TABLE_OR_PAGE) === 0 ? this.#granuleLg2 + this.#stride * level : this.#granuleLg2
  }

  abstract narrow(rights: number, lo: number, hi: number, level: number): number

  /**
   * log2 of the bytes that a leaf's entry stands for: its own, or with the Contiguous bit those of its run, unless the
   * run is more than the input or the output may be. [Arm D8.7.1 The Contiguous bit]
   */
  spanLg2(hi: number, level: number, inputBits: number): number {
    const leafLg2 = this.#granuleLg2 + this.#stride * level
    if ((hi & CONTIGUOUS) === 0) return leafLg2
    const spanLg2 = leafLg2 + (RUNS[this.#granuleLg2][level] ?? 0)
    return spanLg2 <= inputBits && spanLg2 <= this.#highBits + 32 ? spanLg2 : leafLg2
  }

  /** AP[2] is cleared, S2AP[1] set: either way the bit turns over. [SMMU 3.13.2, 3.13.3] */
  flagged(lo: number, _hi: number, level: number, ask: number, rights: number): number {
    if (!this.#setsAccess || (level !== 0 && (lo & TABLE_OR_PAGE) !== 0)) return lo
    if (happensAt(rights, ask) === 0) return lo
    const next = lo | AF
    return makesDirty(rights, ask) ? next ^ WRITE_BIT : next
  }

  /** Whether a leaf that its own bits make read-only is writable-clean. [Arm D8.5.2 The dirty state] */
  protected isClean(hi: number): boolean {
    return this.#setsDirty && (hi & DBM) !== 0
  }

  /** UNACCESSED where hardware has yet to set the access flag. */
  protected unaccessed(lo: number): number {
    return this.#setsAccess && (lo & AF) === 0 ? RIGHT.UNACCESSED : 0
  }
}

/** What a CD says about one half of the address space. */
export interface StageOneRules extends TableRules {
  /** Hierarchical permissions are off (HAD). */
  readonly flat: boolean
  readonly wxn: boolean
  readonly pan: boolean
  /** PAN looks at unprivileged execution too (EPAN). */
  readonly epan: boolean
}

/** Stage 1 of the StreamWorlds with two privileges, NS-EL1 and NS-EL2-E2H. [Arm D8.4 Memory access control] */
export class StageOneFormat extends Vmsa {
  readonly #flat: boolean
  protected readonly wxn: boolean
  readonly #pan: boolean
  readonly #epan: boolean

  constructor(rules: StageOneRules) {
    super(rules)
    this.#flat = rules.flat
    this.wxn = rules.wxn
    this.#pan = rules.pan
    this.#epan = rules.epan
    this.#settlePlain(rules)
  }

  /**
   * A page that has been accessed, and whose writes need no mark, is plain: its rights depend on five of its bits alone
   * where the tables above it have taken none away.
   */
  #settlePlain({ wide, setsDirty }: StageOneRules): void {
    if (wide !== WIDE.NO) return
    const { tables, leaves, granted } = this.plain
    leaves.set(tables.mask | AF, tables.want | AF, (tables.none & ~LIMITS) | (setsDirty ? DBM : 0))
    this.plain.barred = TABLE.NO_USER | TABLE.NO_WRITE | TABLE.UXN | TABLE.PXN
    for (let bits = 0; bits < 32; bits++) {
      const lo = tables.want | AF | ((bits << 6) & AP_BITS) | ((bits & 4) !== 0 ? NG : 0)
      const hi = ((bits & 8) !== 0 ? PXN : 0) | ((bits & 16) !== 0 ? UXN : 0)
      granted[bitsOfLeaf(lo, hi)] = this.leafRights(RIGHT.ALL, lo, hi)
    }
  }

  narrow(rights: number, lo: number, hi: number, level: number): number {
    if (level !== 0 && (lo & TABLE_OR_PAGE) !== 0) return this.#flat ? rights : rights | tableLimits(hi)
    return this.leafRights(rights, lo, hi)
  }

  /** What a leaf grants, `rights` holding what the tables above it took away. */
  protected leafRights(rights: number, lo: number, hi: number): number {
    // Effective AP[2:1]: bit 0 lets unprivileged accesses in, bit 1 takes all writes away.
    const forUser = (lo & (1 << 6)) !== 0 && (rights & TABLE.NO_USER) === 0
    const readOnly = (lo & WRITE_BIT) !== 0
    // A clean leaf counts as writable for execution too. [Arm D8.5.2.2 Implications of dirty state management]
    const writable = (rights & TABLE.NO_WRITE) === 0 && (!readOnly || this.isClean(hi))
    const userData = forUser ? (writable ? 3 : 1) : 0
    let privilegedData = writable ? 3 : 1
    const userNever = (hi & UXN) !== 0 || (rights & TABLE.UXN) !== 0
    const privilegedNever = (hi & PXN) !== 0 || (rights & TABLE.PXN) !== 0
    const userExecutes = !userNever && !(this.wxn && userData === 3)
    // What unprivileged code can write, privileged code never executes.
    const privilegedExecutes = !privilegedNever && userData !== 3 && !(this.wxn && writable)
    // WXN takes no execution away here. [Arm D8.4 Memory access control]
    if (this.#pan && (forUser || (this.#epan && !userNever))) privilegedData = 0
    const user = userData | (userExecutes ? RIGHT.EXECUTE : 0)
    const privileged = privilegedData | (privilegedExecutes ? RIGHT.EXECUTE : 0)
    const rest = ((lo & NG) !== 0 ? RIGHT.NOT_GLOBAL : 0) | (writable && readOnly ? RIGHT.CLEAN : 0)
    return user | (privileged << PRIVILEGED_SHIFT) | rest | this.unaccessed(lo)
  }
}

/**
 * Stage 1 of NS-EL2, where everybody is privileged: AP[1] counts as 1 and APTable[0] as 0, one XN bit stands where UXN
 * does, and nG, PXN, PXNTable and PAN mean nothing. [SMMU 13.4.1 Stage 1 page permissions] [Arm D8.4]
 */
export class HypFormat extends StageOneFormat {
  protected override leafRights(rights: number, lo: number, hi: number): number {
    const readOnly = (lo & WRITE_BIT) !== 0
    const writable = (rights & TABLE.NO_WRITE) === 0 && (!readOnly || this.isClean(hi))
    const never = (hi & UXN) !== 0 || (rights & TABLE.UXN) !== 0
    const data = writable ? RIGHT.READ | RIGHT.WRITE : RIGHT.READ
    const both = data | (never || (this.wxn && writable) ? 0 : RIGHT.EXECUTE)
    return both | (both << PRIVILEGED_SHIFT) | (writable && readOnly ? RIGHT.CLEAN : 0) | this.unaccessed(lo)
  }
}

/** APTable, UXNTable and PXNTable of a table entry. */
function tableLimits(hi: number): number {
  let limits = 0
  if ((hi & (1 << 29)) !== 0) limits |= TABLE.NO_USER
  if ((hi & (1 << 30)) !== 0) limits |= TABLE.NO_WRITE
  if ((hi & (1 << 28)) !== 0) limits |= TABLE.UXN
  if ((hi & (1 << 27)) !== 0) limits |= TABLE.PXN
  return limits
}

/** What an STE says about its stage 2. */
export interface StageTwoRules extends TableRules {
  /** XN has two bits (IDR3.XNX). */
  readonly xnx: boolean
  /** MemAttr is coded as for S2FWB = 1. */
  readonly fwb: boolean
  /** S2PTW: CDs and tables of stage 1 may not stand in Device memory. */
  readonly protectsTables: boolean
}

/** S2AP and MemAttr in the low word, XN in the high one; and Normal write-back memory in both codes of MemAttr. */
const S2AP = 3 << 6
const MEM_ATTR = 0xf << 2
const XN = 3 << 21
const WRITE_BACK = 0xf << 2
const FWB_WRITE_BACK = 0x6 << 2

/** Unprivileged and privileged EXECUTE for each value of XN[1:0]. */
const XNX_RIGHTS: readonly number[] = [0b100100, 0b000100, 0, 0b100000]

/** Stage 2. [Arm D8.4 Memory access control] */
export class StageTwoFormat extends Vmsa {
  readonly #xnx: boolean
  readonly #fwb: boolean
  readonly #protectsTables: boolean

  constructor(rules: StageTwoRules) {
    super(rules)
    this.#xnx = rules.xnx
    this.#fwb = rules.fwb
    this.#protectsTables = rules.protectsTables
    if (rules.wide !== WIDE.NO) return
    // A page of Normal memory that may be read, written and executed, and has been accessed.
    const { tables, leaves } = this.plain
    const attributes = this.#fwb ? FWB_WRITE_BACK : WRITE_BACK
    leaves.set(tables.mask | AF | S2AP | MEM_ATTR, tables.want | AF | S2AP | attributes, (tables.none & ~LIMITS) | XN)
    this.plain.granted.fill(RIGHT.ALL)
  }

  narrow(rights: number, lo: number, hi: number, level: number): number {
    if (level !== 0 && (lo & TABLE_OR_PAGE) !== 0) return rights
    const isClean = (lo & WRITE_BIT) === 0 && this.isClean(hi)
    const data = ((lo >>> 6) & 3) | (isClean ? RIGHT.WRITE : 0)
    const xn = (hi >>> 21) & 3
    const executes = this.#xnx ? XNX_RIGHTS[xn] : (xn & 2) === 0 ? 0b100100 : 0
    const memAttr = (lo >>> 2) & 0xf
    const isDevice = (memAttr & (this.#fwb ? 0b0100 : 0b1100)) === 0
    const rest = (isDevice ? RIGHT.DEVICE : 0) | (isClean ? RIGHT.CLEAN : 0)
    return data | (data << PRIVILEGED_SHIFT) | executes | rest | this.unaccessed(lo)
  }

  /** Whether the unit's own accesses are refused for the kind of memory. [SMMU 5.2 S2PTW] */
  isProtected(rights: number): boolean {
    return this.#protectsTables && (rights & RIGHT.DEVICE) !== 0
  }

  override flagged(lo: number, hi: number, level: number, ask: number, rights: number): number {
    if ((ask & ASK.STRUCTURE) !== 0 && this.isProtected(rights)) return lo
    return super.flagged(lo, hi, level, ask, rights)
  }
}
