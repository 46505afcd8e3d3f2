/** Reads of files that take several turns. */

import { describe, expect, it } from 'vitest'
import { SpentTurn } from '../core/paused.js'
import { Door } from './door.js'

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
