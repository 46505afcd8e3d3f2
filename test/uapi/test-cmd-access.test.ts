/** The self-test's accesses, which stand for a driver in the kernel that pins and copies. [uAPI struct iommu_test_cmd] */

import { beforeEach, describe, expect, it } from 'vitest'
import { SpentTurn } from '../core/paused.js'
import { SelftestDoor, TEST } from '../selftest/door.js'
import { bytesOf, memory, word, words } from './door.js'

const { test } = SelftestDoor
const longs = (...values: readonly bigint[]): Uint8Array => bytesOf(...values.map((value) => [value, 8] as const))

const APERTURE = 0x100_0000n
const VA = 0x7f00_0000_0000n
const PAGE = 4096n
const ALL = 2n ** 64n - 1n
const FIXED = 1
const WRITEABLE = 2
const READABLE = 4
const RW = WRITEABLE | READABLE
const WRITE = 1
const SLOW_PATH = 4
const SYZ = 0x1_0000

let door: SelftestDoor
let ioas: number

beforeEach(() => {
  door = new SelftestDoor()
  ioas = door.newIoas()
  door.region(16n * PAGE, VA)
})

const map = (va: bigint, length: bigint, iova: bigint, flags = RW): string =>
  door.errno(0x3b85, new Uint8Array([...words(40, FIXED | flags, ioas, 0), ...longs(va, length, iova)]))
const unmap = (iova: bigint, length: bigint): string =>
  door.errno(0x3b86, new Uint8Array([...words(24, ioas), ...longs(iova, length)]))
const create = (flags: number, id = ioas): string => door.errno(TEST, test(5, id, words(0, flags)))
const newAccess = (flags = 0): number => word(door.done(TEST, test(5, ioas, words(0, flags))), 16)
const close = (handle: number) => door.handle('CloseHandle', { handle })
const destroyed = (id: number): string => door.errno(0x3b80, words(8, id))
const refs = (va: bigint, length: bigint, count: number): string =>
  door.errno(TEST, test(4, 0, longs(length, va), words(count)))

describe('an access', () => {
  it('is a file with an object behind it, which holds the address space', () => {
    const handle = newAccess()
    expect(door.objects()).toEqual([`${ioas}:1`, `${ioas + 1}:10`])
    expect([destroyed(ioas + 1), destroyed(ioas)]).toEqual(['EBUSY', 'EBUSY'])
    close(handle)
    expect(door.objects()).toEqual([`${ioas}:1`])
    expect(destroyed(ioas)).toBe('ok')
  })

  it('is refused for other flags, then for an id that is no address space, and leaves nothing', () => {
    expect([create(2, 99), create(0, 99)]).toEqual(['EOPNOTSUPP', 'ENOENT'])
    expect(map(VA + 1n, 3n, 1n)).toBe('ok')
    expect(create(1)).toBe('EADDRINUSE')
    expect(door.objects()).toEqual([`${ioas}:1`])
    expect(door.handle('OpenHandle', { path: '/dev/iommu' }).handle).toBe(1)
  })

  it('is wanted where another file is given', () => {
    const { handle } = door.handle('OpenHandle', { path: '/dev/iommu' })
    for (const fd of [0, handle, 99]) {
      expect(door.errno(TEST, test(6, fd, words(0)))).toBe('EBADFD')
      expect(door.errno(TEST, test(7, fd, words(0, 0), longs(0n, 1n, 0n)))).toBe('EBADFD')
      expect(door.errno(TEST, test(8, fd, longs(0n, 1n, 0n), words(0)))).toBe('EBADFD')
      expect(door.errno(TEST, test(11, fd, words(ioas)))).toBe('EBADFD')
    }
  })

  it('goes with its context, with what it has pinned', () => {
    const handle = newAccess(1)
    expect(map(VA, PAGE, PAGE)).toBe('ok')
    expect(door.errno(TEST, test(7, handle, words(0, 0), longs(PAGE, PAGE, VA)))).toBe('ok')
    door.do('CloseContext')
    expect(door.core.contexts).toEqual([])
  })
})

describe('ACCESS_PAGES', () => {
  const pinning = (handle: number, iova: bigint, length: bigint, uptr: bigint, flags = 0) =>
    door.ioctl(TEST, test(7, handle, words(flags, 0), longs(iova, length, uptr)))
  const pin = (...request: Parameters<typeof pinning>): string => pinning(...request).refusal?.name ?? 'ok'
  const unpin = (handle: number, item: number): string => door.errno(TEST, test(6, handle, words(item)))

  it('pins pages, compares them with the caller’s, and numbers them from 0', () => {
    const handle = newAccess(1)
    expect(map(VA, 4n * PAGE, PAGE)).toBe('ok')
    expect(refs(VA, 4n * PAGE, 0)).toBe('ok')
    const items = [0n, 1n, 1n].map((page) => pinning(handle, PAGE * (page + 1n), PAGE, VA + PAGE * page).arg)
    expect(items.map((arg) => word(arg, 20))).toEqual([0, 1, 2])
    // A mapping's page is pinned once, however often.
    expect([refs(VA, 2n * PAGE, 1), refs(VA + 2n * PAGE, 2n * PAGE, 0)]).toEqual(['ok', 'ok'])
    expect([refs(VA, 2n * PAGE, 2), refs(VA + 1n, PAGE, 1), refs(VA, 1n, 1)]).toEqual(['EIO', 'EINVAL', 'EINVAL'])
    expect(refs(VA + 16n * PAGE, PAGE, 0)).toBe('EFAULT')
    expect([unpin(handle, 1), unpin(handle, 1), refs(VA + PAGE, PAGE, 1)]).toEqual(['ok', 'ENOENT', 'ok'])
    expect([unpin(handle, 2), refs(VA + PAGE, PAGE, 0)]).toEqual(['ok', 'ok'])
  })

  it('takes other pages for a mistake, and pins nothing then', () => {
    const handle = newAccess(1)
    expect(map(VA, 2n * PAGE, PAGE)).toBe('ok')
    expect(pin(handle, PAGE, 2n * PAGE, VA + PAGE)).toBe('EBADE')
    expect(pin(handle, PAGE, PAGE, VA + 16n * PAGE)).toBe('EFAULT')
    expect(refs(VA, 2n * PAGE, 0)).toBe('ok')
    // Without an address nothing is compared; a part of a page is compared as a page.
    expect([pin(handle, PAGE, PAGE, 0n), pin(handle, PAGE + 5n, 1n, VA + 5n)]).toEqual(['ok', 'EINVAL'])
  })

  it('is refused in the kernel’s order', () => {
    const [handle, other] = [newAccess(1), newAccess(0)]
    const long = 16n * 2n ** 20n + 1n
    expect(pin(99, 0n, long, 0n, 2)).toBe('ENOMEM')
    expect(pin(99, 0n, long - 1n, 0n, 2)).toBe('EOPNOTSUPP')
    expect(pin(other, 0n, 0n, 0n)).toBe('EOPNOTSUPP')
    expect([pin(handle, 0n, 0n, 0n), pin(handle, ALL, 2n, 0n)]).toEqual(['EINVAL', 'EOVERFLOW'])
    expect(map(VA, PAGE, PAGE, READABLE)).toBe('ok')
    expect([pin(handle, PAGE, PAGE, VA, WRITE), pin(handle, 0n, PAGE, VA)]).toEqual(['EPERM', 'ENOENT'])
    expect(pin(handle, PAGE, 2n * PAGE, VA)).toBe('ENOENT')
  })

  it('is undone by an unmap', () => {
    const handle = newAccess(1)
    expect(map(VA, PAGE, PAGE)).toBe('ok')
    expect(pin(handle, PAGE, PAGE, VA)).toBe('ok')
    expect([unmap(PAGE, PAGE), unpin(handle, 0), refs(VA, PAGE, 0)]).toEqual(['ok', 'ENOENT', 'ok'])
  })

  it('is undone when the access moves to another address space', () => {
    const other = door.newIoas()
    const handle = newAccess(1)
    expect(map(VA, PAGE, PAGE)).toBe('ok')
    expect(pin(handle, PAGE, PAGE, VA)).toBe('ok')
    expect(door.errno(TEST, test(11, handle, words(99)))).toBe('ENOENT')
    expect(refs(VA, PAGE, 1)).toBe('ok')
    expect(door.errno(TEST, test(11, handle, words(other)))).toBe('ok')
    expect([refs(VA, PAGE, 0), unpin(handle, 0), destroyed(ioas), destroyed(other)]).toEqual([
      'ok',
      'ENOENT',
      'ok',
      'EBUSY',
    ])
  })

  it('finds a page by the number of its mapping for a fuzzer', () => {
    const handle = newAccess(1)
    expect([map(VA, PAGE, PAGE), map(VA + PAGE, PAGE, 8n * PAGE)]).toEqual(['ok', 'ok'])
    expect(pin(handle, 1n, PAGE, VA + PAGE, SYZ)).toBe('ok')
    expect(pin(handle, 2n, PAGE, 0n, SYZ)).toBe('ENOENT')
  })
})

describe('a page of a device’s domain', () => {
  it('is pinned once for each mapping', () => {
    door.done(TEST, test(2, ioas))
    door.done(TEST, test(2, ioas))
    expect([map(VA, 2n * PAGE, APERTURE), refs(VA, 2n * PAGE, 1)]).toEqual(['ok', 'ok'])
    expect([map(VA + PAGE, PAGE, APERTURE + 8n * PAGE), refs(VA + PAGE, PAGE, 2)]).toEqual(['ok', 'ok'])
    expect([unmap(0n, ALL), refs(VA, 16n * PAGE, 0)]).toEqual(['ok', 'ok'])
  })
})

describe('ACCESS_RW', () => {
  const BUFFER = 0x5000n
  const rw = (handle: number, iova: bigint, bytes: Uint8Array, flags: number, writable = true) => {
    const arg = test(8, handle, longs(iova, BigInt(bytes.length), BUFFER), words(flags))
    const { refusal, written } = door.ioctl(TEST, arg, [memory(BUFFER, bytes, writable)])
    return refusal?.name ?? written.map(({ data }) => Buffer.from(data).toString('latin1')).join()
  }
  const text = (chars: string): Uint8Array => new Uint8Array(Buffer.from(chars, 'latin1'))

  it('copies in and out, across areas and at any byte', () => {
    const handle = newAccess()
    expect([map(VA, PAGE, PAGE), map(VA + 3n * PAGE, PAGE, 2n * PAGE)]).toEqual(['ok', 'ok'])
    expect(rw(handle, 2n * PAGE - 3n, text('abcdef'), WRITE)).toBe('')
    for (const flags of [0, SLOW_PATH]) expect(rw(handle, 2n * PAGE - 3n, text('......'), flags)).toBe('abcdef')
    const slices = [{ regionId: 1, offset: 3n * PAGE, length: 3 }]
    expect(Buffer.from(door.do('ReadMemory', { slices }).data[0]).toString('latin1')).toBe('def')
  })

  it('has done what comes before a hole', () => {
    const handle = newAccess()
    expect(map(VA, PAGE, PAGE)).toBe('ok')
    expect(rw(handle, 2n * PAGE - 3n, text('abcdef'), WRITE)).toBe('ENOENT')
    expect(rw(handle, 2n * PAGE - 3n, text('...'), 0)).toBe('abc')
  })

  it('is refused in the kernel’s order', () => {
    const handle = newAccess()
    const long = test(8, 99, longs(0n, 16n * 2n ** 20n + 1n, 0n), words(2))
    expect(door.errno(TEST, long)).toBe('ENOMEM')
    expect(rw(99, 0n, text('a'), 2)).toBe('EOPNOTSUPP')
    expect(door.errno(TEST, test(8, handle, longs(0n, 1n, 0n), words(WRITE)))).toBe('EFAULT')
    expect(door.errno(TEST, test(8, handle, longs(0n, 1n, 0n), words(0)))).toBe('ENOENT')
    expect(door.errno(TEST, test(8, handle, longs(0n, 0n, 0n), words(0)))).toBe('EINVAL')
    expect(map(VA, PAGE, PAGE, WRITEABLE)).toBe('ok')
    expect(rw(handle, PAGE, text('a'), 0)).toBe('EPERM')
    expect(rw(handle, PAGE, text('a'), WRITE, false)).toBe('')
    expect(map(VA, PAGE, 4n * PAGE, READABLE)).toBe('ok')
    expect(rw(handle, 4n * PAGE, text('a'), WRITE)).toBe('EPERM')
    expect(rw(handle, 4n * PAGE, text('.'), 0, false)).toBe('EFAULT')
  })
})

describe('an access that pins in slices', () => {
  it('is moved or closed by nobody meanwhile, and leaves nothing', async () => {
    const turn = new SpentTurn()
    const slow = new SelftestDoor({ turn })
    const later = (cmd: number, arg: Uint8Array) => {
      const reply = Promise.resolve(slow.handleLater('Ioctl', { handle: 0, cmd, arg, memory: [] }))
      return { end: async () => (await turn.finish(reply)).refusal?.name ?? 'ok', reply }
    }
    const done = async (cmd: number, arg: Uint8Array) => {
      const { reply } = later(cmd, arg)
      return (await turn.finish(reply)).arg
    }
    const [from, to] = [await done(0x3b81, words(12, 0, 0)), await done(0x3b81, words(12, 0, 0))].map((a) => word(a, 8))
    slow.region(4n * PAGE, VA)
    for (let at = 0n; at < 4n * PAGE; at += PAGE) {
      await done(0x3b85, new Uint8Array([...words(40, FIXED | RW, from, 0), ...longs(VA + at, PAGE, PAGE + at)]))
    }
    const handle = word(await done(TEST, test(5, from, words(0, 1))), 16)
    const pinned = later(TEST, test(7, handle, words(0, 0), longs(PAGE, 4n * PAGE, 0n)))
    await turn.step()
    const unmapping = later(0x3b86, new Uint8Array([...words(24, from), ...longs(PAGE, PAGE)]))
    expect(await Promise.race([unmapping.reply, turn.step()])).toMatchObject({ refusal: { name: 'EBUSY' } })
    expect(await later(TEST, test(11, handle, words(to))).end()).toBe('EBUSY')
    expect(await pinned.end()).toBe('ok')
    const again = later(TEST, test(7, handle, words(0, 0), longs(PAGE, 4n * PAGE, 0n)))
    await turn.step()
    expect(() => slow.handle('CloseHandle', { handle })).toThrow(/still changing access/)
    expect(await again.end()).toBe('ok')
    await turn.finish(slow.begin('CloseContext'))
    expect(slow.core.contexts).toEqual([])
  })
})
