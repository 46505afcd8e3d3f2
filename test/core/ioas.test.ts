import { describe, expect, it } from 'vitest'
import { Refusal } from '../../server/core/refusal.js'
import type { FakePaging } from './fake-machine.js'
import { ALL, FIXED, READABLE, RW, World } from './world.js'

const PAGE = 0x1000n

const tableOf = (world: World, name: string, slot = 0): FakePaging => {
  const device = world.machine.devices.find((one) => one.name === name)?.device
  return (device as unknown as { slots: Map<number, FakePaging> }).slots.get(slot) as FakePaging
}

describe('choosing an IOVA', () => {
  it('is first fit at page steps, never at 0', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    expect(world.map(ioas, region, PAGE)).toBe(0x1000n)
    expect(world.map(ioas, region, 5n * PAGE)).toBe(0x2000n)
    expect(world.map(ioas, region, PAGE)).toBe(0x7000n)
  })

  it('keeps the offset in the page, in an aperture that begins at 16 MiB', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    world.do('AttachRid', { deviceId: world.bind('mock'), ptId: ioas })
    expect(world.map(ioas, region, PAGE)).toBe(0x1000000n)
    expect(world.map(ioas, region, PAGE)).toBe(0x1001000n)
    expect(world.map(ioas, region, 0x800n, undefined, 0x800n)).toBe(0x1002800n)
  })

  it('finds nothing at the end of 2^64: ENOSPC', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    const last = 0xffffffffffff8006n
    world.map(ioas, region, 6n, 0n)
    // Areas stand for the reservation: what counts is that nothing else is free.
    world.do('IoasAllowIovas', { ioasId: ioas, ranges: [{ first: last + 1n, last: ALL }] })
    const request = { ioasId: ioas, region: { regionId: region, offset: 0n }, length: 0x8000n, iova: 0n, flags: RW }
    expect(world.no('IoasMap', request)).toBe('ENOSPC')
  })

  it('stays in the allowed ranges, and fixed maps do not', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    world.do('IoasAllowIovas', {
      ioasId: ioas,
      ranges: [
        { first: 0x5000n, last: 0x5fffn },
        { first: 0x6000n, last: 0x6fffn },
      ],
    })
    expect(world.map(ioas, region, 2n * PAGE)).toBe(0x5000n)
    const request = { ioasId: ioas, region: { regionId: region, offset: 0n }, length: PAGE, iova: 0n, flags: RW }
    expect(world.no('IoasMap', request)).toBe('ENOSPC')
    expect(world.map(ioas, region, PAGE, 0x9000n)).toBe(0x9000n)
  })

  it('refuses half of all addresses with EOVERFLOW', () => {
    const world = new World()
    const request = { ioasId: world.ioas(), userVa: 0n, length: ALL / 2n, iova: 0n, flags: RW }
    expect(world.no('IoasMap', request)).toBe('EOVERFLOW')
  })
})

describe('a free choice that aims for 2 MiB', () => {
  /** [uAPI: kernels with transparent huge pages] Lengths in pages, and where they go one after the other. */
  const places = (world: World, ...pages: bigint[]): bigint[] => {
    const [ioas, region] = [world.ioas(), world.region(0x1000_0000n)]
    return pages.map((count) => world.map(ioas, region, count * PAGE))
  }

  it('is aligned to the power of two that the length fills', () => {
    expect(places(new World({ autoIovaAlignment: 2n ** 21n }), 1n, 5n, 1n)).toEqual([0x1000n, 0x8000n, 0x2000n])
    expect(places(new World({ autoIovaAlignment: 2n ** 21n }), 1n, 1024n, 512n)).toEqual([
      0x1000n,
      0x20_0000n,
      0x60_0000n,
    ])
    expect(places(new World(), 1n, 5n, 1n)).toEqual([0x1000n, 0x2000n, 0x7000n])
  })

  it('is aligned as the source is, where that is less', () => {
    const world = new World({ autoIovaAlignment: 2n ** 21n })
    const [ioas, region] = [world.ioas(), world.region(0x10_0000n)]
    world.map(ioas, region, PAGE)
    expect(world.map(ioas, region, 16n * PAGE, undefined, 0x4000n)).toBe(0x4000n)
    expect(world.map(ioas, region, 0x800n, undefined, 0x800n)).toBe(0x2800n)
  })

  it('is told by GetServerInfo', () => {
    expect(new World({ autoIovaAlignment: 2n ** 21n }).do('GetServerInfo').autoIovaAlignment).toBe(2n ** 21n)
    expect(new World().do('GetServerInfo').autoIovaAlignment).toBe(PAGE)
  })
})

describe('mapping', () => {
  it('checks in the order of the kernel', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    const good = {
      ioasId: ioas,
      region: { regionId: region, offset: 0n },
      length: PAGE,
      iova: 0x1000n,
      flags: RW | FIXED,
    }
    expect(world.no('IoasMap', { ...good, flags: 8, iova: ALL })).toBe('EOPNOTSUPP')
    expect(world.no('IoasMap', { ...good, flags: 0, iova: ALL })).toBe('EOVERFLOW')
    expect(world.no('IoasMap', { ...good, flags: 0, length: ALL })).toBe('EOVERFLOW')
    expect(world.no('IoasMap', { ...good, flags: FIXED, ioasId: 99 })).toBe('EINVAL')
    expect(world.no('IoasMap', { ...good, ioasId: 99, length: 0n })).toBe('ENOENT')
    expect(world.no('IoasMap', { ...good, region: { regionId: region, offset: ALL } })).toBe('EOVERFLOW')
    expect(world.no('IoasMap', { ...good, length: 0n })).toBe('EINVAL')
    expect(world.no('IoasMap', { ...good, length: ALL - 1n, region: { regionId: region, offset: 0n } })).toBe('EINVAL')
    expect(world.no('IoasMap', { ...good, region: undefined })).toBe('EFAULT')
    expect(world.no('IoasMap', { ...good, iova: ALL - 0xffen, length: PAGE })).toBe('EOVERFLOW')
    world.do('IoasMap', good)
    expect(world.no('IoasMap', good)).toBe('EEXIST')
  })

  it('has no alignment without a domain, and the domain’s with one', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    expect(world.map(ioas, region, 3n, 5n)).toBe(5n)
    world.do('IoasUnmap', { ioasId: ioas, iova: 5n, length: 3n })
    world.do('AttachRid', { deviceId: world.bind('arm2'), ptId: ioas })
    const request = {
      ioasId: ioas,
      region: { regionId: region, offset: 0n },
      length: PAGE,
      iova: 0x1000n,
      flags: RW | FIXED,
    }
    expect(world.no('IoasMap', { ...request, length: 3n })).toBe('EINVAL')
    expect(world.no('IoasMap', { ...request, iova: 0x1800n })).toBe('EINVAL')
    expect(world.no('IoasMap', { ...request, region: { regionId: region, offset: 0x800n } })).toBe('EINVAL')
    expect(world.do('IoasIovaRanges', { ioasId: ioas }).iovaAlignment).toBe(4096n)
  })

  it('touches memory only when a domain is there: EFAULT at the map, or at the attach', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region(0x2000n)]
    world.map(ioas, region, PAGE, 0x10000n, 0x5000n)
    const device = world.bind('arm2')
    expect(world.no('AttachRid', { deviceId: device, ptId: ioas })).toBe('EFAULT')
    world.do('IoasUnmap', { ioasId: ioas, iova: 0n, length: ALL })
    world.do('AttachRid', { deviceId: device, ptId: ioas })
    const request = { ioasId: ioas, userVa: 0x7000n, length: PAGE, iova: 0n, flags: RW }
    expect(world.no('IoasMap', request)).toBe('EFAULT')
  })

  it('follows the client’s own addresses over adjacent regions', () => {
    const world = new World()
    const ioas = world.ioas()
    world.do('AttachRid', { deviceId: world.bind('arm2'), ptId: ioas })
    world.region(0x2000n, 0x70000000n)
    world.region(0x2000n, 0x70002000n)
    const request = { ioasId: ioas, userVa: 0x70001000n, length: 2n * PAGE, iova: 0x4000n, flags: RW | FIXED }
    world.do('IoasMap', request)
    const { mappings } = tableOf(world, 'arm2')
    expect(mappings.map(({ iova, length }) => [iova, length])).toEqual([
      [0x4000n, PAGE],
      [0x5000n, PAGE],
    ])
  })

  it('takes back the first part when the second is refused', () => {
    const world = new World()
    const ioas = world.ioas()
    world.do('AttachRid', { deviceId: world.bind('arm2'), ptId: ioas })
    world.region(0x1000n, 0x70000000n)
    world.region(0x1000n, 0x70001000n)
    let maps = 0
    world.machine.failPoint = (what) => {
      if (what === 'map' && ++maps === 2) throw new Refusal('ENOMEM', 'injected')
    }
    const request = { ioasId: ioas, userVa: 0x70000000n, length: 2n * PAGE, iova: 0x4000n, flags: RW | FIXED }
    expect(world.no('IoasMap', request)).toBe('ENOMEM')
    expect(tableOf(world, 'arm2').mappings).toHaveLength(0)
    world.do('IoasMap', request)
  })

  it('gives tables back to the quota when they are unmapped', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    const used = () => world.do('GetContext').quotas.find(({ name }) => name === 'table_bytes')?.used
    world.do('AttachRid', { deviceId: world.bind('arm2'), ptId: ioas })
    const before = used()
    world.map(ioas, region, PAGE, 0x1000n)
    expect(used()).toBe((before ?? 0n) + 4096n)
    world.do('IoasUnmap', { ioasId: ioas, iova: 0x1000n, length: PAGE })
    expect(used()).toBe(before)
  })

  it('refuses WRITEABLE of read-only memory with EPERM, after EEXIST', () => {
    const world = new World()
    const ioas = world.ioas()
    const { regionId } = world.do('CreateMemoryRegion', {
      file: { path: '/f', offset: 0n, bytes: 0x2000n, writable: false },
    })
    const request = { ioasId: ioas, region: { regionId, offset: 0n }, length: PAGE, iova: 0x1000n, flags: RW | FIXED }
    expect(world.no('IoasMap', request)).toBe('EPERM')
    world.do('IoasMap', { ...request, flags: READABLE | FIXED })
    expect(world.no('IoasMap', request)).toBe('EEXIST')
  })

  it('rolls back every domain when the second refuses', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    world.paging(world.bind('arm'), ioas)
    world.paging(world.bind('intel'), ioas)
    let maps = 0
    world.machine.failPoint = (what) => {
      if (what === 'map' && ++maps === 2) throw new Error('bug')
    }
    expect(() => world.map(ioas, region, PAGE, 0x1000n)).toThrow('bug')
    world.machine.failPoint = () => {}
    expect(world.do('GetContext').quotas.find(({ name }) => name === 'areas')?.used).toBe(0n)
    expect(world.map(ioas, region, PAGE, 0x1000n)).toBe(0x1000n)
  })
})

describe('allowed and reserved ranges', () => {
  it('lists the holes, and says EMSGSIZE beside those that fit', () => {
    const world = new World()
    const ioas = world.ioas()
    expect(world.do('IoasIovaRanges', { ioasId: ioas })).toEqual({
      ranges: [{ first: 0n, last: ALL }],
      totalCount: 1,
      iovaAlignment: 1n,
    })
    world.do('AttachRid', { deviceId: world.bind('arm'), ptId: ioas })
    const reply = world.do('IoasIovaRanges', { ioasId: ioas, maxRanges: 1 })
    expect(reply.ranges).toEqual([{ first: 0n, last: 0x7ffffffn }])
    expect([reply.totalCount, reply.refusal?.name]).toEqual([2, 'EMSGSIZE'])
  })

  it('refuses a fixed map into a reserved range with EINVAL, an attach over a mapping with EADDRINUSE', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    const device = world.bind('arm')
    world.map(ioas, region, PAGE, 0x8000000n)
    expect(world.no('AttachRid', { deviceId: device, ptId: ioas })).toBe('EADDRINUSE')
    world.do('IoasUnmap', { ioasId: ioas, iova: 0n, length: ALL })
    world.do('AttachRid', { deviceId: device, ptId: ioas })
    const request = {
      ioasId: ioas,
      region: { regionId: region, offset: 0n },
      length: PAGE,
      iova: 0x8000000n,
      flags: RW | FIXED,
    }
    expect(world.no('IoasMap', request)).toBe('EINVAL')
  })

  it('replaces the allowed list whole or not at all', () => {
    const world = new World()
    const ioas = world.ioas()
    const names = (ranges: { first: bigint; last: bigint }[]) =>
      world.do('IoasAllowIovas', { ioasId: ioas, ranges }).refusal?.name
    expect(names([{ first: 5n, last: 5n }])).toBe('EINVAL')
    expect(
      names([
        { first: 5n, last: 9n },
        { first: 9n, last: 12n },
      ]),
    ).toBe('EINVAL')
    expect(names([{ first: 0n, last: 0xffffn }])).toBeUndefined()
    const device = world.bind('mock')
    expect(world.no('AttachRid', { deviceId: device, ptId: ioas })).toBe('EADDRINUSE')
    expect(names([])).toBeUndefined()
    world.do('AttachRid', { deviceId: device, ptId: ioas })
    expect(names([{ first: 0n, last: 0xffffn }])).toBe('EADDRINUSE')
  })

  it('joins a domain only when every area fits its alignment and aperture', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    const device = world.bind('mock')
    world.map(ioas, region, 0x400n, 0x1000000n)
    expect(world.no('CreatePagingDomain', { deviceId: device, ioasId: ioas })).toBe('EADDRINUSE')
    world.do('IoasUnmap', { ioasId: ioas, iova: 0n, length: ALL })
    world.map(ioas, region, PAGE, 0x1000n)
    expect(world.no('CreatePagingDomain', { deviceId: device, ioasId: ioas })).toBe('EADDRINUSE')
    expect(world.do('IoasIovaRanges', { ioasId: ioas }).totalCount).toBe(1)
  })

  it('switches large pages off only while that is still possible', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    const option = { option: 2, objectId: ioas }
    world.map(ioas, region, 0x800n, 0x1800n)
    expect(world.no('SetOption', { ...option, value: 0n })).toBe('EADDRINUSE')
    world.do('IoasUnmap', { ioasId: ioas, iova: 0n, length: ALL })
    world.do('SetOption', { ...option, value: 0n })
    expect(world.do('GetOption', option)).toEqual({ value: 0n })
    world.do('AttachRid', { deviceId: world.bind('arm2'), ptId: ioas })
    world.map(ioas, region, 4n * PAGE, 0x200000n)
    expect(tableOf(world, 'arm2').mappings).toHaveLength(4)
    world.do('SetOption', { ...option, value: 1n })
    expect(world.no('SetOption', { ...option, value: 0n })).toBe('EINVAL')
    expect(world.no('SetOption', { ...option, value: 2n })).toBe('EINVAL')
  })

  it('does a batch up to the first that is refused', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    const map = {
      ioasId: ioas,
      region: { regionId: region, offset: 0n },
      length: PAGE,
      iova: 0x1000n,
      flags: RW | FIXED,
    }
    const reply = world.do('IoasBatch', { operations: [{ map }, { map }, { map }] })
    expect([reply.doneCount, [...reply.results], reply.refusal?.name, reply.refusal?.context['index']]).toEqual([
      1,
      [0x1000n],
      'EEXIST',
      '1',
    ])
  })
})
