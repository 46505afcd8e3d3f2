/**
 * The commands of attach, replace and detach, in the order in which Linux gives them: CD, STE, prefetch, what the device
 * keeps, then the TLB of a domain that lost its last user. Each list is put together from the kernel's steps.
 */

import { describe, expect, it } from 'vitest'
import type { DeviceDriver, DeviceFacts, PagingOps } from '../../server/core/driver.js'
import { Ear, NestedGuest, VSID } from './ear.js'
import { ListenedHost } from './stream/listener.js'
import { GUEST_RAM, PARENT, PASID, PLAIN, RW, World } from './world.js'

const SID = 8
const CD_TWICE = (ssid: number): string[] => Array(2).fill(`CFGI_CD ${ssid}, SYNC`)
const CD_THRICE = (ssid: number): string[] => Array(3).fill(`CFGI_CD ${ssid}, SYNC`)
const NEW_LEAF = (ssid: number): string => `CFGI_CD ${ssid} with its L1CD, SYNC`
const STE = (times: number): string[] => [...Array(times).fill('CFGI_STE, SYNC'), 'PREFETCH_CONFIG']
const DROP_ASID = (asid: number): string => `TLBI_NH_ASID ${asid}, SYNC`
const DROP_VMID = (vmid: number): string => `TLBI_S12_VMALL ${vmid}, SYNC`

/** A command of the device's, by the manual's bit numbers; of others' nothing is expected. */
function name(dw0: bigint, dw1: bigint): string {
  const [sid, ssid] = [Number(dw0 >> 32n), Number((dw0 >> 12n) & 0xfffffn)]
  const opcode = Number(dw0 & 0xffn)
  if (opcode === 0x46) return 'SYNC'
  if (opcode === 0x11) return `TLBI_NH_ASID ${Number(dw0 >> 48n)}${(sid & 0xffff) === 0 ? '' : ' of a VMID'}`
  if (opcode === 0x28) return `TLBI_S12_VMALL ${sid & 0xffff}`
  expect(sid).toBe(SID)
  if (opcode === 0x01) return 'PREFETCH_CONFIG'
  if (opcode === 0x03) return (dw1 & 1n) === 1n ? 'CFGI_STE' : 'CFGI_STE with its L1STD'
  if (opcode === 0x05) return `CFGI_CD ${ssid}${(dw1 & 1n) === 1n ? '' : ' with its L1CD'}`
  if (opcode !== 0x40) return `command 0x${opcode.toString(16)}`
  const all = (dw1 & 0x3fn) === 52n ? '' : ' a range'
  const under = (dw0 & (1n << 11n)) === 0n ? 'without PASID' : (dw0 & (1n << 9n)) === 0n ? `PASID ${ssid}` : 'PASIDs'
  return `ATC_INV ${under}${all}`
}

/** A host that tells the commands of an act, each with the SYNC that ends it. */
class Told {
  readonly host: ListenedHost
  readonly device: DeviceDriver

  constructor(facts: Partial<DeviceFacts> = {}, preset: 'default' | 'ats' = 'default') {
    this.host = new ListenedHost({}, preset)
    this.device = this.host.driver.probe({ rid: SID, pasidLg2: 20, ats: false, pri: false, ...facts })
    this.host.taken()
  }

  of(act: () => void): string[] {
    this.host.taken()
    act()
    const told: string[] = []
    let last = ''
    for (const row of this.host.taken()) {
      if (row.kind !== 'command') continue
      const { dw0, dw1 } = row.command
      const one = name(dw0, dw1)
      if (one === 'SYNC' && last !== 'SYNC' && told.length > 0) told.push(`${told.pop()}, SYNC`)
      else told.push(one)
      last = one
    }
    return told
  }

  domain(flags = PLAIN): PagingOps {
    return this.host.driver.createPaging(this.device, flags)
  }
}

describe('the RID', () => {
  it('goes from blocked to stage 1 and back; the CD is cleared when the domain has gone', () => {
    const told = new Told()
    const domain = told.domain()
    const set = told.of(() => told.device.set(0, domain, null))
    expect(set).toEqual([NEW_LEAF(0), ...CD_TWICE(0), ...STE(2)])
    const clear = told.of(() => told.device.clear(0, domain))
    expect(clear).toEqual([...STE(2), DROP_ASID(1), ...CD_TWICE(0)])
    const again = told.of(() => told.device.set(0, domain, null))
    expect(again).toEqual([...CD_TWICE(0), ...STE(2)])
  })

  it('goes from one stage 1 domain to another by its CD, which cannot be hitless; the STE stays', () => {
    const told = new Told()
    const [one, two] = [told.domain(), told.domain()]
    told.device.set(0, one, null)
    expect(told.of(() => told.device.set(0, two, one))).toEqual([...CD_THRICE(0), 'PREFETCH_CONFIG', DROP_ASID(1)])
    expect(told.device.lastSetWasHitless).toBe(false)
  })

  it('goes between the stages: CD first on the way to stage 1, and cleared after the STE on the way from it', () => {
    const told = new Told()
    const [first, second] = [told.domain(), told.domain(PARENT)]
    told.device.set(0, first, null)
    const there = told.of(() => told.device.set(0, second, first))
    expect(there).toEqual([...STE(3), ...CD_TWICE(0), DROP_ASID(1)])
    const back = told.of(() => told.device.set(0, first, second))
    expect(back).toEqual([...CD_TWICE(0), ...STE(3), DROP_VMID(1)])
  })

  it('keeps the TLB of a domain that another device still uses', () => {
    const told = new Told()
    const domain = told.domain()
    const other = told.host.driver.probe({ rid: 9, pasidLg2: 0, ats: false, pri: false })
    other.set(0, domain, null)
    told.device.set(0, domain, null)
    expect(told.of(() => told.device.clear(0, domain))).toEqual([...STE(2), ...CD_TWICE(0)])
  })

  it('goes from one stage 2 domain to another with a gap, for VMID and table are in two words', () => {
    const told = new Told()
    const [one, two] = [told.domain(PARENT), told.domain(PARENT)]
    told.device.set(0, one, null)
    expect(told.of(() => told.device.set(0, two, one))).toEqual([...STE(3), DROP_VMID(1)])
    expect(told.device.lastSetWasHitless).toBe(false)
  })
})

describe('PASIDs', () => {
  it('bring the CD table with the first and take it with the last; the others touch their CD alone', () => {
    const told = new Told()
    const [one, two] = [told.domain(PASID), told.domain(PASID)]
    expect(told.of(() => told.device.set(5, one, null))).toEqual([NEW_LEAF(5), ...CD_TWICE(5), ...STE(2)])
    expect(told.of(() => told.device.set(6, two, null))).toEqual(CD_TWICE(6))
    expect(told.of(() => told.device.set(1024, one, null))).toEqual([NEW_LEAF(1024), ...CD_TWICE(1024)])
    expect(told.of(() => told.device.clear(6, two))).toEqual([...CD_TWICE(6), DROP_ASID(2)])
    expect(told.of(() => told.device.clear(5, one))).toEqual(CD_TWICE(5))
    expect(told.of(() => told.device.clear(1024, one))).toEqual([...CD_TWICE(1024), DROP_ASID(1), ...STE(2)])
  })

  it('are replaced by their CD', () => {
    const told = new Told()
    const [one, two] = [told.domain(PASID), told.domain(PASID)]
    told.device.set(5, one, null)
    expect(told.of(() => told.device.set(5, two, one))).toEqual([...CD_THRICE(5), DROP_ASID(1)])
  })

  /** Linux drops the ASID before it clears the CD; a request with PASID 0 could fill the TLB in between. */
  it('stay where the RID comes and goes by S1DSS alone', () => {
    const told = new Told()
    const [pasid, rid] = [told.domain(PASID), told.domain(PASID)]
    told.device.set(5, pasid, null)
    expect(told.of(() => told.device.set(0, rid, null))).toEqual([...CD_TWICE(0), ...STE(1)])
    expect(told.of(() => told.device.clear(0, rid))).toEqual([...STE(1), ...CD_TWICE(0), DROP_ASID(2)])
    told.device.set(0, rid, null)
    expect(told.of(() => told.device.clear(5, pasid))).toEqual([...CD_TWICE(5), DROP_ASID(1)])
  })
})

describe('a user domain', () => {
  it('takes the STE alone: the CDs are the guest’s', () => {
    const world = new World({}, { rid: SID })
    const guest = new NestedGuest(world)
    guest.viommu.addVdevice(world.a, VSID)
    const [one, two] = [guest.domain(), guest.domain()]
    const before = world.driver.counters()
    world.a.set(0, one, null)
    const first = world.driver.counters()
    world.a.set(0, two, one)
    const second = world.driver.counters()
    world.a.clear(0, two)
    const third = world.driver.counters()
    // Two CFGI_STE with their SYNCs and the prefetch; the prefetch; and then TLBI_S12_VMALL with its SYNC, too.
    const given = [
      first['commands'] - before['commands'],
      second['commands'] - first['commands'],
      third['commands'] - second['commands'],
    ]
    expect(given).toEqual([5, 1, 7])
  })
})

describe('with ATS', () => {
  const ats = { ats: true, pasidLg2: 4 }
  const ALL = ['ATC_INV without PASID', 'ATC_INV PASIDs, SYNC']

  it('is switched on and off with everything forgotten, and forgets the slot that changes', () => {
    const told = new Told(ats, 'ats')
    const [one, two, pasid] = [told.domain(PASID), told.domain(PASID), told.domain(PASID)]
    expect(told.of(() => told.device.set(0, one, null))).toEqual([...CD_TWICE(0), ...STE(2), ...ALL])
    const replaced = told.of(() => told.device.set(0, two, one))
    expect(replaced).toEqual([...CD_THRICE(0), 'PREFETCH_CONFIG', DROP_ASID(1), 'ATC_INV without PASID, SYNC'])
    expect(told.of(() => told.device.set(5, pasid, null))).toEqual([...CD_TWICE(5), 'ATC_INV PASID 5, SYNC'])
    expect(told.of(() => told.device.clear(5, pasid))).toEqual([...CD_TWICE(5), DROP_ASID(3), 'ATC_INV PASID 5, SYNC'])
    expect(told.of(() => told.device.clear(0, two))).toEqual([...STE(2), DROP_ASID(2), ...CD_TWICE(0), ...ALL])
  })

  it('stays on for PASIDs while the RID is blocked', () => {
    const told = new Told(ats, 'ats')
    const [rid, pasid] = [told.domain(PASID), told.domain(PASID)]
    expect(told.of(() => told.device.set(5, pasid, null))).toEqual([...CD_TWICE(5), ...STE(2), ...ALL])
    told.device.set(0, rid, null)
    const cleared = told.of(() => told.device.clear(0, rid))
    expect(cleared).toEqual([...STE(1), ...CD_TWICE(0), DROP_ASID(1), 'ATC_INV without PASID, SYNC'])
  })
})

describe('a device that has left a domain and still answers', () => {
  const waits = async (promise: Promise<void> | undefined): Promise<boolean> => {
    let isDone = promise === undefined
    promise?.then(() => {
      isDone = true
    })
    await new Promise((resolve) => setImmediate(resolve))
    return !isDone
  }

  it.each(['replace', 'detach', 'detach of the last PASID'])('holds up who unmaps from it: %s', async (how) => {
    // IDR0.ATS is bit 10.
    const world = new World({ IDR0: new World().driver.unit.id.IDR0 | (1 << 10) }, { ats: true })
    const ear = new Ear()
    world.driver.listener = ear
    const [old, next] = [PASID, PASID].map((flags) => world.driver.createPaging(world.a, flags))
    old.map(0x1000n, GUEST_RAM, 0x1000n, RW)
    const slot = how === 'detach of the last PASID' ? 3 : 0
    world.a.set(slot, old, null)
    let answer = (_: boolean): void => undefined
    ear.holds = new Promise((resolve) => {
      answer = resolve
    })
    const left = how === 'replace' ? world.a.set(slot, next, old) : world.a.clear(slot, old)
    // What the device has obtained reaches the page until it has answered.
    old.unmap(0x1000n, 0x1000n)
    const flushed = old.flush()
    expect([await waits(left), await waits(flushed)]).toEqual([true, true])
    answer(true)
    await Promise.all([left, flushed])
    ear.holds = undefined
    expect(old.flush()).toBe(undefined)
  })
})
