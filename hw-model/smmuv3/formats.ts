/**
 * VMSAv8-64 table entries for both stages. [SMMU 3.4 Address sizes] [Arm D8.3 Translation table descriptor formats]
 *
 * Levels are the walker's: 0 holds pages, so the manual's level is 3 minus ours. Rights are one code for both stages,
 * so that combining them is an AND: three bits for unprivileged accesses, the same three above them for privileged.
 */

import { ENTRY, type Format } from '../walk/format.js'

/** Rights of a leaf. READ, WRITE and EXECUTE have the numbers of ACCESS. */
export const RIGHT = {
  READ: 1,
  WRITE: 2,
  EXECUTE: 4,
  /** All three, unprivileged. */
  USER: 0b000111,
  /** All three, privileged. */
  PRIVILEGED: 0b111000,
  ALL: 0b111111,
  /** The page is Device memory at stage 2. */
  DEVICE: 1 << 6,
  /** The leaf is for one ASID (nG). */
  NOT_GLOBAL: 1 << 7,
} as const

/** How far the privileged rights stand above the unprivileged ones. */
export const PRIVILEGED_SHIFT = 3

/** What tables above the leaf took away; kept beside the rights on the way down. */
const TABLE = {
  NO_USER: 1 << 8,
  NO_WRITE: 1 << 9,
  UXN: 1 << 10,
  PXN: 1 << 11,
} as const

const VALID = 1
const TABLE_OR_PAGE = 2
const AF = 1 << 10

/** What both stages share: geometry, address width, access flag. */
abstract class Vmsa implements Format {
  readonly #granuleLg2: number
  readonly #stride: number
  readonly #tableMask: number
  /** Highest level of ours that may hold a block. */
  readonly #topBlock: number
  /** How many bits of the high word an output address may use. */
  readonly #highBits: number
  readonly #ignoresAf: boolean

  /**
   * @param granuleLg2 12, 14 or 16
   * @param outputBits bits of an output address, 32..48
   * @param ignoresAf a clear access flag is treated as set (AFFD)
   */
  constructor(granuleLg2: number, outputBits: number, ignoresAf: boolean) {
    this.#granuleLg2 = granuleLg2
    this.#stride = granuleLg2 - 3
    this.#tableMask = -(1 << granuleLg2)
    // 1 GiB blocks exist with 4 KiB granules only; 16 KiB and 64 KiB need wider addresses for theirs.
    this.#topBlock = granuleLg2 === 12 ? 2 : 1
    this.#highBits = outputBits - 32
    this.#ignoresAf = ignoresAf
  }

  classify(lo: number, hi: number, level: number): number {
    if ((lo & VALID) === 0) return ENTRY.INVALID
    const isTable = (lo & TABLE_OR_PAGE) !== 0
    if (level === 0 ? !isTable : !isTable && level > this.#topBlock) return ENTRY.INVALID
    if ((hi & 0xffff) >>> this.#highBits !== 0) return ENTRY.TOO_WIDE
    if (isTable && level !== 0) return ENTRY.TABLE
    return (lo & AF) !== 0 || this.#ignoresAf ? ENTRY.LEAF : ENTRY.UNACCESSED
  }

  addressIn(lo: number, hi: number, level: number): number {
    const isLeaf = level === 0 || (lo & TABLE_OR_PAGE) === 0
    const mask = isLeaf ? -(1 << (this.#granuleLg2 + this.#stride * level)) : this.#tableMask
    return (hi & 0xffff) * 4294967296 + ((lo & mask) >>> 0)
  }

  abstract narrow(rights: number, lo: number, hi: number, level: number): number

  /** Hardware updates no flag: IDR0.HTTU is 0. */
  flagged(lo: number, _hi: number, _level: number, _access: number, _rights: number): number {
    return lo
  }
}

/** What a CD says about one half of the address space. */
export interface StageOneRules {
  readonly granuleLg2: number
  /** eff_IPS. */
  readonly outputBits: number
  readonly ignoresAf: boolean
  /** Hierarchical permissions are off (HAD). */
  readonly flat: boolean
  readonly wxn: boolean
  readonly pan: boolean
}

/** Stage 1 of the StreamWorlds with two privileges, NS-EL1 and NS-EL2-E2H. [Arm D8.4 Memory access control] */
export class StageOneFormat extends Vmsa {
  readonly #flat: boolean
  readonly #wxn: boolean
  readonly #pan: boolean

  constructor(rules: StageOneRules) {
    super(rules.granuleLg2, rules.outputBits, rules.ignoresAf)
    this.#flat = rules.flat
    this.#wxn = rules.wxn
    this.#pan = rules.pan
  }

  narrow(rights: number, lo: number, hi: number, level: number): number {
    if (level !== 0 && (lo & TABLE_OR_PAGE) !== 0) return this.#flat ? rights : rights | tableLimits(hi)
    // Effective AP[2:1]: bit 0 lets unprivileged accesses in, bit 1 takes all writes away.
    const forUser = (lo & (1 << 6)) !== 0 && (rights & TABLE.NO_USER) === 0
    const writable = (lo & (1 << 7)) === 0 && (rights & TABLE.NO_WRITE) === 0
    const userData = forUser ? (writable ? 3 : 1) : 0
    let privilegedData = writable ? 3 : 1
    const userNever = (hi & (1 << 22)) !== 0 || (rights & TABLE.UXN) !== 0
    const privilegedNever = (hi & (1 << 21)) !== 0 || (rights & TABLE.PXN) !== 0
    const userExecutes = !userNever && !(this.#wxn && userData === 3)
    // What unprivileged code can write, privileged code never executes.
    const privilegedExecutes = !privilegedNever && userData !== 3 && !(this.#wxn && writable)
    if (this.#pan && forUser) privilegedData = 0
    const user = userData | (userExecutes ? RIGHT.EXECUTE : 0)
    const privileged = privilegedData | (privilegedExecutes ? RIGHT.EXECUTE : 0)
    return user | (privileged << PRIVILEGED_SHIFT) | ((lo & (1 << 11)) !== 0 ? RIGHT.NOT_GLOBAL : 0)
  }
}

/**
 * Stage 1 of NS-EL2, where everybody is privileged: AP[1] counts as 1 and APTable[0] as 0, one XN bit stands where UXN
 * does, and nG, PXN, PXNTable and PAN mean nothing. [SMMU 13.4.1 Stage 1 page permissions] [Arm D8.4]
 */
export class HypFormat extends StageOneFormat {
  readonly #wxn: boolean

  constructor(rules: StageOneRules) {
    super(rules)
    this.#wxn = rules.wxn
  }

  override narrow(rights: number, lo: number, hi: number, level: number): number {
    if (level !== 0 && (lo & TABLE_OR_PAGE) !== 0) return super.narrow(rights, lo, hi, level)
    const writable = (lo & (1 << 7)) === 0 && (rights & TABLE.NO_WRITE) === 0
    const never = (hi & (1 << 22)) !== 0 || (rights & TABLE.UXN) !== 0
    const data = writable ? RIGHT.READ | RIGHT.WRITE : RIGHT.READ
    const both = data | (never || (this.#wxn && writable) ? 0 : RIGHT.EXECUTE)
    return both | (both << PRIVILEGED_SHIFT)
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
export interface StageTwoRules {
  readonly granuleLg2: number
  /** eff_S2PS. */
  readonly outputBits: number
  readonly ignoresAf: boolean
  /** XN has two bits (IDR3.XNX). */
  readonly xnx: boolean
  /** MemAttr is coded as for S2FWB = 1. */
  readonly fwb: boolean
}

/** Unprivileged and privileged EXECUTE for each value of XN[1:0]. */
const XNX_RIGHTS: readonly number[] = [0b100100, 0b000100, 0, 0b100000]

/** Stage 2. [Arm D8.4 Memory access control] */
export class StageTwoFormat extends Vmsa {
  readonly #xnx: boolean
  readonly #fwb: boolean

  constructor(rules: StageTwoRules) {
    super(rules.granuleLg2, rules.outputBits, rules.ignoresAf)
    this.#xnx = rules.xnx
    this.#fwb = rules.fwb
  }

  narrow(rights: number, lo: number, hi: number, level: number): number {
    if (level !== 0 && (lo & TABLE_OR_PAGE) !== 0) return rights
    const data = (lo >>> 6) & 3
    const xn = (hi >>> 21) & 3
    const executes = this.#xnx ? XNX_RIGHTS[xn] : (xn & 2) === 0 ? 0b100100 : 0
    const memAttr = (lo >>> 2) & 0xf
    const isDevice = (memAttr & (this.#fwb ? 0b0100 : 0b1100)) === 0
    return data | (data << PRIVILEGED_SHIFT) | executes | (isDevice ? RIGHT.DEVICE : 0)
  }
}
