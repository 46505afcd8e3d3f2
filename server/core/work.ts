/**
 * Work that may be done in slices. A generator does it: each `yield` is a place between two whole steps, where others
 * may have their turn, and what it yields is waited for. As long as the turn's budget lasts nothing is waited for, no
 * promise is made, and the work is an ordinary function.
 *
 * What was checked before a `yield` is only true before it: whoever goes on looks again.
 */

import type { Turn } from './ambient.js'
import type { Completion } from './driver.js'
import { ELEMENTS_A_LOOK } from './limits.js'

/** Work that answers a T. */
export type Work<T> = Generator<Completion, T, void>

/**
 * Does work: at once, or, from the first pause on, in slices.
 *
 * @param onPause called before the first pause
 */
export function carryOut<T>(work: Work<T>, turn: Turn, onPause: () => void = () => {}): T | Promise<T> {
  for (;;) {
    const step = work.next()
    if (step.done === true) return step.value
    if (step.value === undefined && !turn.spent()) continue
    onPause()
    return goOn(work, turn, step.value)
  }
}

/** Does work that answers nothing: now, or until the promise ends. */
export function finish(work: Work<void>, turn: Turn): Completion {
  return carryOut(work, turn) as Completion
}

async function goOn<T>(work: Work<T>, turn: Turn, first: Completion): Promise<T> {
  let waiting = first
  for (;;) {
    let step: IteratorResult<Completion, T>
    try {
      await (waiting ?? turn.next())
      step = work.next()
    } catch (error) {
      // What the work itself throws has ended it, and comes back out of it here.
      step = work.throw(error)
    }
    while (step.done !== true && step.value === undefined && !turn.spent()) step = work.next()
    if (step.done === true) return step.value
    waiting = step.value
  }
}

/** Whether to pause after so many elements of an array: a look at the time costs more than many an element. */
export const isLook = (done: number): boolean => done % ELEMENTS_A_LOOK === 0
