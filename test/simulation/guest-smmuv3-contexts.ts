/** Random context descriptors and stage 1 tables. */

import { ArmTables, type Slot } from './arm-tables.js'
import type { Ground, Group, Regime, SharedHalf } from './guest-smmuv3-build.js'
import type { GuestStage2 } from './guest-smmuv3-stage2.js'
import type { Space } from './ram.js'
import { ADDRESS_BITS } from './reference/smmuv3-features.js'
import type { Rng } from './rng.js'

/** One context of a group of streams. */
export interface GuestContext {
  readonly ssid: number
  readonly asid: number
  /** Address of its CD in the group's space. */
  readonly at: bigint
  readonly halves: readonly (ArmTables | undefined)[]
}

/** Where tables of stage 1 may stand, and what they may point at. */
interface Spaces {
  readonly near: Space
  readonly far: Space | undefined
  readonly targets: readonly Slot[]
}

const TG0: Readonly<Record<number, bigint>> = { 12: 0n, 14: 2n, 16: 1n }
const TG1: Readonly<Record<number, bigint>> = { 12: 2n, 14: 1n, 16: 3n }

/**
 * What is not a leaf now may become one by a flip. Then it had better not be global: one context's mistake would be found
 * by all others, who are told nothing of it. So nG is set where it is ignored, too, and AF, AP[1] so that it is of use.
 */
const NG = 1n << 11n
const TABLE1 = (1n << 10n) | (1n << 6n)
const L1CD = NG | 1n

/** log2 of the CDs that a linear table is made for; each takes 64 bytes. */
const LINEAR_MOST = 10

/** Builds the CD table of a group. */
export function buildContexts(
  ground: Ground,
  known: Regime,
  isNew: boolean,
  stage2: GuestStage2 | undefined,
): Pick<Group, 'regime' | 'contexts' | 'l1cds' | 'cdMax' | 'word0'> {
  const { rng, features, ram, far } = ground
  const near = stage2?.near ?? ram
  const targets = stage2?.tables.leaves ?? []
  const spaces = { near, far: stage2 === undefined ? far : stage2.far, targets }
  // EL2 has no ASIDs: all its CDs are one and the same. [SMMU 5.4.1 CD notes]
  const isSingle = known.world === 'EL2'
  const regime = isNew ? shareHalf(ground, known, spaces) : known
  const format = features.cd2l ? rng.int(3) : 0
  const sizes = [0, 1, 3, 7, 12, 20].filter((size) => size <= features.ssidSize && (format > 0 || size <= LINEAR_MOST))
  const cdMax = isSingle ? 0 : rng.pick(sizes)
  const { pointer, places, l1cds } = placeTable(rng, near, cdMax, format)
  const contexts = places.map(({ ssid, at }) => {
    const halves = writeContext(ground, regime, spaces, at)
    return { ssid, asid: halves.asid, at, halves: halves.tables }
  })
  const word0 = (BigInt(format) << 4n) | pointer | (BigInt(cdMax) << 59n)
  return { regime, contexts, l1cds, cdMax, word0 }
}

/** Allocates a CD table of some format, with room for a few CDs in it. */
function placeTable(rng: Rng, space: Space, cdMax: number, format: number) {
  const low = cdMax === 0 || format === 0 ? undefined : format === 1 ? 6 : 10
  const count = 2 ** cdMax
  const ssids = [...new Set([0, 1 % count, count - 1, rng.int(count), rng.int(count)])]
  const l1cds: bigint[] = []
  if (low === undefined) {
    const pointer = space.allocate(64n << BigInt(cdMax))
    return { pointer, l1cds, places: ssids.map((ssid) => ({ ssid, at: pointer + BigInt(ssid) * 64n })) }
  }
  const bytes = 8n << BigInt(Math.max(0, cdMax - low))
  const pointer = space.allocate(bytes < 64n ? 64n : bytes)
  const places = ssids.map((ssid) => {
    const entry = pointer + BigInt(ssid >>> low) * 8n
    if (space.read(entry) === 0n) {
      l1cds.push(entry)
      space.write(entry, space.allocate(64n << BigInt(low)) | L1CD)
    }
    return { ssid, at: (space.read(entry) & ~0xfffn) + BigInt(ssid & (2 ** low - 1)) * 64n }
  })
  return { pointer, l1cds, places }
}

/** Bits of a CD that have to agree where contexts share global entries. */
function commonWords({ rng, features }: Ground): [bigint, bigint, bigint] {
  const ha = features.httu > 0 ? rng.bit(0.65) : 0n
  const hd = features.httu > 1 ? rng.bit(0.7) : 0n
  const ips = rng.pick([6n, 5n, 5n, 5n, 4n, 2n, ...(features.oasBits === 52 ? [6n, 6n, 6n, 6n] : [])])
  const word0 =
    (ips << 32n) |
    (rng.bit(0.1) << 35n) |
    (rng.bit(0.1) << 36n) |
    (rng.bit(0.3) << 39n) |
    (rng.bit(0.2) << 40n) |
    (1n << 41n) |
    (hd << 42n) |
    (ha << 43n)
  const epan = (features.epan ? rng.bit(0.6) : rng.bit(0.1)) << 59n
  const ds = (features.ds ? rng.bit(0.7) : rng.bit(0.05)) << 58n
  const e0pd1 = (features.e0pd ? rng.bit(0.2) : rng.bit(0.05)) << 2n
  return [word0, epan, ds | (rng.bit(0.2) << 1n) | e0pd1]
}

/** In a strict guest some regimes have a half that is global, as a kernel's is. */
function shareHalf(ground: Ground, regime: Regime, spaces: Spaces): Regime {
  const { rng, isStrict } = ground
  if (!isStrict || regime.world === 'EL2' || rng.chance(0.3)) return regime
  // Global entries are found by contexts of their own ASID set alone. [SMMU 5.4 Context Descriptor, ASET]
  const shared = [0, 1].map((): SharedHalf => {
    const words = commonWords(ground)
    return { words, tables: buildHalf(ground, words, spaces, true) }
  })
  return { ...regime, shared }
}

function writeContext(
  ground: Ground,
  regime: Regime,
  spaces: Spaces,
  at: bigint,
): { tables: (ArmTables | undefined)[]; asid: number } {
  const { rng, features } = ground
  const aset = rng.bit(0.6)
  const shared = regime.shared?.[Number(aset)]
  const words = shared?.words ?? commonWords(ground)
  const upper = shared?.tables ?? (rng.chance(0.5) ? undefined : buildHalf(ground, words, spaces, false))
  const tables = [rng.chance(0.1) ? undefined : buildHalf(ground, words, spaces, false), upper]
  const sizeOf = (half: number): bigint => {
    const shape = tables[half]?.shape
    if (shape === undefined) return (1n << 14n) | rng.bits(8)
    const tg = (half === 0 ? TG0 : TG1)[shape.granule]
    return BigInt(64 - shape.inputBits) | (tg << 6n) | (0x3dn << 8n)
  }
  const asid = regime.nextAsid++
  const stalls = features.stallModel === 0 ? rng.bit(0.35) : features.stallModel === 2 ? rng.bit(0.97) : 0n
  const word0 =
    words[0] |
    sizeOf(0) |
    (sizeOf(1) << 16n) |
    (1n << 31n) |
    (rng.bit(0.3) << 38n) |
    (stalls << 44n) |
    (rng.bit(0.85) << 45n) |
    (rng.bit(features.abortOnly ? 0.98 : 0.85) << 46n) |
    (aset << 47n) |
    (BigInt(asid) << 48n)
  const e0pd0 = (features.e0pd ? rng.bit(0.2) : rng.bit(0.05)) << 2n
  const { near } = spaces
  near.write(at, word0)
  near.write(at + 8n, (tables[0]?.root ?? 0n) | (rng.bit(0.2) << 1n) | e0pd0 | words[1])
  near.write(at + 16n, (upper?.root ?? 0n) | words[2])
  near.write(at + 24n, 0xf404ff44n)
  return { tables, asid }
}

/** One half: a set of tables with a few mappings. */
function buildHalf(
  ground: Ground,
  [word0, , word2]: readonly [bigint, bigint, bigint],
  spaces: Spaces,
  isGlobal: boolean,
): ArmTables {
  const { rng, features, isStrict } = ground
  const granule = rng.pick([features.granules[0], ...features.granules])
  const ds = features.ds && granule < 16 && ((word2 >> 58n) & 1n) === 1n
  const lpa = features.oasBits === 52
  const widest = features.wideVa && (ds || granule === 16) ? [52, 51, 50, 49, 52] : []
  const smallest = features.smallTables ? [24, 22, 20, 18, 17] : []
  const inputBits = rng.pick([48, 48, 47, 42, 39, 36, 32, 30, 25, ...widest, ...smallest])
  const start = 4 - Math.ceil((inputBits - granule) / (granule - 3))
  const shape = { granule, inputBits, start, ds, lpa }
  const isWide = (ds || (lpa && granule === 16)) && ((word0 >> 32n) & 7n) === 6n
  const space = spaces.far !== undefined && isWide && rng.chance(0.5) ? spaces.far : spaces.near
  const own = TABLE1 | (isGlobal ? 0n : NG)
  const tables = new ArmTables(space, shape, (r) => own | (r.chance(0.85) ? 0n : BigInt(r.pick([1, 2, 4, 8])) << 59n))
  const [ha, hd] = [(word0 >> 43n) & 1n, (word0 >> 42n) & 1n]
  const widths = widthsWithin(features.oasBits, Number((word0 >> 32n) & 7n), isWide)
  for (let i = 0; i < 6; i++) {
    const target = spaces.targets.length > 0 && rng.chance(0.92) ? rng.pick(spaces.targets) : undefined
    const levels = tables.leafLevels()
    // A leaf that is larger than what stage 2 maps leads nowhere, mostly.
    const fitting = levels.filter((at) => target !== undefined && tables.shiftOf(at) <= target.lg2)
    const level = rng.pick(fitting.length > 0 && rng.chance(0.8) ? fitting : levels)
    const input = inputOf(ground, inputBits)
    const output = target?.input ?? rng.bits(rng.pick(widths))
    const ng = isGlobal ? 0n : NG
    if (isStrict && rng.chance(0.4)) tables.mapSpan(rng, input, output, level, span1(rng) | ng)
    else tables.map(rng, input, output, level, leaf1(rng, ha, hd) | ng)
  }
  return tables
}

/** An input address: often one that others map, too. */
export function inputOf({ rng, popular }: Ground, inputBits: number): bigint {
  if (rng.chance(0.5)) return BigInt.asUintN(inputBits, rng.pick(popular))
  return rng.bits(rng.chance(0.5) ? Math.min(inputBits, 28) : inputBits)
}

/** Widths of addresses to map to: mostly what the output size, the unit and the format hold. */
export function widthsWithin(oasBits: number, code: number, isWide: boolean): number[] {
  const most = Math.min(oasBits, ADDRESS_BITS[code], isWide ? 52 : 48)
  const widths = [32, 32, 36, 40, most, most, most - 1].filter((bits) => bits <= most)
  return [...widths, ...widths, Math.min(most + 1, oasBits)]
}

/** Attributes of a leaf, all but nG. */
export function leaf1(rng: Rng, ha: bigint, hd: bigint): bigint {
  const ap = rng.pick(hd === 1n ? [1n, 1n, 0n, 3n, 3n, 3n, 2n] : [1n, 1n, 1n, 1n, 0n, 2n, 3n])
  const dbm = rng.bit(hd === 1n ? 0.7 : 0.1) << 51n
  const af = rng.bit(ha === 1n ? 0.6 : 0.95) << 10n
  return (1n << 2n) | (ap << 6n) | (3n << 8n) | af | dbm | (rng.bit(0.2) << 53n) | (rng.bit(0.2) << 54n)
}

/** Attributes of leaves under a Contiguous bit: nothing that hardware would change. */
export const span1 = (rng: Rng): bigint => (leaf1(rng, 0n, 0n) | (1n << 10n)) & ~(1n << 51n)
