/** Invalidating what hardware cached of user tables, in each architecture's own terms. */

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { InvalidateFlag, type InvalidateIotlbResponse } from '../../clients/node/index.js'
import { ARM64, contextDescriptor, GuestTree, INTEL, steOneCd } from './guest-tables.js'
import { DEVICES, refusal, type Vmm, World } from './world.js'

const CD = 0x4000_1000n
const ROOT = 0x4001_0000n
const IOVA = 0x5000_0000n
const PAGE_A = 0x4010_0000n
const PAGE_B = 0x4020_0000n
const ASID = 7n

/** Commands a guest puts into its own queue, spelled by hand. [SMMU 4.3, 4.4] */
const TLBI_NH_ALL = { dw0: 0x10n, dw1: 0n }
const TLBI_NH_ASID = { dw0: 0x11n | (ASID << 48n), dw1: 0n }
const TLBI_NH_VA = (va: bigint) => ({ dw0: 0x12n | (ASID << 48n), dw1: va | 1n })
const CMD_SYNC = { dw0: 0x46n, dw1: 0n }
const CFGI_CD = (sid: bigint) => ({ dw0: 0x05n | (sid << 32n), dw1: 1n })

let world: World

beforeAll(async () => {
  world = await World.start()
})

afterEach(() => world.sweep())

afterAll(() => world.stop())

/** Attaches a user domain with four cached pages whose entries have then been changed from A to B. */
async function stale(vmm: Vmm, arch: 'smmuv3' | 'vtd') {
  const style = arch === 'smmuv3' ? ARM64 : INTEL
  const tree = new GuestTree(world.guest, style, ROOT)
  const iovas = [0n, 1n, 2n, 3n].map((i) => IOVA + i * 0x1000n)
  const leaves: bigint[] = []
  for (const [i, iova] of iovas.entries()) leaves.push(await tree.map(iova, PAGE_A + BigInt(i) * 0x1000n))
  const device = await vmm.bind(DEVICES[arch].first)
  const parent = await vmm.parent(device)
  let viommu = 0
  let domain: number
  if (arch === 'smmuv3') {
    await world.guest.storeAll(CD, contextDescriptor(ROOT, ASID))
    viommu = await vmm.viommu(device, parent)
    await vmm.vdevice(viommu, device, 0x10n)
    domain = await vmm.smmuDomain(device, viommu, steOneCd(CD))
  } else {
    domain = await vmm.vtdDomain(device, parent, ROOT)
  }
  await vmm.client.attachRid({ deviceId: device, ptId: domain })
  await vmm.client.translate({ deviceId: device, iovas })
  for (const [i, leaf] of leaves.entries()) await world.guest.store(leaf, style.page(PAGE_B + BigInt(i) * 0x1000n))
  const fresh = async (): Promise<boolean[]> => {
    const reply = await vmm.client.translate({ deviceId: device, iovas })
    return [...reply.offsets].map((offset) => offset >= PAGE_B - 0x4000_0000n)
  }
  return { device, viommu, domain, fresh }
}

describe('M3 on smmuv3: InvalidateIotlb', () => {
  it('names the vIOMMU and forgets exactly what its commands cover', async () => {
    const vmm = await world.vmm()
    const { viommu, fresh } = await stale(vmm, 'smmuv3')
    expect(await fresh()).toEqual([false, false, false, false])
    const entries = [TLBI_NH_VA(IOVA), TLBI_NH_VA(IOVA + 0x2000n)]
    expect(await vmm.client.invalidateIotlb({ viommuId: viommu, smmuv3: { entries } })).toMatchObject({ doneCount: 2 })
    expect(await fresh()).toEqual([true, false, true, false])
    await vmm.client.invalidateIotlb({ viommuId: viommu, smmuv3: { entries: [TLBI_NH_ASID] } })
    expect(await fresh()).toEqual([true, true, true, true])
    await vmm.close()
  })

  it('leaves another ASID alone', async () => {
    const vmm = await world.vmm()
    const { viommu, fresh } = await stale(vmm, 'smmuv3')
    const other = { dw0: 0x11n | (9n << 48n), dw1: 0n }
    await vmm.client.invalidateIotlb({ viommuId: viommu, smmuv3: { entries: [other] } })
    expect(await fresh()).toEqual([false, false, false, false])
    await vmm.client.invalidateIotlb({ viommuId: viommu, smmuv3: { entries: [TLBI_NH_ALL] } })
    expect(await fresh()).toEqual([true, true, true, true])
    await vmm.close()
  })

  it('stops at the first command it does not take, EIO, with those before it done', async () => {
    const vmm = await world.vmm()
    const { viommu, fresh } = await stale(vmm, 'smmuv3')
    const entries = [TLBI_NH_VA(IOVA), CMD_SYNC, TLBI_NH_VA(IOVA + 0x1000n)]
    const no = await refusal(vmm.client.invalidateIotlb({ viommuId: viommu, smmuv3: { entries } }))
    expect(no.errnoName).toBe('EIO')
    expect((no.partial as InvalidateIotlbResponse).doneCount).toBe(1)
    expect(await fresh()).toEqual([true, false, false, false])
    await vmm.close()
  })

  it('refuses a StreamID that is no vDEVICE of the vIOMMU: EIO', async () => {
    const vmm = await world.vmm()
    const { viommu } = await stale(vmm, 'smmuv3')
    const known = await vmm.client.invalidateIotlb({ viommuId: viommu, smmuv3: { entries: [CFGI_CD(0x10n)] } })
    expect(known.doneCount).toBe(1)
    const no = await refusal(vmm.client.invalidateIotlb({ viommuId: viommu, smmuv3: { entries: [CFGI_CD(0x99n)] } }))
    expect(no.errnoName).toBe('EIO')
    await vmm.close()
  })

  it('on the user domain itself is EOPNOTSUPP, and the reason names the vIOMMU', async () => {
    const vmm = await world.vmm()
    const { domain } = await stale(vmm, 'smmuv3')
    const no = await refusal(vmm.client.invalidateIotlb({ userDomainId: domain, smmuv3: { entries: [TLBI_NH_ALL] } }))
    expect(no.errnoName).toBe('EOPNOTSUPP')
    expect(no.reason).toMatch(/vIOMMU/)
    await vmm.close()
  })
})

describe('M3 on vtd: InvalidateIotlb', () => {
  it('names the user domain and forgets exactly the range', async () => {
    const vmm = await world.vmm()
    const { domain, fresh } = await stale(vmm, 'vtd')
    expect(await fresh()).toEqual([false, false, false, false])
    const entries = [{ addr: IOVA + 0x1000n, npages: 1n, flags: InvalidateFlag.LEAF }]
    expect(await vmm.client.invalidateIotlb({ userDomainId: domain, vtdS1: { entries } })).toMatchObject({
      doneCount: 1,
    })
    expect(await fresh()).toEqual([false, true, false, false])
    const all = [{ addr: 0n, npages: 0xffff_ffff_ffff_ffffn, flags: 0 }]
    await vmm.client.invalidateIotlb({ userDomainId: domain, vtdS1: { entries: all } })
    expect(await fresh()).toEqual([true, true, true, true])
    await vmm.close()
  })

  it('stops at the first entry it does not take, with those before it done', async () => {
    const vmm = await world.vmm()
    const { domain, fresh } = await stale(vmm, 'vtd')
    const entries = [
      { addr: IOVA, npages: 1n, flags: 0 },
      { addr: IOVA + 0x1001n, npages: 1n, flags: 0 },
    ]
    const no = await refusal(vmm.client.invalidateIotlb({ userDomainId: domain, vtdS1: { entries } }))
    expect(no.errnoName).toBe('EINVAL')
    expect((no.partial as InvalidateIotlbResponse).doneCount).toBe(1)
    expect(await fresh()).toEqual([true, false, false, false])
    await vmm.close()
  })

  it('refuses an unknown flag: EOPNOTSUPP, none done', async () => {
    const vmm = await world.vmm()
    const { domain } = await stale(vmm, 'vtd')
    const entries = [{ addr: IOVA, npages: 1n, flags: 2 }]
    const no = await refusal(vmm.client.invalidateIotlb({ userDomainId: domain, vtdS1: { entries } }))
    expect(no.errnoName).toBe('EOPNOTSUPP')
    expect((no.partial as InvalidateIotlbResponse).doneCount).toBe(0)
    await vmm.close()
  })

  it('refuses the other architecture’s commands: EINVAL', async () => {
    const vmm = await world.vmm()
    const { domain } = await stale(vmm, 'vtd')
    const no = await refusal(vmm.client.invalidateIotlb({ userDomainId: domain, smmuv3: { entries: [TLBI_NH_ALL] } }))
    expect(no.errnoName).toBe('EINVAL')
    await vmm.close()
  })
})
