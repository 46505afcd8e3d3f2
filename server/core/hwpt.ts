/** What all have that can be in a device's slot: tables behind a driver's ops, and perhaps a queue of page faults. */

import type { DomainOps } from './driver.js'
import type { FaultQueue } from './fault-queue.js'
import { IommuObject } from './object.js'
import type { Window } from './window.js'

/** A domain of any kind, or a window. */
export abstract class Hwpt extends IommuObject {
  abstract readonly ops: DomainOps
  #faultQueue: FaultQueue | undefined

  /** Where page faults of devices on it go, if anywhere. */
  get faultQueue(): FaultQueue | undefined {
    return this.#faultQueue
  }

  /** Its page faults go to a queue from now on. Nothing is attached. */
  takeFaults(queue: FaultQueue): void {
    this.#faultQueue = queue
    this.ops.takesFaults = true
    queue.hold(this)
  }

  /** The window that it is, or is a place in. */
  get window(): Window | undefined {
    return undefined
  }

  /** What it was made on, or for. */
  protected abstract get ground(): IommuObject

  get holds(): readonly IommuObject[] {
    return this.#faultQueue === undefined ? [this.ground] : [this.ground, this.#faultQueue]
  }

  /** It is destroyed: its faults go nowhere. */
  protected dropFaultQueue(): void {
    this.#faultQueue?.drop(this)
  }
}
