/** What Connect asks of a request, checked before a byte of its body is read. */

import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { Method } from '../../proto/generated/methods.js'
import type { Dispatcher, Encoding } from '../rpc/dispatch.js'
import { type RpcError, refused } from '../rpc/status.js'

/** An error whose HTTP status is not that of its code, as a bare HTTP server would choose it. */
export class HttpError extends Error {
  readonly status: number
  readonly error: RpcError
  readonly headers: Readonly<Record<string, string>>

  constructor(status: number, error: RpcError, headers: Readonly<Record<string, string>> = {}) {
    super(error.message)
    this.status = status
    this.error = error
    this.headers = headers
  }
}

/** A request as far as this file needs it. */
export interface HttpRequest {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
}

/** What a checked request asks for. */
export interface Checked {
  readonly method: Method
  readonly encoding: Encoding
  readonly timeoutMs?: number
  readonly gzipped: boolean
}

/** A whole call. */
export interface HttpCall extends Checked {
  readonly body: Uint8Array
}

/** Says whether an `authorization` header opens the door. */
export type Authorized = (header: string | undefined) => boolean

/** Compares in a time that tells nothing of the token. Without a token everybody may enter. */
export function tokenMatcher(token: string | undefined): Authorized {
  if (token === undefined) return () => true
  const hash = (text: string): Buffer => createHash('sha256').update(text).digest()
  const wanted = hash(token)
  return (header) => {
    const given = /^bearer +([^ ]+) *$/i.exec(header ?? '')?.[1]
    return timingSafeEqual(hash(given ?? ''), wanted) && given !== undefined
  }
}

/**
 * Checks a request line and its headers, in the order in which an HTTP server would answer.
 *
 * @throws HttpError 401, 404, 405, 415; RpcError for headers of Connect's own
 */
export function checkRequest(
  request: HttpRequest,
  dispatcher: Dispatcher,
  authorized: Authorized = () => true,
): Checked {
  const { headers } = request
  if (!authorized(headers.authorization)) {
    const reason =
      'this listener asks for "authorization: Bearer TOKEN"; the daemon said at its start where the token is'
    throw new HttpError(401, refused('EACCES', reason, {}, 'unauthenticated'), { 'www-authenticate': 'Bearer' })
  }
  const method = methodOf(request, dispatcher)
  const version = headers['connect-protocol-version']
  if (version !== undefined && version !== '1') {
    throw refused('EINVAL', 'connect-protocol-version is not 1', { header: 'connect-protocol-version' })
  }
  const timeoutMs = timeoutOf(headers['connect-timeout-ms'])
  if (request.method === 'GET') return { method, encoding: 'json', timeoutMs, gzipped: false }
  const gzipped = isGzip(headers['content-encoding'], 'content-encoding')
  return { method, encoding: encodingOf(headers['content-type']), timeoutMs, gzipped }
}

/**
 * A call by GET: `?connect=v1&encoding=json&message=…`, with `base64=1` and `compression=gzip` as Connect has them.
 *
 * @throws HttpError 415; RpcError
 */
export function readGet(request: HttpRequest, dispatcher: Dispatcher): HttpCall {
  const checked = checkRequest(request, dispatcher)
  const query = new URL(request.url, 'http://iommud').searchParams
  const parameter = (name: string): string => {
    const value = query.get(name)
    if (value === null) throw refused('EINVAL', `the query has no ${name}`, { parameter: name })
    return value
  }
  if ((query.get('connect') ?? 'v1') !== 'v1') throw refused('EINVAL', 'connect is not v1', { parameter: 'connect' })
  const encoding = encodingOf(`application/${parameter('encoding')}`)
  const message = parameter('message')
  const body = query.get('base64') === '1' ? fromBase64(message) : Buffer.from(message)
  return { ...checked, encoding, body, gzipped: isGzip(query.get('compression') ?? undefined, 'compression') }
}

/** Node skips what is no base64; here it is refused. */
function fromBase64(text: string): Buffer {
  if (/^[\w-]*={0,2}$/.test(text)) return Buffer.from(text, 'base64url')
  throw refused('EINVAL', 'the message is not base64url, as base64=1 says', { parameter: 'message' })
}

function methodOf({ method: verb, url }: HttpRequest, dispatcher: Dispatcher): Method {
  const path = url.split('?', 1)[0]
  const method = dispatcher.methodAt(path)
  if (method === undefined) {
    throw new HttpError(404, refused('ENOTTY', 'there is no method at this path; ListMethods names all', { path }))
  }
  if (verb === 'POST' || (verb === 'GET' && method.noSideEffects)) return method
  const allow = method.noSideEffects ? 'GET, POST' : 'POST'
  throw new HttpError(405, refused('ENOTTY', `${method.name} is called by ${allow}`, { verb }), { allow })
}

function encodingOf(header: string | undefined): Encoding {
  const type = header?.split(';', 1)[0].trim().toLowerCase()
  if (type === 'application/json') return 'json'
  if (type === 'application/proto') return 'proto'
  const reason = 'the body is to be application/proto or application/json; streams and gRPC are not offered'
  throw new HttpError(415, refused('EOPNOTSUPP', reason, { contentType: type ?? '' }), {
    'accept-post': 'application/proto, application/json',
  })
}

function isGzip(encoding: string | undefined, where: string): boolean {
  if (encoding === undefined || encoding === 'identity') return false
  if (encoding === 'gzip') return true
  throw refused('EOPNOTSUPP', `compression ${encoding} is not known; gzip and identity are`, { [where]: encoding })
}

/** At most ten digits, as Connect has it; so every value is a number. */
function timeoutOf(header: string | string[] | undefined): number | undefined {
  if (header === undefined) return undefined
  if (typeof header === 'string' && /^\d{1,10}$/.test(header)) return Number(header)
  throw refused('EINVAL', 'connect-timeout-ms is not a number of at most ten digits', { header: 'connect-timeout-ms' })
}
