/**
 * Another client, in a thread of its own: asks GetServerInfo, or to translate an address, every few milliseconds and
 * keeps how long it waited, counted from when the question was due, so that one long wait counts as all the questions
 * that it held up.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { createClient, httpTransport } from '../clients/node/index.js'

/** Milliseconds between two questions. */
const EVERY_MS = 2

/** What a pinger is told. */
export interface PingerData {
  readonly socketPath: string
  /** Absent: it asks GetServerInfo. */
  readonly translate?: { readonly context: string; readonly deviceId: number; readonly iova: bigint }
}

const { socketPath, translate } = workerData as PingerData
const client = createClient(httpTransport({ socketPath }))
let waits: number[] = []
let isAsked = false

parentPort?.on('message', (what: string) => {
  if (what === 'begin') isAsked = true
  else if (what === 'tell') parentPort?.postMessage(Float64Array.from(waits))
  else if (what === 'end') process.exit(0)
})

parentPort?.postMessage('ready')
for (;;) {
  // Only between two questions: one that waits for what came before must not count.
  if (isAsked) {
    isAsked = false
    waits = []
    parentPort?.postMessage('begun')
  }
  const began = performance.now()
  await ask()
  const waited = performance.now() - began
  // The questions that were due meanwhile would have waited for the rest of it.
  for (let left = waited; left > 0; left -= EVERY_MS) waits.push(left)
  if (waited < EVERY_MS) await sleep(EVERY_MS - waited)
}

async function ask(): Promise<void> {
  if (translate === undefined) {
    await client.getServerInfo()
    return
  }
  const { context, deviceId, iova } = translate
  const { outcomes } = await client.inContext(context).translate({ deviceId, iovas: BigUint64Array.of(iova) })
  if (outcomes[0] !== 1) throw new Error('the address of the bench is not mapped')
}
