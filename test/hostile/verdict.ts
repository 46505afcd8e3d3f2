/** Whether an answer is one that the contract allows. */

import { decode, decodeJson } from '../../proto/codec.js'
import type { Body } from './bodies.js'
import type { Answer } from './wire.js'

/** Connect's codes that the daemon may use, with their HTTP status. `internal` would be a bug of the daemon. */
const STATUS_OF_CODE: Readonly<Record<string, number>> = {
  canceled: 499,
  invalid_argument: 400,
  deadline_exceeded: 504,
  not_found: 404,
  already_exists: 409,
  permission_denied: 403,
  resource_exhausted: 429,
  failed_precondition: 400,
  out_of_range: 400,
  unimplemented: 501,
  unavailable: 503,
  unauthenticated: 401,
}

/** HTTP's own refusals, whose status is not that of their code. */
const BARE_STATUSES = [404, 405, 408, 413, 415, 431]

/** What is wrong with an answer to a body; undefined if nothing is. */
export function wrongWith(body: Body, answer: Answer): string | undefined {
  if (answer.status !== 200) return wrongError(answer)
  const type = answer.headers.get('content-type')
  if (type !== `application/${body.encoding}`) return `content-type ${type}`
  try {
    const { reply } = body.method
    if (body.encoding === 'proto') decode(reply, answer.body)
    else decodeJson(reply, new TextDecoder('utf-8', { fatal: true }).decode(answer.body))
    return undefined
  } catch (error) {
    return `a reply that does not decode: ${error}`
  }
}

/** What is wrong with an error; undefined if nothing is. */
export function wrongError(answer: Answer): string | undefined {
  const text = new TextDecoder().decode(answer.body)
  if (!answer.headers.get('content-type')?.startsWith('application/json')) {
    return `HTTP ${answer.status} without JSON: ${text}`
  }
  try {
    const { code, message, details } = JSON.parse(text) as ErrorBody
    const known = STATUS_OF_CODE[code]
    if (known === undefined) return `code ${code}: ${message}`
    if (known !== answer.status && !BARE_STATUSES.includes(answer.status)) return `HTTP ${answer.status} for ${code}`
    if (typeof message !== 'string' || message === '') return 'an error without a message'
    // A stack, or a path of the daemon's code, has no place in an answer.
    if (/\n\s+at |node_modules|\.js:\d+/.test(message)) return `a stack in the message: ${message}`
    if (code === 'unavailable') return undefined
    const detail = details?.find(({ type }) => type === 'iommud.v1.RefusalDetail')
    if (detail === undefined) return `${code} without a RefusalDetail: ${message}`
    const { errno, name, reason } = decode('RefusalDetail', Buffer.from(detail.value, 'base64'))
    return errno > 0 && /^E[A-Z0-9]+$/.test(name) && reason !== '' ? undefined : `an empty RefusalDetail: ${text}`
  } catch (error) {
    return `an error that cannot be read: ${error}: ${text.slice(0, 300)}`
  }
}

interface ErrorBody {
  readonly code: string
  readonly message: string
  readonly details?: readonly { readonly type: string; readonly value: string }[]
}

/** What someone needs to send a body again. */
export function told(seed: number, body: Body, wrong: string): string {
  const hex = Buffer.from(body.bytes.subarray(0, 20_000)).toString('hex')
  const { method, encoding, kind } = body
  return `seed ${seed}: ${method.name} (${encoding}, ${kind}): ${wrong}\n  body ${hex}`
}
