/** DMA of devices that a unit may hold until software answers: how it is kept, and how it is finished. */

import type { Call } from './call.js'
import type { DeviceRequester } from './device-requester.js'
import { type Keeper, newOutcome, type OutcomeNumber } from './dma-batch.js'
import { type Attempt, faultOf } from './dma-fault.js'
import {
  type Move,
  type Moved,
  type MoveKeeper,
  type MoveState,
  moveFrom,
  type Piecewise,
  startOf,
} from './dma-move.js'
import { DMA_STATUS, type DmaOutcome } from './driver.js'
import type { TranslationResult } from './explanation.js'
import { Refusal, refusalOf } from './refusal.js'
import { type Ended, PAGE_REQUEST_RESPONSE, Room, type Transaction } from './transactions.js'
import { U64_MAX } from './u64.js'
import type { Place } from './walk-step.js'
import { isLook, type Work } from './work.js'

const NO_RESPONSE = PAGE_REQUEST_RESPONSE.UNSPECIFIED

/** Keeps translations that a unit holds. */
export function translationKeeper(call: Call, requester: DeviceRequester, room: Room): Keeper {
  return {
    get mayPend() {
      return requester.mayPend
    },
    makeRoom: () => room.take(),
    keep(tag, attempt) {
      const transaction = room.open()
      requester.device.endpoint.hold(tag, {
        transaction,
        end(outcome) {
          transaction.ended = translationEnded(call, requester, attempt, outcome)
        },
      })
      return transaction.id
    },
  }
}

function translationEnded(call: Call, requester: DeviceRequester, attempt: Attempt, outcome: DmaOutcome): Ended {
  const { status, fault, address, leafLg2: pageSizeLog2, rights: permissions } = outcome
  const ended = { outcome: status as OutcomeNumber, pageResponse: NO_RESPONSE }
  if (status === DMA_STATUS.FAULT) {
    return { ...ended, fault: faultOf(requester, { ...attempt, index: 0 }, fault, true) }
  }
  if (status !== DMA_STATUS.OK) return ended
  const translation: TranslationResult = {
    outcome: DMA_STATUS.OK,
    location: placeOf(call, address),
    pageSizeLog2,
    permissions,
  }
  return { ...ended, translation }
}

/** A physical address as the context's own memory. A region that was destroyed may still be mapped, without a name. */
export function placeOf(call: Call, physical: number): Place | undefined {
  const region = call.context.regions.atPhysical(physical)
  if (region === undefined || region.id === 0) return undefined
  return { regionId: region.id, offset: BigInt(physical - region.memory.address) }
}

/** One read or write. */
interface Operation {
  /** Bytes. */
  readonly length: number
  readonly move: Move
  /** What was read, once all was. Absent: it is a write. */
  readonly data?: () => Uint8Array
  /** It goes on after its call. */
  readonly held?: () => void
}

/** Does the reads or writes of a call, one after the other. */
export class Mover {
  readonly #requester: DeviceRequester
  readonly #access: number
  readonly #lookAgain: () => void
  readonly #room: Room
  readonly #out = newOutcome()
  #index = 0

  constructor(call: Call, requester: DeviceRequester, access: number, lookAgain: () => void) {
    this.#requester = requester
    this.#access = access
    this.#lookAgain = lookAgain
    this.#room = new Room(call.context.transactions)
  }

  /** Does one, up to where it ends or is held. @throws Refusal ENOENT, EBUSY, EOVERFLOW, EDQUOT */
  *move(address: bigint, operation: Operation): Work<Moved & { bytes: number }> {
    const index = this.#index++
    if (index > 0 && isLook(index)) {
      yield
      this.#lookAgain()
    }
    const { length } = operation
    if (length > 0 && address + BigInt(length) - 1n > U64_MAX) {
      throw new Refusal('EOVERFLOW', 'the access ends beyond 2^64', { iova: address, length })
    }
    const what: Piecewise = {
      index,
      length,
      access: this.#access,
      isThere: () => refusalOf(this.#lookAgain) === undefined,
      keeper: this.#keeperOf(operation, index),
    }
    return yield* moveFrom(this.#requester, what, startOf(address), this.#out, operation.move)
  }

  /** The call ends. */
  close(): void {
    this.#room.close()
  }

  #keeperOf(operation: Operation, index: number): MoveKeeper {
    return {
      makeRoom: () => {
        // What it holds while it waits counts as the context's memory.
        if (this.#requester.mayPend) this.#room.take(operation.length)
      },
      keep: (tag, from) => {
        operation.held?.()
        const transaction = this.#room.open()
        this.#hold(transaction, operation, index, tag, from)
        return transaction.id
      },
    }
  }

  #hold(transaction: Transaction, operation: Operation, index: number, tag: number, from: MoveState): void {
    const end = (outcome: DmaOutcome): Work<void> => this.#goOn(transaction, operation, index, from, outcome)
    this.#requester.device.endpoint.hold(tag, { transaction, end })
  }

  /** The piece that was held has ended: the rest follows, and may be held again. */
  *#goOn(
    transaction: Transaction,
    operation: Operation,
    index: number,
    from: MoveState,
    outcome: DmaOutcome,
  ): Work<void> {
    const what: Piecewise = {
      index,
      length: operation.length,
      access: this.#access,
      isThere: () => transaction.ended === undefined && refusalOf(this.#lookAgain) === undefined,
      keeper: {
        makeRoom: () => {},
        keep: (tag, next) => {
          this.#hold(transaction, operation, index, tag, next)
          return transaction.id
        },
      },
    }
    let bytes = from.bytes
    try {
      const moved = yield* moveFrom(this.#requester, what, from, outcome, operation.move, true)
      if (moved.outcome === DMA_STATUS.PENDING) return
      bytes = moved.bytes
      const fault = moved.fault && { ...moved.fault, index: 0 }
      transaction.ended ??= this.#endedWith(operation, moved.outcome, bytes, fault)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      // Memory that the context has no room for is memory that is not there.
      transaction.ended ??= this.#endedWith(operation, DMA_STATUS.ABORTED, bytes)
    }
  }

  #endedWith({ data }: Operation, outcome: OutcomeNumber, doneBytes: number, fault?: Ended['fault']): Ended {
    return { outcome, doneBytes, data: data?.().subarray(0, doneBytes), fault, pageResponse: NO_RESPONSE }
  }
}
