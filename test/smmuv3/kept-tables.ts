/** Table entries on the way to an address, some of which a unit keeps: planting them, and asking which are there. */

import { expect } from 'vitest'
import type { Tables, World } from './checklist/tables.js'

/** 4 KiB granule: the entries above it cover 512 GiB, 1 GiB and 2 MiB. */
export const A = 0x80_4060_1000n
export const BESIDE = A + 0x1000n
export const NEXT_2M = A + 0x20_0000n
export const NEXT_1G = A + 0x4000_0000n
export const NEXT_512G = A + 0x80_0000_0000n

export const FRAME = 0x4000_0000n

/** ASID 7 of VMID 5, as the world has them. */
export const ASID = (7n << 48n) | (5n << 32n)
export const VMID = 5n << 32n
export const LEAF = 1n

/** A world with pages at A and beside it, 2 MiB and 1 GiB away; A was read. */
export function plant(w: World, tables: Tables, leaf: bigint): World {
  for (const [i, va] of [A, BESIDE, NEXT_2M, NEXT_1G].entries()) {
    tables.set(va, 3, (FRAME + BigInt(i) * 0x1000n) | leaf)
  }
  w.apply()
  expect(w.read(A)).toBe('0x40000000')
  return w
}

/** Levels, as the manual counts them, of the entries on the way to A that are kept. */
export function kept(w: World, tables: Tables): number[] {
  for (const level of [2, 1, 0]) tables.set(A, level, 0n)
  const found = [NEXT_1G, NEXT_2M, BESIDE].map((va) => w.read(va) !== 'abort')
  w.events()
  return [0, 1, 2].filter((level) => found[level])
}
