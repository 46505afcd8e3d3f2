/** The second stage of the reference VT-d unit, entry by entry. [VTD 3.7 Second-Stage Translation] */

import { field, inPlace } from './memory.js'
import type { VtdFeatures } from './vtd-features.js'
import type { Job } from './vtd-types.js'

/** A second stage, of legacy mode or of a PASID entry. */
export interface SecondStage {
  /** Legacy mode has reasons of its own. */
  readonly legacy: boolean
  /** 39, 48 or 57. */
  readonly width: number
  readonly table: bigint
  /** SSADE: A and D are kept. */
  readonly flags: boolean
  /** Tables may be written: SMPWCS and PWSNP. */
  readonly snooped: boolean
}

/** For whom the second stage is asked. */
export type Purpose = 'data' | 'root table' | 'lower table'

/** Where it ended. */
export interface SecondLeaf {
  readonly address: bigint
  readonly lg2: number
  /** Bit 0 for reading, bit 1 for writing: what all levels grant. */
  readonly rights: number
  readonly at: bigint
  readonly word: bigint
}

/** log2 of what an entry covers; levels count from 1. */
export const shiftOf = (level: number): number => 12 + 9 * (level - 1)

/** Index into a table of 512. */
export const indexOf = (address: bigint, level: number): bigint => (address >> BigInt(shiftOf(level))) & 511n

/** What is left of the address below an entry of this level. */
export const offsetOf = (address: bigint, level: number): bigint => address & ((1n << BigInt(shiftOf(level))) - 1n)

const A = 1n << 8n
const D = 1n << 9n

const LEGACY = { rootFetch: 0x3, fetch: 0x7, reserved: 0xc }
const SCALABLE = { rootFetch: 0x7b, fetch: 0x78, reserved: 0x7a }

/** Walks it; the input is known to fit. */
export function secondStage(job: Job, stage: SecondStage, input: bigint, purpose: Purpose): SecondLeaf {
  const { registers, memory, features } = job
  const reasons = stage.legacy ? LEGACY : SCALABLE
  const top = (stage.width - 12) / 9
  let base = stage.table
  let rights = 3
  // What the levels so far refuse already, had the unit looked before it went on.
  const early = new Set<number>()
  for (let level = top; ; level--) {
    const at = base + indexOf(input, level) * 8n
    const word = memory.read64(at)
    if (word === undefined) return job.stop(level === top ? reasons.rootFetch : reasons.fetch, ...early)
    const own = registers.ssirwe ? field(word, 62, 61) : field(word, 1, 0)
    if (own === 0) return job.stop(...nothing(job, stage, purpose), ...early)
    const isLeaf = level === 1 || (level <= 3 && field(word, 7) === 1)
    if (isReserved(features, registers.ssirwe, word, level, isLeaf)) return job.stop(reasons.reserved, ...early)
    rights &= own
    if (stage.flags) accessed(job, stage, at, word)
    const refused = refusals(job, stage, rights, purpose)
    if (isLeaf) {
      if (refused.length > 0) return job.stop(...refused)
      meet(job, stage, level, own)
      const shift = shiftOf(level)
      return { address: inPlace(word, 51, shift) | offsetOf(input, level), lg2: shift, rights, at, word }
    }
    for (const reason of refused) early.add(reason)
    base = inPlace(word, 51, 12)
  }
}

/** The leaf is written through: by the request, or by flags of a first-stage entry. [VTD 3.7.2] */
export function dirty(job: Job, stage: SecondStage, { at, word }: SecondLeaf): void {
  if (!stage.flags || (word & D) !== 0n) return
  if (!stage.snooped) job.troubles.add(0x7c)
  else if (!job.mark(at, word, A | D)) job.troubles.add(0x7d)
  else job.met.add('D set, second stage')
}

/** A unit may dirty what it reads first-stage entries through, since it must be writable there anyhow. [VTD 3.8] */
export function perhapsDirty(job: Job, stage: SecondStage, { at, word }: SecondLeaf): void {
  if (!stage.flags || (word & D) !== 0n) return
  if (!stage.snooped) job.perhaps.add(0x7c)
  else if (!job.canMark(at, word)) job.perhaps.add(0x7d)
  job.mayMark(at, word, D)
}

function accessed(job: Job, stage: SecondStage, at: bigint, word: bigint): void {
  if ((word & A) !== 0n) return
  if (!stage.snooped) job.troubles.add(0x7c)
  else if (!job.mark(at, word, A)) job.troubles.add(0x7d)
  else job.met.add('A set, second stage')
}

function meet(job: Job, stage: SecondStage, level: number, own: number): void {
  job.met.add(`second stage of ${stage.width} bits`)
  if (level > 1) job.met.add(level === 2 ? '2 MiB, second stage' : '1 GiB, second stage')
  if (job.registers.ssirwe) job.met.add('SSIRWE')
  if (own === 2 && job.isZeroLength) job.met.add('zero-length read of what may only be written')
}

/** Why nothing is granted at all. [VTD 7.1.3 LGN.2, LGN.3, SSS.2] */
function nothing(job: Job, stage: SecondStage, purpose: Purpose): number[] {
  if (!stage.legacy) return [0x79]
  if (purpose !== 'data') throw new Error('legacy mode has one stage')
  const { read, write } = job.access
  return write && read ? [0x5, 0x6] : write ? [0x5] : [0x6]
}

/** Why these rights do not do. */
function refusals(job: Job, stage: SecondStage, rights: number, purpose: Purpose): number[] {
  if (rights === 0) return nothing(job, stage, purpose)
  const mayRead = (rights & 1) !== 0
  const mayWrite = (rights & 2) !== 0
  if (purpose !== 'data') {
    if (!mayRead) return [purpose === 'root table' ? 0x75 : 0x76]
    // Where A and D are kept, reading a first-stage entry already needs both rights. [VTD 3.8.1 Access Rights]
    return stage.flags && !mayWrite ? [0x77] : []
  }
  // A translation request gets what there is. [VTD 4.2.3]
  if (job.isRequest) return []
  const needsRead = job.isZeroLength ? !(job.features.zlr && mayWrite) : job.wantsRead
  const reasons: number[] = []
  if (job.wantsWrite && !mayWrite) reasons.push(stage.legacy ? 0x5 : 0x85)
  if (needsRead && !mayRead) reasons.push(stage.legacy ? 0x6 : 0x86)
  return reasons
}

/** [VTD 9.8 Second-Stage Paging Entries, Tables 41 to 47] */
function isReserved(features: VtdFeatures, ssirwe: boolean, word: bigint, level: number, isLeaf: boolean): boolean {
  let reserved = ssirwe ? 0n : inPlace(word, 62, 62)
  if (features.haw < 52) reserved |= inPlace(word, 51, features.haw)
  if (level >= 4) reserved |= inPlace(word, 7, 7)
  if (!isLeaf || !features.sc) reserved |= inPlace(word, 11, 11)
  if (isLeaf && level > 1) reserved |= inPlace(word, shiftOf(level) - 1, 12)
  if (isLeaf && level === 2 && (features.sslps & 1) === 0) return true
  if (isLeaf && level === 3 && (features.sslps & 2) === 0) return true
  return reserved !== 0n
}
