/** What guests hear of their devices: page faults that they answer, and events of their vIOMMUs, through the hardware. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DmaOutcome, HwptFlag, PageRequestResponse, PageResponseCode, ViommuType } from '../../clients/node/index.js'
import { PRESETS as SMMU } from '../../hw-model/smmuv3/index.js'
import { ARM64, contextDescriptor, GuestTree, INTEL, steOneCd } from './guest-tables.js'
import { READ, refusal, type Vmm, World, WRITE } from './world.js'

const [ARM, ARM_OTHER, INTEL_DEVICE] = ['0000:00:01.0', '0000:00:02.0', '0000:01:01.0']
/** A stall model that software chooses, and room for stalls. [SMMU 6.3.1 SMMU_IDR0, 6.3.6 SMMU_IDR5] */
const STALLING = { IDR0: (SMMU.default.IDR0 & ~(3 << 24)) >>> 0, IDR5: (SMMU.default.IDR5 | (8 << 16)) >>> 0 }
/** The default with DT, PRS and PDS. [VTD 11.4.3 Extended Capability Register] */
const ASKING = { ECAP: '0x0013ed9ca4000fc7' }
const PLATFORM = {
  units: [
    { name: 'smmu0', type: 'smmuv3', registers: STALLING },
    { name: 'vtd0', type: 'vtd', registers: ASKING },
  ],
  devices: [
    { name: ARM, iommu: 'smmu0', pasidBits: 8, stalls: true },
    { name: ARM_OTHER, iommu: 'smmu0' },
    { name: INTEL_DEVICE, iommu: 'vtd0', pasidBits: 8, ats: true, pri: true },
  ],
}
const ANSWER_MS = 600
const [CD, ROOT, PAGE_A] = [0x4000_1000n, 0x4001_0000n, 0x4010_0000n]
const IOVA = 0x1234_5000n
/** The tables are shared by the tests; none maps anything near here. */
const NOWHERE = 0x7f_0000_0000n

let world: World

beforeAll(async () => {
  world = await World.start(PLATFORM, ['--limit', `fault_answer_ms=${ANSWER_MS}`])
})

afterEach(() => world.sweep())

afterAll(() => world.stop())

/** A user domain with a fault queue on an SMMUv3, whose guest calls the device 0x2a. */
async function nestedArm(vmm: Vmm, name = ARM, cd = contextDescriptor(ROOT, 7n)) {
  const tree = new GuestTree(world.guest, ARM64, ROOT)
  await tree.map(IOVA, PAGE_A)
  await world.guest.storeAll(CD, cd)
  const deviceId = await vmm.bind(name)
  const viommuId = await vmm.viommu(deviceId, await vmm.parent(deviceId))
  await vmm.vdevice(viommuId, deviceId, 0x2an)
  const { faultQueueId } = await vmm.client.createFaultQueue({})
  const flags = HwptFlag.FAULT_ID_VALID
  const smmuv3Ste = steOneCd(CD)
  const { domainId } = await vmm.client.createUserDomain({ flags, deviceId, viommuId, smmuv3Ste, faultQueueId })
  await vmm.client.attachRid({ deviceId, ptId: domainId })
  return { tree, deviceId, viommuId, faultQueueId, domainId }
}

/** A user domain with a fault queue on a VT-d. */
async function nestedIntel(vmm: Vmm) {
  const tree = new GuestTree(world.guest, INTEL, ROOT)
  await tree.map(IOVA, PAGE_A)
  const deviceId = await vmm.bind(INTEL_DEVICE)
  const parentDomainId = await vmm.parent(deviceId)
  const { faultQueueId } = await vmm.client.createFaultQueue({})
  const vtdS1 = { flags: 0n, pgtblAddr: ROOT, addrWidth: 48 }
  const flags = HwptFlag.FAULT_ID_VALID
  const { domainId } = await vmm.client.createUserDomain({ flags, deviceId, parentDomainId, vtdS1, faultQueueId })
  await vmm.client.attachRid({ deviceId, ptId: domainId })
  return { tree, deviceId, faultQueueId, domainId }
}

const request = (iova: bigint, last: boolean, groupIndex = 5) => ({ iova, access: READ | WRITE, groupIndex, last })

describe('a device on VT-d that asks for pages', () => {
  it('gets them when the reader of its fault queue has mapped them and answers', async () => {
    const vmm = await world.vmm()
    const { tree, deviceId, faultQueueId } = await nestedIntel(vmm)
    const requests = [request(0x7000_0000n, false), request(0x7000_1000n, true)]
    const { transactionIds } = await vmm.client.requestPages({ deviceId, requests })
    const { faults } = await vmm.client.pollFaults({ faultQueueId })
    expect(
      faults.map(({ addr, flags, cookie, groupId, access }) => [addr, flags & 3, cookie, groupId, access]),
    ).toEqual([
      [0x7000_0000n, 0, 1, 5, READ | WRITE],
      [0x7000_1000n, 2, 1, 5, READ | WRITE],
    ])
    for (const { addr } of faults) await tree.map(addr, PAGE_A + (addr & 0xf000n))
    const responses = [{ cookie: 1, code: PageResponseCode.SUCCESS }]
    expect((await vmm.client.respondFaults({ faultQueueId, responses })).doneCount).toBe(1)
    const { results } = await vmm.client.awaitDma({ transactionIds: [transactionIds[1]] })
    expect(results[0].pageResponse).toBe(PageRequestResponse.SUCCESS)
    expect((await vmm.dma(deviceId, 0x7000_1000n)).address).toBe(PAGE_A + 0x1000n)
  })

  it('is told INVALID when the attachment ends, and when nobody answers in time', async () => {
    const vmm = await world.vmm()
    const { deviceId, faultQueueId, domainId } = await nestedIntel(vmm)
    const ask = async (groupIndex: number) => {
      const requests = [request(0x7000_0000n, true, groupIndex)]
      return (await vmm.client.requestPages({ deviceId, requests })).transactionIds[0]
    }
    const forgotten = await ask(1)
    const ended = await vmm.client.awaitDma({ transactionIds: [forgotten], waitMs: 10 * ANSWER_MS })
    expect(ended.results[0].pageResponse).toBe(PageRequestResponse.INVALID_REQUEST)
    const [read, unread] = [await ask(2), await ask(3)]
    expect((await vmm.client.pollFaults({ faultQueueId, maxFaults: 1 })).faults).toHaveLength(1)
    await vmm.client.detachRid({ deviceId })
    const { results } = await vmm.client.awaitDma({ transactionIds: [read, unread] })
    expect(results.every(({ outcome }) => outcome !== DmaOutcome.PENDING)).toBe(true)
    expect((await vmm.client.pollFaults({ faultQueueId })).faults).toEqual([])
    for (const objectId of [domainId, faultQueueId]) await vmm.client.destroy({ objectId })
  })

  it('is told INVALID at once where its domain has no fault queue', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(INTEL_DEVICE)
    await vmm.client.attachRid({ deviceId, ptId: await vmm.paging(deviceId) })
    const { transactionIds } = await vmm.client.requestPages({ deviceId, requests: [request(0n, true)] })
    const { results } = await vmm.client.awaitDma({ transactionIds })
    expect(results[0].pageResponse).toBe(PageRequestResponse.INVALID_REQUEST)
  })
})

describe('a device on SMMUv3 that is stalled', () => {
  /** The same CD with S, so that its faults stall. [SMMU 5.4 Context Descriptor] */
  const stalling = () => {
    const [dw0, ...rest] = contextDescriptor(ROOT, 7n)
    return [dw0 | (1n << 44n), ...rest]
  }

  it('goes on when the reader of its fault queue has mapped the page and answers', async () => {
    const vmm = await world.vmm()
    const { tree, deviceId, faultQueueId } = await nestedArm(vmm, ARM, stalling())
    const operations = [{ address: 0x7000_0000n, data: Uint8Array.of(1, 2, 3) }]
    const waiting = vmm.client.pollFaults({ faultQueueId, waitMs: 5000 })
    const { results } = await vmm.client.dmaWrite({ deviceId, operations })
    expect(results[0].outcome).toBe(DmaOutcome.PENDING)
    const { faults } = await waiting
    expect(faults).toMatchObject([{ deviceId, flags: 2, access: WRITE, addr: 0x7000_0000n, cookie: 1 }])
    await tree.map(0x7000_0000n, PAGE_A)
    await vmm.client.respondFaults({ faultQueueId, responses: [{ cookie: 1, code: PageResponseCode.SUCCESS }] })
    const ended = await vmm.client.awaitDma({ transactionIds: [results[0].transactionId] })
    expect(ended.results[0]).toMatchObject({ outcome: DmaOutcome.OK, doneBytes: 3 })
    const slice = { regionId: vmm.regionId, offset: PAGE_A - 0x4000_0000n, length: 3 }
    expect([...(await vmm.client.readMemory({ slices: [slice] })).data[0]]).toEqual([1, 2, 3])
  })

  it('ends without the page when it is refused, or replaced', async () => {
    const vmm = await world.vmm()
    const { deviceId, faultQueueId } = await nestedArm(vmm, ARM, stalling())
    const write = async () => {
      const operations = [{ address: 0x7100_0000n, data: Uint8Array.of(1) }]
      return (await vmm.client.dmaWrite({ deviceId, operations })).results[0].transactionId
    }
    const refused = await write()
    await vmm.client.pollFaults({ faultQueueId })
    await vmm.client.respondFaults({ faultQueueId, responses: [{ cookie: 1, code: PageResponseCode.INVALID }] })
    const replaced = await write()
    await vmm.client.replaceRid({ deviceId, ptId: vmm.ioasId })
    const { results } = await vmm.client.awaitDma({ transactionIds: [refused, replaced], waitMs: 1000 })
    for (const { outcome } of results) expect([DmaOutcome.ABORTED, DmaOutcome.FAULT]).toContain(outcome)
    expect((await vmm.client.pollFaults({ faultQueueId })).faults).toEqual([])
  })
})

describe('a guest’s event queue on SMMUv3', () => {
  it('gets the guest’s own events under its own StreamID, says what it lost, and nobody else’s', async () => {
    const vmm = await world.vmm()
    const { deviceId, viommuId } = await nestedArm(vmm, ARM_OTHER)
    const other = await world.vmm()
    const type = ViommuType.ARM_SMMUV3
    const { veventqId } = await vmm.client.createVeventq({ viommuId, type, depth: 2 })
    for (const page of [1n, 2n, 3n]) await vmm.dma(deviceId, NOWHERE + page * 0x1000n)
    const { events } = await vmm.client.pollEvents({ veventqId })
    expect(events.map(({ flags, sequence, name }) => [flags, sequence, name])).toEqual([
      [0, 0, 'F_TRANSLATION'],
      [0, 1, 'F_TRANSLATION'],
      [1, 2, ''],
    ])
    // Event number, StreamID, and the address in the third doubleword. [SMMU 7.3.13 F_TRANSLATION]
    const [first] = events
    expect([first.words.length, first.words[0] & 0xffn, first.words[0] >> 32n]).toEqual([4, 0x10n, 0x2an])
    expect(first.words[2]).toBe(NOWHERE + 0x1000n)
    expect((await refusal(other.client.pollEvents({ veventqId }))).errnoName).toBe('ENOENT')
    // What stage 2 refuses is the host's.
    await vmm.client.ioasUnmap({ ioasId: vmm.ioasId, iova: 0n, length: 2n ** 64n - 1n })
    await vmm.dma(deviceId, IOVA)
    expect((await vmm.client.pollEvents({ veventqId })).events).toEqual([])
  })
})
