/** Queues beside obvious ones, which keep plain lists as the kernel does. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DEFAULT_LIMITS } from '../../server/core/limits.js'
import { World } from './world.js'

const RUNS = { numRuns: 200, seed: 5 }
const [NEST, FAULT_ID_VALID] = [1, 4]

/** An event queue as a list, in which the news of lost events is an element like others. */
class EventList {
  list: { sequence: number; isLost: boolean }[] = []
  sequence = 0

  constructor(readonly depth: number) {}

  report(): void {
    const isLost = this.list.filter((event) => !event.isLost).length === this.depth
    if (this.list.at(-1)?.isLost) this.list.pop()
    this.list.push({ sequence: this.sequence++, isLost })
  }
}

describe('an event queue', () => {
  it('answers as the list does, whatever comes and however it is read', () => {
    const steps = fc.array(fc.oneof(fc.constant('report' as const), fc.integer({ min: 1, max: 4 })), {
      minLength: 20,
      maxLength: 60,
    })
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), steps, (depth, told) => {
        const world = new World()
        const deviceId = world.bind('arm')
        const parentDomainId = world.paging(deviceId, world.ioas(), NEST)
        const { viommuId } = world.do('CreateViommu', { type: 1, deviceId, parentDomainId })
        const { veventqId } = world.do('CreateVeventq', { viommuId, type: 1, depth })
        const [viommu] = world.machine.viommus
        const model = new EventList(depth)
        for (const step of told) {
          if (step === 'report') {
            viommu.driver.listener?.viommuEvent(viommu, 1, [model.sequence], 'event')
            model.report()
            continue
          }
          const { events } = world.do('PollEvents', { veventqId, maxEvents: step })
          expect(events.map(({ sequence, flags, words }) => [sequence, flags === 1, ...words])).toEqual(
            model.list
              .splice(0, step)
              .map(({ sequence, isLost }) => (isLost ? [sequence, true] : [sequence, false, BigInt(sequence)])),
          )
        }
        const used = world.core.contextOf(world.token, world.peer).quota.inUse['queue_depth'] ?? 0
        expect(used).toBe(model.list.filter((event) => !event.isLost).length)
      }),
      RUNS,
    )
  })
})

interface Group {
  readonly slot: number
  readonly addresses: readonly bigint[]
  readonly name: string
}

/** A device's faults as lists: parked ones, queued groups, groups under their cookies, and what was answered. */
class FaultLists {
  parked: { group: number; address: bigint }[] = []
  queued: Group[] = []
  awaiting = new Map<number, Group>()
  answered: string[] = []
  attached = new Set<number>()

  fault(slot: number, group: number, isLast: boolean, address: bigint): boolean {
    if (!this.attached.has(slot)) return false
    if (!isLast) this.parked.push({ group, address })
    else {
      const mine = this.parked.filter((one) => one.group === group)
      this.parked = this.parked.filter((one) => one.group !== group)
      const addresses = [...mine.map((one) => one.address), address]
      this.queued.push({ slot, addresses, name: `24:${slot === 0 ? -1 : slot}:${group}` })
    }
    return true
  }

  read(most: number): [cookie: number, addresses: readonly bigint[]][] {
    const read: [number, readonly bigint[]][] = []
    let left = most
    while (this.queued.length > 0 && this.queued[0].addresses.length <= left) {
      const group = this.queued.shift() as Group
      let cookie = 1
      while (this.awaiting.has(cookie)) cookie++
      this.awaiting.set(cookie, group)
      read.push([cookie, group.addresses])
      left -= group.addresses.length
    }
    return read
  }

  respond(cookie: number, isSuccess: boolean): boolean {
    const group = this.awaiting.get(cookie)
    if (group === undefined) return false
    this.awaiting.delete(cookie)
    this.answered.push(`respond ${group.name} ${isSuccess ? 'success' : 'invalid'}`)
    return true
  }

  /** The order in which one attachment's groups are answered is nobody's promise. */
  detach(slot: number): string[] {
    this.attached.delete(slot)
    const gone = [...this.queued, ...this.awaiting.values()].filter((group) => group.slot === slot)
    this.queued = this.queued.filter((group) => group.slot !== slot)
    for (const [cookie, group] of this.awaiting) if (group.slot === slot) this.awaiting.delete(cookie)
    return gone.map(({ name }) => `respond ${name} invalid`).sort()
  }
}

const slots = fc.constantFrom(0, 1, 2)
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ fault: fc.integer({ min: 1, max: 3 }), slot: slots, isLast: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ read: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 2, arbitrary: fc.record({ cookie: fc.integer({ min: 1, max: 4 }), isSuccess: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ toggle: slots }) },
)

describe('a fault queue', () => {
  it('answers as lists do, whatever devices ask and readers answer', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 60, maxLength: 120 }), (told) => {
        const world = new World({ limits: DEFAULT_LIMITS })
        const deviceId = world.bind('intel')
        const { faultQueueId } = world.do('CreateFaultQueue')
        const ioasId = world.ioas()
        const request = { deviceId, ioasId, flags: FAULT_ID_VALID | 8, faultQueueId }
        const { domainId: ptId } = world.do('CreatePagingDomain', request)
        const model = new FaultLists()
        const answers = () => world.machine.log.filter((line) => line.startsWith('respond'))
        let address = 0n
        for (const one of told) {
          if ('fault' in one) {
            address += 4096n
            const { fault: group, slot, isLast } = one
            const taken = world.machine.fault('intel', { pasid: slot === 0 ? -1 : slot, group, isLast, address })
            expect(taken).toBe(model.fault(slot, group, isLast, address))
          } else if ('read' in one) {
            const { faults } = world.do('PollFaults', { faultQueueId, maxFaults: one.read })
            const wanted = model.read(one.read).flatMap(([cookie, all]) => all.map((at) => [cookie, at]))
            expect(faults.map(({ cookie, addr }) => [cookie, addr])).toEqual(wanted)
          } else if ('cookie' in one) {
            const responses = [{ cookie: one.cookie, code: one.isSuccess ? 1 : 2 }]
            const { doneCount } = world.do('RespondFaults', { faultQueueId, responses })
            expect(doneCount === 1).toBe(model.respond(one.cookie, one.isSuccess))
            expect(answers()).toEqual(model.answered)
          } else if (model.attached.has(one.toggle)) {
            const before = answers().length
            if (one.toggle === 0) world.do('DetachRid', { deviceId })
            else world.do('DetachPasid', { deviceId, pasid: one.toggle })
            const gone = answers().slice(before)
            expect([...gone].sort()).toEqual(model.detach(one.toggle))
            model.answered.push(...gone)
          } else {
            if (one.toggle === 0) world.do('AttachRid', { deviceId, ptId })
            else world.do('AttachPasid', { deviceId, pasid: one.toggle, ptId })
            model.attached.add(one.toggle)
          }
        }
        const waiting = [...model.queued, ...model.awaiting.values()].flatMap(({ addresses }) => addresses)
        const used = world.core.contextOf(world.token, world.peer).quota.inUse['queue_depth'] ?? 0
        expect(used).toBe(waiting.length + model.parked.length)
        world.do('CloseContext')
        expect(world.leftovers()).toEqual([])
      }),
      RUNS,
    )
  })
})
