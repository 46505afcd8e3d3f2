/** The daemon's shell around a real core with a machine that has no units: for tests of what is around the objects. */

import { mkdtempSync } from 'node:fs'
import { request as httpRequest, type IncomingHttpHeaders, type RequestOptions } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { METHODS, type MethodName } from '../../proto/generated/methods.js'
import { Core } from '../../server/core/core.js'
import type { ServerLimits } from '../../server/core/limits.js'
import type { Machine } from '../../server/core/machine.js'
import { Refusal } from '../../server/core/refusal.js'
import { type ManualClock, manualClock } from '../../server/ops/clock.js'
import { seededRandom } from '../../server/ops/random.js'
import { Dispatcher } from '../../server/rpc/dispatch.js'
import { type AnyMethodTable, type Handlers, NotOffered } from '../../server/rpc/method.js'
import type { CallObserver, CallRecord } from '../../server/rpc/observer.js'
import { type HttpOptions, type HttpTransport, httpTransport } from '../../server/transports/http.js'
import { listenOn } from '../../server/transports/socket.js'

const MACHINE: Machine = {
  units: [],
  devices: [],
  fileRoots: [],
  createRegion: () => {
    throw new Refusal('ENOMEM', 'this machine has no memory')
  },
  createRawUnit: () => {
    throw new Refusal('EOPNOTSUPP', 'this machine has no units')
  },
  readPhysical: () => 0,
  writePhysical: () => 0,
  regionAt: () => undefined,
}

/** A shell under test. */
export interface Shell {
  readonly core: Core
  readonly clock: ManualClock
  readonly dispatcher: Dispatcher
  /** What observers were told. */
  readonly records: CallRecord[]
}

/** Settings of a shell that tests change. */
export interface ShellOptions {
  readonly strict?: boolean
  readonly messageBytes?: number
  readonly server?: Partial<ServerLimits>
  readonly observers?: readonly CallObserver[]
}

/** A shell whose methods are the given ones; all others are not offered. */
export function makeShell(handlers: Partial<Handlers>, options: ShellOptions = {}): Shell {
  const clock = manualClock()
  const defaults = new Core({ machine: MACHINE, clock, random: seededRandom(1n) }).limits
  const call = { ...defaults.call, message_bytes: options.messageBytes ?? defaults.call.message_bytes }
  const facts = { version: '0.0.0', strict: options.strict ?? false }
  const limits = { ...defaults, call, server: { ...defaults.server, ...options.server } }
  const core = new Core({ machine: MACHINE, clock, random: seededRandom(1n), limits, facts })
  const names = Object.keys(METHODS) as MethodName[]
  const methods = Object.fromEntries(names.map((name) => [name, handlers[name] ?? new NotOffered('not in this test')]))
  const records: CallRecord[] = []
  const recorder: CallObserver = { started: () => {}, finished: (record) => records.push(record) }
  const observers = [recorder, ...(options.observers ?? [])]
  const dispatcher = new Dispatcher({
    core,
    methods: methods as AnyMethodTable,
    observers,
    incidentId: () => 'incident-1',
  })
  return { core, clock, dispatcher, records }
}

/** A shell that listens on a socket of its own. */
export interface ListeningShell extends Shell {
  readonly path: string
  readonly transport: HttpTransport
}

/** Lets a shell listen. */
export async function listening(shell: Shell, options: Partial<HttpOptions> = {}): Promise<ListeningShell> {
  const { dispatcher } = shell
  const transport = await httpTransport({ dispatcher, transport: 'http', peerOf: () => ({ uid: 1000 }), ...options })
  const path = join(mkdtempSync(join(tmpdir(), 'iommud-http-')), 's')
  await listenOn(transport.server, path)
  return { ...shell, path, transport }
}

/** A reply as it came. */
export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** One HTTP request over a socket. */
export function ask(path: string, options: RequestOptions, body?: string | Uint8Array): Promise<Answer> {
  return new Promise((done, failed) => {
    const request = httpRequest({ socketPath: path, method: 'POST', agent: false, ...options }, (response) => {
      const parts: Buffer[] = []
      response.on('data', (part) => parts.push(part))
      response.on('end', () => {
        done({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) })
      })
    })
    request.on('error', failed)
    request.end(body)
  })
}

/** The headers of a JSON call. */
export const JSON_HEADERS = { 'content-type': 'application/json' }
