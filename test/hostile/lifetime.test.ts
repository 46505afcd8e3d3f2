/**
 * Ends without a goodbye: clients that are killed, daemons that are stopped, killed and started again. What belonged to
 * the dead is free, what was to survive is there.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { type Client, ContextLifetime, type IommudError, UnitType } from '../../clients/node/index.js'
import { type Daemon, startDaemon } from '../../clients/node/testing.js'
import { refusal } from '../e2e/world.js'
import { startClientProcess } from './client-process.js'
import { bugLines } from './process-facts.js'

const LEASE_MS = 5_000

/** Longest time from the end of a process to the moment the daemon has noticed, by the machine's clock. */
const NOTICE_MS = 5_000

const DEVICES = ['0000:00:01.0', '0000:01:01.0'] as const

/** Whether some context has a device. */
async function isBound(client: Client, deviceName: string): Promise<boolean> {
  const { context } = await client.openContext({})
  const { devices } = await client.listDevices({ context })
  await client.closeContext({ context })
  return devices.some(({ name, bound }) => name === deviceName && bound)
}

/** Waits for what happens outside the daemon's clock: the kernel telling it that a connection ended. */
async function eventually(what: () => Promise<boolean>): Promise<boolean> {
  for (const until = Date.now() + NOTICE_MS; Date.now() < until; await sleep(10)) if (await what()) return true
  return what()
}

/** Another client can use the device as if nobody had been there. */
async function useDevice(client: Client, deviceName: string): Promise<void> {
  const { context } = await client.openContext({})
  const inside = client.inContext(context)
  const { deviceId } = await inside.bindDevice({ deviceName })
  const { ioasId } = await inside.createIoas()
  await inside.attachRid({ deviceId, ptId: ioasId })
  // Whatever the dead client had mapped is not there any more.
  const { outcomes } = await inside.translate({ deviceId, access: 1, iovas: [0x4000_0000n] })
  expect([...outcomes]).toEqual([2])
  await inside.closeContext({})
}

describe.each(DEVICES)('a client process with %s that is killed', (deviceName) => {
  const started = startDaemon({ clock: 'manual' })
  afterAll(async () => {
    const daemon = await started
    expect(bugLines(daemon.log())).toEqual([])
    await daemon.stop()
  })

  it('with a context of its connection leaves the device free at once, though no time passes', async () => {
    const { client, socketPath } = await started
    const victim = await startClientProcess({ socketPath, lifetime: ContextLifetime.CONNECTION, deviceName })
    expect(await isBound(client, deviceName)).toBe(true)
    await victim.kill()
    expect(await eventually(async () => !(await isBound(client, deviceName)))).toBe(true)
    await useDevice(client, deviceName)
    expect((await refusal(client.getContext({ context: victim.context }))).errnoName).toBe('EBADF')
  })

  it('with a lease keeps the device until the lease ends, and not longer', async () => {
    const { client, socketPath } = await started
    const lifetime = ContextLifetime.LEASE
    const victim = await startClientProcess({ socketPath, lifetime, leaseMs: LEASE_MS, deviceName })
    await victim.kill()
    await client.advanceClock({ advanceMs: BigInt(LEASE_MS - 1) })
    expect(await isBound(client, deviceName)).toBe(true)
    const bind = async (): Promise<unknown> => {
      const { context } = await client.openContext({})
      return client.bindDevice({ context, deviceName })
    }
    expect((await refusal(bind())).errnoName).toBe('EBUSY')
    await client.advanceClock({ advanceMs: 1n })
    expect(await isBound(client, deviceName)).toBe(false)
    await useDevice(client, deviceName)
    expect((await refusal(client.getContext({ context: victim.context }))).errnoName).toBe('EBADF')
  })

  it('with an explicit context leaves it to whoever has the token', async () => {
    const daemon = await started
    const { socketPath } = daemon
    const victim = await startClientProcess({ socketPath, lifetime: ContextLifetime.EXPLICIT, deviceName })
    await victim.kill()
    await daemon.client.advanceClock({ advanceMs: 10n ** 9n })
    const heir = daemon.connect()
    const { deviceId, context, pending } = victim
    const { results } = await heir.awaitDma({ context, transactionIds: [BigInt(pending)] })
    expect(results[0].outcome).toBe(5)
    const { outcomes } = await heir.translate({ context, deviceId, access: 1, iovas: [0x4000_0000n] })
    expect([...outcomes]).toEqual([1])
    await heir.closeContext({ context })
    expect(await isBound(heir, deviceName)).toBe(false)
    heir.close()
  })
})

describe('a daemon', () => {
  const running: Daemon[] = []
  const start = async (): Promise<Daemon> => {
    const daemon = await startDaemon()
    running.push(daemon)
    return daemon
  }
  afterEach(async () => {
    for (const daemon of running.splice(0)) await daemon.kill()
  })

  it('that is told to stop answers the calls in flight, refuses new ones, and exits with 0', async () => {
    const daemon = await start()
    const { context } = await daemon.client.openContext({})
    const { unitId } = await daemon.client.createUnit({ context, type: UnitType.SMMUV3 })
    const waiting = Array.from({ length: 20 }, () => daemon.client.pollUnitInterrupts({ context, unitId, waitMs: 700 }))
    const idle = daemon.connect()
    await idle.getServerInfo()
    const settled = Promise.allSettled(waiting)
    const status = await daemon.stop()
    expect(status).toBe(0)
    for (const call of await settled) {
      if (call.status === 'fulfilled') expect(call.value.interrupts).toEqual([])
      // A call that had not reached the daemon yet is refused, or its connection ends.
      else expect(String(call.reason)).toMatch(/unavailable|stopping|no answer from the daemon/)
    }
    await expect(idle.getServerInfo()).rejects.toThrow(/no answer from the daemon/)
    idle.close()
  })

  it('that was killed and started again says so to whoever has a token of before', async () => {
    const before = await start()
    const { context } = await before.client.openContext({ lifetime: ContextLifetime.EXPLICIT })
    await before.kill()
    const { client } = await start()
    const error: IommudError = await refusal(client.createIoas({ context }))
    expect(error.code).toBe('unavailable')
    expect(error.message).toMatch(/restarted, your objects are gone/)
    const { context: fresh } = await client.openContext({})
    expect(fresh).not.toBe(context)
    expect((await client.createIoas({ context: fresh })).ioasId).toBe(1)
  })
})
