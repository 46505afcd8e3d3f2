/**
 * A platform whose SMMUv3 offers everything, and a VMM that lives with what waits: dirty pages, stalled accesses, page
 * requests, and the events of a guest.
 */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import {
  DirtyBitmapFlag,
  DmaOutcome,
  HwptFlag,
  IoasMapFlag,
  PageRequestResponse,
  PageResponseCode,
  ViommuType,
} from '../../clients/node/index.js'
import { ARM64, contextDescriptor, GuestTree, steOneCd } from './guest-tables.js'
import { READ, refusal, type Vmm, World, WRITE } from './world.js'

const [WITH_PRI, THAT_STALLS] = ['0000:00:01.0', '0000:00:02.0']
const PLATFORM = {
  units: [{ name: 'smmu0', type: 'smmuv3', preset: 'full' }],
  devices: [
    { name: WITH_PRI, iommu: 'smmu0', pasidBits: 20, ats: true, pri: true },
    { name: THAT_STALLS, iommu: 'smmu0', pasidBits: 20, ats: false, pri: false, stalls: true },
  ],
}
/** Where the tests map pages of the guest's RAM, which is registered at offset 0. */
const IOVA = 0x1000_0000n
const RW = IoasMapFlag.FIXED_IOVA | IoasMapFlag.READABLE | IoasMapFlag.WRITEABLE

let world: World

beforeAll(async () => {
  world = await World.start(PLATFORM)
})

afterEach(() => world.sweep())

afterAll(() => world.stop())

/** Maps pages one by one: their offset and their IOVA disagree in bit 12, so no block fits. */
const map = (vmm: Vmm, iova: bigint, length: bigint) =>
  vmm.client.ioasMap({
    ioasId: vmm.ioasId,
    flags: RW,
    region: { regionId: vmm.regionId, offset: (iova - IOVA) ^ 0x1000n },
    length,
    iova,
  })

const write = async (vmm: Vmm, deviceId: number, address: bigint, data = Uint8Array.of(0x5a)) =>
  (await vmm.client.dmaWrite({ deviceId, operations: [{ address, data }] })).results[0]

/** A device whose RID is on a domain with a fault queue. */
async function faulting(vmm: Vmm, name: string) {
  const deviceId = await vmm.bind(name)
  const { faultQueueId } = await vmm.client.createFaultQueue({})
  const { domainId } = await vmm.client.createPagingDomain({
    deviceId,
    ioasId: vmm.ioasId,
    flags: HwptFlag.FAULT_ID_VALID,
    faultQueueId,
  })
  await vmm.client.attachRid({ deviceId, ptId: domainId })
  return { deviceId, faultQueueId, domainId }
}

describe('a dirty bitmap', () => {
  it('has a bit for each page that was written since it was last read, through the TLB or not', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(THAT_STALLS)
    await map(vmm, IOVA, 0x1_0000n)
    const domainId = await vmm.paging(deviceId, HwptFlag.DIRTY_TRACKING)
    await vmm.client.attachRid({ deviceId, ptId: domainId })
    await vmm.client.setDirtyTracking({ domainId, flags: 1 })
    const read = async (flags: DirtyBitmapFlag = DirtyBitmapFlag.UNSPECIFIED): Promise<number[]> => {
      const range = { iova: IOVA, length: 0x1_0000n, pageSize: 0x1000n }
      return [...(await vmm.client.getDirtyBitmap({ domainId, flags, ...range })).bitmap]
    }
    expect(await read()).toEqual([0, 0])
    for (const page of [1n, 9n])
      expect(await write(vmm, deviceId, IOVA + page * 0x1000n)).toMatchObject({ doneBytes: 1 })
    await vmm.client.dmaRead({ deviceId, operations: [{ address: IOVA + 0x2000n, length: 8 }] })
    expect(await read(DirtyBitmapFlag.NO_CLEAR)).toEqual([0b10, 0b10])
    expect(await read()).toEqual([0b10, 0b10])
    expect(await read()).toEqual([0, 0])
    // The TLB had this page as dirty; the reading made it forget.
    await write(vmm, deviceId, IOVA + 0x9000n)
    expect(await read()).toEqual([0, 0b10])
    await vmm.close()
  })

  it('is refused for a parent and kept by no other domain', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(THAT_STALLS)
    const both = vmm.paging(deviceId, HwptFlag.DIRTY_TRACKING | HwptFlag.NEST_PARENT)
    expect((await refusal(both)).errnoName).toBe('EOPNOTSUPP')
    const domainId = await vmm.paging(deviceId)
    expect((await refusal(vmm.client.setDirtyTracking({ domainId, flags: 1 }))).errnoName).toBe('EOPNOTSUPP')
    await vmm.close()
  })
})

describe('an access that stalls', () => {
  it('waits for a page, is retried when the VMM says that it is there, and moves its data', async () => {
    const vmm = await world.vmm()
    const { deviceId, faultQueueId } = await faulting(vmm, THAT_STALLS)
    const held = await write(vmm, deviceId, IOVA + 0x3008n, Uint8Array.of(7, 8))
    expect(held.outcome).toBe(DmaOutcome.PENDING)
    const { faults } = await vmm.client.pollFaults({ faultQueueId })
    expect(faults).toMatchObject([{ deviceId, access: WRITE, addr: IOVA + 0x3008n }])
    await map(vmm, IOVA + 0x3000n, 0x1000n)
    const { cookie } = faults[0]
    await vmm.client.respondFaults({ faultQueueId, responses: [{ cookie, code: PageResponseCode.SUCCESS }] })
    const { results } = await vmm.client.awaitDma({ transactionIds: [held.transactionId], waitMs: 1000 })
    expect(results[0]).toMatchObject({ outcome: DmaOutcome.OK, doneBytes: 2 })
    const slice = { regionId: vmm.regionId, offset: 0x2008n, length: 2 }
    expect([...(await vmm.client.readMemory({ slices: [slice] })).data[0]]).toEqual([7, 8])
    await vmm.close()
  })

  it.each([
    ['the VMM says that there is no such page', 'answer'],
    ['its domain is detached', 'detach'],
    ['its device is reset', 'reset'],
  ])('is aborted when %s', async (_name, how) => {
    const vmm = await world.vmm()
    const { deviceId, faultQueueId } = await faulting(vmm, THAT_STALLS)
    const { transactionId } = await write(vmm, deviceId, IOVA)
    const { cookie } = (await vmm.client.pollFaults({ faultQueueId })).faults[0]
    const code = PageResponseCode.INVALID
    if (how === 'answer') await vmm.client.respondFaults({ faultQueueId, responses: [{ cookie, code }] })
    else if (how === 'detach') await vmm.client.detachRid({ deviceId })
    else await vmm.client.resetDevice({ deviceId })
    const { results } = await vmm.client.awaitDma({ transactionIds: [transactionId], waitMs: 1000 })
    expect(results[0].outcome).toBe(DmaOutcome.ABORTED)
    await vmm.close()
  })
})

describe('a page request', () => {
  it('is in the fault queue, and its device hears the answer', async () => {
    const vmm = await world.vmm()
    const { deviceId, faultQueueId } = await faulting(vmm, WITH_PRI)
    const requests = [
      { iova: IOVA, access: READ, groupIndex: 5, last: false },
      { iova: IOVA + 0x1000n, access: READ | WRITE, groupIndex: 5, last: true },
    ]
    const { transactionIds } = await vmm.client.requestPages({ deviceId, requests })
    const { faults } = await vmm.client.pollFaults({ faultQueueId })
    expect(faults.map(({ addr, groupId }) => [addr, groupId])).toEqual([
      [IOVA, 5],
      [IOVA + 0x1000n, 5],
    ])
    const { cookie } = faults[1]
    await vmm.client.respondFaults({ faultQueueId, responses: [{ cookie, code: PageResponseCode.SUCCESS }] })
    const { results } = await vmm.client.awaitDma({ transactionIds: [transactionIds.at(-1) as bigint], waitMs: 1000 })
    expect(results[0].pageResponse).toBe(PageRequestResponse.SUCCESS)
    await vmm.close()
  })
})

describe("an event of a guest's vIOMMU", () => {
  it('is in its queue before the reply of the access, in the guest’s names', async () => {
    const vmm = await world.vmm()
    const [CD, ROOT, VSID] = [0x4000_1000n, 0x4001_0000n, 0x10n]
    const tree = new GuestTree(world.guest, ARM64, ROOT)
    await tree.map(IOVA, 0x4010_0000n)
    await world.guest.storeAll(CD, contextDescriptor(ROOT, 7n))
    const deviceId = await vmm.bind(WITH_PRI)
    const viommuId = await vmm.viommu(deviceId, await vmm.parent(deviceId))
    const type = ViommuType.ARM_SMMUV3
    const { veventqId } = await vmm.client.createVeventq({ viommuId, type, depth: 4 })
    await vmm.vdevice(viommuId, deviceId, VSID)
    await vmm.client.attachRid({ deviceId, ptId: await vmm.smmuDomain(deviceId, viommuId, steOneCd(CD)) })
    expect((await vmm.dma(deviceId, IOVA)).outcome).toBe(DmaOutcome.OK)
    expect((await vmm.dma(deviceId, IOVA + 0x5008n)).fault).toBe('F_TRANSLATION')
    const { events } = await vmm.client.pollEvents({ veventqId })
    expect(events.map(({ name, sequence }) => [name, sequence])).toEqual([['F_TRANSLATION', 0]])
    // Event 0x10 of StreamID 0x10; a read (bit 99), CLASS IN (bits 105:104); the address.
    expect([...events[0].words]).toEqual([0x10_0000_0010n, 0x208n << 32n, IOVA + 0x5008n, 0n])
    await vmm.close()
  })
})
