/** Where the reference SMMUv3 finds a stream's configuration, and what of it is legal. [SMMU 3.3 Data structures] */

import { alignDown, field, inPlace } from './memory.js'
import { ADDRESS_BITS, type SmmuFeatures } from './smmuv3-features.js'
import { hardwareOf } from './smmuv3-permissions.js'
import { type Context, GRANULE_TG, type Stage2, stage2 } from './smmuv3-stages.js'
import { type Job, SMMU_EVENT, SmmuStop, type World } from './smmuv3-types.js'

/** A legal entry of a stream that does not abort. */
export interface Stream {
  readonly ste: readonly bigint[]
  readonly config: number
  /** log2 of the CDs; 0 where substreams are off. */
  readonly cdMax: number
  readonly under: Stage2 | undefined
}

/** Finds the entry of a stream. [SMMU 3.3.1 Stream table lookup] */
export function fetchSte(job: Job): readonly bigint[] {
  const { features, registers, memory } = job
  const { sid } = job.access
  const bad = (): SmmuStop => {
    // RECINVSID has no say over translated transactions. [SMMU 3.9.1.3 Handling of ATS Translated transactions]
    const isRecorded = registers.recordInvalidSid || job.access.kind === 'translated'
    const record = [SMMU_EVENT.C_BAD_STREAMID | job.withSubstream, 0n, 0n, 0n]
    return new SmmuStop(SMMU_EVENT.C_BAD_STREAMID, isRecorded ? record : undefined)
  }
  const log2 = Math.min(registers.strtabLog2Size, features.sidSize)
  if (sid >= 2 ** log2) throw bad()
  let at: bigint
  if (registers.twoLevel) {
    const split = [6, 8, 10].includes(registers.strtabSplit) ? registers.strtabSplit : 6
    const base = alignDown(registers.strtabBase, Math.max(5, registers.strtabLog2Size - split + 2) + 1)
    const l1At = base + BigInt(sid >>> split) * 8n
    const l1 = memory.read64(l1At)
    if (l1 === undefined) throw stopFetch(SMMU_EVENT.F_STE_FETCH, job, l1At)
    const span = field(l1, 4, 0)
    const index = sid & (2 ** split - 1)
    if (span === 0 || span > 11 || span > split + 1 || index >= 2 ** (span - 1)) throw bad()
    at = alignDown(inPlace(l1, 55, 6), span + 5) + BigInt(index) * 64n
  } else {
    at = alignDown(registers.strtabBase, registers.strtabLog2Size + 6) + BigInt(sid) * 64n
  }
  if (at >> BigInt(features.oasBits) !== 0n) throw stopFetch(SMMU_EVENT.F_STE_FETCH, job, at)
  return readRecord(job, at, SMMU_EVENT.F_STE_FETCH)
}

/** Config, once the entry is known to be legal. [SMMU 5.2.2 Validity of STE] */
export function checkSte(job: Job, ste: readonly bigint[]): number {
  const { features } = job
  const bad = (): SmmuStop => new SmmuStop(SMMU_EVENT.C_BAD_STE, [SMMU_EVENT.C_BAD_STE | job.withSubstream, 0n, 0n, 0n])
  if (field(ste[0], 0) === 0) throw bad()
  const config = field(ste[0], 3, 1)
  // Nothing else is looked at in an entry that aborts.
  if (config < 4) return 0
  const hasStage1 = (config & 1) !== 0
  const hasStage2 = (config & 2) !== 0
  if ((hasStage1 && !features.stage1) || (hasStage2 && !features.stage2)) throw bad()
  if (features.ats && config !== 4 && isBadAts(features, ste, config)) throw bad()
  const usesStrw = hasStage1 && !hasStage2 && features.hyp
  const strw = field(ste[1], 31, 30)
  if (usesStrw && (strw & 1) === 1) throw bad()
  if (hasStage1 && isBadStage1(features, ste, config)) throw bad()
  if (hasStage2 && isBadStage2(features, ste)) throw bad()
  const hasVmid = features.stage2 && config !== 4 && !(usesStrw && strw !== 0)
  if (hasVmid && !features.vmid16 && field(ste[2], 15, 8) !== 0) throw bad()
  return config
}

/** [SMMU 5.2 Stream Table Entry, EATS] */
function isBadAts(features: SmmuFeatures, ste: readonly bigint[], config: number): boolean {
  const eats = field(ste[1], 29, 28)
  const stalls = field(ste[2], 57) === 1
  if (eats === 2) return config !== 7 || stalls || !features.splitAts
  return eats === 1 && (config & 2) !== 0 && stalls
}

function isBadStage1(features: SmmuFeatures, ste: readonly bigint[], config: number): boolean {
  const cdMax = field(ste[0], 63, 59)
  const format = field(ste[0], 5, 4)
  // S1STALLD goes with a unit that lets software choose to stall. [SMMU 5.5 Fault configuration]
  if (field(ste[1], 27) === 1 && features.stallModel !== 0) return true
  if (features.ssidSize !== 0 && cdMax > features.ssidSize) return true
  if ((format === 1 || format === 2) && !features.cd2l && cdMax !== 0 && features.ssidSize !== 0) return true
  // A pointer beyond the IPA size is a stage 2 fault instead. [SMMU 3.4.3 Address sizes of SMMU-originated accesses]
  return config === 5 && inPlace(ste[0], 55, 6) >> BigInt(features.oasBits) !== 0n
}

const GRANULE_S2 = [12, 16, 14, 0]

function isBadStage2(features: SmmuFeatures, ste: readonly bigint[]): boolean {
  const word = ste[2]
  const isSet = (bit: number): boolean => field(word, bit) === 1
  const stalls = isSet(57)
  if ((stalls && features.stallModel === 1) || (!stalls && features.stallModel === 2)) return true
  // Tables are AArch64 and little-endian.
  if (!isSet(51) || isSet(52)) return true
  const [hd, ha] = [isSet(55), isSet(56)]
  if (((ha || hd) && features.httu === 0) || (hd && features.httu === 1)) return true
  const granule = GRANULE_S2[field(word, 47, 46)]
  if (!features.granules.includes(granule)) return true
  const { bits, inputBits, level, ds, table } = secondStage(features, ste)
  if (table >> BigInt(bits) !== 0n || (granule < 16 && !ds && table >> 48n !== 0n)) return true
  const t0sz = 64 - inputBits
  const most = !features.smallTables ? 39 : granule === 16 ? 47 : 48
  const least = Math.max(granule === 16 || ds ? 12 : 16, 64 - features.oasBits)
  if (t0sz > most || t0sz < least || level === undefined) return true
  // One to sixteen start tables, side by side. [Arm D8.2.2 Concatenated translation tables]
  const stride = granule - 3
  const lower = granule + stride * (3 - level)
  return !(lower < inputBits && inputBits <= lower + stride + 4)
}

/** What stage 2 needs of an STE; the level is undefined where S2SL0 is reserved. */
function secondStage(features: SmmuFeatures, ste: readonly bigint[]): Stage2 & { readonly level: number | undefined } {
  const word = ste[2]
  const granule = GRANULE_S2[field(word, 47, 46)]
  const ds = features.ds && granule < 16 && field(ste[3], 3) === 1
  return {
    granule,
    inputBits: 64 - field(word, 37, 32),
    level: startLevel(features, granule, field(word, 39, 38), ds, ds && field(ste[3], 2) === 1) as number,
    table: inPlace(ste[3], 51, 4),
    bits: Math.min(ADDRESS_BITS[field(word, 50, 48)], features.oasBits),
    ds,
    hardware: hardwareOf(field(word, 56), field(word, 55)),
    affd: field(word, 53) === 1,
    ptw: field(word, 54) === 1,
    stall: field(word, 57) === 1,
    record: field(word, 58) === 1,
    fwb: field(ste[1], 25) === 1,
  }
}

/** [Arm D8.2.8.2, D8.2.9.2, D8.2.10.2: determining stage 2 initial lookup level] */
function startLevel(
  features: SmmuFeatures,
  granule: number,
  sl0: number,
  ds: boolean,
  sl2: boolean,
): number | undefined {
  if (granule === 12) {
    if (sl2) return sl0 === 0 ? -1 : undefined
    return [2, 1, 0, features.smallTables ? 3 : undefined][sl0]
  }
  return [3, 2, 1, granule === 14 && ds ? 0 : undefined][sl0]
}

/** An entry, decoded. */
export function streamOf(job: Job, ste: readonly bigint[], config: number): Stream {
  const { features, registers } = job
  const isEl2 = config === 5 && features.hyp && field(ste[1], 31, 30) === 2
  const world: World = isEl2 ? (registers.e2h ? 'EL2-E2H' : 'EL2') : 'EL1'
  job.world = world
  if (isEl2) job.met.add(world)
  return {
    ste,
    config,
    cdMax: features.ssidSize === 0 ? 0 : field(ste[0], 63, 59),
    under: (config & 2) !== 0 ? secondStage(features, ste) : undefined,
  }
}

/** Index of the CD, or undefined where stage 1 is not used. [SMMU 5.2 Stream Table Entry, S1DSS] */
export function chooseContext(job: Job, { ste, config, cdMax }: Stream): number | undefined {
  const { ssid } = job.access
  const dss = field(ste[1], 1, 0)
  const hasStage1 = (config & 1) !== 0
  const disabled = (): SmmuStop =>
    new SmmuStop(SMMU_EVENT.F_STREAM_DISABLED, [SMMU_EVENT.F_STREAM_DISABLED | job.stream, 0n, 0n, 0n])
  if (ssid !== undefined) {
    if (!hasStage1 || cdMax === 0 || ssid >= 2 ** cdMax) throw badSubstream(job, ssid)
    if (ssid === 0 && dss === 2) throw disabled()
    job.met.add('substream')
    return ssid
  }
  if (!hasStage1) return undefined
  if (cdMax === 0 || dss === 2) return 0
  if (dss === 1) return undefined
  throw disabled()
}

/** PRIVCFG and INSTCFG; writes stay data. [SMMU 3.3.4 Transaction attributes] */
export function override(job: Job, { ste }: Stream): void {
  if (!job.features.overrides) return
  const privileged = field(ste[1], 49, 48)
  const fetch = field(ste[1], 51, 50)
  if (privileged >= 2) job.privileged = privileged === 3
  if (fetch >= 2 && !job.access.write) job.fetch = fetch === 3
}

/** The CD, through the L1CD where there is one, each behind stage 2 when nested. [SMMU 3.3.2 StreamIDs to CDs] */
export function fetchContext(job: Job, { ste, cdMax, under }: Stream, index: number): Context {
  const { features, memory } = job
  const format = cdMax === 0 ? 0 : field(ste[0], 5, 4)
  const pointer = inPlace(ste[0], 55, 6)
  const really = (address: bigint): bigint =>
    under === undefined ? address : stage2(job, under, address, 'CD').address
  let at: bigint
  if (format === 1 || format === 2) {
    const low = format === 1 ? 6 : 10
    const l1At = really(alignDown(pointer, Math.max(6, cdMax - low + 3)) + BigInt(index >>> low) * 8n)
    const l1 = memory.read64(l1At)
    if (l1 === undefined) throw stopFetch(SMMU_EVENT.F_CD_FETCH, job, l1At)
    const l2 = inPlace(l1, 55, 12)
    if (field(l1, 0) === 0 || l2 >> BigInt(features.oasBits) !== 0n) throw badSubstream(job, index)
    at = alignDown(l2, format === 1 ? 12 : 16) + BigInt(index & (2 ** low - 1)) * 64n
  } else {
    at = alignDown(pointer, cdMax + 6) + BigInt(index) * 64n
  }
  const cd = readRecord(job, really(at), SMMU_EVENT.F_CD_FETCH)
  if (isBadCd(job, ste, cd)) {
    throw new SmmuStop(SMMU_EVENT.C_BAD_CD, [SMMU_EVENT.C_BAD_CD | job.withSubstream, 0n, 0n, 0n])
  }
  return { cd, bits: Math.min(ADDRESS_BITS[field(cd[0], 34, 32)], features.oasBits) }
}

/** [SMMU 5.4.2 Validity of CD] */
function isBadCd(job: Job, ste: readonly bigint[], cd: readonly bigint[]): boolean {
  const { features, world } = job
  const word = cd[0]
  const isSet = (bit: number): boolean => field(word, bit) === 1
  if (!isSet(31)) return true
  const stalls = isSet(44)
  if (stalls && (field(ste[1], 27) === 1 || features.stallModel === 1)) return true
  if (!stalls && features.stallModel === 2) return true
  if (features.abortOnly && !isSet(46)) return true
  // Tables are AArch64 and little-endian.
  if (!isSet(41)) return true
  // EL2 has TTB0 alone, and it is always on. [SMMU 5.4 Context Descriptor, EPD0]
  const isOff = world === 'EL2' ? [false, true] : [isSet(14), isSet(30)]
  if (isSet(15) && !(isOff[0] && isOff[1])) return true
  const [hd, ha] = [isSet(42), isSet(43)]
  if (((ha || hd) && features.httu === 0) || (hd && features.httu === 1)) return true
  if (world !== 'EL2' && !features.asid16 && field(word, 63, 56) !== 0) return true
  return [0, 1].some((half) => !isOff[half] && isBadHalf(features, cd, half))
}

function isBadHalf(features: SmmuFeatures, cd: readonly bigint[], half: number): boolean {
  const at = half * 16
  const size = field(cd[0], 5 + at, at)
  const granule = GRANULE_TG[half][field(cd[0], 7 + at, 6 + at)]
  if (!features.granules.includes(granule)) return true
  const ds = features.ds && granule < 16 && field(cd[2], 58) === 1
  const most = !features.smallTables ? 39 : granule === 16 ? 47 : 48
  const least = features.wideVa && (granule === 16 || ds) ? 12 : 16
  if (size > most || size < least) return true
  const bits = Math.min(ADDRESS_BITS[field(cd[0], 34, 32)], features.oasBits)
  const ttb = inPlace(cd[1 + half], 51, 4)
  return ttb >> BigInt(bits) !== 0n || (granule < 16 && !ds && ttb >> 48n !== 0n)
}

function readRecord(job: Job, at: bigint, event: bigint): readonly bigint[] {
  return Array.from({ length: 8 }, (_, i) => {
    const word = job.memory.read64(at + BigInt(i) * 8n)
    if (word === undefined) throw stopFetch(event, job, at)
    return word
  })
}

/** FetchAddr has no bits above the output size. [SMMU 7.3.4 F_STE_FETCH] */
const stopFetch = (event: bigint, job: Job, at: bigint): SmmuStop =>
  new SmmuStop(event, [event | job.withSubstream, 0n, 0n, inPlace(at, job.features.oasBits - 1, 3)])

const badSubstream = (job: Job, ssid: number): SmmuStop =>
  new SmmuStop(SMMU_EVENT.C_BAD_SUBSTREAMID, [
    SMMU_EVENT.C_BAD_SUBSTREAMID | job.stream | (BigInt(ssid) << 12n),
    0n,
    0n,
    0n,
  ])
