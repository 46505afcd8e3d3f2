/** The same lookups through a raw unit of a daemon process, and through one in this process, message by message. */

import { resolve } from 'node:path'
import { type CapturedRow, loadCapture } from '../clients/cli/capture/folder.js'
import { accessOf, registerGuestMemory } from '../clients/cli/capture/raw-replay.js'
import { idRegistersOf, programOf } from '../clients/cli/capture/registers.js'
import { ContextLifetime, UnitType } from '../clients/node/index.js'
import { startDaemon } from '../clients/node/testing.js'
import { Outcome, STATUS, Transaction } from '../hw-model/port.js'
import type { Contender } from './measure.js'
import { CAPTURES, daemonShape } from './shape.js'

/** The same look-ups on both sides of a socket. */
export interface BothSides {
  /** One for each message size. */
  readonly contenders: readonly Contender[]
  /** A unit like the daemon's, in this process. */
  readonly inProcess: Contender
  /** The daemon's process. */
  readonly pid: number
  stop(): Promise<unknown>
}

/**
 * Starts a daemon and answers a contender for each message size, beside the unit in process.
 *
 * @param most look-ups; as many as the caches of both units hold all hit
 */
export async function overTheSocket(sizes: readonly number[], most: number): Promise<BothSides> {
  const capture = loadCapture(resolve(CAPTURES, 'A'))
  const daemon = await startDaemon()
  const { context } = await daemon.client.openContext({ lifetime: ContextLifetime.EXPLICIT })
  const client = daemon.client.inContext(context)
  await registerGuestMemory(client, capture)
  const overrides = idRegistersOf(capture)
  const { unitId } = await client.createUnit({ type: UnitType.SMMUV3, overrides })
  await client.writeUnitRegisters({ unitId, writes: programOf(capture) })
  const rows = capture.rows.filter(({ pa }) => pa !== undefined).slice(0, most)
  const sourceIds = Uint32Array.from(rows, ({ sid }) => sid)
  const iovas = BigUint64Array.from(rows, ({ iova }) => iova)
  const accesses = Uint32Array.from(rows, accessOf)
  const contenders = sizes.map((size) => ({
    name: `socket-${size}`,
    operations: size,
    async run(rounds: number): Promise<number> {
      let sum = 0
      for (let round = 0; round < rounds; round++) {
        const from = (round * size) % (rows.length - size + 1)
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
  const inProcess = { name: 'in process', operations: rows.length, run: throughUnit(rows) }
  return { contenders, inProcess, pid: daemon.pid, stop: () => daemon.stop() }
}

function throughUnit(rows: readonly CapturedRow[]): (rounds: number) => number {
  const { smmuv3 } = daemonShape()
  const sids = Int32Array.from(rows, ({ sid }) => sid)
  const los = Int32Array.from(rows, ({ iova }) => Number(BigInt.asIntN(32, iova)))
  const his = Int32Array.from(rows, ({ iova }) => Number(BigInt.asIntN(32, iova >> 32n)))
  const accesses = Int32Array.from(rows, accessOf)
  const transaction = new Transaction()
  const outcome = new Outcome()
  return (rounds) => {
    let sum = 0
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < sids.length; i++) {
        transaction.rid = sids[i]
        transaction.lo = los[i]
        transaction.hi = his[i]
        transaction.access = accesses[i]
        smmuv3.translate(transaction, outcome)
        if (outcome.status === STATUS.OK) sum++
      }
    }
    return sum
  }
}
