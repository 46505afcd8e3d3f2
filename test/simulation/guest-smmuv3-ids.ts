/** A random SMMUv3: its ID registers, with and without each feature that the model offers. */

import { type IdRegisters, idRegisters } from '../../hw-model/smmuv3/index.js'
import type { Rng } from './rng.js'

/** The plainest unit: two stages, all granules, 48 bits; no stalls, no flags, no ATS, no EL2. */
const PLAIN: IdRegisters = {
  IDR0: 0x094c_701b,
  IDR1: 0x0673_0510,
  IDR2: 0,
  IDR3: 0x1514,
  IDR4: 0,
  IDR5: 0x75,
  IIDR: 0,
  AIDR: 1,
}

type Ids = { -readonly [K in keyof IdRegisters]: number }
type Register = keyof IdRegisters

/** One thing that units differ in: how likely it is, and what it writes. */
interface Trait {
  readonly chance: number
  readonly write: (ids: Ids, rng: Rng) => void
}

const put = (ids: Ids, register: Register, high: number, low: number, value: number): void => {
  const mask = (2 ** (high - low + 1) - 1) * 2 ** low
  ids[register] = ((ids[register] & ~mask) | (value * 2 ** low)) >>> 0
}

/** Bits by the manual's tables. [SMMU 6.3.1 SMMU_IDR0] [SMMU 6.3.2] [SMMU 6.3.4] [SMMU 6.3.6] [SMMU 6.3.8 SMMU_AIDR] */
const TRAITS: Readonly<Record<string, Trait>> = {
  stall: {
    chance: 0.5,
    write: (ids, rng) => {
      put(ids, 'IDR0', 25, 24, rng.pick([0, 0, 0, 2]))
      put(ids, 'IDR5', 31, 16, rng.pick([1, 2, 8, 64]))
    },
  },
  abortOnly: { chance: 0.15, write: (ids) => put(ids, 'IDR0', 26, 26, 1) },
  httu: { chance: 0.7, write: (ids, rng) => put(ids, 'IDR0', 7, 6, rng.pick([1, 2, 2, 2])) },
  hyp: { chance: 0.5, write: (ids) => put(ids, 'IDR0', 9, 9, 1) },
  ats: {
    chance: 0.5,
    write: (ids, rng) => {
      put(ids, 'IDR0', 10, 10, 1)
      put(ids, 'IDR0', 11, 11, rng.pick([0, 0, 1]))
      put(ids, 'IDR0', 23, 23, rng.int(2))
    },
  },
  wide: {
    chance: 0.4,
    write: (ids, rng) => {
      put(ids, 'IDR5', 2, 0, 6)
      put(ids, 'IDR5', 11, 10, rng.pick([0, 1, 1, 1]))
      put(ids, 'IDR5', 7, 7, rng.pick([0, 1, 1]))
    },
  },
  small: { chance: 0.4, write: (ids) => put(ids, 'IDR3', 9, 9, 1) },
  e0pd: { chance: 0.5, write: (ids) => put(ids, 'IDR3', 13, 13, 1) },
  epan: { chance: 0.5, write: (ids) => put(ids, 'IDR3', 17, 17, 1) },
  vmw: { chance: 0.3, write: (ids) => put(ids, 'IDR0', 17, 17, 1) },
  noXnx: { chance: 0.15, write: (ids) => put(ids, 'IDR3', 4, 4, 0) },
  noHad: { chance: 0.15, write: (ids) => put(ids, 'IDR3', 2, 2, 0) },
  noRil: { chance: 0.15, write: (ids) => put(ids, 'IDR3', 10, 10, 0) },
  noOverrides: { chance: 0.2, write: (ids) => put(ids, 'IDR1', 26, 26, 0) },
  noCd2l: { chance: 0.1, write: (ids) => put(ids, 'IDR0', 19, 19, 0) },
  asid8: { chance: 0.15, write: (ids) => put(ids, 'IDR0', 12, 12, 0) },
  vmid8: { chance: 0.15, write: (ids) => put(ids, 'IDR0', 18, 18, 0) },
  fewSubstreams: { chance: 0.2, write: (ids, rng) => put(ids, 'IDR1', 10, 6, rng.pick([0, 1, 5, 8])) },
  narrow: { chance: 0.2, write: (ids, rng) => put(ids, 'IDR5', 2, 0, rng.pick([2, 3, 4])) },
  granules: { chance: 0.25, write: (ids, rng) => put(ids, 'IDR5', 6, 4, rng.pick([1, 2, 4, 3, 5, 6])) },
  stage1: { chance: 0.06, write: (ids) => put(ids, 'IDR0', 1, 0, 2) },
  stage2: { chance: 0.06, write: (ids) => put(ids, 'IDR0', 1, 0, 1) },
  version: { chance: 0.5, write: (ids, rng) => put(ids, 'AIDR', 3, 0, rng.pick([1, 2, 3, 4])) },
}

const known = new Map<string, boolean>()

/** Whether the model takes these registers. */
function isOffered(ids: Ids): boolean {
  const key = Object.values(ids).join()
  const answer = known.get(key)
  if (answer !== undefined) return answer
  let isTaken = true
  try {
    idRegisters('default', ids)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    isTaken = false
  }
  known.set(key, isTaken)
  return isTaken
}

/** Names of all traits. */
export const TRAIT_NAMES: readonly string[] = Object.keys(TRAITS)

/** ID registers of one step, and the traits that they have. */
export interface UnitChoice {
  readonly id: IdRegisters
  readonly traits: readonly string[]
}

/** Chooses a unit: the plainest one, with each trait by chance, but for those that do not go with another. */
export function chooseUnit(rng: Rng): UnitChoice {
  let ids: Ids = { ...PLAIN }
  const traits: string[] = []
  for (const [name, { chance, write }] of Object.entries(TRAITS)) {
    if (!rng.chance(chance)) continue
    const next = { ...ids }
    write(next, rng)
    if (!isOffered(next)) continue
    ids = next
    traits.push(name)
  }
  return { id: idRegisters('default', ids), traits }
}
