/** What clients may have on its way in at once, and that it is given back. */

import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { METHODS } from '../../proto/generated/methods.js'
import { until } from './process.js'
import { ask, JSON_HEADERS, type ListeningShell, listening, makeShell, type ShellOptions } from './shell.js'

const INFO = METHODS.GetServerInfo.path
const open: { shell?: ListeningShell; sockets: Socket[] } = { sockets: [] }
let waits: (() => void)[] = []

async function start(options: ShellOptions): Promise<ListeningShell> {
  waits = []
  const shell = makeShell(
    {
      GetServerInfo: () => ({}),
      ListMethods: async () => {
        await new Promise<void>((done) => waits.push(done))
        return {}
      },
    },
    options,
  )
  open.shell = await listening(shell)
  return open.shell
}

/** A connection that says something, and collects what comes. */
function say(path: string, text: string): { socket: Socket; heard: () => string; closed: () => boolean } {
  const socket = connect(path)
  open.sockets.push(socket)
  let heard = ''
  socket.on('data', (data) => {
    heard += data
  })
  socket.on('error', () => {})
  socket.write(text)
  return { socket, heard: () => heard, closed: () => socket.closed }
}

const head = (path: string, more: string): string =>
  `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${more}\r\n\r\n`

afterEach(async () => {
  for (const socket of open.sockets.splice(0)) socket.destroy()
  for (const done of waits) done()
  await open.shell?.transport.close()
})

describe('connections', () => {
  it('beyond the limit are closed, and one that ends makes room', async () => {
    const { path } = await start({ server: { connections: 2 } })
    const [first, second] = [say(path, ''), say(path, '')]
    await sleep(50)
    const third = say(path, '')
    await until(third.closed)
    expect([first.closed(), second.closed()]).toEqual([false, false])
    first.socket.destroy()
    await sleep(50)
    expect((await ask(path, { path: INFO, headers: JSON_HEADERS }, '{}')).status).toBe(200)
  })
})

describe('requests of one connection that have no reply', () => {
  it('are 16 at most; the connection that sends more is closed, and others are served', async () => {
    const { path, records, dispatcher } = await start({})
    const one = `${head(METHODS.ListMethods.path, 'content-length: 2')}{}`
    const within = say(path, one.repeat(16))
    await until(() => dispatcher.inFlight === 16)
    const beyond = say(path, one.repeat(17))
    await until(beyond.closed)
    expect(within.closed()).toBe(false)
    expect(records.some(({ refusal }) => refusal?.context.limit === 'pipelined_calls')).toBe(true)
    expect((await ask(path, { path: INFO, headers: JSON_HEADERS }, '{}')).status).toBe(200)
    for (const done of waits) done()
    await until(() => within.heard().split('HTTP/1.1 200').length === 17)
  })
})

describe('messages that are on their way in', () => {
  it('beyond the limit are refused with 429 before a byte is read, chunked ones by their greatest length', async () => {
    const { path } = await start({ messageBytes: 4096, server: { incoming_bytes: 10_000 } })
    const halves = [say(path, head(INFO, 'content-length: 4000')), say(path, head(INFO, 'transfer-encoding: chunked'))]
    await sleep(50)
    const third = say(path, head(INFO, 'content-length: 4000'))
    await until(() => third.heard().includes('incoming_bytes'))
    expect(third.heard()).toMatch(/^HTTP\/1.1 429 /)
    expect((await ask(path, { path: INFO, headers: JSON_HEADERS }, '{}')).status).toBe(200)
    for (const { socket } of halves) socket.destroy()
    await sleep(50)
    expect((await ask(path, { path: INFO, headers: JSON_HEADERS }, `${' '.repeat(3998)}{}`)).status).toBe(200)
  })

  it('are given back when they are answered, refused or cut off: a thousand of them leave nothing behind', async () => {
    const { path } = await start({ messageBytes: 4096, server: { incoming_bytes: 10_000 } })
    for (let i = 0; i < 330; i++) {
      expect((await ask(path, { path: INFO, headers: JSON_HEADERS }, `${' '.repeat(3000)}{}`)).status).toBe(200)
      expect((await ask(path, { path: INFO, headers: JSON_HEADERS }, `${' '.repeat(3000)}}`)).status).toBe(400)
      expect((await ask(path, { path: '/nowhere', headers: JSON_HEADERS }, ' '.repeat(3000))).status).toBe(404)
    }
  })
})
