/** Dirty tracking: orders of checks, the form of the bitmap, and what a walk sees. [uAPI IOMMU_HWPT_GET_DIRTY_BITMAP] */

import { describe, expect, it } from 'vitest'
import { setBits } from '../../server/core/dirty-bits.js'
import { DirtyRuns } from '../../server/core/dirty-runs.js'
import { DEFAULT_LIMITS } from '../../server/core/limits.js'
import type { FakeDirty } from './fake-dirty.js'
import { FakeMachine, type FakePaging } from './fake-machine.js'
import { PAGE, SpentTurn } from './paused.js'
import { ALL, FIXED, RW, World } from './world.js'

const DIRTY_TRACKING = 2
const NO_CLEAR = 1
const GIB = 2n ** 30n
const NONE = new BigUint64Array(0)

/** A device whose unit keeps a log, with pages of 4 KiB and 2 MiB, or of 2 KiB alone. */
function machine(pageSizes = 0x20_1000n): FakeMachine {
  return new FakeMachine([{ name: 'unit0', kind: 'vtd', dirty: true, pageSizes }], [{ name: 'device', unit: 'unit0' }])
}

/** A world with a domain that keeps a log, and 16 pages at 0x10000. */
function tracked(options: ConstructorParameters<typeof World>[0] & { pageSizes?: bigint } = {}) {
  const world = new World({ machine: machine(options.pageSizes), ...options })
  const ioasId = world.ioas()
  const deviceId = world.bind('device')
  const regionId = world.region(0x800_0000n)
  world.map(ioasId, regionId, 16n * PAGE, 0x10000n)
  const domainId = world.paging(deviceId, ioasId, DIRTY_TRACKING)
  world.do('AttachRid', { deviceId, ptId: domainId })
  const { slots } = world.machine.devices[0].device as unknown as { slots: Map<number, FakePaging> }
  const log = slots.get(0)?.dirty as FakeDirty
  const ask = { domainId, iova: 0x10000n, length: 16n * PAGE, pageSize: PAGE }
  const bits = (request: object = {}) => [...world.do('GetDirtyBitmap', { ...ask, ...request }).bitmap]
  return { world, ioasId, regionId, deviceId, domainId, log, ask, bits }
}

describe('reading a dirty bitmap', () => {
  it('puts the page at the first byte into bit 0 of byte 0', () => {
    const { log, bits } = tracked()
    for (const page of [0n, 3n, 8n, 15n]) log.touch(0x10000n + page * PAGE)
    expect(bits()).toEqual([0b0000_1001, 0b1000_0001])
  })

  it('makes what it told clean, and flushes before it answers', () => {
    const { world, log, bits } = tracked()
    log.touch(0x12000n)
    world.machine.log.length = 0
    expect(bits()).toEqual([4, 0])
    expect(world.machine.log).toEqual(['flush'])
    expect(bits()).toEqual([0, 0])
  })

  it('leaves all as it is with NO_CLEAR, and flushes nothing', () => {
    const { world, log, bits } = tracked()
    log.touch(0x12000n)
    world.machine.log.length = 0
    expect(bits({ flags: NO_CLEAR })).toEqual([4, 0])
    expect(bits({ flags: NO_CLEAR })).toEqual([4, 0])
    expect(world.machine.log).toEqual([])
  })

  it('sets one bit for all leaves of a larger page, and all bits of smaller ones', () => {
    const { log, bits } = tracked()
    log.touch(0x13000n)
    expect(bits({ pageSize: 4n * PAGE, flags: NO_CLEAR })).toEqual([1])
    expect(bits({ pageSize: 0x800n })).toEqual([0b1100_0000, 0, 0, 0])
  })

  it('clips a large leaf to the range', () => {
    const { world, ioasId, regionId, log, ask, bits } = tracked()
    world.map(ioasId, regionId, 0x20_0000n, 0x4000_0000n, 0x20_0000n)
    log.touch(0x4000_0000n)
    const inside = { iova: 0x4000_2000n, length: 0x4000n }
    expect(bits({ ...ask, ...inside, flags: NO_CLEAR })).toEqual([0b1111])
    expect(bits({ ...ask, iova: 0x4000_0000n, length: 0x20_0000n })).toEqual(Array(64).fill(0xff))
  })

  it('goes by the lowest bit of a page size that is no power of two', () => {
    const { log, bits } = tracked()
    log.touch(0x11000n)
    // 0x5000 - 1 is 0x4fff: the range begins and ends where bits 0 to 11 and 14 are clear.
    expect(bits({ pageSize: 0x5000n, iova: 0x10000n, length: 0x10000n })).toEqual([2, 0])
  })

  it('ends at a hole without a word', () => {
    const { world, ioasId, regionId, log, bits } = tracked()
    world.map(ioasId, regionId, PAGE, 0x21000n)
    log.touch(0x1f000n)
    log.touch(0x21000n)
    expect(bits({ length: 18n * PAGE, flags: NO_CLEAR })).toEqual([0, 0x80, 0])
    expect(bits({ iova: 0xf000n, length: 18n * PAGE })).toEqual([0, 0, 0])
    expect(bits({ iova: 0x21000n, length: PAGE })).toEqual([1])
  })

  it('goes on through areas that follow each other', () => {
    const { world, ioasId, regionId, log, bits } = tracked()
    world.map(ioasId, regionId, 8n * PAGE, 0x20000n)
    log.touch(0x1f000n)
    log.touch(0x20000n)
    expect(bits({ length: 24n * PAGE })).toEqual([0, 0x80, 1])
  })

  it('reads without tracking being on', () => {
    const { log, bits } = tracked()
    expect(log.isTracking).toBe(false)
    log.touch(0x10000n)
    expect(bits()).toEqual([1, 0])
  })

  it('takes a length of 0 at IOVA 0 for all addresses, as 64 bits do', () => {
    const { world, ask, bits } = tracked()
    const refusal = world.refusal('GetDirtyBitmap', { ...ask, iova: 0n, length: 0n })
    expect([refusal.name, refusal.context.asked]).toEqual(['EMSGSIZE', 2n ** 49n])
    expect(bits({ iova: 0n, length: 0n, pageSize: 2n ** 63n })).toEqual([0])
  })
})

describe('reading dirty pages as runs', () => {
  const runsOf = ({ runFirsts = NONE, runLasts = NONE }: { runFirsts?: BigUint64Array; runLasts?: BigUint64Array }) =>
    [...runFirsts].map((first, i) => [first, runLasts[i]])

  it('tells first and last byte of pages that follow each other, and no bitmap', () => {
    const { world, log, ask } = tracked()
    for (const page of [0n, 1n, 2n, 8n, 15n]) log.touch(0x10000n + page * PAGE)
    const reply = world.do('GetDirtyBitmap', { ...ask, asRuns: true })
    expect(runsOf(reply)).toEqual([
      [0x10000n, 0x12fffn],
      [0x18000n, 0x18fffn],
      [0x1f000n, 0x1ffffn],
    ])
    expect([reply.bitmap.length, reply.nextIova]).toEqual([0, undefined])
    expect(runsOf(world.do('GetDirtyBitmap', { ...ask, asRuns: true }))).toEqual([])
  })

  it('leaves all as it is with NO_CLEAR, and makes it clean with a flush otherwise', () => {
    const { world, log, ask } = tracked()
    log.touch(0x12000n)
    world.machine.log.length = 0
    const told = [[0x12000n, 0x12fffn]]
    expect(runsOf(world.do('GetDirtyBitmap', { ...ask, asRuns: true, flags: NO_CLEAR }))).toEqual(told)
    expect(world.machine.log).toEqual([])
    expect(runsOf(world.do('GetDirtyBitmap', { ...ask, asRuns: true }))).toEqual(told)
    expect(world.machine.log).toEqual(['flush'])
  })

  it('makes runs of whole pages of the size that is asked for', () => {
    const { world, log, ask } = tracked()
    for (const iova of [0x13000n, 0x14000n, 0x1f000n]) log.touch(iova)
    const reply = world.do('GetDirtyBitmap', { ...ask, asRuns: true, pageSize: 4n * PAGE })
    expect(runsOf(reply)).toEqual([
      [0x10000n, 0x17fffn],
      [0x1c000n, 0x1ffffn],
    ])
  })

  it('takes a range that no bitmap could hold, up to the last byte of 64 bits', () => {
    const { world, log, ask } = tracked()
    const all = { ...ask, iova: 0x10000n, length: 2n ** 64n - 0x10000n, asRuns: true }
    log.touch(0x10000n)
    expect(world.no('GetDirtyBitmap', { ...all, asRuns: false })).toBe('EMSGSIZE')
    expect(runsOf(world.do('GetDirtyBitmap', all))).toEqual([[0x10000n, 0x10fffn]])
    const runs = new DirtyRuns({ start: ALL - 0xffffn, last: ALL, bytesOfBit: PAGE })
    runs.sink(0x1000, 0x1000)
    runs.sink(0xf000, 0x1000)
    expect(runsOf(runs.columns())).toEqual([
      [ALL - 0xefffn, ALL - 0xe000n],
      [ALL - 0xfffn, ALL],
    ])
  })

  it('says where to go on when a reply is full, at a multiple of the page size, and leaves the rest dirty', () => {
    const limits = { ...DEFAULT_LIMITS, call: { ...DEFAULT_LIMITS.call, batch_elements: 2 } }
    const { world, log, ask } = tracked({ limits })
    const dirty = [0n, 2n, 4n, 6n, 9n, 11n, 13n, 15n].map((page) => 0x10000n + page * PAGE)
    for (const iova of dirty) log.touch(iova)
    const goOn = (iova: bigint): { runFirsts?: BigUint64Array; nextIova?: bigint } =>
      world.do('GetDirtyBitmap', { ...ask, iova, length: 0x20000n - iova, asRuns: true })
    const told: bigint[] = []
    const starts: bigint[] = []
    for (let iova: bigint | undefined = ask.iova; iova !== undefined; ) {
      starts.push(iova)
      const { runFirsts = NONE, nextIova } = goOn(iova)
      told.push(...runFirsts)
      iova = nextIova
    }
    expect(told).toEqual(dirty)
    expect(starts).toEqual([0x10000n, 0x18000n])
    for (const iova of dirty) log.touch(iova)
    const large = world.do('GetDirtyBitmap', { ...ask, pageSize: 16n * PAGE, asRuns: true })
    expect([runsOf(large), large.nextIova]).toEqual([[[0x10000n, 0x1ffffn]], undefined])
  })

  it('is refused as a bitmap is', () => {
    const { world, ask } = tracked()
    const no = (request: object) => world.no('GetDirtyBitmap', { ...ask, asRuns: true, ...request })
    expect(no({ flags: 2 })).toBe('EOPNOTSUPP')
    expect(no({ domainId: 99 })).toBe('ENOENT')
    expect(no({ length: 0n })).toBe('EOVERFLOW')
    expect(no({ iova: 0x10800n })).toBe('EINVAL')
    expect(no({ pageSize: 0n })).toBe('EINVAL')
    expect(no({ iova: 0x11000n, length: PAGE, pageSize: 2n * PAGE })).toBe('EINVAL')
  })
})

describe('refusals of a dirty bitmap', () => {
  it('come in the order of the kernel', () => {
    const { world, ask, domainId, ioasId, deviceId } = tracked()
    const plain = world.paging(deviceId, ioasId)
    const no = (request: object) => world.no('GetDirtyBitmap', { ...ask, ...request })
    expect(no({ flags: 2, domainId: 99 })).toBe('EOPNOTSUPP')
    expect(no({ domainId: ioasId, length: 0n })).toBe('ENOENT')
    expect(no({ iova: 0x10001n, length: 0n })).toBe('EOVERFLOW')
    expect(no({ iova: ALL, length: 2n, pageSize: 0n })).toBe('EOVERFLOW')
    expect(no({ iova: 0x10001n, pageSize: 0n, domainId: plain })).toBe('EINVAL')
    expect(no({ length: 1n, domainId: plain })).toBe('EINVAL')
    expect(no({ pageSize: 0n, domainId: plain })).toBe('EINVAL')
    expect(no({ iova: 0x11000n, length: 0x1000n, pageSize: 0x2000n, domainId: plain })).toBe('EINVAL')
    expect(no({ domainId: plain })).toBe('EOPNOTSUPP')
    expect(no({ domainId: plain, iova: 0n, length: 0n })).toBe('EOPNOTSUPP')
    expect(world.refusal('GetDirtyBitmap', { ...ask, iova: 0n, length: 2n ** 44n }).context).toMatchObject({
      limit: 'batch_bytes',
      asked: 2n ** 29n,
    })
    expect(world.do('GetDirtyBitmap', { ...ask, domainId }).bitmap.length).toBe(2)
  })

  it('ends at the last byte of 64 bits without overflow', () => {
    const { bits } = tracked()
    expect(bits({ iova: ALL - 0xfffn, length: PAGE })).toEqual([0])
  })

  it('are told before memory is taken when there is none', () => {
    const { world, ask } = tracked({
      failPoint: (what) => {
        if (what === 'dirty bitmap') throw new Error('the fail point is met')
      },
    })
    expect(() => world.do('GetDirtyBitmap', { ...ask, flags: 2 })).toThrow('flag bits')
    expect(() => world.do('GetDirtyBitmap', ask)).toThrow('the fail point is met')
  })
})

describe('switching dirty tracking on', () => {
  it('makes every area clean first, through holes', () => {
    const { world, ioasId, regionId, domainId, log, bits } = tracked()
    world.map(ioasId, regionId, PAGE, 0x80000n)
    log.touch(0x10000n)
    log.touch(0x80000n)
    world.machine.log.length = 0
    world.do('SetDirtyTracking', { domainId, flags: 1 })
    expect(world.machine.log).toEqual(['flush', 'tracking on'])
    expect(bits()).toEqual([0, 0])
    expect(bits({ iova: 0x80000n, length: PAGE })).toEqual([0])
    expect(log.isTracking).toBe(true)
  })

  it('twice makes all clean again, and off leaves it', () => {
    const { world, domainId, log, bits } = tracked()
    world.do('SetDirtyTracking', { domainId, flags: 1 })
    log.touch(0x10000n)
    world.do('SetDirtyTracking', { domainId, flags: 1 })
    expect(bits()).toEqual([0, 0])
    log.touch(0x10000n)
    world.do('SetDirtyTracking', { domainId, flags: 0 })
    world.do('SetDirtyTracking', { domainId, flags: 0 })
    expect(log.isTracking).toBe(false)
    expect(bits()).toEqual([1, 0])
  })

  it('is refused for unknown flags, then for what is no paging domain, then for one without a log', () => {
    const { world, domainId, deviceId, ioasId } = tracked()
    const plain = world.paging(deviceId, ioasId)
    expect(world.no('SetDirtyTracking', { domainId: 99, flags: 3 })).toBe('EOPNOTSUPP')
    expect(world.no('SetDirtyTracking', { domainId: ioasId, flags: 1 })).toBe('ENOENT')
    expect(world.no('SetDirtyTracking', { domainId: plain, flags: 1 })).toBe('EOPNOTSUPP')
    expect(world.do('SetDirtyTracking', { domainId, flags: 0 })).toEqual({})
  })
})

/** A world where every pause happens, with two areas of 16 pages and one of a gigabyte. */
async function sliced() {
  const turn = new SpentTurn()
  const world = new World({ machine: machine(), turn })
  const finish = (name: Parameters<World['begin']>[0], request: object) =>
    turn.finish(world.begin(name, request as never)) as Promise<Record<string, never>>
  const ioasId = world.ioas()
  const deviceId = world.bind('device')
  const regionId = world.region(GIB)
  const map = (iova: bigint, length: bigint) =>
    finish('IoasMap', { ioasId, region: { regionId, offset: 0n }, length, iova, flags: RW | FIXED })
  await map(0x10000n, 16n * PAGE)
  await map(0x20000n, 16n * PAGE)
  await map(GIB, GIB)
  const { domainId } = await finish('CreatePagingDomain', { deviceId, ioasId, flags: DIRTY_TRACKING })
  await finish('AttachRid', { deviceId, ptId: domainId })
  const { slots } = world.machine.devices[0].device as unknown as { slots: Map<number, FakePaging> }
  const log = slots.get(0)?.dirty as FakeDirty
  await finish('DetachRid', { deviceId })
  return { turn, world, finish, ioasId, domainId, log }
}

describe('a dirty read in slices', () => {
  it('keeps its domain, and what is being unmapped ends it', async () => {
    const { turn, world, finish, ioasId, domainId, log } = await sliced()
    for (const page of [0x10000n, 0x1f000n, 0x20000n]) log.touch(page)
    const reading = world.begin('GetDirtyBitmap', { domainId, iova: 0x10000n, length: 32n * PAGE, pageSize: PAGE })
    expect(world.no('Destroy', { objectId: domainId })).toBe('EBUSY')
    const unmapping = world.begin('IoasUnmap', { ioasId, iova: 0x20000n, length: 16n * PAGE })
    const { bitmap } = (await turn.finish(reading)) as { bitmap: Uint8Array }
    expect([...bitmap]).toEqual([1, 0x80, 0, 0])
    expect(await turn.finish(unmapping)).toEqual({ length: 16n * PAGE })
    await finish('Destroy', { objectId: domainId })
  })

  it('of 16 TiB pauses every few leaves, and looks at none that is not mapped', async () => {
    const { turn, world, finish, domainId, log } = await sliced()
    log.touch(2n * GIB - 1n)
    const before = turn.pauses
    const whole = { domainId, iova: GIB, length: 2n ** 44n, pageSize: 2n ** 21n }
    const { bitmap } = (await turn.finish(world.begin('GetDirtyBitmap', whole))) as { bitmap: Uint8Array }
    expect(bitmap.findIndex((byte) => byte !== 0)).toBe(63)
    expect(bitmap.length).toBe(2 ** 20)
    expect([turn.pauses - before, log.looked]).toEqual([64 + 1, 512])
    await finish('SetDirtyTracking', { domainId, flags: 1 })
    expect(log.looked).toBe(2 * 512 + 32)
  })
})

describe('setting bits', () => {
  it.each([
    [0, 0, [1, 0, 0]],
    [7, 7, [0x80, 0, 0]],
    [3, 5, [0x38, 0, 0]],
    [6, 9, [0xc0, 3, 0]],
    [0, 23, [255, 255, 255]],
    [7, 16, [0x80, 255, 1]],
  ])('%i to %i keeps what is there and sets no other', (first, last, bytes) => {
    const bitmap = new Uint8Array(3)
    setBits(bitmap, first, last)
    expect([...bitmap]).toEqual(bytes)
    const rest = new Uint8Array(3).fill(0xff).map((byte, at) => byte & ~bytes[at])
    setBits(rest, first, last)
    expect([...rest]).toEqual([255, 255, 255])
  })
})
