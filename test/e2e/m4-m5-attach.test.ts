/** Routing a device's DMA into domains: the RID, and each PASID. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DmaOutcome, HwptFlag } from '../../clients/node/index.js'
import { ARM64, contextDescriptor, GuestTree, INTEL, steOneCd } from './guest-tables.js'
import { ARCHS, DEVICES, refusal, World } from './world.js'

const CD = 0x4000_1000n
const ROOT = 0x4001_0000n
const IOVA = 0x6000_0000n
const PAGE = 0x4010_0000n
const MAPPED = 0x4000_0000n

let world: World

beforeAll(async () => {
  world = await World.start()
})

afterEach(() => world.sweep())

afterAll(() => world.stop())

describe.each(ARCHS)('M4 on %s: the RID', (arch) => {
  it('is blocked after bind, reaches the IOAS after attach, and is blocked again after detach', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES[arch].first)
    expect((await vmm.dma(deviceId, MAPPED)).outcome).not.toBe(DmaOutcome.OK)
    const { domainId } = await vmm.client.attachRid({ deviceId, ptId: vmm.ioasId })
    expect(domainId).toBeGreaterThan(0)
    expect(await vmm.dma(deviceId, MAPPED + 0x42n)).toMatchObject({ address: MAPPED + 0x42n })
    await vmm.client.detachRid({ deviceId })
    expect((await vmm.dma(deviceId, MAPPED)).outcome).not.toBe(DmaOutcome.OK)
    await vmm.close()
  })

  it('that is occupied is EBUSY to attach, and moves with replace', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES[arch].first)
    const [one, two] = [await vmm.paging(deviceId), await vmm.paging(deviceId)]
    expect((await refusal(vmm.client.replaceRid({ deviceId, ptId: one }))).errnoName).toBe('EINVAL')
    await vmm.client.attachRid({ deviceId, ptId: one })
    expect((await refusal(vmm.client.attachRid({ deviceId, ptId: two }))).errnoName).toBe('EBUSY')
    expect(await vmm.client.replaceRid({ deviceId, ptId: two })).toMatchObject({ domainId: two })
    expect((await vmm.dma(deviceId, MAPPED)).outcome).toBe(DmaOutcome.OK)
    await vmm.client.destroy({ objectId: one })
    expect((await refusal(vmm.client.destroy({ objectId: two }))).errnoName).toBe('EBUSY')
    await vmm.close()
  })

  it('sees an unmapping at once: what was cached is flushed before the call returns', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES[arch].first)
    await vmm.client.attachRid({ deviceId, ptId: vmm.ioasId })
    expect((await vmm.dma(deviceId, MAPPED)).outcome).toBe(DmaOutcome.OK)
    await vmm.client.ioasUnmap({ ioasId: vmm.ioasId, iova: 0n, length: 0xffff_ffff_ffff_ffffn })
    expect((await vmm.dma(deviceId, MAPPED)).outcome).toBe(DmaOutcome.FAULT)
    await vmm.close()
  })

  it('of a device that another context has bound is nobody else’s: EBUSY', async () => {
    const [one, two] = [await world.vmm(), await world.vmm()]
    await one.bind(DEVICES[arch].first)
    expect((await refusal(two.bind(DEVICES[arch].first))).errnoName).toBe('EBUSY')
    await one.close()
    expect(await two.bind(DEVICES[arch].first)).toBeGreaterThan(0)
    await two.close()
  })

  it('cannot be attached to a domain of the other architecture’s unit: EINVAL', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES[arch].first)
    const other = await vmm.bind(DEVICES[arch === 'smmuv3' ? 'vtd' : 'smmuv3'].first)
    const domain = await vmm.parent(other)
    expect((await refusal(vmm.client.attachRid({ deviceId, ptId: domain }))).errnoName).toBe('EINVAL')
    await vmm.close()
  })
})

describe('M5 on vtd: a PASID', () => {
  it('takes a paging domain and a user domain, each its own', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.vtd.first)
    const tree = new GuestTree(world.guest, INTEL, ROOT)
    await tree.map(IOVA, PAGE)
    const parent = await vmm.parent(deviceId)
    const user = await vmm.vtdDomain(deviceId, parent, ROOT, HwptFlag.PASID)
    const paging = await vmm.paging(deviceId, HwptFlag.PASID)
    await vmm.client.attachPasid({ deviceId, pasid: 5, ptId: user })
    await vmm.client.attachPasid({ deviceId, pasid: 6, ptId: paging })
    expect(await vmm.dma(deviceId, IOVA, 1, 5)).toMatchObject({ address: PAGE })
    expect(await vmm.dma(deviceId, MAPPED, 1, 6)).toMatchObject({ address: MAPPED })
    expect((await vmm.dma(deviceId, IOVA, 1, 6)).outcome).toBe(DmaOutcome.FAULT)
    expect((await vmm.dma(deviceId, IOVA, 1, 7)).outcome).toBe(DmaOutcome.FAULT)
    await vmm.client.detachPasid({ deviceId, pasid: 5 })
    expect((await vmm.dma(deviceId, IOVA, 1, 5)).outcome).toBe(DmaOutcome.FAULT)
    await vmm.client.replacePasid({ deviceId, pasid: 6, ptId: user })
    expect(await vmm.dma(deviceId, IOVA, 1, 6)).toMatchObject({ address: PAGE })
    await vmm.close()
  })
})

describe.each(ARCHS)('M5 on %s: attaching a PASID', (arch) => {
  it('wants a domain made with PASID, an empty slot, and no IOAS id', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES[arch].first)
    const plain = await vmm.paging(deviceId)
    const domain = await vmm.paging(deviceId, HwptFlag.PASID)
    const attach = (ptId: number, pasid = 3) => vmm.client.attachPasid({ deviceId, pasid, ptId })
    expect((await refusal(attach(plain))).errnoName).toBe('EINVAL')
    expect((await refusal(attach(vmm.ioasId))).errnoName).toBe('EINVAL')
    await attach(domain)
    expect((await refusal(attach(domain))).errnoName).toBe('EBUSY')
    expect((await refusal(attach(domain, 1 << 20))).errnoName).toBe('EINVAL')
    await vmm.close()
  })
})

describe('M5 on smmuv3: a PASID', () => {
  it('takes no STE’s user domain: EINVAL, because an STE covers the RID and all its PASIDs', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.smmuv3.first)
    const tree = new GuestTree(world.guest, ARM64, ROOT)
    await tree.map(IOVA, PAGE)
    await world.guest.storeAll(CD, contextDescriptor(ROOT, 7n))
    const viommu = await vmm.viommu(deviceId, await vmm.parent(deviceId))
    await vmm.vdevice(viommu, deviceId, 1n)
    const domain = await vmm.smmuDomain(deviceId, viommu, steOneCd(CD))
    const no = await refusal(vmm.client.attachPasid({ deviceId, pasid: 5, ptId: domain }))
    expect(no.errnoName).toBe('EINVAL')
    expect(no.reason).toMatch(/PASID/)
    await vmm.close()
  })
})
