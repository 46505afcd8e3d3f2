/** What a domain's devices were asked to forget: it is done when the last of them has answered. */

import { expect, it } from 'vitest'
import { Outstanding } from '../../server/drivers/outstanding.js'

/** A question, and its answer. */
function question(): { readonly asked: Promise<void>; readonly answer: () => void } {
  let answer = (): void => undefined
  const asked = new Promise<void>((resolve) => {
    answer = resolve
  })
  return { asked, answer }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

it('nothing is outstanding where nobody was asked, or all answered at once', () => {
  const outstanding = new Outstanding()
  outstanding.add(undefined)
  expect(outstanding.done).toBeUndefined()
})

it.each([
  ['first', 0],
  ['last', 1],
])('two questions are outstanding until both are answered, the %s one at first', async (_name, first) => {
  const outstanding = new Outstanding()
  const questions = [question(), question()]
  for (const { asked } of questions) outstanding.add(asked)
  let isDone = false
  void Promise.resolve(outstanding.done).then(() => {
    isDone = true
  })
  questions[first].answer()
  await settle()
  expect([isDone, outstanding.done === undefined]).toEqual([false, false])
  questions[1 - first].answer()
  await settle()
  expect([isDone, outstanding.done]).toEqual([true, undefined])
})
