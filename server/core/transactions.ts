/**
 * What devices wait for: requests that a unit holds, and groups of page requests. Each has an id by which AwaitDma tells
 * once how it ended. They are the context's, so that the end of a unit can be told too.
 */

import type { OutcomeNumber } from './dma-batch.js'
import type { DmaFault } from './dma-fault.js'
import { DMA_STATUS } from './driver.js'
import type { TranslationResult } from './explanation.js'
import type { Quota } from './quota.js'
import { assert, Refusal } from './refusal.js'

/** The contract's PageRequestResponse. */
export const PAGE_REQUEST_RESPONSE = { UNSPECIFIED: 0, SUCCESS: 1, INVALID_REQUEST: 2, FAILURE: 3 } as const

/** One of PAGE_REQUEST_RESPONSE. */
export type PageRequestResponse = (typeof PAGE_REQUEST_RESPONSE)[keyof typeof PAGE_REQUEST_RESPONSE]

/** How a transaction ended. */
export interface Ended {
  readonly outcome: OutcomeNumber
  /** OK, of a raw unit's request: where it leads. */
  readonly leaf?: { readonly address: number; readonly pageSizeLog2: number; readonly permissions: number }
  /** OK, of a device's request: where it leads. */
  readonly translation?: TranslationResult
  /** Of a read: what was read. */
  readonly data?: Uint8Array
  /** Of a read or write: bytes moved. */
  readonly doneBytes?: number
  readonly fault?: DmaFault
  readonly pageResponse: PageRequestResponse
}

const ABORTED: Ended = { outcome: DMA_STATUS.ABORTED, pageResponse: PAGE_REQUEST_RESPONSE.UNSPECIFIED }

/** One of them. */
export class Transaction {
  readonly id: bigint
  /** That it holds until it is told: what it reads or writes. */
  readonly bytes: number
  /** Undefined as long as it is pending. */
  ended: Ended | undefined

  constructor(id: bigint, bytes: number) {
    this.id = id
    this.bytes = bytes
  }

  /** Ends it without an answer, if it has not ended. */
  abort(): void {
    this.ended ??= ABORTED
  }
}

/** One context's transactions, from the moment they pend until they are told. */
export class TransactionTable {
  readonly #quota: Quota
  readonly #byId = new Map<bigint, Transaction>()
  #last = 0n

  constructor(quota: Quota) {
    this.#quota = quota
  }

  /** Room for one, taken before it is known whether it is needed. @throws Refusal EDQUOT */
  reserve(bytes: number): void {
    this.#quota.charge('pending_dma')
    try {
      this.#quota.charge('resident_bytes', bytes)
    } catch (error) {
      this.#quota.release('pending_dma')
      throw error
    }
  }

  /** Gives room back. */
  release(bytes: number): void {
    this.#quota.release('pending_dma')
    this.#quota.release('resident_bytes', bytes)
  }

  /** One begins to pend, in the room that was reserved for it. */
  open(bytes: number): Transaction {
    const transaction = new Transaction(++this.#last, bytes)
    this.#byId.set(transaction.id, transaction)
    return transaction
  }

  /** Undefined: none of this context, or it was told. */
  find(id: bigint): Transaction | undefined {
    return this.#byId.get(id)
  }

  /** @throws Refusal ENOENT */
  get(id: bigint): Transaction {
    const transaction = this.find(id)
    if (transaction !== undefined) return transaction
    throw new Refusal('ENOENT', 'no transaction of this context has this id, or it was told before', { id })
  }

  /** An ended one was told. */
  forget(transaction: Transaction): void {
    assert(transaction.ended !== undefined, 'a transaction ends before it is forgotten')
    this.#byId.delete(transaction.id)
    this.release(transaction.bytes)
  }

  /** The context ends: nobody will ask any more. */
  forgetAll(): void {
    for (const transaction of this.#byId.values()) {
      assert(transaction.ended !== undefined, 'the units and devices of a context end before its transactions')
      this.forget(transaction)
    }
  }
}

/** Room for the next transaction of a call that may need it for any of its elements; one at a time. */
export class Room {
  readonly #table: TransactionTable
  /** Bytes, or undefined: none is taken. */
  #taken: number | undefined

  constructor(table: TransactionTable) {
    this.#table = table
  }

  /** @throws Refusal EDQUOT */
  take(bytes = 0): void {
    if (this.#taken === bytes) return
    this.close()
    this.#table.reserve(bytes)
    this.#taken = bytes
  }

  /** A transaction in the room that was taken. */
  open(): Transaction {
    const bytes = this.#taken
    assert(bytes !== undefined, 'room is taken before a transaction pends')
    this.#taken = undefined
    return this.#table.open(bytes)
  }

  /** The call ends. */
  close(): void {
    if (this.#taken !== undefined) this.#table.release(this.#taken)
    this.#taken = undefined
  }
}
