/** The commands about address spaces: what they check, and where they write. */

import { describe, expect, it } from 'vitest'
import { bytesOf, Door, long, memory, word, words } from './door.js'

const ALL = 0xffff_ffff_ffff_ffffn
const FIXED_RW = 7
const DATA = 0x2000_0000n

const ranges = (ioas: number, count: number, pointer: bigint, reserved = 0): Uint8Array =>
  bytesOf([32, 4], [ioas, 4], [count, 4], [reserved, 4], [pointer, 8], [0, 8])

const allow = (ioas: number, count: number, pointer: bigint, reserved = 0): Uint8Array =>
  bytesOf([24, 4], [ioas, 4], [count, 4], [reserved, 4], [pointer, 8])

const map = (flags: number, ioas: number, va: bigint, length: bigint, iova: bigint, reserved = 0): Uint8Array =>
  bytesOf([40, 4], [flags, 4], [ioas, 4], [reserved, 4], [va, 8], [length, 8], [iova, 8])

const unmap = (ioas: number, iova: bigint, length: bigint): Uint8Array =>
  bytesOf([24, 4], [ioas, 4], [iova, 8], [length, 8])

const mapFile = (flags: number, ioas: number, fd: number, start: bigint, length: bigint, iova: bigint): Uint8Array =>
  bytesOf([40, 4], [flags, 4], [ioas, 4], [fd, 4], [start, 8], [length, 8], [iova, 8])

const copy = (flags: number, to: number, from: number, length: bigint, dst: bigint, src: bigint): Uint8Array =>
  bytesOf([40, 4], [flags, 4], [to, 4], [from, 4], [length, 8], [dst, 8], [src, 8])

const option = (id: number, op: number, object: number, value: bigint, reserved = 0): Uint8Array =>
  bytesOf([24, 4], [id, 4], [op, 2], [reserved, 2], [object, 4], [value, 8])

const vfioIoas = (ioas: number, op: number, reserved = 0): Uint8Array =>
  bytesOf([12, 4], [ioas, 4], [op, 2], [reserved, 2])

describe('IOMMU_DESTROY', () => {
  it('destroys whatever nobody holds', () => {
    const door = new Door()
    expect(door.newIoas()).toBe(1)
    expect(door.done(0x3b80, words(8, 1))).toEqual(words(8, 1))
    expect(door.errno(0x3b80, words(8, 1))).toBe('ENOENT')
    expect(door.errno(0x3b80, words(8, 0))).toBe('ENOENT')
    const ioas = door.newIoas()
    door.do('AttachRid', { deviceId: door.bind('arm2'), ptId: ioas })
    expect(door.errno(0x3b80, words(8, ioas))).toBe('EBUSY')
  })
})

describe('IOMMU_IOAS_ALLOW_IOVAS', () => {
  it('looks at __reserved, the IOAS, and then at one range after the other', () => {
    const door = new Door()
    const ioas = door.newIoas()
    expect(door.errno(0x3b82, allow(77, 1, 0n, 1))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b82, allow(77, 1, 0n))).toBe('ENOENT')
    expect(door.errno(0x3b82, allow(ioas, 1, 0n))).toBe('EFAULT')
    // A bad range wins over one behind it that cannot be read.
    const oneByte = memory(DATA, bytesOf([0x1000, 8], [0x1000, 8]))
    expect(door.errno(0x3b82, allow(ioas, 2, DATA), [oneByte])).toBe('EINVAL')
    const good = memory(DATA, bytesOf([0x1000, 8], [0x1fff, 8]))
    expect(door.errno(0x3b82, allow(ioas, 2, DATA), [good])).toBe('EFAULT')
    expect(door.errno(0x3b82, allow(ioas, 0xffffffff, DATA), [good])).toBe('EFAULT')
    const overlap = memory(DATA, bytesOf([0x1000, 8], [0x1fff, 8], [0x1fff, 8], [0x2fff, 8]))
    expect(door.errno(0x3b82, allow(ioas, 2, DATA), [overlap])).toBe('EINVAL')
  })

  it('replaces the list and writes nothing back; none need no memory', () => {
    const door = new Door()
    const ioas = door.newIoas()
    const list = memory(DATA, bytesOf([0x50000, 8], [0x5ffff, 8]), false)
    const struct = allow(ioas, 1, DATA)
    expect(door.done(0x3b82, struct, [list])).toEqual(struct)
    const automatic = map(6, ioas, 0x10000000n, 0x1000n, 0n)
    expect(long(door.done(0x3b85, automatic), 32)).toBe(0x50000n)
    door.done(0x3b82, allow(ioas, 0, 0n))
    expect(long(door.done(0x3b85, automatic), 32)).toBe(0x1000n)
  })
})

describe('IOMMU_IOAS_IOVA_RANGES', () => {
  it('tells the holes as far as there is room, and with EMSGSIZE how many there are', () => {
    const door = new Door()
    const ioas = door.newIoas()
    door.do('AttachRid', { deviceId: door.bind('arm'), ptId: ioas })
    const all = bytesOf([0, 8], [0x7ff_ffff, 8], [0x810_0000, 8], [2n ** 48n - 1n, 8])
    const room = memory(DATA, new Uint8Array(40).fill(0xee))
    const told = door.ioctl(0x3b84, ranges(ioas, 2, DATA), [room])
    expect([told.errno, told.result]).toEqual([0, 0n])
    expect([word(told.arg, 8), long(told.arg, 24)]).toEqual([2, 4096n])
    expect(told.written).toEqual([memory(DATA, all)])
    const short = door.ioctl(0x3b84, ranges(ioas, 1, DATA), [room])
    expect([short.refusal?.name, short.result, word(short.arg, 8), long(short.arg, 24)]).toEqual([
      'EMSGSIZE',
      -1n,
      2,
      4096n,
    ])
    expect(short.written).toEqual([memory(DATA, all.subarray(0, 16))])
    const none = door.ioctl(0x3b84, ranges(ioas, 0, 0n))
    expect([none.refusal?.name, word(none.arg, 8)]).toEqual(['EMSGSIZE', 2])
  })

  it('is EFAULT where the first hole cannot be written, and writes no outputs then', () => {
    const door = new Door()
    const ioas = door.newIoas()
    expect(door.errno(0x3b84, ranges(77, 1, 0n, 1))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b84, ranges(77, 1, 0n))).toBe('ENOENT')
    for (const room of [[], [memory(DATA, new Uint8Array(16), false)], [memory(DATA, new Uint8Array(15))]]) {
      const reply = door.ioctl(0x3b84, ranges(ioas, 1, DATA), room)
      expect([reply.refusal?.name, reply.arg]).toEqual(['EFAULT', ranges(ioas, 1, DATA)])
    }
  })
})

describe('IOMMU_IOAS_MAP', () => {
  it('tells the IOVA, also where it chose it', () => {
    const door = new Door()
    const ioas = door.newIoas()
    const fixed = map(FIXED_RW, ioas, 0x10000000n, 0x2000n, 0x7000n)
    expect(door.done(0x3b85, fixed)).toEqual(fixed)
    expect(door.done(0x3b85, map(6, ioas, 0x10000000n, 0x1000n, 0x123n))).toEqual(
      map(6, ioas, 0x10000000n, 0x1000n, 0x1000n),
    )
  })

  it('looks at flags and __reserved, ends of u64, rights, the IOAS, lengths, in this order', () => {
    const door = new Door()
    const ioas = door.newIoas()
    expect(door.errno(0x3b85, map(8, 77, 0n, ALL, ALL))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b85, map(6, 77, 0n, ALL, ALL, 1))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b85, map(0, 77, 0n, 0n, ALL))).toBe('EOVERFLOW')
    expect(door.errno(0x3b85, map(0, 77, 0n, ALL, 0n))).toBe('EOVERFLOW')
    expect(door.errno(0x3b85, map(0, 77, 0n, 0n, 0n))).toBe('EINVAL')
    expect(door.errno(0x3b85, map(6, 77, 0n, 0n, 0n))).toBe('ENOENT')
    expect(door.errno(0x3b85, map(6, ioas, ALL, 2n, 0n))).toBe('EOVERFLOW')
    expect(door.errno(0x3b85, map(6, ioas, 0n, 0n, 0n))).toBe('EINVAL')
  })

  it('is EFAULT only where pages are pinned, and leaves nothing then', () => {
    const door = new Door()
    const ioas = door.newIoas()
    const nowhere = map(FIXED_RW, ioas, 0x10000000n, 0x1000n, 0x7000n)
    door.done(0x3b85, nowhere)
    door.done(0x3b86, unmap(ioas, 0x7000n, 0x1000n))
    door.do('AttachRid', { deviceId: door.bind('arm2'), ptId: ioas })
    expect(door.errno(0x3b85, nowhere)).toBe('EFAULT')
    // Memory that came with the call would be gone with it: only regions are pinned.
    expect(door.errno(0x3b85, nowhere, [memory(0x10000000n, new Uint8Array(0x1000))])).toBe('EFAULT')
    door.region(0x1000n, 0x10000000n)
    expect(door.errno(0x3b85, nowhere)).toBe('ok')
  })
})

describe('IOMMU_IOAS_UNMAP', () => {
  it('tells how much, writes nothing back when refused, and all of nothing is 0', () => {
    const door = new Door()
    const ioas = door.newIoas()
    door.done(0x3b85, map(FIXED_RW, ioas, 0n, 0x2000n, 0x7000n))
    const part = unmap(ioas, 0x7000n, 0x1000n)
    expect(door.ioctl(0x3b86, part)).toMatchObject({ errno: 2, arg: part })
    expect(long(door.done(0x3b86, unmap(ioas, 0x1000n, 0x20000n)), 16)).toBe(0x2000n)
    expect(door.errno(0x3b86, unmap(ioas, 0x1000n, 0x20000n))).toBe('ENOENT')
    expect(long(door.done(0x3b86, unmap(ioas, 0n, ALL)), 16)).toBe(0n)
    expect(door.errno(0x3b86, unmap(77, 0n, ALL))).toBe('ENOENT')
    expect(door.errno(0x3b86, unmap(ioas, 1n, ALL))).toBe('EOVERFLOW')
    expect(door.errno(0x3b86, unmap(ioas, 1n, 0n))).toBe('EINVAL')
  })
})

describe('IOMMU_IOAS_COPY', () => {
  it('tells the IOVA of the copy', () => {
    const door = new Door()
    const [from, to] = [door.newIoas(), door.newIoas()]
    door.done(0x3b85, map(FIXED_RW, from, 0n, 0x2000n, 0x7000n))
    expect(long(door.done(0x3b83, copy(6, to, from, 0x1000n, 0x55n, 0x8000n)), 24)).toBe(0x1000n)
    expect(door.errno(0x3b83, copy(FIXED_RW, to, from, 0x1000n, 0x1000n, 0x8000n))).toBe('EEXIST')
    expect(door.errno(0x3b83, copy(6, to, from, 0x3000n, 0n, 0x7000n))).toBe('ENOENT')
    expect(door.errno(0x3b83, copy(16, to, from, ALL, ALL, 0n))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b83, copy(0, 77, 77, 1n, ALL, 0n))).toBe('EOVERFLOW')
  })
})

describe('IOMMU_IOAS_MAP_FILE', () => {
  it('maps an open region, and takes any open file until its pages are pinned', () => {
    const door = new Door()
    const ioas = door.newIoas()
    const handle = door.handle('OpenHandle', { regionId: door.region(0x4000n) }).handle
    const other = door.handle('OpenHandle', { path: '/dev/iommu' }).handle
    expect(long(door.done(0x3b8f, mapFile(6, ioas, handle, 0x1000n, 0x2000n, 9n)), 32)).toBe(0x1000n)
    door.done(0x3b8f, mapFile(FIXED_RW, ioas, 0, 0n, 0x1000n, 0x10000n))
    door.done(0x3b8f, mapFile(FIXED_RW, ioas, other, 0n, 0x1000n, 0x11000n))
    // Beyond the end, too, shows when they are pinned.
    door.done(0x3b8f, mapFile(FIXED_RW, ioas, handle, 0x3000n, 0x2000n, 0x20000n))
    expect(() => door.do('AttachRid', { deviceId: door.bind('arm2'), ptId: ioas })).toThrow('has no memory')
    door.done(0x3b86, unmap(ioas, 0x10000n, 0x2000n))
    expect(() => door.do('AttachRid', { deviceId: 2, ptId: ioas })).toThrow('end')
    door.done(0x3b86, unmap(ioas, 0x20000n, 0x2000n))
    door.do('AttachRid', { deviceId: 2, ptId: ioas })
    expect(door.errno(0x3b8f, mapFile(FIXED_RW, ioas, handle, 0x3000n, 0x2000n, 0x20000n))).toBe('EINVAL')
    expect(door.errno(0x3b8f, mapFile(FIXED_RW, ioas, 0, 0n, 0x1000n, 0x20000n))).toBe('EINVAL')
  })

  it('looks for the file behind all that can be said without it, and before the place', () => {
    const door = new Door()
    const ioas = door.newIoas()
    for (const fd of [-1, 9]) {
      expect(door.errno(0x3b8f, mapFile(6, ioas, fd, 0n, 0x1000n, 0n))).toBe('EBADF')
      expect(door.errno(0x3b8f, mapFile(6, 77, fd, 0n, 0n, 0n))).toBe('ENOENT')
      expect(door.errno(0x3b8f, mapFile(6, ioas, fd, 0n, 0n, 0n))).toBe('EINVAL')
      expect(door.errno(0x3b8f, mapFile(6, ioas, fd, ALL, 2n, 0n))).toBe('EOVERFLOW')
      expect(door.errno(0x3b8f, mapFile(8, ioas, fd, ALL, 2n, 0n))).toBe('EOPNOTSUPP')
    }
  })

  it('keeps the memory of a handle that was closed', () => {
    const door = new Door()
    const ioas = door.newIoas()
    const regionId = door.region(0x4000n)
    const { handle } = door.handle('OpenHandle', { regionId })
    door.done(0x3b8f, mapFile(FIXED_RW, ioas, handle, 0n, 0x4000n, 0x4000n))
    door.do('DestroyMemoryRegion', { regionId })
    door.handle('CloseHandle', { handle })
    expect(door.machine.memories).toHaveLength(1)
    door.done(0x3b86, unmap(ioas, 0n, ALL))
    expect(door.machine.memories).toHaveLength(0)
  })
})

describe('IOMMU_OPTION', () => {
  it('writes back the value alone, as it was read or given', () => {
    const door = new Door()
    const ioas = door.newIoas()
    expect(door.done(0x3b87, option(1, 1, ioas, 77n))).toEqual(option(1, 1, ioas, 1n))
    expect(door.done(0x3b87, option(1, 0, ioas, 0n))).toEqual(option(1, 0, ioas, 0n))
    expect(door.done(0x3b87, option(1, 1, ioas, 77n))).toEqual(option(1, 1, ioas, 0n))
    expect(door.done(0x3b87, option(0, 1, 0, 77n))).toEqual(option(0, 1, 0, 0n))
  })

  it('looks at __reserved, the option, its object, the operation, the value', () => {
    const door = new Door()
    const ioas = door.newIoas()
    expect(door.errno(0x3b87, option(1, 1, ioas, 0n, 1))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b87, option(2, 1, ioas, 0n))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b87, option(1, 2, 77, 0n))).toBe('ENOENT')
    expect(door.errno(0x3b87, option(1, 2, ioas, 0n))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b87, option(1, 0, ioas, 2n))).toBe('EINVAL')
    expect(door.errno(0x3b87, option(0, 1, ioas, 0n))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b87, option(0, 2, 0, 0n))).toBe('EOPNOTSUPP')
  })
})

describe('IOMMU_VFIO_IOAS', () => {
  it('gets what was set until it is cleared', () => {
    const door = new Door()
    const ioas = door.newIoas()
    expect(door.errno(0x3b88, vfioIoas(0, 0))).toBe('ENODEV')
    expect(door.errno(0x3b88, vfioIoas(77, 1))).toBe('ENOENT')
    door.done(0x3b88, vfioIoas(ioas, 1))
    expect(door.done(0x3b88, vfioIoas(55, 0))).toEqual(vfioIoas(ioas, 0))
    expect(door.done(0x3b88, vfioIoas(55, 2))).toEqual(vfioIoas(55, 2))
    expect(door.errno(0x3b88, vfioIoas(0, 0))).toBe('ENODEV')
    expect(door.errno(0x3b88, vfioIoas(ioas, 3))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b88, vfioIoas(ioas, 1, 1))).toBe('EOPNOTSUPP')
  })
})
