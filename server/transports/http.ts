/**
 * Connect over HTTP/1.1: `POST /iommud.v1.Service/Method` with `application/proto` or `application/json`, and GET for
 * what only reads. Whatever goes wrong before a call is one leaves in the same form as a refusal does.
 */

import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Caller, Dispatcher } from '../rpc/dispatch.js'
import { CODES, RpcError, refused } from '../rpc/status.js'
import { checkRequest, type HttpCall, HttpError, readGet, tokenMatcher } from './http-request.js'
import { Intake } from './intake.js'
import { answerPlainCalls } from './plain-calls.js'

/** Replies shorter than this are not worth compressing: they fit one packet. */
const GZIP_FROM_BYTES = 1_400

/** How long a client may take to send one request. Waiting calls are not limited by it. */
const REQUEST_MS = 60_000

/** How long the last replies may take to leave when the server closes. */
const LAST_BYTES_MS = 500

/** What the transport is made of. */
export interface HttpOptions {
  readonly dispatcher: Dispatcher
  /** `http` on the Unix socket, `tcp` on loopback; for logs. */
  readonly transport: string
  /** Without it every call is unauthenticated; undefined where the socket's rights guard the door. */
  readonly token?: string
  /** Whoever comes in is the administrator. */
  readonly admin?: boolean
  /** Who is at the other end; the process only where it is known. */
  readonly peerOf: (socket: Socket) => { readonly uid: number; readonly pid?: number }
}

/** An HTTP server that is ready to listen. */
export interface HttpTransport {
  readonly server: Server
  /** Stops listening, lets running requests end, and then ends every connection. */
  close(): Promise<void>
}

/** Makes the server; the caller chooses the address and listens. */
export async function httpTransport(options: HttpOptions): Promise<HttpTransport> {
  const { dispatcher } = options
  const messageBytes = dispatcher.core.limits.call.message_bytes
  const app = fastify({
    bodyLimit: messageBytes,
    // A context may live as long as its connection, so an idle one is not closed.
    keepAliveTimeout: 0,
    requestTimeout: REQUEST_MS,
    exposeHeadRoutes: false,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    // Node's own answer to a request without Host is bare; `needsHost` has one in the contract's form.
    http: { requireHostHeader: false },
    clientErrorHandler: (error, socket) => answerNoRequest(error, socket, dispatcher),
    frameworkErrors: (error, request, reply) => answerError(error, request, reply, callers, dispatcher),
  })
  const callers = watchConnections(app, options)
  const authorized = tokenMatcher(options.token)
  const intake = new Intake(dispatcher.core.limits)
  app.server.maxConnections = dispatcher.core.limits.server.connections
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (request, body, done) => {
    intake.received(request.raw, body.length)
    done(null, body)
  })
  app.addHook('onRequest', async (request, reply) => {
    if (!intake.begin(request.raw)) return cut(request, callerOf(request, callers), dispatcher)
    reply.raw.once('close', () => intake.end(request.raw))
    needsHost(request)
    checkRequest(request, dispatcher, authorized)
    intake.expectBody(request.raw)
  })
  app.setErrorHandler((error, request, reply) => answerError(error, request, reply, callers, dispatcher))
  app.route({
    method: ['GET', 'POST'],
    url: '/*',
    handler: (request, reply) => answerCall(request, reply, callerOf(request, callers), dispatcher, messageBytes),
  })
  await app.ready()
  answerPlainCalls(app.server, { dispatcher, intake, authorized, callerOf: (socket) => callers.get(socket) })
  return { server: app.server, close: () => close(app) }
}

/** Replies that are on their way get a moment; then every connection ends. */
async function close(app: FastifyInstance): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), LAST_BYTES_MS)
  await app.close()
  clearTimeout(timer)
}

/** Who is behind each open socket. */
type Callers = WeakMap<Socket, Caller>

function watchConnections(app: FastifyInstance, { dispatcher, transport, peerOf, admin }: HttpOptions): Callers {
  const callers: Callers = new WeakMap()
  app.server.on('connection', (socket: Socket) => {
    const { uid, pid } = peerOf(socket)
    const caller = dispatcher.connected(transport, uid, { pid, admin })
    callers.set(socket, caller)
    socket.once('close', () => {
      dispatcher.disconnected(caller).catch((error) => dispatcher.explain(error, caller))
    })
  })
  return callers
}

function callerOf(request: FastifyRequest, callers: Callers): Caller {
  const caller = callers.get(request.raw.socket)
  if (caller === undefined) throw new Error('bug: every request comes on a connection that was announced')
  return caller
}

async function answerCall(
  request: FastifyRequest,
  reply: FastifyReply,
  caller: Caller,
  dispatcher: Dispatcher,
  messageBytes: number,
): Promise<FastifyReply> {
  const call = request.method === 'GET' ? readGet(request, dispatcher) : readPost(request, dispatcher)
  const body = call.gzipped ? await unpack(call.body, messageBytes) : call.body
  const answer = await dispatcher.call(call.method, body, caller, call)
  reply.header('content-type', `application/${call.encoding}`)
  if (dispatcher.draining) reply.header('connection', 'close')
  if (answer.length < GZIP_FROM_BYTES || !/\bgzip\b/.test(`${request.headers['accept-encoding']}`)) {
    return reply.send(bufferOf(answer))
  }
  return reply.header('content-encoding', 'gzip').send(await promisify(gzip)(answer))
}

function readPost(request: FastifyRequest, dispatcher: Dispatcher): HttpCall {
  const checked = checkRequest(request, dispatcher)
  return { ...checked, body: Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0) }
}

/** Ends a connection that asks faster than it is answered. */
function cut({ raw }: FastifyRequest, caller: Caller, dispatcher: Dispatcher): never {
  const { pipelined_calls: value } = dispatcher.core.limits.call
  raw.socket.destroy()
  const error = refused('EDQUOT', `${value} requests of the connection have no reply yet; it was closed`, {
    limit: 'pipelined_calls',
    value,
  })
  dispatcher.turnedAway(caller, error)
  throw error
}

/** @throws HttpError 400, as HTTP/1.1 has it */
function needsHost({ raw }: FastifyRequest): void {
  if (raw.headers.host !== undefined || raw.httpVersion === '1.0') return
  throw new HttpError(400, refused('EINVAL', 'the request names no host; any name will do', { header: 'host' }))
}

/** Unpacks a body; one that unpacks to more than a message may have is never held whole. */
async function unpack(body: Uint8Array, messageBytes: number): Promise<Uint8Array> {
  try {
    return await promisify(gunzip)(body, { maxOutputLength: messageBytes })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(messageBytes)
    throw refused('EINVAL', 'the body is not gzip, as its content-encoding says', { header: 'content-encoding' })
  }
}

const tooLarge = (messageBytes: number): HttpError =>
  new HttpError(
    413,
    refused('E2BIG', `the message is longer than the limit message_bytes, ${messageBytes}`, {
      limit: 'message_bytes',
      value: messageBytes,
    }),
  )

/** A framework's error in our words. */
function fromFramework(thrown: unknown, messageBytes: number): unknown {
  if (thrown instanceof HttpError || thrown instanceof RpcError) return thrown
  const { code, statusCode, message } = thrown as { code?: string; statusCode?: number; message?: string }
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return tooLarge(messageBytes)
  // Nobody reads this answer: the client went away in the middle of its body.
  if (code === 'ECONNRESET') return new HttpError(400, refused('EINVAL', 'the connection ended before the body did'))
  // A client that went away in the middle of a body is among these.
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) {
    return new HttpError(statusCode, refused('EINVAL', `the request is malformed: ${message}`))
  }
  return thrown
}

function answerError(
  thrown: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  callers: Callers,
  dispatcher: Dispatcher,
): FastifyReply {
  const caller = callerOf(request, callers)
  const known = fromFramework(thrown, dispatcher.core.limits.call.message_bytes)
  if (known instanceof HttpError) {
    dispatcher.turnedAway(caller, known.error)
    reply.headers(known.headers)
    return sendError(reply, known.error, known.status, dispatcher)
  }
  const error = known instanceof RpcError ? known : dispatcher.explain(known, caller)
  return sendError(reply, error, CODES[error.code].http, dispatcher)
}

function sendError(reply: FastifyReply, error: RpcError, status: number, dispatcher: Dispatcher): FastifyReply {
  if (dispatcher.draining) reply.header('connection', 'close')
  return reply
    .code(status)
    .header('content-type', 'application/json')
    .send(bufferOf(dispatcher.errorBody(error)))
}

/** What came was not HTTP, or not in time: there is no request to reply to, only a socket. */
function answerNoRequest(error: NodeJS.ErrnoException, socket: Socket, dispatcher: Dispatcher): void {
  if (LINGERING.has(socket)) return
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const status = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }[error.code ?? ''] ?? 400
  const reason = {
    431: 'the headers are too long',
    408: 'the request did not end in time',
    400: 'this is not HTTP/1.1',
  }
  const body = bufferOf(dispatcher.errorBody(refused('EINVAL', reason[status as keyof typeof reason])))
  const head = `HTTP/1.1 ${status} Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\n`
  socket.end(Buffer.concat([Buffer.from(`${head}content-length: ${body.length}\r\n\r\n`), body]))
  // A peer in the middle of a write would meet EPIPE and never read this: the rest is taken, and thrown away, for a while.
  LINGERING.add(socket)
  setTimeout(() => socket.destroy(), LINGER_MS).unref()
}

/** Connections that got their last answer and may still be sending. */
const LINGERING = new WeakSet<Socket>()
const LINGER_MS = 1_000

const bufferOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
