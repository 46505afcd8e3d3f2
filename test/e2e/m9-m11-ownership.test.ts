/** Host-owned CD tables, and what a device authorises. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DeviceGrant, DmaOutcome, HwptFlag } from '../../clients/node/index.js'
import { ARM64, contextDescriptor, GuestTree, INTEL, steOneCd } from './guest-tables.js'
import { ARCHS, DEVICES, refusal, World } from './world.js'

const CD = 0x4000_1000n
const ROOT = 0x4001_0000n
const IOVA = 0x2222_2000n
const PAGE = 0x4010_0000n
const MAPPED = 0x4000_0000n
const MDEV_PASID = 7

let world: World

beforeAll(async () => {
  world = await World.start()
})

afterEach(() => world.sweep())

afterAll(() => world.stop())

describe('M9 on smmuv3: kernel-owned domains on PASIDs', () => {
  it('are CDs in the daemon’s own table, beside a RID on stage 1', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.smmuv3.first)
    const rid = await vmm.paging(deviceId, HwptFlag.PASID)
    const { ioasId } = await vmm.client.createIoas()
    const region = { regionId: vmm.regionId, offset: 0x10_0000n }
    await vmm.client.ioasMap({ ioasId, flags: 7, region, length: 0x1000n, iova: 0x9000n })
    const { domainId } = await vmm.client.createPagingDomain({ flags: HwptFlag.PASID, deviceId, ioasId })
    await vmm.client.attachRid({ deviceId, ptId: rid })
    await vmm.client.attachPasid({ deviceId, pasid: 3, ptId: domainId })
    await vmm.client.attachPasid({ deviceId, pasid: 4, ptId: rid })
    expect(await vmm.dma(deviceId, MAPPED)).toMatchObject({ address: MAPPED })
    expect(await vmm.dma(deviceId, 0x9010n, 1, 3)).toMatchObject({ address: MAPPED + 0x10_0010n })
    expect(await vmm.dma(deviceId, MAPPED, 1, 4)).toMatchObject({ address: MAPPED })
    expect((await vmm.dma(deviceId, MAPPED, 1, 3)).outcome).toBe(DmaOutcome.FAULT)
    await vmm.client.detachPasid({ deviceId, pasid: 3 })
    expect((await vmm.dma(deviceId, 0x9010n, 1, 3)).outcome).toBe(DmaOutcome.FAULT)
    expect(await vmm.dma(deviceId, MAPPED, 1, 4)).toMatchObject({ address: MAPPED })
    await vmm.close()
  })

  it('work with the RID blocked', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.smmuv3.first)
    const domain = await vmm.paging(deviceId, HwptFlag.PASID)
    await vmm.client.attachPasid({ deviceId, pasid: 3, ptId: domain })
    expect(await vmm.dma(deviceId, MAPPED, 1, 3)).toMatchObject({ address: MAPPED })
    expect((await vmm.dma(deviceId, MAPPED)).outcome).not.toBe(DmaOutcome.OK)
    await vmm.close()
  })

  it('exclude a user domain on the RID, in both orders: EBUSY, EINVAL', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.smmuv3.first)
    await new GuestTree(world.guest, ARM64, ROOT).map(IOVA, PAGE)
    await world.guest.storeAll(CD, contextDescriptor(ROOT, 7n))
    const viommu = await vmm.viommu(deviceId, await vmm.parent(deviceId))
    await vmm.vdevice(viommu, deviceId, 1n)
    const user = await vmm.smmuDomain(deviceId, viommu, steOneCd(CD))
    const paging = await vmm.paging(deviceId, HwptFlag.PASID)
    await vmm.client.attachPasid({ deviceId, pasid: 3, ptId: paging })
    const busy = await refusal(vmm.client.attachRid({ deviceId, ptId: user }))
    expect(['EBUSY', 'EINVAL']).toContain(busy.errnoName)
    await vmm.client.detachPasid({ deviceId, pasid: 3 })
    await vmm.client.attachRid({ deviceId, ptId: user })
    expect((await refusal(vmm.client.attachPasid({ deviceId, pasid: 3, ptId: paging }))).errnoName).toBe('EINVAL')
    await vmm.close()
  })
})

describe.each(ARCHS)('M11 on %s: a device bound PASID_ONLY', (arch) => {
  it('gives PASIDs and not the RID: EPERM', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES[arch].first, DeviceGrant.PASID_ONLY)
    const domain = await vmm.paging(deviceId, HwptFlag.PASID)
    const no = await refusal(vmm.client.attachRid({ deviceId, ptId: domain }))
    expect(no.errnoName).toBe('EPERM')
    await vmm.client.attachPasid({ deviceId, pasid: 2, ptId: domain })
    expect(await vmm.dma(deviceId, MAPPED, 1, 2)).toMatchObject({ address: MAPPED })
    await vmm.close()
  })
})

describe.each(ARCHS)('M11 on %s: a mediated device', (arch) => {
  it('is one PASID of its parent and takes kernel-owned domains there', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES[arch].mediated)
    const domain = await vmm.paging(deviceId, HwptFlag.PASID)
    await vmm.client.attachPasid({ deviceId, pasid: MDEV_PASID, ptId: domain })
    expect(await vmm.dma(deviceId, MAPPED)).toMatchObject({ address: MAPPED })
    await vmm.close()
  })

  it('has no RID and no other PASID: EINVAL', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES[arch].mediated)
    const domain = await vmm.paging(deviceId, HwptFlag.PASID)
    expect((await refusal(vmm.client.attachRid({ deviceId, ptId: domain }))).errnoName).toBe('EINVAL')
    const other = vmm.client.attachPasid({ deviceId, pasid: MDEV_PASID + 1, ptId: domain })
    expect((await refusal(other)).errnoName).toBe('EINVAL')
    await vmm.close()
  })

  it('excludes the whole parent, and the whole parent excludes it: EBUSY', async () => {
    const [one, two] = [await world.vmm(), await world.vmm()]
    const child = await one.bind(DEVICES[arch].mediated)
    expect((await refusal(two.bind(DEVICES[arch].second))).errnoName).toBe('EBUSY')
    await one.client.unbindDevice({ deviceId: child })
    await two.bind(DEVICES[arch].second)
    expect((await refusal(one.bind(DEVICES[arch].mediated))).errnoName).toBe('EBUSY')
    await one.close()
    await two.close()
  })

  it('makes the DMA of its PASID alone: to who has the rest of the parent it is EBUSY', async () => {
    const [one, two] = [await world.vmm(), await world.vmm()]
    const child = await one.bind(DEVICES[arch].mediated)
    const domain = await one.paging(child, HwptFlag.PASID)
    await one.client.attachPasid({ deviceId: child, pasid: MDEV_PASID, ptId: domain })
    const deviceId = await two.bind(DEVICES[arch].second, DeviceGrant.PASID_ONLY)
    const asked = { deviceId, pasid: MDEV_PASID }
    const calls = [
      two.client.translate({ ...asked, iovas: BigUint64Array.of(MAPPED) }),
      two.client.dmaRead({ ...asked, operations: [{ address: MAPPED, length: 8 }] }),
      two.client.dmaWrite({ ...asked, operations: [{ address: MAPPED, data: new Uint8Array(8) }] }),
      two.client.explain({ ...asked, iova: MAPPED, access: 1 }),
    ]
    const noes = await Promise.all(calls.map((call) => refusal(call)))
    expect(noes.map(({ errnoName }) => errnoName)).toEqual(['EBUSY', 'EBUSY', 'EBUSY', 'EBUSY'])
    expect(noes[0].reason).toMatch(/mediated device .*mdev/)
    expect((await two.dma(deviceId, MAPPED, 1, MDEV_PASID + 1)).outcome).not.toBe(DmaOutcome.OK)
    await one.client.unbindDevice({ deviceId: child })
    expect((await two.dma(deviceId, MAPPED, 1, MDEV_PASID)).outcome).not.toBe(DmaOutcome.OK)
    await one.close()
    await two.close()
  })

  it('cannot be taken as a whole device: EPERM', async () => {
    const vmm = await world.vmm()
    const no = await refusal(vmm.bind(DEVICES[arch].mediated, DeviceGrant.WHOLE_DEVICE))
    expect(no.errnoName).toBe('EPERM')
    await vmm.close()
  })
})

describe('M11: a user domain for a mediated device', () => {
  it('is one first-stage table on VT-d', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.vtd.mediated)
    await new GuestTree(world.guest, INTEL, ROOT).map(IOVA, PAGE)
    const domain = await vmm.vtdDomain(deviceId, await vmm.parent(deviceId), ROOT, HwptFlag.PASID)
    await vmm.client.attachPasid({ deviceId, pasid: MDEV_PASID, ptId: domain })
    expect(await vmm.dma(deviceId, IOVA)).toMatchObject({ address: PAGE })
    await vmm.close()
  })

  it('is EPERM on SMMUv3, and the reason says why: it would bind the whole RID', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.smmuv3.mediated)
    const viommu = await vmm.viommu(deviceId, await vmm.parent(deviceId))
    const made = (async () => {
      await vmm.vdevice(viommu, deviceId, 1n)
      const ptId = await vmm.smmuDomain(deviceId, viommu, steOneCd(CD))
      return vmm.client.attachPasid({ deviceId, pasid: MDEV_PASID, ptId })
    })()
    const no = await refusal(made)
    expect(no.errnoName).toBe('EPERM')
    expect(no.reason).toMatch(/RID/)
    await vmm.close()
  })
})
