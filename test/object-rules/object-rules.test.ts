/** A slice of the random calls against the plain rules; `npm run sim:objects` makes millions. */

import { describe, expect, it } from 'vitest'
import { Run, STAYS_BYTES } from './run.js'

describe.each([11, 12, 13])('random calls of three contexts, seed %i', (seed) => {
  it('are answered as the plain rules have it, object by object, and nothing is left of ended contexts', () => {
    const found: string[] = []
    const run = new Run(seed, (what) => found.push(what))
    run.go(12_000)
    const before = run.endAll()
    run.go(12_000)
    const after = run.endAll()
    expect(found).toEqual([])
    expect(after).toBeLessThan(before + STAYS_BYTES)
    const { byMethod } = run.summary
    // Each method is carried out sometimes; only hardware queues are none of these units'.
    for (const [method, { done }] of byMethod) expect([method, done > 0]).toEqual([method, method !== 'CreateHwQueue'])
  })
})
