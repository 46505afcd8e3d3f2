/** From bytes to bytes: contexts, lifetimes, deadlines, strictness, draining. */

import { describe, expect, it } from 'vitest'
import { decode, encode } from '../../proto/codec.js'
import { METHODS } from '../../proto/generated/methods.js'
import { ContextLifetime } from '../../proto/generated/types.js'
import { Refusal } from '../../server/core/refusal.js'
import type { Caller } from '../../server/rpc/dispatch.js'
import type { Handlers } from '../../server/rpc/method.js'
import { RpcError } from '../../server/rpc/status.js'
import { connectInProcess } from '../../server/transports/memory.js'
import { makeShell, type Shell } from './shell.js'

const HANDLERS = {
  OpenContext: (call, { lifetime, leaseMs, label }) => {
    const context = call.core.open(call.peer, { lifetime, leaseMs, label })
    return { context: context.token, lifetime: context.lifetime as ContextLifetime, leaseMs: context.leaseMs }
  },
  GetContext: (call) => ({ label: call.context.label }),
  ListObjects: async (call) => {
    await call.context.waiters.wait(call.core.clock, 10_000)
    return {}
  },
  IoasMap: () => {
    throw new Refusal('EBUSY', 'in use', { ioas: 3 })
  },
  IoasUnmap: () => {
    throw new Error('a bug')
  },
  IoasIovaRanges: () => ({ refusal: { errno: 90, name: 'EMSGSIZE', reason: 'more', context: {} } }),
  Explain: () => ({}),
} satisfies Partial<Handlers>

async function open(shell: Shell, caller: Caller, lifetime: ContextLifetime = 0, leaseMs = 0) {
  const body = encode('OpenContextRequest', { lifetime, leaseMs, label: 'a label' })
  const reply = await shell.dispatcher.call(METHODS.OpenContext, body, caller, { encoding: 'proto' })
  return decode('OpenContextResponse', reply)
}

const getContext = async (shell: Shell, caller: Caller, context: string): Promise<string> => {
  const body = encode('GetContextRequest', { context })
  const reply = await shell.dispatcher.call(METHODS.GetContext, body, caller, { encoding: 'proto' })
  return decode('GetContextResponse', reply).label
}

const failure = async (call: Promise<unknown>): Promise<RpcError> => {
  try {
    await call
  } catch (error) {
    if (error instanceof RpcError) return error
    throw error
  }
  throw new Error('the call succeeded')
}

describe('a context', () => {
  it('opened over a shared connection has a lease unless it asks for something else', async () => {
    const shell = makeShell(HANDLERS)
    expect(await open(shell, shell.dispatcher.connected('http', 1))).toMatchObject({
      lifetime: ContextLifetime.LEASE,
      leaseMs: 30_000,
    })
  })

  it('is found by its token from any connection of its user, and from no other user’s', async () => {
    const shell = makeShell(HANDLERS)
    const { context } = await open(shell, shell.dispatcher.connected('http', 1))
    expect(await getContext(shell, shell.dispatcher.connected('http', 1), context)).toBe('a label')
    const error = await failure(getContext(shell, shell.dispatcher.connected('http', 2), context))
    expect([error.code, error.detail?.name]).toEqual(['invalid_argument', 'EBADF'])
  })

  it('of an earlier boot is unavailable', async () => {
    const shell = makeShell(HANDLERS)
    const token = `${'0'.repeat(32)}-${'1'.repeat(32)}`
    const error = await failure(getContext(shell, shell.dispatcher.connected('http', 1), token))
    expect(error.code).toBe('unavailable')
    expect(error.message).toContain('restarted')
  })

  it('without a token is EBADF on a shared connection, and the connection’s own on an exclusive one', async () => {
    const shell = makeShell(HANDLERS)
    const error = await failure(getContext(shell, shell.dispatcher.connected('http', 1), ''))
    expect(error.detail?.name).toBe('EBADF')
    const own = shell.dispatcher.connected('ttrpc', 1, { exclusive: true })
    expect(await getContext(shell, own, '')).toBe('')
    expect(shell.core.contexts).toHaveLength(1)
    await shell.dispatcher.disconnected(own)
    expect(shell.core.contexts).toHaveLength(0)
  })

  it('with the lifetime of its connection ends with that, and others stay', async () => {
    const shell = makeShell(HANDLERS)
    const caller = shell.dispatcher.connected('http', 1)
    const bound = await open(shell, caller, ContextLifetime.CONNECTION)
    const leased = await open(shell, caller)
    expect(bound.lifetime).toBe(ContextLifetime.CONNECTION)
    await shell.dispatcher.disconnected(caller)
    expect(shell.core.contexts.map(({ token }) => token)).toEqual([leased.context])
  })

  it('with a lease ends when no call has renewed it, by the daemon’s clock', async () => {
    const shell = makeShell(HANDLERS)
    const caller = shell.dispatcher.connected('http', 1)
    const { context } = await open(shell, caller, ContextLifetime.LEASE, 100)
    await shell.clock.advance(99)
    await getContext(shell, caller, context)
    await shell.clock.advance(99)
    expect(shell.core.contexts).toHaveLength(1)
    await shell.clock.advance(1)
    expect(shell.core.contexts).toHaveLength(0)
  })
})

describe('a call', () => {
  const shell = makeShell(HANDLERS)
  const caller = shell.dispatcher.connected('http', 1)
  const call = async (name: keyof typeof METHODS, body: Uint8Array, json = false): Promise<Uint8Array> =>
    shell.dispatcher.call(METHODS[name], body, caller, { encoding: json ? 'json' : 'proto' })

  it('that is refused tells errno, reason and facts, and observers', async () => {
    const { context } = await open(shell, caller)
    const error = await failure(call('IoasMap', encode('IoasMapRequest', { context })))
    expect(error.code).toBe('failed_precondition')
    expect(error.detail).toEqual({ errno: 16, name: 'EBUSY', reason: 'in use', context: { ioas: '3' } })
    expect(shell.records.at(-1)).toMatchObject({
      method: 'IommuService/IoasMap',
      code: 'failed_precondition',
      contextNumber: 1,
      refusal: { name: 'EBUSY' },
    })
  })

  it('that meets a bug is internal, and observers get the stack', async () => {
    const { context } = await open(shell, caller)
    const error = await failure(call('IoasUnmap', encode('IoasUnmapRequest', { context })))
    expect(error.code).toBe('internal')
    expect(error.message).not.toContain('a bug')
    expect(shell.records.at(-1)?.incident).toEqual({ id: 'incident-1', error: new Error('a bug') })
  })

  it('with a partial reply is OK, and observers learn of the refusal in it', async () => {
    const { context } = await open(shell, caller)
    const reply = await call('IoasIovaRanges', encode('IoasIovaRangesRequest', { context }))
    expect(decode('IoasIovaRangesResponse', reply).refusal?.name).toBe('EMSGSIZE')
    expect(shell.records.at(-1)).toMatchObject({ code: 'ok', refusal: { name: 'EMSGSIZE' } })
  })

  it('of a method that is not offered is EOPNOTSUPP with the reason', async () => {
    const error = await failure(call('Ioctl', new Uint8Array()))
    expect([error.code, error.detail?.name, error.detail?.reason]).toEqual([
      'unimplemented',
      'EOPNOTSUPP',
      'not in this test',
    ])
  })

  const malformed: readonly (readonly [string, Uint8Array, boolean])[] = [
    ['truncated protobuf', Uint8Array.of(0x0a, 0x7f, 0x41), false],
    ['broken JSON', Buffer.from('{"context":'), true],
    ['an unknown JSON field', Buffer.from('{"contxt": "x"}'), true],
    ['a JSON value of another type', Buffer.from('{"context": 5}'), true],
    ['JSON that is no object', Buffer.from('[]'), true],
    ['no JSON', Buffer.from(''), true],
    ['JSON that is not UTF-8', Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d), true],
  ]
  it.each(malformed)('with %s is EINVAL and says where', async (_what, body, json) => {
    const error = await failure(call('GetContext', body, json))
    expect([error.code, error.detail?.name]).toEqual(['invalid_argument', 'EINVAL'])
    expect(error.detail?.context.where).toMatch(/./)
  })

  it('ends with its deadline, by the daemon’s clock', async () => {
    const { context } = await open(shell, caller)
    const body = encode('ListObjectsRequest', { context })
    const late = failure(shell.dispatcher.call(METHODS.ListObjects, body, caller, { encoding: 'proto', timeoutMs: 50 }))
    await shell.clock.advance(50)
    expect((await late).code).toBe('deadline_exceeded')
  })
})

describe('--strict', () => {
  it('refuses extensions with EOPNOTSUPP and answers the rest', async () => {
    const shell = makeShell(HANDLERS, { strict: true })
    const caller = shell.dispatcher.connected('http', 1)
    expect(METHODS.Explain.extension).toBe(true)
    const { context } = await open(shell, caller)
    const body = encode('ExplainRequest', { context })
    const error = await failure(shell.dispatcher.call(METHODS.Explain, body, caller, { encoding: 'proto' }))
    expect([error.detail?.name, error.detail?.reason]).toEqual(['EOPNOTSUPP', expect.stringContaining('--strict')])
    const loose = makeShell(HANDLERS)
    const other = await open(loose, loose.dispatcher.connected('http', 1))
    const request = encode('ExplainRequest', { context: other.context })
    const looseCaller = loose.dispatcher.connected('http', 1)
    await loose.dispatcher.call(METHODS.Explain, request, looseCaller, { encoding: 'proto' })
  })
})

describe('draining', () => {
  it('refuses new calls as unavailable, waits for those in flight, and says whether they ended', async () => {
    const shell = makeShell(HANDLERS)
    const caller = shell.dispatcher.connected('http', 1)
    const { context } = await open(shell, caller)
    const body = encode('ListObjectsRequest', { context })
    const waiting = shell.dispatcher.call(METHODS.ListObjects, body, caller, { encoding: 'proto' })
    expect(await shell.dispatcher.drain(1)).toBe(false)
    const ended = shell.dispatcher.drain(10_000)
    expect((await failure(getContext(shell, caller, context))).code).toBe('unavailable')
    await shell.clock.advance(10_000)
    await waiting
    expect(await ended).toBe(true)
  })
})

describe('the memory transport', () => {
  it('answers as HTTP does, errors as Connect’s JSON', async () => {
    const shell = makeShell(HANDLERS)
    const connection = connectInProcess(shell.dispatcher, 1)
    const text = (body: Uint8Array): object => JSON.parse(Buffer.from(body).toString())
    const opened = await connection.call(METHODS.OpenContext.path, 'json', Buffer.from('{"lifetime": 1}'))
    expect(opened.status).toBe(200)
    expect(text(opened.body)).toMatchObject({ lifetime: 'CONTEXT_LIFETIME_CONNECTION' })
    const nowhere = await connection.call('/x', 'json', new Uint8Array())
    expect([nowhere.status, text(nowhere.body)]).toEqual([501, expect.objectContaining({ code: 'unimplemented' })])
    await connection.close()
    expect(shell.core.contexts).toHaveLength(0)
  })
})
