/**
 * A slow, obvious VT-d unit: one untranslated request, from the manual, with BigInt and no cache. Where the manual
 * leaves the order of several conditions open, the result names every reason that it allows.
 */

import { field, inPlace, ones, type ReferenceMemory } from './memory.js'
import { firstStage, type SecondStage, secondStage } from './vtd-stages.js'

/** What CAP, ECAP and the platform offer. */
export interface VtdFeatures {
  /** Host address width. */
  readonly haw: number
  /** CAP.MGAW + 1. */
  readonly mgaw: number
  /** CAP.SAGAW as it stands: bit 1 for 39 bits, bit 2 for 48, bit 3 for 57. */
  readonly sagaw: number
  /** CAP.SSLPS: bit 0 for 2 MiB, bit 1 for 1 GiB. */
  readonly sslps: number
  readonly fs1gp: boolean
  readonly fs5lp: boolean
  /** Width of a domain-id. */
  readonly didBits: number
  readonly smts: boolean
  readonly ssts: boolean
  readonly fsts: boolean
  readonly nest: boolean
  readonly pt: boolean
  readonly sc: boolean
  readonly pasid: boolean
  readonly rps: boolean
  readonly srs: boolean
  readonly eafs: boolean
  readonly ssads: boolean
  readonly smpwcs: boolean
  readonly adms: boolean
}

/** What SRTP latched; TES is 1. */
export interface VtdRegisters {
  readonly rootTable: bigint
  /** RTADDR.TTM. */
  readonly mode: number
}

/** One request. */
export interface VtdAccess {
  readonly sid: number
  /** undefined for a request without PASID. */
  readonly pasid: number | undefined
  readonly address: bigint
  readonly write: boolean
  /** Privileged; only requests with PASID are. */
  readonly privileged: boolean
  /** Asks for execute; only reads with PASID do. */
  readonly execute: boolean
}

/** How it ends. A fault has its two words for FRCD unless FPD silences it, and every reason the manual allows. */
export type VtdResult =
  | { readonly ok: true; readonly address: bigint; readonly leafLg2: number }
  | {
      readonly ok: false
      readonly reason: number
      readonly others: readonly number[]
      readonly record: readonly [bigint, bigint] | undefined
    }

/** Ends a translation with a fault reason. [VTD 7.1.3 Fault Conditions] */
export class VtdStop extends Error {
  constructor(
    readonly reason: number,
    readonly others: readonly number[] = [],
  ) {
    super('stopped')
  }
}

/** Reasons that FPD does not silence. [VTD 7.1.3 T30] */
const UNQUALIFIED = [
  0x1, 0x8, 0x9, 0xa, 0x30, 0x31, 0x32, 0x33, 0x34, 0x38, 0x39, 0x3a, 0x40, 0x50, 0x58, 0x20, 0x21, 0x23, 0x25, 0x29,
]

/** What a request drags along: the FPD bits met so far. */
export class Passage {
  isSilent = false
}

/** Translates one request. */
export function translate(
  memory: ReferenceMemory,
  features: VtdFeatures,
  registers: VtdRegisters,
  access: VtdAccess,
): VtdResult {
  const passage = new Passage()
  try {
    return { ok: true, ...steps(memory, features, registers, access, passage) }
  } catch (stop) {
    if (!(stop instanceof VtdStop)) throw stop
    const { reason, others } = stop
    const isSilent = passage.isSilent && !UNQUALIFIED.includes(reason)
    return { ok: false, reason, others, record: isSilent ? undefined : recordOf(features, access, reason) }
  }
}

/** Whether an address lies in the interrupt range. [VTD 3.15 Handling Requests to Interrupt Address Range] */
export const inInterruptRange = (address: bigint): boolean => address >> 20n === 0xfeen

function steps(
  memory: ReferenceMemory,
  features: VtdFeatures,
  registers: VtdRegisters,
  access: VtdAccess,
  passage: Passage,
): { address: bigint; leafLg2: number } {
  // A 4-byte write would be an interrupt message; the size of a request is not modelled, so only reads come here.
  if (access.pasid === undefined && inInterruptRange(access.address)) throw new VtdStop(0x29)
  const { mode } = registers
  if (mode === 2 || (mode === 1 && !features.smts) || (mode === 3 && !features.adms)) throw new VtdStop(0x30)
  if (mode === 3) throw new VtdStop(0x33)
  if (mode === 0 && access.pasid !== undefined) throw new VtdStop(0x31)
  return mode === 0
    ? legacy(memory, features, registers, access, passage)
    : scalable(memory, features, registers, access, passage)
}

/** [VTD 3.4.2 Legacy Mode Address Translation] */
function legacy(
  memory: ReferenceMemory,
  features: VtdFeatures,
  registers: VtdRegisters,
  access: VtdAccess,
  passage: Passage,
): { address: bigint; leafLg2: number } {
  const tooHigh = beyond(features.haw)
  const root = read(memory, registers.rootTable + BigInt(access.sid >>> 8) * 16n, 2, 0x8)
  if (field(root[0], 0) === 0) throw new VtdStop(0x1)
  if (inPlace(root[0], 11, 1) !== 0n || tooHigh(root[0]) || root[1] !== 0n) throw new VtdStop(0xa)
  const context = read(memory, inPlace(root[0], 63, 12) + BigInt(access.sid & 0xff) * 16n, 2, 0x9)
  if (field(context[0], 1) === 1) passage.isSilent = true
  if (field(context[0], 0) === 0) throw new VtdStop(0x2)
  const reserved1 =
    inPlace(context[1], 63, 24) | inPlace(context[1], 7, 7) | inPlace(context[1], 23, 8 + features.didBits)
  if (inPlace(context[0], 11, 4) !== 0n || tooHigh(context[0]) || reserved1 !== 0n) throw new VtdStop(0xb)
  const type = field(context[0], 3, 2)
  const width = widthOf(features, field(context[1], 2, 0))
  // TT 01 needs device-TLB support, which the unit lacks; TT 11 is reserved.
  if (width === undefined || type === 1 || type === 3 || (type === 2 && !features.pt)) throw new VtdStop(0x3)
  if (type === 2) return passThrough(features, access, 0x4, 0xe)
  const stage: SecondStage = {
    legacy: true,
    width,
    table: inPlace(context[0], 63, 12),
    flags: false,
    snooped: true,
  }
  if (access.address >> BigInt(Math.min(features.mgaw, width)) !== 0n) throw new VtdStop(0x4)
  const leaf = secondStage(memory, features, stage, access.address, { write: access.write, purpose: 'data' })
  if (inInterruptRange(leaf.address)) throw new VtdStop(0xe)
  return leaf
}

/** [VTD 3.4.3 Scalable Mode Address Translation] */
function scalable(
  memory: ReferenceMemory,
  features: VtdFeatures,
  registers: VtdRegisters,
  access: VtdAccess,
  passage: Passage,
): { address: bigint; leafLg2: number } {
  const tooHigh = beyond(features.haw)
  const root = read(memory, registers.rootTable + BigInt(access.sid >>> 8) * 16n, 2, 0x38)
  const half = root[(access.sid >>> 7) & 1]
  if (field(half, 0) === 0) throw new VtdStop(0x39)
  if (root.some((word) => field(word, 0) === 1 && (inPlace(word, 11, 1) !== 0n || tooHigh(word)))) {
    throw new VtdStop(0x3a)
  }
  const context = read(memory, inPlace(half, 63, 12) + BigInt(access.sid & 0x7f) * 32n, 4, 0x40)
  if (field(context[0], 1) === 1) passage.isSilent = true
  if (field(context[0], 0) === 0) throw new VtdStop(0x41)
  const pasidReserved = features.pasid ? 0n : inPlace(context[0], 3, 3)
  const ridReserved = features.rps ? 0n : inPlace(context[1], 19, 0)
  // DTE, PRE, HPTE and EPTR belong to capabilities that the unit lacks, as does RID_PRIV.
  const reserved = inPlace(context[0], 2, 2) | inPlace(context[0], 8, 4) | pasidReserved | ridReserved
  if ((reserved | inPlace(context[1], 63, 20) | context[2] | context[3]) !== 0n || tooHigh(context[0])) {
    throw new VtdStop(0x42)
  }
  const pasids = 2 ** (field(context[0], 11, 9) + 13)
  const ridPasid = field(context[1], 19, 0)
  if (ridPasid >= pasids) throw new VtdStop(0x43)
  if (access.pasid !== undefined) {
    if (field(context[0], 3) === 0) throw new VtdStop(0x45)
    if (access.pasid >= pasids) throw new VtdStop(0x46)
    if (access.pasid === ridPasid) throw new VtdStop(0x48)
  }
  const pasid = access.pasid ?? ridPasid
  const [directory] = read(memory, inPlace(context[0], 63, 12) + BigInt(pasid >>> 6) * 8n, 1, 0x50)
  if (field(directory, 1) === 1) passage.isSilent = true
  if (field(directory, 0) === 0) throw new VtdStop(0x51)
  if (inPlace(directory, 11, 2) !== 0n || tooHigh(directory)) throw new VtdStop(0x52)
  const entry = read(memory, inPlace(directory, 63, 12) + BigInt(pasid & 63) * 64n, 8, 0x58)
  if (field(entry[0], 1) === 1) passage.isSilent = true
  checkPasidEntry(features, entry, access)
  return throughPasid(memory, features, entry, access)
}

/** [VTD 9.6 Scalable-Mode PASID Table Entry] */
function checkPasidEntry(features: VtdFeatures, entry: readonly bigint[], access: VtdAccess): void {
  if (field(entry[0], 0) === 0) throw new VtdStop(0x59)
  const tooHigh = beyond(features.haw)
  const reserved = [
    inPlace(entry[0], 5, 5) | inPlace(entry[0], 11, 10),
    inPlace(entry[1], 22, 16) | inPlace(entry[1], 31, 25) | inPlace(entry[1], 63, 32),
    inPlace(entry[2], 1, 1) | inPlace(entry[2], 11, 8),
    ...entry.slice(3),
  ]
  if (features.didBits < 16) reserved.push(inPlace(entry[1], 15, features.didBits))
  if (!features.ssts) reserved.push(inPlace(entry[0], 4, 2), inPlace(entry[0], 63, 12))
  if (!features.ssts || !features.ssads) reserved.push(inPlace(entry[0], 9, 9))
  if (!features.smpwcs) reserved.push(inPlace(entry[1], 23, 23))
  if (!features.sc) reserved.push(inPlace(entry[1], 24, 24))
  if (!features.srs) reserved.push(inPlace(entry[2], 0, 0))
  if (!features.fsts) reserved.push(inPlace(entry[2], 4, 2), inPlace(entry[2], 63, 12))
  if (!features.eafs) reserved.push(inPlace(entry[2], 7, 7))
  if (reserved.some((bits) => bits !== 0n) || tooHigh(entry[0]) || tooHigh(entry[2])) throw new VtdStop(0x5a)
  const type = field(entry[0], 8, 6)
  const width = widthOf(features, field(entry[0], 4, 2))
  const has = [false, features.fsts, features.ssts, features.nest, features.pt][type] ?? false
  if (!has) throw new VtdStop(0x5b)
  if ((type === 2 || type === 3) && width === undefined) throw new VtdStop(0x5b)
  const levels = field(entry[2], 3, 2)
  if ((type === 1 || type === 3) && (levels > 1 || (levels === 1 && !features.fs5lp))) throw new VtdStop(0x5b)
  if (type === 3 && inPlace(entry[2], 63, 12) >> BigInt(Math.min(features.mgaw, width as number)) !== 0n) {
    throw new VtdStop(0x5b)
  }
  if (access.execute) throw new VtdStop(0x5c)
  if (access.privileged && field(entry[2], 0) === 0) throw new VtdStop(0x5d)
}

/** The stages that a legal entry names. */
function throughPasid(
  memory: ReferenceMemory,
  features: VtdFeatures,
  entry: readonly bigint[],
  access: VtdAccess,
): { address: bigint; leafLg2: number } {
  const type = field(entry[0], 8, 6)
  if (type === 4) return passThrough(features, access, 0x83, 0x87)
  const snooped = features.smpwcs && field(entry[1], 23) === 1
  const under: SecondStage = {
    legacy: false,
    width: widthOf(features, field(entry[0], 4, 2)) ?? 0,
    table: inPlace(entry[0], 63, 12),
    flags: field(entry[0], 9) === 1,
    snooped,
  }
  let leaf: { address: bigint; leafLg2: number }
  if (type === 2) {
    if (access.address >> BigInt(Math.min(features.mgaw, under.width)) !== 0n) throw new VtdStop(0x84)
    leaf = secondStage(memory, features, under, access.address, { write: access.write, purpose: 'data' })
  } else {
    const first = {
      levels: field(entry[2], 3, 2) === 1 ? 5 : 4,
      table: inPlace(entry[2], 63, 12),
      wpe: field(entry[2], 4) === 1,
      eafe: field(entry[2], 7) === 1,
      snooped,
    }
    leaf = firstStage(memory, features, first, type === 3 ? under : undefined, access)
  }
  if (inInterruptRange(leaf.address)) throw new VtdStop(0x87)
  return leaf
}

/** [VTD 3.9 Pass-through Translation] */
function passThrough(
  features: VtdFeatures,
  { address }: VtdAccess,
  tooWide: number,
  interrupt: number,
): { address: bigint; leafLg2: number } {
  if (address >> BigInt(features.haw) !== 0n) throw new VtdStop(tooWide)
  if (inInterruptRange(address)) throw new VtdStop(interrupt)
  return { address, leafLg2: 12 }
}

/** Bits of the address width AW where SAGAW has it. */
const widthOf = (features: VtdFeatures, aw: number): number | undefined =>
  aw >= 1 && aw <= 3 && ((features.sagaw >> aw) & 1) === 1 ? 30 + 9 * aw : undefined

const beyond =
  (haw: number) =>
  (word: bigint): boolean =>
    word >> BigInt(haw) !== 0n

function read(memory: ReferenceMemory, at: bigint, count: number, reason: number): bigint[] {
  return Array.from({ length: count }, (_, i) => {
    const word = memory.read64(at + BigInt(i) * 8n)
    if (word === undefined) throw new VtdStop(reason)
    return word
  })
}

/** [VTD 11.4.7.6 Fault Recording Registers] */
function recordOf(features: VtdFeatures, access: VtdAccess, reason: number): readonly [bigint, bigint] {
  const width = (features.sagaw & 8) !== 0 ? 57 : (features.sagaw & 4) !== 0 ? 48 : 39
  const hasNoAddress = reason === 0x29
  const low = hasNoAddress ? 0n : inPlace(access.address, 63, 12) & ones(width)
  const pasid =
    access.pasid === undefined
      ? 0n
      : (BigInt(access.privileged) << 29n) |
        (BigInt(access.execute && !access.write) << 30n) |
        (1n << 31n) |
        (BigInt(access.pasid) << 40n)
  const high = BigInt(access.sid) | pasid | (BigInt(reason) << 32n) | (BigInt(!access.write) << 62n) | (1n << 63n)
  return [low, high]
}
