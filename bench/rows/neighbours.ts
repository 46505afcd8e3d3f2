/** How long one translation waits beside two loud clients, against how long it waits alone. */

import { waitsBesideNeighbours } from '../neighbours.js'
import type { Row } from '../row.js'

export const row: Row = {
  id: 'neighbours',
  what: 'p99 of Translate while one client maps and unmaps 16 GiB and another ends with 100,000 areas, against idle',
  async run({ quick }) {
    const [idle, beside] = await waitsBesideNeighbours(quick ? 500 : 3000, quick ? 1 : 3)
    return { criteria: [{ name: 'third-translate', measured: beside.p99Ms / idle.p99Ms }], detail: { idle, beside } }
  },
}
