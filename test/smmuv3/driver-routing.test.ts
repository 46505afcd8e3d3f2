/**
 * Every event of the manual, for a device in every state: who is told. The expected side is Linux's decision, written
 * down once more: what is not among its eight events is the operator's; a stall is its device's fault queue's; stage 1 of
 * a device whose domain is a guest's, and which the guest has a name for, is the guest's.
 */

import { beforeEach, describe, expect, it } from 'vitest'
import { FaultInfo } from '../../hw-model/smmuv3/events.js'
import { EVENT, PRESETS } from '../../hw-model/smmuv3/index.js'
import { Ear, NestedGuest, VSID } from './ear.js'
import { PLAIN, World } from './world.js'

/** IDR0.STALL_MODEL, bits 25:24, 0: software chooses. IDR5.STALL_MAX, bits 31:16, is 6. */
const IDS = { IDR0: PRESETS.default.IDR0 & ~(3 << 24), IDR5: (PRESETS.default.IDR5 | (6 << 16)) >>> 0 }

/** The guest's STEs: bypass is V and Config 4, abort is V alone. */
const [BYPASS, ABORT] = [9n, 1n]

/** Numbers of the events that Linux's handler goes on with; the others it prints. */
const HANDLED = [0x04, 0x06, 0x08, 0x0a, 0x10, 0x11, 0x12, 0x13]

/** Events whose records have Stall and S2, bits 95 and 103. [SMMU 7.3 Event records] */
const WITH_STALL = [0x10, 0x11, 0x12, 0x13]
const WITH_STAGE = [...WITH_STALL, 0x0b]

let world: World
let ear: Ear
let guest: NestedGuest
beforeEach(() => {
  world = new World(IDS, { stalls: true })
  ear = new Ear()
  world.driver.listener = ear
  guest = new NestedGuest(world)
})

interface Place {
  /** Linux's `master->vmaster`: there is a guest's name for the device's events. */
  readonly hasName: boolean
  readonly takesFaults: boolean
  put(): void
}

const nested = (ste0: bigint | undefined, hasName: boolean, takesFaults = false): Place => ({
  hasName,
  takesFaults,
  put() {
    if (hasName) guest.viommu.addVdevice(world.a, VSID)
    const domain = guest.domain(ste0, ste0 === undefined ? undefined : 0n)
    domain.takesFaults = takesFaults
    world.a.set(0, domain, null)
  },
})

const paging = (takesFaults: boolean): Place => ({
  hasName: false,
  takesFaults,
  put() {
    const domain = world.driver.createPaging(world.a, PLAIN)
    domain.takesFaults = takesFaults
    world.a.set(0, domain, null)
  },
})

const PLACES: Readonly<Record<string, Place>> = {
  "the host's domain": paging(false),
  "the host's domain with a fault queue": paging(true),
  "a guest's STE with a vDEVICE": nested(undefined, true),
  "a guest's STE with a vDEVICE and a fault queue": nested(undefined, true, true),
  "a guest's bypass with a vDEVICE": nested(BYPASS, true),
  "a guest's bypass without one": nested(BYPASS, false),
  "a guest's abort with a vDEVICE": nested(ABORT, true),
  "a guest's abort without one": nested(ABORT, false),
  'nothing, after a detach': { hasName: false, takesFaults: false, put: () => undefined },
}

function record(event: number, changes: Partial<FaultInfo>): void {
  const info = Object.assign(new FaultInfo(), { sid: 8, lo: 0x5000, rnw: 1, class: 2, ...changes })
  world.driver.unit.events.record(event, info)
  world.driver.drainEvents()
}

/** Linux's decision. */
function kernel(event: number, s2: number, stall: number, { hasName, takesFaults }: Place): string {
  if (!HANDLED.includes(event)) return 'operator'
  if (stall === 1 && WITH_STALL.includes(event)) return takesFaults ? 'fault-queue' : 'operator'
  const isStageTwo = s2 === 1 && WITH_STAGE.includes(event)
  return hasName && !isStageTwo ? 'guest' : 'operator'
}

describe.each(Object.entries(PLACES))('a device on %s', (_name, place) => {
  it.each(Object.entries(EVENT))('has %s brought to whom Linux brings it', (name, event) => {
    place.put()
    for (const s2 of [0, 1]) {
      for (const stall of [0, 1]) {
        for (const klass of [0, 1, 2]) {
          const [vevents, faults, reports] = [ear.vevents.length, ear.faults.length, world.reports.length]
          record(event, { s2, stall, stag: 3, class: klass })
          const expected = kernel(event, s2, stall, place)
          const told = {
            guest: ear.vevents.length - vevents,
            'fault-queue': ear.faults.length - faults,
            operator: world.reports.length - reports,
          }
          const one = { guest: 0, 'fault-queue': 0, operator: 0, [expected]: 1 }
          expect([s2, stall, klass, told, world.events.at(-1)?.taker]).toEqual([s2, stall, klass, one, expected])
          if (expected === 'operator') expect(world.reports.at(-1)).toMatchObject({ name, rid: 8 })
          // An answer gives its place among STALL_MAX back.
          for (const fault of ear.faults) world.a.respond?.(fault, false)
        }
      }
    }
  })
})

describe('an event', () => {
  it('of a StreamID that no device has is the operator’s', () => {
    record(EVENT.C_BAD_STREAMID, { sid: 0x4444 })
    expect(world.reports).toMatchObject([{ name: 'C_BAD_STREAMID', rid: 0x4444, facts: { sid: '0x4444' } }])
  })

  it('of a guest that has no queue for it is the operator’s', () => {
    PLACES["a guest's STE with a vDEVICE"].put()
    ear.hasQueue = false
    record(EVENT.F_TRANSLATION, {})
    expect([ear.vevents.length, world.events.at(-1)?.taker, world.reports.length]).toEqual([1, 'operator', 1])
  })

  it('that stalls and finds no room in the fault queue is aborted, and the operator’s', () => {
    PLACES["the host's domain with a fault queue"].put()
    ear.takes = false
    expect(world.dma(world.a, 0x5000n)).toBe('pending 1')
    expect([ear.ends, world.reports.map(({ name }) => name)]).toEqual([['1 3'], ['F_TRANSLATION']])
  })

  it('is told to the operator with all that its record says', () => {
    record(EVENT.F_PERMISSION, { s2: 1, class: 1, ttrnw: 1, ipa: 0x4000_1000, ssv: 1, ssid: 9, pnu: 1, hi: 0x12 })
    record(EVENT.F_CD_FETCH, { fetchAddress: 0x8_0000_0040 })
    record(EVENT.C_BAD_SUBSTREAMID, { ssid: 6 })
    record(EVENT.F_STREAM_DISABLED, { ssv: 1, ssid: 6 })
    expect(world.reports.map(({ facts: { raw: _, ...facts } }) => facts)).toEqual([
      {
        sid: '0x8',
        ssid: 9,
        iova: '0x1200005000',
        access: 'privileged data read',
        stage: '2',
        class: 'TTD',
        ipa: '0x40001000',
        table: 'read',
      },
      { sid: '0x8', fetchAddress: '0x800000040' },
      { sid: '0x8', ssid: 6 },
      { sid: '0x8' },
    ])
    // Event 9 of StreamID 8; FetchAddr is in bits 247:195 of the record, so in place in the last doubleword.
    expect(world.reports[1].facts['raw']).toBe('0x800000009 0x0 0x0 0x800000040')
  })

  it('is counted by its name and by who took it', () => {
    PLACES["a guest's STE with a vDEVICE"].put()
    for (const s2 of [0, 0, 1]) record(EVENT.F_TRANSLATION, { s2 })
    record(EVENT.F_TLB_CONFLICT, {})
    expect(world.driver.counters()).toMatchObject({
      'F_TRANSLATION to guest': 2,
      'F_TRANSLATION to operator': 1,
      'F_TLB_CONFLICT to operator': 1,
    })
  })
})

describe('an event queue that is full', () => {
  it('is told to the operator once for each overflow, and goes on', () => {
    // IDR1.EVENTQS, bits 20:16, is 7: the queue holds 128 records.
    world = new World({ IDR1: (PRESETS.default.IDR1 & ~(31 << 16)) | (7 << 16) })
    const info = Object.assign(new FaultInfo(), { sid: 8 })
    for (let i = 0; i < 130; i++) world.driver.unit.events.record(EVENT.F_TLB_CONFLICT, info)
    world.driver.drainEvents()
    const names = (): string[] => world.reports.map(({ name }) => name)
    expect([names()[0], names().length]).toEqual(['event queue overflow: records were lost', 129])
    record(EVENT.F_TLB_CONFLICT, {})
    expect([names().length, names().at(-1)]).toEqual([130, 'F_TLB_CONFLICT'])
    expect(world.driver.counters()).toMatchObject({ eventOverflows: 1, eventsDropped: 2 })
  })
})

describe('a page request that nobody takes', () => {
  it('is told to the operator, as Linux tells every one', () => {
    const PRI = { IDR0: PRESETS.default.IDR0 | (1 << 10) | (1 << 16), IDR1: PRESETS.default.IDR1 | (8 << 11) }
    world = new World(PRI, { ats: true, pri: true })
    world.driver.listener = ear
    world.a.ats?.requestPage({ pasid: 5, lo: 0x5000, hi: 1, access: 11, group: 7, isLast: true })
    expect(ear.answers).toEqual(['8 5 7 1'])
    const facts = { sid: '0x8', ssid: 5, group: 7, last: 1, access: 'privileged RW', iova: '0x100005000' }
    expect(world.reports).toEqual([{ name: 'page request', rid: 8, facts }])
    expect(world.driver.counters()).toMatchObject({ 'page request to operator': 1 })
  })
})
