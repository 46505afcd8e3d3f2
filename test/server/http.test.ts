/** Connect over HTTP: calls in both encodings, GET, gzip, and the one form that everything wrong has. */

import { connect, type Socket } from 'node:net'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decode, encode } from '../../proto/codec.js'
import { METHODS } from '../../proto/generated/methods.js'
import type { Handlers } from '../../server/rpc/method.js'
import { type Answer, ask, JSON_HEADERS, type ListeningShell, listening, makeShell } from './shell.js'

const LONG = 'x'.repeat(5000)

const HANDLERS = {
  OpenContext: (call, { lifetime, leaseMs, label }) => ({
    context: call.core.open(call.peer, { lifetime, leaseMs, label }).token,
  }),
  GetServerInfo: (call) => ({ version: '1.2.3', features: [`uid ${call.peer.uid}`] }),
  ListMethods: () => ({ methods: [{ reason: LONG }] }),
  ListObjects: async (call) => {
    await call.context.waiters.wait(call.core.clock, 10_000)
    return {}
  },
} satisfies Partial<Handlers>

const INFO = METHODS.GetServerInfo.path
const LIST = METHODS.ListMethods.path
const OPEN = METHODS.OpenContext.path

let shell: ListeningShell
beforeAll(async () => {
  shell = await listening(makeShell(HANDLERS, { messageBytes: 4096 }))
})
afterAll(() => shell.transport.close())

const json = (answer: Answer) => JSON.parse(answer.body.toString())

/** The refusal in an error's detail, decoded from its bytes, which have no padding. */
function detailOf(answer: Answer) {
  const [detail] = json(answer).details
  expect(detail.type).toBe('iommud.v1.RefusalDetail')
  expect(detail.value).not.toContain('=')
  return decode('RefusalDetail', Buffer.from(detail.value, 'base64'))
}

describe('a call', () => {
  it('is answered in JSON', async () => {
    const answer = await ask(shell.path, { path: INFO, headers: JSON_HEADERS }, '{}')
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/json'])
    expect(json(answer)).toMatchObject({ version: '1.2.3', features: ['uid 1000'] })
  })

  it('is answered in protobuf, an empty message included', async () => {
    const headers = { 'content-type': 'application/proto', 'connect-protocol-version': '1' }
    const answer = await ask(shell.path, { path: INFO, headers }, new Uint8Array())
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/proto'])
    expect(decode('GetServerInfoResponse', answer.body).version).toBe('1.2.3')
  })

  it('may have a charset behind its type, and its type in capitals', async () => {
    for (const type of ['application/json; charset=utf-8', 'Application/JSON']) {
      expect((await ask(shell.path, { path: INFO, headers: { 'content-type': type } }, '{}')).status).toBe(200)
    }
  })

  it('may be compressed, and its reply too', async () => {
    const headers = { ...JSON_HEADERS, 'content-encoding': 'gzip', 'accept-encoding': 'br, gzip' }
    const answer = await ask(shell.path, { path: LIST, headers }, gzipSync('{}'))
    expect([answer.status, answer.headers['content-encoding']]).toEqual([200, 'gzip'])
    expect(JSON.parse(gunzipSync(answer.body).toString()).methods[0].reason).toBe(LONG)
    const plain = await ask(shell.path, { path: LIST, headers: JSON_HEADERS }, '{}')
    expect([plain.headers['content-encoding'], json(plain).methods[0].reason]).toEqual([undefined, LONG])
  })

  it('that only reads may be a GET, in JSON, base64, protobuf and gzip', async () => {
    const queries = [
      `connect=v1&encoding=json&message=${encodeURIComponent('{}')}`,
      `encoding=json&base64=1&message=${Buffer.from('{}').toString('base64url')}`,
      `connect=v1&encoding=json&base64=1&compression=gzip&message=${gzipSync('{}').toString('base64url')}`,
    ]
    for (const query of queries) {
      const answer = await ask(shell.path, { method: 'GET', path: `${INFO}?${query}` })
      expect([answer.status, json(answer).version]).toEqual([200, '1.2.3'])
    }
    const binary = await ask(shell.path, { method: 'GET', path: `${INFO}?encoding=proto&base64=1&message=` })
    expect(decode('GetServerInfoResponse', binary.body).version).toBe('1.2.3')
  })

  it('ends at connect-timeout-ms', async () => {
    const opened = json(await ask(shell.path, { path: OPEN, headers: JSON_HEADERS }, '{}'))
    const headers = { ...JSON_HEADERS, 'connect-timeout-ms': '20' }
    const body = JSON.stringify({ context: opened.context })
    const late = ask(shell.path, { path: METHODS.ListObjects.path, headers }, body)
    while (shell.dispatcher.inFlight === 0) await new Promise((next) => setTimeout(next, 1))
    await shell.clock.advance(20)
    const answer = await late
    expect([answer.status, json(answer).code, detailOf(answer).name]).toEqual([504, 'deadline_exceeded', 'ETIMEDOUT'])
  })
})

describe('a plain call, which passes the framework by', () => {
  const through = { ...JSON_HEADERS, 'accept-encoding': 'identity' }

  it('is answered as one that does not, and refused as one', async () => {
    for (const [path, body] of [
      [LIST, '{}'],
      [INFO, '{"unknown":1}'],
      [INFO, 'no JSON'],
      [METHODS.ListObjects.path, '{"context":"nobody"}'],
      [METHODS.CreateIoas.path, '{}'],
    ]) {
      const [plain, other] = await Promise.all([
        ask(shell.path, { path, headers: JSON_HEADERS }, body),
        ask(shell.path, { path, headers: through }, body),
      ])
      expect([plain.status, json(plain)]).toEqual([other.status, json(other)])
      const told = ({ headers }: Answer) => Object.keys(headers).sort()
      expect(told(plain)).toEqual(told(other))
    }
  })

  it('may come in parts, and the next on the same connection', async () => {
    const socket: Socket = connect(shell.path)
    let heard = ''
    socket.on('data', (data) => {
      heard += data
    })
    const head = `POST ${INFO} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\n`
    for (const part of [`${head}{`, '  ', `}${head}{  }`]) {
      socket.write(part)
      await new Promise((later) => setTimeout(later, 20))
    }
    while (heard.split('1.2.3').length < 3) await new Promise((later) => setTimeout(later, 5))
    expect(heard.match(/HTTP\/1.1 200 OK/g)).toHaveLength(2)
    socket.destroy()
  })
})

/** What is wrong, the request, then status, code and errno. */
type Wrong = readonly [string, Parameters<typeof ask>[1], string | Uint8Array | undefined, number, string, string]

describe('what is wrong', () => {
  const post = (path: string, headers: Readonly<Record<string, string>> = JSON_HEADERS) => ({ path, headers })
  const get = (query: string, path: string = INFO) => ({ method: 'GET', path: `${path}?${query}` })
  const proto = { 'content-type': 'application/proto' }
  const gzip = { ...JSON_HEADERS, 'content-encoding': 'gzip' }
  const wrongs: readonly Wrong[] = [
    ['an unknown method', post('/iommud.v1.IommuService/Nothing'), '{}', 404, 'unimplemented', 'ENOTTY'],
    ['an unknown path', post('/'), '{}', 404, 'unimplemented', 'ENOTTY'],
    ['a path with a broken escape', post('/%ff%'), '{}', 400, 'invalid_argument', 'EINVAL'],
    ['a GET of an unknown path', get('', '/livez'), undefined, 404, 'unimplemented', 'ENOTTY'],
    ['a GET of what changes', get('encoding=json&message={}', OPEN), undefined, 405, 'unimplemented', 'ENOTTY'],
    ['another verb', { ...post(INFO), method: 'DELETE' }, undefined, 405, 'unimplemented', 'ENOTTY'],
    ['PUT', { ...post(INFO), method: 'PUT' }, '{}', 405, 'unimplemented', 'ENOTTY'],
    ['an unknown verb of HTTP', { ...post(INFO), method: 'PROPFIND' }, undefined, 405, 'unimplemented', 'ENOTTY'],
    ['no content-type', post(INFO, {}), '{}', 415, 'unimplemented', 'EOPNOTSUPP'],
    ['a form', post(INFO, { 'content-type': 'text/plain' }), '{}', 415, 'unimplemented', 'EOPNOTSUPP'],
    ['a stream', post(INFO, { 'content-type': 'application/connect+proto' }), '', 415, 'unimplemented', 'EOPNOTSUPP'],
    ['gRPC', post(INFO, { 'content-type': 'application/grpc' }), '', 415, 'unimplemented', 'EOPNOTSUPP'],
    ['an unknown encoding of a GET', get('encoding=xml&message='), undefined, 415, 'unimplemented', 'EOPNOTSUPP'],
    ['a long body', post(INFO), `{"x":"${LONG}"}`, 413, 'invalid_argument', 'E2BIG'],
    ['a body that unpacks long', post(INFO, gzip), gzipSync(LONG), 413, 'invalid_argument', 'E2BIG'],
    ['broken JSON', post(INFO), '{', 400, 'invalid_argument', 'EINVAL'],
    ['an empty body in JSON', post(INFO), '', 400, 'invalid_argument', 'EINVAL'],
    ['an unknown JSON field', post(INFO), '{"unknown": 1}', 400, 'invalid_argument', 'EINVAL'],
    ['truncated protobuf', post(OPEN, proto), Uint8Array.of(0x22, 9, 1), 400, 'invalid_argument', 'EINVAL'],
    ['a body that is not gzip', post(INFO, gzip), '{}', 400, 'invalid_argument', 'EINVAL'],
    [
      'an unknown compression',
      post(INFO, { ...gzip, 'content-encoding': 'br' }),
      '',
      501,
      'unimplemented',
      'EOPNOTSUPP',
    ],
    ['a GET without a message', get('encoding=json'), undefined, 400, 'invalid_argument', 'EINVAL'],
    ['a GET without an encoding', get('message={}'), undefined, 400, 'invalid_argument', 'EINVAL'],
    [
      'a GET of another Connect',
      get('connect=v2&encoding=json&message={}'),
      undefined,
      400,
      'invalid_argument',
      'EINVAL',
    ],
    [
      'another Connect',
      post(INFO, { ...JSON_HEADERS, 'connect-protocol-version': '2' }),
      '{}',
      400,
      'invalid_argument',
      'EINVAL',
    ],
    [
      'a strange deadline',
      post(INFO, { ...JSON_HEADERS, 'connect-timeout-ms': '1s' }),
      '{}',
      400,
      'invalid_argument',
      'EINVAL',
    ],
    ['a method not offered', post(METHODS.InjectFault.path), '{}', 501, 'unimplemented', 'EOPNOTSUPP'],
  ]
  it.each(wrongs)('%s has the form of a refusal', async (_what, request, body, status, code, errno) => {
    const answer = await ask(shell.path, request, body)
    expect(answer.headers['content-type']).toBe('application/json')
    expect([answer.status, json(answer).code, detailOf(answer).name]).toEqual([status, code, errno])
    expect(json(answer).message).toBe(`${errno}: ${detailOf(answer).reason}`)
    expect(json(answer).details[0].debug).toMatchObject({ name: errno })
  })

  it('is said with what would be right: the verbs and types that are answered', async () => {
    expect((await ask(shell.path, { path: OPEN, method: 'GET' })).headers.allow).toBe('POST')
    expect((await ask(shell.path, { path: INFO, method: 'PUT' })).headers.allow).toBe('GET, POST')
    const form = await ask(shell.path, post(INFO, { 'content-type': 'text/plain' }), '')
    expect(form.headers['accept-post']).toBe('application/proto, application/json')
  })

  const raw = (text: string): Promise<string> =>
    new Promise((done) => {
      let said = ''
      const socket: Socket = connect(shell.path, () => socket.write(text))
      socket.on('data', (data) => {
        said += data
      })
      socket.on('close', () => done(said))
    })

  it('has the same form where it is not even HTTP', async () => {
    const said = await raw('HELLO\r\n\r\n')
    const [head, body] = said.split('\r\n\r\n')
    expect(head).toMatch(/^HTTP\/1\.1 400 .*content-type: application\/json/s)
    expect(JSON.parse(body)).toMatchObject({ code: 'invalid_argument' })
  })

  it('has the same form where the headers never end', async () => {
    const said = await raw(`GET / HTTP/1.1\r\nx: ${'y'.repeat(70_000)}`)
    expect(said).toMatch(/^HTTP\/1\.1 431 /)
    expect(JSON.parse(said.split('\r\n\r\n')[1])).toMatchObject({ code: 'invalid_argument' })
  })

  it('is not a bug of ours when the client goes away in the middle of a body', async () => {
    const before = shell.records.length
    const head = `POST ${INFO} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{`
    const socket = connect(shell.path, () => socket.write(head, () => setTimeout(() => socket.destroy(), 20)))
    while (shell.records.length === before) await new Promise((next) => setTimeout(next, 1))
    expect(shell.records.at(-1)).toMatchObject({ method: 'unknown', code: 'invalid_argument', incident: undefined })
  })

  it('is told to observers', async () => {
    await ask(shell.path, post('/nowhere'), '{}')
    expect(shell.records.at(-1)).toMatchObject({
      method: 'unknown',
      code: 'unimplemented',
      refusal: { name: 'ENOTTY' },
    })
  })
})

describe('a connection', () => {
  it('takes contexts with it that were opened to live as long', async () => {
    const before = shell.core.contexts.length
    const body = '{"lifetime": "CONTEXT_LIFETIME_CONNECTION"}'
    const head = `POST ${OPEN} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`
    const socket = connect(shell.path)
    const said = new Promise((done) => socket.once('data', (data) => done(`${data}`)))
    socket.write(head + body)
    expect(await said).toMatch(/^HTTP\/1\.1 200 /)
    expect(shell.core.contexts).toHaveLength(before + 1)
    socket.destroy()
    while (shell.core.contexts.length > before) await new Promise((next) => setTimeout(next, 1))
  })
})

describe('a listener with a token', () => {
  it('answers who has it, and 401 in the form of a refusal to others, before anything else', async () => {
    const guarded = await listening(makeShell(HANDLERS), { token: 'right-token-0123456789' })
    const call = (authorization?: string, path: string = INFO): Promise<Answer> =>
      ask(guarded.path, { path, headers: { ...JSON_HEADERS, ...(authorization && { authorization }) } }, '{}')
    expect((await call('Bearer right-token-0123456789')).status).toBe(200)
    expect((await call('bearer right-token-0123456789')).status).toBe(200)
    for (const wrong of [undefined, '', 'Bearer', 'Bearer ', 'Bearer wrong', 'Basic right-token-0123456789']) {
      const answer = await call(wrong, '/nowhere')
      expect([answer.status, json(answer).code, detailOf(answer).name]).toEqual([401, 'unauthenticated', 'EACCES'])
      expect(answer.headers['www-authenticate']).toBe('Bearer')
    }
    await guarded.transport.close()
  })
})

describe('closing', () => {
  it('answers unavailable on open connections while it drains', async () => {
    const draining = await listening(makeShell(HANDLERS))
    await draining.dispatcher.drain(1)
    const answer = await ask(draining.path, { path: INFO, headers: JSON_HEADERS }, '{}')
    expect([answer.status, json(answer).code, answer.headers.connection]).toEqual([503, 'unavailable', 'close'])
    await draining.transport.close()
  })

  it('ends every connection, idle ones too', async () => {
    const closing = await listening(makeShell(HANDLERS))
    const socket = connect(closing.path).on('error', () => {})
    await new Promise<void>((done) => socket.once('connect', done))
    socket.write(`POST ${OPEN} HTTP/1.1\r\nhost: x\r\n`)
    const closed = new Promise<void>((done) => socket.once('close', () => done()))
    await closing.transport.close()
    await closed
  })
})

describe('a request field', () => {
  it('of 64 bits keeps them all, in both encodings', async () => {
    const seen: bigint[] = []
    const wide = await listening(
      makeShell({
        IoasUnmap: (_call, { length }) => {
          seen.push(length)
          return { length }
        },
        OpenContext: HANDLERS.OpenContext,
      }),
    )
    const { context } = json(await ask(wide.path, { path: OPEN, headers: JSON_HEADERS }, '{}'))
    const path = METHODS.IoasUnmap.path
    for (const length of [2n ** 53n + 1n, 2n ** 64n - 1n]) {
      const text = JSON.stringify({ context, length: `${length}` })
      expect(json(await ask(wide.path, { path, headers: JSON_HEADERS }, text)).length).toBe(`${length}`)
      const body = encode('IoasUnmapRequest', { context, length })
      const binary = await ask(wide.path, { path, headers: { 'content-type': 'application/proto' } }, body)
      expect(decode('IoasUnmapResponse', binary.body).length).toBe(length)
      expect(seen.slice(-2)).toEqual([length, length])
    }
    await wide.transport.close()
  })
})
