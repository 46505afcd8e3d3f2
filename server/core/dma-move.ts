/** Reads and writes of a device: from leaf to leaf, each a piece of memory that lies together. */

import { type OutcomeNumber, type Requester, refusePending } from './dma-batch.js'
import { type DmaFault, whyNot } from './dma-fault.js'
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
  /** Bytes. */
  readonly length: number
  readonly access: number
  /** The device is still bound, and nobody aborted this. */
  readonly isThere: () => boolean
  /** Absent where nothing is ever pending. */
  readonly keeper?: MoveKeeper
}

/** Keeps what a unit holds instead of ending it. */
export interface MoveKeeper {
  /** Before a request is sent: there is room should it be held. @throws Refusal EDQUOT */
  makeRoom(): void
  /** The request that was sent last is held under this tag, and the rest waits for it; the id of the transaction. */
  keep(tag: number, from: MoveState): bigint
}

/** How far an operation got. */
export interface MoveState {
  /** Of the next byte. */
  readonly lo: number
  readonly hi: number
  /** Moved. */
  readonly bytes: number
}

/** Where an operation begins. */
export function startOf(iova: bigint): MoveState {
  const [lo, hi] = halvesOf(iova)
  return { lo, hi, bytes: 0 }
}

/**
 * Goes from leaf to leaf; the first piece that does not end OK ends the operation.
 *
 * @param out reused; where `isAnswered`, how the piece that was held has ended
 */
export function* moveFrom(
  requester: Requester,
  what: Piecewise,
  from: MoveState,
  out: DmaOutcome,
  move: Move,
  isAnswered = false,
): Work<Moved & { bytes: number }> {
  const { index, access, length, isThere, keeper } = what
  let { lo, hi, bytes } = from
  let isKnown = isAnswered
  while (bytes < length) {
    if (!isKnown) {
      keeper?.makeRoom()
      requester.translate(index, lo, hi, access, out)
    }
    isKnown = false
    // Reads of a terminated request give zeroes, writes vanish: both count as moved.
    if (out.status === DMA_STATUS.RAZ_WI) return { outcome: DMA_STATUS.RAZ_WI, bytes: length, transactionId: 0n }
    if (out.status !== DMA_STATUS.OK) {
      if (out.status === DMA_STATUS.PENDING && keeper !== undefined) {
        return { outcome: DMA_STATUS.PENDING, bytes, transactionId: keeper.keep(out.tag, { lo, hi, bytes }) }
      }
      refusePending(out)
      const fault = whyNot(requester, { index, lo, hi, access }, out)
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
