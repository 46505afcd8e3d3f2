import { describe, expect, it } from 'vitest'
import type { Refusal, UserData, UserDataOf } from '../../server/core/driver.js'
import { givenData, RID_SLOT } from '../../server/core/driver.js'
import { invalidateCommands, invalidateRanges } from '../given.js'
import { CLIENT, dma, FS_RW, guestMaps, makeHost, makeParent, makeUser, PLAIN } from './host.js'

const TABLES = [0x1000, 0x2000, 0x3000, 0x4000] as const
const IOVA = 0x7f12_3456_7000n
const MAX = 2n ** 64n - 1n

function nameOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    return (error as Refusal).name
  }
  return 'none'
}

/** A user domain over a guest's table that maps IOVA to guest-physical 0x8000. */
function makeNested() {
  const host = makeHost()
  const device = host.probe(0x10)
  const parent = makeParent(host, device)
  guestMaps(host.memory, TABLES, IOVA, BigInt(0x8000 | FS_RW))
  return { host, device, parent, user: makeUser(host, device, parent, TABLES[0]) }
}

describe('a user domain', () => {
  it('translates one RID, one PASID, or both, through its parent', () => {
    const { device, user } = makeNested()
    device.set(RID_SLOT, user, null)
    expect(dma(device, IOVA + 4n, 'w')).toBe(`0x${(CLIENT + 0x8004).toString(16)}`)
    expect(dma(device, IOVA, 'w', 5)).toBe('0x59 SPT.2')
    device.set(5, user, null)
    expect(dma(device, IOVA, 'w', 5)).toBe(`0x${(CLIENT + 0x8000).toString(16)}`)
    device.clear(RID_SLOT, user)
    expect(dma(device, IOVA, 'w')).toBe('0x59 SPT.2')
    expect(dma(device, IOVA, 'w', 5)).toBe(`0x${(CLIENT + 0x8000).toString(16)}`)
  })

  it('is stale until the client invalidates, on every device and PASID it is attached to', () => {
    const { host, device, user } = makeNested()
    const other = host.probe(0x18)
    device.set(RID_SLOT, user, null)
    other.set(5, user, null)
    const both = (): string[] => [dma(device, IOVA), dma(other, IOVA, 'r', 5)]
    const before = `0x${(CLIENT + 0x8000).toString(16)}`
    const after = `0x${(CLIENT + 0x9000).toString(16)}`
    expect(both()).toEqual([before, before])
    guestMaps(host.memory, TABLES, IOVA, BigInt(0x9000 | FS_RW))
    expect(both()).toEqual([before, before])
    invalidateRanges(user, [{ addr: IOVA + 0x1000n, npages: 1n, flags: 1 }])
    expect(both()).toEqual([before, before])
    invalidateRanges(user, [{ addr: IOVA, npages: 0n, flags: 0 }])
    expect(both()).toEqual([before, before])
    invalidateRanges(user, [{ addr: IOVA, npages: 1n, flags: 1 }])
    expect(both()).toEqual([after, after])
    guestMaps(host.memory, TABLES, IOVA, BigInt(0x8000 | FS_RW))
    invalidateRanges(user, [{ addr: 0n, npages: MAX, flags: 0 }])
    expect(both()).toEqual([before, before])
  })

  it('loses its translations when its parent unmaps below it', () => {
    const { device, parent, user } = makeNested()
    device.set(5, user, null)
    expect(dma(device, IOVA, 'r', 5)).toBe(`0x${(CLIENT + 0x8000).toString(16)}`)
    parent.unmap(0n, 64n * 2n ** 20n)
    expect(dma(device, IOVA, 'r', 5)).toBe(`0x${(CLIENT + 0x8000).toString(16)}`)
    parent.flush()
    expect(dma(device, IOVA, 'r', 5)).toBe('0x79 SSS.2')
  })

  it('stops at the first invalidation it cannot carry out, and says how many it did', () => {
    const { device, user } = makeNested()
    device.set(RID_SLOT, user, null)
    const good = { addr: IOVA, npages: 1n, flags: 0 }
    const result = (bad: { addr: bigint; npages: bigint; flags: number }) => {
      const answer = invalidateRanges(user, [good, bad, good])
      return [answer?.done, answer?.refusal?.name]
    }
    expect(result({ ...good, flags: 2 })).toEqual([1, 'EOPNOTSUPP'])
    expect(result({ ...good, addr: IOVA + 1n })).toEqual([1, 'EINVAL'])
    expect(result({ ...good, npages: MAX })).toEqual([1, 'EINVAL'])
    expect(result(good)).toEqual([3, undefined])
    expect(nameOf(() => invalidateCommands(user, [{ dw0: 0x30n, dw1: 0n }]))).toBe('EINVAL')
  })

  it('has no way to map or unmap', () => {
    const { user } = makeNested()
    expect('map' in user || 'unmap' in user).toBe(false)
  })
})

describe('making and attaching a user domain', () => {
  const data = (over: Partial<UserDataOf['vtd_s1']>): UserData =>
    givenData('vtd_s1', { flags: 0n, pgtblAddr: 0x1000n, addrWidth: 48, ...over })

  it('is refused on a parent that is not one, for other data, and through a vIOMMU', () => {
    const { host, device, parent } = makeNested()
    const plain = host.driver.createPaging(device, PLAIN)
    expect(nameOf(() => host.driver.createUserDomain(device, plain, data({})))).toBe('EINVAL')
    const smmu = givenData('smmuv3_ste', { ste0: 1n, ste1: 0n })
    expect(nameOf(() => host.driver.createUserDomain(device, parent, smmu))).toBe('EOPNOTSUPP')
    // Flags that nobody knows are ignored, as the kernel does.
    for (const flags of [7n, 8n, 1n << 63n]) {
      expect(nameOf(() => host.driver.createUserDomain(device, parent, data({ flags })))).toBe('none')
    }
    expect(nameOf(() => host.driver.checkViommu())).toBe('EOPNOTSUPP')
  })

  it('checks width at attach: the RID is blocked by what is refused, and so is a PASID', () => {
    const { host, device, parent, user } = makeNested()
    const reached = `0x${(CLIENT + 0x8000).toString(16)}`
    for (const slot of [RID_SLOT, 5]) {
      const pasid = slot === RID_SLOT ? undefined : slot
      const attach = (over: Parameters<typeof data>[0]): string =>
        nameOf(() => device.set(slot, host.driver.createUserDomain(device, parent, data(over)), user))
      device.set(slot, user, null)
      expect(dma(device, IOVA, 'r', pasid)).toBe(reached)
      expect(attach({ addrWidth: 57 })).toBe('EINVAL')
      expect(dma(device, IOVA, 'r', pasid)).toBe('0x59 SPT.2')
      expect(attach({ addrWidth: 39 })).toBe('EINVAL')
      expect(() => device.set(slot, user, user)).not.toThrow()
      expect(dma(device, IOVA, 'r', pasid)).toBe(reached)
      expect(attach({ flags: 3n })).toBe('none')
    }
  })

  it('leaves nothing to clear in a slot that a refused attach blocked', () => {
    const { host, device, parent, user } = makeNested()
    device.set(5, user, null)
    const bad = host.driver.createUserDomain(device, parent, data({ addrWidth: 39 }))
    expect(() => device.set(5, bad, user)).toThrow(/addr_width 39.*; PASID 5 is blocked now/)
    device.clear(5, user)
    expect(nameOf(() => device.set(5, user, null))).toBe('none')
    expect(dma(device, IOVA, 'r', 5)).toBe(`0x${(CLIENT + 0x8000).toString(16)}`)
  })

  it('takes any address, and faults where the entry cannot hold it', () => {
    const { host, device, parent } = makeNested()
    const faultAt = (pgtblAddr: bigint): string => {
      const domain = host.driver.createUserDomain(device, parent, data({ pgtblAddr }))
      device.set(RID_SLOT, domain, null)
      const fault = dma(device, IOVA)
      device.clear(RID_SLOT, domain)
      return fault
    }
    expect(faultAt(0x1fffn)).toBe(`0x${(CLIENT + 0x8000).toString(16)}`)
    expect(faultAt(2n ** 48n)).toBe('0x5a SPT.3')
    expect(faultAt(2n ** 64n - 1n)).toBe('0x5a SPT.3')
  })

  it('accepts a parent of another unit, and refuses to attach what stands on it: EINVAL', () => {
    const { host, device } = makeNested()
    const other = makeHost()
    const foreign = makeParent(other, other.probe(8))
    const user = makeUser(host, device, foreign, TABLES[0])
    expect(nameOf(() => device.set(RID_SLOT, user, null))).toBe('EINVAL')
    expect(nameOf(() => device.set(5, user, null))).toBe('EINVAL')
    user.destroy()
  })

  it('honours SRE and EAFE only where the unit has them', () => {
    // The default registers without SRS (31) and EAFS (34).
    const host = makeHost({ overrides: { ECAP: [0x04000fc3, 0x0013e998] } })
    const device = host.probe(0x10)
    const parent = makeParent(host, device)
    const attach = (flags: bigint): string =>
      nameOf(() => device.set(RID_SLOT, host.driver.createUserDomain(device, parent, data({ flags })), null))
    expect(attach(1n)).toBe('EINVAL')
    expect(attach(2n)).toBe('EINVAL')
    expect(attach(4n)).toBe('none')
  })

  it('is refused on a device of another unit', () => {
    const { user } = makeNested()
    const other = makeHost().probe(8)
    expect(nameOf(() => other.set(RID_SLOT, user, null))).toBe('EINVAL')
  })
})
