/**
 * Devices that never rest, in a process of their own with a connection of its own: it translates the same addresses
 * again and again, and counts how each ended, until it is told to stop.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const SDK = pathToFileURL(join(resolve(import.meta.dirname, '../../dist/clients/node'), 'index.js')).href

/** DMA that is repeated. */
export interface Probe {
  readonly deviceId: number
  /** Absent: without PASID. */
  readonly pasid?: number
  readonly iova: bigint
  /** AccessFlag bits; READ unless told. */
  readonly access?: number
}

/** How DMA of one probe ended, and how often: `ok REGION+0xOFFSET`, a fault's name, `ABORTED`, an errno. */
export type Tally = Readonly<Record<string, number>>

/** Lookups of each probe in a round. */
const BATCH = 16

const PROGRAM = `
import { connect } from '${SDK}'
import { createInterface } from 'node:readline'
const input = createInterface({ input: process.stdin })
const { socketPath, token, probes } = JSON.parse(await new Promise((first) => input.once('line', first)))
const client = connect({ socketPath }).inContext(token)
let tallies = probes.map(() => ({}))
let asked = ''
input.on('line', (line) => { asked = line })
const once = async ({ deviceId, pasid, iova, access }, tally) => {
  const count = (key) => { tally[key] = (tally[key] ?? 0) + 1 }
  try {
    const iovas = new BigUint64Array(${BATCH}).fill(BigInt(iova))
    const reply = await client.translate({ deviceId, pasid, iovas, access: access ?? 1 })
    const faults = new Map(reply.faults.map(({ index, name }) => [index, name]))
    reply.outcomes.forEach((outcome, i) => count(outcome === 1
      ? 'ok ' + reply.regionIds[i] + '+0x' + reply.offsets[i].toString(16)
      : outcome === 3 ? 'ABORTED' : faults.get(i) ?? 'outcome ' + outcome))
  } catch (error) { count(error.errnoName || String(error)) }
}
while (asked !== 'stop') {
  await Promise.all(probes.map((probe, i) => once(probe, tallies[i])))
  if (asked === 'take') {
    console.log(JSON.stringify(tallies))
    tallies = probes.map(() => ({}))
    asked = ''
  } else if (asked === '') console.log('round')
}
console.log(JSON.stringify(tallies))
process.exit(0)
`

/** The other process. */
export class DmaProcess {
  readonly #child: ChildProcess
  #rounds = 0
  #answer: string | undefined
  #onLine: (() => void) | undefined

  private constructor() {
    this.#child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      if (line === 'round') this.#rounds++
      else this.#answer = line
      this.#onLine?.()
    })
    this.#child.once('exit', () => this.#onLine?.())
  }

  /** Starts it; answers when each probe has been made at least twice. */
  static async start(socketPath: string, token: string, probes: readonly Probe[]): Promise<DmaProcess> {
    const process = new DmaProcess()
    const texts = probes.map((probe) => ({ ...probe, iova: String(probe.iova) }))
    process.#child.stdin?.write(`${JSON.stringify({ socketPath, token, probes: texts })}\n`)
    await process.more(2)
    return process
  }

  /** Waits until as many further rounds are done. */
  async more(rounds: number): Promise<void> {
    const end = this.#rounds + rounds
    while (this.#rounds < end) await this.#line()
  }

  /** What became of each probe since the last time. The round that is under way is waited for. */
  async take(): Promise<Tally[]> {
    this.#child.stdin?.write('take\n')
    this.#answer = undefined
    while (this.#answer === undefined) await this.#line()
    return JSON.parse(this.#answer) as Tally[]
  }

  /** Ends it; answers what became of each probe since the last time. */
  async stop(): Promise<Tally[]> {
    const ended = new Promise<void>((done) => this.#child.once('close', () => done()))
    this.#child.stdin?.end('stop\n')
    await ended
    return JSON.parse(this.#answer ?? 'null') as Tally[]
  }

  /** Ends it without an answer; for tests that failed half way. */
  kill(): void {
    this.#child.kill('SIGKILL')
  }

  /** Waits for the next line of its output. */
  async #line(): Promise<void> {
    if (this.#child.exitCode !== null) throw new Error('the process that makes the DMA has ended')
    await new Promise<void>((done) => {
      this.#onLine = done
    })
  }
}

/** A probe's key for DMA that reached a place. */
export const reached = (regionId: number, offset: bigint): string => `ok ${regionId}+0x${offset.toString(16)}`
