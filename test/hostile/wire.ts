/** HTTP/1.1 by hand: many requests on one socket without waiting in between, and a deadline for every answer. */

import { connect, type Socket } from 'node:net'

/** Longest time an answer may take. A call that takes longer hangs. */
export const ANSWER_MS = 15_000

/** What came back. */
export interface Answer {
  readonly status: number
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: Uint8Array
}

/** The connection ended before an answer was whole. */
export class ConnectionEnded extends Error {}

interface Waiting {
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: Error) => void
  readonly timer: NodeJS.Timeout
}

/** One kept-alive connection; answers come in the order of requests. */
export class WireConnection {
  readonly socket: Socket
  readonly #waiting: Waiting[] = []
  #received: Buffer = Buffer.alloc(0)
  #ended: Error | undefined

  constructor(socketPath: string) {
    this.socket = connect(socketPath)
    this.socket.on('data', (chunk) => this.#take(chunk as Buffer))
    this.socket.on('error', (error) => this.#end(error))
    this.socket.on('close', () => this.#end(new ConnectionEnded('the connection ended before an answer')))
  }

  /** Sends bytes and waits for one answer. */
  send(bytes: string | Uint8Array): Promise<Answer> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer within ${ANSWER_MS} ms`)), ANSWER_MS)
      this.#waiting.push({ resolve, reject, timer })
      this.socket.write(bytes)
    })
  }

  /** One Connect call. */
  post(path: string, body: Uint8Array, headers: Readonly<Record<string, string>>): Promise<Answer> {
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    const head = `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n${lines.join('')}\r\n`
    return this.send(Buffer.concat([Buffer.from(head), body]))
  }

  /** Ends it from this side. */
  close(): void {
    this.socket.destroy()
  }

  #take(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
    for (;;) {
      const parsed = parseAnswer(this.#received)
      if (parsed === undefined) return
      this.#received = this.#received.subarray(parsed.length)
      const waiting = this.#waiting.shift()
      if (waiting === undefined) {
        this.#end(new Error('an answer came that nobody asked for'))
        return
      }
      clearTimeout(waiting.timer)
      waiting.resolve(parsed.answer)
    }
  }

  #end(error: Error): void {
    this.#ended ??= error
    for (const { reject, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer)
      reject(this.#ended)
    }
    this.socket.destroy()
  }
}

/** The first whole answer in `bytes`, and how many of them it took. */
export function parseAnswer(bytes: Buffer): { readonly answer: Answer; readonly length: number } | undefined {
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const [first, ...lines] = bytes.toString('latin1', 0, end).split('\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1])
  const headers = new Map(lines.map((line) => [line.split(':', 1)[0].toLowerCase(), line.replace(/^[^:]*: */, '')]))
  // "100 Continue" announces an answer and is none.
  if (status === 100) {
    const rest = parseAnswer(bytes.subarray(end + 4))
    return rest === undefined ? undefined : { answer: rest.answer, length: rest.length + end + 4 }
  }
  const length = end + 4 + Number(headers.get('content-length') ?? 0)
  if (bytes.length < length) return undefined
  return { answer: { status, headers, body: bytes.subarray(end + 4, length) }, length }
}

/** Sends bytes on a connection of their own; answers all that came until the daemon closed or `quietMs` passed. */
export function exchange(
  socketPath: string,
  parts: readonly (string | Uint8Array)[],
  quietMs = 300,
): Promise<Exchange> {
  return new Promise((done) => {
    const socket = connect(socketPath)
    let received = Buffer.alloc(0)
    let timer = setTimeout(() => end(false), ANSWER_MS)
    const end = (closed: boolean): void => {
      clearTimeout(timer)
      socket.destroy()
      done({ closed, answers: parseAll(received), bytes: received })
    }
    socket.on('connect', () => {
      for (const part of parts) socket.write(part)
    })
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk as Buffer])
      clearTimeout(timer)
      timer = setTimeout(() => end(false), quietMs)
    })
    socket.on('error', () => end(true))
    socket.on('close', () => end(true))
  })
}

/** What came back on a raw connection. */
export interface Exchange {
  /** The daemon ended the connection. */
  readonly closed: boolean
  readonly answers: readonly Answer[]
  readonly bytes: Uint8Array
}

function parseAll(bytes: Buffer): Answer[] {
  const answers: Answer[] = []
  let rest = bytes
  for (let next = parseAnswer(rest); next !== undefined; next = parseAnswer(rest)) {
    answers.push(next.answer)
    rest = rest.subarray(next.length)
  }
  return answers
}
