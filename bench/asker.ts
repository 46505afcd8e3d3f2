/** A client in a thread of its own, that asks every few milliseconds and tells how long it waited. */

import { Worker } from 'node:worker_threads'
import type { PingerData } from './pinger.js'

/** How long a client waited while something ran; milliseconds. */
export interface Wait {
  readonly name: string
  readonly p99Ms: number
  readonly longestMs: number
  /** How long each question waited, in ascending order. */
  readonly waits: Float64Array
  /** What was running. */
  readonly tookMs: number
}

/** What all but one of a hundred waits keep below, of waits in ascending order. */
export const p99Of = (waits: Float64Array): number => waits[Math.min(waits.length - 1, Math.floor(waits.length * 0.99))]

/** The thread that asks. */
export class Asker {
  readonly #worker: Worker

  private constructor(worker: Worker) {
    this.#worker = worker
  }

  static async start(data: PingerData): Promise<Asker> {
    const asker = new Asker(new Worker(new URL('./pinger.js', import.meta.url), { workerData: data }))
    await asker.#hear()
    return asker
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
    return { name, p99Ms: p99Of(waits), longestMs: waits[waits.length - 1], waits, tookMs }
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
