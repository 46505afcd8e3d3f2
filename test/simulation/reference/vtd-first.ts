/**
 * The first stage of the reference VT-d unit, entry by entry, with or without a second one below.
 * [VTD 3.6 First-Stage Translation] [VTD 3.8 Nested Translation]
 */

import { field, inPlace } from './memory.js'
import type { VtdFeatures } from './vtd-features.js'
import {
  dirty,
  indexOf,
  offsetOf,
  type Purpose,
  perhapsDirty,
  type SecondLeaf,
  type SecondStage,
  secondStage,
  shiftOf,
} from './vtd-second.js'
import type { Job, Rights } from './vtd-types.js'

/** A first stage of a PASID entry. */
export interface FirstStage {
  readonly levels: number
  readonly table: bigint
  readonly wpe: boolean
  readonly eafe: boolean
  readonly snooped: boolean
}

/** Where a request comes out. */
export interface Place {
  readonly address: bigint
  readonly lg2: number
  readonly rights: Rights
}

const A = 1n << 5n
const D = 1n << 6n
const EA = 1n << 10n

/** Walks it. */
export function firstStage(job: Job, stage: FirstStage, under: SecondStage | undefined): Place {
  const { features, memory } = job
  const { address } = job.access
  const bits = stage.levels === 5 ? 57 : 48
  const sign = address >> BigInt(bits - 1)
  if (sign !== 0n && sign !== (1n << BigInt(65 - bits)) - 1n) return job.stop(0x80)
  const limit = BigInt(under === undefined ? 64 : Math.min(features.mgaw, under.width))
  let base = stage.table
  let user = true
  let writable = true
  const early = new Set<number>()
  for (let level = stage.levels; ; level--) {
    const isRoot = level === stage.levels
    const through = reach(job, under, base + indexOf(address, level) * 8n, isRoot ? 'root table' : 'lower table')
    const word = memory.read64(through.at)
    if (word === undefined) return job.stop(isRoot ? 0x73 : 0x70, ...early)
    if (field(word, 0) === 0) return job.stop(0x71, ...early)
    const isLeaf = level === 1 || (level <= 3 && field(word, 7) === 1)
    const next = isLeaf ? inPlace(word, 51, shiftOf(level)) : inPlace(word, 51, 12)
    const isTooWide = next >> limit !== 0n
    if (isReserved(features, word, level, isLeaf)) return job.stop(0x72, ...early, ...(isTooWide ? [0x74] : []))
    if (isTooWide) return job.stop(0x74, ...early)
    user &&= field(word, 2) === 1
    writable &&= field(word, 1) === 1
    const mayWrite = writable || (job.isPrivileged && !stage.wpe)
    const refused = refusals(job, user, mayWrite)
    if (!isLeaf) {
      for (const reason of refused) early.add(reason)
      mark(job, stage, under, through, word, accessed(stage))
      base = next
      continue
    }
    if (refused.length > 0) {
      // A unit may mark a leaf accessed before it looks at the rights, and fail at that.
      mark(job, stage, under, through, word, accessed(stage))
      return job.stop(...refused)
    }
    meet(job, stage, under, level, { writable, user })
    return throughLeaf(job, stage, under, { level, through, word, mayWrite, output: next | offsetOf(address, level) })
  }
}

interface Reached {
  /** Where the entry is in memory. */
  readonly at: bigint
  /** What it was reached through. */
  readonly leaf: SecondLeaf | undefined
}

/** The first-stage entry at this address: guest physical behind a second stage. */
function reach(job: Job, under: SecondStage | undefined, entry: bigint, purpose: Purpose): Reached {
  if (under === undefined) return { at: entry, leaf: undefined }
  const leaf = secondStage(job, under, entry, purpose)
  perhapsDirty(job, under, leaf)
  return { at: leaf.address, leaf }
}

const accessed = (stage: FirstStage): bigint => A | (stage.eafe ? EA : 0n)

/** [VTD 3.6.2 Accessed, Extended Accessed, and Dirty Flags] */
function mark(
  job: Job,
  stage: FirstStage,
  under: SecondStage | undefined,
  { at, leaf }: Reached,
  word: bigint,
  bits: bigint,
): void {
  if ((word & bits) === bits) return
  if (under !== undefined && leaf !== undefined) {
    if ((leaf.rights & 2) === 0) {
      job.troubles.add(0x77)
      if (!stage.snooped) job.troubles.add(0x90)
      return
    }
    dirty(job, under, leaf)
  }
  if (!stage.snooped) job.troubles.add(0x90)
  else if (!job.mark(at, word, bits)) job.troubles.add(0x91)
  else if ((word & D) !== (bits & D) && (bits & D) !== 0n) job.met.add('D set, first stage')
  else job.met.add(stage.eafe ? 'EA set' : 'A set, first stage')
}

interface Ending {
  readonly level: number
  readonly through: Reached
  readonly word: bigint
  readonly mayWrite: boolean
  readonly output: bigint
}

/** The leaf is marked when all allow the access. */
function throughLeaf(job: Job, stage: FirstStage, under: SecondStage | undefined, ending: Ending): Place {
  const { level, through, word, mayWrite, output } = ending
  const shift = shiftOf(level)
  mark(job, stage, under, through, word, accessed(stage))
  if (under === undefined) {
    if (job.wantsWrite && mayWrite) mark(job, stage, under, through, word, accessed(stage) | D)
    return { address: output, lg2: shift, rights: { read: true, write: mayWrite } }
  }
  const leaf = secondStage(job, under, output, 'data')
  const write = mayWrite && (leaf.rights & 2) !== 0
  if (job.wantsWrite && write) {
    mark(job, stage, under, through, word, accessed(stage) | D)
    dirty(job, under, leaf)
  }
  const rights = { read: (leaf.rights & 1) !== 0, write }
  return { address: leaf.address, lg2: Math.min(shift, leaf.lg2), rights }
}

function meet(
  job: Job,
  stage: FirstStage,
  under: SecondStage | undefined,
  level: number,
  { writable, user }: { readonly writable: boolean; readonly user: boolean },
): void {
  const { met } = job
  met.add(under === undefined ? 'first stage' : 'nested')
  met.add(`first stage of ${stage.levels} levels${under === undefined ? '' : ', nested'}`)
  if (level > 1) met.add(level === 2 ? '2 MiB, first stage' : '1 GiB, first stage')
  if (job.isPrivileged && !user) met.add('privileged access to a supervisor page')
  if (job.isPrivileged && job.wantsWrite && !writable) met.add('privileged write without WPE')
}

/** [VTD 3.6.1 Access Rights] */
function refusals(job: Job, user: boolean, mayWrite: boolean): number[] {
  const reasons: number[] = []
  if (!job.isPrivileged && !user) reasons.push(0x81)
  if (!job.isRequest && job.wantsWrite && !mayWrite) reasons.push(0x85)
  return reasons
}

/** [VTD 9.7 First-Stage Paging Entries, Tables 34 to 40] */
function isReserved(features: VtdFeatures, word: bigint, level: number, isLeaf: boolean): boolean {
  let reserved = features.haw < 52 ? inPlace(word, 51, features.haw) : 0n
  if (level >= 4) reserved |= inPlace(word, 7, 7)
  if (isLeaf && level === 2) reserved |= inPlace(word, 20, 13)
  if (isLeaf && level === 3) reserved |= inPlace(word, 29, 13)
  return reserved !== 0n || (isLeaf && level === 3 && !features.fs1gp)
}
