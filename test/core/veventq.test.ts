import { describe, expect, it } from 'vitest'
import { DEFAULT_LIMITS } from '../../server/core/limits.js'
import { VEVENTQ_DEPTH_MAX, Veventq } from '../../server/core/veventq.js'
import { Viommu } from '../../server/core/viommu.js'
import { World } from './world.js'

const NEST = 1
const SMMU = 1
const LOST = 1

/** A vIOMMU with an event queue. */
function listening(depth = 2, world = new World()) {
  const device = world.bind('arm')
  const ioas = world.ioas()
  const parent = world.paging(device, ioas, NEST)
  const viommu = world.do('CreateViommu', { type: SMMU, deviceId: device, parentDomainId: parent }).viommuId
  const queue = world.do('CreateVeventq', { viommuId: viommu, type: SMMU, depth }).veventqId
  return { world, device, ioas, parent, viommu, queue }
}

/** The unit reports an event of the vIOMMU that was made as the n-th. */
const report = (world: World, words: readonly number[], name = 'F_TRANSLATION', type = SMMU, nth = 0) => {
  const viommu = world.machine.viommus[nth]
  return viommu.driver.listener?.viommuEvent(viommu, type, words, name)
}

const poll = (world: World, veventqId: number, maxEvents = 0) =>
  world.do('PollEvents', { veventqId, maxEvents }).events.map(({ words, ...rest }) => ({ ...rest, words: [...words] }))

const numbers = (world: World, queue: number) =>
  poll(world, queue).map(({ flags, sequence }) => (flags === LOST ? `lost ${sequence}` : sequence))

describe('making an event queue', () => {
  it('refuses flags and type, then the depth, then the vIOMMU, then a second of its type', () => {
    const { world, viommu, device } = listening()
    const no = (request: object) => world.no('CreateVeventq', { viommuId: viommu, type: SMMU, depth: 1, ...request })
    expect(no({ flags: 1, depth: 0 })).toBe('EOPNOTSUPP')
    expect(no({ type: 0, depth: 0 })).toBe('EOPNOTSUPP')
    expect(no({ depth: 0, viommuId: 99 })).toBe('EINVAL')
    expect(no({ depth: VEVENTQ_DEPTH_MAX + 1, viommuId: 99 })).toBe('EINVAL')
    expect(no({ depth: 0x059e2f96, viommuId: 99 })).toBe('EINVAL')
    expect(no({ viommuId: 99 })).toBe('ENOENT')
    expect(no({ viommuId: device })).toBe('ENOENT')
    expect(no({})).toBe('EEXIST')
    // No unit is asked whether it has events of the type.
    world.do('CreateVeventq', { viommuId: viommu, type: 0xdead, depth: VEVENTQ_DEPTH_MAX })
  })

  it('holds the vIOMMU, and gives the type free when it is destroyed', () => {
    const { world, viommu, queue } = listening()
    expect(world.refusal('Destroy', { objectId: viommu }).context['held_by']).toEqual([`vEVENTQ ${queue}`])
    world.do('Destroy', { objectId: queue })
    expect(world.do('CreateVeventq', { viommuId: viommu, type: SMMU, depth: 1 }).veventqId).toBe(queue)
  })
})

describe('an event', () => {
  it('comes as it was reported, two words to a doubleword, with a number that counts from 0', () => {
    const { world, queue } = listening()
    expect(report(world, [0x10, 0x2a, 3, 0xffff_ffff], 'F_TRANSLATION')).toBe(true)
    report(world, [7], 'one word')
    expect(poll(world, queue)).toEqual([
      { flags: 0, sequence: 0, name: 'F_TRANSLATION', words: [0x2a_0000_0010n, 0xffff_ffff_0000_0003n] },
      { flags: 0, sequence: 1, name: 'one word', words: [7n] },
    ])
    expect(poll(world, queue)).toEqual([])
  })

  it('is dropped where its vIOMMU has no queue of its type', () => {
    const { world, queue } = listening()
    expect(report(world, [1], '', 9)).toBe(false)
    expect(poll(world, queue)).toEqual([])
    world.do('Destroy', { objectId: queue })
    expect(report(world, [1])).toBe(false)
  })

  it('goes to its own vIOMMU, of which a parent may have several', () => {
    const { world, queue, device, parent } = listening()
    const second = world.do('CreateViommu', { type: SMMU, deviceId: device, parentDomainId: parent }).viommuId
    const other = world.do('CreateVeventq', { viommuId: second, type: SMMU, depth: 2 }).veventqId
    report(world, [5], 'second', SMMU, 1)
    expect(poll(world, queue)).toEqual([])
    expect(poll(world, other)).toMatchObject([{ sequence: 0, name: 'second' }])
    for (const objectId of [other, second]) world.do('Destroy', { objectId })
    expect(report(world, [5], 'late', SMMU, 1)).toBe(false)
  })

  it('is read in order, as many as are asked for', () => {
    const { world, queue } = listening(8)
    for (let at = 0; at < 5; at++) report(world, [at])
    expect(poll(world, queue, 2).map(({ sequence }) => sequence)).toEqual([0, 1])
    expect(poll(world, queue, 2).map(({ sequence }) => sequence)).toEqual([2, 3])
    expect(poll(world, queue, 2).map(({ sequence }) => sequence)).toEqual([4])
  })

  it('is one of thousands, and a reader takes them all', () => {
    const { world, queue } = listening(5000)
    for (let at = 0; at < 5001; at++) report(world, [at])
    const read = poll(world, queue)
    expect(read.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 5001 }, (_, at) => at))
    expect(read.map(({ flags }) => flags).indexOf(LOST)).toBe(5000)
  })

  it('still comes when its vDEVICE has become a tombstone', () => {
    const { world, queue, device, viommu } = listening()
    world.do('CreateVdevice', { viommuId: viommu, deviceId: device, virtId: 7n })
    report(world, [1])
    world.do('UnbindDevice', { deviceId: device })
    expect(numbers(world, queue)).toEqual([0])
  })
})

describe('a full queue', () => {
  it('loses events, counts them, and says so once, behind what it holds', () => {
    const { world, queue } = listening(2)
    for (let at = 0; at < 5; at++) expect(report(world, [at])).toBe(true)
    expect(poll(world, queue)).toEqual([
      { flags: 0, sequence: 0, name: 'F_TRANSLATION', words: [0n] },
      { flags: 0, sequence: 1, name: 'F_TRANSLATION', words: [1n] },
      { flags: LOST, sequence: 4, name: '', words: [] },
    ])
    report(world, [9])
    expect(numbers(world, queue)).toEqual([5])
  })

  it('takes the news of a loss back when an event follows: the gap tells', () => {
    const { world, queue } = listening(2)
    for (let at = 0; at < 4; at++) report(world, [at])
    expect(poll(world, queue, 1)).toMatchObject([{ sequence: 0 }])
    report(world, [4])
    expect(numbers(world, queue)).toEqual([1, 4])
  })

  it('does not count that news against its depth, which is told only when the caller has room for it', () => {
    const { world, queue } = listening(1)
    report(world, [0])
    report(world, [1])
    expect(poll(world, queue, 1)).toMatchObject([{ flags: 0, sequence: 0 }])
    expect(poll(world, queue, 1)).toMatchObject([{ flags: LOST, sequence: 1 }])
    expect(poll(world, queue, 1)).toEqual([])
  })

  it('is also one for which the limit queue_depth, or memory, has no room', () => {
    const limits = { ...DEFAULT_LIMITS, context: { ...DEFAULT_LIMITS.context, queue_depth: 1 } }
    const { world, queue } = listening(8, new World({ limits }))
    report(world, [0])
    report(world, [1])
    expect(numbers(world, queue)).toEqual([0, 'lost 1'])
    report(world, [2])
    expect(numbers(world, queue)).toEqual([2])
    report(world, [3])
    world.do('Destroy', { objectId: queue })
    expect(world.core.contextOf(world.token, world.peer).quota.inUse['queue_depth']).toBeUndefined()
  })
})

describe('the number of an event', () => {
  it('wraps from 2^31 - 1 to 0', () => {
    const { world, viommu } = listening()
    const owner = world.core.contextOf(world.token, world.peer).objects.get(Viommu, viommu, '')
    const queue = new Veventq(99, owner, 9, 2, 2 ** 31 - 1)
    for (let at = 0; at < 4; at++) report(world, [at], '', 9)
    const read: number[] = []
    queue.read(({ sequence }) => read.push(sequence) > 0)
    expect(read).toEqual([2 ** 31 - 1, 0, 2])
    queue.destroy()
  })
})

describe('waiting for events', () => {
  it('ends with the first, or with the time', async () => {
    const { world, queue } = listening()
    const first = world.begin('PollEvents', { veventqId: queue, waitMs: 50 })
    report(world, [1])
    expect((await first).events).toHaveLength(1)
    const second = world.begin('PollEvents', { veventqId: queue, waitMs: 50 })
    await world.clock.advance(50)
    expect(await second).toEqual({ events: [] })
    expect(world.no('PollEvents', { veventqId: 99 })).toBe('ENOENT')
  })
})
