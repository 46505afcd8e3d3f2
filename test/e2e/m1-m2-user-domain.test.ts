/** A domain whose tables another process keeps in guest memory, and which the hardware reaches through stage 2. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DmaOutcome, IoasMapFlag } from '../../clients/node/index.js'
import { ARM64, contextDescriptor, GuestTree, INTEL, steOneCd } from './guest-tables.js'
import { ARCHS, type Arch, DEVICES, refusal, type Vmm, World, WRITE } from './world.js'

const CD = 0x4000_1000n
const ROOT = 0x4001_0000n
const IOVA = 0x1234_5000n
const PAGE_A = 0x4010_0000n
const PAGE_B = 0x4020_0000n

let world: World

beforeAll(async () => {
  world = await World.start()
})

afterEach(() => world.sweep())

afterAll(() => world.stop())

/** A device attached to a user domain over the guest's tree; answers what the tests need. */
async function attached(vmm: Vmm, arch: Arch) {
  const tree = new GuestTree(world.guest, arch === 'smmuv3' ? ARM64 : INTEL, ROOT)
  const leaf = await tree.map(IOVA, PAGE_A)
  const device = await vmm.bind(DEVICES[arch].first)
  const parent = await vmm.parent(device)
  if (arch === 'vtd') {
    const domain = await vmm.vtdDomain(device, parent, ROOT)
    await vmm.client.attachRid({ deviceId: device, ptId: domain })
    return { device, domain, leaf, parent }
  }
  await world.guest.storeAll(CD, contextDescriptor(ROOT, 7n))
  const viommu = await vmm.viommu(device, parent)
  await vmm.vdevice(viommu, device, 0x10n)
  const domain = await vmm.smmuDomain(device, viommu, steOneCd(CD))
  await vmm.client.attachRid({ deviceId: device, ptId: domain })
  return { device, domain, leaf, parent }
}

describe.each(ARCHS)('M1 on %s: a user domain', (arch) => {
  it('translates through tables that another process wrote', async () => {
    const vmm = await world.vmm()
    const { device } = await attached(vmm, arch)
    const dma = await vmm.dma(device, IOVA + 0x123n)
    expect(dma).toMatchObject({ outcome: DmaOutcome.OK, address: PAGE_A + 0x123n })
    await vmm.close()
  })

  it('sees an entry that the other process changed in its next uncached DMA, with no call in between', async () => {
    const vmm = await world.vmm()
    const { device, leaf } = await attached(vmm, arch)
    const style = arch === 'smmuv3' ? ARM64 : INTEL
    await world.guest.store(leaf, style.page(PAGE_B))
    expect(await vmm.dma(device, IOVA)).toMatchObject({ address: PAGE_B, hit: false })
    // This one is cached now: the next change is not seen until it is invalidated.
    await world.guest.store(leaf, style.page(PAGE_A))
    expect(await vmm.dma(device, IOVA)).toMatchObject({ address: PAGE_B, hit: true })
    await vmm.close()
  })

  it('moves data to where the guest says', async () => {
    const vmm = await world.vmm()
    const { device } = await attached(vmm, arch)
    const data = Uint8Array.of(1, 2, 3, 4, 5)
    const written = await vmm.client.dmaWrite({ deviceId: device, operations: [{ address: IOVA + 8n, data }] })
    expect(written.results[0]).toMatchObject({ outcome: DmaOutcome.OK, doneBytes: 5 })
    const slice = { regionId: vmm.regionId, offset: PAGE_A - 0x4000_0000n + 8n, length: 5 }
    expect((await vmm.client.readMemory({ slices: [slice] })).data[0]).toEqual(data)
    const read = await vmm.client.dmaRead({ deviceId: device, operations: [{ address: IOVA + 8n, length: 5 }] })
    expect(read.results[0].data).toEqual(data)
    await vmm.close()
  })

  it('is no target for IoasMap: ENOENT, because its tables are their owner’s', async () => {
    const vmm = await world.vmm()
    const { domain } = await attached(vmm, arch)
    const flags = IoasMapFlag.READABLE
    const region = { regionId: vmm.regionId, offset: 0n }
    const no = await refusal(vmm.client.ioasMap({ ioasId: domain, flags, region, length: 4096n }))
    expect(no.errnoName).toBe('ENOENT')
    expect(no.reason).toMatch(/owner/)
    await vmm.close()
  })

  it('faults where the guest mapped nothing, and where it allows no write', async () => {
    const vmm = await world.vmm()
    const { device } = await attached(vmm, arch)
    const tree = new GuestTree(world.guest, arch === 'smmuv3' ? ARM64 : INTEL, ROOT)
    await tree.map(IOVA, PAGE_A)
    await tree.map(IOVA + 0x1000n, PAGE_B, true)
    const expected = arch === 'smmuv3' ? [0x10, 0x13] : [0x71, 0x85]
    expect((await vmm.dma(device, 0x7777_0000n)).code).toBe(expected[0])
    expect((await vmm.dma(device, IOVA + 0x1000n)).address).toBe(PAGE_B)
    expect((await vmm.dma(device, IOVA + 0x1000n, WRITE)).code).toBe(expected[1])
    await vmm.close()
  })
})

describe.each(ARCHS)('M2 on %s: the tables of a user domain', (arch) => {
  it('are reached through the parent: where stage 2 maps them no more, the walk itself faults', async () => {
    const vmm = await world.vmm()
    const { device } = await attached(vmm, arch)
    expect((await vmm.dma(device, IOVA)).outcome).toBe(DmaOutcome.OK)
    await vmm.client.ioasUnmap({ ioasId: vmm.ioasId, iova: 0n, length: 0xffff_ffff_ffff_ffffn })
    const dma = await vmm.dma(device, IOVA)
    expect(dma.outcome).toBe(DmaOutcome.FAULT)
    // SMMUv3: translation fault at stage 2, on the way to the CD. VT-d: nothing mapped for a first-stage table.
    expect(dma.code).toBe(arch === 'smmuv3' ? 0x10 : 0x79)
    await vmm.close()
  })

  it('move with the parent’s mapping: the same guest addresses, other memory', async () => {
    const vmm = await world.vmm()
    const { device } = await attached(vmm, arch)
    const ramBytes = 0x40_0000n
    const { regionId } = await vmm.client.createMemoryRegion({ anonymous: { bytes: ramBytes } })
    const copy = await vmm.client.readMemory({
      slices: [0, 0x10000, 0x20000].map((offset) => ({
        regionId: vmm.regionId,
        offset: BigInt(offset),
        length: 0x10000,
      })),
    })
    const patches = copy.data.map((data, i) => ({ regionId, offset: BigInt(i * 0x10000), data }))
    await vmm.client.writeMemory({ patches })
    await vmm.client.ioasUnmap({ ioasId: vmm.ioasId, iova: 0x4000_0000n, length: ramBytes })
    const flags = IoasMapFlag.FIXED_IOVA | IoasMapFlag.READABLE | IoasMapFlag.WRITEABLE
    const region = { regionId, offset: 0n }
    await vmm.client.ioasMap({ ioasId: vmm.ioasId, flags, region, length: ramBytes, iova: 0x4000_0000n })
    const reply = await vmm.client.translate({ deviceId: device, iovas: [IOVA] })
    expect([...reply.outcomes]).toEqual([DmaOutcome.OK])
    expect([...reply.regionIds]).toEqual([regionId])
    await vmm.close()
  })
})
