/** Every method of the contract against a real daemon: what ListMethods says of it is what it answers. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ContextLifetime, IommudError, METHODS, type MethodName } from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'

let daemon: Daemon

beforeAll(async () => {
  daemon = await startDaemon()
})

afterAll(() => daemon.stop())

/** Calls a method with nothing but a context; answers its refusal, if it is one. */
async function refusalOf(name: MethodName): Promise<IommudError | undefined> {
  const { context } = await daemon.client.openContext({ lifetime: ContextLifetime.EXPLICIT })
  try {
    await daemon.client.call(name, { context } as never)
    return undefined
  } catch (error) {
    if (error instanceof IommudError) return error
    // A request without a context has no such field; then nothing at all is given.
    try {
      await daemon.client.call(name, {} as never)
      return undefined
    } catch (second) {
      return second as IommudError
    }
  } finally {
    await daemon.client.closeContext({ context }).catch(() => undefined)
  }
}

describe('every method of the contract', () => {
  it('is listed once, in the contract’s order', async () => {
    const { methods } = await daemon.client.listMethods()
    expect(methods.map(({ method }) => method)).toEqual(Object.keys(METHODS))
  })

  it('that is not offered answers EOPNOTSUPP with the listed reason; the others answer something else', async () => {
    const { methods } = await daemon.client.listMethods()
    for (const { method, offered, reason } of methods) {
      const no = await refusalOf(method as MethodName)
      const what = `${method}: ${no?.errnoName} ${no?.reason}`
      if (offered) expect(no?.errnoName === 'EOPNOTSUPP' && no.reason === reason, what).toBe(false)
      else expect(`${no?.errnoName}: ${no?.reason}`, what).toBe(`EOPNOTSUPP: ${reason}`)
    }
  })
})
