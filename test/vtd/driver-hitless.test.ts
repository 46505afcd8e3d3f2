/**
 * DMA at every 64-bit store of an attachment: what it meets is the old state, the new one, or a blocked slot where the
 * way leads through an absent entry. Never anything else. [VTD 6.2.3.1, 6.5.3.6]
 */

import { describe, expect, it } from 'vitest'
import { NO_PASID, Outcome, STATUS } from '../../hw-model/port.js'
import { type DeviceDriver, type DomainOps, givenData, type PagingOps, RID_SLOT } from '../../server/core/driver.js'
import { Random } from '../hostile/random.js'
import { Tape } from './driver-tape.js'
import { CLIENT, dma, FS_RW, guestMaps, makeHost, NEST_PARENT, PLAIN } from './host.js'

const IOVA = 0x12_3456_7000n
const RW = { read: true, write: true }
const CACHING = { CAP: [0x226f0686, 0x81d2078c] } as const

/** A domain in which IOVA leads to a place of its own. */
interface Place {
  readonly domain: DomainOps
  readonly leadsTo: string
}

/** Domains of every kind: two first stages, two second stages, and six nested ones, three on each of two parents. */
function makePlaces(host: ReturnType<typeof makeHost>, device: DeviceDriver, nested = 3): Place[] {
  let page = 1
  const next = (): number => page++ * 4096
  const textOf = (offset: number): string => `0x${(CLIENT + offset).toString(16)}`
  const paging = (domain: PagingOps): Place => {
    const offset = next()
    domain.map(IOVA, CLIENT + offset, 0x1000n, RW)
    return { domain, leadsTo: textOf(offset) }
  }
  const places: Place[] = []
  for (let i = 0; i < 2; i++) places.push(paging(host.driver.createPaging(device, PLAIN)))
  for (let i = 0; i < 2; i++) {
    const parent = host.driver.createPaging(device, NEST_PARENT)
    parent.map(0n, CLIENT, 32n * 2n ** 20n, RW)
    places.push(paging(parent))
    for (let j = 0; j < nested; j++) {
      const tables = [next(), next(), next(), next()]
      const offset = next()
      guestMaps(host.memory, tables, IOVA, BigInt(offset | FS_RW))
      const data = givenData('vtd_s1', { flags: 0n, pgtblAddr: BigInt(tables[0]), addrWidth: 48 })
      places.push({ domain: host.driver.createUserDomain(device, parent, data), leadsTo: textOf(offset) })
    }
  }
  return places
}

/** What the tables say now, without any cache. */
function fresh(device: DeviceDriver, slot: number): string {
  const out = new Outcome()
  const pasid = slot === RID_SLOT ? NO_PASID : slot
  device.port.explain(pasid, Number(IOVA & 0xffffffffn), Number(IOVA >> 32n), 1, out)
  if (out.status === STATUS.OK) return `0x${out.address.toString(16)}`
  return device.port.faultName(out.fault)
}

const cached = (device: DeviceDriver, slot: number): string =>
  dma(device, IOVA, 'r', slot === RID_SLOT ? NO_PASID : slot)

const BLOCKED = ['0x59 SPT.2', '0x51 SPD.2', '0x02 LCT.2']

describe('replacing a nested domain by another of its parent (M12)', () => {
  function setUp() {
    const host = makeHost()
    const [device, other] = [host.probe(8), host.probe(16)]
    const tape = new Tape(host)
    const [, , , a, b, c] = makePlaces(host, device)
    return { device, other, tape, a, b, c }
  }

  /** Outcomes of a DMA after each store, fresh and through the caches, and at the end. */
  function seen(tape: Tape, device: DeviceDriver, slot: number, run: () => void): [string[], string[], string] {
    const [tables, caches]: [string[], string[]] = [[], []]
    tape.onEntry = () => {
      tables.push(fresh(device, slot))
      caches.push(cached(device, slot))
    }
    run()
    tape.onEntry = null
    return [tables, caches, cached(device, slot)]
  }

  it.each([RID_SLOT, 5])('shows the old table, then the new one, on slot %d', (slot) => {
    const { device, tape, a, b } = setUp()
    device.set(slot, a.domain, null)
    const [tables, , end] = seen(tape, device, slot, () => device.set(slot, b.domain, a.domain))
    expect(tables).toEqual([a.leadsTo, b.leadsTo])
    expect(end).toBe(b.leadsTo)
    expect(device.lastSetWasHitless).toBe(true)
  })

  it('shows the old translation from the caches until the flush, and then never again', () => {
    const { device, tape, a, b } = setUp()
    device.set(5, a.domain, null)
    expect(cached(device, 5)).toBe(a.leadsTo)
    const [, caches, end] = seen(tape, device, 5, () => device.set(5, b.domain, a.domain))
    expect(caches).toEqual([a.leadsTo, a.leadsTo])
    expect(end).toBe(b.leadsTo)
  })

  it('leaves what other devices do with either domain at the same PASID alone', () => {
    const { device, other, tape, a, b, c } = setUp()
    device.set(5, a.domain, null)
    other.set(5, b.domain, null)
    // The new domain is in use at this PASID: its table is set before its id.
    tape.onEntry = () => expect([fresh(other, 5), cached(other, 5)]).toEqual([b.leadsTo, b.leadsTo])
    tape.clear()
    device.set(5, b.domain, a.domain)
    const stores = tape.lines(tape.pasidEntry(8, 5)).filter((line) => line.startsWith('q'))
    expect(stores.map((line) => line.slice(0, 2))).toEqual(['q2', 'q1'])
    // The old one is: its id goes first.
    tape.clear()
    device.set(5, c.domain, b.domain)
    const back = tape.lines(tape.pasidEntry(8, 5)).filter((line) => line.startsWith('q'))
    expect(back.map((line) => line.slice(0, 2))).toEqual(['q1', 'q2'])
    tape.onEntry = null
    expect([cached(device, 5), cached(other, 5)]).toEqual([c.leadsTo, b.leadsTo])
  })

  it('goes through an absent entry where both are in use there by others', () => {
    const { device, other, tape, a, b } = setUp()
    const third = makeThird()
    device.set(5, a.domain, null)
    other.set(5, b.domain, null)
    third.set(5, a.domain, null)
    const [tables, , end] = seen(tape, device, 5, () => device.set(5, b.domain, a.domain))
    expect(device.lastSetWasHitless).toBe(false)
    expect(new Set(tables)).toEqual(new Set([BLOCKED[0], b.leadsTo]))
    expect([end, cached(other, 5), cached(third, 5)]).toEqual([b.leadsTo, b.leadsTo, a.leadsTo])

    function makeThird(): DeviceDriver {
      return a.domain.driver.probe({ rid: 24, pasidLg2: 20, ats: false, pri: false })
    }
  })

  it('with the same table and other flags changes one word of the guest’s', () => {
    const host = makeHost()
    const device = host.probe(8)
    const tape = new Tape(host)
    const parent = host.driver.createPaging(device, NEST_PARENT)
    parent.map(0n, CLIENT, 32n * 2n ** 20n, RW)
    guestMaps(host.memory, [0x1000, 0x2000, 0x3000, 0x4000], IOVA, BigInt(0x5000 | FS_RW))
    const make = (flags: bigint) =>
      host.driver.createUserDomain(device, parent, givenData('vtd_s1', { flags, pgtblAddr: 0x1000n, addrWidth: 48 }))
    const [one, two] = [make(0n), make(5n)]
    device.set(5, one, null)
    tape.clear()
    device.set(5, two, one)
    expect(tape.lines(tape.pasidEntry(8, 5)).slice(0, 2)).toEqual(['q1 <- 0x1800003', 'q2 <- 0x1011'])
    expect(cached(device, 5)).toBe('0x100005000')
  })
})

const UNITS = [
  ['the platform’s unit', {}],
  ['caching mode', { overrides: CACHING }],
  ['a unit that keeps all it may', { caches: { policy: 'greedy' } }],
  ['one in caching mode', { overrides: CACHING, caches: { policy: 'greedy' } }],
  ['a unit that keeps one of each', { caches: { policy: 'minimal' } }],
  ['a unit without caches', { caches: { policy: 'off' } }],
] as const

describe.each(UNITS)('on %s, attachments made by chance', (_, options) => {
  it.each([1, 2, 3, 4])('of seed %d show DMA the old state, the new one or a blocked slot at every store', (seed) => {
    const chance = new Random(seed)
    const random = (below: number): number => chance.below(below)
    const host = makeHost(options)
    const devices = [host.probe(8), host.probe(0x90)]
    const slots = [RID_SLOT, 1, 5, 64]
    const tape = new Tape(host)
    const places = makePlaces(host, devices[0])
    const there = new Map<string, Place>()
    const now = { blocked: 0, old: 0, next: 0, hitless: 0 }
    const wrong: string[] = []
    const check = (what: string, outcome: string, allowed: readonly (string | undefined)[]): void => {
      if (!allowed.includes(outcome)) wrong.push(`${what}: ${outcome}`)
    }
    /** The other slots are as they were. */
    const checkRest = (except: string): void => {
      for (const [key, place] of there) {
        if (key === except) continue
        const [d, slot] = key.split(' ').map(Number)
        check(`${key} meanwhile`, cached(devices[d], slot), [place.leadsTo])
      }
    }
    for (let step = 0; step < 120; step++) {
      const d = random(2)
      const slot = slots[random(4)]
      const key = `${d} ${slot}`
      const device = devices[d]
      const old = there.get(key)
      const next = old !== undefined && random(4) === 0 ? undefined : places[random(places.length)]
      if (next === old) continue
      const allowed = [old?.leadsTo, next?.leadsTo]
      let gap = 0
      tape.onEntry = () => {
        const outcome = fresh(device, slot)
        if (BLOCKED.includes(outcome)) gap++
        else check(`step ${step}, tables`, outcome, allowed)
        if (outcome === old?.leadsTo) now.old++
        if (outcome === next?.leadsTo) now.next++
        check(`step ${step}, caches`, cached(device, slot), [...allowed, ...BLOCKED])
        checkRest(key)
      }
      if (next === undefined) device.clear(slot, (old as Place).domain)
      else device.set(slot, next.domain, old?.domain ?? null)
      tape.onEntry = null
      now.blocked += gap
      if (next === undefined) there.delete(key)
      else there.set(key, next)
      if (old !== undefined && next !== undefined) {
        expect(device.lastSetWasHitless).toBe(gap === 0)
        if (gap === 0) now.hitless++
      }
      check(`step ${step}, end`, cached(device, slot), next === undefined ? BLOCKED : [next.leadsTo])
      checkRest('')
    }
    expect(wrong).toEqual([])
    // All of it happened.
    expect(Math.min(now.blocked, now.old, now.next, now.hitless)).toBeGreaterThan(0)
  })
})

describe('in legacy mode, attachments made by chance', () => {
  it.each([1, 2])('of seed %d show DMA the old state, the new one or a blocked device at every store', (seed) => {
    const chance = new Random(seed)
    const random = (below: number): number => chance.below(below)
    const host = makeHost({ preset: 'vtd-legacy' })
    const device = host.probe(8)
    const tape = new Tape(host)
    const places = [1, 2, 3].map((n): Place => {
      const domain = host.driver.createPaging(device, PLAIN)
      domain.map(IOVA, CLIENT + n * 4096, 0x1000n, RW)
      return { domain, leadsTo: `0x${(CLIENT + n * 4096).toString(16)}` }
    })
    let old: Place | undefined
    let stores = 0
    for (let step = 0; step < 60; step++) {
      const next = random(4) === 0 ? undefined : places[random(3)]
      if (next === old) continue
      const allowed = [old?.leadsTo, next?.leadsTo, ...BLOCKED]
      tape.onEntry = () => {
        stores++
        for (const outcome of [fresh(device, RID_SLOT), cached(device, RID_SLOT)]) expect(allowed).toContain(outcome)
      }
      if (next === undefined) device.clear(RID_SLOT, (old as Place).domain)
      else device.set(RID_SLOT, next.domain, old?.domain ?? null)
      tape.onEntry = null
      old = next
      expect(cached(device, RID_SLOT)).toBe(next?.leadsTo ?? '0x02 LCT.2')
    }
    expect(stores).toBeGreaterThan(100)
  })
})
