/** A table is put in the place of another, and what is sent is for leaves alone. */

import type { Client, StaleTranslation } from '../../node/index.js'
import { command, SECOND, SmmuGuest } from './smmu-guest.js'

/** What the oracle says. */
export async function leafOnly(daemon: Client): Promise<readonly StaleTranslation[]> {
  const guest = await SmmuGuest.start(daemon)
  await guest.map(0x5000n, 0x8002_0000n)
  await guest.map(0x6000n, 0x8002_1000n)
  await guest.map(0x5000n, 0x8003_0000n, SECOND)
  await guest.map(0x6000n, 0x8003_1000n, SECOND)
  await guest.read(0x5123n)

  await guest.replaceTable(SECOND + 0x3000n)
  // Leaf=1: the walk cache still knows the old table.
  await guest.send(command.tlbiVa(0x5000n, 1n), command.tlbiVa(0x6000n, 1n), command.sync())

  await guest.read(0x6123n)
  return guest.reports()
}
