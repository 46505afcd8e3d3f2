/** The ioctls of a VFIO device file: binding, attaching, detaching. [uAPI VFIO_DEVICE_*] */

import { beforeEach, describe, expect, it } from 'vitest'
import { Door, join, memory, word, words } from './door.js'

const BIND = 0x3b76
const ATTACH = 0x3b77
const DETACH = 0x3b78
const RESET = 0x3b6f
const GET_INFO = 0x3b6b
const NOT_OPEN = 77
const ATTACH_PASID = 1

let door: Door
let file: number

beforeEach(() => {
  door = new Door()
  file = door.handle('OpenHandle', { path: '/dev/vfio/devices/intel' }).handle
})

const on = (cmd: number, arg: Uint8Array): string => door.errno(cmd, arg, [], file)
const bind = (argsz = 16, flags = 0, iommufd = 0): Uint8Array => words(argsz, flags, iommufd, 0, 0, 0)
const attach = (ptId: number, argsz = 12): Uint8Array => words(argsz, 0, ptId, 0)
const attachPasid = (ptId: number, pasid: number): Uint8Array => words(16, ATTACH_PASID, ptId, pasid)
const detach = (argsz = 8): Uint8Array => words(argsz, 0, 0)
const detachPasid = (pasid: number): Uint8Array => words(12, ATTACH_PASID, pasid)

/** Binds, and answers the device's id. */
const bound = (handle = file): number => word(door.done(BIND, bind(), [], handle), 12)
/** A domain that may be on PASIDs. */
const compatible = (deviceId: number, ioasId: number): number => door.paging(deviceId, ioasId, 8)

describe('a device file', () => {
  it('answers EINVAL to everything before it is bound, unknown numbers and short structs too', () => {
    for (const cmd of [ATTACH, DETACH, RESET, GET_INFO, 0x3b80, 0]) expect(on(cmd, words(0))).toBe('EINVAL')
  })

  it('answers ENOTTY to unknown numbers once it is bound', () => {
    bound()
    expect(on(0x3b80, words(8, 1))).toBe('ENOTTY')
    expect(on(0xc0083b77, attach(1))).toBe('ENOTTY')
  })

  it('says that it can be reset, and has no regions and interrupts', () => {
    bound()
    expect(door.done(GET_INFO, words(16, 9, 9, 9, 9, 9), [], file)).toEqual(words(16, 1, 0, 0, 9, 9))
    expect(door.done(GET_INFO, words(40, 9, 9, 9, 9, 9), [], file)).toEqual(words(40, 1, 0, 0, 0, 9))
    expect(on(GET_INFO, words(15, 0, 0, 0))).toBe('EINVAL')
    expect(on(RESET, words())).toBe('ok')
  })
})

describe('VFIO_DEVICE_BIND_IOMMUFD', () => {
  it('writes the device’s id, and nothing else', () => {
    door.newIoas()
    expect(door.done(BIND, words(16, 0, 0, 7, 8, 9), [], file)).toEqual(words(16, 0, 0, 2, 8, 9))
    expect(door.do('GetDevice', { deviceId: 2 }).device.name).toBe('intel')
  })

  it('looks at size, tail, flags and descriptor sign in this order, with VFIO’s EINVAL', () => {
    expect(on(BIND, new Uint8Array(2))).toBe('EFAULT')
    expect(on(BIND, bind(15))).toBe('EINVAL')
    expect(on(BIND, bind(24).subarray(0, 20))).toBe('EFAULT')
    expect(on(BIND, join(bind(28, 2), words(1)))).toBe('E2BIG')
    expect(on(BIND, join(bind(28, 2), words(0)))).toBe('EINVAL')
    expect(on(BIND, bind(16, 2))).toBe('EINVAL')
    expect(on(BIND, bind(16, 0, -1))).toBe('EINVAL')
    expect(on(BIND, join(bind(28), words(0)))).toBe('ok')
  })

  it('is EBADF for what is not open, EBADFD for another file, and takes any handle of /dev/iommu', () => {
    const region = door.handle('OpenHandle', { regionId: door.region() }).handle
    const { handle } = door.handle('OpenHandle', { path: '/dev/iommu' })
    expect(on(BIND, bind(16, 0, NOT_OPEN))).toBe('EBADF')
    expect(on(BIND, bind(16, 0, region))).toBe('EBADFD')
    expect(on(BIND, bind(16, 0, file))).toBe('EBADFD')
    expect(on(BIND, bind(16, 0, handle))).toBe('ok')
  })

  it('looks at the token before the descriptor, and for a token that no device asks for says EINVAL', () => {
    const token = (at: number): Uint8Array => words(24, 1, NOT_OPEN, 0, at, 0)
    expect(on(BIND, bind(16, 1, NOT_OPEN))).toBe('EFAULT')
    expect(on(BIND, token(0x5000))).toBe('EFAULT')
    expect(door.errno(BIND, token(0x5000), [memory(0x5000n, new Uint8Array(16))], file)).toBe('EINVAL')
  })

  it('is EINVAL when bound already, before token and descriptor are looked at', () => {
    bound()
    expect(on(BIND, bind())).toBe('EINVAL')
    expect(on(BIND, bind(16, 1, NOT_OPEN))).toBe('EINVAL')
    expect(on(BIND, bind(8))).toBe('EINVAL')
  })

  it('is EINVAL while the device is open elsewhere, in this context or in another', () => {
    bound()
    const again = door.handle('OpenHandle', { path: '/dev/vfio/devices/intel' }).handle
    expect(door.errno(BIND, bind(), [], again)).toBe('EINVAL')
    expect(door.errno(BIND, bind(16, 0, NOT_OPEN), [], again)).toBe('EBADF')
    const other = door.open().context
    const { handle } = door.handle('OpenHandle', { path: '/dev/vfio/devices/intel' }, other)
    const { refusal } = door.handle('Ioctl', { handle, cmd: BIND, arg: bind(), memory: [] }, other)
    expect([refusal?.name, refusal?.reason]).toEqual([
      'EINVAL',
      'intel is bound by another context, through another file',
    ])
  })

  it('can be done again after the file was closed, which unbinds: the id is free at once', () => {
    expect(bound()).toBe(1)
    door.handle('CloseHandle', { handle: file })
    expect(door.objects()).toEqual([])
    file = door.handle('OpenHandle', { path: '/dev/vfio/devices/intel' }).handle
    expect(bound()).toBe(1)
  })

  it('is over when the typed call unbinds, and the file can be bound again', () => {
    door.do('UnbindDevice', { deviceId: bound() })
    expect(on(ATTACH, attach(1))).toBe('EINVAL')
    expect(bound()).toBe(1)
  })
})

describe('VFIO_DEVICE_ATTACH_IOMMUFD_PT', () => {
  it('writes the id of the domain that is attached, and replaces what was there', () => {
    const ioas = door.newIoas()
    const device = bound()
    expect(door.done(ATTACH, attach(ioas), [], file)).toEqual(attach(3))
    const manual = door.paging(device, ioas)
    expect(door.done(ATTACH, attach(manual), [], file)).toEqual(attach(manual))
    expect(door.do('GetDevice', { deviceId: device }).attachments).toEqual([{ pasid: 0, domainId: manual }])
    // The automatic domain went with its last attachment.
    expect(on(ATTACH, attach(3))).toBe('ENOENT')
  })

  it('looks at size, flags and the PASID’s size in this order, and ignores what lies beyond', () => {
    bound()
    const ioas = door.newIoas()
    expect(on(ATTACH, words(16, 0))).toBe('EFAULT')
    expect(on(ATTACH, words(11, 2, ioas, 0))).toBe('EINVAL')
    expect(on(ATTACH, words(12, 2, 99, 0))).toBe('EINVAL')
    expect(on(ATTACH, words(15, 1, 99, 0))).toBe('EINVAL')
    expect(on(ATTACH, words(16, 1, 99))).toBe('EFAULT')
    expect(on(ATTACH, attach(99))).toBe('ENOENT')
    expect(on(ATTACH, words(20, 0, ioas, 9, 9))).toBe('ok')
  })

  it('is ENOSPC for a PASID of 2^31 or more, before pt_id is looked at', () => {
    bound()
    expect(on(ATTACH, attachPasid(99, 2 ** 31))).toBe('ENOSPC')
    expect(on(ATTACH, attachPasid(99, 2 ** 31 - 1))).toBe('ENOENT')
  })

  it('fills and replaces a PASID, with a domain made for PASIDs alone', () => {
    const ioas = door.newIoas()
    const device = bound()
    const [one, two] = [compatible(device, ioas), compatible(device, ioas)]
    expect(on(ATTACH, attachPasid(ioas, 3))).toBe('EINVAL')
    expect(door.done(ATTACH, attachPasid(one, 3), [], file)).toEqual(attachPasid(one, 3))
    expect(door.done(ATTACH, attachPasid(two, 3), [], file)).toEqual(attachPasid(two, 3))
    expect(door.do('GetDevice', { deviceId: device }).attachments).toEqual([{ pasid: 3, domainId: two }])
  })

  it('takes any PASID of a device that has none, as nothing comes of it, unless the domains forbid it', () => {
    const ioas = door.newIoas()
    file = door.handle('OpenHandle', { path: '/dev/vfio/devices/arm2' }).handle
    const device = bound()
    const [plain, one, two] = [door.paging(device, ioas), compatible(device, ioas), compatible(device, ioas)]
    expect(on(ATTACH, attachPasid(plain, 5))).toBe('EINVAL')
    door.done(ATTACH, attachPasid(one, 5), [], file)
    door.done(ATTACH, attachPasid(two, 5), [], file)
    expect(door.do('GetDevice', { deviceId: device }).attachments).toEqual([{ pasid: 5, domainId: two }])
    expect(on(ATTACH, attach(plain))).toBe('EINVAL')
    expect(on(ATTACH, attach(one))).toBe('ok')
    // No hardware has heard of it.
    expect(door.machine.log.filter((entry) => /^(set|clear) .*:5$/.test(entry))).toEqual([])
    expect(on(DETACH, detachPasid(5))).toBe('ok')
    expect(door.do('Destroy', { objectId: two })).toEqual({})
    // Bound by the typed call, it says that it has none.
    door.do('UnbindDevice', { deviceId: device })
    expect(door.no('AttachPasid', { deviceId: door.bind('arm2'), pasid: 5, ptId: one })).toBe('EINVAL')
  })

  it('takes PASID 0 for the RID’s own slot, which it keeps apart from the RID', () => {
    const ioas = door.newIoas()
    const device = bound()
    const [one, two] = [door.paging(device, ioas), door.paging(device, ioas)]
    const attachments = () => door.do('GetDevice', { deviceId: device }).attachments
    expect(on(ATTACH, attach(one))).toBe('ok')
    expect(on(ATTACH, attachPasid(two, 0))).toBe('EBUSY')
    expect(on(DETACH, detachPasid(0))).toBe('ok')
    expect(attachments()).toEqual([{ pasid: 0, domainId: one }])
    expect(on(DETACH, detach())).toBe('ok')
    expect(on(ATTACH, attachPasid(one, 0))).toBe('ok')
    expect(on(ATTACH, attach(two))).toBe('EBUSY')
    expect(on(DETACH, detach())).toBe('ok')
    expect(attachments()).toEqual([{ pasid: 0, domainId: one }])
    expect(on(ATTACH, attachPasid(two, 0))).toBe('ok')
    expect(attachments()).toEqual([{ pasid: 0, domainId: two }])
    expect(on(DETACH, detachPasid(0))).toBe('ok')
    expect(attachments()).toEqual([])
    expect(on(ATTACH, attach(one))).toBe('ok')
  })

  it('puts roots of a window on PASIDs, PASID 0 among them, while the RID has the window', () => {
    file = door.handle('OpenHandle', { path: '/dev/vfio/devices/arm' }).handle
    const device = bound()
    const parentDomainId = door.paging(device, door.newIoas(), 1)
    const { windowId } = door.do('CreateWindow', { parentDomainId, first: 0n, last: 0xfffn })
    const fields = { ttb0: 0n, t0sz: 16, tg0: 0, ir0: 1, or0: 1, sh0: 3, ips: 5, mair: 0xffn }
    const root = { deviceId: device, windowId, smmuv3Pgd: { ...fields, ha: false, hd: false } }
    const [one, two] = [door.do('CreateUserDomain', root).domainId, door.do('CreateUserDomain', root).domainId]
    const attachments = () =>
      door.do('GetDevice', { deviceId: device }).attachments.map(({ pasid, domainId }) => [pasid, domainId])
    expect(on(ATTACH, attachPasid(one, 5))).toBe('EINVAL')
    expect(word(door.done(ATTACH, attach(windowId), [], file), 8)).toBe(windowId)
    for (const ptId of [one, two]) {
      expect(on(ATTACH, attachPasid(ptId, 5))).toBe('ok')
      expect(on(ATTACH, attachPasid(ptId, 0))).toBe('ok')
      expect(attachments()).toEqual([
        [0, ptId],
        [5, ptId],
      ])
    }
    expect(on(DETACH, detachPasid(0))).toBe('ok')
    expect(attachments()).toEqual([
      [0, windowId],
      [5, two],
    ])
    expect(on(DETACH, detach())).toBe('ok')
    expect(on(DETACH, detachPasid(0))).toBe('ok')
    expect(attachments()).toEqual([[5, two]])
  })
})

describe('VFIO_DEVICE_DETACH_IOMMUFD_PT', () => {
  it('succeeds where nothing is attached, with any PASID', () => {
    bound()
    expect(on(DETACH, detach())).toBe('ok')
    for (const pasid of [0, 5, 2 ** 20, 2 ** 31, 0xffffffff]) expect(on(DETACH, detachPasid(pasid))).toBe('ok')
  })

  it('looks at size, flags and the PASID’s size in this order', () => {
    bound()
    expect(on(DETACH, words(8))).toBe('EFAULT')
    expect(on(DETACH, words(7, 2, 0))).toBe('EINVAL')
    expect(on(DETACH, words(8, 2, 0))).toBe('EINVAL')
    expect(on(DETACH, words(11, 1, 0))).toBe('EINVAL')
    expect(on(DETACH, words(12, 1))).toBe('EFAULT')
    expect(on(DETACH, words(16, 0, 0, 0))).toBe('ok')
  })

  it('empties one PASID, or the RID', () => {
    const ioas = door.newIoas()
    const device = bound()
    const domain = compatible(device, ioas)
    for (const arg of [attach(domain), attachPasid(domain, 3), attachPasid(domain, 4)]) door.done(ATTACH, arg, [], file)
    door.done(DETACH, detachPasid(3), [], file)
    door.done(DETACH, detach(), [], file)
    expect(door.do('GetDevice', { deviceId: device }).attachments).toEqual([{ pasid: 4, domainId: domain }])
  })
})

describe('closing a bound device file', () => {
  it('detaches the RID and every PASID, and the device is free for others', () => {
    const ioas = door.newIoas()
    const device = bound()
    const domain = compatible(device, ioas)
    for (const arg of [attach(domain), attachPasid(domain, 3)]) door.done(ATTACH, arg, [], file)
    door.handle('CloseHandle', { handle: file })
    expect(door.leftovers()).toEqual([`1 things of the driver`])
    expect(door.do('Destroy', { objectId: domain })).toEqual({})
    expect(door.leftovers()).toEqual([])
  })
})
