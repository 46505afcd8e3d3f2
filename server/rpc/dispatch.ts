/**
 * One call, from bytes to bytes: finds the method, decodes, finds the context, lets core answer, encodes. Every
 * transport comes through here, so that a refusal, a deadline and a log line are the same on each.
 */

import { CodecError, decode, decodeJson, encode, encodeJson } from '../../proto/codec.js'
import { METHODS, type Method, type MethodName } from '../../proto/generated/methods.js'
import { Connection, type Peer } from '../core/ambient.js'
import { LIFETIME } from '../core/context.js'
import type { Core } from '../core/core.js'
import type { RefusalDetail } from '../core/detail.js'
import { type AnyHandler, type AnyMethodTable, NotOffered } from './method.js'
import type { CallObserver, CallRecord } from './observer.js'
import { errorOf, RpcError, refused } from './status.js'

/** How a message is written. */
export type Encoding = 'proto' | 'json'

/** One connection of a transport, as the dispatcher knows it. */
export interface Caller {
  /** Number in this run of the daemon, for logs. */
  readonly number: number
  /** `http`, `tcp`, `memory` … */
  readonly transport: string
  readonly uid: number
  /** The process at its other end, where the transport can tell. */
  readonly pid: number | undefined
  /** Ends the contexts that were opened to live as long as the connection. */
  readonly connection: Connection
  /**
   * Whether the connection is its client's alone. Then an empty token means a context of its own, and contexts live as
   * long as it does unless they ask for something else. HTTP clients share and drop connections as they like.
   */
  readonly exclusive: boolean
  /** Came through the administrator's socket. */
  readonly admin: boolean
}

/** What a dispatcher is made of. */
export interface DispatcherOptions {
  readonly core: Core
  readonly methods: AnyMethodTable
  readonly observers: readonly CallObserver[]
  /** A name for each bug of ours, by which the log is searched. */
  readonly incidentId: () => string
}

/** Facts of a call that only its transport knows. */
export interface CallFacts {
  readonly encoding: Encoding
  /** Milliseconds until the caller gives up. */
  readonly timeoutMs?: number
}

/** Answers calls. */
export class Dispatcher {
  readonly core: Core
  readonly #methods: AnyMethodTable
  readonly #observers: readonly CallObserver[]
  readonly #incidentId: () => string
  readonly #byPath: ReadonlyMap<string, Method> = new Map(Object.values(METHODS).map((method) => [method.path, method]))
  #callers = 0
  #inFlight = 0
  #draining = false
  #idle: (() => void) | undefined

  constructor(options: DispatcherOptions) {
    this.core = options.core
    this.#methods = options.methods
    this.#observers = options.observers
    this.#incidentId = options.incidentId
  }

  /** New calls are refused as unavailable. */
  get draining(): boolean {
    return this.#draining
  }

  /** Calls that have not been answered. */
  get inFlight(): number {
    return this.#inFlight
  }

  /** The method of a Connect path such as `/iommud.v1.IommuService/IoasMap`. */
  methodAt(path: string): Method | undefined {
    return this.#byPath.get(path)
  }

  /** A connection was made. */
  connected(
    transport: string,
    uid: number,
    more: { readonly pid?: number; readonly exclusive?: boolean; readonly admin?: boolean } = {},
  ): Caller {
    const { pid, exclusive = false, admin = false } = more
    return { number: ++this.#callers, transport, uid, pid, exclusive, admin, connection: new Connection() }
  }

  /** A connection is gone; ends when what lived with it is gone too. */
  async disconnected(caller: Caller): Promise<void> {
    await this.core.connectionEnded(caller.connection)
  }

  /**
   * Answers a call.
   *
   * @throws RpcError and nothing else
   */
  async call(method: Method, body: Uint8Array, caller: Caller, facts: CallFacts): Promise<Uint8Array> {
    const startedAt = performance.now()
    const told: Told = { contextNumber: 0 }
    for (const observer of this.#observers) observer.started()
    this.#inFlight++
    let error: RpcError | undefined
    try {
      return await this.#answer(method, body, caller, facts, told)
    } catch (thrown) {
      error = this.#explain(thrown, told)
      throw error
    } finally {
      this.#inFlight--
      this.#report(`${method.service}/${method.name}`, caller, performance.now() - startedAt, told, error)
      if (this.#inFlight === 0) this.#idle?.()
    }
  }

  /** An error as Connect writes it: JSON, with the detail as protobuf in base64 without padding. */
  errorBody({ code, message, detail }: RpcError): Uint8Array {
    if (detail === undefined) return bytes.encode(JSON.stringify({ code, message }))
    const value = Buffer.from(encode('RefusalDetail', detail)).toString('base64').replace(/=+$/, '')
    const details = [{ type: 'iommud.v1.RefusalDetail', value, debug: detail }]
    return bytes.encode(JSON.stringify({ code, message, details }))
  }

  /** A transport turned something away before it was a call; for logs and metrics. */
  turnedAway(caller: Caller, error: RpcError): void {
    for (const observer of this.#observers) observer.started()
    this.#report('unknown', caller, 0, { contextNumber: 0 }, error)
  }

  /** What a transport tells of something it caught itself. */
  explain(thrown: unknown, caller: Caller): RpcError {
    const told: Told = { contextNumber: 0 }
    const error = this.#explain(thrown, told)
    for (const observer of this.#observers) observer.started()
    this.#report('unknown', caller, 0, told, error)
    return error
  }

  /** Takes no new calls; ends when those in flight are answered, or after `ms` of real time: then false. */
  async drain(ms: number): Promise<boolean> {
    this.#draining = true
    if (this.#inFlight === 0) return true
    return new Promise((done) => {
      const timer = setTimeout(() => done(false), ms)
      this.#idle = () => {
        clearTimeout(timer)
        done(true)
      }
    })
  }

  async #answer(method: Method, body: Uint8Array, caller: Caller, facts: CallFacts, told: Told): Promise<Uint8Array> {
    if (this.#draining) throw new RpcError('unavailable', 'the daemon is stopping')
    const handler = this.#handlerOf(method)
    const request = decodeRequest(method, body, facts.encoding)
    const peer = peerOf(caller, method, request)
    const context = needsNone(request, caller) ? undefined : this.core.contextOf(request.context ?? '', peer)
    told.contextNumber = Number(context?.number ?? 0)
    const running = this.core.run(peer, context, handler, request)
    const reply = running instanceof Promise ? await this.#inTime(running, facts.timeoutMs) : running
    told.refusal = reply.refusal
    return facts.encoding === 'proto' ? encode(method.reply, reply) : toJsonBytes(method, reply)
  }

  #handlerOf(method: Method): AnyHandler {
    const found = this.#methods[method.name as MethodName]
    if (!(found instanceof NotOffered) && !(method.extension && this.core.facts.strict)) return found
    const reason =
      found instanceof NotOffered ? found.reason : 'this method is an extension, and the daemon runs with --strict'
    throw refused('EOPNOTSUPP', reason, { method: method.name })
  }

  /** The call itself goes on: what it changes is changed, as with an ioctl that a signal interrupts too late. */
  async #inTime<T>(running: Promise<T>, timeoutMs: number | undefined): Promise<T> {
    if (timeoutMs === undefined) return running
    let cancel = (): void => {}
    const late = new Promise<never>((_, reject) => {
      cancel = this.core.clock.after(timeoutMs, () => {
        reject(refused('ETIMEDOUT', 'the call did not end within its deadline', { timeoutMs }))
      })
    })
    try {
      return await Promise.race([running, late])
    } finally {
      cancel()
    }
  }

  #explain(thrown: unknown, told: Told): RpcError {
    const error = errorOf(thrown, this.#incidentId)
    if (error.incidentId !== undefined) told.incident = { id: error.incidentId, error: thrown }
    return error
  }

  #report(method: string, caller: Caller, durationMs: number, told: Told, error: RpcError | undefined): void {
    const { contextNumber, incident } = told
    const record: CallRecord = {
      method,
      transport: caller.transport,
      uid: caller.uid,
      connection: caller.number,
      contextNumber,
      code: error?.code ?? 'ok',
      durationMs,
      refusal: error?.detail ?? told.refusal,
      incident,
    }
    for (const observer of this.#observers) observer.finished(record)
  }
}

/** What becomes known of a call on its way. */
interface Told {
  contextNumber: number
  refusal?: RefusalDetail
  incident?: CallRecord['incident']
}

/** What every request may have. */
interface AnyRequest {
  readonly context?: string
  readonly lifetime?: number
}

const text = new TextDecoder('utf-8', { fatal: true })
const bytes = new TextEncoder()

function decodeRequest(method: Method, body: Uint8Array, encoding: Encoding): AnyRequest {
  try {
    return (
      encoding === 'proto' ? decode(method.request, body) : decodeJson(method.request, text.decode(body))
    ) as AnyRequest
  } catch (error) {
    if (error instanceof CodecError) throw refused('EINVAL', `${error.where}: ${error.what}`, { where: error.where })
    if (error instanceof TypeError) throw refused('EINVAL', 'the JSON is not UTF-8', { where: 'JSON' })
    throw error
  }
}

const toJsonBytes = (method: Method, reply: object): Uint8Array => bytes.encode(encodeJson(method.reply, reply))

/** The administrator acts in no context, unless the request names one. */
const needsNone = ({ context }: AnyRequest, { admin, exclusive }: Caller): boolean =>
  context === undefined || (context === '' && admin && !exclusive)

const opensContext = (method: Method): boolean => method.name === METHODS.OpenContext.name

/** On a shared connection only a context that asks for it is bound to it. */
function peerOf(caller: Caller, method: Method, request: AnyRequest): Peer {
  const bound = caller.exclusive || (opensContext(method) && request.lifetime === LIFETIME.CONNECTION)
  const { uid, pid, admin, connection } = caller
  return bound ? { uid, pid, admin, connection } : { uid, pid, admin }
}
