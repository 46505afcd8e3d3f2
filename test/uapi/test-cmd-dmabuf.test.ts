/** DMA buffers of the self-test: mapped through a file, and taken back by their exporter. [uAPI struct iommu_test_cmd] */

import { beforeEach, describe, expect, it } from 'vitest'
import { SelftestDoor, TEST } from '../selftest/door.js'
import { bytesOf, word, words } from './door.js'

const { test } = SelftestDoor
const longs = (...values: readonly bigint[]): Uint8Array => bytesOf(...values.map((value) => [value, 8] as const))

const APERTURE = 0x100_0000n
const PAGE = 4096n
const FIXED_RW = 7
const DOMAIN_MAPS = 'OK'

let door: SelftestDoor
let ioas: number

beforeEach(() => {
  door = new SelftestDoor()
  ioas = door.newIoas()
})

const newBuffer = (length: number): number => Number(door.ioctl(TEST, test(22, 0, words(length, 0x80000))).result)
const mapFile = (fd: number, start: bigint, length: bigint, iova = APERTURE, id = ioas): string =>
  door.errno(0x3b8f, new Uint8Array([...words(40, FIXED_RW, id, fd), ...longs(start, length, iova)]))
const revoke = (fd: number, isRevoked: number): string => door.errno(TEST, test(23, 0, words(fd, isRevoked)))
const newDevice = () => {
  const after = door.done(TEST, test(2, ioas))
  return { stdev: word(after, 16), deviceId: word(after, 24) }
}

/** What a device's write of a few bytes comes to, and what it reads back. */
function dma(deviceId: number, iova = APERTURE): string {
  const [{ fault }] = door.do('DmaWrite', {
    deviceId,
    operations: [{ address: iova, data: Uint8Array.of(7, 8, 9) }],
  }).results
  if (fault !== undefined) return fault.name
  const [{ data }] = door.do('DmaRead', { deviceId, operations: [{ address: iova, length: 3 }] }).results
  return [...data].join() === '7,8,9' ? DOMAIN_MAPS : `read ${data}`
}

describe('a DMA buffer', () => {
  it('has 1 to 512 pages, rounded up, and its descriptor is what the ioctl returns', () => {
    const errnos = [0, 1, 4097, 512 * 4096, 512 * 4096 + 1].map((length) =>
      door.errno(TEST, test(22, 0, words(length, 0))),
    )
    expect(errnos).toEqual(['EINVAL', 'ok', 'ok', 'ok', 'EINVAL'])
    expect(newBuffer(1)).toBe(4)
    door.handle('CloseHandle', { handle: 2 })
    expect(newBuffer(4097)).toBe(2)
    expect([mapFile(2, 0n, 2n * PAGE), mapFile(2, PAGE, 2n * PAGE, 0n), mapFile(2, 2n * PAGE, 1n, 0n)]).toEqual([
      'ok',
      'EINVAL',
      'EINVAL',
    ])
  })

  it('is what devices read and write, though nobody pins it or pays for it', () => {
    const fd = newBuffer(8192)
    const { deviceId } = newDevice()
    expect(mapFile(fd, PAGE, PAGE)).toBe('ok')
    expect(dma(deviceId)).toBe('OK')
    expect(door.do('GetContext').quotas.find(({ name }) => name === 'regions')?.used).toBe(1n)
    const access = word(door.done(TEST, test(5, ioas, words(0, 1))), 16)
    expect(door.errno(TEST, test(8, access, longs(APERTURE, 1n, 0n), words(0)))).toBe('EINVAL')
    expect(door.errno(TEST, test(7, access, words(0, 0), longs(APERTURE, PAGE, 0n)))).toBe('EINVAL')
    // It is no file whose owner pays.
    expect(door.errno(0x3b92, words(8, 0))).toBe('EINVAL')
  })

  it('stays as long as something maps it', () => {
    const fd = newBuffer(4096)
    const { stdev, deviceId } = newDevice()
    expect(mapFile(fd, 0n, PAGE)).toBe('ok')
    door.handle('CloseHandle', { handle: fd })
    expect([mapFile(fd, 0n, PAGE, 2n * APERTURE), dma(deviceId)]).toEqual(['EBADF', 'OK'])
    for (const id of [stdev, ioas]) expect(door.errno(0x3b80, words(8, id))).toBe('ok')
    expect(door.do('GetContext').quotas.filter(({ used }) => used !== 0n)).toEqual([])
  })

  it('goes with its context', () => {
    const fd = newBuffer(4096)
    newDevice()
    expect(mapFile(fd, 0n, PAGE)).toBe('ok')
    door.do('CloseContext')
    expect(door.core.contexts).toEqual([])
  })
})

describe('revoking a DMA buffer', () => {
  it('takes it out of every table, and leaves the areas', () => {
    const fd = newBuffer(4096)
    const { deviceId } = newDevice()
    expect(mapFile(fd, 0n, PAGE)).toBe('ok')
    expect(revoke(fd, 1)).toBe('ok')
    expect(dma(deviceId)).toBe('NOT_MAPPED')
    expect([mapFile(fd, 0n, PAGE), mapFile(fd, 0n, PAGE, 2n * APERTURE)]).toEqual(['ENODEV', 'ENODEV'])
    expect([revoke(fd, 0), mapFile(fd, 0n, PAGE)]).toEqual(['ok', 'EEXIST'])
  })

  it('and allowing it again gives it to new mappings, not to those that were', () => {
    const fd = newBuffer(4096)
    const { deviceId } = newDevice()
    expect(mapFile(fd, 0n, PAGE)).toBe('ok')
    expect([revoke(fd, 1), revoke(fd, 0), dma(deviceId)]).toEqual(['ok', 'ok', 'NOT_MAPPED'])
    expect([mapFile(fd, 0n, PAGE, 2n * APERTURE), dma(deviceId, 2n * APERTURE)]).toEqual(['ok', 'OK'])
    // A copy shares the pages of what it copies.
    const copy = new Uint8Array([...words(40, FIXED_RW, ioas, ioas), ...longs(PAGE, 3n * APERTURE, APERTURE)])
    expect([door.errno(0x3b83, copy), dma(deviceId, 3n * APERTURE)]).toEqual(['ok', 'NOT_MAPPED'])
    expect(door.errno(0x3b86, new Uint8Array([...words(24, ioas), ...longs(0n, 2n ** 64n - 1n)]))).toBe('ok')
  })

  it('is no obstacle to a domain that joins', () => {
    const fd = newBuffer(4096)
    expect(mapFile(fd, 0n, PAGE)).toBe('ok')
    expect(revoke(fd, 1)).toBe('ok')
    const { stdev, deviceId } = newDevice()
    expect(dma(deviceId)).toBe('NOT_MAPPED')
    expect(door.errno(0x3b80, words(8, stdev))).toBe('ok')
  })

  it('takes out what was never revoked, when it is allowed', () => {
    const fd = newBuffer(4096)
    const { deviceId } = newDevice()
    expect(mapFile(fd, 0n, PAGE)).toBe('ok')
    expect([revoke(fd, 0), dma(deviceId)]).toEqual(['ok', 'NOT_MAPPED'])
  })

  it('is refused for other files', () => {
    const { handle } = door.handle('OpenHandle', { path: '/dev/iommu' })
    expect([revoke(handle, 1), revoke(99, 1)]).toEqual(['EINVAL', 'EBADF'])
  })
})
