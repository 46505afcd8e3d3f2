/** The STEs and CDs that the driver writes, and which of their bits hardware looks at. */

import { maskOutside, pack } from '../../../hw-model/bits/layout.js'
import { CD, CONFIG, EATS, L1CD, S1DSS, STE } from '../../../hw-model/smmuv3/index.js'
import type { SmmuRoot } from '../../core/driver.js'
import { ENTRY_WORDS } from './entry-update.js'

/** What the CD table of a device looks like to its STE. */
export interface CdTableShape {
  readonly address: number
  /** S1FMT. */
  readonly format: number
  /** log2 of the CDs; 0 for one. */
  readonly maxLg2: number
}

/** What a stage 2 paging domain puts into an STE. */
export interface StageTwoShape {
  readonly vmid: number
  readonly t0sz: number
  readonly sl0: number
  /** Code of the output size. */
  readonly ps: number
  readonly table: number
  readonly forcedWriteBack: boolean
  /** The unit can override shareability, and is told not to. */
  readonly keepsShareability: boolean
}

/** The fields of a guest's STE that become part of the host's. */
export const GUEST_FIELDS = {
  dw0: ['S1Fmt', 'S1ContextPtr', 'S1CDMax'],
  dw1: ['S1DSS', 'S1CIR', 'S1COR', 'S1CSH', 'S1STALLD'],
} as const

/** What of a device's STE is not its domain's. */
export interface StreamShape {
  /** EATS: the device may ask for translations and use them. */
  readonly ats: boolean
  /** S2S: what stage 2 refuses waits for software. */
  readonly stalls: boolean
  /** S1STALLD: no CD may say that something waits. */
  readonly neverStalls: boolean
}

const PLAIN_STREAM: StreamShape = { ats: false, stalls: false, neverStalls: false }

/** Normal write-back memory, read-allocate; inner shareable. */
const WRITE_BACK = 1
const INNER_SHAREABLE = 3
/** SHCFG: as the transaction came. */
const INCOMING = 1

/** Aborts silently. */
export const abortSte = (): Int32Array => pack(STE, { V: 1, Config: CONFIG.ABORT })

/** Stage 1 with the host's own CD table; stage 2 is bypassed, so the pointer is a physical address. */
export function stageOneSte(table: CdTableShape, s1dss: number, stream = PLAIN_STREAM): Int32Array {
  return pack(STE, {
    V: 1,
    Config: CONFIG.S1_TRANS,
    S1Fmt: table.format,
    S1ContextPtr: table.address,
    S1CDMax: table.maxLg2,
    S1DSS: s1dss,
    S1CIR: WRITE_BACK,
    S1COR: WRITE_BACK,
    S1CSH: INNER_SHAREABLE,
    S1STALLD: stream.neverStalls ? 1 : 0,
    EATS: stream.ats ? EATS.FULL : EATS.OFF,
  })
}

/** Stage 2 alone. */
export function stageTwoSte(shape: StageTwoShape, stream = PLAIN_STREAM): Int32Array {
  return pack(STE, {
    V: 1,
    Config: CONFIG.S2_TRANS,
    S2FWB: shape.forcedWriteBack ? 1 : 0,
    SHCFG: shape.keepsShareability ? INCOMING : 0,
    S2VMID: shape.vmid,
    S2T0SZ: shape.t0sz,
    S2SL0: shape.sl0,
    S2IR0: WRITE_BACK,
    S2OR0: WRITE_BACK,
    S2SH0: INNER_SHAREABLE,
    S2PS: shape.ps,
    S2AA64: 1,
    S2PTW: 1,
    S2S: stream.stalls ? 1 : 0,
    S2R: 1,
    EATS: stream.ats ? EATS.FULL : EATS.OFF,
    S2TTB: shape.table,
  })
}

/** The parent's stage 2 with the guest's stage 1 before it: the guest's pointer is an IPA. */
export function nestedSte(shape: StageTwoShape, guest: Int32Array, stream = PLAIN_STREAM): Int32Array {
  const ste = stageTwoSte(shape, stream)
  STE.Config.set(ste, 0, CONFIG.NESTED)
  STE.MEV.set(ste, 0, 1)
  for (const name of [...GUEST_FIELDS.dw0, ...GUEST_FIELDS.dw1]) STE[name].set(ste, 0, STE[name].get(guest, 0))
  return ste
}

/** The parent's stage 2 with a CD table of the host's before it: its pointer is an IPA, too. */
export function windowSte(shape: StageTwoShape, table: CdTableShape, s1dss: number, stream = PLAIN_STREAM): Int32Array {
  const own = stageOneSte(table, s1dss, stream)
  return nestedSte(shape, own, stream)
}

/** What a stage 1 paging domain puts into a CD. */
export interface StageOneShape {
  readonly asid: number
  readonly table: number
  /** Code of the output size. */
  readonly ips: number
  /** Hardware keeps access flags and dirty state in the leaves. */
  readonly tracksDirty: boolean
}

/** MAIR: 0 normal non-cacheable, 1 normal write-back, 2 Device-nGnRE, 3 inner non-cacheable outer write-back. */
const MAIR0 = 0xf404ff44

/** log2 of the bytes that a stage 1 domain covers. */
export const STAGE_1_BITS = 48

/** TTB0 over the whole low half, TTB1 off. */
export function stageOneCd(shape: StageOneShape, stalls = false): Int32Array {
  return pack(CD, {
    T0SZ: 64 - STAGE_1_BITS,
    IR0: WRITE_BACK,
    OR0: WRITE_BACK,
    SH0: INNER_SHAREABLE,
    EPD1: 1,
    V: 1,
    IPS: shape.ips,
    AA64: 1,
    S: stalls ? 1 : 0,
    R: 1,
    A: 1,
    ASET: 1,
    HA: shape.tracksDirty ? 1 : 0,
    HD: shape.tracksDirty ? 1 : 0,
    ASID: shape.asid,
    TTB0: shape.table,
    MAIR0,
  })
}

/** A client's root in the host's CD: the fields that are its own, and what is fixed. */
export function rootCd(root: SmmuRoot, asid: number, stalls: boolean): Int32Array {
  return pack(CD, {
    T0SZ: root.t0sz,
    TG0: root.tg0,
    IR0: root.ir0,
    OR0: root.or0,
    SH0: root.sh0,
    EPD1: 1,
    V: 1,
    IPS: root.ips,
    AA64: 1,
    HA: root.ha ? 1 : 0,
    HD: root.hd ? 1 : 0,
    S: stalls ? 1 : 0,
    R: 1,
    A: 1,
    ASET: 1,
    ASID: asid,
    TTB0: Number(root.ttb0),
    MAIR0: Number(BigInt.asUintN(32, root.mair)),
    MAIR1: Number(root.mair >> 32n),
  })
}

/** A level 1 CD descriptor. */
export const leafPointer = (address: number): Int32Array => pack(L1CD, { V: 1, L2Ptr: address })

type SteField = Exclude<keyof typeof STE, '$'>

const S1_USED: readonly SteField[] = [
  'S1Fmt',
  'S1ContextPtr',
  'S1CDMax',
  'S1DSS',
  'S1CIR',
  'S1COR',
  'S1CSH',
  'S1STALLD',
  'STRW',
  'EATS',
  'MEV',
  'S2VMID',
]
const S2_USED: readonly SteField[] = [
  'S2FWB',
  'EATS',
  'SHCFG',
  'MEV',
  'S2VMID',
  'S2T0SZ',
  'S2SL0',
  'S2IR0',
  'S2OR0',
  'S2SH0',
  'S2TG',
  'S2PS',
  'S2AA64',
  'S2ENDI',
  'S2PTW',
  'S2S',
  'S2R',
  'S2TTB',
]

const steBits = (...names: readonly SteField[]): Int32Array => maskOutside(STE, names).map((word) => ~word)

const STE_BITS = {
  valid: steBits('V'),
  always: steBits('V', 'Config'),
  sharing: steBits('SHCFG'),
  stageOne: steBits(...S1_USED),
  stageTwo: steBits(...S2_USED),
} as const

/** Bits of an STE that hardware looks at, given what it says. [SMMU 5.2 Stream Table Entry] */
export function usedSteBits(ste: Int32Array): Int32Array {
  if (STE.V.get(ste, 0) === 0) return STE_BITS.valid.slice()
  const used = STE_BITS.always.slice()
  const config = STE.Config.get(ste, 0)
  if ((config & 0b100) === 0) return used
  if (config === CONFIG.BYPASS) add(used, STE_BITS.sharing)
  if ((config & 0b001) !== 0) {
    add(used, STE_BITS.stageOne)
    if (STE.S1DSS.get(ste, 0) === S1DSS.BYPASS) add(used, STE_BITS.sharing)
  }
  if ((config & 0b010) !== 0) add(used, STE_BITS.stageTwo)
  return used
}

/** Of EATS, the bit that says FULL. */
const SAFE_BITS = { merging: steBits('MEV'), mergingAndAts: steBits('MEV') } as const
STE.EATS.set(SAFE_BITS.mergingAndAts, 0, EATS.FULL)

/**
 * Bits of an STE that may change early: whether events merge; and whether ATS is on, which no trusted device uses in that
 * moment, where no state on the way would be an illegal one. [SMMU 5.2 EATS]
 */
export function safeSteBits(current: Int32Array, target: Int32Array): Int32Array {
  const isSplit = ((STE.EATS.get(current, 0) | STE.EATS.get(target, 0)) & EATS.SPLIT) !== 0
  const stalls = STE.S2S.get(current, 0) === 1 || STE.S2S.get(target, 0) === 1
  return isSplit || stalls ? SAFE_BITS.merging : SAFE_BITS.mergingAndAts
}

const CD_BITS = {
  valid: maskOutside(CD, ['V']).map((word) => ~word),
  /** All but those of the table that EPD0 switches off. */
  withoutTable: maskOutside(CD, ['T0SZ', 'TG0', 'IR0', 'OR0', 'SH0', 'TTB0']),
  all: new Int32Array(ENTRY_WORDS).fill(-1),
} as const

/** Bits of a CD that hardware looks at. [SMMU 5.4 Context Descriptor] */
export function usedCdBits(cd: Int32Array): Int32Array {
  if (CD.V.get(cd, 0) === 0) return CD_BITS.valid
  return CD.EPD0.get(cd, 0) === 0 ? CD_BITS.all : CD_BITS.withoutTable
}

function add(bits: Int32Array, more: Int32Array): void {
  for (let i = 0; i < ENTRY_WORDS; i++) bits[i] |= more[i]
}
