/** How long GetServerInfo waits beside another client's large call, against how long it waits alone. */

import type { Row } from '../row.js'
import { waitsBesideLargeCalls } from '../turns.js'

/** Large calls that take less than a second. */
const QUICK_CALLS = ['translate-smmuv3', 'translate-vtd', 'batch-20k-maps', 'unit-vtd-queue']

export const row: Row = {
  id: 'turns',
  what: 'p99 of GetServerInfo beside another client’s one large call, against idle',
  async run({ quick }) {
    const [idle, ...waits] = await waitsBesideLargeCalls(quick ? QUICK_CALLS : [])
    return {
      criteria: waits.map(({ name, p99Ms }) => ({ name, measured: p99Ms / idle.p99Ms })),
      detail: { idle, waits },
    }
  },
}
