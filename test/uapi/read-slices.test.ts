/** Reads that take several turns: of files, and of bitmaps. */

import { describe, expect, it } from 'vitest'
import { DEFAULT_LIMITS } from '../../server/core/limits.js'
import type { FakeDirty } from '../core/fake-dirty.js'
import { FakeMachine, type FakePaging } from '../core/fake-machine.js'
import { SpentTurn } from '../core/paused.js'
import { bytesOf, Door } from './door.js'

/** Bytes of one leaf. */
const LEAF = 0x20_0000n

describe('a queue that is full', () => {
  it('is read in slices, so that others have their turn', async () => {
    const turn = new SpentTurn()
    const door = new Door({ turn })
    const deviceId = await turn
      .finish(door.begin('BindDevice', { deviceName: 'intel' }))
      .then((bound) => bound.deviceId)
    const { ioasId } = await turn.finish(door.begin('CreateIoas'))
    const { faultQueueId } = await turn.finish(door.begin('CreateFaultQueue'))
    const request = { deviceId, ioasId, flags: 4, faultQueueId }
    const { domainId: ptId } = await turn.finish(door.begin('CreatePagingDomain', request))
    await turn.finish(door.begin('AttachRid', { deviceId, ptId }))
    for (let group = 0; group < 1000; group++) door.machine.fault('intel', { group })
    const { handle } = await turn.finish(door.handleLater('OpenHandle', { objectId: faultQueueId }))
    const before = turn.pauses
    const { data } = await turn.finish(door.handleLater('ReadHandle', { handle, count: 40_000 }))
    expect([data.length, turn.pauses - before]).toEqual([40_000, 4])
  })
})

describe('the bitmap of a large leaf', () => {
  it('is written page by page, so that others have their turn', async () => {
    const turn = new SpentTurn()
    const units = [{ name: 'unit', kind: 'vtd', dirty: true, pageSizes: 0x20_1000n }] as const
    const machine = new FakeMachine(units, [{ name: 'device', unit: 'unit' }])
    const door = new Door({ machine, turn })
    const { deviceId } = await turn.finish(door.begin('BindDevice', { deviceName: 'device' }))
    const { ioasId } = await turn.finish(door.begin('CreateIoas'))
    const { regionId } = await turn.finish(door.begin('CreateMemoryRegion', { anonymous: { bytes: LEAF } }))
    const region = { regionId, offset: 0n }
    await turn.finish(door.begin('IoasMap', { ioasId, region, length: LEAF, iova: LEAF, flags: 7 }))
    const { domainId } = await turn.finish(door.begin('CreatePagingDomain', { deviceId, ioasId, flags: 2 }))
    await turn.finish(door.begin('AttachRid', { deviceId, ptId: domainId }))
    const { slots } = machine.devices[0].device as unknown as { slots: Map<number, FakePaging> }
    const log = slots.get(0)?.dirty as FakeDirty
    log.touch(LEAF)
    const before = turn.pauses
    // A bit for each byte: 64 pages of bits, none of which is there.
    const data = 0x5000_0000
    const arg = bytesOf([48, 4], [domainId, 4], [0, 8], [LEAF, 8], [LEAF, 8], [1, 8], [data, 8])
    const { errno } = await turn.finish(door.handleLater('Ioctl', { handle: 0, cmd: 0x3b8c, arg, memory: [] }))
    expect([errno, turn.pauses - before >= 64]).toEqual([0, true])
  })
})

describe('PollHandle', () => {
  it('takes as many targets as files can be open, and the iommu itself', () => {
    const door = new Door({ limits: { ...DEFAULT_LIMITS, context: { ...DEFAULT_LIMITS.context, handles: 2 } } })
    const poll = (count: number) => {
      const targets = Array.from({ length: count }, () => ({ handle: 0, events: 1 }))
      return door.handle('PollHandle', { targets, waitMs: 0 })
    }
    expect(poll(3)).toMatchObject({ doneCount: 3 })
    expect(poll(4)).toMatchObject({ doneCount: 0, refusal: { name: 'E2BIG', context: { limit: 'handles' } } })
  })
})
