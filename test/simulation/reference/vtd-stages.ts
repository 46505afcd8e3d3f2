/** The two stages of the reference VT-d unit, entry by entry. */

import { field, inPlace, type ReferenceMemory } from './memory.js'
import { type VtdAccess, type VtdFeatures, VtdStop } from './vtd.js'

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

/** A first stage of a PASID entry. */
export interface FirstStage {
  readonly levels: number
  readonly table: bigint
  readonly wpe: boolean
  readonly eafe: boolean
  readonly snooped: boolean
}

/** On whose behalf the second stage is asked. */
type Purpose = 'data' | 'root table' | 'lower table'

interface Leaf {
  readonly address: bigint
  readonly leafLg2: number
}

const shiftOf = (level: number): number => 12 + 9 * (level - 1)
const indexOf = (address: bigint, level: number): bigint => (address >> BigInt(shiftOf(level))) & 511n
const offsetOf = (address: bigint, level: number): bigint => address & ((1n << BigInt(shiftOf(level))) - 1n)

const SECOND = { rootFetch: 0x7b, fetch: 0x78, nothing: 0x79, write: 0x85, read: 0x86, reserved: 0x7a }

/** [VTD 3.7 Second-Stage Translation] The input is known to fit. Levels are counted from 1. */
export function secondStage(
  memory: ReferenceMemory,
  features: VtdFeatures,
  stage: SecondStage,
  input: bigint,
  wanted: { readonly write: boolean; readonly purpose: Purpose },
): Leaf {
  const needed = wanted.write ? 0x5 : 0x6
  const reasons = stage.legacy
    ? { rootFetch: 0x3, fetch: 0x7, nothing: needed, write: 0x5, read: 0x6, reserved: 0xc }
    : SECOND
  const top = (stage.width - 12) / 9
  let base = stage.table
  let rights = 3
  const used: { at: bigint; word: bigint }[] = []
  // What the rights so far would already have refused, had the unit looked before it went on.
  let refused: number[] = []
  for (let level = top; ; level--) {
    const at = base + indexOf(input, level) * 8n
    const word = memory.read64(at)
    if (word === undefined) throw new VtdStop(level === top ? reasons.rootFetch : reasons.fetch, refused)
    if (field(word, 1, 0) === 0) throw new VtdStop(reasons.nothing, refused)
    const isLeaf = level === 1 || ((level === 2 || level === 3) && field(word, 7) === 1)
    if (isReserved2(features, word, level, isLeaf)) throw new VtdStop(reasons.reserved, refused)
    rights &= field(word, 1, 0)
    const reason = refusal(rights, reasons, wanted, stage)
    used.push({ at, word })
    // A unit marks what it passes, and may fail at that before it sees the rights.
    if (stage.flags && !stage.snooped && field(word, 8) === 0) refused = [...refused, 0x7c]
    if (!isLeaf) {
      if (reason !== undefined) refused = [...refused, reason]
      base = inPlace(word, 51, 12)
      continue
    }
    if (reason !== undefined) throw new VtdStop(reason, refused)
    if (stage.flags) setFlags2(memory, stage, used, wanted.write || wanted.purpose !== 'data')
    const shift = shiftOf(level)
    return { address: inPlace(word, 51, shift) | offsetOf(input, level), leafLg2: shift }
  }
}

/** Why these rights do not do, or undefined. */
function refusal(
  rights: number,
  reasons: typeof SECOND,
  { write, purpose }: { readonly write: boolean; readonly purpose: Purpose },
  stage: SecondStage,
): number | undefined {
  if (rights === 0) return reasons.nothing
  if (purpose === 'data') return (rights & (write ? 2 : 1)) !== 0 ? undefined : write ? reasons.write : reasons.read
  if ((rights & 1) === 0) return purpose === 'root table' ? 0x75 : 0x76
  // Where A and D are kept, reading a first-stage entry already needs both rights.
  return (write || stage.flags) && (rights & 2) === 0 ? 0x77 : undefined
}

function isReserved2(features: VtdFeatures, word: bigint, level: number, isLeaf: boolean): boolean {
  let reserved = inPlace(word, 62, 62)
  if (features.haw < 52) reserved |= inPlace(word, 51, features.haw)
  if (level >= 4) reserved |= inPlace(word, 7, 7)
  if (!isLeaf) reserved |= inPlace(word, 11, 11)
  if (isLeaf && !features.sc) reserved |= inPlace(word, 11, 11)
  if (isLeaf && level > 1) reserved |= inPlace(word, shiftOf(level) - 1, 12)
  if (isLeaf && level === 2 && (features.sslps & 1) === 0) return true
  if (isLeaf && level === 3 && (features.sslps & 2) === 0) return true
  return reserved !== 0n
}

/** A in every entry used, D in the leaf of a write. [VTD 3.7.2 Accessed and Dirty Flags] */
function setFlags2(
  memory: ReferenceMemory,
  stage: SecondStage,
  used: readonly { readonly at: bigint; readonly word: bigint }[],
  write: boolean,
): void {
  used.forEach(({ at, word }, i) => {
    const next = word | (1n << 8n) | (write && i === used.length - 1 ? 1n << 9n : 0n)
    if (next === word) return
    if (!stage.snooped) throw new VtdStop(0x7c)
    if (!memory.write64(at, next)) throw new VtdStop(0x7d)
  })
}

/** [VTD 3.6 First-Stage Translation], behind a second stage where there is one. [VTD 3.8 Nested Translation] */
export function firstStage(
  memory: ReferenceMemory,
  features: VtdFeatures,
  stage: FirstStage,
  under: SecondStage | undefined,
  access: VtdAccess,
): Leaf {
  const { address, write } = access
  const bits = stage.levels === 5 ? 57 : 48
  const sign = address >> BigInt(bits - 1)
  if (sign !== 0n && sign !== (1n << BigInt(65 - bits)) - 1n) throw new VtdStop(0x80)
  const limit = under === undefined ? 64 : Math.min(features.mgaw, under.width)
  let base = stage.table
  let user = true
  let writable = true
  let refused: number[] = []
  for (let level = stage.levels; ; level--) {
    const isRoot = level === stage.levels
    const entryAt = base + indexOf(address, level) * 8n
    const purpose: Purpose = isRoot ? 'root table' : 'lower table'
    const reach = (forWrite: boolean): bigint =>
      under === undefined
        ? entryAt
        : secondStage(memory, features, under, entryAt, { write: forWrite, purpose }).address
    const at = reach(false)
    const word = memory.read64(at)
    if (word === undefined) throw new VtdStop(isRoot ? 0x73 : 0x70, refused)
    if (field(word, 0) === 0) throw new VtdStop(0x71, refused)
    const isLeaf = level === 1 || ((level === 2 || level === 3) && field(word, 7) === 1)
    if (isReserved1(features, word, level, isLeaf)) throw new VtdStop(0x72, refused)
    const shift = shiftOf(level)
    const next = isLeaf ? inPlace(word, 51, shift) : inPlace(word, 51, 12)
    if (next >> BigInt(limit) !== 0n) throw new VtdStop(0x74, refused)
    user &&= field(word, 2) === 1
    writable &&= field(word, 1) === 1
    const reasons = refusals(user, writable, stage, access)
    const accessed = (1n << 5n) | (stage.eafe ? 1n << 10n : 0n)
    // A unit may mark a leaf accessed before it looks at the rights, and fail at that.
    const marking = (word & accessed) === accessed ? [] : [0x77, 0x90, 0x91]
    if (isLeaf && reasons.length > 0) throw new VtdStop(reasons[0], [...reasons, ...refused, ...marking])
    refused = [...refused, ...reasons]
    const wanted = accessed | (isLeaf && write ? 1n << 6n : 0n)
    const mark = (): void => {
      if ((word & wanted) === wanted) return
      if (!stage.snooped) throw new VtdStop(0x90, [...refused, 0x71, 0x72, 0x70])
      if (!memory.write64(reach(true), word | wanted)) throw new VtdStop(0x91, refused)
    }
    if (isLeaf) return throughLeaf(next | offsetOf(address, level), shift, mark)
    mark()
    base = next
  }

  /** The leaf is marked when all allow the access; which of two troubles is told then is open. */
  function throughLeaf(output: bigint, shift: number, mark: () => void): Leaf {
    let final: Leaf = { address: output, leafLg2: shift }
    if (under !== undefined) {
      const trouble = attempt(() => {
        final = secondStage(memory, features, under, output, { write, purpose: 'data' })
      })
      if (trouble !== undefined) throw new VtdStop(trouble.reason, [...trouble.others, 0x77, 0x90, 0x91])
    }
    const trouble = attempt(mark)
    if (trouble !== undefined) throw new VtdStop(trouble.reason, [...trouble.others, 0x87])
    return { address: final.address, leafLg2: Math.min(shift, final.leafLg2) }
  }
}

/** What stopped it, if anything did. */
function attempt(action: () => void): VtdStop | undefined {
  try {
    action()
  } catch (stop) {
    if (stop instanceof VtdStop) return stop
    throw stop
  }
  return undefined
}

/** Every reason to refuse what the entries so far allow. [VTD 3.6.1 Access Rights] */
function refusals(user: boolean, writable: boolean, stage: FirstStage, { write, privileged }: VtdAccess): number[] {
  const reasons: number[] = []
  if (!privileged && !user) reasons.push(0x81)
  if (write && !writable && !(privileged && !stage.wpe)) reasons.push(0x85)
  return reasons
}

function isReserved1(features: VtdFeatures, word: bigint, level: number, isLeaf: boolean): boolean {
  let reserved = features.haw < 52 ? inPlace(word, 51, features.haw) : 0n
  if (level >= 4) reserved |= inPlace(word, 7, 7)
  if (isLeaf && level === 2) reserved |= inPlace(word, 20, 13)
  if (isLeaf && level === 3) reserved |= inPlace(word, 29, 13)
  return reserved !== 0n || (isLeaf && level === 3 && !features.fs1gp)
}
