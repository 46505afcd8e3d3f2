/** M11: what a device lets a context take: all of it, PASIDs alone, or the one PASID of a mediated child. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DeviceGrant, DmaOutcome, HwptFlag } from '../../clients/node/index.js'
import { Explained } from './explained.js'
import { ARM64, contextDescriptor, GuestTree, INTEL, steOneCd } from './guest-tables.js'
import { ARCHS, type Arch, READ, refusal, type Vmm, World } from './world.js'

const CD = 0x4000_1000n
const ROOT = 0x4001_0000n
const IOVA = 0x2222_2000n
const PAGE = 0x4010_0000n
const MAPPED = 0x4000_0000n

/** A parent with two children, and a device that has none. */
const PARENT = '0000:00:08.0'
const CHILDREN = [
  { name: 'vf-a', pasid: 7 },
  { name: 'vf-b', pasid: 1025 },
]
const LONE = '0000:00:09.0'

const platformOf = (type: Arch) => ({
  units: [{ name: 'unit0', type, preset: type === 'smmuv3' ? 'ats' : 'vtd-ats' }],
  devices: [
    { name: PARENT, iommu: 'unit0', pasidBits: 20 },
    { name: LONE, iommu: 'unit0', pasidBits: 20 },
    ...CHILDREN.map(({ name, pasid }) => ({ name, iommu: 'unit0', mediated: { parent: PARENT, pasid } })),
  ],
})

const { PASID_ONLY, WHOLE_DEVICE } = DeviceGrant

describe.each(ARCHS)('M11 on %s', (arch) => {
  let world: World
  beforeAll(async () => {
    world = await World.start(platformOf(arch))
    await new GuestTree(world.guest, arch === 'smmuv3' ? ARM64 : INTEL, ROOT).map(IOVA, PAGE)
    if (arch === 'smmuv3') await world.guest.storeAll(CD, contextDescriptor(ROOT, 7n))
  })
  afterEach(() => world.sweep())
  afterAll(() => world.stop())

  const pasidDomain = (vmm: Vmm, deviceId: number) => vmm.paging(deviceId, HwptFlag.PASID)
  const errno = async (call: Promise<unknown>) => (await refusal(call)).errnoName

  /** A domain of the guest's, in the architecture's own way. */
  async function userDomain(vmm: Vmm, deviceId: number): Promise<number> {
    const parent = await vmm.parent(deviceId)
    if (arch === 'vtd') return vmm.vtdDomain(deviceId, parent, ROOT, HwptFlag.PASID)
    const viommu = await vmm.viommu(deviceId, parent)
    await vmm.vdevice(viommu, deviceId, 0x10n)
    return vmm.smmuDomain(deviceId, viommu, steOneCd(CD))
  }

  it('a grant is told by GetDevice, and is the whole device where none is named', async () => {
    const vmm = await world.vmm()
    for (const [asked, told] of [
      [DeviceGrant.UNSPECIFIED, WHOLE_DEVICE],
      [WHOLE_DEVICE, WHOLE_DEVICE],
      [PASID_ONLY, PASID_ONLY],
    ]) {
      const deviceId = await vmm.bind(LONE, asked)
      expect((await vmm.client.getDevice({ deviceId })).grant).toBe(told)
      await vmm.client.unbindDevice({ deviceId })
    }
    expect(await errno(vmm.bind(LONE, 3 as DeviceGrant))).toMatch(/EINVAL|EOPNOTSUPP/)
    await vmm.close()
  })

  it('PASID_ONLY: nothing goes to the RID, EPERM, and the way out is told; kernel-owned domains go to PASIDs', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(LONE, PASID_ONLY)
    const paging = await pasidDomain(vmm, deviceId)
    const ids = [
      vmm.ioasId,
      paging,
      await vmm.paging(deviceId),
      await vmm.parent(deviceId),
      await userDomain(vmm, deviceId),
    ]
    for (const ptId of ids) {
      const no = await refusal(vmm.client.attachRid({ deviceId, ptId }))
      expect(no.errnoName).toBe('EPERM')
      expect(no.reason).toMatch(/WHOLE_DEVICE/)
    }
    expect((await vmm.dma(deviceId, MAPPED)).outcome).not.toBe(DmaOutcome.OK)
    await vmm.client.attachPasid({ deviceId, pasid: 2, ptId: paging })
    expect((await vmm.dma(deviceId, MAPPED, READ, 2)).address).toBe(MAPPED)
    expect((await vmm.dma(deviceId, MAPPED)).outcome).not.toBe(DmaOutcome.OK)
    await vmm.close()
  })

  it('PASID_ONLY: a user domain on a PASID is VT-d’s to give; on SMMUv3 it is refused, for it binds the RID', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(LONE, PASID_ONLY)
    const attach = vmm.client.attachPasid({ deviceId, pasid: 2, ptId: await userDomain(vmm, deviceId) })
    if (arch === 'smmuv3') {
      const no = await refusal(attach)
      expect(no.errnoName).toMatch(/EINVAL|EPERM/)
      expect(no.reason).toMatch(/RID/)
    } else {
      await attach
      expect((await vmm.dma(deviceId, IOVA, READ, 2)).address).toBe(PAGE)
    }
    await vmm.close()
  })

  it('a child and the whole parent exclude each other in both orders, whoever asks: EBUSY, the other one named', async () => {
    const [one, two] = [await world.vmm(), await world.vmm()]
    for (const asks of [one, two]) {
      const child = await one.bind('vf-a')
      const whole = await refusal(asks.bind(PARENT))
      expect([whole.errnoName, whole.reason]).toEqual(['EBUSY', expect.stringMatching(/vf-a|mediated/)])
      await one.client.unbindDevice({ deviceId: child })
      const parent = await one.bind(PARENT, WHOLE_DEVICE)
      for (const { name } of CHILDREN) {
        const part = await refusal(asks.bind(name))
        expect([part.errnoName, part.reason]).toEqual(['EBUSY', expect.stringMatching(/0000:00:08\.0|parent/)])
      }
      await one.client.unbindDevice({ deviceId: parent })
    }
    await one.bind('vf-b')
    await one.close()
    expect(await two.bind(PARENT)).toBeGreaterThan(0)
    await two.close()
  })

  it('a child and its parent’s PASIDs go together in both orders, each with its own PASIDs', async () => {
    for (const order of ['child first', 'parent first']) {
      const [one, two] = [await world.vmm(), await world.vmm()]
      let child = order === 'child first' ? await one.bind('vf-a') : 0
      const parent = await two.bind(PARENT, PASID_ONLY)
      child ||= await one.bind('vf-a')
      const [mine, theirs] = [await pasidDomain(one, child), await pasidDomain(two, parent)]
      await one.client.attachPasid({ deviceId: child, pasid: 7, ptId: mine })
      await two.client.attachPasid({ deviceId: parent, pasid: 8, ptId: theirs })
      expect((await one.dma(child, MAPPED)).address, order).toBe(MAPPED)
      expect((await two.dma(parent, MAPPED, READ, 8)).address, order).toBe(MAPPED)
      expect((await two.dma(parent, MAPPED)).outcome, order).not.toBe(DmaOutcome.OK)
      // The child's PASID is the child's.
      const taken = await refusal(two.client.attachPasid({ deviceId: parent, pasid: 7, ptId: theirs }))
      expect([taken.errnoName, taken.reason], order).toEqual(['EBUSY', expect.stringMatching(/vf-a|mediated/)])
      await one.close()
      await two.client.attachPasid({ deviceId: parent, pasid: 7, ptId: theirs })
      expect((await two.dma(parent, MAPPED, READ, 7)).address, order).toBe(MAPPED)
      await two.close()
    }
  })

  it('a child of a parent whose PASID is in use by who has its PASIDs is EBUSY to bind, until it is free', async () => {
    const [one, two] = [await world.vmm(), await world.vmm()]
    const parent = await one.bind(PARENT, PASID_ONLY)
    await one.client.attachPasid({ deviceId: parent, pasid: 7, ptId: await pasidDomain(one, parent) })
    expect(await errno(two.bind('vf-a'))).toBe('EBUSY')
    await two.bind('vf-b')
    await one.client.detachPasid({ deviceId: parent, pasid: 7 })
    await two.bind('vf-a')
    await one.close()
    await two.close()
  })

  it('two children of one parent, of two contexts, have a domain each and never see the other’s', async () => {
    const [one, two] = [await world.vmm(), await world.vmm()]
    const [a, b] = [await one.bind('vf-a'), await two.bind('vf-b')]
    await one.client.attachPasid({ deviceId: a, pasid: 7, ptId: await pasidDomain(one, a) })
    expect((await two.dma(b, MAPPED)).outcome).not.toBe(DmaOutcome.OK)
    await two.client.attachPasid({ deviceId: b, pasid: 1025, ptId: await pasidDomain(two, b) })
    expect([(await one.dma(a, MAPPED)).address, (await two.dma(b, MAPPED)).address]).toEqual([MAPPED, MAPPED])
    const walk = await Explained.of(two, b, MAPPED)
    if (arch === 'smmuv3') {
      // M9's table, the RID terminated. [SMMU 5.2 Stream Table Entry]
      expect(walk.fields('STE', 'Config', 'S1DSS')).toEqual({ Config: 5n, S1DSS: 0n })
    }
    await one.client.ioasUnmap({ ioasId: one.ioasId, iova: 0n, length: 0xffff_ffff_ffff_ffffn })
    expect((await one.dma(a, MAPPED)).outcome).toBe(DmaOutcome.FAULT)
    expect((await two.dma(b, MAPPED)).address).toBe(MAPPED)
    await one.close()
    expect((await two.dma(b, MAPPED)).address).toBe(MAPPED)
    await two.close()
  })

  it('a child has its one slot: no RID, no other PASID, no IOAS id, and no whole device', async () => {
    const vmm = await world.vmm()
    expect(await errno(vmm.bind('vf-a', WHOLE_DEVICE))).toBe('EPERM')
    const deviceId = await vmm.bind('vf-a')
    const ptId = await pasidDomain(vmm, deviceId)
    const rid = await refusal(vmm.client.attachRid({ deviceId, ptId }))
    expect([rid.errnoName, rid.reason]).toEqual(['EINVAL', expect.stringMatching(/PASID 7/)])
    for (const pasid of [1, 8, 1025]) {
      const other = await refusal(vmm.client.attachPasid({ deviceId, pasid, ptId }))
      expect([other.errnoName, other.reason]).toEqual(['EINVAL', expect.stringMatching(/PASID 7|parent_pasid 7|\b7\b/)])
    }
    expect(await errno(vmm.client.attachPasid({ deviceId, pasid: 7, ptId: vmm.ioasId }))).toBe('EINVAL')
    const user = await userDomain(vmm, deviceId).catch((no: { errnoName: string }) => no.errnoName)
    const attach = typeof user === 'string' ? user : vmm.client.attachPasid({ deviceId, pasid: 7, ptId: user })
    if (arch === 'vtd') {
      await attach
      expect((await vmm.dma(deviceId, IOVA)).address).toBe(PAGE)
      await vmm.client.replacePasid({ deviceId, pasid: 7, ptId })
    } else {
      expect(typeof attach === 'string' ? attach : await errno(attach)).toBe('EPERM')
      await vmm.client.attachPasid({ deviceId, pasid: 7, ptId })
    }
    expect((await vmm.dma(deviceId, MAPPED)).address).toBe(MAPPED)
    await vmm.close()
  })
})
