/**
 * A VT-d device that keeps translations and asks for pages, and a guest behind it: page request, fault queue, response,
 * retry; invalidations that its player completes; and the log of writes, all over the socket.
 */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import {
  AtsStatus,
  DirtyTrackingFlag,
  DmaOutcome,
  HwCapability,
  HwptFlag,
  PageFaultFlag,
  PageRequestResponse,
  PageResponseCode,
} from '../../clients/node/index.js'
import { RAM_BASE } from './guest-memory.js'
import { READ, refusal, type Vmm, World, WRITE } from './world.js'

/** The default ECAP with DT (2), PRS (29) and PDS (42). [VTD 11.4.3] */
const PLATFORM = {
  units: [{ name: 'vtd0', type: 'vtd', registers: { ECAP: '0x0013ed9ca4000fc7' } }],
  devices: [
    { name: '0000:01:01.0', iommu: 'vtd0', pasidBits: 20, ats: true, pri: true },
    { name: '0000:01:02.0', iommu: 'vtd0', pasidBits: 20, ats: true },
  ],
} as const
const DEVICE = '0000:01:01.0'
const WITHOUT_PRI = '0000:01:02.0'

const PASID = 5
/** One page is a whole tree: its first entry points to itself, at every level but the last. [VTD 9.7] */
const ROOT = RAM_BASE + 0x1000n
const PAGES = [RAM_BASE + 0x2_0000n, RAM_BASE + 0x3_0000n]
const IOVA = 0x5000n

let world: World

beforeAll(async () => {
  world = await World.start(PLATFORM, ['--limit', 'ats_completion_ms=1500'])
  await world.guest.store(ROOT, ROOT | 0x27n)
})

afterEach(() => world.sweep())

afterAll(() => world.stop())

/** The guest maps IOVA, or unmaps it. */
const guestMaps = (page: bigint): Promise<void> => world.guest.store(ROOT + (IOVA >> 12n) * 8n, page)

/** A guest's domain on a PASID, whose page faults its owner takes. */
async function withFaults(vmm: Vmm, name: string = DEVICE) {
  await guestMaps(0n)
  const { client } = vmm
  const deviceId = await vmm.bind(name)
  const parentDomainId = await vmm.parent(deviceId)
  const { faultQueueId } = await client.createFaultQueue({})
  const flags = HwptFlag.PASID | HwptFlag.FAULT_ID_VALID
  const vtdS1 = { flags: 0n, pgtblAddr: ROOT, addrWidth: 48 }
  const made = await client.createUserDomain({ flags, deviceId, parentDomainId, vtdS1, faultQueueId })
  return { deviceId, parentDomainId, faultQueueId, domainId: made.domainId }
}

describe('a page request on vtd', () => {
  const ask = async ({ client }: Vmm, deviceId: number): Promise<bigint> => {
    const requests = [
      { iova: IOVA, access: READ, groupIndex: 9, last: false },
      { iova: IOVA, access: WRITE, groupIndex: 9, last: true },
    ]
    const { transactionIds, doneCount } = await client.requestPages({ deviceId, pasid: PASID, requests })
    expect([doneCount, transactionIds[0]]).toEqual([2, 0n])
    return transactionIds[1]
  }
  const translations = async ({ client }: Vmm, deviceId: number): Promise<number[]> => {
    const iovas = [IOVA]
    const reply = await client.requestTranslations({ deviceId, pasid: PASID, iovas, access: READ | WRITE })
    return [reply.statuses[0], reply.permissions[0]]
  }
  const answerOf = async ({ client }: Vmm, transactionId: bigint): Promise<readonly unknown[]> => {
    const [result] = (await client.awaitDma({ transactionIds: [transactionId], waitMs: 2000 })).results
    return [result.outcome, result.pageResponse]
  }

  it('comes to the owner’s fault queue, is answered when the page is there, and the retry finds it', async () => {
    const vmm = await world.vmm()
    const { deviceId, faultQueueId, domainId } = await withFaults(vmm)
    await vmm.client.attachPasid({ deviceId, pasid: PASID, ptId: domainId })
    expect(await translations(vmm, deviceId)).toEqual([AtsStatus.SUCCESS, 0])
    const transactionId = await ask(vmm, deviceId)
    // It is there when the reply to the request is.
    const { faults } = await vmm.client.pollFaults({ faultQueueId })
    const common = { deviceId, pasid: PASID, groupId: 9, addr: IOVA }
    expect(faults).toMatchObject([
      { ...common, access: READ, flags: PageFaultFlag.PASID_VALID },
      { ...common, access: WRITE, flags: PageFaultFlag.PASID_VALID | PageFaultFlag.LAST_PAGE },
    ])
    expect(faults[0].cookie).toBe(faults[1].cookie)
    await guestMaps(PAGES[0] | 0x67n)
    const responses = [{ cookie: faults[0].cookie, code: PageResponseCode.SUCCESS }]
    expect(await vmm.client.respondFaults({ faultQueueId, responses })).toMatchObject({ doneCount: 1 })
    expect(await answerOf(vmm, transactionId)).toEqual([DmaOutcome.OK, PageRequestResponse.SUCCESS])
    expect(await translations(vmm, deviceId)).toEqual([AtsStatus.SUCCESS, READ | WRITE])
    expect(await vmm.dma(deviceId, IOVA, WRITE, PASID)).toMatchObject({ address: PAGES[0] })
    await vmm.close()
  })

  it('is INVALID when its owner says so, and when its attachment ends first', async () => {
    const vmm = await world.vmm()
    const { deviceId, faultQueueId, domainId } = await withFaults(vmm)
    await vmm.client.attachPasid({ deviceId, pasid: PASID, ptId: domainId })
    const refused = await ask(vmm, deviceId)
    const { faults } = await vmm.client.pollFaults({ faultQueueId })
    const responses = [{ cookie: faults[0].cookie, code: PageResponseCode.INVALID }]
    await vmm.client.respondFaults({ faultQueueId, responses })
    const left = await ask(vmm, deviceId)
    await vmm.client.detachPasid({ deviceId, pasid: PASID })
    const late = await ask(vmm, deviceId)
    for (const id of [refused, left, late]) {
      expect(await answerOf(vmm, id)).toEqual([DmaOutcome.OK, PageRequestResponse.INVALID_REQUEST])
    }
    expect((await vmm.client.pollFaults({ faultQueueId })).faults).toEqual([])
    await vmm.close()
  })

  it('needs PRI: without it a domain with a fault queue is ENODEV, which making it was not', async () => {
    const vmm = await world.vmm()
    const { deviceId, domainId, faultQueueId } = await withFaults(vmm, WITHOUT_PRI)
    const { client, ioasId } = vmm
    const flags = HwptFlag.FAULT_ID_VALID
    const paging = (await client.createPagingDomain({ flags, deviceId, ioasId, faultQueueId })).domainId
    expect((await refusal(client.attachPasid({ deviceId, pasid: PASID, ptId: domainId }))).errnoName).toBe('ENODEV')
    expect((await refusal(client.attachRid({ deviceId, ptId: paging }))).errnoName).toBe('ENODEV')
    await vmm.close()
  })
})

describe('an invalidation on vtd', () => {
  it('waits for whoever plays the device, and nobody else’s does', async () => {
    const [vmm, other] = [await world.vmm(), await world.vmm()]
    const { deviceId, domainId } = await withFaults(vmm)
    const otherDevice = await other.bind(WITHOUT_PRI)
    const parent = await other.parent(otherDevice)
    await other.client.attachRid({ deviceId: otherDevice, ptId: parent })
    await vmm.client.attachPasid({ deviceId, pasid: PASID, ptId: domainId })
    await guestMaps(PAGES[0] | 0x67n)
    await vmm.client.requestTranslations({ deviceId, pasid: PASID, iovas: [IOVA], access: READ })
    await guestMaps(PAGES[1] | 0x67n)
    const entries = [{ addr: IOVA, npages: 1n, flags: 1 }]
    let isDone = false
    const done = vmm.client.invalidateIotlb({ userDomainId: domainId, vtdS1: { entries } }).then((reply) => {
      isDone = true
      return reply
    })
    const { invalidations } = await vmm.client.pollInvalidations({ deviceId, waitMs: 2000 })
    expect(invalidations).toMatchObject([{ iova: IOVA, sizeLog2: 12, pasid: PASID, allPasids: false }])
    // The unit’s queue goes on meanwhile, and the unit itself has forgotten.
    await other.client.detachRid({ deviceId: otherDevice })
    expect(await vmm.dma(deviceId, IOVA, READ, PASID)).toMatchObject({ address: PAGES[1] })
    expect(isDone).toBe(false)
    await vmm.client.completeInvalidations({ deviceId, tags: [invalidations[0].tag] })
    expect(await done).toMatchObject({ doneCount: 1 })
    await vmm.close()
    await other.close()
  })

  it('that is not answered blocks the device until it is reset, and the queue goes on', async () => {
    const vmm = await world.vmm()
    const { deviceId, domainId } = await withFaults(vmm)
    await vmm.client.attachPasid({ deviceId, pasid: PASID, ptId: domainId })
    await guestMaps(PAGES[0] | 0x67n)
    await vmm.client.requestTranslations({ deviceId, pasid: PASID, iovas: [IOVA], access: READ })
    const entries = [{ addr: IOVA, npages: 1n, flags: 1 }]
    const done = vmm.client.invalidateIotlb({ userDomainId: domainId, vtdS1: { entries } })
    expect(await done).toMatchObject({ doneCount: 1 })
    expect((await vmm.dma(deviceId, IOVA, READ, PASID)).outcome).toBe(DmaOutcome.ABORTED)
    await vmm.client.resetDevice({ deviceId })
    expect(await vmm.dma(deviceId, IOVA, READ, PASID)).toMatchObject({ address: PAGES[0] })
    await guestMaps(PAGES[1] | 0x67n)
    await vmm.client.invalidateIotlb({ userDomainId: domainId, vtdS1: { entries } })
    expect(await vmm.dma(deviceId, IOVA, READ, PASID)).toMatchObject({ address: PAGES[1] })
    await vmm.close()
  })
})

describe('the log of writes on vtd', () => {
  it('has what a device and a guest’s own tables wrote, until it is read without NO_CLEAR', async () => {
    const vmm = await world.vmm()
    await guestMaps(PAGES[0] | 0x67n)
    const { client } = vmm
    const deviceId = await vmm.bind(DEVICE)
    const { capabilities } = await client.getHwInfo({ deviceId })
    expect(capabilities & BigInt(HwCapability.DIRTY_TRACKING)).toBe(1n)
    // One MiB, so that leaves are of 4 KiB.
    const { ioasId } = await client.createIoas()
    const region = { regionId: vmm.regionId, offset: 0n }
    await client.ioasMap({ ioasId, flags: 7, region, length: 0x10_0000n, iova: RAM_BASE })
    const flags = HwptFlag.NEST_PARENT | HwptFlag.DIRTY_TRACKING | HwptFlag.PASID
    const { domainId } = await client.createPagingDomain({ flags, deviceId, ioasId })
    const vtdS1 = { flags: 0n, pgtblAddr: ROOT, addrWidth: 48 }
    const user = await client.createUserDomain({ flags: HwptFlag.PASID, deviceId, parentDomainId: domainId, vtdS1 })
    await client.attachRid({ deviceId, ptId: domainId })
    await client.attachPasid({ deviceId, pasid: PASID, ptId: user.domainId })
    const dirty = async (clears: boolean): Promise<number[]> => {
      const range = { domainId, iova: RAM_BASE, length: 0x10_0000n, pageSize: 0x1000n }
      const { bitmap } = await client.getDirtyBitmap({ ...range, flags: clears ? 0 : 1 })
      return [...Array(256).keys()].filter((page) => (bitmap[page >> 3] & (1 << (page & 7))) !== 0)
    }
    await client.setDirtyTracking({ domainId, flags: DirtyTrackingFlag.ENABLE })
    expect(await dirty(false)).toEqual([])
    await vmm.dma(deviceId, RAM_BASE + 0x7123n, WRITE)
    await vmm.dma(deviceId, RAM_BASE + 0x9123n, READ)
    await vmm.dma(deviceId, IOVA, WRITE, PASID)
    // The guest's own table is written too: its dirty flag is. [VTD 3.8]
    const written = await dirty(false)
    expect(written).toContain(7)
    expect(written).toContain(0x20)
    expect(written).not.toContain(9)
    expect(await dirty(true)).toEqual(written)
    expect(await dirty(true)).toEqual([])
    await vmm.dma(deviceId, IOVA, WRITE, PASID)
    await vmm.dma(deviceId, RAM_BASE + 0x7123n, WRITE)
    expect(await dirty(true)).toEqual(expect.arrayContaining([7, 0x20]))
    await client.setDirtyTracking({ domainId, flags: 0 })
    await vmm.dma(deviceId, RAM_BASE + 0x8123n, WRITE)
    expect(await dirty(false)).toEqual([])
    await vmm.close()
  })
})
