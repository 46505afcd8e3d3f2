/** What becomes of PASID 0 where there is no window, and of a CD table that is in none. */

import { beforeEach, describe, expect, it } from 'vitest'
import { World } from './world.js'

const NEST_PARENT = 1

let world: World
let deviceId: number

beforeEach(() => {
  world = new World()
  deviceId = world.bind('arm')
})

const slots = (): readonly string[] =>
  world.do('GetDevice', { deviceId }).attachments.map(({ pasid, domainId }) => `${pasid}:${domainId}`)

describe('detaching PASID 0', () => {
  it('does nothing where nothing is attached', () => {
    world.do('DetachPasid', { deviceId, pasid: 0 })
    expect(slots()).toEqual([])
  })

  it('leaves a RID alone whose domain is in no window', () => {
    const domain = world.paging(deviceId, world.ioas())
    world.do('AttachRid', { deviceId, ptId: domain })
    world.do('DetachPasid', { deviceId, pasid: 0 })
    expect(slots()).toEqual([`0:${domain}`])
  })

  it('leaves a window alone that has no root there', () => {
    const parentDomainId = world.paging(deviceId, world.ioas(), NEST_PARENT)
    const { windowId } = world.do('CreateWindow', { parentDomainId, first: 0x10_0000n, last: 0x10_0fffn })
    world.do('AttachRid', { deviceId, ptId: windowId })
    world.do('DetachPasid', { deviceId, pasid: 0 })
    expect(slots()).toEqual([`0:${windowId}`])
  })
})
