/**
 * Which STEs and CDs are ILLEGAL, told a second time after the functions that the manual prints, and asked of many that
 * are made by chance: each field is likely to be harmless, so that every rule decides some of them alone.
 * [SMMU 5.2.2 Validity of STE] [SMMU 5.4.2 Validity of CD]
 */

import { describe, expect, it } from 'vitest'
import { pack } from '../../hw-model/bits/layout.js'
import { decodeCd } from '../../hw-model/smmuv3/decode-cd.js'
import { decodeSte, StreamConfig } from '../../hw-model/smmuv3/decode-ste.js'
import { type Features, featuresOf } from '../../hw-model/smmuv3/features.js'
import { CD, STE } from '../../hw-model/smmuv3/index.js'
import { SPACE } from '../../hw-model/smmuv3/stream-world.js'

type Fields = Record<string, number>

/** What ID registers say, in the manual's names. */
const ID_FIELDS = {
  ...{ S2P: 1, S1P: 1, HTTU: 2, Hyp: 1, ATS: 1, NS1ATS: 1, ASID16: 1, VMID16: 1, CD2L: 1, STALL_MODEL: 2 },
  ...{ TERM_MODEL: 1, SSIDSIZE: 2, STT: 1, OAS: 6, GRAN4K: 1, GRAN16K: 1, GRAN64K: 1, DS: 1, VAX: 1 },
} as const
type Id = Record<keyof typeof ID_FIELDS, number>

/** Chance with a seed; the test's numbers are always the same. */
class Dice {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  below(n: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0
    return Math.floor((this.#state / 2 ** 32) * n)
  }

  /** One of `common`, and one time in eight anything below 2^bits. */
  mostly(common: readonly number[], bits: number): number {
    return this.below(8) === 0 ? this.below(2 ** bits) : common[this.below(common.length)]
  }
}

function chooseId(dice: Dice): Id {
  const id = {} as Id
  for (const [name, most] of Object.entries(ID_FIELDS)) id[name as keyof Id] = dice.below(most + 1)
  // Half of all units can do all they may.
  if (dice.below(2) === 0) Object.assign(id, ID_FIELDS, { STALL_MODEL: 0, TERM_MODEL: 0, NS1ATS: 0 })
  if (id.SSIDSIZE !== 0) id.SSIDSIZE *= 10
  if (id.DS === 1) id.VAX = 1
  return id
}

/** The bits of the ID registers as the manual places them. */
function featuresFrom(id: Id): Features {
  const IDR0 =
    id.S2P |
    (id.S1P << 1) |
    (2 << 2) |
    (id.HTTU << 6) |
    (id.Hyp << 9) |
    (id.ATS << 10) |
    (id.NS1ATS << 11) |
    (id.ASID16 << 12) |
    (id.VMID16 << 18) |
    (id.CD2L << 19) |
    (2 << 21) |
    (id.STALL_MODEL << 24) |
    (id.TERM_MODEL << 26)
  const IDR5 = id.OAS | (id.GRAN4K << 4) | (id.GRAN16K << 5) | (id.GRAN64K << 6) | (id.DS << 7) | (id.VAX << 10)
  const none = { IDR2: 0, IDR4: 0, IIDR: 0, AIDR: 2 }
  return featuresOf({ ...none, IDR0, IDR1: 16 | (id.SSIDSIZE << 6), IDR3: id.STT << 9, IDR5 })
}

const SIZES = [32, 36, 40, 42, 44, 48, 52, 52]
const bitsOf = (code: number, id: Id): number => Math.min(SIZES[code], SIZES[id.OAS])
const isSupported = (kib: number, id: Id): boolean =>
  [
    [4, id.GRAN4K],
    [16, id.GRAN16K],
    [64, id.GRAN64K],
  ].some(([size, has]) => size === kib && has === 1)

/** S2T0SZ for each level that stage 2 may start at: from, to, and what it needs. [Arm D8.2.8.2, D8.2.9.2, D8.2.10.2] */
type Row = readonly [from: number, to: number, needs?: 'DS' | 'STT' | 'LPA']
const INITIAL: Readonly<Record<string, readonly Row[]>> = {
  '4 -1': [[12, 15, 'DS']],
  '4 0': [
    [16, 24],
    [12, 15, 'DS'],
  ],
  '4 1': [[21, 33]],
  '4 2': [
    [30, 39],
    [40, 42, 'STT'],
  ],
  '4 3': [[39, 48, 'STT']],
  '16 0': [[12, 16, 'DS']],
  '16 1': [
    [16, 27],
    [13, 15, 'DS'],
  ],
  '16 2': [[24, 38]],
  '16 3': [
    [35, 39],
    [40, 48, 'STT'],
  ],
  '64 1': [
    [16, 21],
    [12, 15, 'LPA'],
  ],
  '64 2': [[18, 34]],
  '64 3': [
    [31, 39],
    [40, 47, 'STT'],
  ],
}
/** Level by SL0. [Arm D8-19, D8-29, D8-38] */
const LEVELS: Readonly<Record<number, readonly string[]>> = {
  4: ['2', '1', '0', '3'],
  16: ['3', '2', '1', '0'],
  64: ['3', '2', '1', 'no'],
}

function isWalkInconsistent(f: Fields, kib: number, ds: boolean, id: Id): boolean {
  const isSl2 = kib === 4 && ds && f['S2SL0_2'] === 1
  const level = isSl2 ? (f['S2SL0'] === 0 ? '-1' : 'no') : LEVELS[kib][f['S2SL0']]
  const has = { DS: ds, STT: id.STT === 1, LPA: id.OAS === 6 }
  return !(INITIAL[`${kib} ${level}`] ?? []).some(
    ([from, to, needs]) => f['S2T0SZ'] >= from && f['S2T0SZ'] <= to && (needs === undefined || has[needs]),
  )
}

/** A table's address, bits [51:4], beyond the output size, or beyond 48 bits where its entries have no more. */
function isRootOut(field: number, bits: number, kib: number, ds: boolean): boolean {
  const root = field % 2 ** 52
  return root >= 2 ** bits || (kib < 64 && !ds && root >= 2 ** 48)
}

function isSteIllegal(f: Fields, id: Id): boolean {
  const config = f['Config']
  if (f['V'] === 0) return true
  if (config < 4) return false
  const [one, two] = [(config & 1) === 1, (config & 2) === 2]
  if ((one && id.S1P === 0) || (two && id.S2P === 0)) return true
  const isStrwUnused = id.S1P === 0 || id.Hyp === 0 || two || config === 4
  if (id.ATS === 1 && config !== 4) {
    if (f['EATS'] === 2 && (config !== 7 || f['S2S'] === 1 || id.NS1ATS === 1)) return true
    if (f['EATS'] === 1 && f['S2S'] === 1 && two) return true
  }
  if (!isStrwUnused && (f['STRW'] & 1) === 1) return true
  if (one && isStageOneIllegal(f, id, two)) return true
  if (two && isStageTwoIllegal(f, id)) return true
  const isVmidIgnored = id.S2P === 0 || config === 4 || (f['STRW'] !== 0 && !isStrwUnused)
  return !isVmidIgnored && id.VMID16 === 0 && f['S2VMID'] >= 256
}

function isStageOneIllegal(f: Fields, id: Id, two: boolean): boolean {
  if (f['S1STALLD'] === 1 && id.STALL_MODEL !== 0) return true
  if (id.SSIDSIZE !== 0 && f['S1CDMax'] > id.SSIDSIZE) return true
  const isTwoLevel = f['S1Fmt'] === 1 || f['S1Fmt'] === 2
  if (id.SSIDSIZE !== 0 && f['S1CDMax'] !== 0 && id.CD2L === 0 && isTwoLevel) return true
  return !two && f['S1ContextPtr'] >= 2 ** SIZES[id.OAS]
}

function isStageTwoIllegal(f: Fields, id: Id): boolean {
  if (f['S2S'] === 1 && id.STALL_MODEL === 1) return true
  if (f['S2S'] === 0 && id.STALL_MODEL === 2) return true
  if (f['S2AA64'] === 0 || f['S2ENDI'] === 1) return true
  if ((f['S2HA'] === 1 || f['S2HD'] === 1) && id.HTTU === 0) return true
  if (f['S2HD'] === 1 && id.HTTU === 1) return true
  const kib = [4, 64, 16, 0][f['S2TG']]
  if (!isSupported(kib, id)) return true
  const ds = id.DS === 1 && f['S2DS'] === 1
  if (isRootOut(f['S2TTB'], bitsOf(f['S2PS'], id), kib, ds)) return true
  const most = id.STT === 0 ? 39 : kib === 64 ? 47 : 48
  const least = Math.max(kib === 64 || ds ? 12 : 16, 64 - SIZES[id.OAS])
  if (f['S2T0SZ'] < least || f['S2T0SZ'] > most) return true
  return isWalkInconsistent(f, kib, ds, id)
}

function isCdIllegal(f: Fields, id: Id, stallDisabled: boolean, isEl2: boolean): boolean {
  if (f['V'] === 0) return true
  if (f['S'] === 1 && (stallDisabled || id.STALL_MODEL === 1)) return true
  if (f['A'] === 0 && id.TERM_MODEL === 1) return true
  if (f['S'] === 0 && id.STALL_MODEL === 2) return true
  const [isOff0, isOff1] = [!isEl2 && f['EPD0'] === 1, isEl2 || f['EPD1'] === 1]
  if (f['ENDI'] === 1 && !(isOff0 && isOff1)) return true
  if (f['AA64'] === 0) return true
  if ((f['HA'] === 1 || f['HD'] === 1) && id.HTTU === 0) return true
  if (f['HD'] === 1 && id.HTTU === 1) return true
  if (!isEl2 && id.ASID16 === 0 && f['ASID'] >= 256) return true
  const isHalfIllegal = (kib: number, size: number, root: number): boolean => {
    const ds = id.DS === 1 && f['DS'] === 1
    const most = id.STT === 0 ? 39 : kib === 64 ? 47 : 48
    const least = id.VAX === 1 && (kib === 64 || ds) ? 12 : 16
    if (size < least || size > most || !isSupported(kib, id)) return true
    return isRootOut(root, bitsOf(f['IPS'], id), kib, ds)
  }
  if (!isOff0 && isHalfIllegal([4, 64, 16, 0][f['TG0']], f['T0SZ'], f['TTB0'])) return true
  return !isOff1 && isHalfIllegal([0, 16, 4, 64][f['TG1']], f['T1SZ'], f['TTB1'])
}

const OFTEN = [1]
const SELDOM = [0]
/** The address of a table: one bit of [55:24]. */
const root = (dice: Dice): number => 2 ** (dice.mostly([0, 20], 5) + 24)

function chooseSte(dice: Dice): Fields {
  return {
    ...{ V: dice.mostly(OFTEN, 1), Config: dice.mostly([4, 5, 6, 7], 3), S1Fmt: dice.below(4) },
    ...{ S1CDMax: dice.mostly([0, 3, 6], 5), S1ContextPtr: root(dice), EATS: dice.mostly([0, 1, 2], 2) },
    ...{ STRW: dice.mostly([0, 2], 2), S1STALLD: dice.mostly(SELDOM, 1), S2VMID: dice.mostly([7, 255, 256], 16) },
    ...{ S2T0SZ: dice.mostly([12, 15, 16, 21, 24, 25, 28, 30, 33, 34, 39, 40, 43], 6), S2SL0: dice.below(4) },
    ...{ S2SL0_2: dice.mostly(SELDOM, 1), S2DS: dice.below(2), S2TG: dice.mostly([0, 1, 2], 2), S2PS: dice.below(8) },
    ...{ S2AA64: dice.mostly(OFTEN, 1), S2ENDI: dice.mostly(SELDOM, 1), S2HA: dice.mostly(SELDOM, 1) },
    ...{ S2HD: dice.mostly(SELDOM, 1), S2S: dice.mostly(SELDOM, 1), S2TTB: root(dice) },
  }
}

function chooseCd(dice: Dice): Fields {
  const size = [12, 15, 16, 25, 39, 40, 47, 48]
  return {
    ...{ V: dice.mostly(OFTEN, 1), S: dice.mostly(SELDOM, 1), A: dice.mostly(OFTEN, 1), ENDI: dice.mostly(SELDOM, 1) },
    ...{ EPD0: dice.below(2), EPD1: dice.below(2), AA64: dice.mostly(OFTEN, 1), HA: dice.mostly(SELDOM, 1) },
    ...{ HD: dice.mostly(SELDOM, 1), ASID: dice.mostly([7, 255, 256], 16), DS: dice.below(2), IPS: dice.below(8) },
    ...{ T0SZ: dice.mostly(size, 6), TG0: dice.mostly([0, 1, 2], 2), TTB0: root(dice) },
    ...{ T1SZ: dice.mostly(size, 6), TG1: dice.mostly([1, 2, 3], 2), TTB1: root(dice) },
  }
}

/** How many of each kind are asked. */
const TRIALS = 40000

describe('[SMMU 5.2.2 Validity of STE]', () => {
  it('holds for STEs made by chance', () => {
    const dice = new Dice(1)
    let legal = 0
    for (let i = 0; i < TRIALS; i++) {
      const id = chooseId(dice)
      const fields = chooseSte(dice)
      const config = decodeSte(pack(STE, fields), 3, featuresFrom(id), false)
      const isIllegal = isSteIllegal(fields, id)
      if ((config.event !== 0) !== isIllegal) expect({ why: config.why, fields, id, isIllegal }).toBe('the same')
      if (!isIllegal && fields['Config'] >= 4) legal++
    }
    // Neither answer is rare.
    expect(legal).toBeGreaterThan(TRIALS / 20)
    expect(legal).toBeLessThan(TRIALS / 2)
  })
})

describe('[SMMU 5.4.2 Validity of CD]', () => {
  it('holds for CDs made by chance', () => {
    const dice = new Dice(2)
    let legal = 0
    for (let i = 0; i < TRIALS; i++) {
      const id = chooseId(dice)
      const fields = chooseCd(dice)
      const stream = new StreamConfig()
      stream.stage1 = true
      stream.stallDisabled = dice.below(4) === 0
      stream.space = dice.below(3) === 0 ? SPACE.EL2 : dice.below(2) === 0 ? SPACE.EL2_E2H : 9
      const context = decodeCd(pack(CD, fields), stream, featuresFrom(id))
      const isIllegal = isCdIllegal(fields, id, stream.stallDisabled, stream.space === SPACE.EL2)
      if ((context.event !== 0) !== isIllegal) expect({ why: context.why, fields, id, isIllegal }).toBe('the same')
      if (!isIllegal) legal++
    }
    expect(legal).toBeGreaterThan(TRIALS / 20)
    expect(legal).toBeLessThan(TRIALS / 2)
  })
})
