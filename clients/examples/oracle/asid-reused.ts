/** An ASID goes to another address space while the TLB knows the pages of the first. */

import type { Client, StaleTranslation } from '../../node/index.js'
import { command, SECOND, SmmuGuest } from './smmu-guest.js'

/** What the oracle says. */
export async function asidReused(daemon: Client): Promise<readonly StaleTranslation[]> {
  const guest = await SmmuGuest.start(daemon)
  await guest.map(0x5000n, 0x8002_0000n)
  await guest.map(0x5000n, 0x8003_0000n, SECOND)
  await guest.read(0x5123n)

  // The process has ended, and another one gets its ASID: the CD is another, and the unit is told that.
  await guest.use(SECOND)
  await guest.send(command.cfgiCd(), command.sync())
  // TLBI_NH_ASID was for another ASID.
  await guest.send(command.tlbiAsid(2n), command.sync())

  await guest.read(0x5123n)
  return guest.reports()
}
