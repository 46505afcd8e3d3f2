/** Stories of a VMM, on units of the platform. Each works when nothing fails. */

import type { Teller } from './telling.js'

const RW = 6
const FIXED_RW = 7
const NEST_PARENT = 1
const DIRTY_TRACKING = 2
const PASID = 8

/** Which devices a story has. */
export interface Cast {
  readonly device: string
  /** Another one, behind the same unit. */
  readonly second: string
  /** One behind the other kind of unit. */
  readonly other: string
  readonly isSmmu: boolean
}

/** A story for each kind of unit. */
export type Story = (teller: Teller, cast: Cast) => void

const map = (teller: Teller, ioasId: number, iova: bigint, length = 0x3000n, offset = 0n): void => {
  const region = { regionId: teller.regionId, offset }
  teller.do('IoasMap', { ioasId, flags: FIXED_RW, region, length, iova })
}

const bind = (teller: Teller, deviceName: string): number => teller.do('BindDevice', { deviceName, grant: 0 }).deviceId

const ioas = (teller: Teller): number => teller.do('CreateIoas', { flags: 0 }).ioasId

const paging = (teller: Teller, deviceId: number, ioasId: number, flags: number): number =>
  (teller.do('CreatePagingDomain', { flags, deviceId, ioasId, faultQueueId: 0 }) as { domainId: number }).domainId

/** By name. */
export const STORIES: Readonly<Record<string, Story>> = {
  basic(teller) {
    const [one, two] = [ioas(teller), ioas(teller)]
    teller.do('IoasAllowIovas', { ioasId: one, ranges: [{ first: 0x1000n, last: 0xffff_ffffn }] })
    map(teller, one, 0x10_0000n)
    map(teller, one, 0x10_3000n)
    const copy = { flags: RW, dstIoasId: two, srcIoasId: one, length: 0x6000n, dstIova: 0n, srcIova: 0x10_0000n }
    const { dstIova } = teller.do('IoasCopy', copy) as { dstIova: bigint }
    teller.do('IoasUnmap', { ioasId: two, iova: dstIova, length: 0x6000n })
    teller.do('SetOption', { option: 2, objectId: one, value: 0n })
    teller.do('SetVfioIoas', { ioasId: one })
    teller.do('Destroy', { objectId: two })
  },

  map_domain(teller, { device }) {
    const ioasId = ioas(teller)
    const deviceId = bind(teller, device)
    map(teller, ioasId, 0x10_0000n)
    teller.do('AttachRid', { deviceId, ptId: ioasId })
    map(teller, ioasId, 0x4000_0000n, 0x40_0000n)
    map(teller, ioasId, 0x12_3456_7000n)
    teller.do('IoasUnmap', { ioasId, iova: 0x10_0000n, length: 0x3000n })
    teller.do('DetachRid', { deviceId })
    teller.do('UnbindDevice', { deviceId })
  },

  map_file_domain(teller, { device }) {
    const ioasId = ioas(teller)
    const deviceId = bind(teller, device)
    const { regionId } = teller
    const file = { ioasId, flags: FIXED_RW, regionId, start: 0x1000n, length: 0x5000n, iova: 0x20_0000n }
    teller.do('IoasMapFile', file)
    teller.do('AttachRid', { deviceId, ptId: ioasId })
    teller.do('IoasMapFile', { ...file, iova: 0x40_0000n })
    teller.do('IoasUnmap', { ioasId, iova: 0n, length: 2n ** 64n - 1n })
  },

  map_two_domains(teller, { device, other }) {
    const ioasId = ioas(teller)
    const [one, two] = [bind(teller, device), bind(teller, other)]
    teller.do('AttachRid', { deviceId: one, ptId: ioasId })
    map(teller, ioasId, 0x10_0000n)
    teller.do('AttachRid', { deviceId: two, ptId: ioasId })
    map(teller, ioasId, 0x4000_0000n, 0x40_0000n)
    const to = ioas(teller)
    teller.do('ReplaceRid', { deviceId: one, ptId: to })
    const copy = { flags: RW, dstIoasId: to, srcIoasId: ioasId, length: 0x2000n, dstIova: 0n, srcIova: 0x10_1000n }
    teller.do('IoasCopy', copy)
    teller.do('IoasUnmap', { ioasId, iova: 0n, length: 2n ** 64n - 1n })
  },

  nested(teller, { device, second, isSmmu }) {
    const ioasId = ioas(teller)
    map(teller, ioasId, 0x10_0000n, 0x10_0000n)
    const deviceId = bind(teller, device)
    const parent = paging(teller, deviceId, ioasId, NEST_PARENT)
    teller.do('AttachRid', { deviceId, ptId: parent })
    const made = isSmmu ? userOnViommu(teller, deviceId, parent) : userOnParent(teller, deviceId, parent)
    teller.do('ReplaceRid', { deviceId, ptId: made.domainId })
    made.invalidate()
    const another = bind(teller, second)
    teller.do('AttachRid', { deviceId: another, ptId: parent })
    teller.do('DetachRid', { deviceId })
    teller.do('Destroy', { objectId: made.domainId })
  },

  pasids(teller, { device }) {
    const ioasId = ioas(teller)
    const deviceId = bind(teller, device)
    const rid = paging(teller, deviceId, ioasId, PASID)
    teller.do('AttachRid', { deviceId, ptId: rid })
    const [one, two] = [paging(teller, deviceId, ioasId, PASID), paging(teller, deviceId, ioas(teller), PASID)]
    teller.do('AttachPasid', { deviceId, pasid: 70_000, ptId: one })
    map(teller, ioasId, 0x10_0000n)
    teller.do('ReplacePasid', { deviceId, pasid: 70_000, ptId: two })
    teller.do('AttachPasid', { deviceId, pasid: 3, ptId: one })
    teller.do('DetachPasid', { deviceId, pasid: 3 })
    teller.do('UnbindDevice', { deviceId })
  },

  roots_on_pasids(teller, { device, isSmmu }) {
    const ioasId = ioas(teller)
    map(teller, ioasId, 0x10_0000n, 0x10_0000n)
    const deviceId = bind(teller, device)
    const parent = paging(teller, deviceId, ioasId, NEST_PARENT)
    const make = isSmmu ? inWindow(teller, deviceId, parent) : () => userOnParent(teller, deviceId, parent)
    const [one, two] = [make(), make()]
    for (const pasid of [3, 64, 70_000]) teller.do('AttachPasid', { deviceId, pasid, ptId: one.domainId })
    teller.do('ReplacePasid', { deviceId, pasid: 64, ptId: two.domainId })
    one.invalidate()
    teller.do('DetachPasid', { deviceId, pasid: 3 })
    teller.do('DetachPasid', { deviceId, pasid: 70_000 })
    teller.do('Destroy', { objectId: one.domainId })
  },

  dirty(teller, { device }) {
    const ioasId = ioas(teller)
    const deviceId = bind(teller, device)
    const domainId = paging(teller, deviceId, ioasId, DIRTY_TRACKING)
    map(teller, ioasId, 0x10_0000n)
    teller.do('AttachRid', { deviceId, ptId: domainId })
    teller.do('SetDirtyTracking', { domainId, flags: 1 })
    const range = { domainId, flags: 0, iova: 0x10_0000n, length: 0x3000n, pageSize: 0x1000n }
    for (const asRuns of [false, true]) teller.do('GetDirtyBitmap', { ...range, asRuns })
    teller.do('SetDirtyTracking', { domainId, flags: 0 })
  },

  queues(teller, { device, isSmmu }) {
    const { faultQueueId } = teller.do('CreateFaultQueue', { flags: 0 })
    const ioasId = ioas(teller)
    const deviceId = bind(teller, device)
    const parent = paging(teller, deviceId, ioasId, NEST_PARENT)
    const request = { flags: 4, deviceId, ioasId, faultQueueId }
    const { domainId } = teller.do('CreatePagingDomain', request) as { domainId: number }
    if (isSmmu) {
      const viommu = { flags: 0, type: 1, deviceId, parentDomainId: parent }
      const { viommuId } = teller.do('CreateViommu', viommu)
      teller.do('CreateVeventq', { flags: 0, viommuId, type: 1, depth: 8 })
    }
    teller.do('Destroy', { objectId: domainId })
    teller.do('Destroy', { objectId: faultQueueId })
  },
}

interface Made {
  readonly domainId: number
  readonly invalidate: () => void
}

function userOnParent(teller: Teller, deviceId: number, parentDomainId: number): Made {
  const vtdS1 = { flags: 0n, pgtblAddr: 0x10_0000n, addrWidth: 48 }
  const request = { flags: PASID, deviceId, parentDomainId, vtdS1, faultQueueId: 0 }
  const { domainId } = teller.do('CreateUserDomain', request) as { domainId: number }
  const entries = [{ addr: 0n, npages: 2n ** 64n - 1n, flags: 0 }]
  return { domainId, invalidate: () => teller.do('InvalidateIotlb', { userDomainId: domainId, vtdS1: { entries } }) }
}

/** A window on the RID that grows from one page to two levels, with room for a level of several pages. */
function inWindow(teller: Teller, deviceId: number, parentDomainId: number): () => Made {
  const window = teller.do('CreateWindow', { parentDomainId, first: 0x40_0000n, last: 0x40_0fffn })
  const { windowId } = window as { windowId: number }
  teller.do('AttachRid', { deviceId, ptId: windowId })
  teller.do('GrowWindow', { windowId, first: 0x60_0000n, last: 0x60_7fffn })
  teller.do('GrowWindow', { windowId, first: 0x100_0000n, last: 0x100_3fffn })
  const fields = { ttb0: 0x10_0000n, t0sz: 25, tg0: 0, ir0: 1, or0: 1, sh0: 3, ips: 4, mair: 0xffn }
  const smmuv3Pgd = { ...fields, ha: false, hd: false }
  const request = { flags: 0, deviceId, windowId, smmuv3Pgd, faultQueueId: 0 }
  const make = (): Made => {
    const { domainId } = teller.do('CreateUserDomain', request) as { domainId: number }
    const entries = [{ addr: 0x1000n, npages: 2n, flags: 1 }]
    const all = { userDomainId: domainId, smmuv3Pgd: { entries } }
    return { domainId, invalidate: () => teller.do('InvalidateIotlb', all) }
  }
  const rid = make()
  teller.do('AttachPasid', { deviceId, pasid: 0, ptId: rid.domainId })
  teller.do('DetachPasid', { deviceId, pasid: 0 })
  return make
}

function userOnViommu(teller: Teller, deviceId: number, parentDomainId: number): Made {
  const { viommuId } = teller.do('CreateViommu', { flags: 0, type: 1, deviceId, parentDomainId })
  teller.do('CreateVdevice', { viommuId, deviceId, virtId: 5n })
  const smmuv3Ste = { ste0: 0x10_000bn, ste1: 0n }
  const request = { flags: 0, deviceId, viommuId, smmuv3Ste, faultQueueId: 0 }
  const { domainId } = teller.do('CreateUserDomain', request) as { domainId: number }
  const entries = [{ dw0: 0x10n, dw1: 0n }]
  return { domainId, invalidate: () => teller.do('InvalidateIotlb', { viommuId, smmuv3: { entries } }) }
}
