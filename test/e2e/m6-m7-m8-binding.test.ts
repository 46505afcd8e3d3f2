/** What one user domain binds: on SMMUv3 a RID and all its PASIDs, on VT-d one slot at a time; and who is told so. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { DmaOutcome, HwptFlag, UserDomainModel, ViommuType } from '../../clients/node/index.js'
import { ARM64, contextDescriptor, GuestTree, INTEL, steCdTable, steOneCd } from './guest-tables.js'
import { DEVICES, refusal, type Vmm, World } from './world.js'

const CDS = 0x4000_1000n
const ROOTS = [0x4001_0000n, 0x4002_0000n, 0x4003_0000n]
const PAGES = [0x4010_0000n, 0x4011_0000n, 0x4012_0000n]
const IOVA = 0x7000_0000n

let world: World

beforeAll(async () => {
  world = await World.start()
})

afterEach(() => world.sweep())

afterAll(() => world.stop())

/** Three trees: for requests without PASID, for PASID 1 and for PASID 2. */
async function trees(style: typeof ARM64): Promise<void> {
  for (const [i, root] of ROOTS.entries()) await new GuestTree(world.guest, style, root).map(IOVA, PAGES[i])
}

describe('M6 on smmuv3: a user domain', () => {
  async function smmu(vmm: Vmm) {
    const deviceId = await vmm.bind(DEVICES.smmuv3.first)
    const parent = await vmm.parent(deviceId)
    const viommuId = await vmm.viommu(deviceId, parent)
    return { deviceId, parent, viommuId }
  }

  it('binds the RID and all its PASIDs: one linear table of CDs, all the guest’s', async () => {
    const vmm = await world.vmm()
    const { deviceId, viommuId } = await smmu(vmm)
    await trees(ARM64)
    for (const [i, root] of ROOTS.entries()) {
      await world.guest.storeAll(CDS + BigInt(i * 64), contextDescriptor(root, BigInt(i + 1)))
    }
    await vmm.vdevice(viommuId, deviceId, 0x20n)
    const ptId = await vmm.smmuDomain(deviceId, viommuId, steCdTable(CDS, 2n))
    await vmm.client.attachRid({ deviceId, ptId })
    expect(await vmm.dma(deviceId, IOVA)).toMatchObject({ address: PAGES[0] })
    expect(await vmm.dma(deviceId, IOVA, 1, 1)).toMatchObject({ address: PAGES[1] })
    expect(await vmm.dma(deviceId, IOVA, 1, 2)).toMatchObject({ address: PAGES[2] })
    // S1DSS 10: a transaction that names SubstreamID 0 is refused; 4 is beyond the table.
    expect(await vmm.dma(deviceId, IOVA, 1, 4)).toMatchObject({ fault: 'C_BAD_SUBSTREAMID' })
    await vmm.close()
  })

  it('walks a two-level table of CDs that is wholly the guest’s', async () => {
    const vmm = await world.vmm()
    const { deviceId, viommuId } = await smmu(vmm)
    await trees(ARM64)
    const leaf = 0x4000_8000n
    // S1Fmt 01: 64 CDs a leaf of 4 KiB. SubstreamID 65 is CD 1 of leaf 1. [SMMU 5.3 Level 1 Context Descriptor]
    await world.guest.store(CDS + 8n, leaf | 1n)
    await world.guest.storeAll(leaf + 64n, contextDescriptor(ROOTS[1], 3n))
    await vmm.vdevice(viommuId, deviceId, 0x20n)
    const { ste0, ste1 } = steCdTable(CDS, 7n)
    const ptId = await vmm.smmuDomain(deviceId, viommuId, { ste0: ste0 | 0x10n, ste1 })
    await vmm.client.attachRid({ deviceId, ptId })
    expect(await vmm.dma(deviceId, IOVA, 1, 65)).toMatchObject({ address: PAGES[1] })
    await vmm.close()
  })

  it('with a field that is the host’s is EIO, and the field is named', async () => {
    const vmm = await world.vmm()
    const { deviceId, viommuId } = await smmu(vmm)
    const { ste0, ste1 } = steOneCd(CDS)
    // STRW, bits 95:94 of the STE. [SMMU 5.2 Stream Table Entry]
    const strw = await refusal(vmm.smmuDomain(deviceId, viommuId, { ste0, ste1: ste1 | (1n << 31n) }))
    expect(strw.errnoName).toBe('EIO')
    expect(`${strw.reason} ${JSON.stringify(strw.context)}`).toMatch(/STRW/)
    const config = await refusal(vmm.smmuDomain(deviceId, viommuId, { ste0: ste0 | 0xcn, ste1 }))
    expect(config.errnoName).toBe('EIO')
    expect(`${config.reason} ${JSON.stringify(config.context)}`).toMatch(/Config/)
    await vmm.close()
  })

  it('attaches only after the device has a vDEVICE: ENOENT, and the missing step is named', async () => {
    const vmm = await world.vmm()
    const { deviceId, viommuId } = await smmu(vmm)
    await world.guest.storeAll(CDS, contextDescriptor(ROOTS[0], 1n))
    const ptId = await vmm.smmuDomain(deviceId, viommuId, steOneCd(CDS))
    const no = await refusal(vmm.client.attachRid({ deviceId, ptId }))
    expect(no.errnoName).toBe('ENOENT')
    expect(no.reason).toMatch(/vDEVICE/)
    await vmm.vdevice(viommuId, deviceId, 0x20n)
    await vmm.client.attachRid({ deviceId, ptId })
    await vmm.close()
  })

  it('of V=0 aborts, of Config 100 is stage 2 alone', async () => {
    const vmm = await world.vmm()
    const { deviceId, viommuId } = await smmu(vmm)
    const abort = await vmm.smmuDomain(deviceId, viommuId, { ste0: 0n, ste1: 0n })
    await vmm.client.attachRid({ deviceId, ptId: abort })
    expect((await vmm.dma(deviceId, 0x4000_0000n)).outcome).toBe(DmaOutcome.ABORTED)
    const bypass = await vmm.smmuDomain(deviceId, viommuId, { ste0: 0x9n, ste1: 0n })
    await vmm.client.replaceRid({ deviceId, ptId: bypass })
    expect(await vmm.dma(deviceId, 0x4000_0042n)).toMatchObject({ address: 0x4000_0042n })
    await vmm.close()
  })
})

describe('M7 on vtd: a user domain', () => {
  it('is one table with many attachments: the RID of one device and PASIDs of two', async () => {
    const vmm = await world.vmm()
    await trees(INTEL)
    const one = await vmm.bind(DEVICES.vtd.first)
    const two = await vmm.bind(DEVICES.vtd.second)
    const parent = await vmm.parent(one)
    const shared = await vmm.vtdDomain(one, parent, ROOTS[0], HwptFlag.PASID)
    const other = await vmm.vtdDomain(one, parent, ROOTS[1], HwptFlag.PASID)
    await vmm.client.attachRid({ deviceId: one, ptId: shared })
    await vmm.client.attachPasid({ deviceId: one, pasid: 9, ptId: shared })
    await vmm.client.attachPasid({ deviceId: two, pasid: 9, ptId: shared })
    await vmm.client.attachPasid({ deviceId: two, pasid: 10, ptId: other })
    expect(await vmm.dma(one, IOVA)).toMatchObject({ address: PAGES[0] })
    expect(await vmm.dma(one, IOVA, 1, 9)).toMatchObject({ address: PAGES[0] })
    expect(await vmm.dma(two, IOVA, 1, 9)).toMatchObject({ address: PAGES[0] })
    expect(await vmm.dma(two, IOVA, 1, 10)).toMatchObject({ address: PAGES[1] })
    expect((await vmm.dma(two, IOVA)).outcome).toBe(DmaOutcome.FAULT)
    await vmm.close()
  })

  it('with an address width that the unit has not is refused at attach: EINVAL', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.vtd.first)
    const parentDomainId = await vmm.parent(deviceId)
    const vtdS1 = { flags: 0n, pgtblAddr: ROOTS[0], addrWidth: 39 }
    const { domainId } = await vmm.client.createUserDomain({ deviceId, parentDomainId, vtdS1 })
    expect((await refusal(vmm.client.attachRid({ deviceId, ptId: domainId }))).errnoName).toBe('EINVAL')
    await vmm.close()
  })
})

describe('M8: the difference between the architectures', () => {
  it('is told by GetHwInfo, with raw ID registers', async () => {
    const vmm = await world.vmm()
    const smmu = await vmm.client.getHwInfo({ deviceId: await vmm.bind(DEVICES.smmuv3.first) })
    expect(smmu.userDomainModel).toBe(UserDomainModel.WHOLE_RID)
    expect((smmu.smmuv3?.idr[0] ?? 0) & 3).toBe(3)
    const vtd = await vmm.client.getHwInfo({ deviceId: await vmm.bind(DEVICES.vtd.first) })
    expect(vtd.userDomainModel).toBe(UserDomainModel.PER_PASID)
    // ECAP.NEST is bit 26, ECAP.SMTS bit 43. [VTD 11.4.3 Extended Capability Register]
    expect(((vtd.vtd?.ecapReg ?? 0n) >> 26n) & 1n).toBe(1n)
    expect(((vtd.vtd?.ecapReg ?? 0n) >> 43n) & 1n).toBe(1n)
    await vmm.close()
  })

  it('refuses a user domain on a parent where SMMUv3 wants a vIOMMU, and names it', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.smmuv3.first)
    const parentDomainId = await vmm.parent(deviceId)
    const no = await refusal(vmm.client.createUserDomain({ deviceId, parentDomainId, smmuv3Ste: steOneCd(CDS) }))
    expect(no.errnoName).toBe('EOPNOTSUPP')
    expect(no.reason).toMatch(/vIOMMU/)
    await vmm.close()
  })

  it('refuses a vIOMMU where VT-d has none, and names what to use', async () => {
    const vmm = await world.vmm()
    const deviceId = await vmm.bind(DEVICES.vtd.first)
    const parentDomainId = await vmm.parent(deviceId)
    const no = await refusal(vmm.client.createViommu({ type: ViommuType.ARM_SMMUV3, deviceId, parentDomainId }))
    expect(no.errnoName).toBe('EOPNOTSUPP')
    expect(no.reason).toMatch(/parent/)
    await vmm.close()
  })

  it('refuses the other architecture’s data: EINVAL on SMMUv3, EOPNOTSUPP on VT-d', async () => {
    const vmm = await world.vmm()
    const smmu = await vmm.bind(DEVICES.smmuv3.first)
    const viommuId = await vmm.viommu(smmu, await vmm.parent(smmu))
    const vtdS1 = { flags: 0n, pgtblAddr: ROOTS[0], addrWidth: 48 }
    const onSmmu = await refusal(vmm.client.createUserDomain({ deviceId: smmu, viommuId, vtdS1 }))
    expect(onSmmu.errnoName).toBe('EINVAL')
    const vtd = await vmm.bind(DEVICES.vtd.first)
    const parentDomainId = await vmm.parent(vtd)
    const smmuv3Ste = steOneCd(CDS)
    const onVtd = await refusal(vmm.client.createUserDomain({ deviceId: vtd, parentDomainId, smmuv3Ste }))
    expect(onVtd.errnoName).toBe('EOPNOTSUPP')
    await vmm.close()
  })
})
