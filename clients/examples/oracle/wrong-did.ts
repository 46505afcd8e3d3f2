/** A domain-id goes to another domain, and the flush names the new one where the old one is cached. */

import type { Client, StaleTranslation } from '../../node/index.js'
import { descriptor, VtdGuest } from './vtd-guest.js'

/** What the oracle says. */
export async function wrongDid(daemon: Client): Promise<readonly StaleTranslation[]> {
  const guest = await VtdGuest.start(daemon)
  await guest.map(0x5000n, 0x8002_0000n)
  await guest.read(0x5123n)

  // The device goes from domain 2 to domain 3, in which the page is another.
  await guest.own(3n)
  await guest.map(0x5000n, 0x8003_0000n)
  await guest.send(descriptor.pasidCache(2n), descriptor.pasid(3n))

  await guest.read(0x5123n)
  return guest.reports()
}
