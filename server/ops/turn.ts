/** The event loop's turns, by the machine's monotonic clock. */

import { performance } from 'node:perf_hooks'
import type { Turn } from '../core/ambient.js'

/**
 * The turns of this process.
 *
 * @param budgetMs how long work in one turn may take before it gives way
 */
export function eventLoopTurn(budgetMs: number): Turn {
  const { nodeTiming } = performance
  const waiting: (() => void)[] = []
  let turn = -1
  let endsAt = 0
  const begin = (): void => {
    const { loopCount } = nodeTiming.uvMetricsInfo
    if (loopCount === turn) return
    turn = loopCount
    endsAt = performance.now() + budgetMs
  }
  // One a turn: an immediate that is set while immediates run waits until the loop has looked for input again.
  const goOn = (): void => {
    begin()
    waiting.shift()?.()
    if (waiting.length > 0) setImmediate(goOn)
  }
  return {
    begin,
    spent: () => performance.now() >= endsAt,
    next: () =>
      new Promise((resolve) => {
        waiting.push(resolve)
        if (waiting.length === 1) setImmediate(goOn)
      }),
  }
}
