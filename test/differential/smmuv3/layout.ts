/** STEs and CDs as 64-bit words, from the fields that a generator chooses. [SMMU 5 Data structure formats] */

import { type Geometry, levelLg2 } from './geometry.js'

/** Stage 2 as an STE tells it. */
export interface SecondFields {
  readonly vmid: number
  readonly geometry: Geometry
  /** The code of S2PS. */
  readonly ps: number
  readonly ignoresAf: boolean
  readonly records: boolean
  readonly protectsTables: boolean
  readonly table: number
}

/** Words of an STE; stage 2 is written even where Config does not ask for it. */
export function steWords(config: number, contextPointer: number, vmid: number, second: SecondFields | null): bigint[] {
  const d0 = 1n | (BigInt(config) << 1n) | BigInt(contextPointer)
  const d1 = (1n << 2n) | (1n << 4n) | (3n << 6n) | (1n << 44n)
  let d2 = BigInt(vmid) | (1n << 51n)
  if (second !== null) {
    const { granuleLg2, inputBits, start } = second.geometry
    d2 |=
      (BigInt(64 - inputBits) << 32n) |
      (BigInt(granuleLg2 === 12 ? 2 - start : 3 - start) << 38n) |
      (0b110101n << 40n) |
      (BigInt([0, 2, 1][(granuleLg2 - 12) / 2]) << 46n) |
      (BigInt(second.ps) << 48n) |
      (flag(second.ignoresAf) << 53n) |
      (flag(second.protectsTables) << 54n) |
      (flag(second.records) << 58n)
  }
  return [d0, d1, d2, BigInt(second?.table ?? 0), 0n, 0n, 0n, 0n]
}

/** One half as a CD tells it. */
export interface HalfFields {
  readonly geometry: Geometry
  readonly table: number
  readonly tbi: boolean
}

/** Words of a CD; a half that is null is switched off by EPD. */
export function cdWords(
  asid: number,
  ips: number,
  low: HalfFields | null,
  high: HalfFields | null,
  ignoresAf: boolean,
  records: boolean,
): bigint[] {
  const fixed = (1n << 31n) | (1n << 41n) | (1n << 46n) | (1n << 47n)
  let d0 = fixed | (BigInt(ips) << 32n) | (flag(ignoresAf) << 35n) | (flag(records) << 45n) | (BigInt(asid) << 48n)
  d0 |= low === null ? 1n << 14n : halfBits(low, [0, 2, 1]) | (flag(low.tbi) << 38n)
  d0 |= high === null ? 1n << 30n : (halfBits(high, [2, 1, 3]) << 16n) | (flag(high.tbi) << 39n)
  return [d0, BigInt(low?.table ?? 0), BigInt(high?.table ?? 0), 0xffn, 0n, 0n, 0n, 0n]
}

function halfBits({ geometry }: HalfFields, granuleCodes: readonly number[]): bigint {
  const { granuleLg2, inputBits } = geometry
  return BigInt(64 - inputBits) | (BigInt(granuleCodes[(granuleLg2 - 12) / 2]) << 6n) | (0b110101n << 8n)
}

/** A word of a two-level stream table's first level. `lg2` STEs stand at `table`. */
export const l1stdWord = (table: number, lg2: number): bigint => BigInt(table) | BigInt(lg2 + 1)

/** The most input bits that a start level of stage 2 takes without concatenation. */
export const mostBits = (granuleLg2: number, start: number): number => levelLg2(granuleLg2, start) + granuleLg2 - 3

const flag = (is: boolean): bigint => (is ? 1n : 0n)
