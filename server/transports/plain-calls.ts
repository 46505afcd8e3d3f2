/**
 * The plain call, past the framework: a POST to a method's path with a body of known length, neither packed nor in a
 * form that is negotiated. That is what the SDK sends, and to most such calls the framework's way, which knows hooks,
 * routes and types of all kinds, is dearer than the call itself. Whatever is unusual or wrong is left to the framework,
 * untouched, so that it is answered in one place.
 */

import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Caller, Dispatcher } from '../rpc/dispatch.js'
import { CODES, RpcError, refused } from '../rpc/status.js'
import { type Authorized, type Checked, checkRequest } from './http-request.js'
import type { Intake } from './intake.js'

/** What plain calls are checked with, the same as the framework's. */
export interface PlainCallsOptions {
  readonly dispatcher: Dispatcher
  readonly intake: Intake
  readonly authorized: Authorized
  readonly callerOf: (socket: Socket) => Caller | undefined
}

/** Answers what is plain before those who listen for a server's requests already, and leaves them the rest. */
export function answerPlainCalls(server: Server, options: PlainCallsOptions): void {
  const others = server.listeners('request') as RequestListener[]
  server.removeAllListeners('request')
  server.on('request', (request, response) => {
    if (takes(options, request, response)) return
    for (const other of others) other.call(server, request, response)
  })
}

/** Takes a request, or does nothing and says no. */
function takes(options: PlainCallsOptions, request: IncomingMessage, response: ServerResponse): boolean {
  const { dispatcher, intake, callerOf } = options
  const { socket } = request
  const caller = callerOf(socket)
  const checked = checkPlain(options, request)
  if (caller === undefined || checked === undefined || dispatcher.draining) return false
  const bytes = Number(request.headers['content-length'])
  if (!intake.takes(socket, bytes)) return false
  response.once('close', () => intake.givesBack(socket, bytes))
  collect(request, bytes, (body) => answer(dispatcher, checked, body, caller, response))
  request.on('error', () => {
    dispatcher.turnedAway(caller, refused('EINVAL', 'the connection ended before the body did'))
  })
  return true
}

/** What a plain request asks for; undefined for another. */
function checkPlain({ dispatcher, authorized }: PlainCallsOptions, request: IncomingMessage): Checked | undefined {
  const { method, headers } = request
  const length = headers['content-length']
  if (method !== 'POST' || length === undefined || headers.host === undefined) return undefined
  if (headers['content-encoding'] !== undefined || headers['accept-encoding'] !== undefined) return undefined
  if (!(Number(length) <= dispatcher.core.limits.call.message_bytes)) return undefined
  try {
    return checkRequest(
      request as IncomingMessage & { readonly method: string; readonly url: string },
      dispatcher,
      authorized,
    )
  } catch {
    return undefined
  }
}

/** Calls once with the whole body; never where the connection ends before it does. */
function collect(request: IncomingMessage, bytes: number, whole: (body: Uint8Array) => void): void {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => whole(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, bytes)))
}

function answer(
  dispatcher: Dispatcher,
  { method, encoding, timeoutMs }: Checked,
  body: Uint8Array,
  caller: Caller,
  response: ServerResponse,
): void {
  dispatcher.call(method, body, caller, { encoding, timeoutMs }).then(
    (reply) => send(dispatcher, response, 200, encoding === 'proto' ? PROTO : JSON_TYPE, reply),
    (thrown) => {
      const error = thrown instanceof RpcError ? thrown : dispatcher.explain(thrown, caller)
      send(dispatcher, response, CODES[error.code].http, JSON_TYPE, dispatcher.errorBody(error))
    },
  )
}

const PROTO = 'application/proto'
const JSON_TYPE = 'application/json'

function send(
  { draining }: Dispatcher,
  response: ServerResponse,
  status: number,
  type: string,
  body: Uint8Array,
): void {
  const headers = ['content-type', type, 'content-length', String(body.length)]
  if (draining) headers.push('connection', 'close')
  response.writeHead(status, headers)
  response.end(body)
}
