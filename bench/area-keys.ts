/** The areas that the map of an IOAS is measured with; peers make the same, and keep them as densely. */

import { XorShift32 } from './random.js'

/** Areas in columns. */
export interface KeyedAreas {
  readonly starts: BigUint64Array
  readonly lasts: BigUint64Array
  readonly ids: Uint32Array
}

/**
 * Disjoint areas in no order, an even share of four kinds: pages; parts of pages; a few bytes each, eight in 2 KiB; and
 * large ones of any length that fill the upper half of 64 bits to its last byte.
 */
export function keyedAreas(count: number): KeyedAreas {
  const random = new XorShift32(0x9e3779b9)
  const stride = 2n ** 63n / BigInt(count)
  const ranges = Array.from({ length: count }, (_, id) => rangeOf(id, random.next(), stride))
  const ids = Uint32Array.from(ranges, (_, id) => id)
  for (let i = count - 1; i >= 1; i--) {
    const j = random.below(i + 1)
    const moved = ids[i]
    ids[i] = ids[j]
    ids[j] = moved
  }
  const starts = new BigUint64Array(count)
  const lasts = new BigUint64Array(count)
  for (const [i, id] of ids.entries()) {
    const [start, length] = ranges[id]
    starts[i] = start
    lasts[i] = start + length - 1n
  }
  return { starts, lasts, ids }
}

function rangeOf(id: number, random: number, stride: bigint): readonly [start: bigint, length: bigint] {
  const i = BigInt(id)
  const page = 2n ** 32n + i * 12288n
  if ((id & 3) === 0) return [page, 4096n]
  if ((id & 3) === 1) return [page + BigInt(random & 4095), BigInt(((random >>> 12) & 4095) + 1)]
  if ((id & 3) === 2) return [2n ** 56n + i * 64n + BigInt(random & 15), BigInt(((random >>> 4) & 31) + 1)]
  return [2n ** 63n + i * stride + BigInt(random), stride - BigInt(random)]
}

/** An address of a random area each, and of every eighth the byte below it. */
export function keyedAddresses({ starts, lasts }: KeyedAreas): BigUint64Array {
  const random = new XorShift32(0x12345678)
  return starts.map((_, i) => {
    const at = random.below(starts.length)
    const inside = BigInt(random.next() & 1023) & (lasts[at] - starts[at])
    return (i & 7) === 7 ? starts[at] - 1n : starts[at] + inside
  })
}
