/** The commands about domains and vIOMMUs on the units' own drivers: orders of checks, data, what is written. */

import { describe, expect, it } from 'vitest'
import { bytesOf, type Door, long, memory, word, words } from './door.js'
import { ARM, DATA, hwpt, INTEL, newHwpt, noHwpt, platformDoor } from './world.js'

const NEST_PARENT = 1
const FAULT_ID_VALID = 4
const VTD_S1 = 1
const SMMUV3 = 2

const vtdS1 = (flags: number | bigint, table: number | bigint, width = 48, reserved = 0): Uint8Array =>
  bytesOf([flags, 8], [table, 8], [width, 4], [reserved, 4])

interface Nest {
  readonly door: Door
  readonly dev: number
  readonly ioas: number
  readonly parent: number
}

function nest(name: string): Nest {
  const door = platformDoor()
  const dev = door.bind(name)
  const ioas = door.newIoas()
  return { door, dev, ioas, parent: newHwpt(door, { flags: NEST_PARENT, dev, pt: ioas }) }
}

const viommuAlloc = (type: number, dev: number, pt: number, reserved = 0, flags = 0): Uint8Array =>
  words(40, flags, type, dev, pt, 0, 0, reserved, 0, 0)

const vdeviceAlloc = (viommu: number, dev: number, virtId: number | bigint): Uint8Array =>
  bytesOf([24, 4], [viommu, 4], [dev, 4], [0, 4], [virtId, 8])

const invalidate = (
  id: number,
  type: number,
  length: number,
  count: number,
  pointer = DATA,
  reserved = 0,
): Uint8Array => bytesOf([32, 4], [id, 4], [pointer, 8], [type, 4], [length, 4], [count, 4], [reserved, 4])

describe('IOMMU_HWPT_ALLOC', () => {
  it('looks at __reserved, type against length, the device, what it is made on', () => {
    const { door, dev, ioas } = nest(INTEL)
    expect(noHwpt(door, { dev: 77, pt: 77, length: 1, reserved: 1 })).toBe('EOPNOTSUPP')
    expect(noHwpt(door, { dev: 77, pt: 77, length: 1 })).toBe('EINVAL')
    expect(noHwpt(door, { dev: 77, pt: 77, type: VTD_S1 })).toBe('EINVAL')
    expect(noHwpt(door, { dev: 77, pt: 77 })).toBe('ENOENT')
    expect(noHwpt(door, { dev: ioas, pt: 77 })).toBe('ENOENT')
    expect(noHwpt(door, { dev, pt: 77 })).toBe('EINVAL')
    expect(noHwpt(door, { dev, pt: dev })).toBe('EINVAL')
    expect(noHwpt(door, { dev, pt: ioas, flags: 0x10 })).toBe('EOPNOTSUPP')
    expect(noHwpt(door, { dev, pt: ioas, flags: NEST_PARENT | FAULT_ID_VALID })).toBe('EOPNOTSUPP')
    expect(noHwpt(door, { dev, pt: ioas, flags: FAULT_ID_VALID, fault: 77 })).toBe('ENOENT')
  })

  it('does not look at __reserved2, nor at fault_id without its flag, and is as short as its first layout', () => {
    const { door, dev, ioas } = nest(INTEL)
    const first = newHwpt(door, { dev, pt: ioas, fault: 77, reserved2: 1 })
    const short = words(24, 0, dev, ioas, 0, 0)
    expect(word(door.done(0x3b89, short), 16)).toBe(first + 1)
  })

  it('reads data by its type, at the driver’s turn: its type, the parent, its length, its bytes', () => {
    const { door, dev, ioas, parent } = nest(INTEL)
    const data = vtdS1(0, 0x1000)
    expect(noHwpt(door, { dev, pt: parent, type: 99, data })).toBe('EOPNOTSUPP')
    expect(noHwpt(door, { dev, pt: parent, type: SMMUV3, data })).toBe('EOPNOTSUPP')
    expect(noHwpt(door, { dev, pt: newHwpt(door, { dev, pt: ioas }), type: VTD_S1, data, length: 23 })).toBe('EINVAL')
    expect(noHwpt(door, { dev, pt: parent, type: VTD_S1, data, length: 23 })).toBe('EINVAL')
    // A longer struct is not read, whatever is behind it.
    expect(noHwpt(door, { dev, pt: parent, type: VTD_S1, data: bytesOf(...Array(4).fill([0, 8])), length: 32 })).toBe(
      'EINVAL',
    )
    expect(noHwpt(door, { dev, pt: parent, type: VTD_S1, length: 24 })).toBe('EFAULT')
    expect(noHwpt(door, { dev, pt: parent, type: VTD_S1, data: data.subarray(0, 23), length: 24 })).toBe('EFAULT')
    expect(noHwpt(door, { dev, pt: ioas, type: VTD_S1, data })).toBe('EOPNOTSUPP')
  })

  it('takes what the kernel does not look at before the attach', () => {
    const { door, dev, parent } = nest(INTEL)
    const lax = vtdS1(0xffff_ffff_ffff_ffffn, 0x1234, 33, 5)
    expect(newHwpt(door, { dev, pt: parent, type: VTD_S1, data: lax })).toBe(parent + 1)
  })

  it('takes a guest’s STE on a vIOMMU, whose length and type are EINVAL', () => {
    const { door, dev, parent } = nest(ARM)
    const viommu = word(door.done(0x3b90, viommuAlloc(1, dev, parent)), 20)
    const ste = bytesOf([0n, 8], [0n, 8])
    expect(noHwpt(door, { dev, pt: parent, type: SMMUV3, data: ste })).toBe('EOPNOTSUPP')
    expect(noHwpt(door, { dev, pt: viommu, type: VTD_S1, data: ste })).toBe('EINVAL')
    expect(noHwpt(door, { dev, pt: viommu, type: SMMUV3, data: ste, length: 8 })).toBe('EINVAL')
    expect(noHwpt(door, { dev, pt: viommu, type: SMMUV3, length: 16 })).toBe('EFAULT')
    expect(noHwpt(door, { dev, pt: viommu, type: SMMUV3, data: bytesOf([3n, 8], [0n, 8]) })).toBe('EIO')
    expect(noHwpt(door, { dev, pt: viommu })).toBe('EOPNOTSUPP')
    expect(newHwpt(door, { dev, pt: viommu, type: SMMUV3, data: ste })).toBe(viommu + 1)
  })

  it('leaves nothing when the fault queue is none: the id is the next one’s', () => {
    const { door, dev, parent } = nest(INTEL)
    const nested = { dev, pt: parent, type: VTD_S1, data: vtdS1(0, 0) }
    const before = door.objects()
    expect(noHwpt(door, { ...nested, flags: FAULT_ID_VALID, fault: parent })).toBe('ENOENT')
    expect(door.objects()).toEqual(before)
    const fault = word(door.done(0x3b8e, words(16, 0, 0, 0)), 8)
    expect(fault).toBe(parent + 1)
    expect(newHwpt(door, { ...nested, flags: FAULT_ID_VALID, fault })).toBe(fault + 1)
  })

  it('writes nothing back when refused', () => {
    const { door, dev } = nest(INTEL)
    const struct = hwpt({ dev, pt: 77 })
    expect(door.ioctl(0x3b89, struct).arg).toEqual(struct)
  })
})

describe('IOMMU_GET_HW_INFO', () => {
  const info = (flags: number, dev: number, length: number, type = 0, reserved = 0, pointer = DATA): Uint8Array =>
    bytesOf([40, 4], [flags, 4], [dev, 4], [length, 4], [pointer, 8], [type, 4], [reserved << 8, 4], [0, 8])

  it('looks at flags, each __reserved byte, the device, the type', () => {
    const { door, dev } = nest(ARM)
    expect(door.errno(0x3b8a, info(2, 77, 0, 0, 0))).toBe('EOPNOTSUPP')
    for (const byte of [1, 0x100, 0x10000]) expect(door.errno(0x3b8a, info(0, 77, 0, 0, byte))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b8a, info(0, 77, 0))).toBe('ENOENT')
    expect(door.errno(0x3b8a, info(1, dev, 0, 1))).toBe('EOPNOTSUPP')
    // Without the flag the type is not looked at.
    expect(door.errno(0x3b8a, info(0, dev, 0, 1))).toBe('ok')
    expect(door.errno(0x3b8a, info(1, dev, 0, 2))).toBe('ok')
  })

  it('tells as much as fits, zeroes the rest, and says how much there is', () => {
    const { door, dev } = nest(ARM)
    const whole = door.ioctl(0x3b8a, info(0, dev, 48), [memory(DATA, new Uint8Array(64).fill(0xee))])
    expect([word(whole.arg, 12), word(whole.arg, 24)]).toEqual([40, 2])
    const [{ address, data }] = whole.written
    expect([address, data.length]).toEqual([DATA, 48])
    expect([...data.subarray(40)]).toEqual(Array(8).fill(0))
    const { smmuv3, capabilities, maxPasidLog2 } = door.do('GetHwInfo', { deviceId: dev })
    expect([...new Uint32Array(data.slice(8, 32).buffer)]).toEqual([...smmuv3!.idr])
    expect([long(whole.arg, 32), whole.arg[28]]).toEqual([capabilities, maxPasidLog2])
    const part = door.ioctl(0x3b8a, info(0, dev, 12), [memory(DATA, new Uint8Array(64).fill(0xee))])
    expect(part.written).toEqual([memory(DATA, data.slice(0, 12))])
    expect(word(part.arg, 12)).toBe(40)
    const none = door.ioctl(0x3b8a, info(0, dev, 0, 0, 0, 0n))
    expect([none.errno, word(none.arg, 12)]).toEqual([0, 40])
  })

  it('is EFAULT where the data or the zeros behind it cannot be written', () => {
    const { door, dev } = nest(INTEL)
    const room = [memory(DATA, new Uint8Array(24))]
    expect(door.errno(0x3b8a, info(0, dev, 24), room)).toBe('ok')
    expect(door.errno(0x3b8a, info(0, dev, 25), room)).toBe('EFAULT')
    expect(door.errno(0x3b8a, info(0, dev, 24), [memory(DATA, new Uint8Array(23))])).toBe('EFAULT')
    const refused = info(0, dev, 0xffffffff)
    expect(door.ioctl(0x3b8a, refused, room)).toMatchObject({ errno: 14, arg: refused })
  })

  it('is as short as its first layout, and loses its capabilities then', () => {
    const { door, dev } = nest(INTEL)
    const short = door.done(
      0x3b8a,
      info(0, dev, 0).map((byte, at) => (at === 0 ? 32 : byte)),
    )
    expect([word(short, 24), long(short, 32)]).toEqual([1, 0n])
  })
})

describe('IOMMU_HWPT_INVALIDATE', () => {
  function nested(): Nest & { readonly id: number } {
    const world = nest(INTEL)
    const { door, dev, parent } = world
    return { ...world, id: newHwpt(door, { dev, pt: parent, type: VTD_S1, data: vtdS1(0, 0) }) }
  }

  const entry = (addr: number | bigint, pages: number | bigint, flags = 0, reserved = 0): Uint8Array =>
    bytesOf([addr, 8], [pages, 8], [flags, 4], [reserved, 4])
  const entries = (...list: readonly Uint8Array[]) => [memory(DATA, Uint8Array.from(list.flatMap((one) => [...one])))]

  /** Errno and entries done. */
  const outcome = (
    door: Door,
    struct: Uint8Array,
    data: ReturnType<typeof entries> = [],
  ): readonly [string, number] => {
    const { refusal, arg } = door.ioctl(0x3b8d, struct, data)
    return [refusal?.name ?? 'ok', word(arg, 24)]
  }

  it('writes back how many were done, also when it is refused', () => {
    const { door, id, parent } = nested()
    expect(outcome(door, invalidate(77, 0, 24, 3, DATA, 1))).toEqual(['EOPNOTSUPP', 0])
    expect(outcome(door, invalidate(77, 0, 24, 3, 0n))).toEqual(['EINVAL', 0])
    expect(outcome(door, invalidate(77, 0, 0, 3))).toEqual(['EINVAL', 0])
    expect(outcome(door, invalidate(77, 0, 24, 3))).toEqual(['ENOENT', 0])
    expect(outcome(door, invalidate(parent, 0, 24, 3))).toEqual(['EINVAL', 0])
    expect(outcome(door, invalidate(id, 1, 24, 3))).toEqual(['EINVAL', 0])
    expect(outcome(door, invalidate(id, 0, 24, 3))).toEqual(['EFAULT', 0])
    const good = entry(0x1000, 1)
    expect(outcome(door, invalidate(id, 0, 24, 2), entries(good, good))).toEqual(['ok', 2])
    expect(outcome(door, invalidate(id, 0, 24, 3), entries(good, good))).toEqual(['EFAULT', 2])
    expect(outcome(door, invalidate(id, 0, 24, 2), entries(good, entry(0x1001, 1)))).toEqual(['EINVAL', 1])
    expect(outcome(door, invalidate(id, 0, 24, 2), entries(good, entry(0x1000, 1, 2)))).toEqual(['EOPNOTSUPP', 1])
    expect(outcome(door, invalidate(id, 0, 24, 2), entries(good, entry(0x1000, 1, 0, 1)))).toEqual(['EOPNOTSUPP', 1])
    expect(outcome(door, invalidate(id, 0, 24, 1), entries(entry(0, 2n ** 64n - 1n, 1)))).toEqual(['ok', 1])
    expect(outcome(door, invalidate(id, 0, 24, 1), entries(entry(0x1000, 2n ** 64n - 1n)))).toEqual(['EINVAL', 0])
  })

  it('writes nothing back where the struct itself is refused', () => {
    const { door, id } = nested()
    const short = invalidate(id, 0, 24, 3).map((byte, at) => (at === 0 ? 31 : byte))
    expect(door.ioctl(0x3b8d, short)).toMatchObject({ errno: 22, arg: short })
  })

  it('asks with no entries whether the type fits', () => {
    const { door, id } = nested()
    expect(outcome(door, invalidate(id, 0, 0, 0, 0n))).toEqual(['ok', 0])
    expect(outcome(door, invalidate(id, 1, 0, 0, 0n))).toEqual(['EINVAL', 0])
  })

  it('is EINVAL for entries of another length on VT-d, one by one', () => {
    const { door, id } = nested()
    const data = entries(entry(0x1000, 1), entry(0x1000, 1))
    expect(outcome(door, invalidate(id, 0, 16, 1), data)).toEqual(['EINVAL', 0])
    expect(outcome(door, invalidate(id, 0, 32, 1), data)).toEqual(['EINVAL', 0])
  })

  it('copies a vIOMMU’s array as a whole: tails are E2BIG, short entries end in zeros', () => {
    const { door, dev, parent } = nest(ARM)
    const viommu = word(door.done(0x3b90, viommuAlloc(1, dev, parent)), 20)
    const all = bytesOf([0x10, 8], [0, 8])
    const unknown = bytesOf([0x7f, 8], [0, 8])
    expect(outcome(door, invalidate(viommu, 1, 16, 2), entries(all, all))).toEqual(['ok', 2])
    expect(outcome(door, invalidate(viommu, 1, 16, 2), entries(all, unknown))).toEqual(['EIO', 1])
    expect(outcome(door, invalidate(viommu, 1, 16, 3), entries(all, unknown))).toEqual(['EFAULT', 0])
    expect(outcome(door, invalidate(viommu, 1, 17, 1), entries(all, Uint8Array.of(0)))).toEqual(['ok', 1])
    expect(outcome(door, invalidate(viommu, 1, 17, 1), entries(all, Uint8Array.of(1)))).toEqual(['E2BIG', 0])
    const tails = entries(all, Uint8Array.of(0), all, Uint8Array.of(1))
    expect(outcome(door, invalidate(viommu, 1, 17, 2), tails)).toEqual(['E2BIG', 0])
    expect(outcome(door, invalidate(viommu, 1, 1, 3), [memory(DATA, Uint8Array.of(0x10, 0x11, 0x30))])).toEqual([
      'ok',
      3,
    ])
    expect(outcome(door, invalidate(viommu, 1, 16, 0))).toEqual(['EINVAL', 0])
    expect(outcome(door, invalidate(viommu, 0, 16, 1), entries(all))).toEqual(['EINVAL', 0])
  })

  it('copies no array that is too large to be kept, and allocates nothing for one that is not there', () => {
    const { door, dev, parent } = nest(ARM)
    const viommu = word(door.done(0x3b90, viommuAlloc(1, dev, parent)), 20)
    expect(outcome(door, invalidate(viommu, 1, 16, 0xffffffff))).toEqual(['ENOMEM', 0])
    expect(outcome(door, invalidate(viommu, 1, 0xffffffff, 65_536))).toEqual(['EFAULT', 0])
  })
})

describe('IOMMU_VIOMMU_ALLOC', () => {
  it('looks at flags and type, the device, its unit, the parent; __reserved is not looked at', () => {
    const { door, dev, ioas, parent } = nest(ARM)
    expect(door.errno(0x3b90, viommuAlloc(1, 77, 77, 0, 1))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b90, viommuAlloc(0, 77, 77))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b90, viommuAlloc(1, 77, 77))).toBe('ENOENT')
    expect(door.errno(0x3b90, viommuAlloc(2, dev, 77))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b90, viommuAlloc(1, dev, 77))).toBe('ENOENT')
    expect(door.errno(0x3b90, viommuAlloc(1, dev, newHwpt(door, { dev, pt: ioas })))).toBe('EINVAL')
    expect(door.errno(0x3b90, viommuAlloc(1, door.bind(INTEL), parent))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b90, viommuAlloc(1, dev, parent, 5))).toBe('ok')
    expect(door.errno(0x3b90, viommuAlloc(1, dev, parent).subarray(0, 24).with(0, 24))).toBe('ok')
  })
})

describe('IOMMU_VDEVICE_ALLOC', () => {
  it('names a device in a vIOMMU, by any number of 64 bits, once', () => {
    const { door, dev, parent } = nest(ARM)
    const viommu = word(door.done(0x3b90, viommuAlloc(1, dev, parent)), 20)
    expect(door.errno(0x3b91, vdeviceAlloc(77, 77, 0))).toBe('ENOENT')
    expect(door.errno(0x3b91, vdeviceAlloc(viommu, 77, 0))).toBe('ENOENT')
    const made = door.done(0x3b91, vdeviceAlloc(viommu, dev, 2n ** 64n - 1n))
    expect(made).toEqual(vdeviceAlloc(viommu, dev, 2n ** 64n - 1n).with(12, viommu + 1))
    expect(door.errno(0x3b91, vdeviceAlloc(viommu, dev, 5))).toBe('EEXIST')
    const second = door.bind('0000:00:02.0')
    expect(door.errno(0x3b91, vdeviceAlloc(viommu, second, 2n ** 64n - 1n))).toBe('EEXIST')
  })
})
