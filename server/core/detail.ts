/** Refusals as replies carry them, and arrays that are done up to the first element that is refused. */

import { type Fact, Refusal } from './refusal.js'
import { isLook, type Work } from './work.js'

/** The contract's RefusalDetail. */
export interface RefusalDetail {
  readonly errno: number
  readonly name: string
  readonly reason: string
  readonly context: Readonly<Record<string, string>>
}

/** A refusal as a message. */
export function detailOf(refusal: Refusal): RefusalDetail {
  const context: Record<string, string> = {}
  for (const [key, fact] of Object.entries(refusal.context)) context[key] = textOf(fact)
  return { errno: refusal.errno, name: refusal.name, reason: refusal.message, context }
}

/** How far an array got. */
export interface Progress {
  readonly doneCount: number
  readonly refusal?: RefusalDetail
}

/**
 * Does elements in order, up to the first that is refused; between some of them others may have their turn.
 *
 * @param each throws a Refusal; its context is told with the element's index. One that is work itself is waited for
 */
export function* forEachUntilRefused<T>(
  elements: readonly T[],
  each: (element: T, index: number) => Work<void> | void,
): Work<Progress> {
  let index = 0
  const refusal = yield* refusalIn(
    (function* () {
      for (; index < elements.length; index++) {
        if (index > 0 && isLook(index)) yield
        const work = each(elements[index], index)
        if (work !== undefined) yield* work
      }
    })(),
  )
  if (refusal === undefined) return { doneCount: elements.length }
  return { doneCount: index, refusal: withIndex(refusal, index) }
}

/** The refusal that work ended with, or undefined. */
export function* refusalIn(work: Work<void>): Work<Refusal | undefined> {
  try {
    yield* work
    return undefined
  } catch (error) {
    if (error instanceof Refusal) return error
    throw error
  }
}

/** A refusal of an element as a message, with the element's index. */
export function withIndex(refusal: Refusal, index: number): RefusalDetail {
  const detail = detailOf(refusal)
  return { ...detail, context: { index: String(index), ...detail.context } }
}

function textOf(fact: Fact): string {
  if (typeof fact === 'object') return fact.map(textOf).join(', ')
  return String(fact)
}
