/** A user of address spaces inside the daemon, as the kernel's test driver has them. */

import { Access, type Pin } from '../../server/core/access.js'
import type { Call } from '../../server/core/call.js'
import { Ioas } from '../../server/core/ioas.js'
import { assert } from '../../server/core/refusal.js'
import type { Work } from '../../server/core/work.js'
import type { World } from './world.js'

/** What one user has pinned, and how it answers when it is asked for it. */
export class AccessUser {
  readonly pins: Pin[] = []
  /** Ranges it was asked for. */
  readonly asked: (readonly [start: bigint, last: bigint])[] = []
  /** It lets nothing go. */
  isDeaf = false
  readonly access: Access
  readonly #world: World

  constructor(world: World, ioasId: number, pins: boolean) {
    this.#world = world
    const unmap = (start: bigint, last: bigint): void => this.#unmap(start, last)
    this.access = this.do(function* (call) {
      const user = { id: 1, kind: 'test of access' }
      const access = call.make(new Access(call.newId(), call.context, { user, pins, unmap }))
      yield* access.move(call.take(Ioas, ioasId, 'ioas_id'))
      return access
    })
  }

  /** Does work of a call. */
  do<T>(work: (call: Call) => Work<T>): T {
    const reply = this.begin(work)
    assert(!(reply instanceof Promise), 'work that need not wait is done at once')
    return reply
  }

  /** Begins work of a call. */
  begin<T>(work: (call: Call) => Work<T>): T | Promise<T> {
    const { core, peer, token } = this.#world
    return core.call(peer, (call: Call) => call.inSlices(work(call)), { context: token })
  }

  pin(start: bigint, length: bigint, writes = false): Pin {
    const pin = this.do(() => this.access.pin(start, length, writes))
    this.pins.push(pin)
    return pin
  }

  read(start: bigint, length: number): number[] {
    const bytes = new Uint8Array(length)
    this.do(() => this.access.copy(start, bytes, false))
    return [...bytes]
  }

  write(start: bigint, bytes: readonly number[]): void {
    this.do(() => this.access.copy(start, Uint8Array.from(bytes), true))
  }

  move(ioasId: number): void {
    const { access } = this
    this.do((call) => access.move(call.take(Ioas, ioasId, 'ioas_id')))
  }

  /** Its file is closed. */
  close(): void {
    const { access } = this
    this.do(function* () {
      yield access.release()
    })
  }

  #unmap(start: bigint, last: bigint): void {
    this.asked.push([start, last])
    if (this.isDeaf) return
    for (const pin of this.pins.splice(0)) {
      if (pin.start > last || pin.last < start) this.pins.push(pin)
      else this.access.unpin(pin)
    }
  }
}
