/** A page becomes another in one step, while it is cached. */

import type { Client, StaleTranslation } from '../../node/index.js'
import { SmmuGuest } from './smmu-guest.js'

/** What the oracle says. */
export async function breakBeforeMake(daemon: Client): Promise<readonly StaleTranslation[]> {
  const guest = await SmmuGuest.start(daemon)
  await guest.map(0x5000n, 0x8002_0000n)
  await guest.read(0x5123n)

  // It should have been invalid, and invalidated, in between: this is wrong before any SYNC.
  await guest.map(0x5000n, 0x8003_0000n)

  await guest.read(0x5123n)
  return guest.reports()
}
