/** The commands that make queues, each with a file. [uAPI IOMMU_FAULT_QUEUE_ALLOC, IOMMU_VEVENTQ_ALLOC, IOMMU_HW_QUEUE_ALLOC] */

import { Refusal } from '../core/refusal.js'
import { type Command, command } from './command.js'
import * as structs from './structs.js'

/** Commands by their structs. */
export const QUEUE_COMMANDS: readonly Command[] = [
  command(0x8e, structs.FAULT_QUEUE_ALLOC, () => {
    throw notOffered('fault queues')
  }),
  command(0x93, structs.VEVENTQ_ALLOC, () => {
    throw notOffered('queues of events')
  }),
  command(0x94, structs.HW_QUEUE_ALLOC, () => {
    throw notOffered('hardware queues')
  }),
]

const notOffered = (what: string): Refusal => new Refusal('EOPNOTSUPP', `this daemon does not offer ${what}`)
