/** What a CD of one root may say. What hardware would call ILLEGAL is refused before it is one. [SMMU 5.4.1 CD notes] */

import { addressBits, type Features } from '../../../hw-model/smmuv3/index.js'
import { Refusal, type SmmuRoot } from '../../core/driver.js'

/** CD.TG0. */
const GRANULES_LG2: readonly number[] = [12, 16, 14]

/** Widths of fields in bits. */
const WIDTHS = { t0sz: 6, tg0: 2, ir0: 2, or0: 2, sh0: 2, ips: 3 } as const

/** Smallest T0SZ: 48 bits of input, or 52 where the unit and a 64 KiB granule have them. */
const SMALLEST_SZ = 16
const SMALLEST_WIDE_SZ = 12
/** Largest T0SZ: 25 bits of input, or fewer with small translation tables. */
const LARGEST_SZ = 39
const LARGEST_SMALL_SZ = 48
const LARGEST_SMALL_SZ_64K = 47

/** Bits of an address in a table of 4 or 16 KiB granules, and in TTB0. */
const NARROW_BITS = 48
const ROOT_BITS = 52
/** A root stands at a multiple of its size, and of 64 where outputs have 52 bits. */
const WIDE_ROOT_BYTES = 64n

/** log2 of the bytes of a page. */
export const granuleLg2Of = ({ tg0 }: SmmuRoot): number => GRANULES_LG2[tg0]

/** Bits of an address that TTB0 serves. */
export const inputBitsOf = ({ t0sz }: SmmuRoot): number => 64 - t0sz

/** @throws Refusal EINVAL naming the field */
export function checkRoot(data: SmmuRoot, features: Features): void {
  for (const [field, width] of Object.entries(WIDTHS)) {
    const value = data[field as keyof typeof WIDTHS]
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** width) {
      throw illegal(field, `it has ${width} bits`, value)
    }
  }
  if (data.mair < 0n || data.mair >> 64n !== 0n) throw illegal('mair', 'it has 64 bits', data.mair)
  checkGranule(data, features)
  checkInputSize(data, features)
  checkTable(data, features)
  checkFlags(data, features)
}

function checkGranule({ tg0 }: SmmuRoot, { granules }: Features): void {
  const granuleLg2 = GRANULES_LG2[tg0]
  if (granuleLg2 === undefined) throw illegal('tg0', '3 is reserved; 0, 1, 2 are 4, 64 and 16 KiB', tg0)
  if ((granules & (1 << granuleLg2)) === 0) {
    throw illegal('tg0', `IDR5 of this unit has no granule of ${2 ** (granuleLg2 - 10)} KiB`, tg0)
  }
}

function checkInputSize(data: SmmuRoot, { vax, stt }: Features): void {
  const isCoarse = granuleLg2Of(data) === 16
  const first = isCoarse && vax !== 0 ? SMALLEST_WIDE_SZ : SMALLEST_SZ
  const smallTables = isCoarse ? LARGEST_SMALL_SZ_64K : LARGEST_SMALL_SZ
  const last = stt ? smallTables : LARGEST_SZ
  if (data.t0sz >= first && data.t0sz <= last) return
  throw illegal('t0sz', `with this granule and unit it is ${first} to ${last}`, data.t0sz)
}

function checkTable(data: SmmuRoot, { oasBits }: Features): void {
  const { ttb0, ips } = data
  const granuleLg2 = granuleLg2Of(data)
  const outputBits = Math.min(addressBits(ips), oasBits)
  const rootBits = Math.min(outputBits, granuleLg2 === 16 ? ROOT_BITS : NARROW_BITS)
  if (ttb0 < 0n || ttb0 >> BigInt(rootBits) !== 0n) {
    throw illegal('ttb0', `IPS, the granule and the unit leave it ${rootBits} bits`, ttb0)
  }
  const stride = granuleLg2 - 3
  const bits = inputBitsOf(data) - granuleLg2
  const topBits = bits - stride * (Math.ceil(bits / stride) - 1)
  const size = 1n << BigInt(topBits + 3)
  const alignment = outputBits === ROOT_BITS && size < WIDE_ROOT_BYTES ? WIDE_ROOT_BYTES : size
  if (ttb0 % alignment !== 0n) throw illegal('ttb0', `the root table is aligned to its ${alignment} bytes`, ttb0)
}

function checkFlags({ ha, hd }: SmmuRoot, { httu }: Features): void {
  if (httu >= 2 || (!ha && !hd)) return
  const field = ha && httu === 0 ? 'ha' : 'hd'
  if (httu === 0) throw illegal(field, 'IDR0.HTTU of this unit is 0: hardware updates no flags', 1)
  if (hd) throw illegal('hd', 'IDR0.HTTU of this unit is 1: hardware updates access flags alone', 1)
}

function illegal(field: string, why: string, value: number | bigint): Refusal {
  return new Refusal('EINVAL', `${field}: ${why}`, { field, value })
}
