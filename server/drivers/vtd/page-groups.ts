/** Groups of page requests of one device that somebody is to answer. One that its slot leaves behind is refused. */

import type { PageFault } from '../../core/driver.js'

/** What makes a fault this one and no other: the index of a group is used again. */
interface Waiting {
  readonly slot: number
  readonly pasid: number
  readonly group: number
}

/** Those of one device. */
export class PageGroups {
  readonly #waiting = new Set<Waiting>()
  readonly #answer: (pasid: number, group: number, isSuccess: boolean) => void

  /** @param answer sends the device its answer */
  constructor(answer: (pasid: number, group: number, isSuccess: boolean) => void) {
    this.#answer = answer
  }

  /**
   * Tells a fault of a slot; what ends its group waits for an answer if there is to be one.
   *
   * @param tell answers whether there will be
   */
  report(slot: number, fault: PageFault, tell: ((fault: PageFault) => boolean) | undefined): void {
    const { pasid, group, isLast } = fault
    const waits: Waiting = { slot, pasid, group }
    // Before it is told, for the answer may come from inside.
    if (isLast) this.#waiting.add(waits)
    if (tell?.({ ...fault, waits }) !== true) this.#end(waits, false)
  }

  /** Somebody answers the group that a fault ended, if it still waits. */
  respond({ waits }: PageFault, isSuccess: boolean): void {
    this.#end(waits as Waiting, isSuccess)
  }

  /** A slot has other tables now, or none. */
  refuse(slot: number): void {
    for (const waiting of [...this.#waiting]) if (waiting.slot === slot) this.#end(waiting, false)
  }

  /** The device was reset and waits for nothing. @param slots only what these have; absent: all */
  forget(slots?: readonly number[]): void {
    for (const waiting of [...this.#waiting]) if (slots?.includes(waiting.slot) ?? true) this.#waiting.delete(waiting)
  }

  #end(waits: Waiting, isSuccess: boolean): void {
    if (this.#waiting.delete(waits)) this.#answer(waits.pasid, waits.group, isSuccess)
  }
}
