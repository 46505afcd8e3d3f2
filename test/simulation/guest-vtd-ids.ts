/** A random VT-d unit: VER, CAP and ECAP, with and without each feature that the model offers. */

import { decodeCapabilities } from '../../hw-model/vtd/index.js'
import type { VtdIds } from './reference/vtd-features.js'
import type { Rng } from './rng.js'

/** Registers while they are chosen. */
interface Ids {
  version: number
  cap: bigint
  ecap: bigint
  haw: number
}

/**
 * The plainest units: second stage of 39 and 48 bits, all page sizes, one queue. Legacy mode alone, or both stages and
 * nesting in scalable mode, snooped tables, 20-bit PASIDs.
 * [VTD 11.4.2 Capability Register] [VTD 11.4.3 Extended Capability Register]
 */
const LEGACY: Ids = { version: 0x10, cap: 0x00d2_008c_222f_0606n, ecap: 0xf03n, haw: 46 }
const SCALABLE: Ids = { version: 0x10, cap: 0x00d2_008c_222f_0606n, ecap: 0x1_c998_0400_0f03n, haw: 46 }

/** One thing that units differ in: how likely it is, and what it writes. */
interface Trait {
  readonly chance: number
  /** Only units with scalable mode have it. */
  readonly isScalable?: boolean
  readonly write: (ids: Ids, rng: Rng) => void
}

const put = (word: bigint, high: number, low: number, value: number | bigint): bigint => {
  const mask = ((1n << BigInt(high - low + 1)) - 1n) << BigInt(low)
  return (word & ~mask) | (BigInt(value) << BigInt(low))
}

const cap = (chance: number, bit: number, value = 1): Trait => ({
  chance,
  write: (ids) => {
    ids.cap = put(ids.cap, bit, bit, value)
  },
})

const ecap = (chance: number, bit: number, value = 1): Trait => ({
  chance,
  isScalable: true,
  write: (ids) => {
    ids.ecap = put(ids.ecap, bit, bit, value)
  },
})

const both = (trait: Trait): Trait => ({ ...trait, isScalable: false })

/** Later ones may need earlier ones: what does not go together is not taken. */
const TRAITS: Readonly<Record<string, Trait>> = {
  PT: both(ecap(0.8, 6)),
  SC: both(ecap(0.6, 7)),
  ND: {
    chance: 0.4,
    write: (ids, rng) => {
      ids.cap = put(ids.cap, 2, 0, rng.pick([0, 1, 2, 4, 5]))
    },
  },
  CM: cap(0.4, 7),
  ZLR: cap(0.6, 22),
  ESRTPS: cap(0.5, 63),
  noPSI: cap(0.15, 39, 0),
  'no 1 GiB': {
    chance: 0.2,
    write: (ids, rng) => {
      ids.cap = put(ids.cap, 37, 34, rng.int(2))
    },
  },
  MAMV: {
    chance: 0.3,
    write: (ids, rng) => {
      ids.cap = put(ids.cap, 53, 48, rng.pick([0, 3, 9, 12, 30, 63]))
    },
  },
  '57 bits': {
    chance: 0.5,
    write: (ids, rng) => {
      ids.cap = put(put(ids.cap, 12, 8, rng.pick([8, 12, 14])), 21, 16, rng.pick([52, 55, 56, 56]))
    },
  },
  '39 bits': {
    chance: 0.15,
    write: (ids, rng) => {
      ids.cap = put(ids.cap, 12, 8, 2)
      ids.cap = put(ids.cap, 21, 16, rng.pick([38, 41, 47]))
    },
  },
  HAW: {
    chance: 0.6,
    write: (ids, rng) => {
      const mgaw = Number((ids.cap >> 16n) & 63n) + 1
      ids.haw = rng.between(39, Math.min(52, mgaw))
    },
  },
  FS1GP: { ...cap(0.7, 56), isScalable: true },
  FS5LP: { ...cap(0.5, 60), isScalable: true },
  NFR: {
    chance: 0.7,
    write: (ids, rng) => {
      ids.cap = put(ids.cap, 47, 40, rng.pick([0, 1, 7, 255]))
    },
  },
  noSNP: { ...ecap(0.2, 48, 0) },
  SSADS: ecap(0.7, 45),
  EAFS: ecap(0.6, 34),
  SRS: ecap(0.7, 31),
  RPRIVS: ecap(0.6, 53),
  RPS: ecap(0.8, 49),
  noPASID: ecap(0.1, 40, 0),
  noNEST: ecap(0.1, 26, 0),
  'second stage alone': {
    chance: 0.08,
    isScalable: true,
    write: (ids) => {
      ids.ecap = put(put(ids.ecap, 47, 47, 0), 26, 26, 0)
      ids.ecap = put(ids.ecap, 34, 34, 0)
      ids.cap = put(put(ids.cap, 56, 56, 0), 60, 60, 0)
    },
  },
  'first stage alone': {
    chance: 0.08,
    isScalable: true,
    write: (ids) => {
      ids.ecap = put(put(ids.ecap, 46, 45, 0), 26, 26, 0)
    },
  },
  PSS: {
    chance: 0.3,
    isScalable: true,
    write: (ids, rng) => {
      ids.ecap = put(ids.ecap, 39, 35, rng.pick([0, 5, 7, 15]))
    },
  },
  ADMS: both(ecap(0.4, 52)),
  SSIRWS: ecap(0.4, 57),
  version: {
    chance: 0.6,
    write: (ids, rng) => {
      ids.version = rng.pick([0x20, 0x40, 0x60, 0x80])
    },
  },
  ATS: {
    chance: 0.5,
    write: (ids, rng) => {
      ids.ecap = put(ids.ecap, 2, 2, 1)
      ids.ecap = put(ids.ecap, 33, 33, rng.int(2))
    },
  },
  PTRS: ecap(0.4, 56),
  PRS: {
    chance: 0.5,
    isScalable: true,
    write: (ids, rng) => {
      ids.ecap = put(ids.ecap, 29, 29, 1)
      ids.ecap = put(put(ids.ecap, 42, 42, rng.int(2)), 58, 58, rng.int(2))
    },
  },
}

/** Names of all traits. */
export const TRAIT_NAMES: readonly string[] = ['scalable', ...Object.keys(TRAITS)]

const known = new Map<string, boolean>()

const halves = (word: bigint): [lo: number, hi: number] => [
  Number(word & 0xffff_ffffn) | 0,
  Number((word >> 32n) & 0xffff_ffffn) | 0,
]

/** The registers as the model takes them. */
export const modelIds = ({ version, cap: capWord, ecap: ecapWord, haw }: VtdIds) => ({
  VER: version,
  CAP: halves(capWord),
  ECAP: halves(ecapWord),
  hawBits: haw,
})

/** Whether the model takes these registers; the others it refuses by name. */
function isOffered(ids: Ids): boolean {
  const key = Object.values(ids).join()
  const answer = known.get(key)
  if (answer !== undefined) return answer
  let isTaken = true
  try {
    decodeCapabilities(modelIds(ids))
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    isTaken = false
  }
  if (known.size > 50_000) known.clear()
  known.set(key, isTaken)
  return isTaken
}

/** A unit, and the traits that it has. */
export interface UnitChoice {
  readonly ids: VtdIds
  readonly traits: readonly string[]
}

/** Chooses a unit: a plain one, with each trait by chance, but for those that do not go with another. */
export function chooseUnit(rng: Rng): UnitChoice {
  const isScalable = rng.chance(0.8)
  let ids: Ids = { ...(isScalable ? SCALABLE : LEGACY) }
  const traits: string[] = isScalable ? ['scalable'] : []
  for (const [name, { chance, write, isScalable: needs = false }] of Object.entries(TRAITS)) {
    if (!rng.chance(chance) || (needs && !isScalable)) continue
    const next = { ...ids }
    write(next, rng)
    if (!isOffered(next)) continue
    ids = next
    traits.push(name)
  }
  // MGAW is never below HAW.
  return { ids: { ...ids, haw: Math.min(ids.haw, Number((ids.cap >> 16n) & 63n) + 1) }, traits }
}
