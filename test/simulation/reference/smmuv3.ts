/**
 * A slow, obvious SMMUv3: one untranslated access, from the manual, with BigInt and no cache. It follows the manual's
 * end-to-end procedure step by step. It knows no HTTU, no stalls, no ATS, no EL2, and no 52-bit output.
 */

import { alignDown, field, inPlace, ones, type ReferenceMemory } from './memory.js'
import { type Context, DATA_READ, type Stage2, stage1, stage2 } from './smmuv3-stages.js'

/** What the ID registers offer. */
export interface SmmuFeatures {
  readonly stage1: boolean
  readonly stage2: boolean
  readonly sidSize: number
  readonly ssidSize: number
  readonly cd2l: boolean
  readonly oasBits: number
  /** log2 of the granules: 12, 14, 16. */
  readonly granules: readonly number[]
  /** IDR0.TERM_MODEL: a terminated access always aborts. */
  readonly abortOnly: boolean
  /** IDR1.ATTR_PERMS_OVR. */
  readonly overrides: boolean
  readonly had: boolean
  readonly xnx: boolean
}

/** What software programmed; SMMUEN is 1. */
export interface SmmuRegisters {
  readonly strtabBase: bigint
  readonly strtabLog2Size: number
  readonly strtabSplit: number
  readonly twoLevel: boolean
  readonly recordInvalidSid: boolean
}

/** One access of a device. */
export interface SmmuAccess {
  readonly sid: number
  /** undefined when the access carries none. */
  readonly ssid: number | undefined
  readonly address: bigint
  readonly write: boolean
  /** An instruction fetch; only reads are. */
  readonly fetch: boolean
  readonly privileged: boolean
}

/** How it ends: a physical address, or blocked, with the record that goes into the event queue, if any. */
export type SmmuResult =
  | { readonly ok: true; readonly address: bigint; readonly leafLg2: number }
  | { readonly ok: false; readonly razWi: boolean; readonly event: readonly bigint[] | undefined }

/** Event numbers. [SMMU 7.3 Event records] */
export const SMMU_EVENT = {
  C_BAD_STREAMID: 0x02n,
  F_STE_FETCH: 0x03n,
  C_BAD_STE: 0x04n,
  F_STREAM_DISABLED: 0x06n,
  C_BAD_SUBSTREAMID: 0x08n,
  F_CD_FETCH: 0x09n,
  C_BAD_CD: 0x0an,
  F_WALK_EABT: 0x0bn,
  F_TRANSLATION: 0x10n,
  F_ADDR_SIZE: 0x11n,
  F_ACCESS: 0x12n,
  F_PERMISSION: 0x13n,
} as const

/** Bits of an address by the code of IPS, S2PS and OAS. */
const SIZES = [32, 36, 40, 42, 44, 48, 52, 52]

/** Ends a translation; `event` is what the manual says to record. */
export class SmmuStop extends Error {
  constructor(
    readonly event: readonly bigint[] | undefined,
    readonly razWi = false,
  ) {
    super('stopped')
  }
}

/** The access after the STE's overrides, and the words of a record that always hold. */
export class Request {
  readonly stream: bigint
  readonly withSubstream: bigint
  fetch: boolean
  privileged: boolean

  constructor(readonly access: SmmuAccess) {
    this.stream = BigInt(access.sid) << 32n
    const ssid = access.ssid
    this.withSubstream = this.stream | (ssid === undefined ? 0n : (1n << 11n) | (BigInt(ssid) << 12n))
    this.fetch = access.fetch && !access.write
    this.privileged = access.privileged
  }

  /** PnU, InD and RnW of word 1. */
  get accessBits(): bigint {
    const { write } = this.access
    return (BigInt(this.privileged) << 33n) | (BigInt(this.fetch) << 34n) | (BigInt(!write) << 35n)
  }
}

/** Translates one access. */
export function translate(
  memory: ReferenceMemory,
  features: SmmuFeatures,
  registers: SmmuRegisters,
  access: SmmuAccess,
): SmmuResult {
  try {
    return { ok: true, ...steps(memory, features, registers, new Request(access)) }
  } catch (stop) {
    if (stop instanceof SmmuStop) return { ok: false, razWi: stop.razWi, event: stop.event }
    throw stop
  }
}

function steps(
  memory: ReferenceMemory,
  features: SmmuFeatures,
  registers: SmmuRegisters,
  request: Request,
): { address: bigint; leafLg2: number } {
  const { address } = request.access
  const ste = fetchSte(memory, features, registers, request)
  const config = checkSte(features, ste, request)
  const index = chooseContext(features, ste, config, request)
  override(features, ste, request)
  const under = (config & 2) !== 0 ? secondStage(features, ste) : undefined
  if (index === undefined) {
    // Stage 1 is off or bypassed: IAS and OAS are the same on a unit with AArch64 tables alone.
    if (address >> BigInt(features.oasBits) !== 0n) throw stopInput(SMMU_EVENT.F_ADDR_SIZE, request)
    if (under === undefined) return { address, leafLg2: 12 }
    return stage2(memory, under, request, address, { kind: 'IN' })
  }
  const context = fetchContext(memory, features, ste, under, index, request)
  const through = stage1(memory, features, context, under, request)
  if (under === undefined) return through
  const final = stage2(memory, under, request, through.address, { kind: 'IN' })
  return { address: final.address, leafLg2: Math.min(final.leafLg2, through.leafLg2) }
}

/** Step 2: the stream's entry. [SMMU 5.2 Stream Table Entry] */
function fetchSte(
  memory: ReferenceMemory,
  features: SmmuFeatures,
  registers: SmmuRegisters,
  request: Request,
): readonly bigint[] {
  const { sid } = request.access
  const bad = (): SmmuStop =>
    new SmmuStop(
      registers.recordInvalidSid ? [SMMU_EVENT.C_BAD_STREAMID | request.withSubstream, 0n, 0n, 0n] : undefined,
    )
  const log2 = Math.min(registers.strtabLog2Size, features.sidSize)
  if (sid >= 2 ** log2) throw bad()
  let at: bigint
  if (registers.twoLevel) {
    const split = [6, 8, 10].includes(registers.strtabSplit) ? registers.strtabSplit : 6
    const base = alignDown(registers.strtabBase, Math.max(5, registers.strtabLog2Size - split + 2) + 1)
    const l1At = base + BigInt(sid >>> split) * 8n
    const l1 = memory.read64(l1At)
    if (l1 === undefined) throw stopFetch(SMMU_EVENT.F_STE_FETCH, request, l1At)
    const span = field(l1, 4, 0)
    const index = sid & (2 ** split - 1)
    if (span === 0 || span > 11 || span > split + 1 || index >= 2 ** (span - 1)) throw bad()
    at = alignDown(inPlace(l1, 55, 6), span + 5) + BigInt(index) * 64n
  } else {
    at = alignDown(registers.strtabBase, registers.strtabLog2Size + 6) + BigInt(sid) * 64n
  }
  if (at >> BigInt(features.oasBits) !== 0n) throw stopFetch(SMMU_EVENT.F_STE_FETCH, request, at)
  return readRecord(memory, at, () => stopFetch(SMMU_EVENT.F_STE_FETCH, request, at))
}

/** Answers Config of a legal entry that does not abort. [SMMU 5.2 Stream Table Entry] */
function checkSte(features: SmmuFeatures, ste: readonly bigint[], request: Request): number {
  const bad = new SmmuStop([SMMU_EVENT.C_BAD_STE | request.withSubstream, 0n, 0n, 0n])
  if (field(ste[0], 0) === 0) throw bad
  const config = field(ste[0], 3, 1)
  if (config < 4) throw new SmmuStop(undefined)
  if ((config & 1) !== 0 && !features.stage1) throw bad
  if ((config & 2) !== 0 && !features.stage2) throw bad
  if ((config & 1) !== 0 && isBadStage1(features, ste, config)) throw bad
  if ((config & 2) !== 0 && isBadStage2(features, ste)) throw bad
  return config
}

function isBadStage1(features: SmmuFeatures, ste: readonly bigint[], config: number): boolean {
  const cdMax = field(ste[0], 63, 59)
  const format = field(ste[0], 5, 4)
  // S1STALLD only goes with a unit that lets software choose to stall.
  if (field(ste[1], 27) === 1) return true
  if (features.ssidSize !== 0 && cdMax > features.ssidSize) return true
  if ((format === 1 || format === 2) && !features.cd2l && cdMax !== 0 && features.ssidSize !== 0) return true
  return config === 5 && inPlace(ste[0], 55, 6) >> BigInt(features.oasBits) !== 0n
}

const GRANULE_S2 = [12, 16, 14, 0]

function isBadStage2(features: SmmuFeatures, ste: readonly bigint[]): boolean {
  const word = ste[2]
  const isSet = (bit: number): boolean => field(word, bit) === 1
  // S2S, S2HA and S2HD need what the unit does not offer; tables are AArch64 and little-endian.
  if (isSet(57) || isSet(56) || isSet(55) || isSet(52) || !isSet(51)) return true
  const granule = GRANULE_S2[field(word, 47, 46)]
  if (!features.granules.includes(granule)) return true
  const { bits, inputBits, level } = secondStage(features, ste)
  const ttb = inPlace(ste[3], 51, 4)
  if (ttb >> BigInt(bits) !== 0n || (granule < 16 && ttb >> 48n !== 0n)) return true
  const t0sz = 64 - inputBits
  if (t0sz > 39 || t0sz < Math.max(granule === 16 ? 12 : 16, 64 - features.oasBits)) return true
  if (level < 0) return true
  const stride = granule - 3
  const lower = granule + stride * (3 - level)
  return !(lower < inputBits && inputBits <= lower + stride + 4)
}

/** What stage 2 needs of an STE. */
function secondStage(features: SmmuFeatures, ste: readonly bigint[]): Stage2 {
  const word = ste[2]
  const granule = GRANULE_S2[field(word, 47, 46)]
  const sl0 = field(word, 39, 38)
  const levels = granule === 12 ? [2, 1, 0, -1] : [3, 2, 1, -1]
  return {
    granule,
    inputBits: 64 - field(word, 37, 32),
    level: levels[sl0],
    table: inPlace(ste[3], 51, 4),
    bits: Math.min(SIZES[field(word, 50, 48)], features.oasBits),
    affd: field(word, 53) === 1,
    ptw: field(word, 54) === 1,
    record: field(word, 58) === 1,
    fwb: field(ste[1], 25) === 1,
    xnx: features.xnx,
  }
}

/** Step 4: the index of the CD, or undefined where stage 1 is not used. [SMMU 5.2 Stream Table Entry, S1DSS] */
function chooseContext(
  features: SmmuFeatures,
  ste: readonly bigint[],
  config: number,
  request: Request,
): number | undefined {
  const { ssid } = request.access
  const cdMax = features.ssidSize === 0 ? 0 : field(ste[0], 63, 59)
  const dss = field(ste[1], 1, 0)
  const hasStage1 = (config & 1) !== 0
  const disabled = new SmmuStop([SMMU_EVENT.F_STREAM_DISABLED | request.stream, 0n, 0n, 0n])
  if (ssid !== undefined) {
    if (!hasStage1 || cdMax === 0 || ssid >= 2 ** cdMax) throw badSubstream(request, ssid)
    if (ssid === 0 && dss === 2) throw disabled
    return ssid
  }
  if (!hasStage1) return undefined
  if (cdMax === 0 || dss === 2) return 0
  if (dss === 1) return undefined
  throw disabled
}

/** Step 5: PRIVCFG and INSTCFG. */
function override(features: SmmuFeatures, ste: readonly bigint[], request: Request): void {
  if (!features.overrides) return
  const privileged = field(ste[1], 49, 48)
  const fetch = field(ste[1], 51, 50)
  if (privileged >= 2) request.privileged = privileged === 3
  if (fetch >= 2 && !request.access.write) request.fetch = fetch === 3
}

/** Step 7: the CD, through the L1CD where there is one, each behind stage 2 when nested. [SMMU 5.4] */
function fetchContext(
  memory: ReferenceMemory,
  features: SmmuFeatures,
  ste: readonly bigint[],
  under: Stage2 | undefined,
  index: number,
  request: Request,
): Context {
  const cdMax = features.ssidSize === 0 ? 0 : field(ste[0], 63, 59)
  const format = cdMax === 0 ? 0 : field(ste[0], 5, 4)
  const pointer = inPlace(ste[0], 55, 6)
  const really = (address: bigint): bigint =>
    under === undefined ? address : stage2(memory, under, request, address, { kind: 'CD', access: DATA_READ }).address
  let at: bigint
  if (format === 1 || format === 2) {
    const low = format === 1 ? 6 : 10
    const l1At = really(alignDown(pointer, Math.max(6, cdMax - low + 3)) + BigInt(index >>> low) * 8n)
    const l1 = memory.read64(l1At)
    if (l1 === undefined) throw stopFetch(SMMU_EVENT.F_CD_FETCH, request, l1At)
    const l2 = inPlace(l1, 55, 12)
    if (field(l1, 0) === 0 || l2 >> BigInt(features.oasBits) !== 0n) throw badSubstream(request, index)
    at = alignDown(l2, format === 1 ? 12 : 16) + BigInt(index & (2 ** low - 1)) * 64n
  } else {
    at = alignDown(pointer, cdMax + 6) + BigInt(index) * 64n
  }
  const cdAt = really(at)
  const cd = readRecord(memory, cdAt, () => stopFetch(SMMU_EVENT.F_CD_FETCH, request, cdAt))
  if (isBadCd(features, cd)) throw new SmmuStop([SMMU_EVENT.C_BAD_CD | request.withSubstream, 0n, 0n, 0n])
  return { cd, bits: Math.min(SIZES[field(cd[0], 34, 32)], features.oasBits) }
}

/** Granules by TG0 and by TG1, whose codes differ. */
export const GRANULE_TG: readonly (readonly number[])[] = [
  [12, 16, 14, 0],
  [0, 14, 12, 16],
]

function isBadCd(features: SmmuFeatures, cd: readonly bigint[]): boolean {
  const word = cd[0]
  const isSet = (bit: number): boolean => field(word, bit) === 1
  if (!isSet(31)) return true
  if (features.abortOnly && !isSet(46)) return true
  // S, HA and HD need what the unit does not offer; tables are AArch64 and little-endian.
  if (isSet(44) || isSet(43) || isSet(42) || !isSet(41)) return true
  if (isSet(15) && !(isSet(14) && isSet(30))) return true
  const bits = Math.min(SIZES[field(word, 34, 32)], features.oasBits)
  for (const half of [0, 1]) {
    const at = half * 16
    if (isSet(14 + at)) continue
    const size = field(word, 5 + at, at)
    const granule = GRANULE_TG[half][field(word, 7 + at, 6 + at)]
    if (size > 39 || size < 16 || !features.granules.includes(granule)) return true
    const ttb = inPlace(cd[1 + half], 51, 4)
    if (ttb >> BigInt(bits) !== 0n || (granule < 16 && ttb >> 48n !== 0n)) return true
  }
  return false
}

function readRecord(memory: ReferenceMemory, at: bigint, stop: () => SmmuStop): readonly bigint[] {
  return Array.from({ length: 8 }, (_, i) => {
    const word = memory.read64(at + BigInt(i) * 8n)
    if (word === undefined) throw stop()
    return word
  })
}

const stopFetch = (event: bigint, request: Request, at: bigint): SmmuStop =>
  new SmmuStop([event | request.withSubstream, 0n, 0n, at & (ones(53) << 3n)])

const badSubstream = (request: Request, ssid: number): SmmuStop =>
  new SmmuStop([SMMU_EVENT.C_BAD_SUBSTREAMID | request.stream | (BigInt(ssid) << 12n), 0n, 0n, 0n])

/** A stage 1 fault of the input address where there is no CD: always recorded, always aborted. */
const stopInput = (event: bigint, request: Request): SmmuStop =>
  new SmmuStop([event | request.withSubstream, request.accessBits | (2n << 40n), request.access.address, 0n])
