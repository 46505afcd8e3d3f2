/** The same lookups through a raw unit of a daemon process, and through one in this process, message by message. */

import { resolve } from 'node:path'
import { loadCapture } from '../clients/cli/capture/folder.js'
import { accessOf, registerGuestMemory } from '../clients/cli/capture/raw-replay.js'
import { idRegistersOf, programOf } from '../clients/cli/capture/registers.js'
import { ContextLifetime, UnitType } from '../clients/node/index.js'
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
  const overrides = idRegistersOf(capture)
  const { unitId } = await client.createUnit({ type: UnitType.SMMUV3, overrides })
  await client.writeUnitRegisters({ unitId, writes: programOf(capture) })
  const rows = capture.rows.filter(({ pa }) => pa !== undefined)
  const sourceIds = Uint32Array.from(rows, ({ sid }) => sid)
  const iovas = BigUint64Array.from(rows, ({ iova }) => iova)
  const accesses = Uint32Array.from(rows, accessOf)
  const contenders = sizes.map((size) => ({
    name: `socket-${size}`,
    operations: size,
    async run(rounds: number): Promise<number> {
      let sum = 0
      for (let round = 0; round < rounds; round++) {
        const from = (round * size) % (rows.length - size)
        const reply = await client.translateUnit({
          unitId,
          sourceIds: sourceIds.subarray(from, from + size),
          iovas: iovas.subarray(from, from + size),
          accesses: accesses.subarray(from, from + size),
        })
        sum += reply.doneCount
      }
      return sum
    },
  }))
  return { contenders, inProcess: guestLookups().hit, stop: () => daemon.stop() }
}
