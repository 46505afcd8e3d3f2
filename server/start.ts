/** Puts a daemon together and takes it apart: configuration in, listeners out. Nothing happens before `startServer`. */

import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { dirname, join } from 'node:path'
import type { Clock } from './core/ambient.js'
import { Core } from './core/core.js'
import { type QuotaName, TURN_MS } from './core/limits.js'
import { logEvent, logRecord, namesOf } from './daemon-log.js'
import { createMachine } from './drivers/machine.js'
import { type Listener, openListener } from './listeners.js'
import { manualClock, systemClock } from './ops/clock.js'
import { type Config, ConfigError } from './ops/config.js'
import { diagnosticsServer } from './ops/diagnostics.js'
import { limitsWith } from './ops/limits.js'
import { type Log, openLog } from './ops/log.js'
import { type Metrics, openMetrics } from './ops/metrics.js'
import { peerCredentials, tryLock } from './ops/native.js'
import { cryptoRandom, seededRandom } from './ops/random.js'
import { SharedMemory } from './ops/shared-memory.js'
import { readOrMakeToken } from './ops/token.js'
import { eventLoopTurn } from './ops/turn.js'
import { packageVersion } from './ops/version.js'
import { Dispatcher } from './rpc/dispatch.js'
import { METHOD_TABLE } from './rpc/method-table.js'
import { type HttpOptions, type HttpTransport, httpTransport } from './transports/http.js'
import { connectInProcess, type MemoryConnection } from './transports/memory.js'
import { defaultSocketPath, SOCKET_MODE } from './transports/socket.js'

/** Length of an incident's name: enough to find one line in a log. */
const INCIDENT_BYTES = 4

/** How long the end of contexts and the last bytes of replies may take beyond `drainMs`. */
const LAST_BYTES_MS = 1_000

/** What a daemon listens on. */
export interface OpenDoors {
  /** The clients' Unix socket. */
  readonly socket?: Listener
  /** The TCP listener, and the file with its token. */
  readonly tcp?: Listener & { readonly tokenFile: string }
  /** The administrator's Unix socket. */
  readonly admin?: Listener
  readonly diagnostics?: Listener
}

/** A daemon that runs. */
export interface RunningServer extends OpenDoors {
  readonly core: Core
  readonly log: Log
  /** A connection inside this process. */
  connect(): MemoryConnection
  /**
   * Lets calls in flight finish, ends every context, and goes. Asking twice is one stop.
   *
   * @param why a signal's name; for the log
   */
  stop(why?: string): Promise<void>
}

/**
 * Starts a daemon.
 *
 * @throws SocketTaken, ConfigError, or what listening gives
 */
export async function startServer(config: Config): Promise<RunningServer> {
  const log = openLog(config.logLevel, systemClock())
  const core = makeCore(config, log)
  const names = cryptoRandom()
  const metrics = config.diagnostics === 'off' ? undefined : openMetrics(metricSources(core))
  const dispatcher = new Dispatcher({
    core,
    methods: METHOD_TABLE,
    observers: metrics === undefined ? [log] : [log, metrics],
    incidentId: () => Buffer.from(names.bytes(INCIDENT_BYTES)).toString('hex'),
  })
  const doors = new Doors(dispatcher, log)
  try {
    const open = await doors.open(config, metrics)
    log.info({ ...factsOf(core, config), ...doors.addresses }, 'started')
    let stopping: Promise<void> | undefined
    return {
      core,
      log,
      ...open,
      connect: () => connectInProcess(dispatcher, process.getuid?.() ?? 0),
      stop: (why = 'asked') => (stopping ??= stop(dispatcher, doors, log, { drainMs: config.drainMs, why })),
    }
  } catch (error) {
    await doors.close()
    throw error
  }
}

function makeCore(config: Config, log: Log): Core {
  const clock: Clock = config.clock === 'manual' ? manualClock() : systemClock()
  const random = config.seed === undefined ? cryptoRandom() : seededRandom(BigInt(config.seed))
  const files = openFiles(config.fileRoots)
  const names = namesOf(config.platform)
  return new Core({
    machine: createMachine({
      platform: config.platform,
      files,
      testDevice: config.testDevice,
      oracle: { mode: config.oracle, graceSyncs: 0 },
      onUnitRecord: (unit, record) => logRecord(log, names, unit, record),
    }),
    clock,
    random,
    turn: eventLoopTurn(TURN_MS),
    limits: limitsWith(config.limits),
    autoIovaAlignment: BigInt(config.autoIovaAlignment),
    eventSink: (event) => logEvent(log, event),
    facts: {
      version: packageVersion(),
      strict: config.strict,
      manualClock: config.clock === 'manual',
      seed: BigInt(config.seed ?? 0),
      features: [...(files.roots.length === 0 ? [] : ['file-regions']), ...(config.testDevice ? ['test-device'] : [])],
      fileRoots: files.roots,
    },
  })
}

function openFiles(roots: readonly string[]): SharedMemory {
  try {
    return new SharedMemory(roots)
  } catch (error) {
    throw new ConfigError(`a folder for files cannot be used: ${error instanceof Error ? error.message : error}`)
  }
}

const metricSources = (core: Core): Parameters<typeof openMetrics>[0] => ({
  version: core.facts.version,
  gauges: () => {
    const bound = [...core.bound.values()]
    return {
      contexts: core.contexts.length,
      objects: core.contexts.reduce((sum, { objects }) => sum + objects.size, 0),
      bound_devices: bound.length,
      blocked_devices: bound.filter(({ endpoint }) => endpoint.isBlocked).length,
      handles: inUse(core, 'handles'),
      queued_records: inUse(core, 'queue_depth'),
      pending_dma: inUse(core, 'pending_dma'),
      unanswered_fault_groups: bound.reduce((sum, { faults }) => sum + faults.unanswered, 0),
      unanswered_invalidations: bound.reduce((sum, { endpoint }) => sum + endpoint.outstanding, 0),
    }
  },
  memoryBytes: () => ({
    resident_bytes: inUse(core, 'resident_bytes'),
    table_bytes: inUse(core, 'table_bytes'),
  }),
  timeOuts: () => ({
    fault_groups: core.timeOuts['fault-groups-timed-out'],
    device_invalidations: core.timeOuts['device-blocked'],
  }),
  unitCounters: () => Object.fromEntries(core.machine.units.map(({ driver }) => [driver.name, driver.counters()])),
  staleReports: () => core.staleCounts,
  oracles: () =>
    Object.fromEntries([...core.staleBooks].map(([{ name }, { oracle }]) => [name, { ...(oracle.counts ?? {}) }])),
  caches: () =>
    core.machine.units.flatMap(({ driver, caches }) =>
      (caches?.statistics() ?? []).map(({ name, live, entries, ...events }) => ({
        unit: driver.name,
        cache: name,
        entries: live,
        capacity: entries,
        events,
      })),
    ),
})

/** What all contexts together have of a limit. */
const inUse = (core: Core, name: QuotaName): number =>
  core.contexts.reduce((sum, { quota }) => sum + quota.used(name), 0)

/** Opens and closes what a daemon listens on. */
class Doors {
  readonly addresses: Record<string, string> = {}
  readonly #dispatcher: Dispatcher
  readonly #log: Log
  readonly #listeners: Listener[] = []
  readonly #transports: HttpTransport[] = []
  #diagnostics: Server | undefined

  constructor(dispatcher: Dispatcher, log: Log) {
    this.#dispatcher = dispatcher
    this.#log = log
  }

  async open(config: Config, metrics: Metrics | undefined): Promise<OpenDoors> {
    const path = config.socket === 'off' ? undefined : (config.socket ?? defaultPath())
    const socket = path === undefined ? undefined : await this.#serve('http', path, { peerOf })
    const tcp = config.listen === undefined ? undefined : await this.#openTcp(config.listen, path, config.tokenFile)
    const besideSocket = (name: string): string => (path === undefined ? 'off' : beside(path, name))
    const adminPath = config.admin ?? besideSocket('admin.sock')
    const admin = adminPath === 'off' ? undefined : await this.#serve('admin', adminPath, { peerOf, admin: true })
    const where = config.diagnostics ?? besideSocket('diagnostics.sock')
    const diagnostics =
      metrics === undefined || where === 'off' ? undefined : await this.#openDiagnostics(where, metrics)
    return { socket, tcp, admin, diagnostics }
  }

  async close(): Promise<void> {
    await Promise.all(this.#transports.map((transport) => transport.close()))
    this.#diagnostics?.closeAllConnections()
    this.#diagnostics?.close()
    for (const listener of this.#listeners) listener.release()
  }

  async #openTcp(where: string, path: string | undefined, given: string | undefined): Promise<OpenDoors['tcp']> {
    const tokenFile = given ?? beside(path ?? defaultPath(), 'token')
    const token = readOrMakeToken(tokenFile)
    // Whoever knows the token may read a file of ours alone: it is the daemon's own user.
    return { ...(await this.#serve('tcp', where, { token, peerOf: () => ({ uid: uid() }) })), tokenFile }
  }

  async #openDiagnostics(where: string, metrics: Metrics): Promise<Listener> {
    const { version, strict } = this.#dispatcher.core.facts
    this.#diagnostics = diagnosticsServer({
      notReady: () => this.#notReady(),
      version: { version, bootId: this.#dispatcher.core.bootId, node: process.version, strict: `${strict}` },
      metrics,
    })
    return this.#listen('diagnostics', this.#diagnostics, where)
  }

  /** Why clients cannot call, if they cannot. */
  #notReady(): string | undefined {
    if (this.#dispatcher.draining) return 'the daemon is stopping'
    const lost = this.#listeners.find((listener) => !listener.isThere())
    return lost && `${lost.address} is gone: its file or folder was removed; start the daemon again`
  }

  async #serve(name: string, where: string, door: Pick<HttpOptions, 'token' | 'admin' | 'peerOf'>): Promise<Listener> {
    const transport = await httpTransport({ dispatcher: this.#dispatcher, transport: name, ...door })
    this.#transports.push(transport)
    return this.#listen(name, transport.server, where, door.admin === true ? SOCKET_MODE.OWNER : SOCKET_MODE.GROUP)
  }

  async #listen(name: string, server: Server, where: string, mode?: number): Promise<Listener> {
    const listener = await openListener(server, where, tryLock, mode)
    server.on('error', (error) => this.#log.error({ err: error, listener: listener.address }, 'a listener failed'))
    this.#listeners.push(listener)
    this.addresses[name] = listener.address
    return listener
  }
}

/** What an operator wants to know of a daemon when all there is of it is its log. */
function factsOf({ facts, machine }: Core, config: Config): object {
  return {
    version: facts.version,
    pid: process.pid,
    node: process.version,
    strict: facts.strict,
    clock: config.clock,
    seeded: config.seed !== undefined,
    fileRoots: facts.fileRoots,
    drainMs: config.drainMs,
    // Those that differ from the defaults.
    limits: config.limits,
    units: machine.units.map(({ driver }) => `${driver.name} (${driver.kind})`),
    devices: machine.devices.map(({ name }) => name),
  }
}

async function stop(
  dispatcher: Dispatcher,
  doors: Doors,
  log: Log,
  { drainMs, why }: { readonly drainMs: number; readonly why: string },
): Promise<void> {
  const { clock, startedAt, contexts } = dispatcher.core
  log.info({ why, inFlight: dispatcher.inFlight, contexts: contexts.length, drainMs }, 'stopping')
  if (!(await dispatcher.drain(drainMs))) log.warn({ inFlight: dispatcher.inFlight }, 'calls did not end in time')
  const ended = Promise.resolve(dispatcher.core.shutDown())
  await Promise.race([ended, new Promise((late) => setTimeout(late, LAST_BYTES_MS).unref())])
  await doors.close()
  log.flush()
  log.info({ why, uptimeMs: Math.round(clock.now() - startedAt) }, 'stopped')
}

const uid = (): number => process.getuid?.() ?? 0

const defaultPath = (): string => defaultSocketPath({ environment: process.env, uid: uid() })

/** Node has no public name for a socket's descriptor; without one the other end counts as the daemon's own user. */
function peerOf(socket: Socket): { readonly uid: number; readonly pid?: number } {
  const { _handle: handle } = socket as Socket & { readonly _handle?: { readonly fd?: number } }
  const peer = handle?.fd === undefined ? undefined : peerCredentials(handle.fd)
  return peer ?? { uid: uid() }
}

const beside = (path: string, name: string): string => join(dirname(path), name)
