/** What a fault reason is told in: a world, what is spoilt in it, a request, and the 128 bits of its record. */

import type { Dma } from './guest.js'
import { type Kind, VA, World, type WorldOptions } from './world.js'

export interface Case {
  readonly code: number
  readonly what: string
  readonly kind: Kind
  readonly options?: WorldOptions
  readonly spoil?: (w: World) => void
  /** RTADDR, where it is not that of the world. */
  readonly rtaddr?: bigint
  /** A read of VA without PASID, unless said otherwise. */
  readonly dma?: readonly [va: bigint, access: string, how?: Dma]
  /** FRCD, low word first, as 16 digits each. */
  readonly record: string
  /**
   * How many FPD bits the walk has met when it faults: none, that of the context entry, of the PASID directory entry,
   * of the PASID table entry.
   */
  readonly depth: 0 | 1 | 2 | 3
  /** What a translation request to the same place is granted, where the reply is "what is left". */
  readonly left?: string
}

/** The world of a case, started. */
export function worldOf(
  { kind, options, spoil, rtaddr }: Case,
  more: WorldOptions = {},
  then?: (w: World) => void,
): World {
  const w = new World(kind, { ...options, ...more })
  spoil?.(w)
  then?.(w)
  return w.go(rtaddr)
}

/** Sends the request of a case. */
export function ask(w: World, told: Case): string {
  const [va, access, how] = told.dma ?? [VA, 'r']
  return w.dma(va, access, how)
}

/** FI of VA, the first word of most records. */
export const FI = '0000123456789000'
