/** A command line's world without a daemon: what was sent, and answers given by the test. */

import type { Io } from '../../clients/cli/io.js'
import { run } from '../../clients/cli/program.js'
import { type ConnectOptions, createClient, type Transport, TransportError } from '../../clients/node/index.js'
import { decode, encode } from '../../proto/codec.js'
import { METHODS, type Method } from '../../proto/generated/methods.js'
import type { RefusalDetail } from '../../proto/generated/types.js'

/** What the fake daemon answers, and what the world around the command line holds. */
export interface World {
  /** The reply's fields; nothing is a reply with its defaults. */
  readonly reply?: object
  /** Replies by method, before `reply`. */
  readonly replies?: Readonly<Record<string, object>>
  /** Told about each call as it arrives. */
  readonly onCall?: (method: string) => void
  /** Refuses instead. */
  readonly refuse?: { readonly status: number; readonly code: string; readonly detail: Partial<RefusalDetail> }
  /** There is no daemon. */
  readonly unreachable?: boolean
  /** The daemon takes calls of these methods and never answers. */
  readonly silentOn?: readonly string[]
  readonly files?: Readonly<Record<string, string | Uint8Array>>
  readonly input?: string
  readonly environment?: Readonly<Record<string, string>>
}

/** One call that arrived. */
export interface Sent {
  readonly method: string
  readonly request: Readonly<Record<string, unknown>>
  readonly timeoutMs: number | undefined
}

/** What a command line did. */
export interface Ran {
  readonly exit: number
  readonly out: readonly string[]
  readonly err: readonly string[]
  readonly sent: readonly Sent[]
  readonly connected: readonly ConnectOptions[]
  /** Clients that were closed. */
  readonly closed: number
}

/** The token of a world whose test does not care. */
export const TOKEN = 'fake-token'

/** Runs a command line in a world. */
export async function runIn(world: World, ...words: string[]): Promise<Ran> {
  const out: string[] = []
  const err: string[] = []
  const sent: Sent[] = []
  const connected: ConnectOptions[] = []
  let closed = 0
  const transport = fakeTransport(world, sent, () => closed++)
  const io: Io = {
    environment: world.environment ?? { IOMMUD_CONTEXT: TOKEN },
    out: (line) => void out.push(line),
    err: (line) => void err.push(line),
    readFile(path) {
      const text = world.files?.[path]
      if (text === undefined) throw new Error(`ENOENT: no such file, open '${path}'`)
      return typeof text === 'string' ? new TextEncoder().encode(text) : text
    },
    readInput: async () => new TextEncoder().encode(world.input ?? ''),
    connect(options) {
      connected.push(options)
      return createClient(transport)
    },
  }
  const exit = await run(words, io)
  return { exit, out, err, sent, connected, closed }
}

function fakeTransport(world: World, sent: Sent[], onClose: () => void): Transport {
  return {
    async call(path, body, timeoutMs) {
      if (world.unreachable === true) throw new TransportError('no answer from the daemon at /fake: ECONNREFUSED')
      const method = methodAt(path)
      sent.push({ method: method.name, request: { ...decode(method.request, body) }, timeoutMs })
      world.onCall?.(method.name)
      if (world.silentOn?.includes(method.name)) return new Promise(() => {})
      if (world.refuse !== undefined) return refusal(world.refuse)
      const reply = encode(method.reply, (world.replies?.[method.name] ?? world.reply ?? {}) as never)
      return { status: 200, contentType: 'application/proto', body: reply }
    },
    close: onClose,
  }
}

function methodAt(path: string): Method {
  const method = (Object.values(METHODS) as readonly Method[]).find((each) => each.path === path)
  if (method === undefined) throw new Error(`${path} is no method`)
  return method
}

function refusal({ status, code, detail }: NonNullable<World['refuse']>) {
  const value = Buffer.from(encode('RefusalDetail', detail)).toString('base64').replace(/=+$/, '')
  const details = [{ type: 'iommud.v1.RefusalDetail', value }]
  const text = JSON.stringify({ code, message: detail.reason, details })
  return { status, contentType: 'application/json', body: new TextEncoder().encode(text) }
}
