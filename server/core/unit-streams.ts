/**
 * The streams in front of one raw unit: what they wait for, and what they are asked to forget. The unit calls in here
 * from the middle of its work, so nothing here calls the unit; what needs it waits for `settle`.
 */

import type { OutcomeNumber } from './dma-batch.js'
import type { DmaFault } from './dma-fault.js'
import { DMA_STATUS, type DmaOutcome } from './driver.js'
import type { StreamInvalidation, StreamPageRequest, StreamPort, StreamRequest } from './machine.js'
import { PageGroups } from './page-groups.js'
import { assert } from './refusal.js'
import { PAGE_REQUEST_RESPONSE, type Room, type Transaction } from './transactions.js'
import { join } from './u64.js'

/** The contract's AtsInvalidation. */
export interface InvalidationInfo {
  readonly tag: bigint
  readonly iova: bigint
  readonly sizeLog2: number
  readonly pasid?: number
  readonly allPasids: boolean
}

/** A request that the unit holds. */
interface Held {
  readonly request: StreamRequest
  readonly transaction: Transaction
}

const NO_PASID = -1

/** One unit's. */
export class Streams implements StreamPort {
  /** By the unit's tag. */
  readonly #held = new Map<number, Held>()
  readonly #faulted: { readonly held: Held; readonly fault: number }[] = []
  readonly #groups = new PageGroups()
  /** Streams that have not completed an invalidation, by its tag. */
  readonly #outstanding = new Map<bigint, number>()
  /** Invalidations that were not told, by stream and tag, in the order in which they came. */
  readonly #untold = new Map<number, Map<bigint, InvalidationInfo>>()

  /** Requests that the unit holds. */
  get heldCount(): number {
    return this.#held.size
  }

  /** The unit answered that it holds a request; the id of its transaction. */
  hold(request: StreamRequest, tag: number, room: Room): bigint {
    const transaction = room.open()
    this.#held.set(tag, { request: { ...request }, transaction })
    return transaction.id
  }

  /** The last request of a group is about to be sent; the id of the group's transaction. */
  expectResponse({ sourceId, pasid, group }: StreamPageRequest, room: Room): bigint {
    const transaction = room.open()
    this.#groups.expect(sourceId, pasid, group, transaction)
    return transaction.id
  }

  ended(tag: number, { status, address, leafLg2, rights, fault }: DmaOutcome): void {
    const held = this.#held.get(tag)
    if (held === undefined) return
    assert(status !== DMA_STATUS.PENDING, 'a request that has ended is not pending')
    this.#held.delete(tag)
    if (status === DMA_STATUS.FAULT) {
      this.#faulted.push({ held, fault })
      return
    }
    const leaf = { address, pageSizeLog2: leafLg2, permissions: rights }
    held.transaction.ended = {
      outcome: status as OutcomeNumber,
      leaf: status === DMA_STATUS.OK ? leaf : undefined,
      pageResponse: PAGE_REQUEST_RESPONSE.UNSPECIFIED,
    }
  }

  respondToPages(sourceId: number, pasid: number, group: number, code: number): void {
    this.#groups.respond(sourceId, pasid, group, code)
  }

  invalidate({ tag, sourceId, pasid, allPasids, lo, hi, sizeLg2 }: StreamInvalidation): void {
    const info: InvalidationInfo = {
      tag: BigInt(tag),
      iova: join(lo, hi),
      sizeLog2: sizeLg2,
      pasid: pasid === NO_PASID || allPasids ? undefined : pasid,
      allPasids,
    }
    this.#outstanding.set(info.tag, sourceId)
    const untold = this.#untold.get(sourceId)
    if (untold === undefined) this.#untold.set(sourceId, new Map([[info.tag, info]]))
    else untold.set(info.tag, info)
  }

  /** A stream has invalidations that were not told. */
  hasInvalidations(sourceId: number): boolean {
    return this.#untold.has(sourceId)
  }

  /** Tells the oldest. */
  takeInvalidations(sourceId: number, limit: number): readonly InvalidationInfo[] {
    const taken: InvalidationInfo[] = []
    for (const info of this.#untold.get(sourceId)?.values() ?? []) {
      if (taken.length === limit) break
      taken.push(info)
    }
    for (const { tag } of taken) this.#forgetUntold(sourceId, tag)
    return taken
  }

  /** The stream is asked to forget something under this tag. */
  isOutstanding(sourceId: number, tag: bigint): boolean {
    return this.#outstanding.get(tag) === sourceId
  }

  /** An invalidation is not outstanding any more, whether it was told or not. */
  forgetInvalidation(sourceId: number, tag: bigint): void {
    this.#outstanding.delete(tag)
    this.#forgetUntold(sourceId, tag)
  }

  /** Finishes what ended in a fault while the unit worked. */
  settle(describe: (request: StreamRequest, fault: number, index: number) => DmaFault): void {
    for (const [index, { held, fault }] of this.#faulted.splice(0).entries()) {
      held.transaction.ended = {
        outcome: DMA_STATUS.FAULT,
        fault: describe(held.request, fault, index),
        pageResponse: PAGE_REQUEST_RESPONSE.UNSPECIFIED,
      }
    }
  }

  /** The unit forgets everything: nothing is answered any more. */
  abandon(): void {
    for (const { transaction } of this.#held.values()) transaction.abort()
    for (const { held } of this.#faulted.splice(0)) held.transaction.abort()
    this.#held.clear()
    this.#groups.abandon()
    this.#outstanding.clear()
    this.#untold.clear()
  }

  #forgetUntold(sourceId: number, tag: bigint): void {
    const untold = this.#untold.get(sourceId)
    if (untold?.delete(tag) === true && untold.size === 0) this.#untold.delete(sourceId)
  }
}
