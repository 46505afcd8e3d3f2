/**
 * What clients may have on its way in at once. Without it a client could make the daemon hold thousands of messages of
 * which a byte is missing, or of calls that wait, for nothing more than the sockets.
 */

import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Dispatcher } from '../rpc/dispatch.js'
import { refused } from '../rpc/status.js'
import { HttpError } from './http-request.js'

type Limits = Dispatcher['core']['limits']

/** Counts requests and their bytes from the end of their headers to the end of their reply. */
export class Intake {
  readonly #limits: Limits
  readonly #bytesOf = new WeakMap<IncomingMessage, number>()
  readonly #ofConnection = new WeakMap<Socket, number>()
  #bytes = 0

  constructor(limits: Limits) {
    this.#limits = limits
  }

  /**
   * The headers of a request are there.
   *
   * @returns false if its connection has too many requests that wait: a reply to it would wait behind them
   */
  begin(request: IncomingMessage): boolean {
    const { socket } = request
    const waiting = this.#ofConnection.get(socket) ?? 0
    if (waiting >= this.#limits.call.pipelined_calls) return false
    this.#ofConnection.set(socket, waiting + 1)
    this.#set(request, 0)
    return true
  }

  /**
   * Sets aside what the body may need, before a byte of it is read.
   *
   * @throws HttpError 429
   */
  expectBody(request: IncomingMessage): void {
    const { headers } = request
    const { call, server } = this.#limits
    const length = Number(headers['content-length'] ?? (headers['transfer-encoding'] === undefined ? 0 : Infinity))
    const bytes = Math.min(length, call.message_bytes)
    if (this.#bytes + bytes > server.incoming_bytes) {
      const reason = `messages of ${this.#bytes} bytes are on their way in or being answered; try again later`
      const facts = { limit: 'incoming_bytes', value: server.incoming_bytes, used: this.#bytes, asked: bytes }
      throw new HttpError(429, refused('EDQUOT', reason, facts), { connection: 'close', 'retry-after': '1' })
    }
    this.#set(request, bytes)
  }

  /**
   * `begin` and `expectBody` in one, for a body of known length; they say why not.
   *
   * @returns false where either would refuse; then nothing was done
   */
  takes(socket: Socket, bytes: number): boolean {
    const waiting = this.#ofConnection.get(socket) ?? 0
    if (waiting >= this.#limits.call.pipelined_calls) return false
    if (this.#bytes + bytes > this.#limits.server.incoming_bytes) return false
    this.#ofConnection.set(socket, waiting + 1)
    this.#bytes += bytes
    return true
  }

  /** The reply to what `takes` took has left, or its connection is gone. */
  givesBack(socket: Socket, bytes: number): void {
    this.#bytes -= bytes
    this.#ofConnection.set(socket, (this.#ofConnection.get(socket) ?? 1) - 1)
  }

  /** The whole body is there. */
  received(request: IncomingMessage, bytes: number): void {
    if (this.#bytesOf.has(request)) this.#set(request, bytes)
  }

  /** Its reply has left, or its connection is gone. */
  end(request: IncomingMessage): void {
    if (!this.#bytesOf.has(request)) return
    this.#set(request, 0)
    this.#bytesOf.delete(request)
    this.#ofConnection.set(request.socket, (this.#ofConnection.get(request.socket) ?? 1) - 1)
  }

  #set(request: IncomingMessage, bytes: number): void {
    this.#bytes += bytes - (this.#bytesOf.get(request) ?? 0)
    this.#bytesOf.set(request, bytes)
  }
}
