/** Caching mode (CAP.CM): what was not present when a device asked is kept, and mapping it needs a flush too. */

import { CachePolicy, type Client, type StaleTranslation } from '../../node/index.js'
import { VtdGuest } from './vtd-guest.js'

/** CAP of the preset `vtd-scalable`, with CM. [VTD 11.4.2 Capability Register] */
async function withCachingMode(daemon: Client) {
  const client = daemon.inContext((await daemon.openContext()).context)
  const { idRegisters } = await client.createUnit({ type: 2, preset: 'vtd-scalable' })
  await client.closeContext()
  const cap = idRegisters.find(({ name }) => name === 'CAP')?.value ?? 0n
  return [{ name: 'CAP', value: cap | 0x80n }]
}

/** What the oracle says. */
export async function notPresent(daemon: Client): Promise<readonly StaleTranslation[]> {
  const guest = await VtdGuest.start(daemon, CachePolicy.GREEDY, await withCachingMode(daemon))
  // Nothing is attached yet: the PASID table entry is not present.
  await guest.disown()
  await guest.read(0x5123n)

  await guest.map(0x5000n, 0x8002_0000n)
  await guest.own(2n)
  await guest.send()

  await guest.read(0x5123n)
  return guest.reports()
}
