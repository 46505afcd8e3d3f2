/** Units and devices by chance: whatever the host driver has to do differently on some of them. */

import { type CacheOptions, type IdOverrides, type IdRegisters, PRESETS } from '../../../hw-model/smmuv3/index.js'
import type { DeviceFacts } from '../../../server/core/driver.js'
import { randomCaches } from '../caches.js'
import type { Rng } from '../rng.js'

/** Devices that are found later. */
const LATER = 1

/** What one machine is made of. */
export interface Choice {
  readonly overrides: IdOverrides
  readonly caches: CacheOptions
  readonly isCached: boolean
  /** Those that are there from the beginning, and those that are found later. */
  readonly devices: readonly DeviceFacts[]
  readonly later: readonly DeviceFacts[]
  readonly traits: readonly string[]
}

type Ids = { -readonly [K in keyof IdRegisters]: number }

const put = (ids: Ids, register: keyof IdRegisters, high: number, low: number, value: number): void => {
  const mask = (2 ** (high - low + 1) - 1) * 2 ** low
  ids[register] = ((ids[register] & ~mask) | (value * 2 ** low)) >>> 0
}

interface Trait {
  readonly chance: number
  readonly write: (ids: Ids, rng: Rng) => void
}

/** Bits by the manual's tables. [SMMU 6.3.1 SMMU_IDR0] [SMMU 6.3.2] [SMMU 6.3.4] [SMMU 6.3.6] */
const TRAITS: Readonly<Record<string, Trait>> = {
  'stage 1 alone': {
    chance: 0.12,
    write: (ids) => {
      put(ids, 'IDR0', 1, 0, 2)
      put(ids, 'IDR3', 8, 8, 0)
    },
  },
  'stage 2 alone': { chance: 0.1, write: (ids) => put(ids, 'IDR0', 1, 0, 1) },
  'no ranges': { chance: 0.4, write: (ids) => put(ids, 'IDR3', 10, 10, 0) },
  'linear CD tables': { chance: 0.3, write: (ids) => put(ids, 'IDR0', 19, 19, 0) },
  'linear stream table': {
    chance: 0.3,
    write: (ids) => {
      put(ids, 'IDR0', 28, 27, 0)
      put(ids, 'IDR1', 5, 0, 6)
    },
  },
  'ASID of 8 bits': { chance: 0.4, write: (ids) => put(ids, 'IDR0', 12, 12, 0) },
  'VMID of 8 bits': { chance: 0.4, write: (ids) => put(ids, 'IDR0', 18, 18, 0) },
  'no dirty state': { chance: 0.3, write: (ids, rng) => put(ids, 'IDR0', 7, 6, rng.int(2)) },
  'not coherent': { chance: 0.15, write: (ids) => put(ids, 'IDR0', 4, 4, 0) },
  'no MSI': { chance: 0.2, write: (ids) => put(ids, 'IDR0', 13, 13, 0) },
  'few SubstreamIDs': { chance: 0.35, write: (ids, rng) => put(ids, 'IDR1', 10, 6, rng.pick([0, 1, 5, 11])) },
  'small command queue': { chance: 0.4, write: (ids, rng) => put(ids, 'IDR1', 25, 21, rng.between(1, 4)) },
  'small event queue': { chance: 0.4, write: (ids, rng) => put(ids, 'IDR1', 20, 16, rng.between(1, 4)) },
  ats: { chance: 0.5, write: (ids) => put(ids, 'IDR0', 10, 10, 1) },
  'no forced write-back': { chance: 0.2, write: (ids) => put(ids, 'IDR3', 8, 8, 0) },
  'narrow addresses': { chance: 0.4, write: (ids, rng) => put(ids, 'IDR5', 2, 0, rng.pick([1, 2, 3])) },
  'EL2 StreamWorlds': {
    chance: 0.3,
    write: (ids) => {
      if ((ids.IDR0 & 3) === 3) put(ids, 'IDR0', 9, 9, 1)
    },
  },
}

/** Names of all traits. */
export const UNIT_TRAITS: readonly string[] = Object.keys(TRAITS)

/** How a machine is made, by chance. */
export function chooseMachine(rng: Rng, isCached: boolean): Choice {
  const ids: Ids = { ...PRESETS.default }
  const traits: string[] = []
  for (const [name, { chance, write }] of Object.entries(TRAITS)) {
    if (!rng.chance(chance) || (name === 'stage 2 alone' && traits.includes('stage 1 alone'))) continue
    write(ids, rng)
    traits.push(name)
  }
  const hasAts = traits.includes('ats')
  const sidBits = ids.IDR1 & 63
  const rids = RIDS.filter((rid) => rid < 2 ** sidBits)
  const devices = rids.map((rid, i): DeviceFacts => {
    const mediated = i === 1 && rng.chance(0.3)
    return {
      rid,
      pasidLg2: i === 0 ? 20 : mediated ? 4 : rng.pick([0, 1, 4, 5, 11, 12]),
      ats: hasAts && rng.chance(0.7),
      pri: false,
      canwbs: rng.chance(0.25),
      ...(mediated ? { mediatedPasids: [7] } : {}),
    }
  })
  return {
    overrides: ids,
    caches: isCached ? randomCaches(rng) : { policy: 'off' },
    isCached,
    devices: devices.slice(0, 4),
    later: devices.slice(4, 4 + LATER),
    traits,
  }
}

/** Some are neighbours in one level 2 stream table, and some are alone in theirs. */
const RIDS: readonly number[] = [8, 9, 0x5600, 0x30, 0x1234, 0x31]
