/**
 * What one client's large call costs another: how long GetServerInfo waits while the call runs, against how long it
 * waits when nothing does.
 */

import { startDaemon } from '../clients/node/testing.js'
import { Asker, type Wait } from './asker.js'
import { type LargeCall, largeCalls } from './large-calls.js'

/** Longer than any daemon needs to answer with nothing to do, shorter than a reader's patience. */
const IDLE_MS = 1500

/** Waits of a second client, idle first. @param only names of the calls to make, or empty for all */
export async function waitsBesideLargeCalls(only: readonly string[] = []): Promise<readonly Wait[]> {
  const daemon = await startDaemon()
  try {
    const second = await Asker.start({ socketPath: daemon.socketPath })
    const idle = (): Promise<unknown> => new Promise((done) => setTimeout(done, IDLE_MS))
    await second.during('warm', idle)
    const waits = [await second.during('idle', idle)]
    for (const large of largeCalls(daemon)) {
      if (only.length === 0 || only.includes(large.name)) waits.push(await beside(second, large))
    }
    await second.stop()
    return waits
  } finally {
    await daemon.stop()
  }
}

async function beside(second: Asker, { name, prepare }: LargeCall): Promise<Wait> {
  const { run, clear } = await prepare()
  const wait = await second.during(name, run)
  await clear()
  return wait
}
