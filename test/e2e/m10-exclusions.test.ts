/** M10: what a window excludes, who may have one, and where one of its roots cannot go. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DeviceGrant, HwptFlag } from '../../clients/node/index.js'
import { ARM64, contextDescriptor, GuestTree, steOneCd } from './guest-tables.js'
import { matching, no } from './refusals.js'
import { IOVA, makeWindow, pageOf, rootOf, WINDOW, WindowGuest } from './window-guest.js'
import { DEVICES, World } from './world.js'

const CD = 0x4000_1000n
const OTHER_WINDOW = WINDOW + 0x10_0000n

let world: World
beforeAll(async () => {
  world = await World.start()
})
afterEach(() => world.sweep())
afterAll(() => world.stop())

/** A domain of an STE on a vIOMMU of the guest's parent, for its device. */
async function steDomain(guest: WindowGuest, ste = steOneCd(CD)): Promise<number> {
  const { vmm, deviceId, parent } = guest
  await new GuestTree(world.guest, ARM64, rootOf(9)).map(IOVA, pageOf(9))
  await world.guest.storeAll(CD, contextDescriptor(rootOf(9), 7n))
  const viommuId = await vmm.viommu(deviceId, parent)
  await vmm.vdevice(viommuId, deviceId, 0x10n)
  return vmm.smmuDomain(deviceId, viommuId, ste)
}

describe('M10: a root of a window', () => {
  it('needs its window on the device first: EINVAL on a PASID, and the step is named', async () => {
    const guest = await WindowGuest.make(world, await world.vmm())
    const { deviceId, vmm, windowId } = guest
    const one = await guest.tree(0)
    expect(await no(guest.attachPasid(1, one))).toEqual(matching('EINVAL', /window .*RID first/))
    expect(await no(guest.attachPasid(0, one))).toEqual(matching('EINVAL', /./))
    const paging = await vmm.paging(deviceId, HwptFlag.PASID)
    await vmm.client.attachRid({ deviceId, ptId: paging })
    expect(await no(guest.attachPasid(1, one))).toEqual(matching('EINVAL', /window .*RID first/))
    expect(await no(guest.attachPasid(0, one))).toEqual(matching('EINVAL', /./))
    await vmm.client.replaceRid({ deviceId, ptId: windowId })
    await guest.attachPasid(1, one)
    expect(await guest.reach(1)).toBe(pageOf(0))
  })

  it('of another window is EINVAL, on PASIDs and as PASID 0, by attach and by replace', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { deviceId, vmm, parent } = guest
    const one = await guest.tree(0)
    const other = await makeWindow(vmm, parent, OTHER_WINDOW, 1n)
    const foreign = await guest.pgd(rootOf(0), {}, other)
    for (const pasid of [0, 1]) {
      expect(await no(guest.attachPasid(pasid, foreign))).toEqual(matching('EINVAL', /window/))
      await guest.attachPasid(pasid, one)
      expect(await no(vmm.client.replacePasid({ deviceId, pasid, ptId: foreign }))).toEqual(
        matching('EINVAL', /window/),
      )
      expect(await guest.reach(pasid || undefined)).toBe(pageOf(0))
    }
  })

  it('goes to PASIDs of the device’s width, and PASID 0 is EINVAL to what is no root', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { deviceId, vmm, windowId } = guest
    const one = await guest.tree(0)
    expect(await no(guest.attachPasid(2 ** 20, one))).toEqual(matching('EINVAL', /PASIDs below 1048576/))
    expect(await no(guest.attachPasid(2 ** 31, one))).toEqual(matching('ENOSPC', /2\^31/))
    const plain = await vmm.paging(deviceId)
    for (const ptId of [await vmm.paging(deviceId, HwptFlag.PASID), plain, windowId, guest.parent, vmm.ioasId]) {
      expect((await no(guest.attachPasid(0, ptId)))[0]).toBe('EINVAL')
      expect((await no(guest.attachPasid(1, ptId)))[0]).toBe('EINVAL')
    }
    expect(await guest.slots()).toEqual([[0, windowId]])
    expect(await no(guest.attachPasid(1, windowId))).toEqual(matching('EINVAL', /RID/))
    const kernels = guest.attachPasid(1, await vmm.paging(deviceId, HwptFlag.PASID))
    expect(await no(kernels)).toEqual(matching('EINVAL', /stage 2/))
  })
})

describe('M10: a window', () => {
  it('is one RID’s at a time: a second device is EBUSY and told to make another, which it may on the same parent', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { vmm, windowId, parent } = guest
    const second = await vmm.bind(DEVICES.smmuv3.second)
    const [one, two] = await guest.trees(2)
    const taken = matching('EBUSY', new RegExp(`device ${guest.deviceId}.*another window`))
    for (const ptId of [windowId, one]) {
      expect(await no(vmm.client.attachRid({ deviceId: second, ptId }))).toEqual(taken)
    }
    const own = await makeWindow(vmm, parent, OTHER_WINDOW, 1n)
    await vmm.client.attachRid({ deviceId: second, ptId: own })
    await guest.attachPasid(1, one)
    await vmm.client.attachPasid({ deviceId: second, pasid: 1, ptId: await guest.pgd(rootOf(1), {}, own) })
    for (const _ of [1, 2]) expect([await guest.reach(1), await guest.reach(1, second)]).toEqual([pageOf(0), pageOf(1)])
    // Still its own while a PASID has it, though the RID does not; free for the other when that has gone too.
    await vmm.client.detachRid({ deviceId: guest.deviceId })
    await vmm.client.detachRid({ deviceId: second })
    await vmm.client.detachPasid({ deviceId: second, pasid: 1 })
    expect(await no(vmm.client.attachRid({ deviceId: second, ptId: two }))).toEqual(taken)
    await vmm.client.detachPasid({ deviceId: guest.deviceId, pasid: 1 })
    await vmm.client.attachRid({ deviceId: second, ptId: two })
    expect(await guest.reach(undefined, second)).toBe(pageOf(1))
  })

  it('and a guest’s STE exclude each other on a RID: EBUSY, by attach and by replace, in both directions', async () => {
    const guest = await WindowGuest.make(world, await world.vmm())
    const { deviceId, vmm, windowId } = guest
    const one = await guest.tree(0)
    const ste = await steDomain(guest)
    await vmm.client.attachRid({ deviceId, ptId: ste })
    for (const ptId of [windowId, one]) {
      expect(await no(vmm.client.attachRid({ deviceId, ptId }))).toEqual(matching('EBUSY', /./))
      expect(await no(vmm.client.replaceRid({ deviceId, ptId }))).toEqual(matching('EBUSY', /detach/))
      expect(await guest.reach()).toBe(pageOf(9))
    }
    expect(await no(guest.attachPasid(1, one))).toEqual(matching('EINVAL', /window/))
    await vmm.client.detachRid({ deviceId })
    for (const ptId of [windowId, one]) {
      await vmm.client.attachRid({ deviceId, ptId })
      expect(await no(vmm.client.attachRid({ deviceId, ptId: ste }))).toEqual(matching('EBUSY', /./))
      expect(await no(vmm.client.replaceRid({ deviceId, ptId: ste }))).toEqual(matching('EBUSY', /detach/))
      expect(await guest.reach()).toBe(ptId === one ? pageOf(0) : IOVA)
      await vmm.client.detachRid({ deviceId })
    }
    await vmm.client.attachRid({ deviceId, ptId: one })
    await guest.attachPasid(4, one)
    await vmm.client.detachRid({ deviceId })
    expect(await no(vmm.client.attachRid({ deviceId, ptId: ste }))).toEqual(matching('EBUSY', /PASID 4/))
    await vmm.client.detachPasid({ deviceId, pasid: 4 })
    await vmm.client.attachRid({ deviceId, ptId: ste })
    expect(await guest.reach()).toBe(pageOf(9))
  })

  it('takes turns with kernel-owned domains by replace, while no PASID is in use; EBUSY with one', async () => {
    const guest = await WindowGuest.make(world, await world.vmm())
    const { deviceId, vmm, windowId } = guest
    const one = await guest.tree(0)
    const paging = await vmm.paging(deviceId, HwptFlag.PASID)
    const replace = (ptId: number) => vmm.client.replaceRid({ deviceId, ptId })
    await vmm.client.attachRid({ deviceId, ptId: vmm.ioasId })
    for (const ptId of [windowId, paging, one, guest.parent, windowId, vmm.ioasId, one, paging]) {
      await replace(ptId)
      expect(await guest.reach()).toBe(ptId === one ? pageOf(0) : IOVA)
    }
    // M9's table in use.
    await guest.attachPasid(6, paging)
    for (const ptId of [windowId, one]) expect(await no(replace(ptId))).toEqual(matching('EBUSY', /PASID 6/))
    expect([await guest.reach(), await guest.reach(6)]).toEqual([IOVA, IOVA])
    await vmm.client.detachPasid({ deviceId, pasid: 6 })
    // The window's in use.
    await replace(windowId)
    await guest.attachPasid(6, one)
    for (const ptId of [paging, guest.parent]) {
      expect(await no(replace(ptId))).toEqual(matching('EBUSY', /PASID 6/))
      expect([await guest.reach(), await guest.reach(6)]).toEqual([IOVA, pageOf(0)])
    }
    await vmm.client.detachPasid({ deviceId, pasid: 6 })
    await replace(paging)
  })

  it('takes turns with another window by replace, while no PASID is in use; EBUSY with one', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { deviceId, vmm, windowId, parent } = guest
    const one = await guest.tree(0)
    const other = await makeWindow(vmm, parent, OTHER_WINDOW, 1n)
    const root = await guest.pgd(rootOf(0), {}, other)
    const replace = (ptId: number) => vmm.client.replaceRid({ deviceId, ptId })
    for (const [ptId, place] of [
      [other, IOVA],
      [windowId, IOVA],
      [root, pageOf(0)],
      [one, pageOf(0)],
      [other, IOVA],
    ] as const) {
      await replace(ptId)
      expect(await guest.reach()).toBe(place)
    }
    await guest.attachPasid(2, root)
    for (const ptId of [windowId, one]) expect(await no(replace(ptId))).toEqual(matching('EBUSY', /PASID 2/))
    expect([await guest.reach(), await guest.reach(2)]).toEqual([IOVA, pageOf(0)])
  })
})

describe('M11 on smmuv3: a window', () => {
  it('and its roots are EPERM to a device bound PASID_ONLY, on PASIDs as on the RID', async () => {
    const guest = await WindowGuest.make(world, await world.vmm(), { grant: DeviceGrant.PASID_ONLY })
    const { deviceId, vmm, windowId } = guest
    const one = await guest.tree(0)
    for (const ptId of [windowId, one]) {
      expect(await no(vmm.client.attachRid({ deviceId, ptId }))).toEqual(matching('EPERM', /WHOLE_DEVICE/))
    }
    expect(await no(guest.attachPasid(1, one))).toEqual(matching('EPERM', /PASID_ONLY/))
    expect(await no(guest.attachPasid(0, one))).toEqual(matching('EINVAL', /PASID 0 is the RID/))
    expect(await guest.slots()).toEqual([])
  })

  it('and its roots are EPERM to a mediated device, and the reason says why', async () => {
    const vmm = await world.vmm()
    const guest = await WindowGuest.make(world, vmm)
    const one = await guest.tree(0)
    const deviceId = await vmm.bind(DEVICES.smmuv3.mediated)
    expect(await no(vmm.client.attachPasid({ deviceId, pasid: 7, ptId: one }))).toEqual(matching('EPERM', /RID/))
    const smmuv3Pgd = { ttb0: rootOf(0), t0sz: 16, ips: 5 }
    const made = vmm.client.createUserDomain({ deviceId, windowId: guest.windowId, smmuv3Pgd })
    const own = await made
      .then(({ domainId }) => vmm.client.attachPasid({ deviceId, pasid: 7, ptId: domainId }))
      .then(
        () => 'taken',
        (refused: { errnoName: string }) => refused.errnoName,
      )
    expect(own).toBe('EPERM')
  })
})
