/** The self-test's operations on address spaces and domains. [uAPI struct iommu_test_cmd] */

import { beforeEach, describe, expect, it } from 'vitest'
import { SelftestDoor, TEST } from '../selftest/door.js'
import { bytesOf, long, memory, word, words } from './door.js'

const { test } = SelftestDoor
const longs = (...values: readonly bigint[]): Uint8Array => bytesOf(...values.map((value) => [value, 8] as const))

const APERTURE = 0x100_0000n
const VA = 0x7f00_0000_0000n
const PAGES = 16n
const ALL = 2n ** 64n - 1n
const FIXED_RW = 7
const DIRTY_TRACKING = 2

let door: SelftestDoor
let ioas: number

beforeEach(() => {
  door = new SelftestDoor()
  ioas = door.newIoas()
  door.region(PAGES * 4096n, VA)
})

function newDevice(): { hwpt: number; idev: number } {
  const after = door.done(TEST, test(2, ioas))
  return { hwpt: word(after, 20), idev: word(after, 24) }
}

/** IOAS_MAP of the caller's memory. */
const map = (va: bigint, length: bigint, iova: bigint): string =>
  door.errno(0x3b85, new Uint8Array([...words(40, FIXED_RW, ioas, 0), ...longs(va, length, iova)]))

describe('ADD_RESERVED', () => {
  const reserve = (id: number, start: bigint, length: bigint) => door.errno(TEST, test(1, id, longs(start, length)))

  it('reserves a range until the address space goes', () => {
    expect(reserve(ioas, 0x1000n, 0x1000n)).toBe('ok')
    expect(map(VA, 0x1000n, 0x1000n)).toBe('EINVAL')
    expect(door.errno(0x3b80, words(8, ioas))).toBe('ok')
  })

  it('is refused in the kernel’s order', () => {
    expect(reserve(99, 0n, 0n)).toBe('EINVAL')
    expect(reserve(99, ALL, 2n)).toBe('EOVERFLOW')
    expect(reserve(99, 0n, 1n)).toBe('ENOENT')
    expect(map(VA, 0x1000n, 0x1000n)).toBe('ok')
    expect(reserve(ioas, 0x1fffn, 1n)).toBe('EADDRINUSE')
    expect(reserve(ioas, ALL, 1n)).toBe('ok')
  })
})

describe('MD_CHECK_MAP', () => {
  const check = (id: number, iova: bigint, length: bigint, uptr: bigint) =>
    door.errno(TEST, test(3, id, longs(iova, length, uptr)))

  it('compares what is mapped with the caller’s own pages', () => {
    const { hwpt } = newDevice()
    expect(map(VA + 0x800n, 0x2000n, APERTURE)).toBe('ok')
    expect(check(hwpt, APERTURE, 0x2000n, VA + 0x800n)).toBe('ok')
    expect(check(hwpt, APERTURE + 0x800n, 0x1000n, VA + 0x1000n)).toBe('ok')
    expect(check(hwpt, APERTURE, 0x2000n, VA)).toBe('EINVAL')
    expect(check(hwpt, APERTURE, 0x2800n, VA + 0x800n)).toBe('EINVAL')
    expect(check(hwpt, APERTURE, 0n, VA)).toBe('ok')
  })

  it('is refused for misaligned ranges, other objects, and memory that is not there', () => {
    const { hwpt, idev } = newDevice()
    expect(map(VA, PAGES * 4096n, APERTURE)).toBe('ok')
    for (const [iova, length, uptr] of [
      [1n, 0n, 0n],
      [0n, 1n, 0n],
      [0n, 0n, 1n],
      [0n, 0x1000n, ALL - 0x7ffn],
    ]) {
      expect(check(hwpt, iova, length, uptr)).toBe('EINVAL')
    }
    expect([check(ioas, 0n, 0n, 0n), check(idev, 0n, 0n, 0n)]).toEqual(['ENOENT', 'ENOENT'])
    expect(check(hwpt, APERTURE + 0xf000n, 0x2000n, VA + 0xf000n)).toBe('EFAULT')
    // Memory of the call is readable, and is not what is mapped.
    const arg = test(3, hwpt, longs(APERTURE, 0x800n, 0x5000n))
    expect(door.errno(TEST, arg, [memory(0x5000n, new Uint8Array(4096))])).toBe('EINVAL')
  })
})

describe('DIRTY', () => {
  const LENGTH = PAGES * 4096n
  const UNIT = 2048n
  let hwpt: number

  beforeEach(() => {
    const { idev } = newDevice()
    const alloc = new Uint8Array([...words(48, DIRTY_TRACKING, idev, ioas, 0, 0, 0, 0), ...longs(0n), ...words(0, 0)])
    hwpt = word(door.done(0x3b89, alloc), 16)
    expect(map(VA, LENGTH, APERTURE)).toBe('ok')
  })

  const track = (on: boolean) => door.errno(0x3b8b, words(16, on ? 1 : 0, hwpt, 0))
  const dirty = (id: number, iova: bigint, length: bigint, page: bigint, uptr = 0x5000n) =>
    door.ioctl(TEST, test(13, id, longs(0n, iova, length, page, uptr)), [memory(0x5000n, Uint8Array.of(5, 0, 0, 128))])
  const nameOf = (reply: ReturnType<typeof dirty>): string => reply.refusal?.name ?? 'ok'
  const read = (flags = 0): string => {
    const bitmap = memory(0x6000n, new Uint8Array(4))
    const arg = new Uint8Array([...words(48, hwpt, flags, 0), ...longs(APERTURE, LENGTH, UNIT, 0x6000n)])
    const { written } = door.ioctl(0x3b8c, arg, [bitmap])
    for (const { address, data } of written) bitmap.data.set(data, Number(address - 0x6000n))
    return Buffer.from(bitmap.data).toString('hex')
  }

  it('marks the pages whose bits are set, which the log then tells once', () => {
    track(true)
    const { arg } = dirty(hwpt, APERTURE, LENGTH, UNIT)
    expect(long(arg, 56)).toBe(3n)
    expect(read(1)).toBe('05000080')
    expect(read()).toBe('05000080')
    expect(read()).toBe('00000000')
  })

  it('counts pages that are not mapped', () => {
    track(true)
    const { arg } = dirty(hwpt, 0x7000_0000n, LENGTH, UNIT)
    expect(long(arg, 56)).toBe(3n)
    expect(read()).toBe('00000000')
  })

  it('is refused in the kernel’s order', () => {
    for (const [iova, length, page, uptr] of [
      [0n, 0n, 1n, 1n],
      [0n, 1n, 0n, 1n],
      [1n, 2n, 2n, 1n],
      [2n, 1n, 2n, 1n],
      [0n, 1n, 1n, 0n],
    ]) {
      expect(nameOf(dirty(99, iova, length, page, uptr))).toBe('EINVAL')
    }
    expect(nameOf(dirty(99, 0n, 3n, 3n, 1n))).toBe('ENOENT')
    expect(nameOf(dirty(ioas, 0n, 3n, 3n, 1n))).toBe('ENOENT')
    expect(nameOf(dirty(hwpt, 0n, 3n, 3n, 1n))).toBe('EINVAL')
    track(true)
    expect(nameOf(dirty(hwpt, 0n, 3n, 3n, 1n))).toBe('EFAULT')
    expect(nameOf(dirty(hwpt, 0n, 2n ** 40n, 1n, 1n))).toBe('ENOMEM')
    track(false)
    expect(nameOf(dirty(hwpt, APERTURE, LENGTH, UNIT))).toBe('EINVAL')
  })
})
