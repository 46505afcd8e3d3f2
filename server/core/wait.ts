/** Calls that answer when something is there, or when their time is up. */

import type { Call } from './call.js'
import type { Work } from './work.js'

/** Waits until something of the context is ready, for as long as the caller wants and the limit `wait_ms` allows. */
export function* waitUntil({ context, core }: Call, waitMs: number, isReady: () => boolean): Work<void> {
  const until = core.clock.now() + Math.min(waitMs, core.limits.call.wait_ms)
  while (!isReady() && !context.isEnding) {
    const left = until - core.clock.now()
    if (left <= 0) return
    yield context.waiters.wait(core.clock, left)
  }
}

/** How many elements a caller takes at most; 0 leaves it to the limit `batch_elements`. */
export const mostOf = ({ core }: Call, asked: number): number =>
  asked === 0 ? core.limits.call.batch_elements : Math.min(asked, core.limits.call.batch_elements)
