/** A device with many PASIDs: a thousand, each with a user domain of its own, and one domain on all of them. */

import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { HwptFlag, type InvalidateIotlbResponse } from '../../clients/node/index.js'
import { RAM_BASE } from './guest-memory.js'
import { refusal, type Vmm, World } from './world.js'

const COUNT = 1000

const DEVICE = '0000:01:01.0'

/** With an IOTLB in which a thousand pages never drive each other out. */
const PLATFORM = {
  units: [{ name: 'vtd0', type: 'vtd', cache: { entries: 65536, ways: 64 } }],
  devices: [{ name: DEVICE, iommu: 'vtd0', pasidBits: 20 }],
}

/**
 * One page is a whole tree: its first entry is a table and points to the page itself, and is met at three levels; its
 * sixth is a leaf at the last. So each domain needs a page, and 0x5000 leads where its page says.
 */
const IOVA = 0x5000n
const rootOf = (i: number): bigint => RAM_BASE + BigInt(i) * 0x1000n
/** Where domain `i` leads at first: to the page behind its own. */
const placeOf = (i: number): bigint => rootOf(i + 1)
/** Where it leads when the guest has changed its mind. */
const laterPlaceOf = (i: number): bigint => rootOf(i + 2)

let world: World
let vmm: Vmm

beforeAll(async () => {
  world = await World.start(PLATFORM)
})

beforeEach(async () => {
  vmm = await world.vmm()
})

afterEach(() => vmm.close())

afterAll(() => world.stop())

it('M7 on vtd: a thousand PASIDs of one device have a user domain each, invalidated one by one', async () => {
  const all = Array.from({ length: COUNT }, (_, i) => i)
  await Promise.all(all.map((i) => world.guest.store(rootOf(i), rootOf(i) | 0x27n)))
  await Promise.all(all.map((i) => world.guest.store(rootOf(i) + 5n * 8n, placeOf(i) | 0x67n)))
  const deviceId = await vmm.bind(DEVICE)
  const parent = await vmm.parent(deviceId)
  const domains: number[] = []
  for (let i = 0; i < COUNT; i++) {
    domains.push(await vmm.vtdDomain(deviceId, parent, rootOf(i), HwptFlag.PASID))
    await vmm.client.attachPasid({ deviceId, pasid: i + 1, ptId: domains[i] })
  }
  /** Indexes whose DMA does not end where `expected` says. */
  const strays = async (expected: (i: number) => bigint): Promise<number[]> => {
    const out: number[] = []
    for (let i = 0; i < COUNT; i++) {
      const { address } = await vmm.dma(deviceId, IOVA + 0x123n, 1, i + 1)
      if (address !== expected(i) + 0x123n) out.push(i)
    }
    return out
  }
  expect(await strays(placeOf)).toEqual([])

  // The guest changes every table and invalidates one: what the others' caches hold stays.
  await Promise.all(all.map((i) => world.guest.store(rootOf(i) + 5n * 8n, laterPlaceOf(i) | 0x67n)))
  const chosen = new Set([0, 62, 63, 64, 500, COUNT - 1])
  for (const i of chosen) {
    const entries = [{ addr: IOVA, npages: 1n, flags: 1 }]
    await vmm.client.invalidateIotlb({ userDomainId: domains[i], vtdS1: { entries } })
  }
  expect(await strays((i) => (chosen.has(i) ? laterPlaceOf(i) : placeOf(i)))).toEqual([])

  // Detaching one blocks one.
  await vmm.client.detachPasid({ deviceId, pasid: 501 })
  expect(await strays((i) => (chosen.has(i) ? laterPlaceOf(i) : placeOf(i)))).toEqual([500])
  expect((await vmm.dma(deviceId, IOVA, 1, 501)).code).toBe(0x59)

  // The parent's own change reaches all of them.
  await vmm.client.ioasUnmap({ ioasId: vmm.ioasId, iova: 0n, length: 0xffff_ffff_ffff_ffffn })
  const codes = new Set<number>()
  for (let i = 0; i < COUNT; i += 37) codes.add((await vmm.dma(deviceId, IOVA, 1, i + 1)).code)
  expect([...codes]).toEqual([0x79])
}, 120_000)

it('M3 on vtd: invalidations of a domain on many PASIDs are done in order, all or up to the one that is refused', async () => {
  const deviceId = await vmm.bind(DEVICE)
  await world.guest.store(RAM_BASE, RAM_BASE | 0x27n)
  await world.guest.store(RAM_BASE + 5n * 8n, placeOf(0) | 0x67n)
  const userDomainId = await vmm.vtdDomain(deviceId, await vmm.parent(deviceId), RAM_BASE, HwptFlag.PASID)
  const pasids = Array.from({ length: 70 }, (_, i) => i + 1)
  for (const pasid of pasids) await vmm.client.attachPasid({ deviceId, pasid, ptId: userDomainId })
  const send = (...entries: { addr: bigint; npages: bigint; flags: number }[]) =>
    vmm.client.invalidateIotlb({ userDomainId, vtdS1: { entries } })
  const places = async (): Promise<Set<bigint | undefined>> =>
    new Set(await Promise.all(pasids.map(async (pasid) => (await vmm.dma(deviceId, IOVA, 1, pasid)).address)))
  expect(await places()).toEqual(new Set([placeOf(0)]))
  await world.guest.store(RAM_BASE + 5n * 8n, laterPlaceOf(0) | 0x67n)
  const entries = Array.from({ length: 40 }, (_, i) => ({ addr: BigInt(i + 6) << 12n, npages: 1n, flags: 1 }))
  expect((await send(...entries)).doneCount).toBe(40)
  expect(await places()).toEqual(new Set([placeOf(0)]))
  const error = await refusal(send(...entries.slice(0, 33), { addr: 1n, npages: 1n, flags: 1 }, ...entries))
  expect([error.errnoName, (error.partial as InvalidateIotlbResponse).doneCount]).toEqual(['EINVAL', 33])
  expect(error.context).toMatchObject({ index: '33' })
  expect((await send(...entries, { addr: IOVA, npages: 1n, flags: 1 })).doneCount).toBe(41)
  expect(await places()).toEqual(new Set([laterPlaceOf(0)]))
}, 60_000)
