/** The options that stand before or after any verb, and the client they lead to. */

import type { Command } from 'commander'
import type { Client, ConnectOptions } from '../node/index.js'
import type { Io } from './io.js'
import { readFile, UsageError } from './values.js'

/** Options of every verb. */
export interface Globals {
  readonly socket?: string
  readonly tcp?: string
  readonly tokenFile?: string
  readonly context?: string
  readonly json?: boolean
  readonly timeout?: string
}

/** Adds the options to the program. */
export function addGlobals(program: Command): Command {
  return program
    .option('--socket <path>', "the daemon's Unix socket (IOMMUD_SOCKET; else the places where it listens by default)")
    .option('--tcp <host:port>', "the daemon's loopback TCP listener instead")
    .option('--token-file <file>', "with --tcp: file with the listener's bearer token")
    .option('--context <token>', 'the context to act in (IOMMUD_CONTEXT), as `iommuctl open` printed it')
    .option('--json', 'print the reply, or the refusal, as one line of JSON')
    .option('--timeout <ms>', 'milliseconds the daemon may take for a call')
}

/** The daemon's place. @throws UsageError */
export function targetOf(globals: Globals, io: Io): ConnectOptions {
  if (globals.tcp === undefined) {
    if (globals.tokenFile !== undefined) throw new UsageError('--token-file is for --tcp')
    const socketPath = globals.socket ?? (io.environment['IOMMUD_SOCKET'] || undefined)
    return socketPath === undefined ? {} : { socketPath }
  }
  if (globals.socket !== undefined) throw new UsageError('give either --socket or --tcp')
  if (globals.tokenFile === undefined) throw new UsageError('--tcp needs --token-file')
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:]+)):(\d{1,5})$/i.exec(globals.tcp)
  const port = Number(match?.[3])
  if (match === null || port === 0 || port > 65535) throw new UsageError(`--tcp: '${globals.tcp}' is not HOST:PORT`)
  const token = new TextDecoder().decode(readFile(globals.tokenFile, '--token-file', io)).trim()
  if (token === '') throw new UsageError(`--token-file: ${globals.tokenFile} is empty`)
  return { tcp: { host: match[1] ?? match[2], port, token } }
}

/** Milliseconds a call may take; undefined for no limit. @throws UsageError */
export function timeoutOf(globals: Globals): number | undefined {
  if (globals.timeout === undefined) return undefined
  if (!/^[1-9]\d{0,9}$/.test(globals.timeout)) {
    throw new UsageError(`--timeout: '${globals.timeout}' is no number of milliseconds`)
  }
  return Number(globals.timeout)
}

/** The context's token. An empty one must be given on purpose. @throws UsageError */
export function tokenOf(globals: Globals, io: Io): string {
  const token = globals.context ?? (io.environment['IOMMUD_CONTEXT'] || undefined)
  if (token !== undefined) return token
  throw new UsageError('no context: `export IOMMUD_CONTEXT=$(iommuctl open)` opens one, --context names one')
}

/** Does something with a client and ends its connections. */
export async function withClient<T>(target: ConnectOptions, io: Io, work: (client: Client) => Promise<T>): Promise<T> {
  const client = io.connect(target)
  try {
    return await work(client)
  } finally {
    client.close()
  }
}
