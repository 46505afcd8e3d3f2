/**
 * A guest changes its own entry for a device (an STE, a PASID table entry), its VMM sees that and replaces the user domain
 * by one of the new words. The device goes on with its DMA meanwhile.
 */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DmaOutcome, HwptFlag } from '../../clients/node/index.js'
import { ARM64, contextDescriptor, GuestTree, INTEL, steOneCd } from './guest-tables.js'
import { ARCHS, type Arch, DEVICES, refusal, type Vmm, World } from './world.js'

const CDS = [0x4000_1000n, 0x4000_2000n]
const ROOTS = [0x4001_0000n, 0x4002_0000n]
const PAGES = [0x4010_0000n, 0x4020_0000n]
const IOVA = 0x1234_5000n

let world: World

beforeAll(async () => {
  world = await World.start()
})

afterEach(() => world.sweep())

afterAll(() => world.stop())

/** A device and two user domains on one parent, one for each of the guest's trees. */
async function twoDomains(vmm: Vmm, arch: Arch) {
  const deviceId = await vmm.bind(DEVICES[arch].first)
  const parent = await vmm.parent(deviceId)
  for (const [i, root] of ROOTS.entries()) {
    await new GuestTree(world.guest, arch === 'smmuv3' ? ARM64 : INTEL, root).map(IOVA, PAGES[i])
  }
  if (arch === 'vtd') {
    const domains = [
      await vmm.vtdDomain(deviceId, parent, ROOTS[0], HwptFlag.PASID),
      await vmm.vtdDomain(deviceId, parent, ROOTS[1], HwptFlag.PASID),
    ]
    return { deviceId, parent, domains }
  }
  const viommu = await vmm.viommu(deviceId, parent)
  await vmm.vdevice(viommu, deviceId, 0x10n)
  const domains: number[] = []
  for (const [i, cd] of CDS.entries()) {
    await world.guest.storeAll(cd, contextDescriptor(ROOTS[i], BigInt(7 + i)))
    domains.push(await vmm.smmuDomain(deviceId, viommu, steOneCd(cd)))
  }
  return { deviceId, parent, domains }
}

describe.each(ARCHS)('M12 on %s: replacing the user domain of a RID', (arch) => {
  it('is hitless: DMA of another connection ends at the old place or at the new one, every time', async () => {
    const vmm = await world.vmm()
    const { deviceId, domains } = await twoDomains(vmm, arch)
    await vmm.client.attachRid({ deviceId, ptId: domains[0] })
    const device = world.daemon.connect().inContext(vmm.token)
    let isRunning = true
    const places = new Map<bigint, number>()
    const dma = async (): Promise<void> => {
      while (isRunning) {
        const reply = await device.translate({ deviceId, iovas: new BigUint64Array(16).fill(IOVA) })
        for (let i = 0; i < 16; i++) {
          const place = reply.outcomes[i] === DmaOutcome.OK ? reply.offsets[i] + 0x4000_0000n : -1n
          places.set(place, (places.get(place) ?? 0) + 1)
        }
      }
    }
    const running = dma()
    for (let round = 1; round <= 100; round++) {
      const ptId = domains[round % 2]
      expect(await vmm.client.replaceRid({ deviceId, ptId })).toEqual(
        expect.objectContaining({ domainId: ptId, hitless: true }),
      )
      expect(await vmm.dma(deviceId, IOVA)).toMatchObject({ address: PAGES[round % 2] })
    }
    isRunning = false
    await running
    expect([...places.keys()].sort()).toEqual(PAGES)
    await vmm.close()
  })

  it('by itself changes nothing', async () => {
    const vmm = await world.vmm()
    const { deviceId, domains } = await twoDomains(vmm, arch)
    await vmm.client.attachRid({ deviceId, ptId: domains[0] })
    await vmm.client.replaceRid({ deviceId, ptId: domains[0] })
    expect(await vmm.dma(deviceId, IOVA)).toMatchObject({ address: PAGES[0] })
    await vmm.close()
  })
})

describe('M12 on vtd: replacing', () => {
  it('the user domain of a PASID is hitless too, and leaves the RID and other PASIDs alone', async () => {
    const vmm = await world.vmm()
    const { deviceId, domains } = await twoDomains(vmm, 'vtd')
    await vmm.client.attachRid({ deviceId, ptId: domains[0] })
    await vmm.client.attachPasid({ deviceId, pasid: 5, ptId: domains[0] })
    await vmm.client.attachPasid({ deviceId, pasid: 6, ptId: domains[0] })
    const all = async () => [
      (await vmm.dma(deviceId, IOVA)).address,
      (await vmm.dma(deviceId, IOVA, 1, 5)).address,
      (await vmm.dma(deviceId, IOVA, 1, 6)).address,
    ]
    expect(await all()).toEqual([PAGES[0], PAGES[0], PAGES[0]])
    const reply = await vmm.client.replacePasid({ deviceId, pasid: 5, ptId: domains[1] })
    expect(reply).toMatchObject({ domainId: domains[1], hitless: true })
    expect(await all()).toEqual([PAGES[0], PAGES[1], PAGES[0]])
    await vmm.close()
  })

  it('is told not to be hitless where the second stage changes as well', async () => {
    const vmm = await world.vmm()
    const { deviceId, domains } = await twoDomains(vmm, 'vtd')
    const elsewhere = await vmm.vtdDomain(deviceId, await vmm.parent(deviceId), ROOTS[1])
    const paging = await vmm.paging(deviceId)
    await vmm.client.attachRid({ deviceId, ptId: domains[0] })
    for (const ptId of [elsewhere, paging, domains[1]]) {
      expect((await vmm.client.replaceRid({ deviceId, ptId })).hitless).toBe(false)
      // By itself: nothing is written.
      expect((await vmm.client.replaceRid({ deviceId, ptId })).hitless).toBe(true)
    }
    expect(await vmm.dma(deviceId, IOVA)).toMatchObject({ address: PAGES[1] })
    await vmm.close()
  })

  it('keeps the old attachment where the new domain is refused, with its DMA blocked, as Linux does', async () => {
    const vmm = await world.vmm()
    const { deviceId, parent, domains } = await twoDomains(vmm, 'vtd')
    await vmm.client.attachRid({ deviceId, ptId: domains[0] })
    const vtdS1 = { flags: 0n, pgtblAddr: ROOTS[1], addrWidth: 39 }
    const bad = await vmm.client.createUserDomain({ deviceId, parentDomainId: parent, vtdS1 })
    const no = await refusal(vmm.client.replaceRid({ deviceId, ptId: bad.domainId }))
    expect(no.errnoName).toBe('EINVAL')
    expect(no.reason).toMatch(/addr_width 39.*the RID is blocked now/)
    expect(await vmm.dma(deviceId, IOVA)).toMatchObject({ fault: '0x59 SPT.2' })
    const { attachments } = await vmm.client.getDevice({ deviceId })
    expect(attachments).toMatchObject([{ domainId: domains[0] }])
    await vmm.client.replaceRid({ deviceId, ptId: domains[1] })
    expect(await vmm.dma(deviceId, IOVA)).toMatchObject({ address: PAGES[1] })
    await vmm.client.replaceRid({ deviceId, ptId: domains[0] })
    expect(await vmm.dma(deviceId, IOVA)).toMatchObject({ address: PAGES[0] })
    await vmm.close()
  })
})
