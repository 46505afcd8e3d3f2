/** The STE's stage 2 and the CD, read and judged bit by bit for a survey. */

import { type Geometry, levelLg2, OAS_BITS, startOf } from './geometry.js'
import type { Survey } from './survey.js'

/** How wide a stage's addresses are, and what it overlooks. */
export interface Format extends Geometry {
  readonly outputBits: number
  /** A clear access flag does not matter. */
  readonly ignoresAf: boolean
  /** APTable does not count. */
  readonly isFlat: boolean
}

/** Where a walk starts. */
export interface RootOf {
  /** As written, before alignment. */
  readonly table: number
}

/** Stage 2 of a stream. */
export interface StageTwo extends Format, RootOf {
  readonly vmid: number
  readonly records: boolean
  readonly protectsTables: boolean
}

/** A CD. */
export interface Context {
  /** Every half that is on is legal; one that is not is null. */
  readonly isLegal: boolean
  readonly asid: number
  readonly records: boolean
  readonly tbi0: boolean
  readonly tbi1: boolean
  readonly low: (Format & RootOf) | null
  readonly high: (Format & RootOf) | null
}

const WIDTHS: readonly number[] = [32, 36, 40, 42, 44, 48, 52, 52]
const width = (code: number): number => Math.min(WIDTHS[code], OAS_BITS)
const TABLE = 2n ** 52n - 16n

const bits = (word: bigint, low: number, count: number): number =>
  Number((word >> BigInt(low)) & ((1n << BigInt(count)) - 1n))

/** Stage 2 of the STE at `at`, or null where it is ILLEGAL. [SMMU 5.2 Stream Table Entry] */
export function readStageTwo(survey: Survey, at: number): StageTwo | null {
  const d2 = survey.get(at + 16)
  const d3 = survey.get(at + 24)
  const granuleLg2 = [12, 16, 14, 0][bits(d2, 46, 2)]
  const t0sz = bits(d2, 32, 6)
  const sl0 = bits(d2, 38, 2)
  const outputBits = width(bits(d2, 48, 3))
  if (bits(d2, 55, 2) !== 0) survey.quirk('S2_FLAGS')
  const table = Number(d3 & TABLE)
  const isBad = bits(d2, 52, 1) === 1 || bits(d2, 57, 1) === 1 || bits(d2, 55, 2) !== 0 || granuleLg2 === 0
  if (isBad || sl0 === 3 || t0sz > 39 || t0sz < 64 - OAS_BITS || table >= 2 ** outputBits) return null
  const inputBits = 64 - t0sz
  const start = granuleLg2 === 12 ? 2 - sl0 : 3 - sl0
  const lower = levelLg2(granuleLg2, start)
  if (inputBits > lower + granuleLg2 - 3 + 4) return null
  if (inputBits > outputBits) survey.quirk('S2PS_LIMITS_INPUT')
  if (inputBits <= lower) {
    survey.quirk('START_TOO_HIGH')
    return null
  }
  return {
    granuleLg2,
    inputBits,
    start,
    outputBits,
    table,
    ignoresAf: bits(d2, 53, 1) === 1,
    isFlat: true,
    vmid: bits(d2, 0, 16),
    records: bits(d2, 58, 1) === 1,
    protectsTables: bits(d2, 54, 1) === 1,
  }
}

/** The CD at `at`, or null where it is ILLEGAL before its halves are looked at. [SMMU 5.4 Context Descriptor] */
export function readCd(survey: Survey, at: number): Context | null {
  const d0 = survey.get(at)
  const isLegal = bits(d0, 31, 1) === 1 && bits(d0, 41, 1) === 1 && bits(d0, 46, 1) === 1 && bits(d0, 42, 3) === 0
  if (!isLegal) return null
  if (bits(d0, 32, 3) >= 6) survey.withheld ||= 'the reference ends itself on IPS = 6 and 7'
  const [off0, off1] = [bits(d0, 14, 1) === 1, bits(d0, 30, 1) === 1]
  if (bits(d0, 15, 1) === 1 && !(off0 && off1)) return null
  const low = off0 ? null : readHalf(d0, [12, 16, 14, 0][bits(d0, 6, 2)], bits(d0, 0, 6), survey.get(at + 8))
  const high = off1 ? null : readHalf(d0, [0, 14, 12, 16][bits(d0, 22, 2)], bits(d0, 16, 6), survey.get(at + 16))
  return {
    isLegal: (off0 || low !== null) && (off1 || high !== null),
    asid: bits(d0, 48, 16),
    records: bits(d0, 45, 1) === 1,
    tbi0: bits(d0, 38, 1) === 1,
    tbi1: bits(d0, 39, 1) === 1,
    low,
    high,
  }
}

function readHalf(d0: bigint, granuleLg2: number, tsz: number, ttb: bigint): (Format & RootOf) | null {
  const outputBits = width(bits(d0, 32, 3))
  const table = Number(ttb & TABLE)
  if (tsz < 16 || tsz > 39 || granuleLg2 === 0 || table >= 2 ** outputBits) return null
  const inputBits = 64 - tsz
  const start = startOf(granuleLg2, inputBits)
  const isFlat = bits(ttb, 1, 1) === 1
  return { granuleLg2, inputBits, start, outputBits, table, ignoresAf: bits(d0, 35, 1) === 1, isFlat }
}
