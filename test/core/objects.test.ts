import { describe, expect, it } from 'vitest'
import { LowestFree } from '../../server/core/ids.js'
import { World } from './world.js'

const NEST = 1
const SMMU = 1

/** Parent, vIOMMU and vDEVICE on an SMMUv3. */
function nested(world: World) {
  const device = world.bind('arm')
  const ioas = world.ioas()
  const parent = world.paging(device, ioas, NEST)
  const viommu = world.do('CreateViommu', { type: SMMU, deviceId: device, parentDomainId: parent }).viommuId
  const vdevice = world.do('CreateVdevice', { viommuId: viommu, deviceId: device, virtId: 7n }).vdeviceId
  return { device, ioas, parent, viommu, vdevice }
}

describe('ids', () => {
  it('are the lowest free ones, in any order of frees', () => {
    const ids = new LowestFree()
    expect([ids.take(), ids.take(), ids.take(), ids.take(), ids.take()]).toEqual([1, 2, 3, 4, 5])
    for (const id of [4, 1, 3]) ids.free(id)
    expect([ids.take(), ids.take(), ids.take(), ids.take()]).toEqual([1, 3, 4, 6])
  })

  it('are used again at once, and given back by a refused call', () => {
    const world = new World()
    expect([world.ioas(), world.ioas(), world.ioas()]).toEqual([1, 2, 3])
    world.do('Destroy', { objectId: 2 })
    const device = world.bind('arm')
    expect(device).toBe(2)
    world.machine.failPoint = () => {
      throw new Error('bug')
    }
    expect(() => world.paging(device, 1)).toThrow('bug')
    world.machine.failPoint = () => {}
    expect(world.paging(device, 1)).toBe(4)
  })

  it('name one type of object: another is ENOENT, with what it really is', () => {
    const world = new World()
    const { device, parent, viommu } = nested(world)
    const data = { smmuv3Ste: { ste0: 1n, ste1: 0n } }
    const { domainId } = world.do('CreateUserDomain', { deviceId: device, viommuId: viommu, ...data })
    const refusal = world.refusal('IoasMap', { ioasId: domainId, flags: 6, length: 4096n, userVa: 0n })
    expect(refusal.name).toBe('ENOENT')
    expect(refusal.message).toContain('a user domain, not an IOAS: its tables are their owner’s')
    expect(world.no('IoasUnmap', { ioasId: parent, length: 1n })).toBe('ENOENT')
    expect(world.no('Destroy', { objectId: 0 })).toBe('ENOENT')
    expect(world.no('Destroy', { objectId: 99 })).toBe('ENOENT')
  })
})

describe('destroying', () => {
  it('is EBUSY while others hold the object, and says who', () => {
    const world = new World()
    const { device, ioas, parent, viommu, vdevice } = nested(world)
    for (const id of [ioas, parent, viommu, device]) expect(world.no('Destroy', { objectId: id })).toBe('EBUSY')
    expect(world.refusal('Destroy', { objectId: ioas }).context['held_by']).toEqual([`paging domain ${parent}`])
    for (const objectId of [vdevice, viommu, parent, ioas]) world.do('Destroy', { objectId })
    expect(world.no('Destroy', { objectId: device })).toBe('EBUSY')
    world.do('UnbindDevice', { deviceId: device })
    expect(world.objects()).toEqual([])
    expect(world.leftovers()).toEqual([])
  })

  it('takes an IOAS with its areas, and the VFIO pointer to it', () => {
    const world = new World()
    const [ioas, region] = [world.ioas(), world.region()]
    world.map(ioas, region, 4096n)
    world.do('SetVfioIoas', { ioasId: ioas })
    world.do('Destroy', { objectId: ioas })
    expect(world.no('GetVfioIoas')).toBe('ENODEV')
  })
})

describe('a vDEVICE', () => {
  it('is one per device and one per virtual id, the device being looked at first', () => {
    const world = new World()
    const { device, viommu, vdevice } = nested(world)
    const other = world.bind('arm2')
    const create = (deviceId: number, virtId: bigint) =>
      world.refusal('CreateVdevice', { viommuId: viommu, deviceId, virtId })
    expect([create(device, 7n).name, create(device, 7n).context['vdevice']]).toEqual(['EEXIST', vdevice])
    expect([create(other, 7n).name, create(other, 7n).context['virt_id']]).toEqual(['EEXIST', '0x7'])
    expect(create(world.bind('intel'), 8n).name).toBe('EINVAL')
    expect(world.no('CreateVdevice', { viommuId: 99, deviceId: device, virtId: 1n })).toBe('ENOENT')
    world.do('Destroy', { objectId: vdevice })
    world.do('CreateVdevice', { viommuId: viommu, deviceId: other, virtId: 7n })
  })

  it('leaves a tombstone when its device is unbound, and frees its virtual id', () => {
    const world = new World()
    const { device, viommu, vdevice } = nested(world)
    world.do('UnbindDevice', { deviceId: device })
    expect(world.refusal('Destroy', { objectId: vdevice }).message).toContain('stays unused')
    expect(world.bind('arm')).toBe(device)
    const again = world.do('CreateVdevice', { viommuId: viommu, deviceId: device, virtId: 7n }).vdeviceId
    expect(again).toBeGreaterThan(vdevice)
  })
})

describe('making domains', () => {
  it('refuses each wrong parent with the kernel’s errno and the missing step', () => {
    const world = new World()
    const { device, parent, viommu, ioas } = nested(world)
    const ste = { smmuv3Ste: { ste0: 1n, ste1: 0n } }
    const s1 = { vtdS1: { flags: 0n, pgtblAddr: 0n, addrWidth: 48 } }
    const onParent = world.refusal('CreateUserDomain', { deviceId: device, parentDomainId: parent, ...ste })
    expect([onParent.name, onParent.message.includes('CreateViommu')]).toEqual(['EOPNOTSUPP', true])
    const no = (request: object) => world.no('CreateUserDomain', { deviceId: device, ...request })
    expect(no({ viommuId: viommu, ...s1 })).toBe('EINVAL')
    expect(no({ viommuId: viommu, ...ste, flags: 8 })).toBe('EOPNOTSUPP')
    expect(no({ viommuId: viommu, ...ste, flags: 4, faultQueueId: 3 })).toBe('ENOENT')
    expect(no({ viommuId: 99, ...ste })).toBe('EINVAL')
    expect(no({ viommuId: viommu })).toBe('EINVAL')
    expect(no({ ...ste })).toBe('EINVAL')
    expect(no({ parentDomainId: ioas, ...ste })).toBe('EINVAL')
    expect(no({ deviceId: 99, viommuId: viommu, ...ste })).toBe('ENOENT')
    const intel = world.bind('intel')
    const flat = world.paging(intel, ioas)
    expect(no({ deviceId: intel, parentDomainId: flat, ...s1 })).toBe('EINVAL')
    expect(no({ deviceId: intel, parentDomainId: parent, ...s1 })).toBe('EINVAL')
    const nest = world.paging(intel, ioas, NEST)
    expect(no({ deviceId: intel, parentDomainId: nest, ...ste })).toBe('EOPNOTSUPP')
    expect(no({ deviceId: intel, viommuId: viommu, ...s1 })).toBe('EINVAL')
    world.do('CreateUserDomain', { deviceId: intel, parentDomainId: nest, ...s1 })
    expect(world.no('CreateViommu', { type: SMMU, deviceId: intel, parentDomainId: nest })).toBe('EOPNOTSUPP')
    expect(world.no('CreateViommu', { type: SMMU, deviceId: device, parentDomainId: ioas })).toBe('ENOENT')
    expect(world.no('CreateViommu', { type: SMMU, deviceId: device, parentDomainId: nest })).toBe('EINVAL')
    expect(world.no('CreateViommu', { type: 0, deviceId: device, parentDomainId: parent })).toBe('EOPNOTSUPP')
    expect(world.no('CreatePagingDomain', { deviceId: device, ioasId: 99 })).toBe('EINVAL')
    expect(world.no('CreatePagingDomain', { deviceId: 99, ioasId: 99 })).toBe('ENOENT')
    expect(world.no('CreatePagingDomain', { deviceId: device, ioasId: ioas, flags: 16 })).toBe('EOPNOTSUPP')
    expect(world.no('CreatePagingDomain', { deviceId: device, ioasId: ioas, flags: 2 })).toBe('EOPNOTSUPP')
  })
})

describe('InvalidateIotlb', () => {
  it('goes to the vIOMMU on SMMUv3 and to the user domain on VT-d', () => {
    const world = new World()
    const { device, ioas, parent, viommu } = nested(world)
    const user = world.do('CreateUserDomain', {
      deviceId: device,
      viommuId: viommu,
      smmuv3Ste: { ste0: 1n, ste1: 0n },
    }).domainId
    const commands = { smmuv3: { entries: [{ dw0: 0x10n, dw1: 0n }] } }
    const ranges = {
      vtdS1: {
        entries: [
          { addr: 0n, npages: 1n, flags: 0 },
          { addr: 1n, npages: 1n, flags: 0 },
        ],
      },
    }
    const ends = (request: object) => {
      const { doneCount, refusal } = world.do('InvalidateIotlb', request)
      return `${doneCount} ${refusal?.name ?? 'ok'}`
    }
    expect(ends({ viommuId: viommu, ...commands })).toBe('1 ok')
    expect(ends({ viommuId: viommu, ...ranges })).toBe('0 EINVAL')
    expect(ends({ viommuId: viommu, smmuv3: { entries: [] } })).toBe('0 EINVAL')
    expect(ends({ userDomainId: user, ...commands })).toBe('0 EOPNOTSUPP')
    expect(ends({ userDomainId: parent, ...commands })).toBe('0 EINVAL')
    expect(ends({ userDomainId: ioas, ...commands })).toBe('0 EINVAL')
    expect(ends({ userDomainId: 99, ...commands })).toBe('0 ENOENT')
    expect(ends({ viommuId: viommu })).toBe('0 EINVAL')
    const intel = world.bind('intel')
    const nest = world.paging(intel, ioas, NEST)
    const s1 = { vtdS1: { flags: 0n, pgtblAddr: 0n, addrWidth: 48 } }
    const first = world.do('CreateUserDomain', { deviceId: intel, parentDomainId: nest, ...s1 }).domainId
    expect(ends({ userDomainId: first, ...ranges })).toBe('1 EINVAL')
    expect(ends({ userDomainId: first, vtdS1: { entries: [] } })).toBe('0 ok')
    expect(ends({ userDomainId: first, ...commands })).toBe('0 EINVAL')
  })

  it('answers when the hardware has completed', async () => {
    const world = new World()
    const { viommu } = nested(world)
    world.machine.deferred = []
    const reply = world.begin('InvalidateIotlb', { viommuId: viommu, smmuv3: { entries: [{ dw0: 0x10n, dw1: 0n }] } })
    expect(reply).toBeInstanceOf(Promise)
    expect(world.no('Destroy', { objectId: viommu })).toBe('EBUSY')
    await world.machine.finish()
    expect(await reply).toMatchObject({ doneCount: 1 })
  })
})
