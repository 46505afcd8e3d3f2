import { describe, expect, it } from 'vitest'
import { AccessUser } from './accessing.js'
import { ALL, READABLE, World, WRITEABLE } from './world.js'

const PAGE = 4096n

/** The errno that an action is refused with. */
function no(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    return (error as Error).name
  }
  return 'not refused'
}

function world() {
  const made = new World()
  return { world: made, ioas: made.ioas(), region: made.region() }
}

describe('an access', () => {
  it('is an object that its user and nobody else ends, and holds its IOAS', () => {
    const { world: w, ioas } = world()
    const user = new AccessUser(w, ioas, false)
    expect(w.objects()).toEqual([`${ioas}:1`, `${user.access.id}:10`])
    expect(w.no('Destroy', { objectId: user.access.id })).toBe('EBUSY')
    expect(w.no('Destroy', { objectId: ioas })).toBe('EBUSY')
    user.close()
    expect(w.objects()).toEqual([`${ioas}:1`])
    w.do('Destroy', { objectId: ioas })
  })

  it('that pins makes the alignment 4096 bytes, and is refused where a mapping is finer', () => {
    const { world: w, ioas, region } = world()
    const alignment = () => w.do('IoasIovaRanges', { ioasId: ioas }).iovaAlignment
    w.map(ioas, region, 512n, 0x1000n)
    expect(no(() => new AccessUser(w, ioas, true))).toBe('EADDRINUSE')
    new AccessUser(w, ioas, false)
    expect(alignment()).toBe(1n)
    w.do('IoasUnmap', { ioasId: ioas, iova: 0x1000n, length: 512n })
    const user = new AccessUser(w, ioas, true)
    expect(alignment()).toBe(PAGE)
    expect(w.no('IoasMap', { ioasId: ioas, region: { regionId: region, offset: 0n }, length: 512n, flags: 6 })).toBe(
      'EINVAL',
    )
    user.close()
    expect(alignment()).toBe(1n)
  })

  it('is asked for everything when it moves, and stays where it was when the new IOAS refuses it', () => {
    const { world: w, ioas, region } = world()
    const other = w.ioas()
    w.map(ioas, region, PAGE, 0x1000n)
    w.map(other, region, 512n, 0x1000n)
    const user = new AccessUser(w, ioas, true)
    user.pin(0x1000n, PAGE)
    expect(no(() => user.move(other))).toBe('EADDRINUSE')
    expect(user.pins).toHaveLength(1)
    expect(no(() => user.move(99))).toBe('ENOENT')
    w.do('IoasUnmap', { ioasId: other, length: ALL })
    user.move(ioas)
    expect(user.asked).toEqual([])
    user.move(other)
    expect(user.asked).toEqual([[0n, ALL]])
    expect([user.pins.length, user.access.ioas?.id]).toEqual([0, other])
    w.do('Destroy', { objectId: ioas })
    expect(no(() => user.pin(0x1000n, PAGE))).toBe('ENOENT')
  })

  it('without an IOAS reaches nothing', () => {
    const { world: w, ioas } = world()
    const user = new AccessUser(w, ioas, true)
    user.do(() => user.access.move(undefined))
    expect(no(() => user.pin(0x1000n, PAGE))).toBe('ENOENT')
    expect(no(() => user.read(0x1000n, 1))).toBe('ENOENT')
    w.do('Destroy', { objectId: ioas })
  })
})

describe('copying by IOVA', () => {
  it('crosses mappings and regions at any byte, with and without a domain', () => {
    const { world: w, ioas } = world()
    const [first, second] = [w.region(0x2000n, 0x10000n), w.region(0x2000n, 0x12000n)]
    const { iova } = w.do('IoasMap', { ioasId: ioas, userVa: 0x10800n, length: 0x2000n, flags: 6 })
    w.map(ioas, first, 0x1000n, iova + 0x2000n, 0n)
    const user = new AccessUser(w, ioas, false)
    user.write(iova + 0x17fen, [1, 2, 3, 4])
    user.write(iova + 0x1fffn, [5, 6])
    const read = (regionId: number, offset: bigint, length: number) => [
      ...w.do('ReadMemory', { slices: [{ regionId, offset, length }] }).data[0],
    ]
    expect(read(first, 0x1ffen, 2)).toEqual([1, 2])
    expect(read(second, 0n, 2)).toEqual([3, 4])
    expect(read(second, 0x7ffn, 1)).toEqual([5])
    expect(read(first, 0n, 1)).toEqual([6])
    w.do('IoasUnmap', { ioasId: ioas, iova: 0n, length: ALL })
    w.map(ioas, first, 0x1000n, 0x40000n, 0x1000n)
    w.paging(w.bind('intel'), ioas)
    expect(user.read(0x40ffen, 2)).toEqual([1, 2])
  })

  it('is refused by its length, its end, a hole, the mapping’s rights and what leads nowhere', () => {
    const { world: w, ioas, region } = world()
    const user = new AccessUser(w, ioas, false)
    w.map(ioas, region, PAGE, 0x1000n, 0n, READABLE)
    w.map(ioas, region, PAGE, 0x2000n, 0n, WRITEABLE)
    w.do('IoasMap', { ioasId: ioas, userVa: 0x777000n, length: PAGE, iova: 0x5000n, flags: 7 })
    expect(no(() => user.read(0x1000n, 0))).toBe('EINVAL')
    expect(no(() => user.read(ALL, 2))).toBe('EOVERFLOW')
    expect(no(() => user.read(0xfffn, 2))).toBe('ENOENT')
    expect(no(() => user.read(0x1000n, 0x1001))).toBe('EPERM')
    expect(no(() => user.write(0x1000n, [1]))).toBe('EPERM')
    expect(no(() => user.read(0x5000n, 1))).toBe('EFAULT')
    user.write(0x2000n, [7])
    expect(user.read(0x1000n, 1)).toEqual([7])
  })

  it('does what comes before the first byte that it cannot reach', () => {
    const { world: w, ioas, region } = world()
    w.map(ioas, region, PAGE, 0x1000n)
    const user = new AccessUser(w, ioas, false)
    expect(no(() => user.write(0x1fffn, [9, 9]))).toBe('ENOENT')
    expect(user.read(0x1fffn, 1)).toEqual([9])
  })
})

describe('pinning by IOVA', () => {
  it('needs whole pages of memory, of mappings that allow it, without a hole', () => {
    const { world: w, ioas, region } = world()
    const user = new AccessUser(w, ioas, true)
    w.map(ioas, region, 2n * PAGE, 0x1000n, 0n, READABLE)
    w.map(ioas, region, PAGE, 0x3000n, 0n, WRITEABLE)
    w.do('IoasMap', { ioasId: ioas, userVa: 0x777000n, length: PAGE, iova: 0x5000n, flags: 7 })
    expect(no(() => user.pin(0x1000n, 0n))).toBe('EINVAL')
    expect(no(() => user.pin(ALL, 2n))).toBe('EOVERFLOW')
    expect(no(() => user.pin(0x1004n, 16n))).toBe('EINVAL')
    expect(no(() => user.pin(0x1000n, PAGE, true))).toBe('EPERM')
    expect(no(() => user.pin(0x1000n, 3n * PAGE))).toBe('EPERM')
    expect(no(() => user.pin(0x3000n, PAGE))).toBe('EPERM')
    expect(no(() => user.pin(0x3000n, 2n * PAGE, true))).toBe('ENOENT')
    expect(no(() => user.pin(0x5000n, PAGE))).toBe('EFAULT')
    expect(user.pin(0x1000n, PAGE + 5n).segments).toHaveLength(1)
    // What was refused has pinned nothing: the mappings go without a question.
    w.do('IoasUnmap', { ioasId: ioas, iova: 0x3000n, length: 3n * PAGE })
    expect(user.asked).toEqual([])
  })

  it('keeps memory whose region and domain are gone', () => {
    const { world: w, ioas, region } = world()
    const device = w.bind('intel')
    w.map(ioas, region, PAGE, 0x1000n)
    const domain = w.paging(device, ioas)
    const user = new AccessUser(w, ioas, true)
    user.pin(0x1000n, PAGE)
    w.do('Destroy', { objectId: domain })
    w.do('DestroyMemoryRegion', { regionId: region })
    expect(w.machine.memories).toHaveLength(1)
    user.write(0x1000n, [3])
    expect(user.read(0x1000n, 1)).toEqual([3])
    w.do('IoasUnmap', { ioasId: ioas, iova: 0x1000n, length: PAGE })
    expect(w.machine.memories).toEqual([])
  })

  it('is given back when the range is unmapped: each user of the IOAS is asked for that mapping', () => {
    const { world: w, ioas, region } = world()
    for (const iova of [0x1000n, 0x2000n, 0x3000n]) w.map(ioas, region, PAGE, iova)
    const [user, other] = [new AccessUser(w, ioas, true), new AccessUser(w, ioas, false)]
    user.pin(0x1000n, 2n * PAGE)
    user.pin(0x3000n, PAGE)
    expect(w.do('IoasUnmap', { ioasId: ioas, iova: 0x1000n, length: 2n * PAGE }).length).toBe(2n * PAGE)
    // The second mapping was let go with the first.
    expect(user.asked).toEqual([[0x1000n, 0x1fffn]])
    expect(other.asked).toEqual(user.asked)
    expect(user.pins.map(({ start }) => start)).toEqual([0x3000n])
  })

  it('is asked for a hundred times and once more; then unmapping is EDEADLK, and the mapping takes no more', () => {
    const { world: w, ioas, region } = world()
    for (const iova of [0x1000n, 0x2000n]) w.map(ioas, region, PAGE, iova)
    const user = new AccessUser(w, ioas, true)
    const pin = user.pin(0x2000n, PAGE)
    user.isDeaf = true
    expect(w.no('IoasUnmap', { ioasId: ioas, iova: 0x1000n, length: 2n * PAGE })).toBe('EDEADLK')
    expect(user.asked).toHaveLength(101)
    // What was below it is gone.
    expect(no(() => user.pin(0x1000n, PAGE))).toBe('ENOENT')
    expect(no(() => user.pin(0x2000n, PAGE))).toBe('EINVAL')
    expect(no(() => user.read(0x2000n, 1))).toBe('EINVAL')
    user.access.unpin(pin)
    w.do('IoasUnmap', { ioasId: ioas, iova: 0x2000n, length: PAGE })
  })

  it('does not keep a mapping from being cut by an unmap: that is ENOENT before anyone is asked', () => {
    const { world: w, ioas, region } = world()
    w.map(ioas, region, 2n * PAGE, 0x1000n)
    const user = new AccessUser(w, ioas, true)
    user.pin(0x1000n, PAGE)
    expect(w.no('IoasUnmap', { ioasId: ioas, iova: 0x1000n, length: PAGE })).toBe('ENOENT')
    expect(user.asked).toEqual([])
  })

  it('ends with the user, and then nothing is left', () => {
    const { world: w, ioas, region } = world()
    w.map(ioas, region, PAGE, 0x1000n)
    const user = new AccessUser(w, ioas, true)
    user.pin(0x1000n, PAGE)
    user.close()
    expect(user.asked).toEqual([[0n, ALL]])
    w.do('IoasUnmap', { ioasId: ioas, iova: 0x1000n, length: PAGE })
    w.do('CloseContext')
    expect(w.leftovers()).toEqual([])
  })
})
