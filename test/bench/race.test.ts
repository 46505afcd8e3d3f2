import { describe, expect, it } from 'vitest'
import { type Contender, Disagreement, geometricMean, race } from '../../bench/measure.js'

const OPTIONS = { turns: 5, turnMs: 0, agree: true, isWall: false }

/** Says of itself how long it takes. */
const contender = (name: string, ns: readonly number[], sum: (rounds: number) => number): Contender => {
  let turn = 0
  return {
    name,
    operations: 10,
    // Two turns come before the race: one for the checksum and one to find the number of rounds.
    run: (rounds) => ({ ns: ns[Math.max(0, turn++ - 2)] * rounds * 10, sum: sum(rounds) }),
  }
}

describe('a race', () => {
  it('answers each contender’s median of an operation', async () => {
    const one = contender('one', [5, 1, 9, 2, 8], (rounds) => rounds * 3)
    expect(await race([one], OPTIONS)).toEqual([{ name: 'one', medianNs: 5, minNs: 1, maxNs: 9 }])
  })

  it('times what does not time itself', async () => {
    const busy: Contender = {
      name: 'busy',
      operations: 1,
      run(rounds) {
        let sum = 0
        for (let i = 0; i < rounds * 1e5; i++) sum = (sum + i) | 0
        return Math.imul(7, rounds) >>> 0
      },
    }
    const [timing] = await race([busy], { ...OPTIONS, turnMs: 2 })
    expect(timing.medianNs).toBeGreaterThan(0)
  })

  it('fails where two checksums of the same work differ', async () => {
    const contenders = [contender('one', [1, 1, 1, 1, 1], () => 3), contender('other', [1, 1, 1, 1, 1], () => 4)]
    await expect(race(contenders, OPTIONS)).rejects.toThrow(
      new Disagreement('checksums of one round do not agree: one 3, other 4'),
    )
  })

  it('fails where a later turn did something else', async () => {
    let turn = 0
    const drifting = contender('drifting', [1, 1, 1, 1, 1], () => (turn++ > 3 ? 8 : 7))
    await expect(race([drifting], OPTIONS)).rejects.toThrow(Disagreement)
  })

  it('compares no checksums of contenders that do different things', async () => {
    const contenders = [contender('one', [1, 1, 1, 1, 1], () => 3), contender('other', [2, 2, 2, 2, 2], () => 4)]
    const timings = await race(contenders, { ...OPTIONS, agree: false })
    expect(timings.map(({ medianNs }) => medianNs)).toEqual([1, 2])
  })
})

describe('a geometric mean', () => {
  it('of 1, 2 and 4 is 2', () => {
    expect(geometricMean([1, 2, 4])).toBeCloseTo(2)
  })
})
