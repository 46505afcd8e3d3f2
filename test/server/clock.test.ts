/** The daemon's two clocks and its two sources of randomness. */

import { describe, expect, it } from 'vitest'
import { manualClock, systemClock } from '../../server/ops/clock.js'
import { cryptoRandom, seededRandom } from '../../server/ops/random.js'

describe('a manual clock', () => {
  it('stands still until it is told to move', async () => {
    const clock = manualClock()
    let fired = 0
    clock.after(10, () => fired++)
    await clock.advance(9)
    expect([clock.now(), fired]).toEqual([9, 0])
    await clock.advance(1)
    expect([clock.now(), fired]).toEqual([10, 1])
  })

  it('fires timers in the order of their instants, those set on the way included', async () => {
    const clock = manualClock()
    const seen: string[] = []
    clock.after(30, () => seen.push(`c ${clock.now()}`))
    clock.after(10, () => {
      seen.push(`a ${clock.now()}`)
      clock.after(5, () => seen.push(`b ${clock.now()}`))
    })
    await clock.advance(100)
    expect(seen).toEqual(['a 10', 'b 15', 'c 30'])
    expect(clock.now()).toBe(100)
  })

  it('lets what a timer set going wait again before time passes on', async () => {
    const clock = manualClock()
    const seen: number[] = []
    const sleep = (ms: number): Promise<void> => new Promise((done) => clock.after(ms, done))
    const walk = (async () => {
      for (let step = 0; step < 3; step++) {
        await sleep(10)
        seen.push(clock.now())
      }
    })()
    await clock.advance(35)
    await walk
    expect(seen).toEqual([10, 20, 30])
  })

  it('forgets a timer that was cancelled', async () => {
    const clock = manualClock()
    let fired = 0
    clock.after(1, () => fired++)()
    await clock.advance(5)
    expect(fired).toBe(0)
  })
})

describe('the system clock', () => {
  it('fires after the time, and not what was cancelled', async () => {
    const clock = systemClock()
    let wrong = 0
    clock.after(1, () => wrong++)()
    const keepAlive = setTimeout(() => {}, 1000)
    const before = clock.now()
    await new Promise<void>((done) => clock.after(5, done))
    clearTimeout(keepAlive)
    expect(clock.now() - before).toBeGreaterThanOrEqual(4)
    expect(wrong).toBe(0)
  })
})

describe('randomness', () => {
  it('is the same for the same seed, whatever pieces it is taken in', () => {
    const [a, b] = [seededRandom(7n), seededRandom(7n)]
    const whole = Buffer.from(a.bytes(32))
    expect(Buffer.concat([b.bytes(5), b.bytes(27)])).toEqual(whole)
    expect(Buffer.from(seededRandom(8n).bytes(32))).not.toEqual(whole)
  })

  it('differs without a seed', () => {
    expect(Buffer.from(cryptoRandom().bytes(16))).not.toEqual(Buffer.from(cryptoRandom().bytes(16)))
  })
})
