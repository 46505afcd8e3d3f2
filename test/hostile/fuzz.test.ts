/**
 * A daemon process under random, mutated and malformed request bodies, method by method. Every answer is one that the
 * contract allows, in time; the daemon goes on answering, does not grow, and logs no bug.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { Client } from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { decode, decodeJson } from '../../proto/codec.js'
import { METHODS, type Method } from '../../proto/generated/methods.js'
import type { OpenContextResponse } from '../../proto/generated/types.js'
import { type Body, hostileBody } from './bodies.js'
import type { Pool } from './messages.js'
import { bugLines, openFiles, residentMib } from './process-facts.js'
import { Random } from './random.js'
import { told, wrongWith } from './verdict.js'
import { DEVICE_PAIRS, makeVictim, poolOf } from './victim.js'
import { type Answer, WireConnection } from './wire.js'

const LONG = process.env.IOMMUD_TEST_LONG === '1'
const BODIES = 10_000
const SEEDS = LONG ? [1, 2, 3, 4, 5] : [1]

/** Bodies sent into one context before it is closed and a new one takes its place. */
const ROUND = 250

/** Requests on their way at a time, on each connection. */
const DEPTH = 8

/** What a daemon that holds two small contexts may have in RAM, MiB; it starts with about 100. */
const RESIDENT_MIB = 700

/** Descriptors that a daemon with a handful of connections may have open. */
const OPEN_FILES = 100

/** Milliseconds that calls which wait may wait. */
const WAIT_MS = '20'

const SERVICES = [...new Set(Object.values(METHODS).map(({ service }) => service))]
const methodsOf = (service: string): Method[] => Object.values(METHODS).filter((method) => method.service === service)

/** Methods whose calls may wait for something; the others must answer by themselves. */
const WAITING = /^(Poll|Await|AdvanceClock)/

/** One connection's share: rounds of bodies, each into a context of its own. */
class Attacker {
  readonly wrong: string[] = []
  readonly answers = new Map<string, number>()
  readonly #daemon: Daemon
  readonly #client: Client
  readonly #seed: number
  readonly #worker: number
  readonly #methods: readonly Method[]
  readonly #paths: readonly string[]
  #wire: WireConnection

  constructor(daemon: Daemon, seed: number, worker: number, methods: readonly Method[], paths: readonly string[]) {
    this.#daemon = daemon
    this.#client = daemon.connect()
    this.#seed = seed
    this.#worker = worker
    this.#methods = methods
    this.#paths = paths
    this.#wire = new WireConnection(daemon.socketPath)
  }

  async run(bodies: number): Promise<void> {
    const { bootId } = await this.#client.getServerInfo()
    const random = new Random(this.#seed, this.#worker)
    const devices = DEVICE_PAIRS[this.#worker]
    for (let done = 0; done < bodies && this.wrong.length === 0; done += ROUND) {
      const victim = await makeVictim(this.#client, devices, random)
      const pool = poolOf(victim, bootId, devices, this.#paths)
      await this.#round(random, pool, Math.min(ROUND, bodies - done))
      await victim.client.closeContext({}).catch(() => {})
    }
    this.#wire.close()
    this.#client.close()
  }

  async #round(random: Random, pool: Pool, count: number): Promise<void> {
    const pending = new Set<Promise<void>>()
    for (let i = 0; i < count; i++) {
      const method = random.pick(this.#methods)
      // A context that is closed at once meets nothing more.
      const known = method.name === 'CloseContext' && !random.oneIn(30) ? { ...pool, token: pool.badTokens[1] } : pool
      const one = this.#send(hostileBody(random, method, known)).finally(() => pending.delete(one))
      pending.add(one)
      if (pending.size >= DEPTH) await Promise.race(pending)
    }
    await Promise.all(pending)
  }

  async #send(body: Body): Promise<void> {
    const headers: Record<string, string> = { 'content-type': `application/${body.encoding}` }
    if (WAITING.test(body.method.name)) headers['connect-timeout-ms'] = WAIT_MS
    try {
      const answer = await this.#wire.post(body.method.path, body.bytes, headers)
      const wrong = wrongWith(body, answer)
      if (wrong !== undefined) this.wrong.push(told(this.#seed, body, wrong))
      this.#count(body, answer)
      if (body.method.name === 'OpenContext' && answer.status === 200) await this.#close(body, answer)
    } catch (error) {
      this.wrong.push(told(this.#seed, body, String(error)))
      this.#wire.close()
      this.#wire = new WireConnection(this.#daemon.socketPath)
    }
  }

  #count({ method }: Body, { status }: Answer): void {
    const key = `${method.name} ${status === 200 ? 'done' : 'refused'}`
    this.answers.set(key, (this.answers.get(key) ?? 0) + 1)
  }

  /** A context that a random call opened is closed again, or the quota would end the test. */
  async #close({ encoding }: Body, answer: Answer): Promise<void> {
    const text = (): string => new TextDecoder().decode(answer.body)
    const opened: OpenContextResponse =
      encoding === 'proto' ? decode('OpenContextResponse', answer.body) : decodeJson('OpenContextResponse', text())
    // One with a lease of a few milliseconds is gone already.
    await this.#client.closeContext({ context: opened.context }).catch(() => {})
  }
}

describe.each(SEEDS)('a daemon under 10,000 hostile bodies for each service (seed %i)', (seed) => {
  const folder = mkdtempSync(join(tmpdir(), 'iommud-hostile-'))
  writeFileSync(join(folder, 'ram'), new Uint8Array(0x10000))
  const paths = [
    join(folder, 'ram'),
    join(folder, 'none'),
    folder,
    `${folder}/../../etc/passwd`,
    '/etc/passwd',
    '/dev/zero',
  ]
  const started = startDaemon({ seed, fileRoots: [folder], args: ['--log-level', 'info'] })
  afterAll(async () => {
    await (await started).stop()
    rmSync(folder, { recursive: true, force: true })
  })

  it.each(SERVICES)('answers each body for %s as the contract allows, and goes on', async (service) => {
    const daemon = await started
    const attackers = DEVICE_PAIRS.map((_, worker) => new Attacker(daemon, seed, worker, methodsOf(service), paths))
    await Promise.all(attackers.map((attacker) => attacker.run(BODIES / attackers.length)))

    expect(attackers.flatMap(({ wrong }) => wrong).slice(0, 3)).toEqual([])
    expect((await daemon.client.getServerInfo()).bootId).toMatch(/^[0-9a-f]{32}$/)
    expect(bugLines(daemon.log())).toEqual([])
    expect(residentMib(daemon.pid)).toBeLessThan(RESIDENT_MIB)
    expect(openFiles(daemon.pid)).toBeLessThan(OPEN_FILES)
  })

  it('has nothing bound and nothing held when all contexts are closed', async () => {
    const { client } = await started
    const { context } = await client.openContext({})
    const inside = client.inContext(context)
    const { devices } = await inside.listDevices({})
    expect(devices.filter(({ bound }) => bound).map(({ name }) => name)).toEqual([])
    expect((await inside.getContext({})).quotas.filter(({ used }) => used > 0n)).toEqual([])
    await inside.closeContext({})
  })
})
