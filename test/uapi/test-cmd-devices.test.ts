/** The self-test's operations on devices. Numbers and offsets are spelled by hand. [uAPI struct iommu_test_cmd] */

import { beforeEach, describe, expect, it } from 'vitest'
import { SelftestDoor, TEST } from '../selftest/door.js'
import { bytesOf, Door, memory, word, words } from './door.js'

const { test } = SelftestDoor
const NO_DIRTY = 1
const PASID = 4
const NEST_PARENT = 1
const ALLOC_PASID = 8

let door: SelftestDoor

beforeEach(() => {
  door = new SelftestDoor()
})

/** MOCK_DOMAIN_FLAGS: [stdev, hwpt, idev]. */
function newDevice(ptId: number, flags = 0): readonly [number, number, number] {
  const after = door.done(TEST, test(12, ptId, words(0, 0, 0, flags)))
  return [word(after, 16), word(after, 20), word(after, 24)]
}

/** HWPT_ALLOC of an IOAS or a parent; with a word it is nested. */
function newHwpt(deviceId: number, ptId: number, flags: number, iotlb?: number): number {
  const data = iotlb === undefined ? words(0, 0) : words(0xdead, 4)
  const arg = new Uint8Array([
    ...words(48, flags, deviceId, ptId, 0, 0),
    ...data,
    ...bytesOf([0x5000, 8]),
    ...words(0, 0),
  ])
  return word(door.done(0x3b89, arg, [memory(0x5000n, words(iotlb ?? 0))]), 16)
}

const destroyed = (id: number): string => door.errno(0x3b80, words(8, id))

describe('IOMMU_TEST_CMD', () => {
  it('is no command of a daemon without --test-device, and there extends the table', () => {
    const plain = new Door()
    expect(plain.errno(TEST, new Uint8Array(0))).toBe('ENOTTY')
    expect(plain.errno(TEST, test(9, 0, words(12)))).toBe('ENOTTY')
    expect(door.errno(TEST, new Uint8Array(0))).toBe('EFAULT')
    // A hole of the table: the size is read first.
    expect(door.errno(0x3b95, new Uint8Array(0))).toBe('EFAULT')
    expect(door.errno(0x3b95, words(8, 0))).toBe('ENOTTY')
    expect(door.errno(0x3ba1, new Uint8Array(0))).toBe('ENOTTY')
  })

  it('is at least 68 bytes long, and 72 here', () => {
    const arg = test(9, 0, words(12))
    arg.set(words(67))
    expect(door.errno(TEST, arg)).toBe('EINVAL')
    arg.set(words(68))
    expect(door.errno(TEST, arg)).toBe('ok')
    const longer = new Uint8Array([...test(9, 0, words(12)), 1])
    longer.set(words(73))
    expect(door.errno(TEST, longer)).toBe('E2BIG')
  })

  it('has 23 operations, and looks neither at __reserved nor at last', () => {
    expect([0, 24, 0xffffffff].map((op) => door.errno(TEST, test(op, 0)))).toEqual(Array(3).fill('EOPNOTSUPP'))
    const arg = test(9, 0, words(12))
    arg.set(words(7), 12)
    arg.set(words(7), 64)
    expect(door.errno(TEST, arg)).toBe('ok')
  })

  it('takes no smaller limit of temporary memory than 12 bytes', () => {
    expect([11, 12].map((limit) => door.errno(TEST, test(9, 0, words(limit))))).toEqual(['EINVAL', 'ok'])
  })
})

describe('a test device', () => {
  it('takes the lowest ids in the order object, device, domain', () => {
    const ioas = door.newIoas()
    expect(newDevice(ioas)).toEqual([2, 4, 3])
    expect(newDevice(ioas)).toEqual([5, 4, 6])
    const after = door.done(TEST, test(2, ioas))
    expect([16, 20, 24, 28].map((at) => word(after, at))).toEqual([7, 4, 8, 0])
  })

  it('leaves nothing where it is refused', () => {
    const ioas = door.newIoas()
    const before = door.objects()
    expect(door.errno(TEST, test(12, ioas, words(0, 0, 0, 2)))).toBe('EINVAL')
    expect(door.errno(TEST, test(2, 99))).toBe('ENOENT')
    const [, hwpt, idev] = newDevice(ioas)
    expect(door.errno(TEST, test(2, idev))).toBe('EINVAL')
    const dirty = newHwpt(idev, ioas, 2)
    expect(door.errno(TEST, test(12, dirty, words(0, 0, 0, NO_DIRTY)))).toBe('EINVAL')
    expect(destroyed(dirty)).toBe('ok')
    expect([hwpt, door.objects().length]).toEqual([4, before.length + 3])
    expect(door.machine.devices).toHaveLength(1)
  })

  it('is detached, unbound and gone when its object is destroyed', () => {
    const ioas = door.newIoas()
    const [stdev, hwpt, idev] = newDevice(ioas)
    expect([idev, hwpt, ioas].map(destroyed)).toEqual(['EBUSY', 'EBUSY', 'EBUSY'])
    expect(destroyed(stdev)).toBe('ok')
    expect([idev, hwpt, ioas].map(destroyed)).toEqual(['ENOENT', 'ENOENT', 'ok'])
    expect(door.machine.devices).toEqual([])
    expect(door.objects()).toEqual([])
  })

  it('is unbound by nothing else', () => {
    const [, , deviceId] = newDevice(door.newIoas())
    expect(door.no('UnbindDevice', { deviceId })).toBe('EBUSY')
  })

  it('goes with its context', () => {
    newDevice(door.newIoas())
    door.do('CloseContext')
    expect(door.machine.devices).toEqual([])
  })

  it('leaves a vDEVICE’s id behind, which is never used again', () => {
    const ioas = door.newIoas()
    const [stdev, , idev] = newDevice(ioas)
    const parent = newHwpt(idev, ioas, NEST_PARENT)
    const viommu = word(door.done(0x3b90, words(40, 0, 0xdeadbeef, idev, parent, 0, 0, 0, 0, 0)), 20)
    const vdevice = word(door.done(0x3b91, new Uint8Array([...words(24, viommu, idev, 0), ...bytesOf([9, 8])])), 12)
    expect(destroyed(stdev)).toBe('ok')
    expect(destroyed(vdevice)).toBe('ENOENT')
    expect([viommu, parent, ioas].map(destroyed)).toEqual(['ok', 'ok', 'ok'])
    const ids = Array.from({ length: vdevice }, () => door.newIoas())
    expect(ids).not.toContain(vdevice)
  })
})

describe('another context', () => {
  it('sees no test device, and cannot name one', () => {
    const [, , idev] = newDevice(door.newIoas())
    const token = door.open().context
    expect(door.do('ListDevices').devices.map(({ name, deviceId }) => [name, deviceId])).toEqual([
      ['iommufd_mock0', idev],
    ])
    expect(door.do('ListDevices', {}, token).devices).toEqual([])
    expect(door.no('BindDevice', { deviceName: 'iommufd_mock0' }, token)).toBe('ENODEV')
    expect(door.do('GetServerInfo').units).toMatchObject([{ name: 'selftest0', type: 0, deviceNames: [] }])
  })
})

describe('a test device’s file', () => {
  it('is its object: there is no other', () => {
    const [stdev, , idev] = newDevice(door.newIoas())
    const open = (request: object) => () => door.handle('OpenHandle', request)
    expect(open({ path: '/dev/vfio/devices/iommufd_mock0' })).toThrow(/no|there are/)
    expect(open({ objectId: idev })).toThrow(/no file/)
    expect(open({ objectId: stdev })).toThrow(/no file/)
  })
})

describe('MOCK_DOMAIN_REPLACE', () => {
  it('moves the RID and tells the domain', () => {
    const [first, second] = [door.newIoas(), door.newIoas()]
    const [stdev, hwpt] = newDevice(first)
    const after = door.done(TEST, test(10, stdev, words(second)))
    expect(word(after, 16)).not.toBe(hwpt)
    expect(destroyed(hwpt)).toBe('ENOENT')
    expect(door.errno(TEST, test(10, stdev, words(99)))).toBe('ENOENT')
    expect(door.errno(TEST, test(10, first, words(second)))).toBe('ENOENT')
  })
})

describe('a PASID of a test device', () => {
  const attach = (stdev: number, pasid: number, pt: number) => door.errno(TEST, test(18, stdev, words(pasid, pt)))
  const replace = (stdev: number, pasid: number, pt: number) => door.errno(TEST, test(19, stdev, words(pasid, pt)))
  const check = (stdev: number, pasid: number, pt: number) => door.errno(TEST, test(21, stdev, words(pasid, pt)))

  it('is attached, replaced, looked at and detached', () => {
    const ioas = door.newIoas()
    const [stdev, auto, idev] = newDevice(ioas, PASID)
    const parent = newHwpt(idev, ioas, NEST_PARENT | ALLOC_PASID)
    const [one, two] = [newHwpt(idev, parent, ALLOC_PASID, 1), newHwpt(idev, parent, ALLOC_PASID, 2)]
    // The RID has a domain without the flag.
    expect(attach(stdev, 5, one)).toBe('EINVAL')
    expect(door.errno(TEST, test(10, stdev, words(parent)))).toBe('ok')
    expect([attach(stdev, 5, ioas), attach(stdev, 5, one), attach(stdev, 5, one)]).toEqual(['EINVAL', 'ok', 'EBUSY'])
    expect([replace(stdev, 6, two), replace(stdev, 5, two), attach(stdev, 2 ** 20, one)]).toEqual([
      'EINVAL',
      'ok',
      'EINVAL',
    ])
    expect([check(stdev, 5, two), check(stdev, 5, one), check(stdev, 5, 0)]).toEqual(['ok', 'EINVAL', 'EINVAL'])
    expect([check(stdev, 6, 0), check(stdev, 0, parent)]).toEqual(['ok', 'ok'])
    expect([check(stdev, 5, auto), check(stdev, 5, ioas), check(auto, 5, two)]).toEqual(['ENOENT', 'EINVAL', 'ENOENT'])
    expect([5, 5, 77].map((pasid) => door.errno(TEST, test(20, stdev, words(pasid))))).toEqual(['ok', 'ok', 'ok'])
    expect(check(stdev, 5, 0)).toBe('ok')
  })

  it('is EINVAL on a device without them', () => {
    const ioas = door.newIoas()
    const [stdev, , idev] = newDevice(ioas)
    const hwpt = newHwpt(idev, ioas, ALLOC_PASID)
    expect(door.errno(TEST, test(10, stdev, words(hwpt)))).toBe('ok')
    expect(attach(stdev, 5, hwpt)).toBe('EINVAL')
  })
})

describe('caches of the self-test unit', () => {
  it('are compared word by word', () => {
    const ioas = door.newIoas()
    const [, auto, idev] = newDevice(ioas)
    const user = newHwpt(idev, newHwpt(idev, ioas, NEST_PARENT), 0, 0x1234)
    const iotlb = (id: number, index: number, value: number) => door.errno(TEST, test(14, id, words(index, value)))
    expect([iotlb(user, 3, 0x1234), iotlb(user, 3, 0x1235), iotlb(user, 4, 0x1234)]).toEqual(['ok', 'EINVAL', 'EINVAL'])
    expect([iotlb(auto, 0, 0), iotlb(99, 0, 0)]).toEqual(['ENOENT', 'ENOENT'])
    const cache = (id: number, index: number, value: number) => door.errno(TEST, test(16, id, words(index, value)))
    expect([cache(idev, 0, 0xbaddad), cache(idev, 0, 0), cache(idev, 4, 0xbaddad)]).toEqual(['ok', 'EINVAL', 'EINVAL'])
    expect(cache(user, 0, 0xbaddad)).toBe('ENOENT')
  })
})

describe('a page fault of a test device', () => {
  it('that nobody handles is no error', () => {
    const [, hwpt, idev] = newDevice(door.newIoas())
    const fault = (id: number) => door.errno(TEST, test(15, id, words(id, 0, 1, 1), bytesOf([0x1000, 8])))
    expect([fault(idev), fault(hwpt)]).toEqual(['ok', 'ENOENT'])
  })
})
