/**
 * What is not a Connect call, or not HTTP at all: each gets an error in the contract's form, or an end of its
 * connection, in time; and everybody else is served meanwhile.
 */

import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { decode } from '../../proto/codec.js'
import { METHODS } from '../../proto/generated/methods.js'
import { bugLines, openFiles, residentMib } from './process-facts.js'
import { Random } from './random.js'
import { wrongError } from './verdict.js'
import { exchange } from './wire.js'

const LONG = process.env.IOMMUD_TEST_LONG === '1'
const NOISES = LONG ? 5000 : 300

const INFO = METHODS.GetServerInfo.path
const PROTO = 'content-type: application/proto\r\n'
const JSON_TYPE = 'content-type: application/json\r\n'

const post = (path: string, headers: string, body = ''): string =>
  `POST ${path} HTTP/1.1\r\nhost: x\r\n${headers}content-length: ${body.length}\r\n\r\n${body}`

let daemon: Daemon
beforeAll(async () => {
  daemon = await startDaemon({ args: ['--limit', 'message_bytes=65536'] })
})
afterEach(async () => {
  expect((await daemon.client.getServerInfo()).version).not.toBe('')
})
afterAll(async () => {
  expect(bugLines(daemon.log())).toEqual([])
  expect(residentMib(daemon.pid)).toBeLessThan(600)
  await daemon.stop()
})

/** A request and the status it gets. */
const REFUSED: readonly (readonly [string, string, number])[] = [
  ['an unknown path', post('/iommud.v1.IommuService/NoSuchThing', PROTO), 404],
  ['a path of another package', post('/iommud.v2.IommuService/IoasMap', PROTO), 404],
  ['a path that climbs', post('/../../etc/passwd', PROTO), 404],
  ['a path of the prototype', post('/__proto__', PROTO), 404],
  ['a path with a broken escape', post('/%zz/%', PROTO), 400],
  ['a very long path', post(`/${'a'.repeat(6000)}`, PROTO), 404],
  [
    'GET of a method with side effects',
    `GET ${METHODS.OpenContext.path}?encoding=json&message={} HTTP/1.1\r\nhost: x\r\n\r\n`,
    405,
  ],
  ['GET without a query', `GET ${INFO} HTTP/1.1\r\nhost: x\r\n\r\n`, 400],
  ['GET with an unknown encoding', `GET ${INFO}?encoding=xml&message=a HTTP/1.1\r\nhost: x\r\n\r\n`, 415],
  ['GET with broken base64', `GET ${INFO}?encoding=proto&base64=1&message=%ff%00*** HTTP/1.1\r\nhost: x\r\n\r\n`, 400],
  ['PUT', `PUT ${INFO} HTTP/1.1\r\nhost: x\r\n${PROTO}content-length: 0\r\n\r\n`, 405],
  ['DELETE', `DELETE ${INFO} HTTP/1.1\r\nhost: x\r\n\r\n`, 405],
  ['no content-type', post(INFO, ''), 415],
  ['an unknown content-type', post(INFO, 'content-type: text/plain\r\n', 'x'), 415],
  ['gRPC', post(INFO, 'content-type: application/grpc\r\n'), 415],
  ['a content-type that is noise', post(INFO, 'content-type: ;;;=,"\r\n', 'x'), 415],
  ['an unknown compression', post(INFO, `${PROTO}content-encoding: br\r\n`, 'x'), 501],
  ['what is not gzip', post(INFO, `${PROTO}content-encoding: gzip\r\n`, 'not gzip'), 400],
  ['a deadline that is no number', post(INFO, `${PROTO}connect-timeout-ms: soon\r\n`), 400],
  ['a deadline of eleven digits', post(INFO, `${PROTO}connect-timeout-ms: 99999999999\r\n`), 400],
  ['another protocol version', post(INFO, `${PROTO}connect-protocol-version: 2\r\n`), 400],
  ['JSON that is cut off', post(INFO, JSON_TYPE, '{"a":'), 400],
  ['an empty JSON body', post(INFO, JSON_TYPE), 400],
  ['bytes that are cut off', post(INFO, PROTO, '\x0a\x7f'), 400],
  ['a body above the limit', post(INFO, PROTO, 'x'.repeat(70_000)), 413],
  [
    'a length above the limit and no body',
    `POST ${INFO} HTTP/1.1\r\nhost: x\r\n${PROTO}content-length: 999999999999\r\n\r\n`,
    413,
  ],
  ['a length that is no number', `POST ${INFO} HTTP/1.1\r\nhost: x\r\n${PROTO}content-length: abc\r\n\r\n`, 400],
  ['a negative length', `POST ${INFO} HTTP/1.1\r\nhost: x\r\n${PROTO}content-length: -1\r\n\r\n`, 400],
  ['two lengths', `POST ${INFO} HTTP/1.1\r\nhost: x\r\n${PROTO}content-length: 1\r\ncontent-length: 2\r\n\r\nab`, 400],
  [
    'a length and chunks',
    `POST ${INFO} HTTP/1.1\r\nhost: x\r\n${PROTO}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
    400,
  ],
  [
    'a chunk whose size is no number',
    `POST ${INFO} HTTP/1.1\r\nhost: x\r\n${PROTO}transfer-encoding: chunked\r\n\r\nzz\r\n`,
    400,
  ],
  [
    'a chunk of 2^64 bytes',
    `POST ${INFO} HTTP/1.1\r\nhost: x\r\n${PROTO}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n`,
    400,
  ],
  ['endless headers', `POST ${INFO} HTTP/1.1\r\nhost: x\r\n${'x-a: b\r\n'.repeat(5000)}\r\n`, 431],
  ['an endless header', `POST ${INFO} HTTP/1.1\r\nhost: x\r\nx-a: ${'b'.repeat(100_000)}\r\n\r\n`, 431],
  ['HTTP/2 in clear text', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
  ['HTTP/9.9', `POST ${INFO} HTTP/9.9\r\nhost: x\r\n\r\n`, 400],
  ['a TLS greeting', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
  ['no host', `POST ${INFO} HTTP/1.1\r\n${PROTO}content-length: 0\r\n\r\n`, 400],
]

describe('an HTTP request with', () => {
  it.each(REFUSED)('%s is refused', async (_what, request, status) => {
    const { answers } = await exchange(daemon.socketPath, [Buffer.from(request, 'latin1')])
    expect(answers.map((answer) => answer.status)).toEqual([status])
    expect(wrongError(answers[0])).toBeUndefined()
  })

  it('a header of megabytes is refused while its rest is still on the way', async () => {
    const request = `POST ${INFO} HTTP/1.1\r\nhost: x\r\nx-a: ${'b'.repeat(3_000_000)}\r\n\r\n`
    const statuses: number[][] = []
    for (let i = 0; i < 50; i++) {
      const { answers } = await exchange(daemon.socketPath, [request], 20)
      statuses.push(answers.map(({ status }) => status))
    }
    expect(statuses).toEqual(statuses.map(() => [431]))
  })

  it('a body that unpacks to a thousand times its size is refused as too long', async () => {
    const bomb = gzipSync(new Uint8Array(40_000_000))
    expect(bomb.length).toBeLessThan(65_536)
    const headers = `POST ${INFO} HTTP/1.1\r\nhost: x\r\n${PROTO}content-encoding: gzip\r\ncontent-length: ${bomb.length}\r\n\r\n`
    const before = residentMib(daemon.pid)
    const { answers } = await exchange(daemon.socketPath, [headers, bomb], 2000)
    expect(answers.map(({ status }) => status)).toEqual([413])
    expect(wrongError(answers[0])).toBeUndefined()
    expect(residentMib(daemon.pid) - before).toBeLessThan(100)
  })

  it('a body in chunks of one byte is served', async () => {
    const head = `POST ${INFO} HTTP/1.1\r\nhost: x\r\n${JSON_TYPE}transfer-encoding: chunked\r\n\r\n`
    const { answers } = await exchange(daemon.socketPath, [
      head,
      '1\r\n{\r\n',
      '1;ext="a"\r\n}\r\n',
      '0\r\ntrailer: x\r\n\r\n',
    ])
    expect(answers.map(({ status }) => status)).toEqual([200])
  })

  it('"expect: 100-continue" is served', async () => {
    const { answers } = await exchange(daemon.socketPath, [post(INFO, `${PROTO}expect: 100-continue\r\n`)])
    expect(answers.map(({ status }) => status)).toEqual([200])
  })

  it('two hundred others behind it, sent at once, is answered like each of them, in order', async () => {
    const kinds = [post(INFO, PROTO), post('/none', PROTO), post(INFO, JSON_TYPE, '{"x":1}')]
    const all = Array.from({ length: 200 }, (_, i) => kinds[i % 3])
    const { answers } = await exchange(daemon.socketPath, [all.join('')], 1500)
    expect(answers.map(({ status }) => status)).toEqual(all.map((_, i) => [200, 404, 400][i % 3]))
    decode('GetServerInfoResponse', answers[0].body)
  })
})

describe('a connection', () => {
  const sockets: Socket[] = []
  const open = (bytes: string): Socket => {
    const socket = connect(daemon.socketPath)
    socket.on('error', () => {})
    socket.write(bytes)
    sockets.push(socket)
    return socket
  }
  afterAll(() => {
    for (const socket of sockets) socket.destroy()
  })

  it('that says nothing, half a header or half a body, hundreds of times, delays nobody else', async () => {
    const filesBefore = openFiles(daemon.pid)
    const halves = [
      '',
      'POST',
      `POST ${INFO} HTTP/1.1\r\nhost:`,
      `POST ${INFO} HTTP/1.1\r\nhost: x\r\n${PROTO}content-length: 100\r\n\r\nab`,
    ]
    for (let i = 0; i < 400; i++) open(halves[i % halves.length])
    await sleep(100)
    const startedAt = performance.now()
    for (let i = 0; i < 20; i++) await daemon.client.getServerInfo()
    expect(performance.now() - startedAt).toBeLessThan(5_000)
    for (const socket of sockets.splice(0)) socket.destroy()
    await sleep(300)
    expect(openFiles(daemon.pid)).toBeLessThan(filesBefore + 50)
  })

  it('that sends its body a byte at a time is answered when the last byte is there', async () => {
    const socket = open(`POST ${INFO} HTTP/1.1\r\nhost: x\r\n${JSON_TYPE}content-length: 2\r\n\r\n`)
    const answered = new Promise<string>((done) => socket.once('data', (data) => done(`${data}`)))
    for (const byte of '{}') {
      await sleep(50)
      socket.write(byte)
    }
    expect(await answered).toMatch(/^HTTP\/1\.1 200 /)
  })

  it('that ends its own side after the request still gets the answer', async () => {
    const socket = connect({ path: daemon.socketPath, allowHalfOpen: true })
    const answered = new Promise<string>((done) => socket.once('data', (data) => done(`${data}`)))
    socket.end(post(INFO, PROTO))
    expect(await answered).toMatch(/^HTTP\/1\.1 200 /)
    socket.destroy()
  })

  it('that goes away in the middle of calls, hundreds of times, leaves no bug in the log', async () => {
    for (let i = 0; i < 300; i++) {
      const socket = open(post(INFO, PROTO).repeat(1 + (i % 5)))
      setTimeout(() => socket.destroy(), i % 7)
    }
    await sleep(200)
    expect(bugLines(daemon.log())).toEqual([])
  })
})

describe(`${NOISES} connections full of noise`, () => {
  it.each([1, 2])('are refused or ended, one by one (seed %i)', async (seed) => {
    const random = new Random(seed)
    const heads = ['', 'POST / HTTP/1.1\r\n', post(INFO, PROTO).slice(0, -4), `${post(INFO, JSON_TYPE, '{}')}`, 'GET ']
    const wrong: string[] = []
    for (let i = 0; i < NOISES / 2; i++) {
      const noise = Buffer.from(random.bytes(random.below(400)))
      const head = random.pick(heads)
      const { answers } = await exchange(daemon.socketPath, [head, noise, '\r\n\r\n\r\n\r\n'], 15)
      for (const answer of answers) {
        const what = answer.status === 200 ? undefined : wrongError(answer)
        if (what !== undefined)
          wrong.push(`seed ${seed} #${i} ${JSON.stringify(head)} ${noise.toString('hex')}: ${what}`)
      }
    }
    expect(wrong.slice(0, 3)).toEqual([])
  })
})
