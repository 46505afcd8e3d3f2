/**
 * What a bound device keeps and waits for: translations that it was granted, invalidations that it has not answered,
 * requests that its unit holds, and groups of page requests. Units call in here from the middle of their work, so nothing
 * here calls a unit; what needs it waits for `settled`.
 */

import { Atc, type Grant, pageOf } from './atc.js'
import type { Context } from './context.js'
import type { Device } from './device.js'
import { type AtsInvalidation, type Completion, DMA_STATUS, type DmaOutcome } from './driver.js'
import { PageGroups } from './page-groups.js'
import type { Transaction } from './transactions.js'
import { join } from './u64.js'
import type { InvalidationInfo } from './unit-streams.js'
import { finish, type Work } from './work.js'

/** A request that the device's unit holds. */
export interface HeldRequest {
  readonly transaction: Transaction
  /**
   * Finishes it; the transaction was not aborted. Of an outcome that is OK the first step calls no unit, and is all that
   * uses the address: what is there may be another's in the next. Otherwise the unit is at rest.
   */
  readonly end: (outcome: DmaOutcome) => Work<void> | void
}

/** A request that has ended, and what is left to be done of it. */
interface EndedRequest {
  readonly held: HeldRequest
  readonly outcome: DmaOutcome
  readonly work?: Work<void>
}

interface Outstanding {
  readonly info: InvalidationInfo
  readonly grants: readonly Grant[]
  /** Stops the clock and tells who waits. */
  readonly end: (isDone: boolean) => void
}

const NO_PASID = -1

/** Page request groups are told apart by their own device alone. */
const ONE_SOURCE = 0

/** One bound device's. */
export class Endpoint {
  readonly atc: Atc
  readonly #device: Device
  readonly #held = new Map<number, HeldRequest>()
  #ended: EndedRequest[] = []
  /** What is being finished, which may take turns. */
  #finishing: HeldRequest | undefined
  #settling: Completion
  readonly #groups = new PageGroups()
  readonly #outstanding = new Map<bigint, Outstanding>()
  readonly #untold = new Map<bigint, InvalidationInfo>()
  #lastTag = 0n
  #isBlocked = false
  #isClosed = false
  #wasUsed = false

  constructor(device: Device) {
    this.#device = device
    this.atc = new Atc(device.context.core.limits.call.atc_entries)
  }

  /** Whose device it is. */
  get context(): Context {
    return this.#device.context
  }

  /** It did not answer an invalidation in time, and does nothing until it is reset. */
  get isBlocked(): boolean {
    return this.#isBlocked
  }

  /** Its owner has let it go. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Its unit may know of something that it waits for, or take it to keep something. */
  get wasUsed(): boolean {
    return this.#wasUsed
  }

  /** A translation request was answered. */
  grant(grant: Grant): void {
    if (this.#isClosed) return
    this.#wasUsed = true
    this.atc.add(grant)
  }

  /** The unit holds a request under a tag. */
  hold(tag: number, held: HeldRequest): void {
    this.#wasUsed = true
    if (this.#isClosed) held.transaction.abort()
    else this.#held.set(tag, held)
  }

  /** The last request of a group of page requests is about to be sent. */
  expectResponse(pasid: number, group: number, transaction: Transaction): void {
    this.#wasUsed = true
    if (this.#isClosed) transaction.abort()
    else this.#groups.expect(ONE_SOURCE, pasid, group, transaction)
  }

  /** A held request ended. What of it needs the unit is done when that is at rest. False: there is none of that tag. */
  ended(tag: number, out: DmaOutcome): boolean {
    const held = this.#held.get(tag)
    if (held === undefined) return false
    this.#held.delete(tag)
    const outcome = { ...out }
    if (out.status !== DMA_STATUS.OK) this.#finishLater({ held, outcome })
    else {
      const work = held.end(outcome) ?? undefined
      if (work === undefined || work.next().done === true) this.context.waiters.wakeAll()
      else this.#finishLater({ held, outcome, work })
    }
    return true
  }

  /** Finishes what ended: now, or until the promise ends. To be called before anything of it is told. */
  settled(): Completion {
    if (this.#settling !== undefined || this.#ended.length === 0) return this.#settling
    const { turn } = this.context.core
    this.#settling = finish(this.#settle(), turn)?.finally(() => {
      this.#settling = undefined
    })
    return this.#settling
  }

  /**
   * A group of page requests was answered. False: none waits.
   *
   * @param isShared others use the function's indices too, so a group is its PASID's alone
   */
  respond(pasid: number, group: number, code: number, isShared: boolean): boolean {
    const isFound = this.#groups.respond(ONE_SOURCE, pasid, group, code, isShared)
    if (isFound) this.context.waiters.wakeAll()
    return isFound
  }

  /** The device is to forget translations. Undefined: it holds none of them. */
  invalidate({ pasid, allPasids, lo, hi, sizeLg2 }: AtsInvalidation): Promise<boolean> | undefined {
    const grants = this.atc.leave({ pasid, allPasids, page: pageOf(lo, hi), sizeLg2 })
    if (grants.length === 0) return undefined
    const { clock, limits, turn } = this.context.core
    const tag = ++this.#lastTag
    const info: InvalidationInfo = {
      tag,
      iova: join(lo, hi),
      sizeLog2: sizeLg2,
      pasid: pasid === NO_PASID || allPasids ? undefined : pasid,
      allPasids,
    }
    return new Promise((resolve) => {
      const cancel = clock.after(limits.call.ats_completion_ms, () => {
        turn.begin()
        this.#block()
      })
      const end = (isDone: boolean): void => {
        cancel()
        resolve(isDone)
      }
      this.#outstanding.set(tag, { info, grants, end })
      this.#untold.set(tag, info)
      this.context.waiters.wakeAll()
    })
  }

  /** Invalidations that it has not answered. */
  get outstanding(): number {
    return this.#outstanding.size
  }

  /** There are invalidations that were not told. */
  get hasInvalidations(): boolean {
    return this.#untold.size > 0
  }

  /** Tells the oldest. */
  takeInvalidations(limit: number): readonly InvalidationInfo[] {
    const taken: InvalidationInfo[] = []
    for (const info of this.#untold.values()) {
      if (taken.length === limit) break
      taken.push(info)
    }
    for (const { tag } of taken) this.#untold.delete(tag)
    return taken
  }

  /** The device has forgotten what an invalidation named. False: none of that tag is outstanding. */
  complete(tag: bigint): boolean {
    const outstanding = this.#outstanding.get(tag)
    if (outstanding === undefined) return false
    this.#outstanding.delete(tag)
    this.#untold.delete(tag)
    this.atc.takeBack(outstanding.grants)
    outstanding.end(true)
    return true
  }

  /** Its translations and whatever it waits for are gone. Answers how many transactions ended by that. */
  abort(): number {
    this.#isBlocked = false
    return this.#drop(true)
  }

  /** Its owner lets it go: nothing of it waits, and nothing will. */
  close(): void {
    this.#isClosed = true
    this.#drop(true)
  }

  /** A device that does not answer is cut off, as after a failed invalidation of a real one. */
  #block(): void {
    const { context, platform } = this.#device
    const count = this.#outstanding.size
    context.core.timedOut({ kind: 'device-blocked', context, deviceName: platform.name, count })
    this.#isBlocked = true
    this.#drop(false)
  }

  /** A call that is under way waits for it; without one, nobody does. */
  #finishLater(ended: EndedRequest): void {
    const { core } = this.context
    this.#ended.push(ended)
    core.unsettled.add(this)
    if (this.#ended.length > 1) return
    void Promise.resolve().then(() => {
      core.turn.begin()
      return this.settled()
    })
  }

  *#settle(): Work<void> {
    for (;;) {
      const [next] = this.#ended.splice(0, 1)
      if (next === undefined) break
      this.#finishing = next.held
      try {
        const work = next.work ?? next.held.end(next.outcome)
        if (work !== undefined) yield* work
      } finally {
        this.#finishing = undefined
      }
      this.context.waiters.wakeAll()
      yield
    }
    this.context.core.unsettled.delete(this)
  }

  #drop(isForgotten: boolean): number {
    const waiting = [...this.#held.values(), ...this.#ended.map(({ held }) => held)]
    if (this.#finishing !== undefined) waiting.push(this.#finishing)
    const aborted = waiting.filter(({ transaction }) => transaction.ended === undefined)
    for (const { transaction } of aborted) transaction.abort()
    this.#held.clear()
    this.#ended = []
    if (this.#finishing === undefined) this.context.core.unsettled.delete(this)
    const count = aborted.length + this.#groups.abandon()
    this.atc.clear()
    const outstanding = [...this.#outstanding.values()]
    this.#outstanding.clear()
    this.#untold.clear()
    for (const { end } of outstanding) end(isForgotten)
    this.context.waiters.wakeAll()
    return count
  }
}
