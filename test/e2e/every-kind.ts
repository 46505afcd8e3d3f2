/** One object of every kind that a `pt_id` can name, for tests that try each of them everywhere. */

import { HwptFlag } from '../../clients/node/index.js'
import { ARM64, contextDescriptor, GuestTree, INTEL, steOneCd } from './guest-tables.js'
import { FIELDS, makeWindow, WINDOW } from './window-guest.js'
import type { Arch, Vmm, World } from './world.js'

const CD = 0x4000_1000n
const ROOT = 0x4001_0000n

/** Devices of `PLATFORM`, by what is special about them. */
export const PORTS = {
  /** PASIDs of 20 bits, no ATS. */
  plain: '0000:00:01.0',
  /** No PASIDs. */
  noPasids: '0000:00:02.0',
  /** PASIDs of 4 bits. */
  fewPasids: '0000:00:03.0',
  /** Behind a second unit of the same type. */
  otherUnit: '0000:00:04.0',
  /** Behind a unit of the other type. */
  otherArch: '0000:00:05.0',
} as const

/** A platform with a second unit of the architecture, and one of the other. */
export const platformFor = (arch: Arch) => ({
  units: [
    { name: 'unit0', type: arch, preset: arch === 'smmuv3' ? 'ats' : 'vtd-ats' },
    { name: 'unit1', type: arch },
    { name: 'alien0', type: arch === 'smmuv3' ? 'vtd' : 'smmuv3' },
  ],
  devices: [
    { name: PORTS.plain, iommu: 'unit0', pasidBits: 20 },
    { name: PORTS.noPasids, iommu: 'unit0', pasidBits: 0 },
    { name: PORTS.fewPasids, iommu: 'unit0', pasidBits: 4 },
    { name: PORTS.otherUnit, iommu: 'unit1', pasidBits: 20 },
    { name: PORTS.otherArch, iommu: 'alien0', pasidBits: 20 },
  ],
})

/** Where DMA through a guest's own tables goes in, and where it comes out. */
export const USER_IOVA = 0x6000_0000n
export const USER_PAGE = 0x4010_0000n

/** Ids by kind. */
export type Kinds = Readonly<Record<string, number>>

/** What both architectures have, then what each has by itself. The device is bound and unattached. */
export async function everyKind(world: World, vmm: Vmm, arch: Arch, deviceId: number): Promise<Kinds> {
  const { ioasId } = vmm
  const otherUnit = await vmm.bind(PORTS.otherUnit)
  const otherArch = await vmm.bind(PORTS.otherArch)
  const { faultQueueId } = await vmm.client.createFaultQueue({})
  const flags = HwptFlag.PASID | HwptFlag.FAULT_ID_VALID
  const parent = await vmm.parent(deviceId)
  const both = {
    device: deviceId,
    faultQueue: faultQueueId,
    ioas: ioasId,
    plain: await vmm.paging(deviceId),
    pasid: await vmm.paging(deviceId, HwptFlag.PASID),
    dirty: await vmm.paging(deviceId, HwptFlag.DIRTY_TRACKING),
    dirtyPasid: await vmm.paging(deviceId, HwptFlag.DIRTY_TRACKING | HwptFlag.PASID),
    faulting: (await vmm.client.createPagingDomain({ flags, deviceId, ioasId, faultQueueId })).domainId,
    parent,
    otherUnit: await vmm.paging(otherUnit, HwptFlag.PASID),
    otherArch: await vmm.paging(otherArch, HwptFlag.PASID),
  }
  await new GuestTree(world.guest, arch === 'smmuv3' ? ARM64 : INTEL, ROOT).map(USER_IOVA, USER_PAGE)
  return {
    ...both,
    ...(arch === 'smmuv3' ? await smmuKinds(world, vmm, deviceId, parent) : await vtdKinds(vmm, deviceId, parent)),
  }
}

async function smmuKinds(world: World, vmm: Vmm, deviceId: number, parent: number): Promise<Kinds> {
  await world.guest.storeAll(CD, contextDescriptor(ROOT, 7n))
  const viommu = await vmm.viommu(deviceId, parent)
  await vmm.vdevice(viommu, deviceId, 0x10n)
  const window = await makeWindow(vmm, parent, WINDOW, 1n)
  const smmuv3Pgd = { ...FIELDS, ttb0: ROOT }
  return {
    viommu,
    window,
    root: (await vmm.client.createUserDomain({ deviceId, windowId: window, smmuv3Pgd })).domainId,
    translate: await vmm.smmuDomain(deviceId, viommu, steOneCd(CD)),
    bypass: await vmm.smmuDomain(deviceId, viommu, { ste0: 9n, ste1: 0n }),
    abort: await vmm.smmuDomain(deviceId, viommu, { ste0: 0n, ste1: 0n }),
  }
}

async function vtdKinds(vmm: Vmm, deviceId: number, parent: number): Promise<Kinds> {
  return {
    parentPasid: await vmm.paging(deviceId, HwptFlag.NEST_PARENT | HwptFlag.PASID),
    user: await vmm.vtdDomain(deviceId, parent, ROOT),
    userPasid: await vmm.vtdDomain(deviceId, parent, ROOT, HwptFlag.PASID),
  }
}
