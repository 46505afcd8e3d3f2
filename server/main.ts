#!/usr/bin/env -S node --max-semi-space-size=2
/** `iommud`: runs the daemon in the foreground until it is told to stop; or inside a harness's own process. */

import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { ConfigError, type Invocation, printConfig, readConfig } from './ops/config.js'
import { packageVersion } from './ops/version.js'
import type { RunningServer, startServer } from './start.js'
import { SocketTaken } from './transports/socket.js'

/** Exit statuses; `--help` tells them. */
const EXIT = { STOPPED: 0, FAILED: 1, MISCONFIGURED: 2, BUG: 70 } as const

/** All of them stop the daemon in order: it reads no configuration again, so a hang-up means that its terminal is gone. */
const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

/** A reply, as HTTP would carry it. */
export interface InProcessReply {
  readonly status: number
  readonly contentType: string
  readonly body: Uint8Array
}

/** A daemon inside this process, as a client's transport sees it. */
export interface InProcess {
  readonly transport: {
    call(path: string, body: Uint8Array, timeoutMs?: number): Promise<InProcessReply>
    close(): void
  }
  stop(): Promise<void>
}

/**
 * Starts a daemon in this process, without sockets and, unless the arguments ask for it, without a log.
 *
 * @param args the command line's
 */
export async function startInProcess(args: readonly string[]): Promise<InProcess> {
  const quiet = ['--socket', 'off', '--diagnostics', 'off', '--log-level', 'silent']
  const invocation = readConfig([...quiet, ...args], {}, packageVersion())
  if (invocation.kind !== 'run') throw new ConfigError('only settings make sense here')
  const server = await start(invocation.config)
  const connection = server.connect()
  return {
    transport: {
      async call(path, body, timeoutMs) {
        const { status, body: reply } = await connection.call(path, 'proto', body, timeoutMs)
        return { status, contentType: status === 200 ? 'application/proto' : 'application/json', body: reply }
      },
      close: () => void connection.close(),
    },
    stop: () => server.stop(),
  }
}

/** The rest of the daemon is loaded once the configuration is known to be good. */
const start: typeof startServer = async (config) => (await import('./start.js')).startServer(config)

async function main(args: readonly string[]): Promise<void> {
  try {
    const invocation = readConfig(args, process.env, packageVersion())
    if (invocation.kind === 'run') await run(invocation)
    else process.stdout.write(invocation.kind === 'told' ? invocation.text : printConfig(invocation.config))
  } catch (error) {
    process.stderr.write(`iommud: ${known(error) ? error.message : error instanceof Error ? error.stack : error}\n`)
    process.exitCode = error instanceof ConfigError ? EXIT.MISCONFIGURED : EXIT.FAILED
  }
}

async function run({ config }: Extract<Invocation, { kind: 'run' | 'print-config' }>): Promise<void> {
  // Nobody has to read the first lines: a reader that went away is no reason to end.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
  const server = await start(config)
  // Whatever came between the two may have left half a change behind: it is not carried on with.
  process.on('uncaughtException', (error) => {
    server.log.error({ err: error }, 'ended by a bug of the daemon')
    process.exit(EXIT.BUG)
  })
  let isStopping = false
  const stop = (signal: NodeJS.Signals): void => {
    // A second signal is for those who do not want to wait.
    if (isStopping) {
      server.log.warn({ why: signal }, 'ended at once, by a second signal')
      process.exit(EXIT.FAILED)
    }
    isStopping = true
    server.stop(signal).then(
      () => process.exit(EXIT.STOPPED),
      (error) => {
        process.stderr.write(`iommud: could not stop in order: ${error instanceof Error ? error.stack : error}\n`)
        process.exit(EXIT.FAILED)
      },
    )
  }
  for (const signal of STOP_SIGNALS) process.on(signal, stop)
  process.stdout.write(`${firstLines(server).join('\n')}\n`)
}

/** Whether this file is the program, started by its own name or by a link that npm made. */
function isProgram(): boolean {
  const [, started] = process.argv
  return started !== undefined && realpathSync(started) === fileURLToPath(import.meta.url)
}

/** Where the daemon is, and lines to paste. */
function firstLines({ core, socket, tcp, diagnostics }: RunningServer): string[] {
  const call = `-H 'content-type: application/json' -d '{}'`
  const info = '/iommud.v1.ServerService/GetServerInfo'
  const lines = [`iommud ${core.facts.version}`]
  if (socket !== undefined) lines.push(`listening on ${socket.address}`, `  curl ${call} ${socket.curl}${info}`)
  if (tcp !== undefined) {
    const bearer = `-H "authorization: Bearer $(cat ${tcp.tokenFile})"`
    lines.push(`listening on ${tcp.address}, token in ${tcp.tokenFile}`, `  curl ${bearer} ${call} ${tcp.curl}${info}`)
  }
  if (diagnostics !== undefined) {
    lines.push(`diagnostics on ${diagnostics.address}`, `  curl ${diagnostics.curl}/readyz`)
  }
  return lines
}

const known = (error: unknown): error is Error => {
  const code = (error as NodeJS.ErrnoException).code
  return error instanceof ConfigError || error instanceof SocketTaken || (code !== undefined && /^E[A-Z]+$/.test(code))
}

if (isProgram()) await main(process.argv.slice(2))
