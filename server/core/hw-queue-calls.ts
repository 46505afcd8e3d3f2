/** Calls about hardware queues. [uAPI IOMMU_HW_QUEUE_ALLOC] */

import { Access, type Pin } from './access.js'
import type { Call } from './call.js'
import { checkFlags } from './checks.js'
import { HwQueue } from './hw-queue.js'
import { Refusal } from './refusal.js'
import { hex, PAGE, U64_MAX } from './u64.js'
import { Viommu } from './viommu.js'
import type { Work } from './work.js'

/** Pages of one queue: the kernel lists them in an array of pointers, and its largest array has 2^31 - 1 bytes. */
const PAGES_MAX = (2n ** 31n - 1n) / 8n

/** What CreateHwQueue takes. */
export interface HwQueueRequest {
  readonly flags: number
  readonly viommuId: number
  /** [uAPI enum iommu_hw_queue_type] */
  readonly type: number
  readonly index: number
  /** An IOVA of the vIOMMU's parent. */
  readonly nestingParentIova: bigint
  readonly length: bigint
}

/** Gives a guest a queue in its own memory, which is pinned as long as the queue lives. */
export function* makeHwQueue(call: Call, request: HwQueueRequest): Work<HwQueue> {
  const { flags, viommuId, type, index, nestingParentIova: start, length } = request
  checkFlags(flags, 0)
  if (type === 0) throw new Refusal('EOPNOTSUPP', 'the type of the hardware queue is not given')
  if (length === 0n) throw new Refusal('EINVAL', 'a queue of 0 bytes holds nothing')
  if (start + length - 1n > U64_MAX) {
    throw new Refusal('EOVERFLOW', 'the queue ends beyond 2^64', { start: hex(start), length })
  }
  const viommu = call.take(Viommu, viommuId, 'viommu_id')
  const { ops } = viommu
  if (ops.hasHwQueues?.(type) !== true || ops.createHwQueue === undefined) {
    const reason = `vIOMMU ${viommu.id} has no hardware queues of type ${type}; ${ops.driver.name} reads none by itself`
    throw new Refusal('EOPNOTSUPP', reason, { viommu: viommu.id, type, unit: ops.driver.name })
  }
  const id = call.newId()
  const { access, pin } = yield* pinned(call, viommu, id, start, length)
  const address = physicallyContiguous(pin) + Number(start - pin.start)
  return call.make(new HwQueue(id, viommu, index, ops.createHwQueue(index, address, length), access))
}

/** The same, by the typed message. */
export function createHwQueue(
  call: Call,
  request: HwQueueRequest,
): { hwQueueId: number } | Promise<{ hwQueueId: number }> {
  return call.inSlices(
    (function* () {
      return { hwQueueId: (yield* makeHwQueue(call, request)).id }
    })(),
  )
}

/** The queue's whole pages, through an access that nobody sees but as an object. */
function* pinned(
  call: Call,
  viommu: Viommu,
  queueId: number,
  start: bigint,
  length: bigint,
): Work<{ access: Access; pin: Pin }> {
  const offset = start % PAGE
  if (offset + length + PAGE - 1n > U64_MAX) {
    throw new Refusal('ERANGE', 'the queue has no end on a page: rounded up, its length is beyond 2^64', { length })
  }
  const pages = (offset + length + PAGE - 1n) / PAGE
  if (pages > PAGES_MAX) {
    throw new Refusal('ENOMEM', `a queue has at most ${PAGES_MAX} pages of memory`, { pages, most: PAGES_MAX })
  }
  const user = { id: queueId, kind: 'hardware queue' }
  const access = call.make(new Access(call.newId(), call.context, { user, pins: true }))
  yield* access.move(viommu.parent.ioas)
  return { access, pin: yield* access.pin(start - offset, pages * PAGE, false) }
}

/** The first byte of pinned memory without a gap. @throws Refusal EFAULT */
function physicallyContiguous({ segments }: Pin): number {
  let next: number | undefined
  for (const { region, offset, length } of segments) {
    const address = region.memory.address + offset
    if (next !== undefined && address !== next) {
      const reason = 'hardware reads the queue by physical address, and its memory is not contiguous; use one region'
      throw new Refusal('EFAULT', reason, { region: region.id, offset })
    }
    next = address + Number(length)
  }
  const [{ region, offset }] = segments
  return region.memory.address + offset
}
