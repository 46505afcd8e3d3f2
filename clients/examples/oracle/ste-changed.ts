/** An STE is changed, and the configuration cache is not told. */

import type { Client, StaleTranslation } from '../../node/index.js'
import { command, SmmuGuest } from './smmu-guest.js'

/** What the oracle says. */
export async function steChanged(daemon: Client): Promise<readonly StaleTranslation[]> {
  const guest = await SmmuGuest.start(daemon)
  await guest.map(0x5000n, 0x8002_0000n)
  await guest.read(0x5123n)

  await guest.bypass()
  // The driver empties the TLB, which is not where the STE is kept.
  await guest.send(command.tlbiAsid(1n), command.sync())

  await guest.read(0x5123n)
  return guest.reports()
}
