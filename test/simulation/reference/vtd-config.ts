/** Root, context and PASID tables of the reference VT-d unit. [VTD 3.4.3] [VTD 9.1 to 9.6] */

import { field, inPlace } from './memory.js'
import { type VtdFeatures, widthOf } from './vtd-features.js'
import type { FirstStage } from './vtd-first.js'
import type { SecondStage } from './vtd-second.js'
import type { Job } from './vtd-types.js'

/** What a context entry of legacy mode says. */
export interface LegacyContext {
  /** TT. */
  readonly type: number
  readonly did: number
  readonly stage: SecondStage
}

/** What a scalable-mode context entry says. */
export interface ScalableContext {
  readonly directory: bigint
  /** The PASID that governs the request. */
  readonly pasid: number
  readonly ridPrivileged: boolean
}

/** What a PASID table entry says. */
export interface PasidEntry {
  /** PGTT. */
  readonly type: number
  readonly did: number
  readonly sre: boolean
  readonly first: FirstStage
  readonly second: SecondStage
}

/** [VTD 9.3 Context Entry] */
export function legacyContext(job: Job): LegacyContext {
  const { features, registers, access } = job
  const tooHigh = beyond(features.haw)
  const root = read(job, registers.rootTable + BigInt(access.sid >>> 8) * 16n, 2, 0x8)
  if (field(root[0], 0) === 0) return job.stop(0x1)
  if (inPlace(root[0], 11, 1) !== 0n || tooHigh(root[0]) || root[1] !== 0n) return job.stop(0xa)
  const context = read(job, inPlace(root[0], 63, 12) + BigInt(access.sid & 0xff) * 16n, 2, 0x9)
  if (field(context[0], 1) === 1) job.isSilent = true
  if (field(context[0], 0) === 0) return job.stop(0x2)
  let reserved = inPlace(context[0], 11, 4) | inPlace(context[1], 63, 24) | inPlace(context[1], 7, 7)
  if (features.didBits < 16) reserved |= inPlace(context[1], 23, 8 + features.didBits)
  if (reserved !== 0n || tooHigh(context[0])) return job.stop(0xb)
  const type = field(context[0], 3, 2)
  const width = widthOf(features, field(context[1], 2, 0))
  const isOffered = type === 0 || (type === 1 && features.dt) || (type === 2 && features.pt)
  if (width === undefined || !isOffered) return job.stop(0x3)
  const table = inPlace(context[0], 63, 12)
  return { type, did: field(context[1], 23, 8), stage: { legacy: true, width, table, flags: false, snooped: true } }
}

/** Root and context entry. [VTD 9.2 Scalable-mode Root Entry] [VTD 9.4 Scalable-Mode Context Entry] */
export function scalableContext(job: Job): ScalableContext {
  const { features, registers, access } = job
  const tooHigh = beyond(features.haw)
  const root = read(job, registers.rootTable + BigInt(access.sid >>> 8) * 16n, 2, 0x38)
  const half = root[(access.sid >>> 7) & 1]
  if (field(half, 0) === 0) return job.stop(0x39)
  if (root.some((word) => field(word, 0) === 1 && (inPlace(word, 11, 1) !== 0n || tooHigh(word)))) {
    return job.stop(0x3a)
  }
  const context = read(job, inPlace(half, 63, 12) + BigInt(access.sid & 0x7f) * 32n, 4, 0x40)
  if (field(context[0], 1) === 1) job.isSilent = true
  if (field(context[0], 0) === 0) return job.stop(0x41)
  if (isReservedContext(features, context)) return job.stop(0x42)
  const dte = field(context[0], 2) === 1
  const pasids = 2 ** (field(context[0], 11, 9) + 13)
  const ridPasid = features.rps ? field(context[1], 19, 0) : 0
  // Whom PASIDE itself blocks does not meet SCT.4.3. [VTD 7.1.3 SCT.4.3, SCT.6]
  const isForPaside = access.pasid !== undefined && access.kind !== 'translated'
  const isEptrAlone = !isForPaside && field(context[0], 6) === 1 && field(context[0], 3) === 0
  if ((!dte && field(context[0], 4) === 1) || ridPasid >= pasids || isEptrAlone) return job.stop(0x43)
  const refused = gates(job, context[0], pasids, ridPasid)
  // A page request may meet either.
  if (access.kind === 'page' && field(context[0], 6) === 1 && field(context[0], 3) === 0) refused.push(0x43)
  if (refused.length > 0) return job.stop(...refused)
  const ridPrivileged = features.rprivs && field(context[1], 20) === 1
  return { directory: inPlace(context[0], 63, 12), pasid: access.pasid ?? ridPasid, ridPrivileged }
}

/** What the entry lets through. [VTD 7.1.3 SCT.5 to SCT.10, SGN.10] */
function gates({ access, features }: Job, word: bigint, pasids: number, ridPasid: number): number[] {
  const { kind, pasid } = access
  const refused: number[] = []
  if (kind !== 'untranslated' && kind !== 'page' && field(word, 2) === 0) refused.push(0x44)
  if (kind === 'page' && field(word, 4) === 0) refused.push(0x47)
  if (pasid === undefined) return refused
  if (kind !== 'translated' && field(word, 3) === 0) refused.push(0x45)
  if (kind === 'translated' && field(word, 6) === 0) refused.push(0x49)
  if (kind !== 'page' && pasid >= 2 ** features.pasidBits) refused.push(0x89)
  if (pasid >= pasids) refused.push(0x46)
  if (pasid === ridPasid) refused.push(0x48)
  return refused
}

function isReservedContext(features: VtdFeatures, context: readonly bigint[]): boolean {
  const [low, high] = context
  // HPTE belongs to host permission tables, which no unit here has.
  let reserved = inPlace(low, 5, 5) | inPlace(low, 8, 7) | inPlace(high, 63, 21) | context[2] | context[3]
  if (!features.dt) reserved |= inPlace(low, 2, 2)
  if (!features.pasid) reserved |= inPlace(low, 3, 3)
  if (!features.prs) reserved |= inPlace(low, 4, 4)
  if (!features.ptrs) reserved |= inPlace(low, 6, 6)
  if (!features.rps) reserved |= inPlace(high, 19, 0)
  if (!features.rprivs) reserved |= inPlace(high, 20, 20)
  return reserved !== 0n || low >> BigInt(features.haw) !== 0n
}

/** Directory and table entry. [VTD 9.5 PASID Directory Entry] [VTD 9.6 PASID Table Entry] */
export function pasidEntry(job: Job, { directory: base, pasid }: ScalableContext): PasidEntry {
  const { features } = job
  const tooHigh = beyond(features.haw)
  const [directory] = read(job, base + BigInt(pasid >>> 6) * 8n, 1, 0x50)
  if (field(directory, 1) === 1) job.isSilent = true
  if (field(directory, 0) === 0) return job.stop(0x51)
  if (inPlace(directory, 11, 2) !== 0n || tooHigh(directory)) return job.stop(0x52)
  const entry = read(job, inPlace(directory, 63, 12) + BigInt(pasid & 63) * 64n, 8, 0x58)
  if (field(entry[0], 1) === 1) job.isSilent = true
  if (field(entry[0], 0) === 0) return job.stop(0x59)
  if (isReservedPasid(features, entry)) return job.stop(0x5a)
  if (!isValidPasid(features, entry)) return job.stop(0x5b)
  return decode(features, entry)
}

/** The privilege and execution that an entry lets through. [VTD 7.1.3 SPT.5, SPT.6] */
export function pasidGates(job: Job, sre: boolean): void {
  const refused: number[] = []
  if (job.access.execute && job.access.pasid !== undefined && job.features.version <= 7) refused.push(0x5c)
  if (job.isPrivileged && !sre) refused.push(0x5d)
  if (refused.length > 0) job.stop(...refused)
}

function decode(features: VtdFeatures, entry: readonly bigint[]): PasidEntry {
  const snooped = features.smpwcs && field(entry[1], 23) === 1
  return {
    type: field(entry[0], 8, 6),
    did: field(entry[1], 15, 0),
    sre: field(entry[2], 0) === 1,
    second: {
      legacy: false,
      width: widthOf(features, field(entry[0], 4, 2)) ?? 0,
      table: inPlace(entry[0], 63, 12),
      flags: field(entry[0], 9) === 1,
      snooped,
    },
    first: {
      levels: field(entry[2], 3, 2) === 1 ? 5 : 4,
      table: inPlace(entry[2], 63, 12),
      wpe: field(entry[2], 4) === 1,
      eafe: field(entry[2], 7) === 1,
      snooped,
    },
  }
}

function isReservedPasid(features: VtdFeatures, entry: readonly bigint[]): boolean {
  const reserved = [
    inPlace(entry[0], 5, 5) | inPlace(entry[0], 11, 10),
    inPlace(entry[1], 22, 16) | inPlace(entry[1], 31, 25) | inPlace(entry[1], 63, 32),
    inPlace(entry[2], 1, 1) | inPlace(entry[2], 11, 8),
    ...entry.slice(3),
  ]
  if (features.didBits < 16) reserved.push(inPlace(entry[1], 15, features.didBits))
  // The model takes the AW that drivers write into first-stage entries of a unit without second stage.
  if (!features.ssts) reserved.push(inPlace(entry[0], 63, 12))
  if (!features.ssts || !features.ssads) reserved.push(inPlace(entry[0], 9, 9))
  if (!features.smpwcs) reserved.push(inPlace(entry[1], 23, 23))
  if (!features.sc) reserved.push(inPlace(entry[1], 24, 24))
  if (!features.srs) reserved.push(inPlace(entry[2], 0, 0))
  if (!features.fsts) reserved.push(inPlace(entry[2], 4, 2), inPlace(entry[2], 63, 12))
  if (!features.eafs) reserved.push(inPlace(entry[2], 7, 7))
  const tooHigh = beyond(features.haw)
  return reserved.some((bits) => bits !== 0n) || tooHigh(entry[0]) || tooHigh(entry[2])
}

/** [VTD 7.1.3 SPT.4] */
function isValidPasid(features: VtdFeatures, entry: readonly bigint[]): boolean {
  const type = field(entry[0], 8, 6)
  const width = widthOf(features, field(entry[0], 4, 2))
  const levels = field(entry[2], 3, 2)
  const hasType = [false, features.fsts, features.ssts, features.nest, features.pt][type] ?? false
  if (!hasType) return false
  if ((type === 1 || type === 3) && (levels > 1 || (levels === 1 && !features.fs5lp))) return false
  if (type !== 2 && type !== 3) return true
  if (width === undefined) return false
  return type === 2 || inPlace(entry[2], 63, 12) >> BigInt(Math.min(features.mgaw, width)) === 0n
}

const beyond =
  (haw: number) =>
  (word: bigint): boolean =>
    word >> BigInt(haw) !== 0n

function read(job: Job, at: bigint, count: number, reason: number): bigint[] {
  return Array.from({ length: count }, (_, i) => job.memory.read64(at + BigInt(i) * 8n) ?? job.stop(reason))
}
