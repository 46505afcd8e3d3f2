/** The commands that make queues. [uAPI IOMMU_FAULT_QUEUE_ALLOC, IOMMU_VEVENTQ_ALLOC, IOMMU_HW_QUEUE_ALLOC] */

import { makeFaultQueue } from '../core/fault-calls.js'
import { makeHwQueue } from '../core/hw-queue-calls.js'
import { makeVeventq } from '../core/veventq-calls.js'
import { type Command, command, refuseReserved } from './command.js'
import { onceDone } from './file.js'
import { FaultQueueFile, VeventqFile } from './queue-files.js'
import * as structs from './structs.js'

/** Commands by their structs. */
export const QUEUE_COMMANDS: readonly Command[] = [
  command(0x8e, structs.FAULT_QUEUE_ALLOC, (call, { flags }) => {
    const queue = makeFaultQueue(call, flags)
    const handle = call.context.files.open(call, () => new FaultQueueFile(queue))
    return { set: { out_fault_id: queue.id, out_fault_fd: handle } }
  }),
  command(0x93, structs.VEVENTQ_ALLOC, (call, { flags, viommu_id, type, veventq_depth, __reserved }) => {
    refuseReserved(__reserved)
    const queue = makeVeventq(call, { flags, viommuId: viommu_id, type, depth: veventq_depth })
    const handle = call.context.files.open(call, () => new VeventqFile(queue))
    return { set: { out_veventq_id: queue.id, out_veventq_fd: handle } }
  }),
  command(0x94, structs.HW_QUEUE_ALLOC, (call, { flags, viommu_id, type, index, nesting_parent_iova, length }) => {
    const where = { index, nestingParentIova: nesting_parent_iova, length }
    const made = call.inSlices(makeHwQueue(call, { flags, viommuId: viommu_id, type, ...where }))
    return onceDone(made, ({ id }) => ({ set: { out_hw_queue_id: id } }))
  }),
]
