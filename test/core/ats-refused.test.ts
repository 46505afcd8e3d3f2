/** What devices with ATS are refused, and what one that is blocked is answered. */

import { describe, expect, it } from 'vitest'
import { DEFAULT_LIMITS } from '../../server/core/limits.js'
import { IOVA, OK, READ, scene, THROUGH_ATC, WRITE } from './device-scene.js'
import type { FakeAts } from './fake-ats.js'
import { World } from './world.js'

const page = (groupIndex: number, last = true) => ({ iova: IOVA, groupIndex, access: READ, last })

describe('a device that is blocked after a time-out', () => {
  it('has each page request that is the last of its group answered with a failure, and sends none', async () => {
    const { world, deviceId, ask, unmap, hardware } = scene()
    ask([IOVA])
    const unmapped = unmap()
    await world.clock.advance(DEFAULT_LIMITS.call.ats_completion_ms)
    await unmapped
    const requests = [page(1, false), page(1)]
    const { doneCount, transactionIds } = world.do('RequestPages', { deviceId, requests })
    expect([doneCount, transactionIds[0]]).toEqual([2, 0n])
    const transactions = world.do('AwaitDma', { transactionIds: transactionIds.subarray(1) }).results
    expect(transactions).toMatchObject([{ outcome: OK, pageResponse: 3 }])
    expect((hardware.ats as FakeAts).requested).toEqual([])
  })
})

describe('a device with ATS', () => {
  it('is not asked for time-outs, which the daemon keeps; one without PASIDs says so', () => {
    const world = new World()
    const { deviceId } = scene('arm/ats', world)
    const { refusal } = world.do('CompleteInvalidations', {
      deviceId,
      tags: BigUint64Array.of(1n),
      timedOut: true,
    })
    expect(refusal).toMatchObject({ name: 'EINVAL', reason: expect.stringContaining('times out by itself') })
    const plain = world.bind('arm2')
    const told = world.do('Translate', { deviceId: plain, pasid: 1, iovas: BigUint64Array.of(0n) }).refusal
    expect(told).toMatchObject({ name: 'EINVAL', reason: 'the device has no PASIDs' })
  })

  it('reads with EXEC and PRIV, and writes with PRIV alone', () => {
    const { world, deviceId } = scene()
    const read = (access: number) =>
      world.do('DmaRead', { deviceId, access, addressType: THROUGH_ATC, operations: [{ address: IOVA, length: 1 }] })
    const write = (access: number) =>
      world.do('DmaWrite', { deviceId, access, operations: [{ address: IOVA, data: Uint8Array.of(1) }] })
    expect([read(4), read(8), read(12)].map(({ refusal }) => refusal)).toEqual([undefined, undefined, undefined])
    expect([read(WRITE), read(16), write(READ), write(4)].map(({ refusal }) => refusal?.name)).toEqual(
      Array(4).fill('EINVAL'),
    )
  })
})
