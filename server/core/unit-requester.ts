/** The way into a raw unit for the elements of a batch. */

import { newOutcome, oneByOne, type Requester } from './dma-batch.js'
import { DMA_REQUEST } from './driver.js'
import type { RawUnit, StreamRequest } from './machine.js'

/** What all elements of a batch have in common. */
export interface Sender {
  /** One for all elements, or one each. */
  readonly sourceIds: Uint32Array
  /** The PASID on the requests, or -1 for none. */
  readonly pasid: number
  /** One of DMA_REQUEST. */
  readonly type: number
}

/** A requester, with the request that it sent last. */
export interface StreamRequester extends Requester {
  readonly last: StreamRequest
}

/** Requests of streams. They are written into one struct, as the loop over a batch allocates nothing. */
export function requesterOf(
  raw: RawUnit,
  { sourceIds, pasid, type }: Sender,
  staleReason: () => string = () => '',
): StreamRequester {
  const last: StreamRequest = { sourceId: 0, pasid, lo: 0, hi: 0, access: 0, type }
  const each = sourceIds.length === 1 ? 0 : 1
  const fill = (index: number, lo: number, hi: number, access: number): StreamRequest => {
    last.sourceId = sourceIds[index * each]
    last.lo = lo
    last.hi = hi
    last.access = access
    return last
  }
  return {
    last,
    translateRun(run, from, end, out) {
      if (raw.translateRun === undefined || type !== DMA_REQUEST.UNTRANSLATED)
        return oneByOne(this, run, from, end, out)
      const stopped = raw.translateRun(last, sourceIds, run, from, end, out)
      // Who keeps what pends asks which it was.
      if (stopped < end) {
        const { iovas, accesses, access } = run
        const [lo, hi] = [iovas[2 * stopped] >>> 0, iovas[2 * stopped + 1] >>> 0]
        fill(stopped, lo, hi, accesses.length === 0 ? access : accesses[stopped])
      }
      return stopped
    },
    translate: (index, lo, hi, access, out) => raw.translate(fill(index, lo, hi, access), out),
    explain: (index, lo, hi, access, out) => raw.explain(fill(index, lo, hi, access), out),
    peek: (index, lo, hi, access, out) => raw.peek(fill(index, lo, hi, access), out),
    missing: (index, lo, hi, access) => raw.missing(fill(index, lo, hi, access)),
    faultName: (fault) => raw.faultName(fault),
    newOutcome: () => raw.newOutcome?.() ?? newOutcome(),
    staleReason,
  }
}
