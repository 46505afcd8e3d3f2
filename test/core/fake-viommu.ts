/** A vIOMMU that counts, one type of which has a page to map and two hardware queues. */

import type { Completion, HwQueueOps, InvalidateArray, UserData, UserOps, ViommuOps } from '../../server/core/driver.js'
import { Refusal } from '../../server/core/driver.js'
import type { FakeDriver, FakeMachine } from './fake-machine.js'
import { FakeMemory } from './fake-parts.js'

/** Type of vIOMMUs with a page, and of their hardware queues. */
export const QUEUED = 7

const QUEUES = 2

/** A slice of a fake unit. */
export class FakeViommu implements ViommuOps {
  readonly page: FakeMemory | undefined
  readonly queues: (FakeHwQueue | undefined)[] = []
  readonly #type: number
  readonly #user: (data: UserData) => UserOps

  constructor(
    readonly driver: FakeDriver,
    type: number,
    user: (data: UserData) => UserOps,
  ) {
    this.#type = type
    this.#user = user
    this.#machine.live++
    if (type === QUEUED) this.page = new FakeMemory(this.#machine, () => {}, 0, 8192, true)
  }

  createUserDomain(_device: unknown, data: UserData, flags: { readonly pasid: boolean }): UserOps {
    if (flags.pasid) throw new Refusal('EOPNOTSUPP', 'no PASID flag here')
    if (data.kind !== 'smmuv3_ste') throw new Refusal('EINVAL', 'an STE is wanted')
    return this.#user(data)
  }

  addVdevice(): void {
    this.#machine.failPoint('vdevice')
    this.#machine.live++
  }

  removeVdevice(): void {
    this.#machine.live--
  }

  invalidate(entries: InvalidateArray, from: number, end: number): { done: number; completion: Completion } {
    if (entries.kind !== 'smmuv3' || entries.count === 0) throw new Refusal('EINVAL', 'smmuv3 commands are wanted')
    return { done: end - from, completion: this.#machine.done('invalidate viommu') }
  }

  hasHwQueues(type: number): boolean {
    return this.#type === QUEUED && type === QUEUED
  }

  createHwQueue(index: number, address: number, length: bigint): FakeHwQueue {
    this.#machine.failPoint('hw queue')
    if (index >= QUEUES) throw new Refusal('EINVAL', 'there are two queues', { index })
    if (this.queues[index] !== undefined) throw new Refusal('EEXIST', 'the queue is in use', { index })
    if (index > 0 && this.queues[index - 1] === undefined) throw new Refusal('EIO', 'the one before is missing')
    const queue = new FakeHwQueue(this.#machine, this.queues, index, { address, length })
    this.queues[index] = queue
    return queue
  }

  destroy(): void {
    this.page?.release()
    this.#machine.live--
  }

  get #machine(): FakeMachine {
    return this.driver.machine
  }
}

/** A queue in pinned memory. */
export class FakeHwQueue implements HwQueueOps {
  readonly previous: FakeHwQueue | undefined

  constructor(
    readonly machine: FakeMachine,
    readonly all: (FakeHwQueue | undefined)[],
    readonly index: number,
    readonly memory: { readonly address: number; readonly length: bigint },
  ) {
    this.previous = all[index - 1]
    machine.live++
  }

  destroy(): void {
    this.all[this.index] = undefined
    this.machine.live--
  }
}
