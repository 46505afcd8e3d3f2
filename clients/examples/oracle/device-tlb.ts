/** A page is unmapped and the TLB emptied, and the device goes on with the translation that it keeps itself. */

import type { Client, StaleTranslation } from '../../node/index.js'
import { command, SmmuGuest } from './smmu-guest.js'

/** What the oracle says. */
export async function deviceTlb(daemon: Client): Promise<readonly StaleTranslation[]> {
  const guest = await SmmuGuest.start(daemon)
  await guest.map(0x5000n, 0x8002_0000n)
  // The device asks where its page is (ATS), and keeps the answer.
  const page = await guest.ask(0x5000n)
  await guest.readTranslated(page + 0x123n)

  await guest.unmap(0x5000n)
  // TLBI empties the TLB of the unit, and not that of the device.
  await guest.send(command.tlbiVa(0x5000n, 1n), command.sync())

  await guest.readTranslated(page + 0x123n)
  return guest.reports()
}
