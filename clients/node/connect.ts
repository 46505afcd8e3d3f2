/** Finding the daemon: a given place, or the places where it listens by default, in the order in which it chooses them. */

import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Client, createClient } from './client.js'
import { httpTransport, TransportError } from './transport.js'

/** Where to connect. Nothing given: `IOMMUD_SOCKET`, then the default places. */
export interface ConnectOptions {
  /** Path of the daemon's Unix socket. */
  readonly socketPath?: string
  /** Loopback TCP instead. */
  readonly tcp?: {
    readonly host: string
    readonly port: number
    /** The bearer token that the daemon made or was given. */
    readonly token: string
  }
}

/** Places of the daemon's socket, first choice first. */
export function defaultSocketPaths(environment: Readonly<Record<string, string | undefined>> = process.env): string[] {
  const runtime = environment['XDG_RUNTIME_DIR']
  return [
    '/run/iommud/iommud.sock',
    ...(runtime === undefined || runtime === '' ? [] : [join(runtime, 'iommud', 'iommud.sock')]),
    join(tmpdir(), `iommud-${process.getuid?.() ?? 0}`, 'iommud.sock'),
  ]
}

/**
 * A client of the daemon. Connections are made when calls need them, so a daemon that is not there shows in the first
 * call as a `TransportError`.
 *
 * @throws TransportError when nothing was given and no default socket exists
 */
export function connect(options: ConnectOptions = {}): Client {
  if (options.tcp !== undefined) return createClient(httpTransport(options.tcp))
  // An empty variable is one that nobody set.
  const given = options.socketPath ?? (process.env['IOMMUD_SOCKET'] || undefined)
  const socketPath = given ?? defaultSocketPaths().find((path) => existsSync(path))
  if (socketPath === undefined) {
    throw new TransportError(`no daemon found; looked for ${defaultSocketPaths().join(', ')}`)
  }
  return createClient(httpTransport({ socketPath }))
}
