/** Reads a CD into the form the pipeline uses, checking what the manual calls ILLEGAL. [SMMU 5.4 Context Descriptor] */

import { highHalf } from '../bits/address.js'
import type { StreamConfig } from './decode-ste.js'
import { EVENT } from './event-records.js'
import { addressBits, type Features, STALL_MODEL } from './features.js'
import { HypFormat, StageOneFormat, wideOf } from './formats.js'
import { CD } from './records.js'
import { SPACE } from './stream-world.js'
import { alignedRoot, GRANULE_LG2, GRANULE1_LG2, isGranule, largestSz, rootAddress, rootBits } from './table-sizes.js'

const { V, T0SZ, TG0, EPD0, ENDI, T1SZ, TG1, EPD1, IPS, AFFD, WXN, TBI0, TBI1, PAN, AA64, HD, HA, S, R, A } = CD
const { ASET, ASID, HAD0, TTB0, HAD1, TTB1, DS, EPAN, E0PD0, E0PD1 } = CD

/** The fields of each half. */
const LOW = { TSZ: T0SZ, TG: TG0, granules: GRANULE_LG2, HAD: HAD0, TTB: TTB0, E0PD: E0PD0 } as const
const HIGH = { TSZ: T1SZ, TG: TG1, granules: GRANULE1_LG2, HAD: HAD1, TTB: TTB1, E0PD: E0PD1 } as const

/** No reason. */
const LEGAL = ''

/** One half of the address space: what TTB0 or TTB1 leads to. */
export interface HalfConfig {
  readonly format: StageOneFormat
  /** Root table, aligned as hardware takes it. */
  readonly tableLo: number
  readonly tableHi: number
  /** The walker's level of the root. */
  readonly top: number
  readonly granuleLg2: number
  /** Bits of an address in this half. */
  readonly inputBits: number
  /** E0PD: unprivileged accesses find nothing here, whatever the tables say. */
  readonly keepsUserOut: boolean
}

/** A decoded CD. */
export class ContextConfig {
  /** C_BAD_CD where the descriptor is ILLEGAL, else 0. */
  event = 0
  /** Why it is ILLEGAL; empty where it is not. */
  why = ''
  /** TTB0's half; null where EPD0 switches it off. */
  low: HalfConfig | null = null
  high: HalfConfig | null = null
  tbi0 = false
  tbi1 = false
  /** CD.S: translation faults stall, whatever R and A say. */
  stalls = false
  /** CD.R: translation faults are recorded. */
  records = false
  /** CD.A: a faulting access aborts; else it reads as zero. */
  aborts = false
  /** 0 where the StreamWorld has no ASIDs. */
  asid = 0
  /** Global entries of one ASID set do not serve the other. */
  aset = 0
  /** The StreamWorld is NS-EL2: TTB0 alone, no ASID, no privilege. */
  isHyp = false

  /** Tag numbers in the TLB, and the TLB's epoch in which they were looked up. */
  tag = -1
  globalTag = -1
  group = -1
  tagEpoch = -1
}

/** Decodes a CD; an ILLEGAL one answers a config whose `event` is C_BAD_CD. */
export function decodeCd(cd: Int32Array, stream: StreamConfig, features: Features): ContextConfig {
  const config = new ContextConfig()
  config.why = decode(cd, stream, config, features)
  if (config.why !== LEGAL) config.event = EVENT.C_BAD_CD
  return config
}

/** Answers why it is ILLEGAL, or LEGAL. */
function decode(cd: Int32Array, stream: StreamConfig, config: ContextConfig, features: Features): string {
  if (V.get(cd, 0) === 0) return 'V is 0'
  config.stalls = S.get(cd, 0) === 1
  if (config.stalls && stream.stallDisabled) return 'S is 1, and STE.S1STALLD is 1'
  if (config.stalls && features.stallModel === STALL_MODEL.TERMINATE) {
    return 'S is 1, and IDR0.STALL_MODEL has no stalls'
  }
  if (!config.stalls && features.stallModel === STALL_MODEL.FORCED) return 'S is 0, and IDR0.STALL_MODEL forces stalls'
  if (features.abortOnly && A.get(cd, 0) === 0) return 'A is 0, and IDR0.TERM_MODEL has the abort alone'
  config.isHyp = stream.space === SPACE.EL2
  // NS-EL2 has TTB0, which nothing can switch off, and no TTB1. [SMMU 5.4.1 CD notes]
  const epd0 = !config.isHyp && EPD0.get(cd, 0) === 1
  const epd1 = config.isHyp || EPD1.get(cd, 0) === 1
  if (ENDI.get(cd, 0) === 1 && !(epd0 && epd1)) return 'ENDI is 1, and IDR0.TTENDIAN has little-endian tables alone'
  if (AA64.get(cd, 0) === 0) return 'AA64 is 0, and IDR0.TTF has VMSAv8-64 alone'
  if (features.httu === 0 && (HA.get(cd, 0) === 1 || HD.get(cd, 0) === 1)) return 'HA or HD is 1, and IDR0.HTTU is 0'
  if (features.httu === 1 && HD.get(cd, 0) === 1) return 'HD is 1, and IDR0.HTTU has access flags alone'
  if (!config.isHyp) {
    config.asid = ASID.get(cd, 0)
    if (!features.asid16 && config.asid >= 256) return 'ASID has more than the 8 bits of IDR0.ASID16 = 0'
    config.aset = ASET.get(cd, 0)
  }
  config.records = R.get(cd, 0) === 1
  config.aborts = A.get(cd, 0) === 1
  config.tbi0 = TBI0.get(cd, 0) === 1
  config.tbi1 = TBI1.get(cd, 0) === 1
  if (!epd0) {
    config.low = half(cd, features, config.isHyp, LOW)
    if (config.low === null) return 'T0SZ, TG0 or TTB0 is out of range'
  }
  if (!epd1) {
    config.high = half(cd, features, false, HIGH)
    if (config.high === null) return 'T1SZ, TG1 or TTB1 is out of range'
  }
  return LEGAL
}

/** One half, or null where its size, granule or table is ILLEGAL. Both halves are checked for every transaction. */
function half(cd: Int32Array, features: Features, isHyp: boolean, fields: typeof LOW | typeof HIGH): HalfConfig | null {
  const granuleLg2 = fields.granules[fields.TG.get(cd, 0)]
  const ds = features.ds && DS.get(cd, 0) === 1
  const tsz = fields.TSZ.get(cd, 0)
  const isWide = features.vax !== 0 && (granuleLg2 === 16 || ds)
  if (tsz > largestSz(granuleLg2, features) || tsz < (isWide ? 12 : 16)) return null
  if (!isGranule(granuleLg2, features)) return null
  const outputBits = Math.min(addressBits(IPS.get(cd, 0)), features.oasBits)
  const root = rootAddress(fields.TTB.get(cd, 0))
  if (root >= 2 ** rootBits(outputBits, granuleLg2, ds)) return null
  const inputBits = 64 - tsz
  const stride = granuleLg2 - 3
  const top = Math.ceil((inputBits - granuleLg2) / stride) - 1
  const table = alignedRoot(root, inputBits - (granuleLg2 + stride * top), outputBits)
  return {
    format: new (isHyp ? HypFormat : StageOneFormat)({
      granuleLg2,
      outputBits,
      wide: wideOf(granuleLg2, ds, features.oasBits),
      ignoresAf: AFFD.get(cd, 0) === 1,
      setsAccess: HA.get(cd, 0) === 1,
      setsDirty: HA.get(cd, 0) === 1 && HD.get(cd, 0) === 1,
      flat: features.had && fields.HAD.get(cd, 0) === 1,
      wxn: WXN.get(cd, 0) === 1,
      pan: PAN.get(cd, 0) === 1,
      epan: features.epan && EPAN.get(cd, 0) === 1,
    }),
    tableLo: table | 0,
    tableHi: highHalf(table),
    top,
    granuleLg2,
    inputBits,
    keepsUserOut: features.e0pd && !isHyp && fields.E0PD.get(cd, 0) === 1,
  }
}
