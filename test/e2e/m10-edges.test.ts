/** M10 at the edges: the first and last of everything that a root, a slot, a range and a table may be. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { GranuleTree } from './granule-tree.js'
import { matching, no } from './refusals.js'
import { IOVA, makeWindow, PAGE, pageOf, RAM, rootOf, WindowGuest } from './window-guest.js'
import { READ, refusal, World } from './world.js'

/** A device of few PASIDs, and a unit without range invalidations (IDR3.RIL). [SMMU 6.3.4 SMMU_IDR3] */
const FEW = '0000:02:01.0'
const UNRANGED = '0000:01:01.0'
const platform = {
  units: [
    { name: 'smmu0', type: 'smmuv3', preset: 'ats' },
    { name: 'smmu1', type: 'smmuv3', preset: 'ats', registers: { IDR3: 0x1114, AIDR: 1 } },
  ],
  devices: [
    { name: '0000:00:01.0', iommu: 'smmu0', pasidBits: 20 },
    { name: FEW, iommu: 'smmu0', pasidBits: 4 },
    { name: UNRANGED, iommu: 'smmu1', pasidBits: 20 },
  ],
}

let world: World
beforeAll(async () => {
  world = await World.start(platform)
})
afterEach(() => world.sweep())
afterAll(() => world.stop())

describe('M10: a root', () => {
  it('of few addresses is a table of few entries, aligned to its own size and to 64 bytes', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const root = RAM + 0x10_0000n
    const [target, iova] = [pageOf(3), 0x1ff_f000n]
    // T0SZ 39: 16 entries of 2 MiB, 128 bytes. [SMMU 5.4 Context Descriptor, TTB0]
    const tree = new GranuleTree(world.guest, root, 12n, 25n)
    const last = await tree.map(iova, target)
    for (const at of [root + 0x80n, root + 0xf80n]) {
      await world.guest.store(at + ((iova >> 21n) & 15n) * 8n, (last & ~0xfffn) | 3n)
      const domain = await guest.pgd(at, { t0sz: 39 })
      await guest.attachPasid(1, domain)
      expect((await guest.vmm.dma(guest.deviceId, iova, READ, 1)).address).toBe(target)
      await guest.vmm.client.detachPasid({ deviceId: guest.deviceId, pasid: 1 })
    }
    expect(await no(guest.pgd(root + 0x40n, { t0sz: 39 }))).toEqual(matching('EINVAL', /ttb0/))
  })

  it('has the lower half of addresses: those with the top bits set, and those beyond T0SZ, do not translate', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const [one] = await guest.trees(1)
    await guest.attachPasid(1, one)
    for (const iova of [1n << 48n, 0xffff_8000_0000_0000n, 0xffff_ffff_ffff_f000n, IOVA | (1n << 56n)]) {
      expect(await guest.vmm.dma(guest.deviceId, iova, READ, 1)).toMatchObject({ fault: 'F_TRANSLATION' })
    }
  })

  it('whose tables are where the parent has nothing faults in stage 2, on its PASID alone', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const [one] = await guest.trees(1)
    await guest.attachPasid(1, one)
    await guest.attachPasid(2, await guest.pgd(0x7000_0000n))
    const { faults } = await guest.vmm.client.translate({ deviceId: guest.deviceId, pasid: 2, iovas: [IOVA] })
    expect(faults).toMatchObject([{ name: 'F_TRANSLATION', stage: 2 }])
    expect([await guest.reach(1), await guest.reach()]).toEqual([pageOf(0), IOVA])
  })
})

describe('M10: PASID 0', () => {
  it('is nothing to replace or to lose while the RID has no root, and is no place while the RID has no window', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm())
    const { vmm, deviceId, windowId } = guest
    const [one] = await guest.trees(1)
    const replace = () => vmm.client.replacePasid({ deviceId, pasid: 0, ptId: one })
    expect(await no(replace())).toEqual(matching('EINVAL', /nothing is attached to PASID 0/))
    await vmm.client.detachPasid({ deviceId, pasid: 0 })
    expect([await guest.slots(), await guest.reach()]).toEqual([[[0, windowId]], IOVA])
    await guest.attachPasid(1, one)
    await vmm.client.detachRid({ deviceId })
    expect((await no(guest.attachPasid(0, one)))[0]).toBe('EINVAL')
    expect((await no(replace()))[0]).toBe('EINVAL')
    await vmm.client.detachPasid({ deviceId, pasid: 0 })
    expect([await guest.slots(), await guest.reach(1)]).toEqual([[[1, one]], pageOf(0)])
  })
})

describe('M10: a device of 16 PASIDs', () => {
  it('has a table of one page, and 16 is beyond it', async () => {
    const guest = await WindowGuest.attached(world, await world.vmm(), { name: FEW })
    const [one] = await guest.trees(1)
    await guest.attachPasid(15, one)
    expect(await guest.reach(15)).toBe(pageOf(0))
    for (const pasid of [16, 63, 64])
      expect(await no(guest.attachPasid(pasid, one))).toEqual(matching('EINVAL', /below 16/))
  })
})

describe('M10: an invalidation', () => {
  const MAX = 0xffff_ffff_ffff_ffffn

  it.each([
    ['with ranges', '0000:00:01.0'],
    ['without ranges', UNRANGED],
  ])('of a unit %s reaches what it covers however large it is, and answers at once', async (_, name) => {
    const guest = await WindowGuest.attached(world, await world.vmm(), { name })
    const { vmm, deviceId } = guest
    const tree = new GranuleTree(world.guest, rootOf(0), 12n, 48n)
    // The first page, some in the middle, the last of 48 bits.
    const iovas = [0n, 0x5000_0000n, 0x5000_1000n, (1n << 48n) - PAGE]
    const [userDomainId, other] = [await guest.pgd(rootOf(0)), await guest.pgd(rootOf(0))]
    await guest.attachPasid(1, userDomainId)
    await guest.attachPasid(2, other)
    let place = 0n
    const remap = async () => {
      place = place === RAM + 0x30_0000n ? RAM + 0x31_0000n : RAM + 0x30_0000n
      for (const [i, iova] of iovas.entries()) await tree.map(iova, place + BigInt(i) * PAGE)
    }
    const fresh = async (pasid: number) => {
      const { offsets } = await vmm.client.translate({ deviceId, pasid, iovas })
      return [...offsets].map((offset, i) => (offset === place - RAM + BigInt(i) * PAGE ? 'n' : 'o')).join('')
    }
    await remap()
    for (const [addr, npages, expected] of [
      [0n, 1n, 'nooo'],
      [0x5000_0000n, 2n, 'onno'],
      [(1n << 48n) - PAGE, 1n, 'ooon'],
      [0n, 1n << 36n, 'nnnn'],
      [0x5000_0000n, (1n << 36n) - 0x5_0000n, 'onnn'],
      [0n, 0x5_0001n, 'nnoo'],
      [0n, MAX, 'nnnn'],
    ] as const) {
      for (const pasid of [1, 2])
        await vmm.client.invalidateIotlb({
          userDomainId: pasid === 1 ? userDomainId : other,
          smmuv3Pgd: { entries: [{ addr: 0n, npages: MAX, flags: 0 }] },
        })
      expect([await fresh(1), await fresh(2)]).toEqual(['nnnn', 'nnnn'])
      await remap()
      expect([await fresh(1), await fresh(2)]).toEqual(['oooo', 'oooo'])
      await vmm.client.invalidateIotlb({ userDomainId, smmuv3Pgd: { entries: [{ addr, npages, flags: 1 }] } })
      const [mine, others] = [await fresh(1), await fresh(2)]
      // More than was asked for may be forgotten where that is cheaper; less never, and nothing of others.
      for (const [i, end] of [...expected].entries()) if (end === 'n') expect(mine[i], `${addr}+${npages}`).toBe('n')
      if (npages <= 2n) expect(mine, `${addr}+${npages}`).toBe(expected)
      expect(others, `${addr}+${npages}`).toBe('oooo')
    }
  })
})

describe('M10: a window', () => {
  it('may begin at address 0, and ranges that touch are one to its table', async () => {
    const vmm = await world.vmm()
    const guest = await WindowGuest.make(world, vmm)
    const first = await makeWindow(vmm, guest.parent, 0n, 1n)
    const { deviceId } = guest
    const [one] = await guest.trees(1)
    await vmm.client.attachRid({ deviceId, ptId: first })
    const own = await guest.pgd(rootOf(0), {}, first)
    await guest.attachPasid(63, own)
    expect(await guest.reach(63)).toBe(pageOf(0))
    expect((await no(guest.attachPasid(1, one)))[0]).toBe('EINVAL')
    // 2^16 PASIDs: two pages of L1CDs, aligned to both, and a leaf; page by page.
    const need = await refusal(guest.attachPasid(40_000, own))
    expect(need.context['bytes_needed']).toBe(String(3n * PAGE))
    for (const page of [1n, 2n, 3n]) {
      await vmm.client.growWindow({ windowId: first, first: page * PAGE, last: (page + 1n) * PAGE - 1n })
    }
    await guest.attachPasid(40_000, own)
    expect([await guest.reach(63), await guest.reach(40_000)]).toEqual([pageOf(0), pageOf(0)])
  })
})
