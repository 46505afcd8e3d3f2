/** Requests of typed methods that name the wrong thing, or nothing: each is told what it named and what to name. */

import { beforeEach, describe, expect, it } from 'vitest'
import { ALL, FIXED, World } from './world.js'

const NEST_PARENT = 1
const VTD = { flags: 0n, pgtblAddr: 0x1000n, addrWidth: 48 }
const STE = { ste0: 1n, ste1: 0n }

let world: World

beforeEach(() => {
  world = new World()
})

const reason = (...of: Parameters<World['refusal']>): string => {
  const { name, message } = world.refusal(...of)
  return `${name}: ${message}`
}

describe('CreateUserDomain', () => {
  it('says which member an id belongs in', () => {
    const arm = world.bind('arm')
    const parent = world.paging(arm, world.ioas(), NEST_PARENT)
    const { viommuId } = world.do('CreateViommu', { type: 1, deviceId: arm, parentDomainId: parent })
    const make = (on: object) => reason('CreateUserDomain', { deviceId: arm, smmuv3Ste: STE, ...on })
    expect(make({ parentDomainId: viommuId })).toMatch(/^EINVAL: .*name it as viommu_id/)
    expect(make({ parentDomainId: arm })).toMatch(/^EINVAL: .*not a paging domain$/)
    expect(make({ viommuId: parent })).toMatch(/^EINVAL: .*not a vIOMMU$/)
    expect(make({ windowId: parent })).toMatch(/^EINVAL: .*not a window$/)
    expect(make({})).toMatch(/^EINVAL: nothing says/)
    const intel = world.bind('intel')
    expect(reason('CreateUserDomain', { deviceId: intel, vtdS1: VTD, viommuId: 99 })).toMatch(
      /^EINVAL: .*a VT-d has none/,
    )
  })

  it('knows the flags of VT-d tables, and wants tables', () => {
    const intel = world.bind('intel')
    const parentDomainId = world.paging(intel, world.ioas(), NEST_PARENT)
    const make = (data: object) => reason('CreateUserDomain', { deviceId: intel, parentDomainId, ...data })
    expect(make({ vtdS1: { ...VTD, flags: 8n } })).toMatch(/^EOPNOTSUPP: flag bits 0x8 /)
    expect(make({ smmuv3Pgd: {} })).toMatch(/^EOPNOTSUPP: vtd_s1 is wanted/)
    expect(make({})).toMatch(/^EINVAL: nothing describes the tables/)
  })
})

describe('InvalidateIotlb', () => {
  it('says which member an id belongs in, and wants entries', () => {
    const arm = world.bind('arm')
    const parentDomainId = world.paging(arm, world.ioas(), NEST_PARENT)
    const { viommuId } = world.do('CreateViommu', { type: 1, deviceId: arm, parentDomainId })
    const { domainId } = world.do('CreateUserDomain', { deviceId: arm, viommuId, smmuv3Ste: STE })
    const told = (request: object): string => {
      const reply = world.do('InvalidateIotlb', request as never) as { refusal?: { name: string; reason: string } }
      return `${reply.refusal?.name}: ${reply.refusal?.reason}`
    }
    const smmuv3 = { entries: [] }
    expect(told({ userDomainId: viommuId, smmuv3 })).toMatch(/^EINVAL: .*name it as viommu_id/)
    expect(told({ viommuId: domainId, smmuv3 })).toMatch(/^EINVAL: .*name it as user_domain_id/)
    expect(told({ userDomainId: domainId, smmuv3 })).toMatch(/^EOPNOTSUPP: .*through its vIOMMU/)
    expect(told({ smmuv3 })).toMatch(/^EINVAL: nothing is named/)
    expect(told({ viommuId })).toMatch(/^EINVAL: no entries/)
    expect(told({ viommuId, smmuv3Pgd: smmuv3 })).toMatch(/^EINVAL: .*not made in a window/)
  })
})

describe('ListObjects', () => {
  it('tells one type, so many at once, and the id to go on with', () => {
    const [first, device, second, third] = [world.ioas(), world.bind('arm'), world.ioas(), world.ioas()]
    const list = (request: object) => {
      const { objects, nextId } = world.do('ListObjects', request)
      return [objects.map(({ id }) => id), nextId]
    }
    expect(list({ maxObjects: 2 })).toEqual([[first, device], second])
    expect(list({ maxObjects: 2, startId: second })).toEqual([[second, third], 0])
    expect(list({ type: 1 })).toEqual([[first, second, third], 0])
    expect(list({ type: 1, maxObjects: 1, startId: device })).toEqual([[second], third])
  })
})

describe('IoasCopy', () => {
  it('is EOVERFLOW where the source ends beyond 2^64, before its areas are looked at', () => {
    const ioas = world.ioas()
    const copy = { dstIoasId: ioas, srcIoasId: ioas, flags: FIXED | 6, dstIova: 0n }
    expect(reason('IoasCopy', { ...copy, srcIova: ALL - 1n, length: 4096n })).toMatch(/^EOVERFLOW/)
    expect(reason('IoasCopy', { ...copy, srcIova: ALL - 4095n, length: 4096n })).toMatch(/^ENOENT/)
  })
})

describe('IoasMapFile', () => {
  it('is EBADF where no file is named', () => {
    const ioas = world.ioas()
    const map = { ioasId: ioas, flags: FIXED | 6, iova: 0n, start: 0n, length: 4096n }
    expect(reason('IoasMapFile', { ...map, fd: 3 })).toMatch(/^EBADF: no descriptor 3/)
    expect(reason('IoasMapFile', { ...map, regionId: 9 })).toMatch(/^EBADF: no file is named/)
    expect(reason('IoasMapFile', map)).toMatch(/^EBADF: no file is named/)
  })
})

describe('SetOption and GetOption', () => {
  it('are EOPNOTSUPP for an option that is not known', () => {
    const option = { option: 3, objectId: 0 }
    expect(world.no('GetOption', option)).toBe('EOPNOTSUPP')
    expect(world.no('SetOption', { ...option, value: 0n })).toBe('EOPNOTSUPP')
  })
})

describe('CreateMemoryRegion', () => {
  it('may end with the last byte that a client can address, and not behind it', () => {
    const clientAddress = 2n ** 64n - 4096n
    expect(world.no('CreateMemoryRegion', { anonymous: { bytes: 8192n }, clientAddress })).toBe('EOVERFLOW')
    expect(world.do('CreateMemoryRegion', { anonymous: { bytes: 4096n }, clientAddress }).bytes).toBe(4096n)
  })
})
