/**
 * The page faults of one bound device: those whose group has not ended, and the groups that wait in fault queues, by the
 * attachment through which they came.
 */

import type { Context } from './context.js'
import type { Domain } from './device.js'
import type { Completion, PageFault } from './driver.js'
import type { FaultGroup } from './fault-queue.js'
import { FAULTS_PARKED_MAX } from './limits.js'
import { finish, type Work } from './work.js'

/** What a device has asked for, and nobody has answered. */
export class DeviceFaults {
  readonly #context: Context
  /** By group number; PASIDs do not matter. [uAPI IOMMU_FAULT_QUEUE_ALLOC] */
  readonly #parked = new Map<number, PageFault[]>()
  #parkedCount = 0
  readonly #bySlot = new Map<number, Set<FaultGroup>>()

  constructor(context: Context) {
    this.#context = context
  }

  /** There is no room for another fault whose group has not ended. */
  get isFull(): boolean {
    return this.#parkedCount >= FAULTS_PARKED_MAX
  }

  /** Keeps a fault, charged already, until the last of its group comes. */
  park(fault: PageFault): void {
    this.#parkedCount++
    const parked = this.#parked.get(fault.group)
    if (parked === undefined) this.#parked.set(fault.group, [fault])
    else parked.push(fault)
  }

  /** The faults of the group that `last` ends, in their order. */
  join(last: PageFault): readonly PageFault[] {
    const parked = this.#parked.get(last.group) ?? []
    this.#parked.delete(last.group)
    this.#parkedCount -= parked.length
    return [...parked, last]
  }

  /** Drops the faults of a group that cannot be queued. */
  drop(group: number): void {
    const parked = this.#parked.get(group)
    if (parked === undefined) return
    this.#parked.delete(group)
    this.#parkedCount -= parked.length
    this.#context.quota.release('queue_depth', parked.length)
  }

  /** Drops all faults whose group has not ended: the device was reset, or is unbound. */
  dropParked(): void {
    for (const group of [...this.#parked.keys()]) this.drop(group)
  }

  /** A group waits in the queue of its domain. */
  wait(group: FaultGroup): void {
    const waiting = this.#bySlot.get(group.slot)
    if (waiting === undefined) this.#bySlot.set(group.slot, new Set([group]))
    else waiting.add(group)
  }

  /** Groups that wait for an answer. */
  get unanswered(): number {
    return [...this.#bySlot.values()].reduce((sum, { size }) => sum + size, 0)
  }

  /** A group was answered. */
  forget(group: FaultGroup): void {
    const waiting = this.#bySlot.get(group.slot)
    waiting?.delete(group)
    if (waiting?.size === 0) this.#bySlot.delete(group.slot)
  }

  /** An attachment has ended: what is unanswered of it is answered INVALID. */
  endAttachment(slot: number, domain: Domain): Completion {
    const waiting = this.#bySlot.get(slot)
    if (waiting === undefined) return undefined
    const groups = [...waiting].filter((group) => group.domain === domain)
    return finish(answerAll(groups), this.#context.core.turn)
  }
}

function* answerAll(groups: readonly FaultGroup[]): Work<void> {
  for (const group of groups) yield group.domain.faultQueue?.answer(group, false)
}
