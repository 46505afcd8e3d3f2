/** Driver operations that may end later, put in order without waiting where nothing is to be waited for. */

import type { Completion } from './driver.js'

/** One step; what it returns is waited for before the next. A plain action may return nothing. */
// biome-ignore lint/suspicious/noConfusingVoidType: so that `() => list.clear()` is a step
export type Step = () => Completion | void

/** Runs `next` when `first` is done: now, or later. */
export function after(first: Completion, next: Step): Completion {
  if (first === undefined) return next() ?? undefined
  return first.then(next) as Promise<void>
}

/** Runs steps one after the other, at once as long as each is done at once. */
export function inOrder(steps: Iterable<Step>): Completion {
  let done: Completion
  for (const step of steps) done = after(done, step)
  return done
}

/** When all are done. */
export function all(completions: readonly Completion[]): Completion {
  const waiting = completions.filter((completion) => completion !== undefined)
  if (waiting.length === 0) return undefined
  return Promise.all(waiting).then(() => undefined)
}
