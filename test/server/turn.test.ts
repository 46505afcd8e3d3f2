/** Turns of the event loop: one budget for all who work in one, and those who wait go on one a turn. */

import { describe, expect, it } from 'vitest'
import { eventLoopTurn } from '../../server/ops/turn.js'

const BUDGET_MS = 10

const nextTurn = (): Promise<void> => new Promise((done) => setImmediate(done))

function spend(ms: number): void {
  const until = performance.now() + ms
  while (performance.now() < until);
}

describe('a turn of the event loop', () => {
  it('has one budget, which a second call in it does not renew, and the next turn has another', async () => {
    const turn = eventLoopTurn(BUDGET_MS)
    await nextTurn()
    turn.begin()
    expect(turn.spent()).toBe(false)
    spend(BUDGET_MS)
    expect(turn.spent()).toBe(true)
    turn.begin()
    expect(turn.spent()).toBe(true)
    await turn.next()
    expect(turn.spent()).toBe(false)
  })

  it('lets one go on who waits, and others have theirs in between', async () => {
    const turn = eventLoopTurn(BUDGET_MS)
    const order: string[] = []
    const work = async (name: string): Promise<void> => {
      for (let slice = 0; slice < 3; slice++) {
        await turn.next()
        order.push(name)
      }
    }
    const other = async (): Promise<void> => {
      for (let time = 0; time < 2; time++) {
        await nextTurn()
        order.push('other')
      }
    }
    await Promise.all([work('a'), work('b'), other()])
    expect(order.filter((name) => name !== 'other')).toEqual(['a', 'b', 'a', 'b', 'a', 'b'])
    expect(order.indexOf('other')).toBeLessThan(2)
  })
})
