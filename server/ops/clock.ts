/**
 * The daemon's time: the machine's, or one that only AdvanceClock moves. Leases and every time-out go by it, so that a
 * test with a manual clock never sleeps.
 */

import type { Clock } from '../core/ambient.js'

/** A clock that stands still until it is told to move. */
export type ManualClock = Required<Clock>

/** setTimeout counts in 31 bits; longer waits are made of several. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

/** The machine's monotonic clock. Its timers do not keep the process alive. */
export function systemClock(): Clock {
  const startedAt = performance.now()
  const now = (): number => performance.now() - startedAt
  return {
    now,
    after(delayMs, callback) {
      const dueAt = now() + delayMs
      let timer: NodeJS.Timeout
      const arm = (): void => {
        const left = Math.ceil(dueAt - now())
        timer = setTimeout(left > LONGEST_TIMER_MS ? arm : callback, Math.max(0, Math.min(left, LONGEST_TIMER_MS)))
        timer.unref()
      }
      arm()
      return () => clearTimeout(timer)
    },
  }
}

/** A turn of the event loop: what a timer has set going gets to where it waits for time again. */
const turn = (): Promise<void> => new Promise((done) => setImmediate(done))

/** A manual clock at instant 0. Timers fire in the order of their instants, those they set on the way included. */
export function manualClock(): ManualClock {
  interface Timer {
    readonly dueAt: number
    readonly callback: () => void
  }
  const timers = new Set<Timer>()
  let nowMs = 0
  const nextUntil = (endAt: number): Timer | undefined => {
    let next: Timer | undefined
    for (const timer of timers) {
      if (timer.dueAt <= endAt && (next === undefined || timer.dueAt < next.dueAt)) next = timer
    }
    return next
  }
  return {
    now: () => nowMs,
    after(delayMs, callback) {
      const timer = { dueAt: nowMs + Math.max(0, delayMs), callback }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    async advance(byMs) {
      const endAt = nowMs + byMs
      for (let timer = nextUntil(endAt); timer !== undefined; timer = nextUntil(endAt)) {
        timers.delete(timer)
        nowMs = Math.max(nowMs, timer.dueAt)
        timer.callback()
        await turn()
      }
      nowMs = Math.max(nowMs, endAt)
    },
  }
}
