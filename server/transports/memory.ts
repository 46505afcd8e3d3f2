/** The same calls without a socket: for a daemon in the caller's own process. */

import type { Dispatcher, Encoding } from '../rpc/dispatch.js'
import { CODES, RpcError, refused } from '../rpc/status.js'

/** A reply in the form that Connect gives it: an error is JSON whatever the encoding was. */
export interface MemoryReply {
  /** HTTP status. */
  readonly status: number
  readonly body: Uint8Array
}

/** One in-process connection. */
export interface MemoryConnection {
  /**
   * Calls a method.
   *
   * @param path `/iommud.v1.IommuService/IoasMap`
   * @param timeoutMs by the daemon's clock
   */
  call(path: string, encoding: Encoding, body: Uint8Array, timeoutMs?: number): Promise<MemoryReply>
  /** Ends the contexts that live as long as the connection. */
  close(): Promise<void>
}

/** Connects. Its rules are those of HTTP: contexts have leases unless they ask for something else. */
export function connectInProcess(dispatcher: Dispatcher, uid: number): MemoryConnection {
  const caller = dispatcher.connected('memory', uid)
  const answer = async (
    path: string,
    encoding: Encoding,
    body: Uint8Array,
    timeoutMs?: number,
  ): Promise<Uint8Array> => {
    const method = dispatcher.methodAt(path)
    const { message_bytes: limit } = dispatcher.core.limits.call
    if (method === undefined)
      throw refused('ENOTTY', 'there is no method at this path; ListMethods names all', { path })
    if (body.length > limit) {
      const reason = `the message is longer than the limit message_bytes, ${limit}`
      throw refused('E2BIG', reason, { limit: 'message_bytes', value: limit })
    }
    return dispatcher.call(method, body, caller, { encoding, timeoutMs })
  }
  return {
    async call(path, encoding, body, timeoutMs) {
      try {
        return { status: 200, body: await answer(path, encoding, body, timeoutMs) }
      } catch (error) {
        if (!(error instanceof RpcError)) throw error
        return { status: CODES[error.code].http, body: dispatcher.errorBody(error) }
      }
    },
    close: () => dispatcher.disconnected(caller),
  }
}
