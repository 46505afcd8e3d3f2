/** How much of the address space a leaf may be kept for. */

import { alignDown, offsetIn } from '../bits/address.js'
import type { Walker } from '../walk/walker.js'

/** What a stage's format knows of its leaves. */
interface SpanFormat {
  spanLg2(hi: number, level: number, inputBits: number): number
}

/**
 * log2 of the bytes that the leaf a walk ended at may be kept for. With the Contiguous bit it is the whole run of leaves,
 * where the output is aligned as software has to align it; else another of the run would be given this one's neighbour.
 * [Arm D8.7.1 The Contiguous bit] [Arm D8.7.1.2 Architectural guarantees when the Contiguous bit is misprogrammed]
 */
export function spanOf(walker: Walker, format: SpanFormat, inputBits: number, lo: number, hi: number): number {
  const { leafLg2, level, address } = walker
  const spanLg2 = format.spanLg2(walker.hi, level, inputBits)
  if (spanLg2 === leafLg2) return leafLg2
  const inRun = offsetIn(lo, hi & 0xfffff, spanLg2)
  return address - alignDown(address, spanLg2) === alignDown(inRun, leafLg2) ? spanLg2 : leafLg2
}
