/** Calls about fault queues. [uAPI IOMMU_FAULT_QUEUE_ALLOC] */

import type { Call } from './call.js'
import { checkCount, checkFlags } from './checks.js'
import { detailOf, forEachUntilRefused, type Progress } from './detail.js'
import { FaultQueue, type ReadFault } from './fault-queue.js'
import { RECORDS_A_STEP } from './limits.js'
import { Refusal } from './refusal.js'
import { mostOf, waitUntil } from './wait.js'

/** The contract's PageResponseCode; the uAPI's numbers are one less. */
const RESPONSE_CODE = { SUCCESS: 1, INVALID: 2 } as const

/** Makes a fault queue. */
export function makeFaultQueue(call: Call, flags: number): FaultQueue {
  checkFlags(flags, 0)
  return call.make(new FaultQueue(call.newId(), call.context))
}

/** The same, by the typed message. */
export function createFaultQueue(call: Call, { flags }: { readonly flags: number }): { faultQueueId: number } {
  return { faultQueueId: makeFaultQueue(call, flags).id }
}

/** What PollFaults takes. */
export interface PollFaultsRequest {
  readonly faultQueueId: number
  readonly maxFaults: number
  readonly waitMs: number
}

interface ReadFaults {
  readonly faults: readonly ReadFault[]
}

/** Takes whole groups of page faults; each then waits for its answer. */
export function pollFaults(call: Call, request: PollFaultsRequest): ReadFaults | Promise<ReadFaults> {
  const queue = call.look(FaultQueue, request.faultQueueId, 'fault_queue_id')
  return call.inSlices(
    (function* () {
      const faults: ReadFault[] = []
      const most = mostOf(call, request.maxFaults)
      queue.hold(call)
      try {
        yield* waitUntil(call, request.waitMs, () => queue.isReadable)
        const take = (group: readonly ReadFault[]): void => {
          for (const fault of group) faults.push(fault)
        }
        while (queue.read(most - faults.length, take, RECORDS_A_STEP) > 0) yield
      } finally {
        queue.drop(call)
      }
      return { faults }
    })(),
  )
}

/** What RespondFaults takes. */
export interface RespondFaultsRequest {
  readonly faultQueueId: number
  readonly responses: readonly { readonly cookie: number; readonly code: number }[]
}

/** Answers groups of page faults, in order up to the first answer that is refused. */
export function respondFaults(call: Call, request: RespondFaultsRequest): Progress | Promise<Progress> {
  const { responses, faultQueueId } = request
  let queue: FaultQueue
  try {
    queue = call.look(FaultQueue, faultQueueId, 'fault_queue_id')
    checkCount(call, responses.length)
  } catch (error) {
    if (error instanceof Refusal) return { doneCount: 0, refusal: detailOf(error) }
    throw error
  }
  return call.inSlices(
    (function* () {
      queue.hold(call)
      try {
        return yield* forEachUntilRefused(responses, function* ({ cookie, code }) {
          yield queue.respond(cookie, isSuccess(code))
        })
      } finally {
        queue.drop(call)
      }
    })(),
  )
}

function isSuccess(code: number): boolean {
  if (code === RESPONSE_CODE.SUCCESS || code === RESPONSE_CODE.INVALID) return code === RESPONSE_CODE.SUCCESS
  throw new Refusal('EINVAL', `code ${code} is no answer; SUCCESS is 1 and INVALID 2`, { code })
}
