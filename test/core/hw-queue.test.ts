import { describe, expect, it } from 'vitest'
import { mapPage } from '../../server/core/map-space.js'
import { QUEUED } from './fake-viommu.js'
import { ALL, READABLE, World, WRITEABLE } from './world.js'

const PAGE = 4096n
const NEST = 1

/** A vIOMMU with hardware queues, and a page of memory at 0x10000 of its parent. */
function queued(world = new World()) {
  const device = world.bind('arm')
  const ioas = world.ioas()
  const parent = world.paging(device, ioas, NEST)
  const viommu = make(world, device, parent)
  const region = world.region()
  world.map(ioas, region, 2n * PAGE, 0x10000n)
  const create = (request: object) => ({
    viommuId: viommu,
    type: QUEUED,
    index: 0,
    nestingParentIova: 0x10000n,
    length: 16n,
    ...request,
  })
  const no = (request: object) => world.no('CreateHwQueue', create(request))
  const queue = (request: object = {}) => world.do('CreateHwQueue', create(request)).hwQueueId
  return { world, device, ioas, parent, viommu, region, no, queue }
}

const make = (world: World, deviceId: number, parentDomainId: number, type = QUEUED) =>
  world.do('CreateViommu', { type, deviceId, parentDomainId }).viommuId

describe('making a hardware queue', () => {
  it('is refused in the kernel’s order', () => {
    const { world, device, ioas, parent, region, no } = queued()
    world.map(ioas, region, PAGE, 0x20000n, 0n, WRITEABLE)
    expect(no({ flags: 1, length: 0n })).toBe('EOPNOTSUPP')
    expect(no({ type: 0, length: 0n })).toBe('EOPNOTSUPP')
    expect(no({ length: 0n, viommuId: 99 })).toBe('EINVAL')
    expect(no({ nestingParentIova: ALL, length: 2n, viommuId: 99 })).toBe('EOVERFLOW')
    expect(no({ viommuId: 99, type: 5 })).toBe('ENOENT')
    expect(no({ type: 5, nestingParentIova: 0x90000n })).toBe('EOPNOTSUPP')
    expect(no({ viommuId: make(world, device, parent, 1) })).toBe('EOPNOTSUPP')
    expect(no({ nestingParentIova: 0n, length: ALL - 2n, index: 9 })).toBe('ERANGE')
    expect(no({ nestingParentIova: 0n, length: 2n ** 40n, index: 9 })).toBe('ENOMEM')
    expect(no({ nestingParentIova: 0x90000n, index: 9 })).toBe('ENOENT')
    expect(no({ nestingParentIova: 0x11fffn, length: 2n, index: 9 })).toBe('ENOENT')
    expect(no({ nestingParentIova: 0x20000n, index: 9 })).toBe('EPERM')
    expect(no({ index: 2 })).toBe('EINVAL')
    expect(no({ index: 1 })).toBe('EIO')
    // None of them has left anything: the mappings are free.
    world.do('IoasUnmap', { ioasId: ioas, length: ALL })
  })

  it('needs memory that is contiguous, whatever mappings and regions it is in', () => {
    const { world, ioas, region, no, queue, viommu } = queued()
    world.map(ioas, region, PAGE, 0x30000n, 0n)
    world.map(ioas, region, PAGE, 0x31000n, 0x2000n)
    expect(no({ nestingParentIova: 0x30800n, length: PAGE })).toBe('EFAULT')
    world.do('IoasUnmap', { ioasId: ioas, iova: 0x31000n, length: PAGE })
    world.map(ioas, region, PAGE, 0x31000n, 0x1000n)
    queue({ nestingParentIova: 0x30800n, length: PAGE })
    const [{ address }] = world.machine.memories.slice(-1)
    expect(world.machine.viommus[0].queues[0]?.memory).toEqual({ address: address + 0x800, length: PAGE })
    expect(viommu).toBeGreaterThan(0)
  })

  it('needs an IOAS that can be in whole pages', () => {
    const world = new World()
    const device = world.bind('mock')
    const ioas = world.ioas()
    const parent = world.paging(device, ioas, NEST)
    const region = world.region()
    world.map(ioas, region, PAGE, 0x1000000n)
    world.map(ioas, region, 2048n, 0x1001000n)
    const request = { viommuId: make(world, device, parent), type: QUEUED, index: 0, length: 16n }
    const create = { ...request, nestingParentIova: 0x1000000n }
    expect(world.no('CreateHwQueue', create)).toBe('EADDRINUSE')
    world.do('IoasUnmap', { ioasId: ioas, iova: 0x1001000n, length: 2048n })
    const { hwQueueId } = world.do('CreateHwQueue', create)
    expect(world.do('IoasIovaRanges', { ioasId: ioas }).iovaAlignment).toBe(PAGE)
    world.do('Destroy', { objectId: hwQueueId })
    expect(world.do('IoasIovaRanges', { ioasId: ioas }).iovaAlignment).toBe(2048n)
  })
})

describe('a hardware queue', () => {
  it('takes two ids, its own and that of an access, which go together', () => {
    const { world, ioas, viommu, queue } = queued()
    const before = world.objects()
    const id = queue()
    expect(world.objects()).toEqual([...before, `${id}:9`, `${id + 1}:10`])
    expect(world.no('Destroy', { objectId: id + 1 })).toBe('EBUSY')
    expect(world.no('Destroy', { objectId: viommu })).toBe('EBUSY')
    const held = world.refusal('Destroy', { objectId: ioas }).context['held_by']
    expect(held).toContain(`access ${id + 1}`)
    world.do('Destroy', { objectId: id })
    expect(world.objects()).toEqual(before)
  })

  it('keeps its whole mapping from being unmapped, and others not', () => {
    const { world, ioas, region, queue } = queued()
    world.map(ioas, region, PAGE, 0x20000n)
    const id = queue({ nestingParentIova: 0x10ff0n, length: 8n })
    const unmap = (iova: bigint, length: bigint) => ({ ioasId: ioas, iova, length })
    expect(world.no('IoasUnmap', unmap(0x10000n, 2n * PAGE))).toBe('EBUSY')
    expect(world.no('IoasUnmap', unmap(0x11000n, PAGE))).toBe('EBUSY')
    expect(world.no('IoasUnmap', unmap(0n, ALL))).toBe('EBUSY')
    world.do('IoasUnmap', unmap(0x20000n, PAGE))
    world.do('Destroy', { objectId: id })
    world.do('IoasUnmap', unmap(0x10000n, 2n * PAGE))
  })

  it('keeps the one before it', () => {
    const { world, queue, no } = queued()
    const first = queue()
    expect(no({ index: 0 })).toBe('EEXIST')
    const second = queue({ index: 1, nestingParentIova: 0x10100n })
    expect(world.refusal('Destroy', { objectId: first }).context['held_by']).toEqual([`hardware queue ${second}`])
    for (const objectId of [second, first]) world.do('Destroy', { objectId })
  })

  it('goes with its context, whatever the order of ids', () => {
    const { world, queue } = queued()
    const low = world.ioas()
    const filler = world.ioas()
    world.do('Destroy', { objectId: filler })
    queue()
    queue({ index: 1 })
    world.do('Destroy', { objectId: low })
    world.do('CloseContext')
    expect(world.leftovers()).toEqual([])
  })

  it('reads memory that a read-only mapping has', () => {
    const { world, ioas, region, queue } = queued()
    world.map(ioas, region, PAGE, 0x40000n, 0n, READABLE)
    queue({ nestingParentIova: 0x40000n })
  })
})

describe('a vIOMMU’s page', () => {
  const map = (world: World, offset: bigint, length: bigint, protection = 3) =>
    world.core.call(world.peer, (call) => mapPage(call, { offset, length, protection }).id, { context: world.token })
  const no = (world: World, offset: bigint, length: bigint, protection = 3): string => {
    try {
      map(world, offset, length, protection)
    } catch (error) {
      return (error as Error).name
    }
    return 'not refused'
  }

  it('has the lowest gap of its context’s offsets, from 4096 on', () => {
    const { world, device, parent, viommu } = queued()
    const offsets = () => {
      const { mmapOffset, mmapLength, viommuId } = world.do('CreateViommu', {
        type: QUEUED,
        deviceId: device,
        parentDomainId: parent,
      })
      expect(mmapLength).toBe(0x2000n)
      return [mmapOffset, viommuId] as const
    }
    const [[second, id], [third]] = [offsets(), offsets()]
    expect([second, third]).toEqual([0x3000n, 0x5000n])
    world.do('Destroy', { objectId: id })
    expect(offsets()[0]).toBe(0x3000n)
    world.do('Destroy', { objectId: viommu })
    expect(offsets()[0]).toBe(0x1000n)
    const plain = world.do('CreateViommu', { type: 1, deviceId: device, parentDomainId: parent })
    expect([plain.mmapOffset, plain.mmapLength]).toEqual([0n, 0n])
  })

  it('is mapped whole, shared, and never to be executed', () => {
    const { world } = queued()
    expect(no(world, 0x1000n, 100n)).toBe('EINVAL')
    expect(no(world, 0x1000n, 0n)).toBe('EINVAL')
    expect(no(world, 0x9000n, 0x2000n, 7)).toBe('EPERM')
    for (const [offset, length] of [
      [0n, 0x2000n],
      [0x1000n, 0x1000n],
      [0x2000n, 0x1000n],
      [0x1000n, 0x3000n],
      [0x3000n, 0x2000n],
    ]) {
      expect(no(world, offset, length)).toBe('ENXIO')
    }
    const page = world.machine.viommus[0].page
    page?.write(0, Uint8Array.of(1, 2))
    const [first, second] = [map(world, 0x1000n, 0x2000n), map(world, 0x1000n, 0x2000n, 1)]
    const patches = [{ regionId: Number(first), offset: 1n, data: Uint8Array.of(9) }]
    expect(world.do('WriteMemory', { patches }).doneCount).toBe(1)
    const slices = [{ regionId: Number(second), offset: 0n, length: 2 }]
    expect([...world.do('ReadMemory', { slices }).data[0]]).toEqual([1, 9])
    const readOnly = world.do('WriteMemory', { patches: [{ ...patches[0], regionId: Number(second) }] })
    expect(readOnly.refusal?.name).toBe('EACCES')
  })

  it('keeps its vIOMMU as long as it is mapped', () => {
    const { world, viommu } = queued()
    const region = Number(map(world, 0x1000n, 0x2000n))
    expect(world.refusal('Destroy', { objectId: viommu }).context['held_by']).toEqual([`mapping as region ${region}`])
    world.do('DestroyMemoryRegion', { regionId: region })
    world.do('Destroy', { objectId: viommu })
    expect(no(world, 0x1000n, 0x2000n)).toBe('ENXIO')
  })

  it('is no memory that a device or an access reaches', () => {
    const { world, ioas } = queued()
    const regionId = Number(map(world, 0x1000n, 0x2000n))
    const request = { ioasId: ioas, region: { regionId, offset: 0n }, length: PAGE, flags: READABLE }
    expect(world.no('IoasMap', request)).toBe('EFAULT')
    const empty = world.ioas()
    world.do('IoasMap', { ...request, ioasId: empty })
    const { deviceId } = world.do('BindDevice', { deviceName: 'intel' })
    expect(world.no('CreatePagingDomain', { deviceId, ioasId: empty })).toBe('EFAULT')
    world.do('CloseContext')
    expect(world.leftovers()).toEqual([])
  })

  it('is unmapped when its context ends, and is nobody else’s', () => {
    const { world } = queued()
    map(world, 0x1000n, 0x2000n)
    const other = world.open().context
    expect(() =>
      world.core.call(world.peer, (call) => mapPage(call, { offset: 0x1000n, length: 0x2000n, protection: 1 }), {
        context: other,
      }),
    ).toThrow('no object of this context has memory')
    world.do('CloseContext')
    expect(world.leftovers()).toEqual([])
  })
})
