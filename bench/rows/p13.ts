/** How long one translation waits beside two loud clients, against how long it waits alone. */

import { p99Of, type Wait } from '../asker.js'
import { medianOf } from '../measure.js'
import { waitsBesideNeighbours } from '../neighbours.js'
import type { Row } from '../row.js'

const ROUNDS = 5

export const row: Row = {
  id: 'P13',
  what: 'p99 of a third client’s Translate while one maps and unmaps 16 GiB in 4K pages and another ends with 100,000 areas, against idle',
  async run({ quick, say }) {
    say('five times idle, and beside the others')
    const rounds = await waitsBesideNeighbours(quick ? 500 : 3000, ROUNDS)
    const middle = (of: (round: (typeof rounds)[number]) => number): number =>
      medianOf(rounds.map(of).sort((a, b) => a - b))
    // Of all rounds together: a round alone has too few questions for the hundredth of them to be steady.
    const idleMs = p99Of(together(rounds.map(({ idle }) => idle.waits)))
    const besideMs = p99Of(together(rounds.map(({ beside }) => beside.waits)))
    const count = (of: (round: (typeof rounds)[number]) => Wait): number =>
      rounds.reduce((sum, round) => sum + of(round).waits.length, 0)
    return {
      criteria: [
        { name: 'p99 beside them', measured: besideMs / idleMs, must: { atMost: 10 }, should: { atMost: 3 } },
        { name: 'median of the ratios', measured: middle(({ idle, beside }) => beside.p99Ms / idle.p99Ms) },
      ],
      detail: {
        'idle p99 ms': idleMs,
        'p99 ms': besideMs,
        questions: { idle: count(({ idle }) => idle), beside: count(({ beside }) => beside) },
        rounds: rounds.map(({ idle, beside }) => ({
          'idle p99 ms': idle.p99Ms,
          'p99 ms': beside.p99Ms,
          'longest ms': beside.longestMs,
          'it took ms': beside.tookMs,
        })),
      },
    }
  },
}

function together(parts: readonly Float64Array[]): Float64Array {
  const all = new Float64Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all.sort()
}
