/** The self-test's operations on objects of real units, and what is left of the door. */

import { beforeEach, describe, expect, it } from 'vitest'
import { SpentTurn } from '../core/paused.js'
import { SelftestDoor, TEST } from '../selftest/door.js'
import { bytesOf, Door, memory, word, words } from './door.js'
import { ARM, DATA, INTEL, newHwpt, platformDoor } from './world.js'

const { test } = SelftestDoor
const NEST_PARENT = 1
const SELFTEST = 0xdeadbeef
const VA = 0x7f00_0000_0000n
const longs = (...values: readonly bigint[]): Uint8Array => bytesOf(...values.map((value) => [value, 8] as const))

describe('IOMMU_TEST_CMD on an object of a real unit', () => {
  let door: Door
  let dev: number
  let ioas: number

  beforeEach(() => {
    door = platformDoor()
    dev = door.bind(INTEL)
    ioas = door.newIoas()
  })

  it('is EINVAL where the self-test unit would be asked about it, as the kernel compares domain->ops', () => {
    const parent = newHwpt(door, { flags: NEST_PARENT, dev, pt: ioas })
    const user = newHwpt(door, { dev, pt: parent, type: 1, data: bytesOf([0, 8], [0x1000, 8], [48, 4], [0, 4]) })
    const checkMap = (id: number) => door.errno(TEST, test(3, id, longs(0n, 4096n, VA)))
    const checkIotlb = (id: number) => door.errno(TEST, test(14, id, words(0, 0)))
    expect([checkMap(parent), checkMap(user)]).toEqual(['EINVAL', 'ENOENT'])
    expect([checkIotlb(user), checkIotlb(parent)]).toEqual(['EINVAL', 'ENOENT'])
  })

  it('is EINVAL for a device that is not of the self-test unit', () => {
    const ofDevice = (op: number) => door.errno(TEST, test(op, dev, words(dev, 0, 0, 0), longs(0n)))
    expect([15, 16, 17].map(ofDevice)).toEqual(['EINVAL', 'EINVAL', 'EINVAL'])
    // MOCK_DOMAIN's own object is what a PASID is attached through, never the device.
    expect(ofDevice(20)).toBe('ENOENT')
  })
})

describe('invalidations of another type than the unit’s', () => {
  it('are EINVAL, and none is done', () => {
    const door = platformDoor()
    const dev = door.bind(INTEL)
    const parent = newHwpt(door, { flags: NEST_PARENT, dev, pt: door.newIoas() })
    const user = newHwpt(door, { dev, pt: parent, type: 1, data: bytesOf([0, 8], [0x1000, 8], [48, 4], [0, 4]) })
    for (const type of [1, SELFTEST, 77]) {
      const arg = bytesOf([32, 4], [user, 4], [DATA, 8], [type, 4], [24, 4], [1, 4], [0, 4])
      const { arg: after, refusal } = door.ioctl(0x3b8d, arg, [memory(DATA, new Uint8Array(24))])
      expect([refusal?.name, word(after, 24)]).toEqual(['EINVAL', 0])
    }
  })
})

describe('a vEVENTQ', () => {
  it('is opened again by its id, and then has two files that hold it', () => {
    const door = platformDoor()
    const dev = door.bind(ARM)
    const parent = newHwpt(door, { flags: NEST_PARENT, dev, pt: door.newIoas() })
    const viommu = word(door.done(0x3b90, words(40, 0, 1, dev, parent, 0, 0, 0, 0, 0)), 20)
    const made = door.done(0x3b93, words(32, 0, viommu, 1, 2, 0, 0, 0))
    const [queue, first] = [word(made, 20), word(made, 24)]
    const { handle: second } = door.handle('OpenHandle', { objectId: queue })
    door.handle('CloseHandle', { handle: first })
    expect(door.errno(0x3b80, words(8, queue))).toBe('EBUSY')
    expect(door.handle('ReadHandle', { handle: second, count: 64 }).data).toEqual(new Uint8Array(0))
    door.handle('CloseHandle', { handle: second })
    expect(door.errno(0x3b80, words(8, queue))).toBe('ok')
  })
})

describe('a test device in a vIOMMU', () => {
  function inViommu() {
    const door = new SelftestDoor()
    const made = door.done(TEST, test(2, door.newIoas()))
    const dev = word(made, 24)
    const parent = newHwpt(door, { flags: NEST_PARENT, dev, pt: door.newIoas() })
    const alloc = bytesOf([40, 4], [0, 4], [SELFTEST, 4], [dev, 4], [parent, 4], [0, 4], [24, 4], [0, 4], [DATA, 8])
    const viommu = word(door.done(0x3b90, alloc, [memory(DATA, new Uint8Array(24))]), 20)
    const trigger = () => door.errno(TEST, test(17, dev, words(dev)))
    return { door, stdev: word(made, 16), dev, viommu, trigger }
  }

  it('has no event before its RID is in the vIOMMU under an id, and none without a queue of the self-test’s type', () => {
    const { door, stdev, dev, viommu, trigger } = inViommu()
    door.done(0x3b91, bytesOf([24, 4], [viommu, 4], [dev, 4], [0, 4], [0x99, 8]))
    expect(trigger()).toBe('ENOENT')
    const nested = newHwpt(door, { dev, pt: viommu, type: 0xdead, data: words(0x1234) })
    door.done(TEST, test(10, stdev, words(nested)))
    expect(trigger()).toBe('EOPNOTSUPP')
    const queue = word(door.done(0x3b93, words(32, 0, viommu, 0xbeefbeef, 2, 0, 0, 0)), 24)
    expect(trigger()).toBe('ok')
    expect(door.handle('ReadHandle', { handle: queue, count: 64 }).data).toEqual(words(0, 0, 0x99))
  })
})

describe('PollHandle', () => {
  it('is asked about as many files as a batch may have, and says so', () => {
    const door = new Door()
    const targets = Array(door.core.limits.call.batch_elements + 1).fill({ handle: 0, events: 1 })
    const { revents, doneCount, refusal } = door.handle('PollHandle', { targets, waitMs: 0 })
    expect([revents.length, doneCount, refusal?.name]).toEqual([0, 0, 'E2BIG'])
  })
})

describe('an ioctl that is refused after it has given way', () => {
  it('answers its errno in the reply, with the struct as it was', async () => {
    const turn = new SpentTurn()
    const door = new Door({ turn })
    const later = (cmd: number, arg: Uint8Array) =>
      turn.finish(Promise.resolve(door.handleLater('Ioctl', { handle: 0, cmd, arg, memory: [] })))
    const ioas = word((await later(0x3b81, words(12, 0, 0))).arg, 8)
    door.region(0x10000n, VA)
    for (const at of [0n, 0x1000n, 0x3000n]) {
      const map = new Uint8Array([...words(40, 7, ioas, 0), ...longs(VA + at, 0x1000n, 0x10000n + at)])
      expect((await later(0x3b85, map)).errno).toBe(0)
    }
    // The last mapping is cut by the end, which is met when others are gone through already.
    const arg = new Uint8Array([...words(24, ioas), ...longs(0x10000n, 0x3800n)])
    const { refusal, result } = await later(0x3b86, arg)
    expect([refusal?.name, result]).toEqual(['ENOENT', -1n])
  })
})
