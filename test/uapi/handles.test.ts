/** Open files: numbers, read, write, poll, mmap, close, and what keeps what alive. */

import { describe, expect, it } from 'vitest'
import { Refusal } from '../../server/core/refusal.js'
import { SelftestDoor } from '../selftest/door.js'
import { bytesOf, Door, join, long, memory, word, words } from './door.js'

const IN = 1
const OUT = 4
const NVAL = 32
const RDNORM = 64
const WRNORM = 256
const NEST_PARENT = 1
const FAULT_ID_VALID = 4
const DATA = 0x2000_0000n

const no = (action: () => unknown): string => {
  try {
    action()
  } catch (error) {
    if (error instanceof Refusal) return error.name
    throw error
  }
  return 'ok'
}

const open = (door: Door, path: string): number => door.handle('OpenHandle', { path }).handle
const close = (door: Door, handle: number): object => door.handle('CloseHandle', { handle })
const poll = (door: Door, ...targets: readonly (readonly [handle: number, events: number])[]): readonly number[] => {
  const asked = targets.map(([handle, events]) => ({ handle, events }))
  return [...door.handle('PollHandle', { targets: asked, waitMs: 0 }).revents]
}
const read = (door: Door, handle: number, count: number): Uint8Array =>
  door.handle('ReadHandle', { handle, count }).data
const write = (door: Door, handle: number, data: Uint8Array): number =>
  door.handle('WriteHandle', { handle, data }).count
const handlesOf = (door: Door): bigint | undefined =>
  door.do('GetContext').quotas.find(({ name }) => name === 'handles')?.used

describe('a handle', () => {
  it('is the lowest free number from 1; 0 is the context’s own', () => {
    const door = new Door()
    expect([open(door, '/dev/iommu'), open(door, '/dev/vfio/devices/arm'), open(door, '/dev/iommu')]).toEqual([1, 2, 3])
    close(door, 2)
    close(door, 1)
    expect(open(door, '/dev/vfio/devices/intel')).toBe(1)
    expect(handlesOf(door)).toBe(2n)
    expect(no(() => close(door, 2))).toBe('EBADF')
    expect(no(() => close(door, 0))).toBe('EBADF')
    expect(no(() => read(door, 2, 8))).toBe('EBADF')
    expect(no(() => write(door, 2, new Uint8Array(8)))).toBe('EBADF')
    expect(no(() => door.handle('MapHandle', { handle: 2, offset: 0n, length: 0n, protection: 1 }))).toBe('EBADF')
  })

  it('is of one context alone', () => {
    const door = new Door()
    open(door, '/dev/iommu')
    door.token = door.open().context
    expect(no(() => door.ioctl(0x3b81, words(12, 0, 0), [], 1))).toBe('EBADF')
    expect(open(door, '/dev/iommu')).toBe(1)
  })

  it('counts against the quota `handles`, also those that ioctls make', () => {
    const door = new Door()
    for (let i = 0; i < 1024; i++) open(door, '/dev/iommu')
    expect(no(() => open(door, '/dev/iommu'))).toBe('EDQUOT')
    expect(door.errno(0x3b8e, words(16, 0, 0, 0))).toBe('EDQUOT')
    expect(door.objects()).toEqual([])
    close(door, 700)
    const made = door.done(0x3b8e, words(16, 0, 0, 0))
    expect([word(made, 8), word(made, 12)]).toEqual([1, 700])
  })

  it('of /dev/iommu is another one of the same context', () => {
    const door = new Door()
    const handle = open(door, '/dev/iommu')
    expect(word(door.done(0x3b81, words(12, 0, 0), [], handle), 8)).toBe(1)
    expect(door.errno(0x3b80, words(8, 1))).toBe('ok')
  })

  it('of a region is listed with it: the lowest', () => {
    const door = new Door()
    const [first, second] = [door.region(), door.region()]
    const listed = (): readonly number[] => door.do('ListMemoryRegions').regions.map(({ handle }) => handle)
    expect(listed()).toEqual([0, 0])
    const handles = [second, first, second].map((regionId) => door.handle('OpenHandle', { regionId }).handle)
    expect([handles, listed()]).toEqual([
      [1, 2, 3],
      [2, 1],
    ])
    close(door, 1)
    expect(listed()).toEqual([2, 3])
  })

  it('opens what there is, and says what else there would be', () => {
    const door = new Door()
    const deviceId = door.bind('arm')
    const ioas = door.ioas()
    const no = (request: { path?: string; objectId?: number; regionId?: number }): string => {
      try {
        return `handle ${door.handle('OpenHandle', request).handle}`
      } catch (error) {
        return (error as Refusal).name
      }
    }
    expect(no({})).toBe('EINVAL')
    expect(no({ path: '/dev/vfio/devices/nobody' })).toBe('ENOENT')
    expect(no({ path: '/etc/passwd' })).toBe('ENOENT')
    expect(no({ objectId: 77 })).toBe('ENOENT')
    expect(no({ objectId: ioas })).toBe('EINVAL')
    expect(no({ regionId: 1 })).toBe('ENOENT')
    expect(no({ objectId: deviceId })).toBe('handle 1')
    expect(no({ regionId: door.region() })).toBe('handle 2')
  })
})

describe('a file that cannot do something', () => {
  it('answers as the kernel’s: EINVAL to read and write, ENODEV to mmap, ENOTTY to ioctl', () => {
    const door = new Door()
    const regionId = door.region()
    const { handle } = door.handle('OpenHandle', { regionId })
    expect(no(() => read(door, 0, 40))).toBe('EINVAL')
    expect(no(() => write(door, 0, new Uint8Array(8)))).toBe('EINVAL')
    expect(no(() => door.handle('MapHandle', { handle, offset: 0n, length: 4096n, protection: 1 }))).toBe('ENODEV')
    expect(door.errno(0x3b81, words(12, 0, 0), [], handle)).toBe('ENOTTY')
  })

  it('is always ready', () => {
    const door = new Door()
    expect(poll(door, [0, IN | OUT], [0, RDNORM], [5, IN])).toEqual([IN | OUT, RDNORM, NVAL])
  })
})

describe('the file of a device', () => {
  it('unbinds it when it closes: attachments end, its vDEVICE is a tombstone', () => {
    const door = new Door()
    const deviceId = door.bind('arm')
    const ioas = door.ioas()
    const parent = door.paging(deviceId, ioas, NEST_PARENT)
    door.do('AttachRid', { deviceId, ptId: parent })
    const viommuId = door.do('CreateViommu', { type: 1, deviceId, parentDomainId: parent }).viommuId
    const { vdeviceId } = door.do('CreateVdevice', { viommuId, deviceId, virtId: 5n })
    const { handle } = door.handle('OpenHandle', { objectId: deviceId })
    close(door, handle)
    expect(door.core.bound.size).toBe(0)
    expect(door.objects()).toEqual([`${ioas}:1`, `${parent}:2`, `${viommuId}:5`])
    expect(door.ioas()).toBe(deviceId)
    expect(door.ioas()).toBe(vdeviceId + 1)
  })

  it('leaves alone what was never bound, or was unbound by another door', () => {
    const door = new Door()
    const file = open(door, '/dev/vfio/devices/intel')
    const deviceId = door.bind('arm')
    const { handle } = door.handle('OpenHandle', { objectId: deviceId })
    door.do('UnbindDevice', { deviceId })
    const again = door.bind('arm')
    expect(again).toBe(deviceId)
    close(door, handle)
    close(door, file)
    expect(door.objects()).toEqual([`${again}:4`])
  })

  it('is EBUSY to close while a call still changes the device', async () => {
    const door = new Door()
    const [deviceId, ioas] = [door.bind('intel'), door.ioas()]
    const { handle } = door.handle('OpenHandle', { objectId: deviceId })
    door.machine.deferred = []
    const attaching = door.begin('AttachRid', { deviceId, ptId: ioas })
    expect(no(() => close(door, handle))).toBe('EBUSY')
    for (const finish of door.machine.deferred) finish()
    door.machine.deferred = undefined
    await attaching
    close(door, handle)
    expect(door.objects()).toEqual([`${ioas}:1`])
  })
})

describe('a fault queue', () => {
  /** FAULT_QUEUE_ALLOC, and a device whose RID has a domain with it. */
  function waiting() {
    const door = new Door()
    const made = door.done(0x3b8e, words(16, 0, 0, 0))
    const [queue, handle] = [word(made, 8), word(made, 12)]
    const deviceId = door.bind('intel')
    const ioas = door.newIoas()
    const struct = words(48, FAULT_ID_VALID, deviceId, ioas, 0, 0, 0, 0, 0, 0, queue, 0)
    const domain = word(door.done(0x3b89, struct), 16)
    door.do('AttachRid', { deviceId, ptId: domain })
    return { door, queue, handle, deviceId, domain }
  }

  const answers = (door: Door): readonly string[] => door.machine.log.filter((line) => line.startsWith('respond'))

  it('has flags 0, and two outputs; refused it leaves neither', () => {
    const door = new Door()
    expect(door.errno(0x3b8e, words(16, 1, 0, 0))).toBe('EOPNOTSUPP')
    expect(handlesOf(door)).toBe(0n)
    expect(door.done(0x3b8e, words(16, 0, 9, 9))).toEqual(words(16, 0, 1, 1))
    expect(door.done(0x3b8e, words(16, 0, 9, 9))).toEqual(words(16, 0, 2, 2))
  })

  it('is held by each of its open files', () => {
    const door = new Door()
    door.done(0x3b8e, words(16, 0, 0, 0))
    const { handle } = door.handle('OpenHandle', { objectId: 1 })
    close(door, 1)
    expect(door.ioctl(0x3b80, words(8, 1)).refusal?.context['held_by']).toBe('open file of fault queue 1')
    close(door, handle)
    expect(door.errno(0x3b80, words(8, 1))).toBe('ok')
  })

  it('is read in whole groups of 40 bytes a fault, and never waits', () => {
    const { door, handle, deviceId } = waiting()
    expect(read(door, handle, 400)).toEqual(new Uint8Array(0))
    for (const count of [1, 39, 41]) expect(no(() => read(door, handle, count))).toBe('ESPIPE')
    door.machine.fault('intel', { group: 9, access: 3, address: 0xfedc_ba98_7654_3000n })
    door.machine.fault('intel', { group: 10, isLast: false })
    door.machine.fault('intel', { group: 10, access: 1 })
    expect(read(door, handle, 0)).toEqual(new Uint8Array(0))
    // The second group has two faults, and 80 bytes have room for one more.
    const first = join(words(2, deviceId, 0, 9, 3, 0), bytesOf([0xfedc_ba98_7654_3000n, 8]), words(0, 1))
    expect(read(door, handle, 80)).toEqual(first)
    const second = read(door, handle, 120)
    expect([second.length, word(second, 0), word(second, 40), word(second, 36), word(second, 76)]).toEqual([
      80, 0, 2, 2, 2,
    ])
  })

  it('is written answers of 8 bytes, up to the first that is none', () => {
    const { door, handle } = waiting()
    for (const group of [1, 2, 3]) door.machine.fault('intel', { group })
    read(door, handle, 120)
    for (const count of [1, 7, 9]) expect(no(() => write(door, handle, new Uint8Array(count)))).toBe('ESPIPE')
    expect(no(() => write(door, handle, words(1, 2)))).toBe('EINVAL')
    expect(no(() => write(door, handle, words(9, 0)))).toBe('EINVAL')
    expect(answers(door)).toEqual([])
    expect(write(door, handle, words(2, 1, 1, 0, 2, 0, 3, 0))).toBe(16)
    expect(answers(door)).toHaveLength(2)
    expect(write(door, handle, words(3, 0))).toBe(8)
    expect(write(door, handle, new Uint8Array(0))).toBe(0)
  })

  it('is always ready to be written, and to be read while a group waits', () => {
    const { door, handle } = waiting()
    const all = IN | OUT | RDNORM | WRNORM
    expect(poll(door, [handle, all])).toEqual([OUT])
    door.machine.fault('intel')
    expect(poll(door, [handle, all], [handle, IN])).toEqual([IN | OUT | RDNORM, IN])
    read(door, handle, 40)
    expect(poll(door, [handle, IN])).toEqual([0])
  })

  it('wakes who waits for it', async () => {
    const { door, handle } = waiting()
    const targets = [{ handle, events: IN }]
    const waits = door.handleLater('PollHandle', { targets, waitMs: 1000 })
    expect(waits).toBeInstanceOf(Promise)
    door.machine.fault('intel')
    expect((await waits).revents).toEqual(Uint32Array.of(IN))
    read(door, handle, 40)
    const inVain = door.handleLater('PollHandle', { targets, waitMs: 1000 })
    await door.clock.advance(1000)
    expect((await inVain).revents).toEqual(Uint32Array.of(0))
  })

  it('that is closed while somebody waits for it is not open', async () => {
    const { door, handle } = waiting()
    const waits = door.handleLater('PollHandle', { targets: [{ handle, events: IN }], waitMs: 1000 })
    close(door, handle)
    await door.clock.advance(1000)
    expect((await waits).revents).toEqual(Uint32Array.of(NVAL))
  })
})

describe('a vEVENTQ', () => {
  const alloc = (viommu: number, type = 1, depth = 2, flags = 0, reserved = 0): Uint8Array =>
    words(32, flags, viommu, type, depth, 0, 0, reserved)

  function listening() {
    const door = new Door()
    const deviceId = door.bind('arm')
    const parent = door.paging(deviceId, door.ioas(), NEST_PARENT)
    const { viommuId } = door.do('CreateViommu', { type: 1, deviceId, parentDomainId: parent })
    return { door, viommuId }
  }

  const report = ({ machine }: Door, ...event: readonly number[]): boolean | undefined => {
    const [viommu] = machine.viommus
    return viommu.driver.listener?.viommuEvent(viommu, 1, event, 'F_TRANSLATION')
  }

  it('looks at flags, __reserved and type, the depth, the vIOMMU; and is as short as its first layout', () => {
    const { door, viommuId } = listening()
    expect(door.errno(0x3b93, alloc(77, 1, 0, 1))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b93, alloc(77, 1, 0, 0, 1))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b93, alloc(77, 0, 0))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b93, alloc(77, 1, 0))).toBe('EINVAL')
    expect(door.errno(0x3b93, alloc(77))).toBe('ENOENT')
    expect(handlesOf(door)).toBe(0n)
    const short = door.done(0x3b93, alloc(viommuId).subarray(0, 28).with(0, 28))
    expect([word(short, 20), word(short, 24)]).toEqual([viommuId + 1, 1])
    expect(door.errno(0x3b93, alloc(viommuId))).toBe('EEXIST')
    expect(door.errno(0x3b80, words(8, viommuId + 1))).toBe('EBUSY')
    close(door, 1)
    expect(door.errno(0x3b80, words(8, viommuId + 1))).toBe('ok')
  })

  it('is read in whole records, as many as fit; lost ones have a header alone', () => {
    const { door, viommuId } = listening()
    const handle = word(door.done(0x3b93, alloc(viommuId)), 24)
    expect([read(door, handle, 400), poll(door, [handle, IN | OUT | RDNORM])]).toEqual([new Uint8Array(0), [0]])
    for (const value of [1, 2, 3]) report(door, 0x10, value, 3, 4, 5, 6, 7, 0xffff_ffff)
    expect(poll(door, [handle, IN | OUT | RDNORM])).toEqual([IN | RDNORM])
    expect(read(door, handle, 39)).toEqual(new Uint8Array(0))
    expect(read(door, handle, 79)).toEqual(words(0, 0, 0x10, 1, 3, 4, 5, 6, 7, 0xffff_ffff))
    expect(read(door, handle, 47)).toEqual(words(0, 1, 0x10, 2, 3, 4, 5, 6, 7, 0xffff_ffff))
    expect(read(door, handle, 7)).toEqual(new Uint8Array(0))
    expect(read(door, handle, 8)).toEqual(words(1, 2))
    expect(poll(door, [handle, IN])).toEqual([0])
    expect(no(() => write(door, handle, new Uint8Array(8)))).toBe('EINVAL')
  })
})

describe('mapping', () => {
  const SELFTEST = 0xdeadbeef

  /** A vIOMMU of the self-test unit, with its data. */
  function mapped() {
    const door = new SelftestDoor()
    const ioas = door.newIoas()
    const device = word(door.done(0x3ba0, SelftestDoor.test(2, ioas)), 24)
    const parent = word(door.done(0x3b89, words(48, NEST_PARENT, device, ioas, 0, 0, 0, 0, 0, 0, 0, 0)), 16)
    const struct = bytesOf([40, 4], [0, 4], [SELFTEST, 4], [device, 4], [parent, 4], [0, 4], [24, 4], [0, 4], [DATA, 8])
    const reply = door.ioctl(0x3b90, struct, [memory(DATA, join(words(0x1234), new Uint8Array(20)))])
    return { door, viommu: word(reply.arg, 20), data: reply.written[0].data, struct }
  }

  const map = (door: Door, offset: bigint, length: bigint, protection = 3, handle = 0): number =>
    door.handle('MapHandle', { handle, offset, length, protection }).regionId

  it('is of exactly the page that VIOMMU_ALLOC told, through any handle of /dev/iommu', () => {
    const { door, data } = mapped()
    expect([word(data, 0), word(data, 4), long(data, 8), long(data, 16)]).toEqual([0x1234, 0x1234, 0x1000n, 0x2000n])
    expect(no(() => map(door, 0x1000n, 0x2001n))).toBe('EINVAL')
    expect(no(() => map(door, 0x1000n, 0x2000n, 7))).toBe('EPERM')
    expect(no(() => map(door, 0x1000n, 0x1000n))).toBe('ENXIO')
    expect(no(() => map(door, 0x2000n, 0x2000n))).toBe('ENXIO')
    const regionId = map(door, 0x1000n, 0x2000n, 3, open(door, '/dev/iommu'))
    const slices = [{ regionId, offset: 0n, length: 4 }]
    expect(door.do('ReadMemory', { slices }).data[0]).toEqual(words(0x1234))
  })

  it('keeps the vIOMMU until it ends', () => {
    const { door, viommu } = mapped()
    const regionId = map(door, 0x1000n, 0x2000n)
    expect(door.errno(0x3b80, words(8, viommu))).toBe('EBUSY')
    door.do('DestroyMemoryRegion', { regionId })
    expect(door.errno(0x3b80, words(8, viommu))).toBe('ok')
  })

  it('is not there where the data could not be written: all is undone', () => {
    const { door, viommu, struct } = mapped()
    const before = door.objects()
    expect(door.errno(0x3b90, struct, [memory(DATA, new Uint8Array(24), false)])).toBe('EFAULT')
    expect(door.errno(0x3b90, struct.with(24, 7), [memory(DATA, new Uint8Array(24))])).toBe('EINVAL')
    expect(door.errno(0x3b90, struct.with(24, 25), [memory(DATA, new Uint8Array(25))])).toBe('EINVAL')
    expect(door.objects()).toEqual(before)
    const again = door.ioctl(0x3b90, struct, [memory(DATA, new Uint8Array(24))])
    expect([word(again.arg, 20), long(again.written[0].data, 8)]).toEqual([viommu + 1, 0x3000n])
  })
})

describe('the end of a context', () => {
  it('closes everything, and leaves nothing', () => {
    const door = new Door()
    const deviceId = door.bind('intel')
    door.handle('OpenHandle', { objectId: deviceId })
    const queue = word(door.done(0x3b8e, words(16, 0, 0, 0)), 8)
    const ioas = door.newIoas()
    const struct = words(48, FAULT_ID_VALID, deviceId, ioas, 0, 0, 0, 0, 0, 0, queue, 0)
    door.do('AttachRid', { deviceId, ptId: word(door.done(0x3b89, struct), 16) })
    door.machine.fault('intel')
    const { handle } = door.handle('OpenHandle', { regionId: door.region() })
    door.do('DestroyMemoryRegion', { regionId: 1 })
    expect(handle).toBe(3)
    expect(door.machine.memories).toHaveLength(1)
    door.do('CloseContext')
    expect(door.leftovers()).toEqual([])
    expect(door.machine.memories).toHaveLength(0)
  })

  it('wakes who waits for a file', async () => {
    const door = new Door()
    const handle = word(door.done(0x3b8e, words(16, 0, 0, 0)), 12)
    const waits = door.handleLater('PollHandle', { targets: [{ handle, events: IN }], waitMs: 50_000 })
    await door.begin('CloseContext')
    expect((await waits).revents).toEqual(Uint32Array.of(0))
  })
})
