/** The areas that the map of an IOAS is measured with; peers make the same. */

import { XorShift32 } from './random.js'

/** What the map holds: an area as far as it looks at one. */
export interface KeyedArea {
  readonly start: bigint
  readonly last: bigint
  readonly id: number
}

/**
 * Disjoint areas in no order, an even share of four kinds: pages; parts of pages; a few bytes each, eight in 2 KiB; and
 * large ones of any length that fill the upper half of 64 bits to its last byte.
 */
export function keyedAreas(count: number): readonly KeyedArea[] {
  const random = new XorShift32(0x9e3779b9)
  const stride = 2n ** 63n / BigInt(count)
  const ranges = Array.from({ length: count }, (_, id) => rangeOf(id, random.next(), stride))
  const order = Uint32Array.from(ranges, (_, id) => id)
  for (let i = count - 1; i >= 1; i--) {
    const j = random.below(i + 1)
    const moved = order[i]
    order[i] = order[j]
    order[j] = moved
  }
  // Numbers too are made in the order of insertion, as those that come with requests are.
  return Array.from(order, (id) => {
    const [start, length] = ranges[id]
    const end = start + length
    return { start: end - length, last: end - 1n, id }
  })
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
export function keyedAddresses(areas: readonly KeyedArea[]): readonly bigint[] {
  const random = new XorShift32(0x12345678)
  return areas.map((_, i) => {
    const { start, last } = areas[random.below(areas.length)]
    const inside = BigInt(random.next() & 1023) & (last - start)
    return (i & 7) === 7 ? start - 1n : start + inside
  })
}
