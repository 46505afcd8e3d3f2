/** Dirty tracking through the door, on the kernel's self-test unit: where its bits go. [uAPI IOMMU_HWPT_GET_DIRTY_BITMAP] */

import { beforeEach, describe, expect, it } from 'vitest'
import { SelftestDoor, TEST } from '../selftest/door.js'
import { bytesOf, memory, word, words } from './door.js'

const DIRTY_TRACKING = 2
const FIXED_RW = 7
const NO_CLEAR = 1
const APERTURE = 0x100_0000n
const VA = 0x7f00_0000_0000n
/** Pages of the self-test unit. */
const PAGE = 2048n
/** Where bitmaps go: bits of a page and its last byte. */
const BITMAP = 0x2000_0000n

let door: SelftestDoor
let hwpt: number

beforeEach(() => {
  door = new SelftestDoor()
  const ioas = door.newIoas()
  const device = word(door.done(TEST, SelftestDoor.test(2, ioas)), 24)
  hwpt = word(door.done(0x3b89, words(48, DIRTY_TRACKING, device, ioas, 0, 0, 0, 0, 0, 0, 0, 0)), 16)
  door.region(0x10_0000n, VA)
  // Leaves of one page each, so that each bit is of its own.
  door.done(0x3b87, bytesOf([24, 4], [1, 4], [0, 2], [0, 2], [ioas, 4], [0, 8]))
  door.done(0x3b85, bytesOf([40, 4], [FIXED_RW, 4], [ioas, 4], [0, 4], [VA, 8], [0x10_0000, 8], [APERTURE, 8]))
})

const tracking = (flags: number, id = hwpt, reserved = 0): Uint8Array => words(16, flags, id, reserved)

const get = (iova: bigint, length: bigint, data: bigint, flags = 0, page = PAGE, reserved = 0, id = hwpt): Uint8Array =>
  bytesOf([48, 4], [id, 4], [flags, 4], [reserved, 4], [iova, 8], [length, 8], [page, 8], [data, 8])

/** Marks pages of the aperture as written. */
function mark(...pages: readonly number[]): void {
  const bits = new Uint8Array(64)
  for (const page of pages) bits[page >> 3] |= 1 << (page & 7)
  const longs = bytesOf([0, 4], [0, 4], [APERTURE, 8], [512n * PAGE, 8], [PAGE, 8], [BITMAP, 8], [0, 8])
  door.done(TEST, SelftestDoor.test(13, hwpt, longs), [memory(BITMAP, bits)])
}

/** The bytes of a bitmap that was 0x80 in every byte. */
function read(struct: Uint8Array, at = BITMAP, length = 4): readonly number[] {
  const room = new Uint8Array(length).fill(0x80)
  const { errno, written, arg } = door.ioctl(0x3b8c, struct, [memory(at, room)])
  expect([errno, arg]).toEqual([0, struct])
  for (const { address, data } of written) room.set(data, Number(address - at))
  return [...room]
}

describe('IOMMU_HWPT_SET_DIRTY_TRACKING', () => {
  it('does not look at __reserved, and refuses flags before the domain', () => {
    expect(door.errno(0x3b8b, tracking(2, 99))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b8b, tracking(1, 99))).toBe('ENOENT')
    expect(door.done(0x3b8b, tracking(1, hwpt, 7))).toEqual(tracking(1, hwpt, 7))
    expect(door.errno(0x3b8b, tracking(0))).toBe('ok')
  })
})

describe('IOMMU_HWPT_GET_DIRTY_BITMAP', () => {
  beforeEach(() => {
    door.done(0x3b8b, tracking(1))
  })

  it('sets bits, the lowest for the first page, and clears none of the caller’s', () => {
    mark(0, 9, 15, 16)
    expect(read(get(APERTURE, 32n * PAGE, BITMAP, NO_CLEAR))).toEqual([0x81, 0x82, 0x81, 0x80])
    // Relative to the first page that is asked for.
    expect(read(get(APERTURE + 10n * PAGE, 16n * PAGE, BITMAP, NO_CLEAR))).toEqual([0xe0, 0x80, 0x80, 0x80])
    expect(read(get(APERTURE, 32n * PAGE, BITMAP))).toEqual([0x81, 0x82, 0x81, 0x80])
    expect(read(get(APERTURE, 32n * PAGE, BITMAP))).toEqual([0x80, 0x80, 0x80, 0x80])
  })

  it('has one bit for several pages, or several for one', () => {
    mark(5)
    expect(read(get(APERTURE, 32n * PAGE, BITMAP, NO_CLEAR, 4n * PAGE))).toEqual([0x82, 0x80, 0x80, 0x80])
    expect(read(get(APERTURE, 32n * PAGE, BITMAP, NO_CLEAR, 1024n))).toEqual([0x80, 0x8c, 0x80, 0x80])
  })

  it('needs no alignment of the bitmap', () => {
    mark(0, 8, 31)
    expect(read(get(APERTURE, 32n * PAGE, BITMAP + 4093n), BITMAP + 4093n)).toEqual([0x81, 0x81, 0x80, 0x80])
  })

  it('loses bits where it cannot write, and is a success', () => {
    mark(0, 8, 9)
    expect(door.errno(0x3b8c, get(APERTURE, 32n * PAGE, 0n, NO_CLEAR))).toBe('ok')
    expect(
      door.ioctl(0x3b8c, get(APERTURE, 32n * PAGE, BITMAP, NO_CLEAR), [memory(BITMAP, new Uint8Array(4), false)]),
    ).toMatchObject({ errno: 0, written: [] })
    // The first byte is there, the second is not.
    expect(read(get(APERTURE, 32n * PAGE, BITMAP), BITMAP, 1)).toEqual([0x81])
    expect(read(get(APERTURE, 32n * PAGE, BITMAP))).toEqual([0x80, 0x80, 0x80, 0x80])
  })

  it('looks at flags and __reserved, the domain, the range', () => {
    const end = 2n ** 64n - 1n
    expect(door.errno(0x3b8c, get(APERTURE, PAGE, BITMAP, 2, PAGE, 0, 99))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b8c, get(APERTURE, PAGE, BITMAP, 0, PAGE, 1, 99))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b8c, get(end, 2n, BITMAP, 0, 0n, 0, 99))).toBe('ENOENT')
    expect(door.errno(0x3b8c, get(end, 2n, BITMAP, 0, 0n))).toBe('EOVERFLOW')
    expect(door.errno(0x3b8c, get(APERTURE, PAGE, BITMAP, 0, 0n))).toBe('EINVAL')
    expect(door.errno(0x3b8c, get(APERTURE + 1n, PAGE, BITMAP))).toBe('EINVAL')
  })
})

describe('IOMMU_HW_QUEUE_ALLOC', () => {
  const NEST_PARENT = 1
  const SELFTEST = 0xdeadbeef
  const alloc = (viommu: number, type: number, index: number, iova: bigint, length: bigint, flags = 0): Uint8Array =>
    bytesOf([40, 4], [flags, 4], [viommu, 4], [type, 4], [index, 4], [0, 4], [iova, 8], [length, 8])

  it('looks at flags and type, the range, the vIOMMU, its types, the memory, the index; and tells the id', () => {
    const ioas = door.newIoas()
    const device = word(door.done(TEST, SelftestDoor.test(2, ioas)), 24)
    const parent = word(door.done(0x3b89, words(48, NEST_PARENT, device, ioas, 0, 0, 0, 0, 0, 0, 0, 0)), 16)
    const viommu = word(door.done(0x3b90, words(40, 0, SELFTEST, device, parent, 0, 0, 0, 0, 0)), 20)
    door.done(0x3b85, bytesOf([40, 4], [FIXED_RW, 4], [ioas, 4], [0, 4], [VA, 8], [0x2000, 8], [APERTURE, 8]))
    const end = 2n ** 64n - 1n
    expect(door.errno(0x3b94, alloc(99, SELFTEST, 0, end, 0n, 1))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b94, alloc(99, 0, 0, end, 0n))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b94, alloc(99, SELFTEST, 0, end, 0n))).toBe('EINVAL')
    expect(door.errno(0x3b94, alloc(99, SELFTEST, 0, end, 2n))).toBe('EOVERFLOW')
    expect(door.errno(0x3b94, alloc(99, 1, 0, 0n, PAGE))).toBe('ENOENT')
    expect(door.errno(0x3b94, alloc(viommu, 1, 0, 0n, PAGE))).toBe('EOPNOTSUPP')
    expect(door.errno(0x3b94, alloc(viommu, SELFTEST, 2, 0n, PAGE))).toBe('ENOENT')
    expect(door.errno(0x3b94, alloc(viommu, SELFTEST, 2, APERTURE, PAGE))).toBe('EINVAL')
    expect(door.errno(0x3b94, alloc(viommu, SELFTEST, 1, APERTURE, PAGE))).toBe('EIO')
    const made = word(door.done(0x3b94, alloc(viommu, SELFTEST, 0, APERTURE, PAGE)), 20)
    // The access of the queue has the id behind its own.
    expect(door.newIoas()).toBe(made + 2)
    expect(door.errno(0x3b94, alloc(viommu, SELFTEST, 0, APERTURE, PAGE))).toBe('EEXIST')
  })
})
