/**
 * One call: what it made, what it must undo when it is refused, and which driver operations it waits for. A handler
 * checks and changes in one step; a long one is work in slices. From its first pause until its reply leaves, other
 * calls that would change the same objects meet EBUSY.
 */

import type { Peer } from './ambient.js'
import { all, inOrder, type Step } from './completion.js'
import type { Context } from './context.js'
import type { Core } from './core.js'
import type { Completion } from './driver.js'
import type { QuotaName } from './limits.js'
import type { Holder, IommuObject } from './object.js'
import type { Kind } from './object-table.js'
import { Refusal } from './refusal.js'
import { carryOut, type Work } from './work.js'

/** Answers a request, or throws a Refusal. A promise is for calls that wait, and for work that takes several turns. */
export type Handler<Request, Reply> = (call: Call, request: Request) => Reply | Promise<Reply>

/** A handler's hands. */
export class Call implements Holder {
  readonly core: Core
  readonly peer: Peer
  /** As the holder of what it works on. */
  readonly id: number
  readonly kind = 'call'
  readonly #context: Context | undefined
  readonly #undo: Step[] = []
  readonly #made: IommuObject[] = []
  readonly #taken: IommuObject[] = []
  readonly #pending: Promise<void>[] = []
  /** Others can see it at work: what it took is in flight. */
  #isInFlight = false

  constructor(core: Core, peer: Peer, context: Context | undefined, id: number) {
    this.core = core
    this.peer = peer
    this.#context = context
    this.id = id
  }

  /** The context it acts in. */
  get context(): Context {
    if (this.#context === undefined) throw new Refusal('EBADF', 'this call needs a context; OpenContext makes one')
    return this.#context
  }

  /** Reserves the lowest free id and charges the object it is for. */
  newId(...also: QuotaName[]): number {
    const { objects } = this.context
    this.core.failPoint?.('object')
    for (const name of ['objects', ...also] as const) this.charge(name)
    const id = objects.reserve()
    this.onUndo(() => objects.release(id))
    return id
  }

  /** Keeps an object with a reserved id: visible when the call succeeds, destroyed when it is refused. */
  make<T extends IommuObject>(object: T): T {
    this.#made.push(object)
    this.onUndo(() => object.destroy())
    return object
  }

  /** An object to look at. @throws Refusal ENOENT */
  look<T extends IommuObject>(kind: Kind<T>, id: number | undefined, field: string): T {
    return this.context.objects.get(kind, id ?? 0, field)
  }

  /** An object to change. @throws Refusal ENOENT, or EBUSY while another call's change of it has not ended */
  take<T extends IommuObject>(kind: Kind<T>, id: number | undefined, field: string): T {
    return this.change(this.look(kind, id, field))
  }

  /** Says that the call changes an object. @throws Refusal EBUSY */
  change<T extends IommuObject>(object: T): T {
    if (object.inFlight && !this.#taken.includes(object)) {
      const reason = `another call is still changing ${object.kind} ${object.id}; try again when it has answered`
      throw new Refusal('EBUSY', reason, { id: object.id })
    }
    this.#taken.push(object)
    object.inFlight ||= this.#isInFlight
    return object
  }

  /** Charges the context; given back when the call is refused. @throws Refusal EDQUOT */
  charge(name: QuotaName, amount = 1): void {
    const { quota } = this.context
    quota.charge(name, amount)
    this.onUndo(() => quota.release(name, amount))
  }

  /** Says how to undo what was just done. */
  onUndo(step: Step): void {
    this.#undo.push(step)
  }

  /** Runs `then` when a driver operation is done; the reply waits for it. */
  after(completion: Completion, then?: () => void): void {
    if (completion === undefined) then?.()
    else this.#pending.push(completion.then(then))
  }

  /** Does work in slices: at once while the turn's budget lasts. */
  inSlices<T>(work: Work<T>): T | Promise<T> {
    return carryOut(work, this.core.turn, () => this.#takeOff())
  }

  /** Ends a call that succeeded: when all is done, what it made becomes visible. For `Core.run`. */
  succeed(): Completion {
    // When a reply leaves, all it caused can be seen.
    for (const one of this.core.unsettled) if (one.context === this.#context) this.after(one.settled())
    if (this.#pending.length === 0) {
      this.#publish()
      this.#land()
      return undefined
    }
    this.#takeOff()
    return this.#settled()
      .then(() => this.#publish())
      .finally(() => this.#land())
  }

  /** Ends a call that was refused: everything it made is undone, newest first. For `Core.run`. */
  fail(): Completion {
    const undone = inOrder(this.#undo.reverse())
    const done = all([undone, ...this.#pending])
    if (done === undefined) {
      this.#land()
      return undefined
    }
    this.#takeOff()
    return done.finally(() => this.#land())
  }

  async #settled(): Promise<void> {
    // A completion may add another one: the step that follows it.
    for (let at = 0; at < this.#pending.length; at++) await this.#pending[at]
  }

  #takeOff(): void {
    this.#isInFlight = true
    for (const object of this.#taken) object.inFlight = true
  }

  #land(): void {
    if (this.#isInFlight) for (const object of this.#taken) object.inFlight = false
  }

  #publish(): void {
    for (const object of this.#made) this.context.objects.publish(object)
  }
}
