/** Invalidations as people write them. */

import type { Invalidation } from '../../hw-model/port.js'

/** Commands or descriptors in one line, in the order in which they are to be sent; empty for none. */
export function spell(invalidations: readonly Invalidation[]): string {
  return invalidations.map(spellOne).join(', then ')
}

/** StreamIDs and source-ids hold bus, device and function, which are read in hex. */
function spellOne({ name, operands, page }: Invalidation): string {
  const textOf = (key: string, value: number): string => (key === 'SID' ? `0x${value.toString(16)}` : `${value}`)
  const words = Object.entries(operands).map(([key, value]) => `${key}=${textOf(key, value)}`)
  const address = page === undefined ? [] : [`ADDR=${addressText(page)}`]
  return [name, ...words, ...address].join(' ')
}

/** An address of two halves in hex. */
export const addressText = (halves: readonly [lo: number, hi: number]): string => `0x${addressOf(halves).toString(16)}`

/** An address of two halves. */
export const addressOf = ([lo, hi]: readonly [lo: number, hi: number]): bigint =>
  (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
