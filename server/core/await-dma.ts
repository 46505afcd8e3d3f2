/** Telling how transactions ended that were pending. */

import type { Call } from './call.js'
import { checkBytes, checkCount } from './checks.js'
import { detailOf, type Progress, refusalIn, withIndex } from './detail.js'
import type { OutcomeNumber } from './dma-batch.js'
import type { DmaFault } from './dma-fault.js'
import { DMA_STATUS } from './driver.js'
import type { TranslationResult } from './explanation.js'
import { PAGE_REQUEST_RESPONSE, type PageRequestResponse, type Transaction } from './transactions.js'
import { onBus } from './unit-dma-calls.js'
import { isLook, type Work } from './work.js'

/** What AwaitDma takes. */
export interface AwaitDmaRequest {
  readonly transactionIds: BigUint64Array
  readonly waitMs: number
}

/** The contract's TransactionResult. */
export interface TransactionResult {
  readonly transactionId: bigint
  readonly outcome: OutcomeNumber
  readonly translation?: TranslationResult
  readonly data?: Uint8Array
  readonly doneBytes?: number
  readonly fault?: DmaFault
  readonly pageResponse: PageRequestResponse
}

/** What AwaitDma answers. */
type AwaitDmaReply = Progress & { readonly results: readonly TransactionResult[] }

/** How PENDING transactions ended; each that ended is told once. */
export function awaitDma(call: Call, request: AwaitDmaRequest): AwaitDmaReply | Promise<AwaitDmaReply> {
  return call.inSlices(
    (function* () {
      const results: TransactionResult[] = []
      const refusal = yield* refusalIn(
        (function* () {
          checkCount(call, request.transactionIds.length)
          yield* settleAll(call)
          yield* waitForAll(call, request)
          yield* tellAll(call, request, results)
        })(),
      )
      if (refusal === undefined) return { results, doneCount: results.length }
      const isOfAll = refusal.name !== 'ENOENT'
      const detail = isOfAll ? detailOf(refusal) : withIndex(refusal, results.length)
      return { results, doneCount: results.length, refusal: detail }
    })(),
  )
}

/** What units have answered is finished before it is asked for. */
function* settleAll(call: Call): Work<void> {
  for (const { context, endpoint } of call.core.bound.values()) if (context === call.context) yield endpoint.settled()
}

/** An id that names nothing is told at once, and with it what is known of those before it. */
function* waitForAll(call: Call, { transactionIds: ids, waitMs }: AwaitDmaRequest): Work<void> {
  const { context, core } = call
  const until = core.clock.now() + Math.min(waitMs, core.limits.call.wait_ms)
  for (let index = 0; index < ids.length; index++) {
    if (isLook(index)) yield
    if (find(call, ids[index]) === undefined) return
  }
  for (let index = 0; index < ids.length; index++) {
    if (isLook(index)) yield
    while (find(call, ids[index])?.ended === undefined) {
      const left = until - core.clock.now()
      // Another call may have told it meanwhile.
      if (find(call, ids[index]) === undefined || context.isEnding || left <= 0) return
      yield context.waiters.wait(core.clock, left)
    }
  }
}

function* tellAll(call: Call, { transactionIds: ids }: AwaitDmaRequest, results: TransactionResult[]): Work<void> {
  const { transactions } = call.context
  let bytes = 0
  for (const id of ids) {
    if (isLook(results.length)) yield
    const transaction = transactions.get(id)
    bytes += transaction.ended?.data?.length ?? 0
    checkBytes(call, bytes)
    results.push(resultOf(call, transaction))
    if (transaction.ended !== undefined) transactions.forget(transaction)
  }
}

const find = (call: Call, id: bigint): Transaction | undefined => call.context.transactions.find(id)

function resultOf(call: Call, { id, ended }: Transaction): TransactionResult {
  const transactionId = id
  if (ended === undefined) {
    return { transactionId, outcome: DMA_STATUS.PENDING, pageResponse: PAGE_REQUEST_RESPONSE.UNSPECIFIED }
  }
  const { leaf, ...told } = ended
  const { outcome, pageResponse } = told
  if (leaf === undefined) return { transactionId, ...told }
  const { address, pageSizeLog2, permissions } = leaf
  const where = { location: onBus(call, address), address: BigInt(address) }
  return { transactionId, outcome, translation: { outcome, ...where, pageSizeLog2, permissions }, pageResponse }
}
