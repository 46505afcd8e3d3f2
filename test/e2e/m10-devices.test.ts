/** M10: devices that keep translations or wait for pages behind a window; mappings beside it; calls at once. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DmaOutcome, PageResponseCode } from '../../clients/node/index.js'
import { ARM64, GuestTree } from './guest-tables.js'
import { FIELDS, IOVA, makeWindow, PAGE, pageOf, RAM, rootOf, WINDOW, WindowGuest } from './window-guest.js'
import { DEVICES, World, WRITE } from './world.js'

const STALLING = '0000:09:01.0'
const platform = {
  units: [
    { name: 'smmu0', type: 'smmuv3', preset: 'ats' },
    { name: 'smmu1', type: 'smmuv3', preset: 'full' },
  ],
  devices: [
    { name: DEVICES.smmuv3.first, iommu: 'smmu0', pasidBits: 20 },
    { name: DEVICES.smmuv3.second, iommu: 'smmu0', pasidBits: 20, ats: true, pri: true },
    { name: STALLING, iommu: 'smmu1', pasidBits: 20, stalls: true },
  ],
}

let world: World
beforeAll(async () => {
  world = await World.start(platform)
})
afterEach(() => world.sweep())
afterAll(() => world.stop())

/** A call that takes translations back: completes what the device is asked, until the call has answered. */
async function completing<T>(
  guest: WindowGuest,
  call: Promise<T>,
): Promise<{ reply: T; asked: (number | undefined)[] }> {
  const { client } = guest.vmm
  const { deviceId } = guest
  const asked: (number | undefined)[] = []
  let isDone = false
  const done = call.finally(() => {
    isDone = true
  })
  while (!isDone) {
    const { invalidations } = await client.pollInvalidations({ deviceId, waitMs: 20 })
    asked.push(...invalidations.map(({ pasid, allPasids }) => (allPasids ? -1 : pasid)))
    await client.completeInvalidations({ deviceId, tags: invalidations.map(({ tag }) => tag) })
  }
  return { reply: await done, asked }
}

describe('M10: a device with ATS behind a window', () => {
  async function begin(pages = 1n) {
    const guest = await WindowGuest.attached(world, await world.vmm(), { name: DEVICES.smmuv3.second, pages })
    const { deviceId, vmm } = guest
    const ask = async (pasid?: number) => {
      const { statuses, addresses, permissions } = await vmm.client.requestTranslations({
        deviceId,
        pasid,
        iovas: [IOVA],
        access: WRITE,
      })
      return statuses[0] === 1 && permissions[0] !== 0 ? RAM + addresses[0] : undefined
    }
    return { guest, ask, ...guest }
  }

  it('is given what each PASID’s own table says, and asked for it back by InvalidateIotlb on each slot of the domain', async () => {
    const { guest, ask, vmm } = await begin()
    const [one, two] = await guest.trees(2)
    for (const [pasid, ptId] of [
      [1, one],
      [2, one],
      [3, two],
    ])
      await guest.attachPasid(pasid, ptId)
    expect([await ask(1), await ask(2), await ask(3)]).toEqual([pageOf(0), pageOf(0), pageOf(1)])
    await new GuestTree(world.guest, ARM64, rootOf(0)).map(IOVA, pageOf(5))
    const entries = [{ addr: IOVA, npages: 1n, flags: 1 }]
    const { reply, asked } = await completing(
      guest,
      vmm.client.invalidateIotlb({ userDomainId: one, smmuv3Pgd: { entries } }),
    )
    expect(reply).toMatchObject({ doneCount: 1 })
    expect(asked.sort()).toEqual([1, 2])
    expect([await ask(1), await ask(2), await ask(3)]).toEqual([pageOf(5), pageOf(5), pageOf(1)])
  })

  it('loses it when a PASID goes or moves; growth asks nothing back of the others', async () => {
    const { guest, ask, vmm, deviceId } = await begin(8n)
    const [one, two] = await guest.trees(2)
    await guest.attachPasid(1, one)
    await guest.attachPasid(2, one)
    expect([await ask(1), await ask(2)]).toEqual([pageOf(0), pageOf(0)])
    const grown = await completing(guest, guest.attachPasid(64, two))
    expect(grown.asked).toEqual([])
    expect(await ask(64)).toBe(pageOf(1))
    const moved = await completing(guest, vmm.client.replacePasid({ deviceId, pasid: 1, ptId: two }))
    expect(moved.asked).toEqual([1])
    const gone = await completing(guest, vmm.client.detachPasid({ deviceId, pasid: 2 }))
    expect(gone.asked).toEqual([2])
    expect([await ask(1), await ask(2), await ask(64)]).toEqual([pageOf(1), undefined, pageOf(1)])
  })

  it('is granted nothing of the window itself, which it may read untranslated', async () => {
    const { deviceId, vmm } = await begin()
    const reply = await vmm.client.requestTranslations({ deviceId, iovas: [WINDOW] })
    expect([reply.regionIds[0], reply.addresses[0]]).toEqual([0, 0n])
    const read = await vmm.client.dmaRead({ deviceId, operations: [{ address: WINDOW, length: 8 }] })
    expect(read.results[0].outcome).toBe(DmaOutcome.OK)
  })
})

describe('M10: a device that stalls behind a window', () => {
  it('waits on its PASID for the page, is told to the domain’s fault queue, and goes on', async () => {
    const vmm = await world.vmm()
    const guest = await WindowGuest.attached(world, vmm, { name: STALLING })
    const { deviceId, windowId } = guest
    const { client } = vmm
    const { faultQueueId } = await client.createFaultQueue({})
    const smmuv3Pgd = { ...FIELDS, ttb0: rootOf(0) }
    const made = client.createUserDomain({ deviceId, windowId, smmuv3Pgd, flags: 4, faultQueueId })
    const tree = new GuestTree(world.guest, ARM64, rootOf(0))
    await tree.map(IOVA, pageOf(0))
    await guest.attachPasid(5, (await made).domainId)
    await guest.attachPasid(6, await guest.tree(1))
    const missing = IOVA + 0x5000n
    const reply = await client.translate({ deviceId, pasid: 5, iovas: [missing], access: WRITE })
    expect([...reply.outcomes]).toEqual([DmaOutcome.PENDING])
    const { faults } = await client.pollFaults({ faultQueueId, waitMs: 2000 })
    expect(faults).toMatchObject([{ deviceId, pasid: 5, addr: missing, flags: 3 }])
    // Others go on, and one without a queue does not wait.
    expect([await guest.reach(5), await guest.reach(6)]).toEqual([pageOf(0), pageOf(1)])
    expect(await vmm.dma(deviceId, missing, WRITE, 6)).toMatchObject({ fault: 'F_TRANSLATION' })
    await tree.map(missing, pageOf(7))
    const responses = [{ cookie: faults[0].cookie, code: PageResponseCode.SUCCESS }]
    await client.respondFaults({ faultQueueId, responses })
    const transactionIds = [...reply.transactionIds]
    const { results } = await client.awaitDma({ transactionIds, waitMs: 2000 })
    expect(results[0]).toMatchObject({ outcome: DmaOutcome.OK, translation: { location: { offset: pageOf(7) - RAM } } })
  })
})

describe('M10: beside a window', () => {
  it('all mappings may go and come back: the table stays, and PASIDs work again', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { vmm, deviceId } = guest
    const { client, ioasId, regionId } = vmm
    const [one] = await guest.trees(1)
    await guest.attachPasid(1, one)
    await client.ioasMap({ ioasId, flags: 7, region: { regionId, offset: 0n }, length: PAGE, iova: WINDOW - PAGE })
    await client.ioasUnmap({ ioasId, iova: 0n, length: 0xffff_ffff_ffff_ffffn })
    expect(await guest.reach(1)).toBe('F_TRANSLATION')
    expect((await client.translate({ deviceId, iovas: [WINDOW] })).outcomes[0]).toBe(DmaOutcome.OK)
    await client.ioasMap({ ioasId, flags: 7, region: { regionId, offset: 0n }, length: 0x40_0000n, iova: RAM })
    expect(await guest.reach(1)).toBe(pageOf(0))
  })

  it('large pages end where it begins: mappings of the whole space around it leave it alone', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.smmuv3.first)
    const parent = await vmm.parent(deviceId)
    // In the middle of what could be one block of 2 MiB.
    const first = 0x5010_0000n
    const windowId = await makeWindow(vmm, parent, first, 1n)
    const { client, ioasId, regionId } = vmm
    const region = (offset: bigint) => ({ regionId, offset })
    await client.ioasMap({ ioasId, flags: 7, region: region(0n), length: 0x10_0000n, iova: 0x5000_0000n })
    await client.ioasMap({ ioasId, flags: 7, region: region(0x10_1000n), length: 0xf_f000n, iova: first + PAGE })
    await client.attachRid({ deviceId, ptId: windowId })
    expect((await vmm.dma(deviceId, first - 1n)).address).toBe(RAM + 0xf_ffffn)
    expect((await vmm.dma(deviceId, first + PAGE, WRITE)).address).toBe(RAM + 0x10_1000n)
    expect(await vmm.dma(deviceId, first, WRITE)).toMatchObject({ fault: 'F_PERMISSION' })
    await client.detachRid({ deviceId })
    await client.destroy({ objectId: windowId })
    // Now one block after all.
    await client.ioasMap({ ioasId, flags: 7, region: region(0x10_0000n), length: PAGE, iova: first })
    await client.attachRid({ deviceId, ptId: parent })
    expect((await vmm.dma(deviceId, first + 5n, WRITE)).address).toBe(RAM + 0x10_0005n)
  })

  it('a hundred PASIDs come and go at once, with growth under way, and each is where it was put', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm(), { pages: 2n })
    const { vmm, deviceId, windowId } = guest
    const [one, two] = await guest.trees(2)
    const pasids = Array.from({ length: 100 }, (_, i) => 1 + i * 37)
    const grow = vmm.client.growWindow({
      windowId,
      first: WINDOW + 0x10_0000n,
      last: WINDOW + 0x10_0000n + 128n * PAGE - 1n,
    })
    const early = guest.attachPasid(2, one)
    await Promise.all([grow, early])
    await Promise.all(pasids.map((pasid, i) => guest.attachPasid(pasid, i % 2 === 0 ? one : two)))
    const places = await Promise.all(pasids.map((pasid) => guest.reach(pasid)))
    expect(places).toEqual(pasids.map((_, i) => pageOf(i % 2)))
    const half = pasids.filter((_, i) => i % 3 === 0)
    await Promise.all([
      ...half.map((pasid) => vmm.client.detachPasid({ deviceId, pasid })),
      ...[0, 0].map(() => vmm.client.replaceRid({ deviceId, ptId: two })),
    ])
    for (const [i, pasid] of pasids.entries()) {
      expect(await guest.reach(pasid)).toEqual(half.includes(pasid) ? 'C_BAD_CD' : pageOf(i % 2))
    }
    expect(await guest.reach()).toBe(pageOf(1))
  })
})
