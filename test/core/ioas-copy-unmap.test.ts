import { describe, expect, it } from 'vitest'
import type { FakePaging } from './fake-machine.js'
import { ALL, FIXED, READABLE, RW, World, WRITEABLE } from './world.js'

const PAGE = 0x1000n

const tableOf = (world: World, name: string, slot = 0): FakePaging => {
  const device = world.machine.devices.find((one) => one.name === name)?.device
  return (device as unknown as { slots: Map<number, FakePaging> }).slots.get(slot) as FakePaging
}

describe('copying', () => {
  it('takes parts and several areas, and asks the first mapping for WRITEABLE', () => {
    const world = new World()
    const [ioas, other, region] = [world.ioas(), world.ioas(), world.region()]
    world.map(ioas, region, PAGE, 0x1000n)
    world.map(ioas, region, PAGE, 0x2000n, 0x8000n, READABLE)
    const copy = {
      srcIoasId: ioas,
      dstIoasId: other,
      length: PAGE,
      srcIova: 0x1800n,
      dstIova: 0x5000n,
      flags: FIXED | READABLE,
    }
    expect(world.do('IoasCopy', copy).dstIova).toBe(0x5000n)
    expect(world.no('IoasCopy', { ...copy, dstIova: 0x9000n, flags: FIXED | RW })).toBe('EPERM')
    expect(world.no('IoasCopy', { ...copy, flags: FIXED | RW })).toBe('EEXIST')
    expect(world.no('IoasCopy', { ...copy, srcIova: 0x2800n })).toBe('ENOENT')
    expect(world.no('IoasCopy', { ...copy, length: 0n })).toBe('EINVAL')
    expect(world.no('IoasCopy', { ...copy, dstIova: ALL, flags: READABLE })).toBe('EOVERFLOW')
    expect(world.no('IoasCopy', { ...copy, dstIoasId: 77 })).toBe('ENOENT')
    // Rights are of the original mapping: a write-only copy of a copy that cannot write.
    const onlyRead = { ...copy, srcIova: 0x1000n, length: 0x800n, dstIova: 0x20000n }
    world.do('IoasCopy', onlyRead)
    const back = { ...onlyRead, srcIoasId: other, srcIova: 0x20000n, dstIova: 0x30000n, flags: FIXED | WRITEABLE }
    expect(world.do('IoasCopy', back).dstIova).toBe(0x30000n)
  })

  it('keeps memory whose region was destroyed', () => {
    const world = new World()
    const [ioas, other, region] = [world.ioas(), world.ioas(), world.region()]
    const device = world.bind('arm2')
    world.map(ioas, region, PAGE, 0x1000n)
    world.do('DestroyMemoryRegion', { regionId: region })
    world.do('IoasCopy', { srcIoasId: ioas, dstIoasId: other, length: PAGE, srcIova: 0x1000n, flags: READABLE })
    world.do('AttachRid', { deviceId: device, ptId: other })
    const reply = world.do('Translate', { deviceId: device, iovas: BigUint64Array.of(0x1008n) })
    expect([...reply.outcomes, ...reply.regionIds]).toEqual([1, 0])
    world.do('IoasUnmap', { ioasId: ioas, iova: 0n, length: ALL })
    expect(world.machine.memories).toHaveLength(1)
    world.do('IoasUnmap', { ioasId: other, iova: 0n, length: ALL })
    expect(world.machine.memories).toHaveLength(0)
  })
})

describe('copying pinned memory of the client’s own addresses', () => {
  it('needs no region any more', () => {
    const world = new World()
    const ioas = world.ioas()
    world.do('AttachRid', { deviceId: world.bind('arm2'), ptId: ioas })
    const regionId = world.region(0x2000n, 0x70000000n)
    const request = { ioasId: ioas, userVa: 0x70000000n, length: 2n * PAGE, iova: 0x4000n, flags: RW | FIXED }
    world.do('IoasMap', request)
    world.do('DestroyMemoryRegion', { regionId })
    const copy = {
      srcIoasId: ioas,
      dstIoasId: ioas,
      srcIova: 0x5000n,
      length: PAGE,
      dstIova: 0x9000n,
      flags: RW | FIXED,
    }
    world.do('IoasCopy', copy)
    world.do('IoasUnmap', { ioasId: ioas, iova: 0x4000n, length: 2n * PAGE })
    expect(world.machine.memories).toHaveLength(1)
    expect(tableOf(world, 'arm2').mappings[0].address).toBe(world.machine.memories[0].address + 0x1000)
    world.do('IoasUnmap', { ioasId: ioas, iova: 0x9000n, length: PAGE })
    expect(world.machine.memories).toHaveLength(0)
  })
})

describe('unmapping', () => {
  it('takes whole areas, leaves what is below a refused one gone, and says how much', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    for (const iova of [0x1000n, 0x3000n, 0x5000n]) world.map(ioas, region, 2n * PAGE, iova)
    const refusal = world.refusal('IoasUnmap', { ioasId: ioas, iova: 0n, length: 0x4000n })
    expect([refusal.name, refusal.context['removed']]).toEqual(['ENOENT', 0x2000n])
    expect(world.do('IoasUnmap', { ioasId: ioas, iova: 0n, length: 0x100000n }).length).toBe(0x4000n)
    expect(world.no('IoasUnmap', { ioasId: ioas, iova: 0n, length: 0x100000n })).toBe('ENOENT')
    expect(world.do('IoasUnmap', { ioasId: ioas, iova: 0n, length: ALL }).length).toBe(0n)
    expect(world.no('IoasUnmap', { ioasId: ioas, iova: 1n, length: ALL })).toBe('EOVERFLOW')
    expect(world.no('IoasUnmap', { ioasId: ioas, iova: 1n, length: 0n })).toBe('EINVAL')
    expect(world.no('IoasUnmap', { ioasId: ioas, iova: ALL - 1n, length: 3n })).toBe('EOVERFLOW')
  })

  it('keeps the range busy until the hardware has forgotten it', async () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    world.do('AttachRid', { deviceId: world.bind('arm2'), ptId: ioas })
    world.map(ioas, region, PAGE, 0x1000n)
    world.machine.deferred = []
    const unmapped = world.begin('IoasUnmap', { ioasId: ioas, iova: 0x1000n, length: PAGE })
    const again = {
      ioasId: ioas,
      region: { regionId: region, offset: 0n },
      length: PAGE,
      iova: 0x1000n,
      flags: RW | FIXED,
    }
    expect(world.no('IoasMap', again)).toBe('EBUSY')
    expect(world.no('IoasUnmap', { ioasId: ioas, iova: 0x1000n, length: PAGE })).toBe('EBUSY')
    await world.machine.finish()
    expect(await unmapped).toEqual({ length: PAGE })
    world.machine.deferred = undefined
    expect(world.map(ioas, region, PAGE, 0x1000n)).toBe(0x1000n)
  })
})
