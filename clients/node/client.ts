/**
 * The SDK: one function per method of the contract, named as in the contract with a small first letter. 64-bit values
 * are bigint, dense arrays are typed arrays. A refusal rejects with an `IommudError`; a reply that carries a refusal
 * beside partial results rejects too, with the reply as `partial`.
 */

import { decode, encode } from '../../proto/codec.js'
import type { Calls as GeneratedCalls } from '../../proto/generated/calls.js'
import { METHODS, type Method, type MethodName, type ReplyOf, type RequestOf } from '../../proto/generated/methods.js'
import type { Init, RefusalDetail } from '../../proto/generated/types.js'
import { IommudError } from './errors.js'
import type { Transport, TransportReply } from './transport.js'

/** Options of one call. */
export interface CallOptions {
  /** How long the daemon may take, milliseconds; then the call is refused with `deadline_exceeded`. */
  readonly timeoutMs?: number
}

/** Every method as a function: its request, with any field left out that shall have its default. */
export type Calls = GeneratedCalls<CallOptions>

/** The same functions inside one context, whose token they add. */
export type ContextCalls = {
  readonly [M in keyof Calls]: (
    request?: Omit<NonNullable<Parameters<Calls[M]>[0]>, 'context'>,
    options?: CallOptions,
  ) => ReturnType<Calls[M]>
}

/** A connected client. */
export type Client = Calls & {
  /** The same client with a context's token filled into every request. */
  inContext(token: string): ContextClient
  /** Any method by its name, for callers that are driven by data. */
  call<M extends MethodName>(method: M, request: Init<RequestOf<M>>, options?: CallOptions): Promise<ReplyOf<M>>
  /** Ends idle connections. */
  close(): void
}

/** A client that works in one context. */
export type ContextClient = ContextCalls & {
  /** The context's token: a capability, so keep it out of logs. */
  readonly token: string
}

/** A client over a transport. */
export function createClient(transport: Transport): Client {
  const call: Client['call'] = (method, request, options) => callMethod(transport, METHODS[method], request, options)
  return {
    ...functions((method, request, options) => call(method, request, options)),
    call,
    inContext: (token) => ({
      ...functions((method, request, options) =>
        call(method, { ...(request as object), context: token } as never, options),
      ),
      token,
    }),
    close: () => transport.close(),
  } as Client
}

type AnyCall = (method: MethodName, request: never, options?: CallOptions) => Promise<unknown>

function functions(call: AnyCall): Record<string, unknown> {
  const names = Object.keys(METHODS) as MethodName[]
  return Object.fromEntries(
    names.map((name) => [
      name[0].toLowerCase() + name.slice(1),
      (request: object = {}, options?: CallOptions) => call(name, request as never, options),
    ]),
  )
}

async function callMethod<M extends MethodName>(
  transport: Transport,
  method: Method,
  request: Init<RequestOf<M>>,
  options?: CallOptions,
): Promise<ReplyOf<M>> {
  const body = encode(method.request, request as never)
  const reply = await transport.call(method.path, body, options?.timeoutMs)
  if (reply.status !== 200) throw errorOf(method.name, reply)
  const message = decode(method.reply, reply.body) as ReplyOf<M>
  const refusal = (message as { readonly refusal?: RefusalDetail }).refusal
  // An ioctl's errno is its answer, as the caller of ioctl(2) expects.
  if (refusal !== undefined && method.name !== 'Ioctl')
    throw new IommudError(method.name, 'partial', refusal.reason, refusal, message)
  return message
}

interface ConnectError {
  readonly code?: string
  readonly message?: string
  readonly details?: readonly { readonly type?: string; readonly value?: string }[]
}

/** An error body in Connect's form; anything else is told as it came. */
function errorOf(method: string, reply: TransportReply): IommudError {
  const text = new TextDecoder().decode(reply.body)
  let body: ConnectError
  try {
    body = JSON.parse(text) as ConnectError
  } catch {
    return new IommudError(method, 'unknown', `HTTP ${reply.status}: ${text.slice(0, 200)}`)
  }
  return new IommudError(method, body.code ?? 'unknown', body.message ?? `HTTP ${reply.status}`, detailOf(body))
}

function detailOf(body: ConnectError): RefusalDetail | undefined {
  const detail = body.details?.find(({ type }) => type === 'iommud.v1.RefusalDetail')
  if (detail?.value === undefined) return undefined
  return decode('RefusalDetail', Buffer.from(detail.value, 'base64'))
}
