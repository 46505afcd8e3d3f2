/** How long one translation waits beside two loud clients, against how long it waits alone. */

import { medianOf } from '../measure.js'
import { waitsBesideNeighbours } from '../neighbours.js'
import type { Row } from '../row.js'

const ROUNDS = 5

export const row: Row = {
  id: 'P13',
  what: 'p99 of a third client’s Translate while one maps and unmaps 16 GiB in 4K pages and another ends with 100,000 areas, against idle',
  async run({ quick, say }) {
    say('five times idle, and beside the others')
    const rounds = await waitsBesideNeighbours(quick ? 500 : 2000, ROUNDS)
    const middle = (of: (round: (typeof rounds)[number]) => number): number =>
      medianOf(rounds.map(of).sort((a, b) => a - b))
    const idleMs = middle(({ idle }) => idle.p99Ms)
    const besideMs = middle(({ beside }) => beside.p99Ms)
    return {
      criteria: [
        { name: 'p99 beside them', measured: besideMs / idleMs, must: { atMost: 10 }, should: { atMost: 3 } },
        { name: 'median of the ratios', measured: middle(({ idle, beside }) => beside.p99Ms / idle.p99Ms) },
      ],
      detail: {
        'idle p99 ms': idleMs,
        'p99 ms': besideMs,
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
