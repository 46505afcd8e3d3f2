/** The command is right, and nobody waits for it: until a SYNC, what it drops may still be used. */

import { CachePolicy, type Client, type StaleTranslation } from '../../node/index.js'
import { command, SmmuGuest } from './smmu-guest.js'

/** What the oracle says. */
export async function missingSync(daemon: Client): Promise<readonly StaleTranslation[]> {
  // A greedy unit does at a SYNC what others do at once; the manual lets it.
  const guest = await SmmuGuest.start(daemon, CachePolicy.GREEDY)
  await guest.map(0x5000n, 0x8002_0000n)
  await guest.read(0x5123n)

  await guest.unmap(0x5000n)
  await guest.send(command.tlbiVa(0x5000n, 1n))

  // Without a SYNC this is legal for now, so that it is asked for.
  await guest.read(0x5123n)
  return guest.check()
}
