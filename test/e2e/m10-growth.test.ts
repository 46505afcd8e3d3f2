/** M10: one page of 64 CDs, and the way to two levels while devices go on with their DMA. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { IommudError } from '../../clients/node/index.js'
import { DmaProcess, reached } from './dma-process.js'
import { Explained } from './explained.js'
import { IOVA, PAGE, pageOf, RAM, rootOf, WINDOW, WindowGuest } from './window-guest.js'
import { READ, refusal, World } from './world.js'

let world: World
let device: DmaProcess | undefined
beforeAll(async () => {
  world = await World.start()
})
afterEach(async () => {
  device?.kill()
  device = undefined
  await world.sweep()
})
afterAll(() => world.stop())

/** The refusal of an attach for which the window has no room. */
async function full(call: Promise<unknown>): Promise<{ bytes: bigint; alignment: bigint }> {
  const no: IommudError = await refusal(call)
  expect([no.errnoName, no.reason]).toEqual(['ENOSPC', expect.stringMatching(/GrowWindow/)])
  const bytes = BigInt(no.context['bytes_needed'] ?? 'missing')
  expect(bytes % PAGE).toBe(0n)
  expect(bytes).toBeGreaterThan(0n)
  return { bytes, alignment: BigInt(no.context['alignment'] ?? PAGE) }
}

/** Where a window goes on growing, far enough for any alignment. */
let next = 0n
const grow = async (guest: WindowGuest, bytes: bigint, alignment = PAGE): Promise<bigint> => {
  next = (next + alignment - 1n) & ~(alignment - 1n)
  const range = { first: next, last: next + bytes - 1n }
  next += bytes
  return (await guest.vmm.client.growWindow({ windowId: guest.windowId, ...range })).freeBytes
}
const begin = async (pages = 1n): Promise<WindowGuest> => {
  next = WINDOW + 0x100_0000n
  return WindowGuest.attached(world, await world.vmm(), { pages })
}

const TABLE = ['Config', 'S1Fmt', 'S1ContextPtr', 'S1CDMax'] as const
const table = async (guest: WindowGuest) =>
  (await Explained.of(guest.vmm, guest.deviceId, IOVA)).fields('STE', ...TABLE)

describe('M10: the first page of a window', () => {
  it('holds 64 CDs in one level: PASIDs 1 to 63 and the RID’s, all in use at once', async () => {
    const guest = await begin()
    const [one, two] = await guest.trees(2)
    for (let pasid = 0; pasid < 64; pasid++) await guest.attachPasid(pasid, pasid % 2 === 0 ? one : two)
    for (let pasid = 0; pasid < 64; pasid++) expect(await guest.reach(pasid || undefined)).toBe(pageOf(pasid % 2))
    expect(await table(guest)).toEqual({ Config: 7n, S1Fmt: 0n, S1ContextPtr: WINDOW, S1CDMax: 6n })
    expect((await guest.slots()).length).toBe(64)
  })

  it('is full with them: ENOSPC tells the bytes, which GrowWindow adds, and then the same call succeeds', async () => {
    const guest = await begin()
    const [one, two] = await guest.trees(2)
    await guest.attachPasid(63, one)
    const need = await full(guest.attachPasid(64, two))
    // A page of L1CDs and a leaf. [SMMU 5.3 Level 1 Context Descriptor]
    expect(need).toEqual({ bytes: 2n * PAGE, alignment: PAGE })
    expect(await guest.slots()).toEqual([
      [0, guest.windowId],
      [63, one],
    ])
    expect(await table(guest)).toMatchObject({ S1Fmt: 0n, S1ContextPtr: WINDOW })
    // Half of it is not enough, and the refusal then tells the other half.
    expect(await grow(guest, PAGE)).toBe(PAGE)
    expect((await full(guest.attachPasid(64, two))).bytes).toBe(PAGE)
    expect(await grow(guest, PAGE)).toBe(2n * PAGE)
    expect(await guest.attachPasid(64, two)).toEqual({ domainId: two })
    expect([await guest.reach(), await guest.reach(63), await guest.reach(64)]).toEqual([IOVA, pageOf(0), pageOf(1)])
    const walk = await Explained.of(guest.vmm, guest.deviceId, IOVA, 64)
    expect(walk.fields('STE', 'S1Fmt', 'S1CDMax')).toEqual({ S1Fmt: 1n, S1CDMax: 15n })
    expect(walk.step('L1CD').space).toBe(2)
    // The old page is leaf 0, where it was.
    const old = await Explained.of(guest.vmm, guest.deviceId, IOVA, 63)
    expect(old.step('CD').address).toBe(WINDOW + 63n * 64n)
    expect(old.field('L1CD', 'L2Ptr')).toBe(WINDOW)
    // The same leaf has room for 63 more.
    await guest.attachPasid(127, one)
    expect((await full(guest.attachPasid(128, one))).bytes).toBe(PAGE)
  })

  it('of many is taken lowest first, and a window made large grows by itself', async () => {
    const guest = await begin(8n)
    const [one] = await guest.trees(1)
    for (const pasid of [1, 64, 128, 5000, 32_767]) await guest.attachPasid(pasid, one)
    for (const pasid of [1, 64, 128, 5000, 32_767]) expect(await guest.reach(pasid)).toBe(pageOf(0))
    const leaf = async (pasid: number) =>
      (await Explained.of(guest.vmm, guest.deviceId, IOVA, pasid)).field('L1CD', 'L2Ptr')
    const pages = [await leaf(1), await leaf(64), await leaf(128), await leaf(5000), await leaf(32_767)]
    expect(new Set(pages).size).toBe(5)
    for (const page of pages) expect(page >= WINDOW && page < WINDOW + 6n * PAGE).toBe(true)
    // Five leaves and the page of L1CDs; two are left.
    expect(await grow(guest, PAGE)).toBe(3n * PAGE)
  })
})

describe('M10: growth while DMA runs', () => {
  it('to two levels and to larger ones lets no DMA of the RID or of earlier PASIDs fail or go elsewhere', async () => {
    const guest = await begin()
    const { vmm, deviceId } = guest
    const domains = await guest.trees(4)
    for (const [i, pasid] of [1, 2, 63].entries()) await guest.attachPasid(pasid, domains[i])
    const probes = [undefined, 1, 2, 63].map((pasid) => ({ deviceId, pasid, iova: IOVA }))
    device = await DmaProcess.start(world.daemon.socketPath, vmm.token, probes)
    const said: bigint[][] = []
    // Each is beyond what the table before it reaches, or needs a leaf that is not there.
    for (const pasid of [64, 128, 4000, 32_767, 32_768, 70_000, 2 ** 17, 2 ** 20 - 1]) {
      const { bytes, alignment } = await full(guest.attachPasid(pasid, domains[3]))
      await device.more(1)
      await grow(guest, bytes, alignment)
      await guest.attachPasid(pasid, domains[3])
      expect(await guest.reach(pasid), `PASID ${pasid}`).toBe(pageOf(3))
      await device.more(1)
      const { S1CDMax, S1Fmt } = await table(guest)
      said.push([S1Fmt, S1CDMax])
    }
    const tallies = (await device.stop()).map((tally) => Object.keys(tally))
    expect(tallies).toEqual([IOVA, pageOf(0), pageOf(1), pageOf(2)].map((at) => [reached(vmm.regionId, at - RAM)]))
    // 512 leaves of 64 a page of L1CDs: 2^15, then 2^16, 2^17, 2^18, 2^20.
    expect(said).toEqual([15n, 15n, 15n, 15n, 16n, 17n, 18n, 20n].map((max) => [1n, max]))
    for (const pasid of [64, 128, 4000, 32_767, 32_768, 70_000, 2 ** 17, 2 ** 20 - 1]) {
      expect(await guest.reach(pasid)).toBe(pageOf(3))
    }
    expect(await guest.reach(65)).toBe('C_BAD_CD')
    expect(await guest.reach(500_000)).toBe('C_BAD_SUBSTREAMID')
  })

  it('with the walk of each DMA uncached is as quiet: the TLB hides nothing', async () => {
    const cache = { entries: 0, ways: 1 }
    const bare = await World.start({
      units: [{ name: 'smmu0', type: 'smmuv3', cache }],
      devices: [{ name: '0000:00:01.0', iommu: 'smmu0', pasidBits: 20 }],
    })
    try {
      const guest = await WindowGuest.attached(bare, await bare.vmm(), { pages: 64n })
      const { vmm, deviceId } = guest
      const [one, two] = await guest.trees(2)
      await guest.attachPasid(1, one)
      const probes = [undefined, 1].map((pasid) => ({ deviceId, pasid, iova: IOVA }))
      device = await DmaProcess.start(bare.daemon.socketPath, vmm.token, probes)
      for (const pasid of [2, 64, 640, 20_000, 40_000, 90_000]) {
        await guest.attachPasid(pasid, two)
        await device.more(2)
        await vmm.client.detachPasid({ deviceId, pasid })
        await guest.attachPasid(0, two)
        await device.more(1)
        await vmm.client.detachPasid({ deviceId, pasid: 0 })
        expect(await guest.reach(pasid)).toMatch(/^C_BAD_(CD|SUBSTREAMID)$/)
      }
      const [rid, pasid] = (await device.stop()).map((tally) => Object.keys(tally).sort())
      expect(rid).toEqual([IOVA, pageOf(1)].map((at) => reached(vmm.regionId, at - RAM)).sort())
      expect(pasid).toEqual([reached(vmm.regionId, pageOf(0) - RAM)])
    } finally {
      await bare.stop()
    }
  })

  it('when refused changes nothing: the device, the window and its free bytes are as they were', async () => {
    const guest = await begin()
    const [one] = await guest.trees(1)
    await guest.attachPasid(63, one)
    const before = [await guest.slots(), await table(guest)]
    for (const pasid of [64, 32_768, 2 ** 20 - 1]) await full(guest.attachPasid(pasid, one))
    expect([await guest.slots(), await table(guest)]).toEqual(before)
    expect((await guest.vmm.dma(guest.deviceId, IOVA, READ, 63)).address).toBe(pageOf(0))
    expect(await grow(guest, 3n * PAGE)).toBe(3n * PAGE)
    // A root that cannot be placed can be destroyed and made anew.
    const spare = await guest.pgd(rootOf(0))
    await full(guest.attachPasid(2 ** 20 - 1, spare))
    await guest.vmm.client.destroy({ objectId: spare })
  })
})
