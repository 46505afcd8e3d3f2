/** Reads and writes of a device: from leaf to leaf, each a piece of memory that lies together. */

import { type OutcomeNumber, type Requester, refusePending } from './dma-batch.js'
import { type DmaFault, faultOf } from './dma-fault.js'
import { DMA_STATUS, type DmaOutcome } from './driver.js'
import { halvesOf } from './u64.js'
import type { Work } from './work.js'

/** How one read or write ended. */
export interface Moved {
  readonly outcome: OutcomeNumber
  readonly fault?: DmaFault
  readonly transactionId: bigint
}

/** Moves a piece; answers the bytes there were. */
export type Move = (physical: number, from: number, bytes: number) => number

/** One operation. */
export interface Piecewise {
  readonly index: number
  readonly iova: bigint
  /** Bytes. */
  readonly length: number
  readonly access: number
  /** The device is still bound. */
  readonly isThere: () => boolean
}

/** Goes from leaf to leaf; the first piece that does not end OK ends the operation. */
export function* moveOne(
  requester: Requester,
  what: Piecewise,
  out: DmaOutcome,
  move: Move,
): Work<Moved & { bytes: number }> {
  const { index, access, length, isThere } = what
  let [lo, hi] = halvesOf(what.iova)
  let bytes = 0
  while (bytes < length) {
    requester.translate(index, lo, hi, access, out)
    // Reads of a terminated request give zeroes, writes vanish: both count as moved.
    if (out.status === DMA_STATUS.RAZ_WI) return { outcome: DMA_STATUS.RAZ_WI, bytes: length, transactionId: 0n }
    if (out.status !== DMA_STATUS.OK) {
      refusePending(out)
      const isFault = out.status === DMA_STATUS.FAULT
      const fault = isFault ? faultOf(requester, { index, lo, hi, access }, out.fault, true) : undefined
      return { outcome: out.status as OutcomeNumber, bytes, fault, transactionId: 0n }
    }
    const leaf = 2 ** out.leafLg2
    const piece = Math.min(length - bytes, leaf - (out.address % leaf))
    const done = move(out.address, bytes, piece)
    bytes += done
    // Beyond the end of memory the bus answers nothing.
    if (done < piece) return { outcome: DMA_STATUS.ABORTED, bytes, transactionId: 0n }
    const next = (lo >>> 0) + piece
    lo = next % 2 ** 32
    hi += Math.floor(next / 2 ** 32)
    if (bytes === length) break
    yield
    // What a device had not moved when it was unbound is not moved.
    if (!isThere()) return { outcome: DMA_STATUS.ABORTED, bytes, transactionId: 0n }
  }
  return { outcome: DMA_STATUS.OK, bytes, transactionId: 0n }
}
