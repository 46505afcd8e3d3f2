/** M10: what goes to the RID and to PASIDs of a device that has a window, and what is in the way of the rest. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { HwptFlag } from '../../clients/node/index.js'
import { Explained } from './explained.js'
import { ARM64, contextDescriptor, GuestTree, steOneCd } from './guest-tables.js'
import { matching, no } from './refusals.js'
import { IOVA, makeWindow, pageOf, WINDOW, WindowGuest } from './window-guest.js'
import { DEVICES, World } from './world.js'

let world: World
beforeAll(async () => {
  world = await World.start()
})
afterEach(() => world.sweep())
afterAll(() => world.stop())

const STE_FIELDS = ['Config', 'S1Fmt', 'S1ContextPtr', 'S1CDMax', 'S1DSS', 'S1CIR', 'S1COR', 'S1CSH'] as const

describe('M10: a window on a RID', () => {
  it('is a nested STE whose pointer is the window’s IPA; what comes without PASID is past stage 1', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const walk = await Explained.of(guest.vmm, guest.deviceId, IOVA)
    // Nested, linear, 2^6 CDs, without SubstreamID bypass. [SMMU 5.2 Stream Table Entry]
    expect(walk.fields('STE', ...STE_FIELDS)).toEqual({
      ...{ Config: 7n, S1Fmt: 0n, S1ContextPtr: WINDOW, S1CDMax: 6n, S1DSS: 1n },
      ...{ S1CIR: 1n, S1COR: 1n, S1CSH: 3n },
    })
    expect(walk.steps.map(({ structure }) => structure)).not.toContain('CD')
    expect(await guest.reach()).toBe(IOVA)
    expect(await guest.slots()).toEqual([[0, guest.windowId]])
    // No root is anywhere yet.
    expect(await guest.reach(0)).not.toBe(IOVA)
    expect(await guest.reach(1)).toBe('C_BAD_CD')
    expect(await guest.reach(64)).toBe('C_BAD_SUBSTREAMID')
  })

  it('takes roots on PASIDs, each its own, and the walk of each goes through stage 2 to its CD in the window', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const domains = await guest.trees(3)
    for (const [i, pasid] of [1, 2, 63].entries()) {
      expect(await guest.attachPasid(pasid, domains[i])).toEqual({ domainId: domains[i] })
    }
    expect([await guest.reach(1), await guest.reach(2), await guest.reach(63)]).toEqual([0, 1, 2].map(pageOf))
    expect([await guest.reach(), await guest.reach(3)]).toEqual([IOVA, 'C_BAD_CD'])
    const walk = await Explained.of(guest.vmm, guest.deviceId, IOVA, 63)
    expect(walk.step('CD')).toMatchObject({ space: 2, address: WINDOW + 63n * 64n })
    // T0SZ 16, EPD1, V, IPS, AA64, R, A, ASET. [SMMU 5.4 Context Descriptor]
    const flags = [
      'T0SZ',
      'TG0',
      'IR0',
      'OR0',
      'SH0',
      'EPD1',
      'V',
      'IPS',
      'AA64',
      'R',
      'A',
      'ASET',
      'HA',
      'HD',
      'S',
    ] as const
    expect(Object.values(walk.fields('CD', ...flags))).toEqual([
      16n,
      0n,
      1n,
      1n,
      3n,
      1n,
      1n,
      5n,
      1n,
      1n,
      1n,
      1n,
      0n,
      0n,
      0n,
    ])
    const asids = await Promise.all(
      [1, 2, 63].map(async (pasid) => (await Explained.of(guest.vmm, guest.deviceId, IOVA, pasid)).field('CD', 'ASID')),
    )
    expect(new Set(asids).size).toBe(3)
    expect(await guest.slots()).toEqual([
      [0, guest.windowId],
      [1, domains[0]],
      [2, domains[1]],
      [63, domains[2]],
    ])
    // One domain may be on many PASIDs.
    await guest.attachPasid(40, domains[0])
    expect(await guest.reach(40)).toBe(pageOf(0))
    await guest.vmm.client.detachPasid({ deviceId: guest.deviceId, pasid: 1 })
    expect([await guest.reach(1), await guest.reach(40)]).toEqual(['C_BAD_CD', pageOf(0)])
  })

  it('gives the RID a root as PASID 0, by either name, and takes it back; PASIDs see nothing of it', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { deviceId, windowId, vmm } = guest
    const { client } = vmm
    const [one, two, three] = await guest.trees(3)
    await guest.attachPasid(5, three)
    const state = async () => {
      expect(await guest.reach(5)).toBe(pageOf(2))
      const walk = await Explained.of(vmm, deviceId, IOVA)
      return [walk.field('STE', 'S1DSS'), await guest.reach(), (await guest.slots())[0][1]]
    }
    const bypass = [1n, IOVA, windowId]
    expect(await state()).toEqual(bypass)
    await guest.attachPasid(0, one)
    expect(await state()).toEqual([2n, pageOf(0), one])
    expect(await no(guest.attachPasid(0, two))).toEqual(matching('EBUSY', /./))
    await client.replacePasid({ deviceId, pasid: 0, ptId: two })
    expect(await state()).toEqual([2n, pageOf(1), two])
    await client.detachPasid({ deviceId, pasid: 0 })
    expect(await state()).toEqual(bypass)
    // S1DSS is all that changes of the STE. [SMMU 5.2 Stream Table Entry]
    expect(await client.replaceRid({ deviceId, ptId: one })).toEqual({ domainId: one, hitless: true })
    expect(await state()).toEqual([2n, pageOf(0), one])
    await client.replaceRid({ deviceId, ptId: two })
    expect(await state()).toEqual([2n, pageOf(1), two])
    expect(await client.replaceRid({ deviceId, ptId: windowId })).toEqual({ domainId: windowId, hitless: true })
    expect(await state()).toEqual(bypass)
    // A request that names PASID 0 is not one without PASID.
    await guest.attachPasid(0, one)
    expect(await guest.reach(0)).toBe('F_STREAM_DISABLED')
  })

  it('comes with a root when the root is attached to an empty RID: both steps at once', async () => {
    const guest = await WindowGuest.make(world, await world.vmm())
    const { deviceId } = guest
    const [one, two] = await guest.trees(2)
    expect(await guest.vmm.client.attachRid({ deviceId, ptId: one })).toEqual({ domainId: one })
    expect(await guest.reach()).toBe(pageOf(0))
    await guest.attachPasid(1, two)
    expect([await guest.reach(), await guest.reach(1)]).toEqual([pageOf(0), pageOf(1)])
  })

  it('may be detached while PASIDs are in use: they go on, the RID is blocked, and only this window comes back', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { deviceId, windowId, vmm } = guest
    const { client } = vmm
    const [one, two] = await guest.trees(2)
    await guest.attachPasid(3, one)
    await client.detachRid({ deviceId })
    expect([await guest.reach(), await guest.reach(3)]).toEqual(['F_STREAM_DISABLED', pageOf(0)])
    expect(await guest.slots()).toEqual([[3, one]])
    const other = await makeWindow(vmm, guest.parent, WINDOW + 0x10_0000n, 1n)
    const foreign = await guest.pgd(0x4001_0000n, {}, other)
    const kernels = await vmm.paging(deviceId, HwptFlag.PASID)
    for (const ptId of [other, foreign, kernels, guest.parent, vmm.ioasId]) {
      expect(await no(client.attachRid({ deviceId, ptId }))).toEqual(matching('EBUSY', /PASID 3.*detach/))
    }
    // Further PASIDs of the window come and go meanwhile.
    await guest.attachPasid(4, two)
    expect(await guest.reach(4)).toBe(pageOf(1))
    await client.attachRid({ deviceId, ptId: windowId })
    expect([await guest.reach(), await guest.reach(3)]).toEqual([IOVA, pageOf(0)])
    await client.detachRid({ deviceId })
    await client.attachRid({ deviceId, ptId: two })
    expect([await guest.reach(), await guest.reach(3)]).toEqual([pageOf(1), pageOf(0)])
    await client.detachRid({ deviceId })
    for (const pasid of [3, 4]) await client.detachPasid({ deviceId, pasid })
    expect(await guest.reach()).toBe('outcome 3')
    await client.attachRid({ deviceId, ptId: kernels })
    expect(await guest.reach()).toBe(IOVA)
  })

  it('moves a PASID from root to root, and leaves the others alone', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { deviceId } = guest
    const [one, two] = await guest.trees(2)
    for (const pasid of [7, 8]) await guest.attachPasid(pasid, one)
    expect(await no(guest.attachPasid(7, two))).toEqual(matching('EBUSY', /./))
    expect(await guest.vmm.client.replacePasid({ deviceId, pasid: 7, ptId: two })).toMatchObject({ domainId: two })
    expect([await guest.reach(7), await guest.reach(8)]).toEqual([pageOf(1), pageOf(0)])
    expect(await guest.vmm.client.replacePasid({ deviceId, pasid: 7, ptId: two })).toEqual({
      domainId: two,
      hitless: true,
    })
    const empty = guest.vmm.client.replacePasid({ deviceId, pasid: 9, ptId: two })
    expect(await no(empty)).toEqual(matching('EINVAL', /attach it first/))
  })

  it('has ASIDs of its own: a guest with the same ones on the same parent is never met', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { vmm } = guest
    const [one] = await guest.trees(1)
    await guest.attachPasid(1, one)
    const asid = (await Explained.of(vmm, guest.deviceId, IOVA, 1)).field('CD', 'ASID')
    const second = await vmm.bind(DEVICES.smmuv3.second)
    const [root, cd] = [0x4010_0000n, 0x4000_1000n]
    await new GuestTree(world.guest, ARM64, root).map(IOVA, pageOf(50))
    await world.guest.storeAll(cd, contextDescriptor(root, asid))
    const viommuId = await vmm.viommu(second, guest.parent)
    await vmm.vdevice(viommuId, second, 1n)
    await vmm.client.attachRid({ deviceId: second, ptId: await vmm.smmuDomain(second, viommuId, steOneCd(cd)) })
    for (const _ of [1, 2, 3]) {
      expect([await guest.reach(1), await guest.reach(undefined, second)]).toEqual([pageOf(0), pageOf(50)])
    }
    // Its invalidation of everything leaves the window's entries.
    expect((await vmm.dma(guest.deviceId, IOVA, 1, 1)).hit).toBe(true)
    await vmm.client.invalidateIotlb({ viommuId, smmuv3: { entries: [{ dw0: 0x30n, dw1: 0n }] } })
    expect((await vmm.dma(guest.deviceId, IOVA, 1, 1)).hit).toBe(true)
    expect((await vmm.dma(second, IOVA)).hit).toBe(false)
    // What the parent loses, all of them lose.
    await vmm.client.ioasUnmap({ ioasId: vmm.ioasId, iova: 0x4000_0000n, length: 0x40_0000n })
    for (const [id, pasid] of [
      [guest.deviceId, 1],
      [guest.deviceId, undefined],
      [second, undefined],
    ] as const) {
      expect(await vmm.dma(id, IOVA, 1, pasid)).toMatchObject({ fault: 'F_TRANSLATION' })
    }
  })
})
