/** The log: what is written at which level, how often, and what never is. */

import { describe, expect, it } from 'vitest'
import { encode } from '../../proto/codec.js'
import { METHODS } from '../../proto/generated/methods.js'
import { Refusal } from '../../server/core/refusal.js'
import { type ManualClock, manualClock } from '../../server/ops/clock.js'
import { type Log, type LogLevel, openLog, redact } from '../../server/ops/log.js'
import type { CallRecord } from '../../server/rpc/observer.js'
import { makeShell } from './shell.js'

interface Captured {
  readonly log: Log
  readonly clock: ManualClock
  readonly text: () => string
  readonly lines: () => Record<string, unknown>[]
}

function capture(level: LogLevel): Captured {
  const written: string[] = []
  const clock = manualClock()
  const log = openLog(level, clock, { write: (line) => written.push(line) })
  return { log, clock, text: () => written.join(''), lines: () => written.map((line) => JSON.parse(line)) }
}

const call = (changes: Partial<CallRecord> = {}): CallRecord => ({
  method: 'IommuService/IoasMap',
  transport: 'http',
  uid: 1000,
  connection: 1,
  contextNumber: 7,
  code: 'ok',
  durationMs: 0.5,
  ...changes,
})

const refusal = (contextNumber = 7): CallRecord =>
  call({
    contextNumber,
    code: 'failed_precondition',
    refusal: { errno: 16, name: 'EBUSY', reason: 'in use', context: { ioas: '3' } },
  })

describe('a call', () => {
  it('is written at debug and not at info', () => {
    const info = capture('info')
    info.log.finished(call())
    expect(info.lines()).toEqual([])
    const debug = capture('debug')
    debug.log.finished(call())
    expect(debug.lines()).toMatchObject([{ msg: 'call', method: 'IommuService/IoasMap', contextNumber: 7 }])
  })

  it('that was refused is written at info, with errno, reason and facts', () => {
    const { log, lines } = capture('info')
    log.finished(refusal())
    expect(lines()).toMatchObject([{ msg: 'refused', errno: 'EBUSY', reason: 'in use', facts: { ioas: '3' } }])
  })

  it('with a refusal inside its reply is written too', () => {
    const { log, lines } = capture('info')
    log.finished({ ...refusal(), code: 'ok' })
    expect(lines()).toMatchObject([{ msg: 'refused', code: 'ok', errno: 'EBUSY' }])
  })

  it('that met a bug is written at error, with its stack and the name the caller was told', () => {
    const { log, lines } = capture('error')
    log.finished(call({ code: 'internal', incident: { id: '0badcafe', error: new Error('broken') } }))
    const [line] = lines() as { incidentId: string; err: { stack: string } }[]
    expect(line.incidentId).toBe('0badcafe')
    expect(line.err.stack).toContain('log.test.ts')
  })
})

describe('a context that is refused again and again', () => {
  it('gets ten lines in ten seconds, and then the count of what was held back', async () => {
    const { log, clock, lines } = capture('info')
    for (let i = 0; i < 1010; i++) log.finished(refusal())
    expect(lines()).toHaveLength(10)
    await clock.advance(10_000)
    expect(lines().slice(10)).toMatchObject([{ contextNumber: 7, uid: 1000, heldBack: 1000 }])
    log.finished(refusal())
    expect(lines()).toHaveLength(12)
  })

  it('does not silence another one', () => {
    const { log, lines } = capture('info')
    for (let i = 0; i < 20; i++) log.finished(refusal(1))
    log.finished(refusal(2))
    expect(lines().filter(({ contextNumber }) => contextNumber === 2)).toHaveLength(1)
  })

  it('costs no more lines when it makes a connection, or opens a context, for every call', async () => {
    const { log, clock, lines } = capture('info')
    for (let i = 0; i < 1000; i++) log.finished({ ...refusal(0), connection: i })
    expect(lines()).toHaveLength(10)
    for (let i = 1; i <= 1000; i++) log.finished(refusal(i))
    expect(lines()).toHaveLength(100)
    await clock.advance(10_000)
    const counts = lines().slice(100)
    expect(counts.length).toBeLessThan(15)
    expect(counts.reduce((sum, { heldBack }) => sum + Number(heldBack), 0)).toBe(2000 - 100)
    expect(counts[0]).toMatchObject({ uid: 1000, heldBack: 990 })
    expect(counts.at(-1)).toMatchObject({ others: true })
  })

  it('has its count written when the daemon stops', () => {
    const { log, lines } = capture('info')
    for (let i = 0; i < 13; i++) log.finished(refusal())
    log.flush()
    log.flush()
    expect(lines().slice(10)).toMatchObject([{ heldBack: 3 }])
  })
})

describe('a token', () => {
  const token = `${'0123456789abcdef'.repeat(2)}-${'fedcba9876543210'.repeat(2)}`

  it('is blotted out wherever it stands', () => {
    const { log, text } = capture('trace')
    log.info({ token, authorization: `Bearer ${token}`, deep: { token } }, `a message with ${token} in it`)
    log.finished({
      ...refusal(),
      refusal: { errno: 22, name: 'EINVAL', reason: `bad ${token}`, context: { t: token } },
    })
    log.finished(call({ code: 'internal', incident: { id: 'x', error: new Error(`no ${token}`) } }))
    expect(text()).toContain('[redacted]')
    expect(text()).not.toContain(token)
    expect(text()).not.toContain(token.slice(0, 32))
  })

  it('is blotted out in the form the TCP listener has', () => {
    expect(redact('"authorization":"Bearer q1W2-e3R4_t5Y6u7I8o9P0a1S2d3F4g5H6j7K8l9Z0x"')).toBe(
      '"authorization":"Bearer [redacted]"',
    )
  })

  it('is not what names of methods, paths and numbers look like', () => {
    for (const text of [
      '"method":"IommuService/IoasIovaRanges2"',
      '"path":"/run/user/1000/a-long-folder-name-with-1-digit/iommud.sock"',
      '"time":1731000000000,"address":"0xffffffffffffffff"',
      'iommud.v1.RefusalDetail',
    ]) {
      expect(redact(text)).toBe(text)
    }
  })

  it('of a real context never reaches the log, at any level, on any path', async () => {
    const { log, text } = capture('trace')
    const shell = makeShell(
      {
        OpenContext: (call, { lifetime, leaseMs, label }) => ({
          context: call.core.open(call.peer, { lifetime, leaseMs, label }).token,
        }),
        IoasMap: (call) => {
          throw new Refusal('EINVAL', `told by mistake: ${call.context.token}`, { mistake: call.context.token })
        },
        IoasUnmap: (call) => {
          throw new Error(call.context.token)
        },
      },
      { observers: [log] },
    )
    const caller = shell.dispatcher.connected('http', 1)
    await shell.dispatcher.call(METHODS.OpenContext, new Uint8Array(), caller, { encoding: 'proto' })
    const [{ token: real }] = shell.core.contexts
    const attempts = [
      [METHODS.IoasMap, encode('IoasMapRequest', { context: real }), 'proto'],
      [METHODS.IoasUnmap, encode('IoasUnmapRequest', { context: real }), 'proto'],
      [METHODS.IoasMap, Buffer.from(`{"context": "${real}"`), 'json'],
      [METHODS.IoasMap, Buffer.from(`{"context": ["${real}"]}`), 'json'],
      [METHODS.IoasMap, Buffer.from(`{"${real}": 1}`), 'json'],
      [METHODS.IoasMap, encode('IoasMapRequest', { context: `${real}0` }), 'proto'],
    ] as const
    for (const [method, body, encoding] of attempts) {
      await expect(shell.dispatcher.call(method, body, caller, { encoding })).rejects.toThrow()
    }
    expect(text().split('\n').length).toBeGreaterThan(attempts.length)
    expect(text()).not.toContain(real)
    expect(text()).not.toContain(real.slice(33))
  })
})
