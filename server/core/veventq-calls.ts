/** Calls about the event queues of vIOMMUs. [uAPI IOMMU_VEVENTQ_ALLOC] */

import type { Call } from './call.js'
import { checkFlags } from './checks.js'
import { RECORDS_A_STEP } from './limits.js'
import { Refusal } from './refusal.js'
import { join } from './u64.js'
import { VEVENTQ_DEPTH_MAX, type Vevent, Veventq } from './veventq.js'
import { Viommu } from './viommu.js'
import { mostOf, waitUntil } from './wait.js'

/** What CreateVeventq takes. */
export interface VeventqRequest {
  readonly flags: number
  readonly viommuId: number
  /** [uAPI enum iommu_veventq_type]; no unit is asked whether it has such events. */
  readonly type: number
  readonly depth: number
}

/** Makes an event queue. */
export function makeVeventq(call: Call, { flags, viommuId, type, depth }: VeventqRequest): Veventq {
  checkFlags(flags, 0)
  if (type === 0) throw new Refusal('EOPNOTSUPP', 'the type of the events is not given: set ARM_SMMUV3')
  if (depth === 0 || depth > VEVENTQ_DEPTH_MAX) {
    const reason = `a queue holds 1 to ${VEVENTQ_DEPTH_MAX} events`
    throw new Refusal('EINVAL', reason, { depth, most: VEVENTQ_DEPTH_MAX })
  }
  const viommu = call.take(Viommu, viommuId, 'viommu_id')
  const there = viommu.veventqs.get(type)
  if (there !== undefined) {
    const reason = `vIOMMU ${viommu.id} has a queue of this type already, vEVENTQ ${there.id}`
    throw new Refusal('EEXIST', reason, { viommu: viommu.id, type, veventq: there.id })
  }
  return call.make(new Veventq(call.newId(), viommu, type, depth))
}

/** The same, by the typed message. */
export function createVeventq(call: Call, request: VeventqRequest): { veventqId: number } {
  return { veventqId: makeVeventq(call, request).id }
}

/** What PollEvents takes. */
export interface PollEventsRequest {
  readonly veventqId: number
  readonly maxEvents: number
  readonly waitMs: number
}

interface ReadEvents {
  readonly events: readonly {
    readonly flags: number
    readonly sequence: number
    readonly words: BigUint64Array
    readonly name: string
  }[]
}

/** Takes events, oldest first. */
export function pollEvents(call: Call, request: PollEventsRequest): ReadEvents | Promise<ReadEvents> {
  const queue = call.look(Veventq, request.veventqId, 'veventq_id')
  return call.inSlices(
    (function* () {
      const events: ReadEvents['events'][number][] = []
      const most = mostOf(call, request.maxEvents)
      let end = 0
      const take = (event: Vevent): boolean => {
        if (events.length === end) return false
        events.push({ ...event, words: pairsOf(event.words) })
        return true
      }
      queue.hold(call)
      try {
        yield* waitUntil(call, request.waitMs, () => queue.isReadable)
        do {
          end = Math.min(most, events.length + RECORDS_A_STEP)
          queue.read(take)
          yield
        } while (events.length === end && end < most)
      } finally {
        queue.drop(call)
      }
      return { events }
    })(),
  )
}

/** Records in doublewords, as the contract has them. */
function pairsOf(words: readonly number[]): BigUint64Array {
  const pairs = new BigUint64Array(Math.ceil(words.length / 2))
  for (let at = 0; at < pairs.length; at++) pairs[at] = join(words[2 * at], words[2 * at + 1] ?? 0)
  return pairs
}
