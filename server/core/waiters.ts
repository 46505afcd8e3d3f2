/** Calls that wait for something to happen, for a time. */

import type { Clock } from './ambient.js'

/** Wakes those who wait. */
export class Waiters {
  readonly #waiting = new Set<() => void>()

  /** Wakes everybody who waits now. */
  wakeAll(): void {
    for (const wake of [...this.#waiting]) wake()
  }

  /** Ends when woken, or when `ms` have passed. */
  wait(clock: Clock, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        cancel()
        this.#waiting.delete(wake)
        resolve()
      }
      const cancel = clock.after(ms, wake)
      this.#waiting.add(wake)
    })
  }
}
