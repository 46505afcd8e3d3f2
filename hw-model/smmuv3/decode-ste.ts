/** Reads an STE into the form the pipeline uses, checking what the manual calls ILLEGAL in its order. [SMMU 5.2] */

import { highHalf } from '../bits/address.js'
import { PlainTables } from '../walk/format.js'
import type { ContextConfig } from './decode-cd.js'
import { EVENT } from './event-records.js'
import { addressBits, type Features, STALL_MODEL } from './features.js'
import { StageTwoFormat, wideOf } from './formats.js'
import { CONFIG, EATS, S1FMT, STE } from './records.js'
import { isVmid, SPACE } from './stream-world.js'
import { alignedRoot, GRANULE_LG2, isGranule, largestSz, rootAddress, rootBits } from './table-sizes.js'

const { V, Config, S1Fmt, S1ContextPtr, S1CDMax, S1DSS, S1STALLD, STRW, S2FWB, PRIVCFG, INSTCFG } = STE
const { MEV, PPAR } = STE
const { S2VMID, S2T0SZ, S2SL0, S2TG, S2PS, S2AA64, S2ENDI, S2AFFD, S2PTW, S2HD, S2HA, S2S, S2R, S2TTB } = STE
const { S2DS, S2SL0_2 } = STE

/** STE.STRW that selects NS-EL1; 0b10 selects EL2, and the other two are reserved. */
const STRW_EL1 = 0

/** No reason. */
const LEGAL = ''

/** Stage 2 of a stream. */
export interface StageTwoConfig {
  readonly format: StageTwoFormat
  /** Root table, aligned as hardware takes it. */
  readonly tableLo: number
  readonly tableHi: number
  /** The same for walks through plain entries. */
  readonly plain: PlainTables
  /** The walker's level of the root. */
  readonly top: number
  readonly granuleLg2: number
  /** Bits of an IPA. */
  readonly inputBits: number
  readonly vmid: number
  /** S2S: faults stall, whatever S2R says. */
  readonly stalls: boolean
  /** S2R: faults are recorded. */
  readonly records: boolean
  /** The TLB's number of its VMID, and the epoch it is good for; kept by `tlb.ts`. */
  tag: number
  tagEpoch: number
}

/** A decoded STE. */
export class StreamConfig {
  sid = 0
  /** C_BAD_STE where the entry is ILLEGAL, else 0. */
  event = 0
  /** Why it is ILLEGAL; empty where it is not. */
  why = ''
  /** Config 0xx. */
  aborts = false
  stage1 = false
  stageTwo: StageTwoConfig | null = null
  s1dss = 0
  s1fmt = 0
  contextPtr = 0
  /** log2 of the CDs; 0 where substreams are off. */
  cdMaxLg2 = 0
  /** S1STALLD: a CD may not stall. */
  stallDisabled = false
  /** One of EATS. Split-stage ATS is off as long as CR0.ATSCHK is 0. */
  eats: number = EATS.OFF
  /** PPAR: an automatic answer to a page request carries its PASID. */
  answersWithPasid = false
  /** MEV: its events may be merged. */
  mev = 0
  privcfg = 0
  instcfg = 0
  /** Whose its translations are: a VMID, which is 0 where the unit has no stage 2, or one of SPACE. */
  space = 0

  /** The CD used last, kept here so that a hit needs no look-up. Void when the cache's generation moved on. */
  context: ContextConfig | null = null
  contextIndex = -1
  contextGeneration = -1
}

/**
 * Decodes an STE; an ILLEGAL one answers a config whose `event` is C_BAD_STE.
 *
 * @param e2h CR2.E2H, which is kept with what is cached of the entry
 */
export function decodeSte(words: Int32Array, sid: number, features: Features, e2h: boolean): StreamConfig {
  const config = new StreamConfig()
  config.sid = sid
  config.why = decode(words, config, features, e2h)
  if (config.why !== LEGAL) config.event = EVENT.C_BAD_STE
  return config
}

/** Answers why it is ILLEGAL, or LEGAL. */
function decode(ste: Int32Array, config: StreamConfig, features: Features, e2h: boolean): string {
  if (V.get(ste, 0) === 0) return 'V is 0'
  config.answersWithPasid = PPAR.get(ste, 0) === 1
  const kind = Config.get(ste, 0)
  config.aborts = (kind & 0b100) === 0
  if (config.aborts) return LEGAL
  config.stage1 = (kind & 0b001) !== 0
  config.mev = MEV.get(ste, 0)
  const stage2 = (kind & 0b010) !== 0
  if (config.stage1 && !features.stage1) return 'Config asks for stage 1, and IDR0.S1P is 0'
  if (stage2 && !features.stage2) return 'Config asks for stage 2, and IDR0.S2P is 0'
  if (features.ats && kind !== CONFIG.BYPASS) {
    const why = decodeEats(ste, config, kind, features)
    if (why !== LEGAL) return why
  }
  if (features.permissionOverride) {
    config.privcfg = PRIVCFG.get(ste, 0)
    config.instcfg = INSTCFG.get(ste, 0)
  }
  if (kind !== CONFIG.BYPASS) {
    const why = decodeSpace(ste, config, kind, features, e2h)
    if (why !== LEGAL) return why
  }
  if (config.stage1) {
    const why = decodeStageOne(ste, config, kind, features)
    if (why !== LEGAL) return why
  }
  if (stage2) {
    const why = decodeStageTwo(ste, config, features)
    if (why !== LEGAL) return why
  }
  const fits = features.vmid16 || !isVmid(config.space) || config.space < 256
  return fits ? LEGAL : 'S2VMID has more than the 8 bits of IDR0.VMID16 = 0'
}

/** STRW counts for stage 1 alone, and S2VMID for NS-EL1 alone. [SMMU 5.2 STRW] [SMMU 5.2 S2VMID] */
function decodeSpace(ste: Int32Array, config: StreamConfig, kind: number, features: Features, e2h: boolean): string {
  const strw = kind === CONFIG.S1_TRANS && features.hyp ? STRW.get(ste, 0) : STRW_EL1
  if ((strw & 1) === 1) return 'STRW is reserved'
  if (strw !== STRW_EL1) config.space = e2h ? SPACE.EL2_E2H : SPACE.EL2
  else if (features.stage2) config.space = S2VMID.get(ste, 0)
  return LEGAL
}

/** Whether ATS is on. Stage 2 that stalls has no ATS, and split-stage ATS has two stages. [SMMU 5.2 EATS] */
function decodeEats(ste: Int32Array, config: StreamConfig, kind: number, features: Features): string {
  const eats = STE.EATS.get(ste, 0)
  const stalls = S2S.get(ste, 0) === 1
  if (eats === EATS.SPLIT) {
    if (kind !== CONFIG.NESTED) return 'EATS asks for split-stage ATS, which needs both stages'
    if (stalls) return 'EATS asks for split-stage ATS, and S2S is 1'
    if (features.ns1ats) return 'EATS asks for split-stage ATS, and IDR0.NS1ATS has none'
  }
  if (eats === EATS.FULL && stalls && (kind & 0b010) !== 0) return 'EATS asks for ATS, and S2S is 1'
  // 0b11 needs Device Permission Tables, and is off without them.
  config.eats = eats === EATS.FULL || eats === EATS.SPLIT ? eats : EATS.OFF
  return LEGAL
}

/** S1STALLD needs a unit that lets software choose. S1CDMax and S1Fmt count only where substreams can be. */
function decodeStageOne(ste: Int32Array, config: StreamConfig, kind: number, features: Features): string {
  config.stallDisabled = S1STALLD.get(ste, 0) === 1
  if (config.stallDisabled && features.stallModel !== STALL_MODEL.BOTH) {
    return 'S1STALLD is 1, and IDR0.STALL_MODEL leaves no choice'
  }
  config.s1dss = S1DSS.get(ste, 0)
  config.contextPtr = S1ContextPtr.get(ste, 0)
  if (features.ssidSize !== 0) {
    config.cdMaxLg2 = S1CDMax.get(ste, 0)
    config.s1fmt = S1Fmt.get(ste, 0)
    if (config.cdMaxLg2 > features.ssidSize) return 'S1CDMax is beyond IDR1.SSIDSIZE'
    if (config.s1fmt > S1FMT.TWO_LEVEL_64K) config.s1fmt = S1FMT.LINEAR
    if (config.s1fmt !== S1FMT.LINEAR && !features.cd2l && config.cdMaxLg2 !== 0) {
      return 'S1Fmt asks for two levels, which need IDR0.CD2L'
    }
  }
  // Under nesting the pointer is an IPA, and stage 2 says whether it leads anywhere.
  const fits = kind === CONFIG.NESTED || config.contextPtr < 2 ** features.oasBits
  return fits ? LEGAL : 'S1ContextPtr is beyond IDR5.OAS'
}

function decodeStageTwo(ste: Int32Array, config: StreamConfig, features: Features): string {
  const stalls = S2S.get(ste, 0) === 1
  if (stalls && features.stallModel === STALL_MODEL.TERMINATE) return 'S2S is 1, and IDR0.STALL_MODEL has no stalls'
  if (!stalls && features.stallModel === STALL_MODEL.FORCED) return 'S2S is 0, and IDR0.STALL_MODEL forces stalls'
  if (S2AA64.get(ste, 0) === 0) return 'S2AA64 is 0, and IDR0.TTF has VMSAv8-64 alone'
  const [ha, hd] = [S2HA.get(ste, 0) === 1, S2HD.get(ste, 0) === 1]
  if (features.httu === 0 && (ha || hd)) return 'S2HA or S2HD is 1, and IDR0.HTTU is 0'
  if (features.httu === 1 && hd) return 'S2HD is 1, and IDR0.HTTU has access flags alone'
  const granuleLg2 = GRANULE_LG2[S2TG.get(ste, 0)]
  if (!isGranule(granuleLg2, features)) return 'S2TG names a granule that IDR5 does not offer'
  const ds = features.ds && S2DS.get(ste, 0) === 1
  const outputBits = Math.min(addressBits(S2PS.get(ste, 0)), features.oasBits)
  const root = rootAddress(S2TTB.get(ste, 0))
  if (root >= 2 ** rootBits(outputBits, granuleLg2, ds)) return 'S2TTB is beyond the output size'
  const t0sz = S2T0SZ.get(ste, 0)
  const least = Math.max(granuleLg2 === 16 || ds ? 12 : 16, 64 - features.oasBits)
  if (t0sz > largestSz(granuleLg2, features) || t0sz < least) return 'S2T0SZ is out of range'
  const inputBits = 64 - t0sz
  const top = startLevel(ste, granuleLg2, ds, features)
  if (top < 0) return 'S2SL0 is reserved'
  const stride = granuleLg2 - 3
  const lower = granuleLg2 + stride * top
  if (inputBits <= lower || inputBits > lower + stride + 4) return 'S2SL0 does not fit S2T0SZ'
  // Little-endian tables only: IDR0.TTENDIAN is 2.
  if (S2ENDI.get(ste, 0) === 1) return 'S2ENDI is 1, and IDR0.TTENDIAN has little-endian tables alone'
  const format = new StageTwoFormat({
    granuleLg2,
    outputBits,
    wide: wideOf(granuleLg2, ds, features.oasBits),
    ignoresAf: S2AFFD.get(ste, 0) === 1,
    setsAccess: ha,
    setsDirty: ha && hd,
    xnx: features.xnx,
    fwb: features.fwb && S2FWB.get(ste, 0) === 1,
    protectsTables: S2PTW.get(ste, 0) === 1,
  })
  const table = alignedRoot(root, inputBits - lower, outputBits)
  const plain = new PlainTables(format.plain)
  plain.begin(table | 0, highHalf(table), top, granuleLg2, inputBits)
  config.stageTwo = {
    format,
    tableLo: plain.lo,
    tableHi: plain.hi,
    plain,
    top,
    granuleLg2,
    inputBits,
    vmid: S2VMID.get(ste, 0),
    stalls,
    records: S2R.get(ste, 0) === 1,
    tag: -1,
    tagEpoch: -1,
  }
  return LEGAL
}

/** The walker's level that S2SL0 starts at, or -1 where the code is reserved. [SMMU 5.2 S2SL0] [Arm D8.2.8 to D8.2.10] */
function startLevel(ste: Int32Array, granuleLg2: number, ds: boolean, features: Features): number {
  const sl0 = S2SL0.get(ste, 0)
  if (granuleLg2 !== 12) return sl0 !== 3 || (granuleLg2 === 14 && ds) ? sl0 : -1
  if (ds && S2SL0_2.get(ste, 0) === 1) return sl0 === 0 ? 4 : -1
  if (sl0 === 3) return features.stt ? 0 : -1
  return sl0 + 1
}
