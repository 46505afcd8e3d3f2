/**
 * How calls travel: HTTP over a Unix socket or loopback TCP, or straight into a daemon of the same process. A transport
 * carries bytes; it knows no message.
 */

import { Agent, type IncomingMessage, request } from 'node:http'

/** What came back. */
export interface TransportReply {
  /** HTTP status. */
  readonly status: number
  /** Media type of `body`. */
  readonly contentType: string
  readonly body: Uint8Array
}

/** Carries one call. */
export interface Transport {
  /**
   * @param path `/iommud.v1.IommuService/CreateIoas`
   * @param body the request message, `application/proto`
   * @param timeoutMs how long the daemon may take; absent for no limit
   */
  call(path: string, body: Uint8Array, timeoutMs?: number): Promise<TransportReply>
  /** Ends idle connections. A context whose lifetime is the connection ends with them. */
  close(): void
}

/** The daemon could not be reached, or went away in the middle of a call. */
export class TransportError extends Error {}

/** Where an HTTP transport connects. */
export type HttpTarget =
  | { readonly socketPath: string }
  | { readonly host: string; readonly port: number; readonly token: string }

/** How much longer than its deadline a daemon may stay silent, milliseconds. */
const SILENCE_MS = 1_000

/** HTTP/1.1 with kept-alive connections, so that a call costs one round trip. */
export function httpTransport(target: HttpTarget): Transport {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  const where = 'socketPath' in target ? { socketPath: target.socketPath } : { host: target.host, port: target.port }
  const authorization = 'token' in target ? { authorization: `Bearer ${target.token}` } : {}
  return {
    call: (path, body, timeoutMs) =>
      new Promise((resolve, reject) => {
        const headers = {
          'content-type': 'application/proto',
          'content-length': body.length,
          'connect-protocol-version': '1',
          ...(timeoutMs === undefined ? {} : { 'connect-timeout-ms': String(timeoutMs) }),
          ...authorization,
        }
        const outgoing = request({ ...where, agent, method: 'POST', path, headers }, (incoming) => {
          collect(incoming).then(resolve, (error) => reject(new TransportError(describe(target, error))))
        })
        outgoing.on('error', (error) => reject(new TransportError(describe(target, error))))
        if (timeoutMs !== undefined) {
          // The daemon keeps the deadline and says so. This is for one that says nothing at all.
          outgoing.setTimeout(timeoutMs + SILENCE_MS, () => outgoing.destroy(new Error('it does not answer')))
        }
        outgoing.end(body)
      }),
    close: () => agent.destroy(),
  }
}

async function collect(incoming: IncomingMessage): Promise<TransportReply> {
  const chunks: Buffer[] = []
  for await (const chunk of incoming) chunks.push(chunk as Buffer)
  return {
    status: incoming.statusCode ?? 0,
    contentType: incoming.headers['content-type'] ?? '',
    body: chunks.length === 1 ? chunks[0] : Buffer.concat(chunks),
  }
}

function describe(target: HttpTarget, error: Error): string {
  const where = 'socketPath' in target ? target.socketPath : `${target.host}:${target.port}`
  return `no answer from the daemon at ${where}: ${error.message}`
}
