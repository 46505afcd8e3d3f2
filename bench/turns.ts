/**
 * What one client's large call costs another: how long GetServerInfo waits while the call runs, against how long it
 * waits when nothing does.
 */

import { Worker } from 'node:worker_threads'
import type { Daemon } from '../clients/node/testing.js'
import { startDaemon } from '../clients/node/testing.js'
import { type LargeCall, largeCalls } from './large-calls.js'

/** How long a client waited while something ran; milliseconds. */
export interface Wait {
  readonly name: string
  readonly p99Ms: number
  readonly longestMs: number
  /** What was running. */
  readonly tookMs: number
}

/** Longer than any daemon needs to answer with nothing to do, shorter than a reader's patience. */
const IDLE_MS = 1500

/** Waits of a second client, idle first. @param only names of the calls to make, or empty for all */
export async function waitsBesideLargeCalls(only: readonly string[] = []): Promise<readonly Wait[]> {
  const daemon = await startDaemon()
  try {
    const second = await SecondClient.start(daemon)
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

async function beside(second: SecondClient, { name, prepare }: LargeCall): Promise<Wait> {
  const { run, clear } = await prepare()
  const wait = await second.during(name, run)
  await clear()
  return wait
}

/** The thread that asks. */
class SecondClient {
  readonly #worker: Worker

  private constructor(worker: Worker) {
    this.#worker = worker
  }

  static async start({ socketPath }: Daemon): Promise<SecondClient> {
    const worker = new Worker(new URL('./pinger.js', import.meta.url), { workerData: { socketPath } })
    const second = new SecondClient(worker)
    await second.#hear()
    return second
  }

  async during(name: string, run: () => Promise<unknown>): Promise<Wait> {
    this.#worker.postMessage('begin')
    await this.#hear()
    const began = performance.now()
    await run()
    const tookMs = performance.now() - began
    // A question that still waits is answered first.
    await new Promise((done) => setTimeout(done, 20))
    this.#worker.postMessage('tell')
    const waits = ((await this.#hear()) as Float64Array).sort()
    const p99Ms = waits[Math.min(waits.length - 1, Math.floor(waits.length * 0.99))]
    return { name, p99Ms, longestMs: waits[waits.length - 1], tookMs }
  }

  async stop(): Promise<void> {
    const gone = new Promise((done) => this.#worker.once('exit', done))
    this.#worker.postMessage('end')
    await gone
  }

  #hear(): Promise<unknown> {
    return new Promise((done) => this.#worker.once('message', done))
  }
}
