/** What VT-d units refuse and take, one platform with several kinds of them. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DeviceGrant, DmaOutcome, HwptFlag, type InvalidateIotlbResponse, VtdS1Flag } from '../../clients/node/index.js'
import { steOneCd } from './guest-tables.js'
import { type Dma, refusal, type Vmm, World, WRITE } from './world.js'

const MAX = 0xffff_ffff_ffff_ffffn

/** Registers by the manual's numbers. [VTD 11.4.2, 11.4.3] */
const PLATFORM = {
  units: [
    { name: 'full', type: 'vtd' },
    // SAGAW with 57 bits (10), MGAW 56 (21:16), FS5LP (60).
    { name: 'wide', type: 'vtd', registers: { CAP: '0x91d2078c22780e06' } },
    // Without SRS (31) and EAFS (34).
    { name: 'bare', type: 'vtd', registers: { ECAP: '0x0013e99804000fc3' } },
    // Without NEST (26).
    { name: 'flat', type: 'vtd', registers: { ECAP: '0x0013e99c80000fc3' } },
    { name: 'legacy', type: 'vtd', registers: { CAP: '0x80d2078c226f0606', ECAP: '0xfc3' } },
    // With caching mode (7), without ESRTPS (63).
    { name: 'caching', type: 'vtd', registers: { CAP: '0x01d2078c226f0686' } },
    // With DT (2): devices may have TLBs.
    { name: 'ats', type: 'vtd', registers: { ECAP: '0x0013e99c84000fc7' } },
    { name: 'smmu0', type: 'smmuv3' },
  ],
  devices: [
    { name: '0000:01:01.0', iommu: 'full', pasidBits: 20 },
    { name: '0000:01:02.0', iommu: 'full', pasidBits: 4 },
    { name: '0000:01:03.0', iommu: 'full', pasidBits: 0 },
    { name: '0000:02:01.0', iommu: 'wide', pasidBits: 20 },
    { name: '0000:03:01.0', iommu: 'bare', pasidBits: 20 },
    { name: '0000:04:01.0', iommu: 'flat', pasidBits: 20 },
    { name: '0000:05:01.0', iommu: 'legacy', pasidBits: 20 },
    { name: '0000:06:01.0', iommu: 'caching', pasidBits: 20 },
    { name: '0000:07:01.0', iommu: 'ats', pasidBits: 20, ats: true },
    { name: '0000:07:02.0', iommu: 'ats', pasidBits: 20 },
    { name: '0000:00:01.0', iommu: 'smmu0', pasidBits: 20 },
    { name: 'mdev', iommu: 'full', mediated: { parent: '0000:01:02.0', pasid: 7 } },
  ],
} as const

const FULL = '0000:01:01.0'
const FEW_PASIDS = '0000:01:02.0'
const NO_PASIDS = '0000:01:03.0'
const WIDE = '0000:02:01.0'
const BARE = '0000:03:01.0'
const FLAT = '0000:04:01.0'
const LEGACY = '0000:05:01.0'
const CACHING = '0000:06:01.0'
const WITH_ATS = '0000:07:01.0'
const WITHOUT_ATS = '0000:07:02.0'
const SMMU = '0000:00:01.0'

/**
 * One page is a whole tree: its first entry is a table and points to the page itself, at every level but the last; its
 * sixth leads 0x5000 to PAGE. [VTD 9.7]
 */
const ROOT = 0x4000_1000n
const PAGE = 0x4002_0000n
const IOVA = 0x5000n

let world: World

beforeAll(async () => {
  world = await World.start(PLATFORM)
  await world.guest.store(ROOT, ROOT | 0x27n)
  await world.guest.store(ROOT + 5n * 8n, PAGE | 0x67n)
})

afterEach(() => world.sweep())

afterAll(() => world.stop())

/** A user domain over the tree. */
async function user(vmm: Vmm, deviceId: number, parentDomainId: number, data: Partial<Data> = {}): Promise<number> {
  const vtdS1 = { flags: 0n, pgtblAddr: ROOT, addrWidth: 48, ...data }
  const made = await vmm.client.createUserDomain({ flags: HwptFlag.PASID, deviceId, parentDomainId, vtdS1 })
  return made.domainId
}

interface Data {
  readonly flags: bigint
  readonly pgtblAddr: bigint
  readonly addrWidth: number
}

/** Name of the refusal, and its sentence. */
async function no(call: Promise<unknown>): Promise<readonly [string, string]> {
  const { errnoName, reason } = await refusal(call)
  return [errnoName, reason]
}

describe('M7 on vtd: making a user domain is refused', () => {
  it('on a parent that is none: EINVAL', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(FULL)
    const plain = await vmm.paging(deviceId)
    const domain = await user(vmm, deviceId, await vmm.parent(deviceId))
    expect(await no(user(vmm, deviceId, plain))).toEqual(['EINVAL', expect.stringMatching(/NEST_PARENT/)])
    expect(await no(user(vmm, deviceId, vmm.ioasId))).toEqual(['EINVAL', expect.stringMatching(/not a paging domain/)])
    expect(await no(user(vmm, deviceId, domain))).toEqual(['EINVAL', expect.stringMatching(/not a paging domain/)])
    expect((await no(user(vmm, deviceId, 999)))[0]).toBe('EINVAL')
    await vmm.close()
  })

  it('on another unit’s parent: EINVAL', async () => {
    const vmm = await world.vmm()
    const [one, two, three] = [await vmm.bind(FULL), await vmm.bind(WIDE), await vmm.bind(SMMU)]
    expect(await no(user(vmm, one, await vmm.parent(two)))).toEqual(['EINVAL', expect.stringMatching(/wide.*full/)])
    expect((await no(user(vmm, one, await vmm.parent(three))))[0]).toBe('EINVAL')
    await vmm.close()
  })

  it('for unknown flags of the domain or of its table: EOPNOTSUPP', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(FULL)
    const parentDomainId = await vmm.parent(deviceId)
    const vtdS1 = { flags: 0n, pgtblAddr: ROOT, addrWidth: 48 }
    for (const flags of [HwptFlag.NEST_PARENT, HwptFlag.DIRTY_TRACKING, 16]) {
      const call = vmm.client.createUserDomain({ flags, deviceId, parentDomainId, vtdS1 })
      expect((await no(call))[0]).toBe('EOPNOTSUPP')
    }
    const call = user(vmm, deviceId, parentDomainId, { flags: 8n })
    expect(await no(call)).toEqual(['EOPNOTSUPP', expect.stringMatching(/0x8 of vtd_s1/)])
    await vmm.close()
  })

  it('for another architecture’s data or none: EOPNOTSUPP, EINVAL', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(FULL)
    const parentDomainId = await vmm.parent(deviceId)
    const smmuv3Ste = steOneCd(ROOT)
    const foreign = vmm.client.createUserDomain({ deviceId, parentDomainId, smmuv3Ste })
    expect(await no(foreign)).toEqual(['EOPNOTSUPP', expect.stringMatching(/vtd_s1/)])
    expect((await no(vmm.client.createUserDomain({ deviceId, parentDomainId })))[0]).toBe('EINVAL')
    await vmm.close()
  })

  it.each([
    ['without nested translation', FLAT],
    ['in legacy mode', LEGACY],
  ])('on a unit %s, and so is its parent: EOPNOTSUPP', async (_, name) => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(name)
    expect(await no(vmm.parent(deviceId))).toEqual(['EOPNOTSUPP', expect.stringMatching(/NEST/)])
    const plain = await vmm.paging(deviceId)
    expect((await no(user(vmm, deviceId, plain)))[0]).toBe('EINVAL')
    await vmm.close()
  })
})

describe('M7 on vtd: attaching a user domain', () => {
  it.each([
    ['a width of 39 bits', FULL, { addrWidth: 39 }, /addr_width 39/],
    ['57 bits on a unit of 48', FULL, { addrWidth: 57 }, /addr_width 57/],
    ['SRE without ECAP.SRS', BARE, { flags: BigInt(VtdS1Flag.SRE) }, /ECAP\.SRS/],
    ['EAFE without ECAP.EAFS', BARE, { flags: BigInt(VtdS1Flag.EAFE) }, /ECAP\.EAFS/],
  ])('with %s is EINVAL, on a RID and on a PASID; making it was not', async (_, name, data, why) => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(name)
    const ptId = await user(vmm, deviceId, await vmm.parent(deviceId), data)
    expect(await no(vmm.client.attachRid({ deviceId, ptId }))).toEqual(['EINVAL', expect.stringMatching(why)])
    expect((await no(vmm.client.attachPasid({ deviceId, pasid: 5, ptId })))[0]).toBe('EINVAL')
    expect((await vmm.dma(deviceId, IOVA)).code).toBe(0x51)
    await vmm.close()
  })

  it('with SRE, EAFE and WPE translates; WPE alone is dropped', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(FULL)
    const parent = await vmm.parent(deviceId)
    for (const [pasid, flags] of [1n, 2n, 3n, 4n, 5n, 6n, 7n].entries()) {
      const ptId = await user(vmm, deviceId, parent, { flags })
      await vmm.client.attachPasid({ deviceId, pasid: pasid + 1, ptId })
      expect(await vmm.dma(deviceId, IOVA, WRITE, pasid + 1)).toMatchObject({ address: PAGE })
    }
    // EAFE: the extended access flag, bit 10, is set in every entry of the way. [VTD 3.6.2]
    const slice = { regionId: vmm.regionId, offset: ROOT - 0x4000_0000n + 40n, length: 8 }
    const [leaf] = (await vmm.client.readMemory({ slices: [slice] })).data
    expect(new DataView(leaf.buffer, leaf.byteOffset).getBigUint64(0, true)).toBe(PAGE | 0x467n)
    await vmm.close()
  })

  it('of five levels walks one level more', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(WIDE)
    const parent = await vmm.parent(deviceId)
    const [four, five] = [await user(vmm, deviceId, parent), await user(vmm, deviceId, parent, { addrWidth: 57 })]
    await vmm.client.attachPasid({ deviceId, pasid: 4, ptId: four })
    await vmm.client.attachPasid({ deviceId, pasid: 5, ptId: five })
    // Entry 5 of the page, met at the fifth level, would be a table elsewhere: nothing is there.
    expect(await vmm.dma(deviceId, IOVA, 1, 4)).toMatchObject({ address: PAGE })
    expect(await vmm.dma(deviceId, IOVA, 1, 5)).toMatchObject({ address: PAGE })
    // Bit 48: not canonical for four levels, entry 1 of the top table for five. [VTD 3.6]
    const codes = [(await vmm.dma(deviceId, 1n << 48n, 1, 4)).code, (await vmm.dma(deviceId, 1n << 48n, 1, 5)).code]
    expect(codes).toEqual([0x80, 0x71])
    await vmm.close()
  })

  it('ignores the low twelve bits of the table’s address', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(FULL)
    const ptId = await user(vmm, deviceId, await vmm.parent(deviceId), { pgtblAddr: ROOT | 0xfffn })
    await vmm.client.attachRid({ deviceId, ptId })
    expect(await vmm.dma(deviceId, IOVA)).toMatchObject({ address: PAGE })
    await vmm.close()
  })

  it('works where the unit may have kept the absent entry', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(CACHING)
    expect((await vmm.dma(deviceId, IOVA, 1, 9)).outcome).toBe(DmaOutcome.FAULT)
    const parent = await vmm.parent(deviceId)
    const ptId = await user(vmm, deviceId, parent)
    await vmm.client.attachPasid({ deviceId, pasid: 9, ptId })
    expect(await vmm.dma(deviceId, IOVA, 1, 9)).toMatchObject({ address: PAGE })
    await vmm.client.detachPasid({ deviceId, pasid: 9 })
    expect((await vmm.dma(deviceId, IOVA, 1, 9)).code).toBe(0x59)
    await vmm.client.attachPasid({ deviceId, pasid: 9, ptId: await vmm.paging(deviceId, HwptFlag.PASID) })
    expect(await vmm.dma(deviceId, PAGE, 1, 9)).toMatchObject({ address: PAGE })
    await vmm.close()
  })
})

describe('a device with ATS on vtd', () => {
  it('is let in by its context entry (DTE), and says so', async () => {
    const vmm = await world.vmm()
    const facts = async (name: string) => {
      const deviceId = await vmm.bind(name)
      const { capabilities } = await vmm.client.getHwInfo({ deviceId })
      const ptId = await user(vmm, deviceId, await vmm.parent(deviceId))
      await vmm.client.attachRid({ deviceId, ptId })
      await vmm.client.attachPasid({ deviceId, pasid: 5, ptId })
      const { explanation } = await vmm.client.explain({ deviceId, iova: IOVA, access: 1 })
      const entries = [{ addr: IOVA, npages: 1n, flags: 1 }]
      expect(await vmm.client.invalidateIotlb({ userDomainId: ptId, vtdS1: { entries } })).toMatchObject({
        doneCount: 1,
      })
      expect(await vmm.dma(deviceId, IOVA, 1, 5)).toMatchObject({ address: PAGE })
      // IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED
      const context = explanation?.steps.find(({ structure }) => structure.includes('context entry'))
      return [(capabilities & 8n) === 0n, context?.fields.find(({ name }) => name === 'DTE')?.value]
    }
    expect(await facts(WITH_ATS)).toEqual([true, 1n])
    expect(await facts(WITHOUT_ATS)).toEqual([false, 0n])
    await vmm.close()
  })
})

describe('M5 on vtd: a PASID', () => {
  it('beyond the device’s, or of a device without any, is EINVAL', async () => {
    const vmm = await world.vmm()
    const few = await vmm.bind(FEW_PASIDS)
    const none = await vmm.bind(NO_PASIDS)
    const ptId = await vmm.paging(few, HwptFlag.PASID)
    await vmm.client.attachPasid({ deviceId: few, pasid: 15, ptId })
    const beyond = vmm.client.attachPasid({ deviceId: few, pasid: 16, ptId })
    expect(await no(beyond)).toEqual(['EINVAL', expect.stringMatching(/below 16/)])
    const lacking = vmm.client.attachPasid({ deviceId: none, pasid: 1, ptId })
    expect(await no(lacking)).toEqual(['EINVAL', expect.stringMatching(/no PASIDs/)])
    await vmm.close()
  })

  it('of a device in legacy mode is EINVAL', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(LEGACY)
    const ptId = await vmm.paging(deviceId, HwptFlag.PASID)
    expect((await no(vmm.client.attachPasid({ deviceId, pasid: 1, ptId })))[0]).toBe('EINVAL')
    await vmm.client.attachRid({ deviceId, ptId })
    expect(await vmm.dma(deviceId, PAGE)).toMatchObject({ address: PAGE })
    await vmm.close()
  })

  it('wants PASID of its domain and of the RID’s: EINVAL', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(FULL)
    const parent = await vmm.parent(deviceId)
    const domain = await user(vmm, deviceId, parent)
    await vmm.client.attachRid({ deviceId, ptId: parent })
    const blocked = vmm.client.attachPasid({ deviceId, pasid: 3, ptId: domain })
    expect(await no(blocked)).toEqual(['EINVAL', expect.stringMatching(/the RID is attached/)])
    await vmm.client.replaceRid({ deviceId, ptId: domain })
    await vmm.client.attachPasid({ deviceId, pasid: 3, ptId: domain })
    const back = vmm.client.replaceRid({ deviceId, ptId: parent })
    expect(await no(back)).toEqual(['EINVAL', expect.stringMatching(/PASID 3 is attached/)])
    const empty = vmm.client.replacePasid({ deviceId, pasid: 4, ptId: domain })
    expect((await no(empty))[0]).toBe('EINVAL')
    await vmm.client.detachPasid({ deviceId, pasid: 4 })
    await vmm.close()
  })
})

describe('M3 on vtd: an invalidation', () => {
  async function attached(vmm: Vmm) {
    const deviceId = await vmm.bind(FULL)
    const parent = await vmm.parent(deviceId)
    const userDomainId = await user(vmm, deviceId, parent)
    const send = (...entries: { addr: bigint; npages: bigint; flags?: number }[]) =>
      vmm.client.invalidateIotlb({ userDomainId, vtdS1: { entries: entries.map((e) => ({ flags: 0, ...e })) } })
    return { deviceId, parent, userDomainId, send }
  }

  it.each([
    ['an address between pages', { addr: IOVA + 8n, npages: 1n }, 'EINVAL', /multiple of 4096/],
    ['everything from somewhere', { addr: IOVA, npages: MAX }, 'EINVAL', /goes with addr 0/],
    ['an unknown flag', { addr: IOVA, npages: 1n, flags: 3 }, 'EOPNOTSUPP', /LEAF/],
    ['an unknown flag before an address between pages', { addr: 1n, npages: 1n, flags: 2 }, 'EOPNOTSUPP', /LEAF/],
  ])('of %s is refused, with those before it done', async (_, entry, errno, why) => {
    const vmm = await world.vmm()
    const { send } = await attached(vmm)
    const good = { addr: IOVA, npages: 1n }
    const error = await refusal(send(good, good, entry, good))
    expect([error.errnoName, (error.partial as InvalidateIotlbResponse).doneCount]).toEqual([errno, 2])
    expect(error.reason).toMatch(why)
    expect(error.context).toMatchObject({ index: '2' })
    await vmm.close()
  })

  it('names a user domain: ENOENT, EINVAL for anything else', async () => {
    const vmm = await world.vmm()
    const { parent, deviceId } = await attached(vmm)
    const of = (userDomainId: number) => no(vmm.client.invalidateIotlb({ userDomainId, vtdS1: { entries: [] } }))
    expect((await of(999))[0]).toBe('ENOENT')
    expect(await of(parent)).toEqual(['EINVAL', expect.stringMatching(/unmapping/)])
    expect((await of(deviceId))[0]).toBe('EINVAL')
    await vmm.close()
  })

  it('of a domain that is attached nowhere, and of nothing, succeeds', async () => {
    const vmm = await world.vmm()
    const { send } = await attached(vmm)
    expect((await send({ addr: 0n, npages: MAX })).doneCount).toBe(1)
    expect((await send()).doneCount).toBe(0)
    await vmm.close()
  })

  it('reaches every slot of its domain and no other domain’s', async () => {
    const vmm = await world.vmm()
    const { deviceId, parent, userDomainId, send } = await attached(vmm)
    const other = await user(vmm, deviceId, parent)
    await vmm.client.attachRid({ deviceId, ptId: userDomainId })
    await vmm.client.attachPasid({ deviceId, pasid: 1, ptId: userDomainId })
    await vmm.client.attachPasid({ deviceId, pasid: 2, ptId: other })
    const all = async (): Promise<Dma[]> => [
      await vmm.dma(deviceId, IOVA),
      await vmm.dma(deviceId, IOVA, 1, 1),
      await vmm.dma(deviceId, IOVA, 1, 2),
    ]
    await all()
    await world.guest.store(ROOT + 5n * 8n, (PAGE + 0x1000n) | 0x67n)
    try {
      expect((await all()).map(({ address }) => address)).toEqual([PAGE, PAGE, PAGE])
      await send({ addr: IOVA, npages: 1n, flags: 1 })
      expect((await all()).map(({ address }) => address)).toEqual([PAGE + 0x1000n, PAGE + 0x1000n, PAGE])
    } finally {
      await world.guest.store(ROOT + 5n * 8n, PAGE | 0x67n)
    }
    await vmm.close()
  })
})

describe('M11 on vtd: a mediated device', () => {
  it('takes a user domain in its one slot, replaces it hitlessly, and has no other slot', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind('mdev')
    const parent = await vmm.parent(deviceId)
    const [one, two] = [await user(vmm, deviceId, parent), await user(vmm, deviceId, parent)]
    expect((await no(vmm.client.attachRid({ deviceId, ptId: one })))[0]).toBe('EINVAL')
    expect((await no(vmm.client.attachPasid({ deviceId, pasid: 6, ptId: one })))[0]).toBe('EINVAL')
    await vmm.client.attachPasid({ deviceId, pasid: 7, ptId: one })
    expect(await vmm.dma(deviceId, IOVA)).toMatchObject({ address: PAGE })
    expect((await vmm.client.replacePasid({ deviceId, pasid: 7, ptId: two })).hitless).toBe(true)
    expect(await vmm.dma(deviceId, IOVA)).toMatchObject({ address: PAGE })
    await vmm.client.detachPasid({ deviceId, pasid: 7 })
    expect((await vmm.dma(deviceId, IOVA)).code).toBe(0x59)
    await vmm.close()
  })

  it('leaves its parent’s other PASIDs to who has it PASID_ONLY, whose RID stays blocked', async () => {
    const [one, two] = [await world.vmm(), await world.vmm()]
    const child = await one.bind('mdev')
    expect((await no(two.bind(FEW_PASIDS, DeviceGrant.WHOLE_DEVICE)))[0]).toBe('EBUSY')
    const rest = await two.bind(FEW_PASIDS, DeviceGrant.PASID_ONLY)
    const domain = await user(two, rest, await two.parent(rest))
    expect((await no(two.client.attachRid({ deviceId: rest, ptId: domain })))[0]).toBe('EPERM')
    await two.client.attachPasid({ deviceId: rest, pasid: 6, ptId: domain })
    expect((await no(two.client.attachPasid({ deviceId: rest, pasid: 7, ptId: domain })))[0]).toBe('EBUSY')
    expect(await two.dma(rest, IOVA, 1, 6)).toMatchObject({ address: PAGE })
    expect((await one.dma(child, IOVA)).code).toBe(0x59)
    await one.close()
    await two.close()
  })
})
