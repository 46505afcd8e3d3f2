/** A daemon put together in this process: its doors, its administrator, its clock and its seed. */

import { existsSync, mkdtempSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { decode, encode } from '../../proto/codec.js'
import { METHODS, type MethodName } from '../../proto/generated/methods.js'
import { startInProcess } from '../../server/main.js'
import { checkConfig } from '../../server/ops/config.js'
import { listMethods, METHOD_TABLE } from '../../server/rpc/method-table.js'
import { type RunningServer, startServer } from '../../server/start.js'
import { SocketTaken } from '../../server/transports/socket.js'
import { ask, JSON_HEADERS } from './shell.js'

const folder = mkdtempSync(join(tmpdir(), 'iommud-start-'))

const start = (name: string, more: object = {}): Promise<RunningServer> =>
  startServer(checkConfig({ socket: join(folder, name, 's'), logLevel: 'silent', ...more }))

async function call(path: string, method: MethodName, body: object = {}) {
  const answer = await ask(path, { path: METHODS[method].path, headers: JSON_HEADERS }, JSON.stringify(body))
  return JSON.parse(answer.body.toString())
}

describe('the administrator’s socket', () => {
  it('lists contexts without their tokens and ends them; the clients’ socket does neither', async () => {
    const server = await start('admin')
    const [clients, admin] = [join(folder, 'admin', 's'), join(folder, 'admin', 'admin.sock')]
    expect([statSync(clients).mode & 0o777, statSync(admin).mode & 0o777]).toEqual([0o660, 0o600])
    const { context, contextNumber } = await call(clients, 'OpenContext', { label: 'mine' })
    const listed = await call(admin, 'ListContexts')
    expect(listed.contexts).toMatchObject([{ label: 'mine', contextNumber }])
    expect(JSON.stringify(listed)).not.toContain(context)
    expect(await call(clients, 'ListContexts')).toMatchObject({ code: 'permission_denied' })
    expect(await call(clients, 'EndContext', { contextNumber })).toMatchObject({ code: 'permission_denied' })
    expect(await call(admin, 'EndContext', { contextNumber })).toEqual({})
    expect(server.core.contexts).toHaveLength(0)
    await server.stop()
    expect([existsSync(clients), existsSync(admin)]).toEqual([false, false])
  })
})

describe('a start that fails', () => {
  it('leaves nothing open: the other sockets of the daemon are gone', async () => {
    const first = await start('taken')
    const other = join(folder, 'other', 's')
    const again = start('unused', { socket: other, diagnostics: join(folder, 'taken', 's') })
    await expect(again).rejects.toThrow(SocketTaken)
    expect([existsSync(other), existsSync(join(folder, 'other', 'admin.sock'))]).toEqual([false, false])
    await first.stop()
  })
})

describe('stopping', () => {
  it('ends every context, and is one stop however often it is asked for', async () => {
    const server = await start('stop')
    await call(join(folder, 'stop', 's'), 'OpenContext', { lifetime: 'CONTEXT_LIFETIME_EXPLICIT' })
    expect(server.core.contexts).toHaveLength(1)
    const stopped = server.stop()
    expect(server.stop()).toBe(stopped)
    await stopped
    expect(server.core.contexts).toHaveLength(0)
  })
})

describe('a daemon in the harness’s process', () => {
  it('has no socket, and the same contexts and tokens for the same seed', async () => {
    const tokens: string[] = []
    for (let run = 0; run < 2; run++) {
      const { transport, stop } = await startInProcess(['--seed', '7', '--clock', 'manual'])
      const reply = await transport.call(METHODS.OpenContext.path, encode('OpenContextRequest', {}))
      expect([reply.status, reply.contentType]).toEqual([200, 'application/proto'])
      tokens.push(decode('OpenContextResponse', reply.body).context)
      await transport.call(METHODS.AdvanceClock.path, encode('AdvanceClockRequest', { advanceMs: 30_000n }))
      const late = await transport.call(METHODS.GetContext.path, encode('GetContextRequest', { context: tokens[run] }))
      expect([late.status, late.contentType]).toEqual([400, 'application/json'])
      await stop()
    }
    expect(tokens[0]).toBe(tokens[1])
  })
})

describe('the table of methods', () => {
  it('says of every method whether it is offered, and why not', () => {
    const methods = listMethods(METHOD_TABLE, false)
    expect(methods.map(({ method }) => method)).toEqual(Object.keys(METHODS))
    for (const { method, offered, reason } of methods)
      expect([method, offered || reason !== '']).toEqual([method, true])
    const offered = methods.filter((method) => method.offered).map(({ method }) => method)
    expect(offered).toEqual(expect.arrayContaining(['ListMethods', 'GetServerInfo', 'IoasMap', 'InvalidateIotlb']))
  })

  it('under --strict offers no extension', () => {
    for (const { offered, extension, reason } of listMethods(METHOD_TABLE, true)) {
      if (extension) expect([offered, reason]).toEqual([false, expect.stringMatching(/./)])
    }
  })
})
