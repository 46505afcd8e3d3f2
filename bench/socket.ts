/** The same lookups through a raw unit of a daemon process, and through one in this process, message by message. */

import { resolve } from 'node:path'
import { loadCapture } from '../clients/cli/capture/folder.js'
import { RawReplay, registerGuestMemory } from '../clients/cli/capture/raw-replay.js'
import { ContextLifetime } from '../clients/node/index.js'
import { startDaemon } from '../clients/node/testing.js'
import { guestLookups } from './guest.js'
import type { Contender } from './measure.js'

/** Starts a daemon and answers a contender for each message size, beside the unit in process. */
export async function overTheSocket(sizes: readonly number[]): Promise<{
  contenders: Contender[]
  inProcess: Contender
  stop: () => Promise<unknown>
}> {
  const capture = loadCapture(resolve(import.meta.dirname, '../../test/fixtures/captures/A'))
  const daemon = await startDaemon()
  const { context } = await daemon.client.openContext({ lifetime: ContextLifetime.EXPLICIT })
  const client = daemon.client.inContext(context)
  await registerGuestMemory(client, capture)
  const unit = await RawReplay.start(client, capture)
  const rows = capture.rows.filter(({ pa }) => pa !== undefined)
  const contenders = sizes.map((size) => ({
    name: `socket-${size}`,
    operations: size,
    async run(rounds: number): Promise<number> {
      let sum = 0
      for (let round = 0; round < rounds; round++) {
        const from = (round * size) % (rows.length - size)
        const answers = await unit.translate(rows.slice(from, from + size))
        sum += answers.length
      }
      return sum
    },
  }))
  return { contenders, inProcess: guestLookups().hit, stop: () => daemon.stop() }
}
