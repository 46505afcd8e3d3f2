import { describe, expect, it } from 'vitest'
import { HANDLERS } from '../../server/core/index.js'
import { Refusal } from '../../server/core/refusal.js'
import { World } from './world.js'

const NEST = 1
const PASID = 8
const PASID_ONLY = 2
const WHOLE = 1

const smmuUser = (world: World, device: number, ioas: number): number => {
  const parent = world.paging(device, ioas, NEST)
  const { viommuId } = world.do('CreateViommu', { type: 1, deviceId: device, parentDomainId: parent })
  return world.do('CreateUserDomain', { deviceId: device, viommuId, smmuv3Ste: { ste0: 1n, ste1: 0n } }).domainId
}

const vtdUser = (world: World, device: number, ioas: number): number => {
  const parentDomainId = world.paging(device, ioas, NEST)
  const vtdS1 = { flags: 0n, pgtblAddr: 0n, addrWidth: 48 }
  return world.do('CreateUserDomain', { deviceId: device, parentDomainId, vtdS1, flags: PASID }).domainId
}

describe('attaching a RID', () => {
  it('makes a domain for an IOAS, shares it, and lets it go with the last attachment', () => {
    const world = new World()
    const [ioas, one, two] = [world.ioas(), world.bind('arm'), world.bind('arm2')]
    const { domainId } = world.do('AttachRid', { deviceId: one, ptId: ioas })
    expect(domainId).toBe(4)
    expect(world.do('AttachRid', { deviceId: two, ptId: ioas }).domainId).toBe(domainId)
    expect(world.no('Destroy', { objectId: domainId })).toBe('EBUSY')
    world.do('DetachRid', { deviceId: one })
    expect(world.objects()).toContain(`${domainId}:2`)
    world.do('DetachRid', { deviceId: two })
    expect(world.objects()).not.toContain(`${domainId}:2`)
    world.do('DetachRid', { deviceId: two })
    expect(world.do('IoasIovaRanges', { ioasId: ioas }).totalCount).toBe(1)
  })

  it('never chooses a domain that was made by hand, and makes another for another unit', () => {
    const world = new World()
    const [ioas, one] = [world.ioas(), world.bind('arm')]
    const manual = world.paging(one, ioas)
    const auto = world.do('AttachRid', { deviceId: one, ptId: ioas }).domainId
    expect(auto).not.toBe(manual)
    const other = world.bind('intel')
    expect(world.do('AttachRid', { deviceId: other, ptId: ioas }).domainId).not.toBe(auto)
    expect(world.no('ReplaceRid', { deviceId: other, ptId: manual })).toBe('EINVAL')
  })

  it('is refused in the kernel’s order', () => {
    const world = new World()
    const [ioas, device] = [world.ioas(), world.bind('arm')]
    expect(world.no('AttachRid', { deviceId: 99, ptId: 99 })).toBe('ENOENT')
    expect(world.no('AttachRid', { deviceId: device, ptId: 99 })).toBe('ENOENT')
    expect(world.no('AttachRid', { deviceId: device, ptId: device })).toBe('EINVAL')
    expect(world.no('ReplaceRid', { deviceId: device, ptId: ioas })).toBe('EINVAL')
    world.do('AttachRid', { deviceId: device, ptId: ioas })
    expect(world.no('AttachRid', { deviceId: device, ptId: ioas })).toBe('EBUSY')
  })

  it('replaces, keeps the old domain on refusal, and moves the reservations', () => {
    const world = new World()
    const [ioas, other, device] = [world.ioas(), world.ioas(), world.bind('arm')]
    const auto = world.do('AttachRid', { deviceId: device, ptId: ioas }).domainId
    const manual = world.paging(device, other)
    world.do('ReplaceRid', { deviceId: device, ptId: manual })
    expect(world.objects()).not.toContain(`${auto}:2`)
    expect(world.do('IoasIovaRanges', { ioasId: ioas }).totalCount).toBe(1)
    expect(world.do('IoasIovaRanges', { ioasId: other }).totalCount).toBe(2)
    expect(world.do('ReplaceRid', { deviceId: device, ptId: manual }).domainId).toBe(manual)
    expect(world.no('ReplaceRid', { deviceId: device, ptId: 99 })).toBe('ENOENT')
    expect(world.do('GetDevice', { deviceId: device }).attachments).toEqual([{ pasid: 0, domainId: manual }])
  })

  it('closes the reserved holes when a replace inside one IOAS fails, as the kernel does', () => {
    const world = new World()
    const [ioas, device] = [world.ioas(), world.bind('arm')]
    world.do('AttachRid', { deviceId: device, ptId: world.paging(device, ioas) })
    const second = world.paging(device, ioas)
    expect(world.do('IoasIovaRanges', { ioasId: ioas }).totalCount).toBe(2)
    world.machine.failPoint = (what) => {
      if (what === 'set') throw new Error('bug')
    }
    expect(() => world.do('ReplaceRid', { deviceId: device, ptId: second })).toThrow('bug')
    expect(world.do('IoasIovaRanges', { ioasId: ioas }).totalCount).toBe(1)
  })

  it('reserves nothing when the driver refuses', () => {
    const world = new World()
    const [ioas, device] = [world.ioas(), world.bind('arm')]
    const ptId = world.paging(device, ioas)
    world.machine.failPoint = (what) => {
      if (what === 'set') throw new Refusal('EINVAL', 'injected')
    }
    expect(world.no('AttachRid', { deviceId: device, ptId })).toBe('EINVAL')
    expect(world.do('IoasIovaRanges', { ioasId: ioas }).totalCount).toBe(1)
    expect(world.do('GetDevice', { deviceId: device }).attachments).toEqual([])
  })

  it('lets other calls on the device meet EBUSY until the hardware has it', async () => {
    const world = new World()
    const [ioas, device] = [world.ioas(), world.bind('arm')]
    world.machine.deferred = []
    const reply = world.begin('AttachRid', { deviceId: device, ptId: ioas })
    expect(world.no('DetachRid', { deviceId: device })).toBe('EBUSY')
    expect(world.objects()).toEqual([`${ioas}:1`, `${device}:4`])
    await world.machine.finish()
    expect(await reply).toEqual({ domainId: 3 })
    expect(world.objects()).toEqual([`${ioas}:1`, `${device}:4`, '3:2'])
  })
})

describe('attaching a PASID', () => {
  it('needs domains made with PASID, on it and on the RID', () => {
    const world = new World()
    const [ioas, device] = [world.ioas(), world.bind('arm')]
    const [plain, fit] = [world.paging(device, ioas), world.paging(device, ioas, PASID)]
    const attach = (pasid: number, ptId: number) => world.no('AttachPasid', { deviceId: device, pasid, ptId })
    expect(attach(3, plain)).toBe('EINVAL')
    expect(attach(3, ioas)).toBe('EINVAL')
    expect(attach(0, fit)).toBe('EINVAL')
    expect(attach(2 ** 31, 99)).toBe('ENOSPC')
    expect(attach(256, fit)).toBe('EINVAL')
    world.do('AttachPasid', { deviceId: device, pasid: 255, ptId: fit })
    expect(attach(255, fit)).toBe('EBUSY')
    expect(world.no('AttachRid', { deviceId: device, ptId: plain })).toBe('EINVAL')
    world.do('AttachRid', { deviceId: device, ptId: fit })
    expect(world.no('ReplaceRid', { deviceId: device, ptId: plain })).toBe('EINVAL')
    world.do('DetachPasid', { deviceId: device, pasid: 255 })
    world.do('DetachPasid', { deviceId: device, pasid: 254 })
    world.do('ReplaceRid', { deviceId: device, ptId: plain })
    expect(attach(3, fit)).toBe('EINVAL')
    expect(world.no('ReplacePasid', { deviceId: device, pasid: 3, ptId: fit })).toBe('EINVAL')
  })

  it('takes a user domain on VT-d, and on SMMUv3 names the RID', () => {
    const world = new World()
    const [ioas, intel, arm] = [world.ioas(), world.bind('intel'), world.bind('arm')]
    const first = vtdUser(world, intel, ioas)
    world.do('AttachPasid', { deviceId: intel, pasid: 5, ptId: first })
    world.do('AttachPasid', { deviceId: intel, pasid: 6, ptId: first })
    world.do('AttachRid', { deviceId: intel, ptId: first })
    const refusal = world.refusal('AttachPasid', { deviceId: arm, pasid: 5, ptId: smmuUser(world, arm, world.ioas()) })
    expect([refusal.name, refusal.message.includes('attach it to the RID')]).toEqual(['EINVAL', true])
  })

  it('is EINVAL on a device without PASIDs', () => {
    const world = new World()
    const device = world.bind('arm2')
    const ptId = world.paging(device, world.ioas(), PASID)
    expect(world.refusal('AttachPasid', { deviceId: device, pasid: 1, ptId }).message).toBe('the device has no PASIDs')
  })
})

describe('what a device authorises', () => {
  it('is EPERM for the RID of a device bound PASID_ONLY, and for a domain that takes it whole', () => {
    const world = new World()
    const [ioas, device] = [world.ioas(), world.bind('arm', PASID_ONLY)]
    expect(world.no('AttachRid', { deviceId: device, ptId: ioas })).toBe('EPERM')
    const user = smmuUser(world, device, ioas)
    expect(world.no('AttachPasid', { deviceId: device, pasid: 4, ptId: user })).toBe('EPERM')
    world.do('AttachPasid', { deviceId: device, pasid: 4, ptId: world.paging(device, ioas, PASID) })
  })

  it('gives a mediated device one slot', () => {
    const world = new World()
    const [ioas, device] = [world.ioas(), world.bind('arm/mdev5')]
    const fit = world.paging(device, ioas, PASID)
    expect(world.no('AttachRid', { deviceId: device, ptId: ioas })).toBe('EINVAL')
    expect(world.no('AttachPasid', { deviceId: device, pasid: 6, ptId: fit })).toBe('EINVAL')
    const refusal = world.refusal('AttachPasid', {
      deviceId: device,
      pasid: 5,
      ptId: smmuUser(world, device, world.ioas()),
    })
    expect([refusal.name, refusal.message.includes('one PASID of arm')]).toEqual(['EPERM', true])
    world.do('AttachPasid', { deviceId: device, pasid: 5, ptId: fit })
    expect(world.do('GetHwInfo', { deviceId: device }).userDomainModel).toBe(0)
    const child = world.bind('intel/mdev5')
    world.do('AttachPasid', { deviceId: child, pasid: 5, ptId: vtdUser(world, child, world.ioas()) })
  })

  it('keeps parent and child apart', () => {
    const world = new World()
    expect(world.no('BindDevice', { deviceName: 'arm/mdev5', grant: WHOLE })).toBe('EPERM')
    const child = world.bind('arm/mdev5')
    const other = world.open().context
    expect(world.no('BindDevice', { deviceName: 'arm' }, other)).toBe('EBUSY')
    const named = world.open({ label: 'nightly' })
    world.do('BindDevice', { deviceName: 'mock' }, named.context)
    const told = world.refusal('BindDevice', { deviceName: 'mock' }, other)
    expect(told.message).toContain(`context ${named.contextNumber}, "nightly", has bound mock`)
    expect(told.context).toMatchObject({ context_number: named.contextNumber, label: 'nightly' })
    const stranger = world.open({}, { uid: 1001 }).context
    const peer = { uid: 1001 }
    const bind = () => world.core.call(peer, HANDLERS.BindDevice, { context: stranger, deviceName: 'mock', grant: 0 })
    expect(bind).toThrow('another user has bound mock')
    const { deviceId } = world.do('BindDevice', { deviceName: 'arm', grant: PASID_ONLY }, other)
    const { ioasId } = world.do('CreateIoas', {}, other)
    const { domainId } = world.do('CreatePagingDomain', { deviceId, ioasId, flags: PASID }, other)
    expect(world.no('AttachPasid', { deviceId, pasid: 5, ptId: domainId }, other)).toBe('EBUSY')
    world.do('UnbindDevice', { deviceId: child })
    world.do('AttachPasid', { deviceId, pasid: 5, ptId: domainId }, other)
    expect(world.no('BindDevice', { deviceName: 'arm/mdev5' })).toBe('EBUSY')
    world.do('UnbindDevice', { deviceId }, other)
    world.bind('arm', WHOLE)
    expect(world.no('BindDevice', { deviceName: 'arm/mdev5' })).toBe('EBUSY')
  })

  it('gives a device to one context', () => {
    const world = new World()
    world.bind('arm')
    expect(world.no('BindDevice', { deviceName: 'arm' })).toBe('EINVAL')
    expect(world.no('BindDevice', { deviceName: 'arm' }, world.open().context)).toBe('EBUSY')
    expect(world.no('BindDevice', { deviceName: 'nothing' })).toBe('ENODEV')
    expect(world.no('BindDevice', { deviceName: 'arm2', grant: 7 })).toBe('EINVAL')
    expect(world.no('BindDevice', { deviceName: 'arm2', tokenUuid: new Uint8Array(16) })).toBe('EINVAL')
    const bound = world.do('ListDevices').devices.filter((device) => device.bound)
    expect(bound.map(({ name, deviceId }) => [name, deviceId])).toEqual([['arm', 1]])
  })
})

describe('GetHwInfo', () => {
  it('tells raw registers, capabilities, and how user domains bind', () => {
    const world = new World()
    const [arm, intel] = [world.bind('arm'), world.bind('intel')]
    expect(world.do('GetHwInfo', { deviceId: arm })).toMatchObject({
      type: 2,
      smmuv3: { iidr: 7, aidr: 8 },
      maxPasidLog2: 8,
      userDomainModel: 2,
      capabilities: 8n,
    })
    const vtd = world.do('GetHwInfo', { deviceId: intel, requestedType: 1 })
    expect([vtd.vtd?.capReg, vtd.userDomainModel]).toEqual([2n ** 63n + 1n, 1])
    expect(world.no('GetHwInfo', { deviceId: intel, requestedType: 2 })).toBe('EOPNOTSUPP')
  })
})
