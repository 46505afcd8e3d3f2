/** M10: the addresses that a window takes from a parent: who may have them, what devices and mappings meet there. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DmaOutcome, type IommudError } from '../../clients/node/index.js'
import { ARM64, GuestTree } from './guest-tables.js'
import { matching, no } from './refusals.js'
import { IOVA, makeWindow, PAGE, pageOf, RAM, rootOf, WINDOW, WindowGuest } from './window-guest.js'
import { DEVICES, READ, refusal, type Vmm, World, WRITE } from './world.js'

/** A unit without SubstreamIDs, one without S2FWB and one without second leaves of CDs, beside the usual one. */
const BARE = { noPasids: '0000:01:01.0', noFwb: '0000:02:01.0', noCd2l: '0000:03:01.0', vtd: '0000:04:01.0' }
const platform = {
  units: [
    { name: 'smmu0', type: 'smmuv3', preset: 'ats' },
    // SSIDSIZE 0 in IDR1, FWB 0 in IDR3, CD2L 0 in IDR0. [SMMU 6.3 Registers]
    { name: 'smmu1', type: 'smmuv3', preset: 'ats', registers: { IDR1: 0x0673_9810 } },
    { name: 'smmu2', type: 'smmuv3', preset: 'ats', registers: { IDR3: 0x1414, AIDR: 1 } },
    { name: 'smmu3', type: 'smmuv3', preset: 'ats', registers: { IDR0: 0x0945_749b } },
    { name: 'vtd0', type: 'vtd' },
  ],
  devices: [
    { name: DEVICES.smmuv3.first, iommu: 'smmu0', pasidBits: 20 },
    { name: DEVICES.smmuv3.second, iommu: 'smmu0', pasidBits: 20 },
    { name: BARE.noPasids, iommu: 'smmu1' },
    { name: BARE.noFwb, iommu: 'smmu2', pasidBits: 20 },
    { name: BARE.noCd2l, iommu: 'smmu3', pasidBits: 20 },
    { name: BARE.vtd, iommu: 'vtd0', pasidBits: 20 },
  ],
}

let world: World
beforeAll(async () => {
  world = await World.start(platform)
})
afterEach(() => world.sweep())
afterAll(() => world.stop())

/** Reserved addresses of SMMUv3 devices, for messages of interrupts. */
const SW_MSI = 0x0800_0000n

describe('M10: CreateWindow and GrowWindow', () => {
  /** Both calls for a range, and the errno of each; they must agree. */
  async function both(vmm: Vmm, parent: number, windowId: number, first: bigint, last: bigint): Promise<string[]> {
    const [created] = await no(vmm.client.createWindow({ parentDomainId: parent, first, last }))
    const [grown] = await no(vmm.client.growWindow({ windowId, first, last }))
    return [created, grown]
  }

  it('want whole pages, in order, inside the aperture: EINVAL', async () => {
    const { vmm, parent, windowId } = await WindowGuest.make(world, await world.vmm())
    const at = WINDOW + 0x10_0000n
    for (const [first, last] of [
      [at + 1n, at + PAGE - 1n],
      [at, at + PAGE - 2n],
      [at, at + PAGE],
      [at, at],
      [at + PAGE, at - 1n],
      [at + PAGE, at + PAGE - 1n],
      [1n << 48n, (1n << 48n) + PAGE - 1n],
      [(1n << 48n) - PAGE, (1n << 48n) + PAGE - 1n],
      [0xffff_ffff_ffff_f000n, 0xffff_ffff_ffff_ffffn],
    ]) {
      expect(await both(vmm, parent, windowId, first, last), `${first} to ${last}`).toEqual(['EINVAL', 'EINVAL'])
    }
    expect(await makeWindow(vmm, parent, (1n << 48n) - PAGE, 1n)).toBeGreaterThan(0)
  })

  it('want addresses that nobody has: a mapping, an allowed range, a reservation and another window are EADDRINUSE', async () => {
    const { vmm, parent, windowId, deviceId } = await WindowGuest.make(world, await world.vmm())
    const { client, ioasId } = vmm
    await client.attachRid({ deviceId, ptId: parent })
    const allowed = WINDOW + 0x20_0000n
    await client.ioasAllowIovas({ ioasId, ranges: [{ first: allowed, last: allowed + 0xffffn }] })
    for (const first of [RAM, RAM + 0x3f_f000n, WINDOW, allowed + 0x3000n, SW_MSI, SW_MSI + 0xf_f000n]) {
      expect(await both(vmm, parent, windowId, first, first + PAGE - 1n), first.toString(16)).toEqual([
        'EADDRINUSE',
        'EADDRINUSE',
      ])
    }
    // One page of the range is enough to be in the way.
    for (const [first, last] of [
      [RAM - PAGE, RAM + PAGE - 1n],
      [RAM + 0x3f_f000n, RAM + 0x40_0fffn],
      [WINDOW - PAGE, WINDOW + 2n * PAGE - 1n],
    ]) {
      expect(await both(vmm, parent, windowId, first, last)).toEqual(['EADDRINUSE', 'EADDRINUSE'])
    }
    const [, reason] = await no(
      client.createWindow({ parentDomainId: parent, first: WINDOW, last: WINDOW + PAGE - 1n }),
    )
    expect(reason).toMatch(new RegExp(`window ${windowId}`))
    // Beside them there is room.
    expect(await makeWindow(vmm, parent, RAM - PAGE, 1n)).toBeGreaterThan(0)
    expect(await makeWindow(vmm, parent, WINDOW + PAGE, 1n)).toBeGreaterThan(0)
  })

  it('name a parent and a window that are theirs: ENOENT, EINVAL', async () => {
    const { vmm, parent, windowId, deviceId } = await WindowGuest.make(world, await world.vmm())
    const range = { first: WINDOW + 0x10_0000n, last: WINDOW + 0x10_0fffn }
    const create = (parentDomainId: number) => vmm.client.createWindow({ parentDomainId, ...range })
    expect((await no(create(9999)))[0]).toBe('ENOENT')
    for (const id of [vmm.ioasId, deviceId, windowId]) expect((await no(create(id)))[0]).toMatch(/^(EINVAL|ENOENT)$/)
    expect(await no(create(await vmm.paging(deviceId)))).toEqual(matching('EINVAL', /NEST_PARENT|nesting parent/))
    for (const id of [9999, parent, vmm.ioasId]) {
      expect((await no(vmm.client.growWindow({ windowId: id, ...range })))[0]).toBe('ENOENT')
    }
  })

  it('are for SMMUv3s with nesting, S2FWB and SubstreamIDs: elsewhere EOPNOTSUPP, and why', async () => {
    const vmm = await world.vmm()
    const make = async (name: string) => {
      const deviceId = await vmm.bind(name)
      const ptId = await makeWindow(vmm, await vmm.parent(deviceId), WINDOW, 1n)
      return vmm.client.attachRid({ deviceId, ptId })
    }
    expect(await no(make(BARE.vtd))).toEqual(matching('EOPNOTSUPP', /VT-d|SMMUv3|parent/))
    expect(await no(make(BARE.noPasids))).toEqual(matching('EOPNOTSUPP', /Substream|SSIDSIZE|PASID/))
    const other = await world.vmm()
    const bare = async () => {
      const deviceId = await other.bind(BARE.noFwb)
      const ptId = await makeWindow(other, await other.parent(deviceId), WINDOW, 1n)
      return other.client.attachRid({ deviceId, ptId })
    }
    expect(await no(bare())).toEqual(matching('EOPNOTSUPP', /S2FWB|FWB/))
  })

  it('of a unit without two levels of CDs serve PASIDs below 64: beyond is EINVAL, and why', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm(), { name: BARE.noCd2l, pages: 4n })
    const [one] = await guest.trees(1)
    await guest.attachPasid(63, one)
    expect(await guest.reach(63)).toBe(pageOf(0))
    expect(await no(guest.attachPasid(64, one))).toEqual(matching('EINVAL', /CD2L|two.level/i))
  })
})

describe('M10: the addresses of a window', () => {
  it('are reserved in the IOAS: no ranges, no fixed mapping (EINVAL), none chosen, none allowed (EADDRINUSE)', async () => {
    const { vmm } = await WindowGuest.make(world, await world.vmm(), { pages: 4n })
    const { client, ioasId, regionId } = vmm
    const { ranges } = await client.ioasIovaRanges({ ioasId })
    expect(ranges.some(({ first, last }) => first <= WINDOW + 3n * PAGE && last >= WINDOW)).toBe(false)
    expect(ranges.some(({ last }) => last === WINDOW - 1n)).toBe(true)
    expect(ranges.some(({ first }) => first === WINDOW + 4n * PAGE)).toBe(true)
    const map = (iova: bigint, length = PAGE) =>
      client.ioasMap({ ioasId, flags: 7, region: { regionId, offset: 0n }, length, iova })
    for (const page of [0n, 3n]) expect((await no(map(WINDOW + page * PAGE)))[0]).toBe('EINVAL')
    expect((await no(map(WINDOW - PAGE, 2n * PAGE)))[0]).toBe('EINVAL')
    await map(WINDOW - PAGE)
    await map(WINDOW + 4n * PAGE)
    const allow = (first: bigint, last: bigint) => client.ioasAllowIovas({ ioasId, ranges: [{ first, last }] })
    expect((await no(allow(WINDOW - 0x1_0000n, WINDOW + 0xffffn)))[0]).toBe('EADDRINUSE')
    // Where the window fills the hole but for two pages, the mapping goes there.
    await allow(WINDOW + 5n * PAGE, WINDOW + 7n * PAGE - 1n)
    const flags = 6
    const chosen = await client.ioasMap({ ioasId, flags, region: { regionId, offset: 0n }, length: PAGE })
    expect(chosen.iova).toBe(WINDOW + 5n * PAGE)
  })

  it('meet a device’s reserved ranges when it is attached: EADDRINUSE, for every device of that IOAS', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.smmuv3.first)
    const parent = await vmm.parent(deviceId)
    const windowId = await makeWindow(vmm, parent, SW_MSI, 1n)
    for (const ptId of [windowId, parent, vmm.ioasId]) {
      expect(await no(vmm.client.attachRid({ deviceId, ptId }))).toEqual(matching('EADDRINUSE', /window/))
    }
    await vmm.client.destroy({ objectId: windowId })
    await vmm.client.attachRid({ deviceId, ptId: parent })
  })

  it('show a device that reads them the daemon’s table, and fault its writes in stage 2', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { vmm, deviceId } = guest
    const [one] = await guest.trees(1)
    await guest.attachPasid(3, one)
    const read = async (address: bigint, pasid?: number): Promise<bigint[]> => {
      const { results } = await vmm.client.dmaRead({ deviceId, pasid, operations: [{ address, length: 64 }] })
      expect(results[0].outcome).toBe(DmaOutcome.OK)
      return [...new BigUint64Array(results[0].data.slice().buffer)]
    }
    const cd = await read(WINDOW + 3n * 64n)
    // EPD1, V, AA64, R, A, ASET and T0SZ 16 of the CD; TTB0; MAIR. [SMMU 5.4 Context Descriptor]
    const mask = (1n << 30n) | (1n << 31n) | (1n << 41n) | (1n << 45n) | (1n << 46n) | (1n << 47n)
    expect([cd[0] & mask, cd[0] & 0x3fn, cd[1], cd[3]]).toEqual([mask, 16n, rootOf(0), 0xf404_ff44n])
    expect(await read(WINDOW + 4n * 64n)).toEqual(new Array(8).fill(0n))
    const wrote = await vmm.client.dmaWrite({
      deviceId,
      operations: [{ address: WINDOW, data: new Uint8Array(8).fill(255) }],
    })
    expect(wrote.results[0]).toMatchObject({
      outcome: DmaOutcome.FAULT,
      fault: { name: 'F_PERMISSION', stage: 2, ipa: WINDOW },
    })
    const translated = await vmm.client.translate({ deviceId, iovas: [WINDOW], access: READ })
    expect([translated.outcomes[0], translated.regionIds[0], translated.offsets[0]]).toEqual([DmaOutcome.OK, 0, 0n])
    expect(await vmm.dma(deviceId, WINDOW, WRITE)).toMatchObject({ fault: 'F_PERMISSION' })
    // Through a guest's own table too, and through another device of the parent.
    await new GuestTree(world.guest, ARM64, rootOf(1)).map(IOVA, WINDOW)
    await guest.attachPasid(4, await guest.pgd(rootOf(1)))
    expect((await read(IOVA + 3n * 64n, 4))[1]).toBe(rootOf(0))
    expect(await vmm.dma(deviceId, IOVA, WRITE, 4)).toMatchObject({ fault: 'F_PERMISSION' })
    const second = await vmm.bind(DEVICES.smmuv3.second)
    await vmm.client.attachRid({ deviceId: second, ptId: guest.parent })
    expect(await vmm.dma(second, WINDOW, WRITE)).toMatchObject({ fault: 'F_PERMISSION' })
    // The root is taken away: its bytes go at once.
    await vmm.client.detachPasid({ deviceId, pasid: 3 })
    expect((await read(WINDOW + 3n * 64n))[0] & (1n << 31n)).toBe(0n)
  })

  it('are of that parent’s stage 2 alone: another parent of the IOAS, and the IOAS itself, have nothing there', async () => {
    const guest = await WindowGuest.make(world, await world.vmm())
    const { vmm, deviceId } = guest
    for (const ptId of [await vmm.parent(deviceId), await vmm.paging(deviceId), vmm.ioasId]) {
      await vmm.client.attachRid({ deviceId, ptId })
      expect(await vmm.dma(deviceId, WINDOW)).toMatchObject({ fault: 'F_TRANSLATION' })
      expect((await vmm.dma(deviceId, RAM)).address).toBe(RAM)
      await vmm.client.detachRid({ deviceId })
    }
    // But their addresses are one space: no mapping can come in the way of the window.
    const no: IommudError = await refusal(makeWindow(vmm, await vmm.parent(deviceId), WINDOW, 1n))
    expect(no.errnoName).toBe('EADDRINUSE')
  })
})
