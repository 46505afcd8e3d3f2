/** A VFIO container's ioctls on /dev/iommu. [uAPI VFIO_IOMMU_*, VFIO_SET_IOMMU, VFIO_CHECK_EXTENSION] */

import { beforeEach, describe, expect, it } from 'vitest'
import { Ioas } from '../../server/core/ioas.js'
import type { FakeMapping } from '../core/fake-machine.js'
import { bytesOf, Door, join, long, word, words } from './door.js'

const GET_API_VERSION = 0x3b64
const CHECK_EXTENSION = 0x3b65
const SET_IOMMU = 0x3b66
const GET_INFO = 0x3b70
const MAP_DMA = 0x3b71
const UNMAP_DMA = 0x3b72
const DIRTY_PAGES = 0x3b75
const TYPE1 = 1
const TYPE1V2 = 3

/** Where the tests' memory is, in the caller. */
const VA = 0x10000000n
const PAGE = 0x1000n
const ALL_ONES = 2n ** 64n - 1n

let door: Door
let ioas: number

beforeEach(() => {
  door = new Door()
  door.region(0x100000n, VA)
})

/** Makes an IOAS and the container's. */
function container(type = TYPE1V2): void {
  ioas = door.newIoas()
  door.done(0x3b88, words(12, ioas, 1))
  door.done(SET_IOMMU, number(type))
}

const number = (value: number | bigint): Uint8Array => bytesOf([value, 8])
const map = (iova: bigint, size: bigint, flags = 3, argsz = 32): Uint8Array =>
  join(words(argsz, flags), bytesOf([VA, 8], [iova, 8], [size, 8]))
const unmap = (iova: bigint, size: bigint, flags = 0, argsz = 24): Uint8Array =>
  join(words(argsz, flags), bytesOf([iova, 8], [size, 8]))

/** Errno of an unmap, and the size that it wrote. */
function unmapped(iova: bigint, size: bigint, flags = 0): readonly [string, bigint] {
  const { errno, arg, refusal } = door.ioctl(UNMAP_DMA, unmap(iova, size, flags))
  return [errno === 0 ? 'ok' : refusal!.name, long(arg, 16)]
}

const space = (): Ioas => door.core.contextOf(door.token, door.peer).objects.get(Ioas, ioas, 'ioas_id')

/** First page and the one behind the last, of each mapping. */
const pieces = (): readonly bigint[] =>
  [...space().areas].flatMap(({ start, last }) => [start / PAGE, (last + 1n) / PAGE])

/** What the tables of the IOAS's only domain hold. */
function mappings(): readonly FakeMapping[] {
  const [domain] = space().domains
  return [...(domain.ops as unknown as { readonly mappings: readonly FakeMapping[] }).mappings]
}

describe('/dev/vfio/vfio', () => {
  it('is /dev/iommu, with memory accounted to the process from then on', () => {
    const mode = (): bigint => door.do('GetOption', { option: 1, objectId: 0 }).value
    expect(mode()).toBe(0n)
    const { handle } = door.handle('OpenHandle', { path: '/dev/vfio/vfio' })
    expect(mode()).toBe(1n)
    expect(word(door.done(0x3b81, words(12, 0, 0), [], handle), 8)).toBe(1)
  })
})

describe('a container without an IOAS', () => {
  it('has version 0 and tells its extensions', () => {
    const extension = (which: number | bigint): bigint => door.ioctl(CHECK_EXTENSION, number(which)).result
    expect(door.ioctl(GET_API_VERSION, words()).result).toBe(0n)
    const told = Array.from({ length: 12 }, (_, which) => (which === 4 ? 'asked below' : extension(which)))
    expect(told).toEqual([0n, 1n, 0n, 1n, 'asked below', 0n, 0n, 0n, 0n, 1n, 0n, 0n])
    expect(extension(2n ** 32n + 1n)).toBe(0n)
  })

  it('answers ENODEV after it has looked at sizes, flags and types, and ENOTTY to what it has not got', () => {
    expect(door.errno(CHECK_EXTENSION, number(4))).toBe('ENODEV')
    expect([0, 2, 4, 8].map((type) => door.errno(SET_IOMMU, number(type)))).toEqual(Array(4).fill('EINVAL'))
    expect([TYPE1, TYPE1V2].map((type) => door.errno(SET_IOMMU, number(type)))).toEqual(['ENODEV', 'ENODEV'])
    expect(door.errno(GET_INFO, words(15, 0, 0, 0))).toBe('EINVAL')
    expect(door.errno(GET_INFO, words(16, 0, 0, 0))).toBe('ENODEV')
    expect(door.errno(MAP_DMA, map(0n, PAGE, 3, 31))).toBe('EINVAL')
    expect(door.errno(MAP_DMA, map(0n, PAGE, 4))).toBe('EINVAL')
    expect(door.errno(MAP_DMA, map(0n, PAGE))).toBe('ENODEV')
    expect(door.errno(MAP_DMA, map(0n, PAGE).subarray(0, 31))).toBe('EFAULT')
    expect(door.errno(UNMAP_DMA, unmap(0n, PAGE, 0, 23))).toBe('EINVAL')
    expect(door.errno(UNMAP_DMA, unmap(0n, PAGE, 1))).toBe('EINVAL')
    expect(door.errno(UNMAP_DMA, unmap(0n, PAGE))).toBe('ENODEV')
    expect(door.errno(DIRTY_PAGES, words(16, 0, 0, 0))).toBe('ENOTTY')
  })
})

describe('VFIO_DMA_CC_IOMMU', () => {
  it('is 1 until a domain stands for a device that does not enforce coherency', () => {
    container()
    expect(door.ioctl(CHECK_EXTENSION, number(4)).result).toBe(1n)
    const domain = door.paging(door.bind('intel'), ioas)
    expect(door.ioctl(CHECK_EXTENSION, number(4)).result).toBe(0n)
    door.do('Destroy', { objectId: domain })
    expect(door.ioctl(CHECK_EXTENSION, number(4)).result).toBe(1n)
  })
})

describe('VFIO_IOMMU_MAP_DMA', () => {
  it('maps at the IOVA that is asked for, with IOMMU_IOAS_MAP’s refusals', () => {
    container()
    expect(door.errno(MAP_DMA, map(4n * PAGE, 2n * PAGE))).toBe('ok')
    expect(door.errno(MAP_DMA, map(5n * PAGE, PAGE))).toBe('EEXIST')
    expect(door.errno(MAP_DMA, map(0n, 0n))).toBe('EINVAL')
    expect(door.errno(MAP_DMA, map(8n * PAGE, PAGE, 0))).toBe('EINVAL')
    // All ones is an IOVA as any other here: it ends beyond 2^64.
    expect(door.errno(MAP_DMA, map(ALL_ONES, 2n))).toBe('EOVERFLOW')
    expect(pieces()).toEqual([4n, 6n])
  })

  it('is EFAULT for memory that is not there once there is a domain', () => {
    container()
    const beyond = 0x200000n
    expect(door.errno(MAP_DMA, map(0n, beyond))).toBe('ok')
    expect(unmapped(0n, beyond)).toEqual(['ok', beyond])
    door.paging(door.bind('intel'), ioas)
    expect(door.errno(MAP_DMA, map(0n, beyond))).toBe('EFAULT')
  })
})

describe('VFIO_IOMMU_UNMAP_DMA', () => {
  it('succeeds where nothing is mapped, and tells 0', () => {
    container()
    expect(unmapped(0n, PAGE)).toEqual(['ok', 0n])
    expect(unmapped(0n, 0n, 2)).toEqual(['ok', 0n])
  })

  it('tells what it removed beside an error, too', () => {
    container()
    for (const iova of [0n, 4n * PAGE]) door.done(MAP_DMA, map(iova, 2n * PAGE))
    expect(unmapped(0n, 5n * PAGE)).toEqual(['ENOENT', 2n * PAGE])
    expect(unmapped(0n, 0n)).toEqual(['EINVAL', 0n])
    expect(unmapped(PAGE, ALL_ONES)).toEqual(['EOVERFLOW', 0n])
  })

  it('takes ALL with neither IOVA nor size', () => {
    container()
    for (const iova of [0n, 4n * PAGE]) door.done(MAP_DMA, map(iova, 2n * PAGE))
    // Refused before anything is written.
    expect(unmapped(PAGE, 0n, 2)).toEqual(['EINVAL', 0n])
    expect(unmapped(0n, PAGE, 2)).toEqual(['EINVAL', PAGE])
    expect(unmapped(0n, 0n, 2)).toEqual(['ok', 4n * PAGE])
  })

  it('is ENOENT for a part of a mapping with type 1 version 2', () => {
    container()
    door.done(MAP_DMA, map(0n, 4n * PAGE))
    for (const [page, count] of [
      [0n, 1n],
      [1n, 2n],
      [3n, 1n],
    ]) {
      expect(unmapped(page * PAGE, count * PAGE)).toEqual(['ENOENT', 0n])
    }
    expect(pieces()).toEqual([0n, 4n])
  })
})

describe('a container of type 1', () => {
  it('has no large pages from then on, which needs an IOAS without mappings in a domain', () => {
    container(TYPE1)
    const option = word(door.done(0x3b87, join(words(24, 1, 1, ioas), number(9))), 16)
    expect(option).toBe(0)
    const other = door.newIoas()
    door.done(0x3b88, words(12, other, 1))
    door.done(MAP_DMA, map(0n, PAGE))
    door.paging(door.bind('intel'), other)
    expect(door.errno(SET_IOMMU, number(TYPE1))).toBe('EINVAL')
    expect(door.errno(SET_IOMMU, number(TYPE1V2))).toBe('ok')
  })

  describe.each(['without a domain', 'with a domain'])('%s', (how) => {
    beforeEach(() => {
      container(TYPE1)
      if (how === 'with a domain') door.paging(door.bind('intel'), ioas)
      door.done(MAP_DMA, map(0n, 8n * PAGE))
    })

    it('unmaps any whole pages of a mapping, and leaves the rest', () => {
      expect(unmapped(2n * PAGE, 3n * PAGE)).toEqual(['ok', 3n * PAGE])
      expect(unmapped(0n, PAGE)).toEqual(['ok', PAGE])
      expect(unmapped(7n * PAGE, 4n * PAGE)).toEqual(['ok', PAGE])
      expect(pieces()).toEqual([1n, 2n, 5n, 7n])
    })

    it('leaves the other pages’ translations as they were', () => {
      if (how === 'without a domain') door.paging(door.bind('intel'), ioas)
      const before = mappings()
      expect(unmapped(2n * PAGE, 3n * PAGE)).toEqual(['ok', 3n * PAGE])
      const kept = before.filter(({ iova }) => iova < 2n * PAGE || iova >= 5n * PAGE)
      expect(mappings()).toEqual(kept)
      expect(kept).toHaveLength(5)
    })

    it('is EINVAL for an end inside a page; the last byte is looked at first, and cut where it can be', () => {
      expect(door.errno(UNMAP_DMA, unmap(2n * PAGE, PAGE + 1n))).toBe('EINVAL')
      expect(pieces()).toEqual([0n, 8n])
      expect(door.errno(UNMAP_DMA, unmap(2n * PAGE + 1n, PAGE - 1n))).toBe('EINVAL')
      expect(pieces()).toEqual([0n, 3n, 3n, 8n])
    })

    it('gives back all that the parts held', () => {
      expect(unmapped(2n * PAGE, 3n * PAGE)).toEqual(['ok', 3n * PAGE])
      expect(unmapped(0n, 0n, 2)).toEqual(['ok', 5n * PAGE])
      const areas = door.do('GetContext').quotas.find(({ name }) => name === 'areas')
      expect(areas?.used).toBe(0n)
    })
  })
})

describe('VFIO_IOMMU_GET_INFO', () => {
  const info = (argsz: number, room = argsz): Uint8Array => {
    const arg = new Uint8Array(room).fill(0xee)
    arg.set(words(argsz))
    return arg
  }

  it('tells the size that it needs, and page sizes, in the shortest struct', () => {
    container()
    const reply = door.done(GET_INFO, info(16))
    // One IOVA range: 24 + 16 + 16 + 16 bytes.
    expect([word(reply, 0), word(reply, 4), long(reply, 8)]).toEqual([72, 3, ALL_ONES & ~(PAGE - 1n)])
    expect(word(door.done(GET_INFO, info(24)), 16)).toBe(0)
  })

  it('writes both capabilities when there is room for all, and links them', () => {
    container()
    const reply = door.done(GET_INFO, info(72, 80))
    expect(word(reply, 16)).toBe(24)
    expect([...reply.subarray(24, 36)]).toEqual([...words(0x0001_0003, 40, 0xffffffff)])
    expect([...reply.subarray(40, 72)]).toEqual([...words(0x0001_0001, 0, 1, 0), ...bytesOf([0n, 8], [ALL_ONES, 8])])
    expect([...reply.subarray(36, 40), ...reply.subarray(72)]).toEqual(Array(12).fill(0xee))
  })

  it('writes what fits, and never beyond argsz', () => {
    container()
    for (let argsz = 16; argsz < 72; argsz++) {
      const reply = door.done(GET_INFO, info(argsz, 80))
      expect(word(reply, 0)).toBe(72)
      if (argsz >= 20) expect(word(reply, 16)).toBe(0)
      expect([...reply.subarray(argsz)]).toEqual(Array(80 - argsz).fill(0xee))
      expect(reply[24] === 3).toBe(argsz >= 36)
    }
  })

  it('is EFAULT where the bytes that it would write are not there', () => {
    container()
    expect(door.errno(GET_INFO, info(72, 71))).toBe('EFAULT')
    expect(door.errno(GET_INFO, info(4096, 72))).toBe('ok')
  })

  it('tells the ranges and page sizes of what is attached', () => {
    container()
    const device = door.bind('intel')
    door.do('AttachRid', { deviceId: device, ptId: ioas })
    const reply = door.done(GET_INFO, info(256))
    const ranges = door.do('IoasIovaRanges', { ioasId: ioas }).ranges
    expect(word(reply, 48)).toBe(ranges.length)
    expect(ranges.map((_, index) => [long(reply, 56 + 16 * index), long(reply, 64 + 16 * index)])).toEqual(
      ranges.map(({ first, last }) => [first, last]),
    )
    expect(long(reply, 8) & 0xfffn).toBe(0n)
  })
})
