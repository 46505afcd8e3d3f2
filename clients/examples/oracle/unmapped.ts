/** A page is unmapped, and the IOTLB keeps it. */

import type { Client, StaleTranslation } from '../../node/index.js'
import { descriptor, VtdGuest } from './vtd-guest.js'

/** What the oracle says. */
export async function unmapped(daemon: Client): Promise<readonly StaleTranslation[]> {
  const guest = await VtdGuest.start(daemon)
  await guest.map(0x5000n, 0x8002_0000n)
  await guest.read(0x5123n)

  await guest.unmap(0x5000n)
  // The driver flushes the page before the one that it has unmapped.
  await guest.send(descriptor.page(2n, 0x4000n))

  await guest.read(0x5123n)
  return guest.reports()
}
