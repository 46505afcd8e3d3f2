import { describe, expect, it } from 'vitest'
import { DEFAULT_LIMITS } from '../../server/core/limits.js'
import { World } from './world.js'

const [NEST, FAULT_ID_VALID, PASID] = [1, 4, 8]
const [SUCCESS, INVALID] = [1, 2]
const STE = { smmuv3Ste: { ste0: 1n, ste1: 0n } }
const S1 = { vtdS1: { flags: 0n, pgtblAddr: 0n, addrWidth: 48 } }

/** A device whose RID is on a domain with a fault queue. */
function waiting(world = new World()) {
  const queue = world.do('CreateFaultQueue').faultQueueId
  const device = world.bind('intel')
  const ioas = world.ioas()
  const domain = faulting(world, device, ioas, queue)
  world.do('AttachRid', { deviceId: device, ptId: domain })
  return { world, queue, device, ioas, domain }
}

const faulting = (world: World, deviceId: number, ioasId: number, faultQueueId: number, flags = 0) =>
  world.do('CreatePagingDomain', { deviceId, ioasId, flags: flags | FAULT_ID_VALID, faultQueueId }).domainId

const poll = (world: World, faultQueueId: number, maxFaults = 0) =>
  world.do('PollFaults', { faultQueueId, maxFaults }).faults

const respond = (world: World, faultQueueId: number, ...responses: [cookie: number, code: number][]) =>
  world.do('RespondFaults', { faultQueueId, responses: responses.map(([cookie, code]) => ({ cookie, code })) })

const answers = (world: World) => world.machine.log.filter((line) => line.startsWith('respond'))

describe('a fault queue', () => {
  it('is an object that its domains hold, and has no flags', () => {
    const { world, queue, device, domain, ioas } = waiting()
    expect(world.no('CreateFaultQueue', { flags: 1 })).toBe('EOPNOTSUPP')
    expect(world.refusal('Destroy', { objectId: queue }).context['held_by']).toEqual([`paging domain ${domain}`])
    const other = faulting(world, device, ioas, queue)
    world.do('UnbindDevice', { deviceId: device })
    for (const objectId of [domain, other, queue]) world.do('Destroy', { objectId })
    expect(world.objects()).toEqual([`${ioas}:1`])
  })

  it('is looked up last when a domain is made, and ENOENT leaves nothing', () => {
    const world = new World()
    const [device, ioas] = [world.bind('intel'), world.ioas()]
    const before = world.objects()
    const request = { deviceId: device, ioasId: ioas, flags: FAULT_ID_VALID }
    expect(world.no('CreatePagingDomain', { ...request, faultQueueId: 0 })).toBe('ENOENT')
    expect(world.no('CreatePagingDomain', { ...request, faultQueueId: ioas })).toBe('ENOENT')
    expect(world.machine.log.filter((line) => line === 'destroy paging')).toHaveLength(2)
    expect(world.objects()).toEqual(before)
    // Without the flag the field means nothing.
    world.do('CreatePagingDomain', { ...request, flags: 0, faultQueueId: 99 })
    const parent = { ...request, flags: FAULT_ID_VALID | NEST, faultQueueId: 99 }
    expect(world.no('CreatePagingDomain', parent)).toBe('EOPNOTSUPP')
  })

  it('hands out a fault as it came, under a cookie', () => {
    const { world, queue, device } = waiting()
    expect(world.machine.fault('intel', { group: 9, access: 3, address: 2n ** 63n + 4096n })).toBe(true)
    expect(poll(world, queue)).toEqual([
      { flags: 2, deviceId: device, pasid: 0, groupId: 9, access: 3, addr: 2n ** 63n + 4096n, cookie: 1 },
    ])
    expect(poll(world, queue)).toEqual([])
  })

  it('gives whole groups, oldest first, as long as they fit; one that is too large keeps the others back', () => {
    const { world, queue } = waiting()
    world.machine.fault('intel', { group: 1 })
    for (const address of [1n, 2n, 3n]) world.machine.fault('intel', { group: 2, isLast: address === 3n, address })
    world.machine.fault('intel', { group: 3 })
    expect(poll(world, queue, 3).map(({ groupId }) => groupId)).toEqual([1])
    expect(poll(world, queue, 2)).toEqual([])
    const rest = poll(world, queue, 4)
    expect(rest.map(({ groupId, addr, flags, cookie }) => [groupId, addr, flags, cookie])).toEqual([
      [2, 1n, 0, 2],
      [2, 2n, 0, 2],
      [2, 3n, 2, 2],
      [3, 0x1000n, 2, 3],
    ])
  })

  it('gives thousands of groups at once', () => {
    const { world, queue } = waiting()
    for (let group = 0; group < 3000; group++) world.machine.fault('intel', { group })
    expect(poll(world, queue).map(({ cookie }) => cookie)).toEqual(Array.from({ length: 3000 }, (_, at) => at + 1))
    expect(
      respond(world, queue, ...Array.from({ length: 3000 }, (_, at): [number, number] => [at + 1, SUCCESS])),
    ).toEqual({
      doneCount: 3000,
    })
  })

  it('shows nothing of a group before its last fault, however many groups are mixed', () => {
    const { world, queue } = waiting()
    expect(world.machine.fault('intel', { group: 1, isLast: false, address: 1n })).toBe(true)
    world.machine.fault('intel', { group: 2, isLast: false, address: 2n })
    world.machine.fault('intel', { group: 1, isLast: false, address: 3n })
    expect(poll(world, queue)).toEqual([])
    world.machine.fault('intel', { group: 1, address: 4n })
    expect(poll(world, queue).map(({ addr }) => addr)).toEqual([1n, 3n, 4n])
    world.machine.fault('intel', { group: 2, address: 5n })
    expect(poll(world, queue).map(({ addr }) => addr)).toEqual([2n, 5n])
  })

  it('keeps so many faults of groups that do not end, and loses what comes then; their ends are still taken', () => {
    const { world, queue } = waiting()
    const ask = (group: number, isLast: boolean) => world.machine.fault('intel', { group, isLast })
    for (let count = 0; count < 1024; count++) expect(ask(1, false)).toBe(true)
    expect([ask(1, false), ask(2, false), ask(2, true)]).toEqual([false, false, true])
    expect(poll(world, queue)).toHaveLength(1)
    expect(ask(1, true)).toBe(true)
    expect(poll(world, queue)).toHaveLength(1025)
    expect(ask(3, false)).toBe(true)
  })

  it('gives the lowest free cookie, from 1, when a group is read', () => {
    const { world, queue } = waiting()
    for (const group of [1, 2, 3]) world.machine.fault('intel', { group })
    expect(poll(world, queue).map(({ cookie }) => cookie)).toEqual([1, 2, 3])
    respond(world, queue, [2, SUCCESS])
    for (const group of [4, 5]) world.machine.fault('intel', { group })
    expect(poll(world, queue).map(({ cookie }) => cookie)).toEqual([2, 4])
  })
})

describe('answering page faults', () => {
  it('answers each group once, with its code', () => {
    const { world, queue } = waiting()
    for (const group of [5, 6]) world.machine.fault('intel', { group })
    poll(world, queue)
    expect(respond(world, queue, [2, INVALID], [1, SUCCESS])).toEqual({ doneCount: 2 })
    expect(answers(world)).toEqual(['respond 24:-1:6 invalid', 'respond 24:-1:5 success'])
    expect(respond(world, queue, [1, SUCCESS])).toMatchObject({ doneCount: 0, refusal: { name: 'EINVAL' } })
  })

  it('stops at the first answer that is refused, and says how many were given', () => {
    const { world, queue } = waiting()
    for (const group of [5, 6]) world.machine.fault('intel', { group })
    poll(world, queue)
    expect(respond(world, queue, [1, SUCCESS], [7, SUCCESS], [2, SUCCESS])).toMatchObject({
      doneCount: 1,
      refusal: { name: 'EINVAL', context: { index: '1', cookie: '7' } },
    })
    for (const code of [0, 3]) {
      expect(respond(world, queue, [2, code])).toMatchObject({ doneCount: 0, refusal: { name: 'EINVAL' } })
    }
    expect(respond(world, 99, [2, SUCCESS])).toMatchObject({ doneCount: 0, refusal: { name: 'ENOENT' } })
    expect(answers(world)).toHaveLength(1)
    expect(respond(world, queue, [2, SUCCESS])).toEqual({ doneCount: 1 })
  })

  it('is not of a group that was never read', () => {
    const { world, queue } = waiting()
    world.machine.fault('intel')
    expect(respond(world, queue, [1, SUCCESS]).doneCount).toBe(0)
  })

  it('ends when the driver has answered', async () => {
    const { world, queue } = waiting()
    world.machine.fault('intel')
    poll(world, queue)
    world.machine.deferred = []
    const reply = world.begin('RespondFaults', { faultQueueId: queue, responses: [{ cookie: 1, code: SUCCESS }] })
    expect(reply).toBeInstanceOf(Promise)
    await world.machine.finish()
    expect(await reply).toEqual({ doneCount: 1 })
  })
})

describe('a page fault', () => {
  it('is nobody’s where nothing is attached, or what is attached has no queue', () => {
    const { world, queue, device, ioas } = waiting()
    expect(world.machine.fault('intel', { pasid: 3 })).toBe(false)
    expect(world.machine.fault('arm')).toBe(false)
    const plain = world.paging(device, ioas)
    world.do('ReplaceRid', { deviceId: device, ptId: plain })
    expect(world.machine.fault('intel')).toBe(false)
    world.do('DetachRid', { deviceId: device })
    expect(world.machine.fault('intel')).toBe(false)
    expect(poll(world, queue)).toEqual([])
  })

  it('of a PASID goes to the queue of the PASID’s own domain', () => {
    const { world, queue: first, device, ioas, domain } = waiting()
    const second = world.do('CreateFaultQueue').faultQueueId
    world.do('DetachRid', { deviceId: device })
    const [rid, pasid] = [first, second].map((queue) => faulting(world, device, ioas, queue, PASID))
    world.do('AttachRid', { deviceId: device, ptId: rid })
    world.do('AttachPasid', { deviceId: device, pasid: 3, ptId: pasid })
    world.machine.fault('intel', { pasid: 3 })
    expect(poll(world, first)).toEqual([])
    expect(poll(world, second)).toMatchObject([{ flags: 3, pasid: 3, deviceId: device }])
    expect(world.machine.fault('intel', { pasid: 4 })).toBe(false)
    world.do('Destroy', { objectId: domain })
  })

  it('of a PASID goes to the user domain on the RID, where that has the guest’s table of PASIDs', () => {
    const world = new World()
    const queue = world.do('CreateFaultQueue').faultQueueId
    const [device, ioas] = [world.bind('arm'), world.ioas()]
    const parent = world.paging(device, ioas, NEST)
    const viommu = world.do('CreateViommu', { type: 1, deviceId: device, parentDomainId: parent }).viommuId
    const request = { deviceId: device, viommuId: viommu, ...STE }
    const user = world.do('CreateUserDomain', { ...request, flags: FAULT_ID_VALID, faultQueueId: queue }).domainId
    world.do('AttachRid', { deviceId: device, ptId: user })
    expect(world.machine.fault('arm', { pasid: 200 })).toBe(true)
    expect(poll(world, queue)).toMatchObject([{ pasid: 200, flags: 3 }])
    // A kernel-owned domain on the RID says nothing about PASIDs.
    const own = faulting(world, device, ioas, queue)
    world.do('ReplaceRid', { deviceId: device, ptId: own })
    expect(answers(world)).toEqual(['respond 0:200:1 invalid'])
    expect(world.machine.fault('arm', { pasid: 200 })).toBe(false)
    expect(world.machine.fault('arm')).toBe(true)
  })

  it('of a mediated device’s PASID is the child’s, in its own context', () => {
    const world = new World()
    const queue = world.do('CreateFaultQueue').faultQueueId
    const [device, ioas] = [world.bind('intel/mdev5'), world.ioas()]
    expect(world.machine.fault('intel', { pasid: 5 })).toBe(false)
    const domain = faulting(world, device, ioas, queue, PASID)
    world.do('AttachPasid', { deviceId: device, pasid: 5, ptId: domain })
    const other = world.open().context
    const parent = world.do('BindDevice', { deviceName: 'intel', grant: 2 }, other).deviceId
    expect(world.machine.fault('intel', { pasid: 5 })).toBe(true)
    expect(world.machine.fault('intel', { pasid: 6 })).toBe(false)
    expect(poll(world, queue)).toMatchObject([{ deviceId: device, pasid: 5 }])
    // Groups are a device's own, whoever else has one of the same number.
    world.machine.fault('intel', { pasid: 5, group: 2, isLast: false })
    world.do('UnbindDevice', { deviceId: parent }, other)
    expect(poll(world, queue)).toEqual([])
  })
})

describe('the end of an attachment', () => {
  /** One group that was read, one that was not, one that has not ended. */
  function pending() {
    const made = waiting()
    made.world.machine.fault('intel', { group: 1 })
    poll(made.world, made.queue)
    made.world.machine.fault('intel', { group: 2 })
    made.world.machine.fault('intel', { group: 3, isLast: false })
    return made
  }
  const BOTH = ['respond 24:-1:1 invalid', 'respond 24:-1:2 invalid']

  it('by detaching answers INVALID what was read and what was not, after the device is blocked', () => {
    const { world, queue, device } = pending()
    world.do('DetachRid', { deviceId: device })
    expect(world.machine.log.slice(-3)).toEqual(['clear 24:0', ...BOTH])
    expect(poll(world, queue)).toEqual([])
    expect(respond(world, queue, [1, SUCCESS]).refusal?.name).toBe('EINVAL')
  })

  it('by replacing answers INVALID what came through the old domain alone', () => {
    const { world, queue, device, ioas } = pending()
    const next = faulting(world, device, ioas, queue)
    world.do('ReplaceRid', { deviceId: device, ptId: next })
    expect(answers(world)).toEqual(BOTH)
    world.machine.fault('intel', { group: 4 })
    expect(poll(world, queue)).toMatchObject([{ groupId: 4, cookie: 1 }])
    world.do('ReplaceRid', { deviceId: device, ptId: next })
    expect(respond(world, queue, [1, SUCCESS]).doneCount).toBe(1)
  })

  it('by replacing spares what comes through the new domain before the replace is done', async () => {
    const { world, queue, device, ioas } = pending()
    const next = faulting(world, device, ioas, queue)
    world.machine.deferred = []
    const reply = world.begin('ReplaceRid', { deviceId: device, ptId: next })
    world.machine.fault('intel', { group: 4 })
    await world.machine.finish()
    await reply
    expect(answers(world)).toEqual(BOTH)
    expect(poll(world, queue)).toMatchObject([{ groupId: 4 }])
  })

  it('by a replace that is refused is none', () => {
    const { world, queue, device, ioas } = pending()
    const next = faulting(world, device, ioas, queue)
    world.machine.failPoint = (what) => {
      if (what === 'set') throw new Error('refused')
    }
    expect(() => world.do('ReplaceRid', { deviceId: device, ptId: next })).toThrow('refused')
    expect(answers(world)).toEqual([])
    expect(respond(world, queue, [1, SUCCESS]).doneCount).toBe(1)
  })

  it('by unbinding, or with the context, answers them too and leaves no charge', () => {
    const { world, queue, device, domain, ioas } = pending()
    world.do('UnbindDevice', { deviceId: device })
    expect(answers(world)).toEqual(BOTH)
    for (const objectId of [domain, queue, ioas]) world.do('Destroy', { objectId })
    expect(world.core.contextOf(world.token, world.peer).quota.inUse).toEqual({})
    const other = pending()
    other.world.do('CloseContext')
    expect(answers(other.world)).toEqual(BOTH)
    expect(other.world.leftovers()).toEqual([])
  })

  it('of a user domain is the same', () => {
    const world = new World()
    const queue = world.do('CreateFaultQueue').faultQueueId
    const [device, ioas] = [world.bind('intel'), world.ioas()]
    const parent = world.paging(device, ioas, NEST)
    const request = { deviceId: device, parentDomainId: parent, flags: FAULT_ID_VALID, faultQueueId: queue, ...S1 }
    const { domainId } = world.do('CreateUserDomain', request)
    world.do('AttachRid', { deviceId: device, ptId: domainId })
    world.machine.fault('intel')
    world.do('DetachRid', { deviceId: device })
    expect(answers(world)).toHaveLength(1)
    for (const objectId of [domainId, queue]) world.do('Destroy', { objectId })
  })
})

describe('a reset', () => {
  it('forgets the faults whose group has not ended', () => {
    const { world, queue, device } = waiting()
    world.machine.fault('intel', { group: 1, isLast: false, address: 1n })
    world.do('ResetDevice', { deviceId: device })
    world.machine.fault('intel', { group: 1, address: 2n })
    expect(poll(world, queue).map(({ addr }) => addr)).toEqual([2n])
  })
})

describe('a group that nobody answers', () => {
  const LIMIT = DEFAULT_LIMITS.call.fault_answer_ms

  it('is answered INVALID after the limit of time, whether it was read or not', async () => {
    const { world, queue, device } = waiting()
    world.machine.fault('intel', { group: 1 })
    poll(world, queue)
    await world.clock.advance(LIMIT / 2)
    world.machine.fault('intel', { group: 2 })
    await world.clock.advance(LIMIT / 2 - 1)
    expect(answers(world)).toEqual([])
    await world.clock.advance(1)
    expect(answers(world)).toEqual(['respond 24:-1:1 invalid'])
    expect(respond(world, queue, [1, SUCCESS]).refusal?.name).toBe('EINVAL')
    await world.clock.advance(LIMIT / 2)
    expect(answers(world)).toEqual(['respond 24:-1:1 invalid', 'respond 24:-1:2 invalid'])
    expect(poll(world, queue)).toEqual([])
    world.do('DetachRid', { deviceId: device })
    expect(answers(world)).toHaveLength(2)
  })

  it('is timed by itself: one that was answered before ends no other', async () => {
    const { world, queue } = waiting()
    world.machine.fault('intel', { group: 1 })
    poll(world, queue)
    respond(world, queue, [1, SUCCESS])
    await world.clock.advance(LIMIT - 1)
    world.machine.fault('intel', { group: 2 })
    await world.clock.advance(LIMIT - 1)
    expect(poll(world, queue)).toHaveLength(1)
  })
})

describe('faults without end', () => {
  const limits = {
    ...DEFAULT_LIMITS,
    context: { ...DEFAULT_LIMITS.context, queue_depth: 3 },
  }

  it('are refused beyond the limit queue_depth, so that the unit answers them itself, until some are answered', () => {
    const { world, queue } = waiting(new World({ limits }))
    for (const group of [1, 2]) expect(world.machine.fault('intel', { group })).toBe(true)
    expect(world.machine.fault('intel', { group: 3, isLast: false })).toBe(true)
    expect(world.machine.fault('intel', { group: 3 })).toBe(false)
    // With its end the group is forgotten as a whole.
    expect(world.machine.fault('intel', { group: 4 })).toBe(true)
    expect(world.machine.fault('intel', { group: 5 })).toBe(false)
    expect(poll(world, queue).map(({ groupId }) => groupId)).toEqual([1, 2, 4])
    expect(world.machine.fault('intel', { group: 5 })).toBe(false)
    respond(world, queue, [1, SUCCESS])
    expect(world.machine.fault('intel', { group: 5 })).toBe(true)
  })
})

describe('waiting for page faults', () => {
  it('ends with the first group, and not before', async () => {
    const { world, queue } = waiting()
    const reply = world.begin('PollFaults', { faultQueueId: queue, waitMs: 1000 })
    world.machine.fault('intel', { group: 1, isLast: false })
    expect(world.no('Destroy', { objectId: queue })).toBe('EBUSY')
    world.machine.fault('intel', { group: 1 })
    expect((await reply).faults).toHaveLength(2)
  })

  it('ends when the time is up, or with the context', async () => {
    const { world, queue } = waiting()
    const first = world.begin('PollFaults', { faultQueueId: queue, waitMs: 1000 })
    await world.clock.advance(1000)
    expect(await first).toEqual({ faults: [] })
    const second = world.begin('PollFaults', { faultQueueId: queue, waitMs: 1000 })
    await world.begin('CloseContext')
    expect(await second).toEqual({ faults: [] })
    expect(world.leftovers()).toEqual([])
  })
})
