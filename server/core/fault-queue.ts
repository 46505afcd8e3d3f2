/**
 * Fault queues: groups of page faults that wait to be read, and then for their answer. [uAPI IOMMU_FAULT_QUEUE_ALLOC]
 *
 * A device that waits for an answer waits for somebody whom nobody can force to give one. So each group belongs to an
 * attachment, whose end answers it INVALID, and after a limit of time the daemon does so itself.
 */

import { after } from './completion.js'
import type { Context } from './context.js'
import type { Device, Domain } from './device.js'
import type { Completion, PageFault } from './driver.js'
import { LowestFree } from './ids.js'
import { IommuObject, OBJECT_TYPE } from './object.js'
import { assert, Refusal } from './refusal.js'
import { finish, type Work } from './work.js'

/** Bits of a fault's flags. [uAPI enum iommu_hwpt_pgfault_flags] */
export const PAGE_FAULT_FLAG = { PASID_VALID: 1, LAST_PAGE: 2 } as const

/** Page faults that are answered together. Each has been charged to the limit `queue_depth`. */
export interface FaultGroup {
  readonly device: Device
  /** Where the domain is attached through which they came. */
  readonly slot: number
  readonly domain: Domain
  /** In the order in which they came; the last one ended the group. */
  readonly faults: readonly PageFault[]
}

/** A fault as it is read; the contract's PageFault. [uAPI struct iommu_hwpt_pgfault] */
export interface ReadFault {
  /** Bits of PAGE_FAULT_FLAG. */
  readonly flags: number
  readonly deviceId: number
  readonly pasid: number
  readonly groupId: number
  readonly access: number
  readonly addr: bigint
  /** The same for all of a group. */
  readonly cookie: number
}

interface Waiting {
  readonly group: FaultGroup
  readonly since: number
  /** 0 until it is read. */
  cookie: number
}

/** A queue of page faults. */
export class FaultQueue extends IommuObject {
  static override readonly label = 'a fault queue'

  readonly type = OBJECT_TYPE.FAULT_QUEUE
  readonly kind = 'fault queue'
  readonly context: Context
  /** Oldest first. */
  readonly #queued = new Set<Waiting>()
  /** By cookie. */
  readonly #awaiting = new Map<number, Waiting>()
  readonly #cookies = new LowestFree()
  /** All of both, oldest first. */
  readonly #unanswered = new Map<FaultGroup, Waiting>()
  #timedOut = 0
  #cancelWatch: (() => void) | undefined

  constructor(id: number, context: Context) {
    super(id)
    this.context = context
  }

  get holds(): readonly IommuObject[] {
    return []
  }

  override get facts(): Readonly<Record<string, string>> {
    return {
      queued: String(this.#queued.size),
      awaiting_response: String(this.#awaiting.size),
      timed_out: String(this.#timedOut),
    }
  }

  /** A group waits to be read. */
  get isReadable(): boolean {
    return this.#queued.size > 0
  }

  /** A whole group has come. */
  add(group: FaultGroup): void {
    const waiting: Waiting = { group, since: this.context.core.clock.now(), cookie: 0 }
    this.#queued.add(waiting)
    this.#unanswered.set(group, waiting)
    this.#watch()
    this.context.waiters.wakeAll()
  }

  /**
   * Reads groups, oldest first, as long as whole ones fit; each then waits for its answer.
   *
   * @param most faults
   * @param take is handed a group's faults; when it throws, the group is not read and stays where it was
   * @param enough faults after which no further group is begun
   * @returns how many faults were read
   */
  read(most: number, take: (faults: readonly ReadFault[]) => void, enough = Number.POSITIVE_INFINITY): number {
    let done = 0
    for (const waiting of this.#queued) {
      const { faults } = waiting.group
      if (faults.length > most - done || done >= enough) break
      const cookie = this.#cookies.take()
      try {
        take(faults.map((fault) => readable(waiting.group.device, fault, cookie)))
      } catch (error) {
        this.#cookies.free(cookie)
        throw error
      }
      waiting.cookie = cookie
      this.#queued.delete(waiting)
      this.#awaiting.set(cookie, waiting)
      done += faults.length
    }
    return done
  }

  /** Answers the group of a cookie. @throws Refusal EINVAL */
  respond(cookie: number, isSuccess: boolean): Completion {
    const waiting = this.#awaiting.get(cookie)
    if (waiting !== undefined) return this.answer(waiting.group, isSuccess)
    const reason =
      `no group waits for an answer under the cookie ${cookie}: it was never read, was answered, or the attachment ` +
      'has ended, which answers INVALID'
    throw new Refusal('EINVAL', reason, { fault_queue: this.id, cookie })
  }

  /** Answers a group, if nobody has. */
  answer(group: FaultGroup, isSuccess: boolean): Completion {
    const waiting = this.#unanswered.get(group)
    if (waiting === undefined) return undefined
    this.#unanswered.delete(group)
    this.#queued.delete(waiting)
    if (waiting.cookie !== 0) {
      this.#awaiting.delete(waiting.cookie)
      this.#cookies.free(waiting.cookie)
    }
    this.context.quota.release('queue_depth', group.faults.length)
    const { device, faults } = group
    device.faults.forget(group)
    return device.platform.device.respond?.(faults[faults.length - 1], isSuccess)
  }

  /** Every attachment has ended, as their domains hold the queue, and so every group is answered. */
  destroy(): Completion {
    assert(this.#unanswered.size === 0, 'the end of an attachment answers its page faults')
    this.#cancelWatch?.()
    return undefined
  }

  /** One timer for the oldest group; those after it came later and end later. */
  #watch(): void {
    if (this.#cancelWatch !== undefined) return
    const [oldest] = this.#unanswered.values()
    if (oldest === undefined) return
    const { clock, limits, turn } = this.context.core
    const left = oldest.since + limits.call.fault_answer_ms - clock.now()
    this.#cancelWatch = clock.after(Math.max(1, Math.ceil(left)), () => {
      turn.begin()
      after(finish(this.#expire(), turn), () => {
        this.#cancelWatch = undefined
        this.#watch()
      })
    })
  }

  *#expire(): Work<void> {
    const { clock, limits } = this.context.core
    const before = clock.now() - limits.call.fault_answer_ms
    let count = 0
    for (const { group, since } of [...this.#unanswered.values()]) {
      if (since > before) break
      // While others had their turn, it may have been answered.
      if (this.#unanswered.has(group)) {
        this.#timedOut++
        count++
      }
      yield this.answer(group, false)
    }
    if (count > 0) {
      this.context.core.timedOut({ kind: 'fault-groups-timed-out', context: this.context, queueId: this.id, count })
    }
  }
}

function readable(device: Device, { pasid, group, isLast, access, address }: PageFault, cookie: number): ReadFault {
  const { PASID_VALID, LAST_PAGE } = PAGE_FAULT_FLAG
  return {
    flags: (pasid >= 0 ? PASID_VALID : 0) | (isLast ? LAST_PAGE : 0),
    deviceId: device.id,
    pasid: Math.max(pasid, 0),
    groupId: group,
    access,
    addr: address,
    cookie,
  }
}
