/** What a device takes that has a window, what it does not, and which slot a fault belongs to. */

import { beforeEach, describe, expect, it } from 'vitest'
import { ROOT } from './roots.js'
import { World } from './world.js'

const NEST_PARENT = 1
const FAULT_ID_VALID = 4
const PASID = 8
const PASID_ONLY = 2
const PAGE = 4096n

let world: World
let deviceId: number
let ioas: number
let parent: number
let window: number

beforeEach(() => {
  world = new World()
  deviceId = world.bind('arm')
  ioas = world.ioas()
  parent = world.paging(deviceId, ioas, NEST_PARENT)
  window = windowAt(0x10_0000n)
})

const windowAt = (first: bigint): number =>
  world.do('CreateWindow', { parentDomainId: parent, first, last: first + PAGE - 1n }).windowId

const root = (windowId = window, more: object = {}): number =>
  world.do('CreateUserDomain', { deviceId, windowId, smmuv3Pgd: ROOT, ...more }).domainId

const ste = (): number => {
  const { viommuId } = world.do('CreateViommu', { type: 1, deviceId, parentDomainId: parent })
  return world.do('CreateUserDomain', { deviceId, viommuId, smmuv3Ste: { ste0: 1n, ste1: 0n } }).domainId
}

const slots = (id = deviceId): readonly string[] =>
  world.do('GetDevice', { deviceId: id }).attachments.map(({ pasid, domainId }) => `${pasid}:${domainId}`)

/** Attaches and detaches, in the words of the calls. */
const attach = (ptId: number, pasid?: number) =>
  pasid === undefined ? world.do('AttachRid', { deviceId, ptId }) : world.do('AttachPasid', { deviceId, ptId, pasid })
const replace = (ptId: number, pasid?: number) =>
  pasid === undefined ? world.do('ReplaceRid', { deviceId, ptId }) : world.do('ReplacePasid', { deviceId, ptId, pasid })
const detach = (pasid?: number) =>
  pasid === undefined ? world.do('DetachRid', { deviceId }) : world.do('DetachPasid', { deviceId, pasid })
const noAttach = (ptId: number, pasid?: number): string =>
  pasid === undefined ? world.no('AttachRid', { deviceId, ptId }) : world.no('AttachPasid', { deviceId, ptId, pasid })
const noReplace = (ptId: number, pasid?: number): string =>
  pasid === undefined ? world.no('ReplaceRid', { deviceId, ptId }) : world.no('ReplacePasid', { deviceId, ptId, pasid })

describe('the RID of a device', () => {
  it('takes a window, and a root in it as PASID 0, by either name', () => {
    const [one, two] = [root(), root()]
    expect(attach(window).domainId).toBe(window)
    expect(attach(one, 0).domainId).toBe(one)
    expect(slots()).toEqual([`0:${one}`])
    expect(replace(two, 0)).toEqual({ domainId: two, hitless: false })
    detach(0)
    expect(slots()).toEqual([`0:${window}`])
    expect(replace(one).domainId).toBe(one)
    expect(replace(two).domainId).toBe(two)
    expect(replace(window).domainId).toBe(window)
    detach(0)
    expect(slots()).toEqual([`0:${window}`])
    detach()
    expect(slots()).toEqual([])
    expect(attach(one).domainId).toBe(one)
    expect(slots()).toEqual([`0:${one}`])
  })

  it('keeps the reservation of the device while roots come and go, and when one is refused', () => {
    const one = root()
    attach(window)
    const count = () => world.do('IoasIovaRanges', { ioasId: ioas }).totalCount
    const attached = count()
    attach(one, 0)
    expect(count()).toBe(attached)
    let left = 1
    world.machine.failPoint = (what) => {
      if (what === 'set' && left-- > 0) throw new Error('injected')
    }
    expect(() => replace(root(), 0)).toThrow('injected')
    expect(count()).toBe(attached)
    expect(slots()).toEqual([`0:${one}`])
    detach()
    expect(count()).toBe(attached - 1)
  })

  it('has PASID 0 only while the window is there', () => {
    const one = root()
    expect(noAttach(one, 0)).toBe('EINVAL')
    attach(parent)
    expect(noAttach(one, 0)).toBe('EINVAL')
    expect(noReplace(one, 0)).toBe('EINVAL')
    expect(world.do('DetachPasid', { deviceId, pasid: 0 })).toEqual({})
    expect(slots()).toEqual([`0:${parent}`])
  })

  it('takes nothing else as PASID 0, and no second root', () => {
    const other = root(windowAt(0x20_0000n))
    attach(window)
    expect(noReplace(root(), 0)).toBe('EINVAL')
    for (const ptId of [other, ioas, parent, window]) expect(noAttach(ptId, 0)).toBe('EINVAL')
    expect(noAttach(99, 0)).toBe('ENOENT')
    const one = root()
    attach(one, 0)
    for (const ptId of [one, other, ioas, window]) expect(noAttach(ptId, 0)).toBe('EBUSY')
    for (const ptId of [other, ioas, parent, window]) expect(noReplace(ptId, 0)).toBe('EINVAL')
    expect(slots()).toEqual([`0:${one}`])
  })

  it('goes from a kernel-owned domain to a window and back, while no PASID is in use', () => {
    const one = root()
    attach(parent)
    replace(window)
    replace(ioas)
    replace(one)
    attach(root(), 3)
    expect(noReplace(parent)).toBe('EBUSY')
    expect(noReplace(ioas)).toBe('EBUSY')
    detach(3)
    replace(parent)
  })

  it('goes from one window to another, while no PASID is in use', () => {
    const other = windowAt(0x20_0000n)
    attach(window)
    attach(root(), 3)
    expect(noReplace(other)).toBe('EBUSY')
    expect(noReplace(root(other))).toBe('EBUSY')
    detach(3)
    replace(root(other))
    expect(noAttach(root(window), 3)).toBe('EINVAL')
    attach(root(other), 3)
  })

  it('does not go from a guest’s own table to a window, nor back', () => {
    const guests = ste()
    attach(guests)
    expect(noAttach(window)).toBe('EBUSY')
    expect(noReplace(window)).toBe('EBUSY')
    expect(noReplace(root())).toBe('EBUSY')
    detach()
    attach(window)
    expect(noReplace(guests)).toBe('EBUSY')
    attach(root(), 0)
    expect(noReplace(guests)).toBe('EBUSY')
    expect(noAttach(guests, 4)).toBe('EINVAL')
  })
})

describe('a PASID of a device', () => {
  it('takes a root of the RID’s window, the same on several', () => {
    const [one, two] = [root(), root()]
    attach(window)
    attach(one, 1)
    attach(one, 255)
    attach(two, 0)
    replace(two, 1)
    expect(slots()).toEqual([`0:${two}`, `1:${two}`, `255:${one}`])
    expect(world.no('Destroy', { objectId: one })).toBe('EBUSY')
    expect(noAttach(one, 1)).toBe('EBUSY')
    expect(noAttach(one, 256)).toBe('EINVAL')
    expect(noReplace(one, 2)).toBe('EINVAL')
  })

  it('wants the window to be on the RID first, and says so', () => {
    const one = root()
    const told = () => world.refusal('AttachPasid', { deviceId, ptId: one, pasid: 1 })
    expect(told().name).toBe('EINVAL')
    expect(told().message).toMatch(/attach the window to the RID first/)
    attach(parent)
    expect(told().name).toBe('EINVAL')
    expect(told().message).toMatch(new RegExp(`the RID has paging domain ${parent}; detach that and attach`))
    replace(windowAt(0x20_0000n))
    expect(told().name).toBe('EINVAL')
    replace(window)
    attach(one, 1)
  })

  it('takes no kernel-owned domain and no window beside the RID’s window', () => {
    const kernels = world.paging(deviceId, ioas, PASID)
    attach(window)
    expect(noAttach(kernels, 1)).toBe('EINVAL')
    expect(noAttach(ioas, 1)).toBe('EINVAL')
    expect(noAttach(window, 1)).toBe('EINVAL')
    attach(root(), 1)
    expect(noReplace(kernels, 1)).toBe('EINVAL')
    expect(noReplace(root(windowAt(0x20_0000n)), 1)).toBe('EINVAL')
  })

  it('goes on when the RID is blocked, which then takes that window alone', () => {
    const [one, two] = [root(), root()]
    attach(window)
    attach(one, 0)
    attach(one, 1)
    detach()
    expect(slots()).toEqual([`1:${one}`])
    attach(two, 2)
    expect(noAttach(two, 0)).toBe('EINVAL')
    for (const ptId of [ioas, parent, ste(), windowAt(0x20_0000n)]) expect(noAttach(ptId)).toBe('EBUSY')
    expect(noAttach(world.paging(deviceId, ioas, PASID), 3)).toBe('EINVAL')
    attach(two)
    expect(slots()).toEqual([`0:${two}`, `1:${one}`, `2:${two}`])
    detach()
    attach(window)
  })

  it('keeps a window off the RID while it is kernel-owned', () => {
    const kernels = world.paging(deviceId, ioas, PASID)
    attach(kernels, 1)
    expect(noAttach(window)).toBe('EBUSY')
    expect(noAttach(root())).toBe('EBUSY')
    attach(kernels)
    expect(noReplace(window)).toBe('EBUSY')
  })
})

describe('a window', () => {
  it('is one RID’s table at a time, until its last slot is empty', () => {
    const second = world.bind('arm2')
    attach(window)
    attach(root(), 1)
    const no = () => world.refusal('AttachRid', { deviceId: second, ptId: window })
    expect(no().name).toBe('EBUSY')
    expect(no().message).toMatch(new RegExp(`device ${deviceId} now; make another window`))
    expect(world.no('AttachRid', { deviceId: second, ptId: root() })).toBe('EBUSY')
    detach()
    expect(no().name).toBe('EBUSY')
    detach(1)
    world.do('AttachRid', { deviceId: second, ptId: window })
    expect(noAttach(window)).toBe('EBUSY')
    world.do('UnbindDevice', { deviceId: second })
    attach(window)
  })

  it('is EBUSY to a destroy while it is attached, and free behind it', () => {
    attach(window)
    expect(world.refusal('Destroy', { objectId: window }).context.held_by).toEqual([`device ${deviceId}`])
    attach(root(), 0)
    expect(world.no('Destroy', { objectId: window })).toBe('EBUSY')
    detach()
    expect(world.no('Destroy', { objectId: window })).toBe('EBUSY')
  })

  it('needs the whole device', () => {
    const one = root()
    world.do('UnbindDevice', { deviceId })
    const part = world.bind('arm', PASID_ONLY)
    expect(world.no('AttachRid', { deviceId: part, ptId: window })).toBe('EPERM')
    expect(world.no('AttachRid', { deviceId: part, ptId: one })).toBe('EPERM')
    expect(world.no('AttachPasid', { deviceId: part, ptId: one, pasid: 3 })).toBe('EPERM')
    const child = world.bind('arm/mdev5')
    expect(world.no('AttachRid', { deviceId: child, ptId: window })).toBe('EINVAL')
    expect(world.no('AttachPasid', { deviceId: child, ptId: one, pasid: 5 })).toBe('EPERM')
    expect(world.no('AttachPasid', { deviceId: child, ptId: one, pasid: 0 })).toBe('EINVAL')
  })

  it('was made for one unit', () => {
    expect(world.no('AttachRid', { deviceId: world.bind('intel'), ptId: window })).toBe('EINVAL')
    expect(world.no('AttachRid', { deviceId: world.bind('mock'), ptId: root() })).toBe('EINVAL')
  })
})

describe('a page fault of a device with a window', () => {
  it('goes to the queue of the domain on its PASID, and to no other', () => {
    const { faultQueueId } = world.do('CreateFaultQueue', {})
    const takes = root(window, { flags: FAULT_ID_VALID, faultQueueId })
    attach(window)
    attach(takes, 1)
    const fault = (pasid: number, group = 1) => world.machine.fault('arm', { pasid, group })
    expect(fault(1, 1)).toBe(true)
    expect(fault(2)).toBe(false)
    expect(fault(-1)).toBe(false)
    attach(takes, 0)
    expect(fault(2)).toBe(false)
    expect(fault(-1, 2)).toBe(true)
    const { faults } = world.do('PollFaults', { faultQueueId })
    expect(faults.map(({ pasid, groupId }) => [pasid, groupId])).toEqual([
      [1, 1],
      [0, 2],
    ])
    detach(0)
    expect(world.machine.log).toContain('respond 0:-1:2 invalid')
    expect(world.machine.log).not.toContain('respond 0:1:1 invalid')
  })
})
