/**
 * For test harnesses: a daemon of one's own. `startDaemon()` runs one as a child process on a private socket;
 * `startDaemon({ inProcess: true })` runs it in this process behind the same client, without any socket.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, createClient } from './client.js'
import { httpTransport, type Transport, TransportError } from './transport.js'

/** What the daemon is started with. */
export interface DaemonOptions {
  /** In this process, over the memory transport. */
  readonly inProcess?: boolean
  /** Makes tokens and every other random choice repeatable. */
  readonly seed?: number
  /** `manual`: time stands still but for `advanceClock`. */
  readonly clock?: 'system' | 'manual'
  /** Folders whose files may be registered as memory. */
  readonly fileRoots?: readonly string[]
  /** Further flags of `iommud`, as on its command line. */
  readonly args?: readonly string[]
  /** How long it may take to come up, milliseconds. */
  readonly startMs?: number
}

/** A running daemon. */
export interface Daemon {
  readonly client: Client
  /** Path of its socket; empty in process. */
  readonly socketPath: string
  /** Its process id; 0 in process. */
  readonly pid: number
  /** What it has written to its log so far; empty in process. */
  log(): string
  /** Another client of the same daemon, with connections of its own. */
  connect(): Client
  /** Ends it as an operator would, with SIGTERM, and waits. Answers its exit status. */
  stop(): Promise<number | null>
  /** Ends it without warning, with SIGKILL, and waits. */
  kill(): Promise<void>
}

/** A test machine that is busy with other tests is slow; a daemon that ends is noticed at once. */
const START_MS = 30_000

/** Starts a daemon and waits until it answers. */
export async function startDaemon(options: DaemonOptions = {}): Promise<Daemon> {
  const args = [
    ...(options.seed === undefined ? [] : ['--seed', String(options.seed)]),
    ...(options.clock === undefined ? [] : ['--clock', options.clock]),
    ...(options.fileRoots ?? []).flatMap((root) => ['--file-root', root]),
    ...(options.args ?? []),
  ]
  return options.inProcess === true ? startInProcess(args) : startChild(args, options.startMs ?? START_MS)
}

/**
 * Megabytes of half the daemon's young generation, as the first line of its program has it. Messages are short-lived and
 * mostly outside the heap: in a larger one they pile up until the whole heap is collected, every hundred large messages.
 */
const YOUNG_FLAG = '--max-semi-space-size=2'

/** The daemon's program: beside this one in the package; compiled elsewhere when this runs from its sources. */
const MAIN = ['../../server/main.js', '../../dist/server/main.js']
  .map((path) => resolve(import.meta.dirname, path))
  .find((path) => existsSync(path))

function daemonProgram(): string {
  if (MAIN === undefined) throw new Error('the daemon is not built: run `npm run build`')
  return MAIN
}

async function startChild(args: readonly string[], startMs: number): Promise<Daemon> {
  const folder = mkdtempSync(join(tmpdir(), 'iommud-test-'))
  const socketPath = join(folder, 'iommud.sock')
  const words = [YOUNG_FLAG, daemonProgram(), '--socket', socketPath, '--diagnostics', 'off', ...args]
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe'] })
  let log = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (log += chunk))
  const ended = new Promise<number | null>((done) => {
    child.once('exit', (status) => {
      rmSync(folder, { recursive: true, force: true })
      done(status)
    })
  })
  // A harness that dies must not leave its daemon behind.
  const killWithUs = (): void => void child.kill('SIGKILL')
  process.once('exit', killWithUs)
  void ended.then(() => process.off('exit', killWithUs))
  const client = createClient(httpTransport({ socketPath }))
  await waitUntilUp(client, child, startMs, () => log)
  return {
    client,
    socketPath,
    pid: child.pid ?? 0,
    log: () => log,
    connect: () => createClient(httpTransport({ socketPath })),
    stop: () => endWith(client, child, ended, 'SIGTERM'),
    kill: async () => void (await endWith(client, child, ended, 'SIGKILL')),
  }
}

async function endWith(
  client: Client,
  child: ChildProcess,
  ended: Promise<number | null>,
  signal: NodeJS.Signals,
): Promise<number | null> {
  client.close()
  child.kill(signal)
  return ended
}

async function waitUntilUp(client: Client, child: ChildProcess, startMs: number, log: () => string): Promise<void> {
  const until = Date.now() + startMs
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the daemon did not start:\n${log()}`)
    try {
      await client.getServerInfo()
      return
    } catch (error) {
      if (!(error instanceof TransportError)) throw error
      if (Date.now() > until) {
        child.kill('SIGKILL')
        throw new Error(`the daemon did not answer within ${startMs} ms:\n${log()}`)
      }
      await sleep(10)
    }
  }
}

/** What `server/main.js` offers to a harness. */
interface ServerModule {
  startInProcess(args: readonly string[]): Promise<{ readonly transport: Transport; stop(): Promise<void> }>
}

async function startInProcess(args: readonly string[]): Promise<Daemon> {
  // Loaded only here: a client needs no server.
  const server = (await import(daemonProgram())) as ServerModule
  const { transport, stop } = await server.startInProcess(args)
  const end = async (): Promise<null> => {
    await stop()
    return null
  }
  return {
    client: createClient(transport),
    socketPath: '',
    pid: 0,
    log: () => '',
    connect: () => createClient(transport),
    stop: end,
    kill: async () => void (await end()),
  }
}
