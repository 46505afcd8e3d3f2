/**
 * Page requests from the device to whoever takes the faults of its slot, and back. Words are spelled from the manual.
 * [VTD 7.4.1, 7.6.1 Page Group Response Descriptor, 7.10, 11.4.11]
 */

import { beforeEach, describe, expect, it } from 'vitest'
import { REGISTER } from '../../hw-model/vtd/index.js'
import type { PageFault, UnitListener } from '../../server/core/driver.js'
import { DMA_ACCESS, type DomainOps, givenData, RID_SLOT } from '../../server/core/driver.js'
import { Tape } from './driver-tape.js'
import { makeHost, makeParent, makeUser, PLAIN } from './host.js'

const RID = 0x1008
const { READ, WRITE, EXECUTE, PRIVILEGED } = DMA_ACCESS
/** The default ECAP with DT (2), PRS (29) and PDS (42). */
const PRI = { ECAP: [0xa4000fc7, 0x0013ed9c] } as const

/** What a listener hears. */
class Ear implements UnitListener {
  readonly faults: PageFault[] = []
  /** PASID, group, code. */
  readonly answers: (readonly [number, number, number])[] = []
  takes = true
  onFault = (): void => {}

  pageFault(_device: unknown, fault: PageFault): boolean {
    this.faults.push(fault)
    this.onFault()
    return this.takes
  }

  respondToPages(_device: unknown, pasid: number, group: number, code: number): void {
    this.answers.push([pasid, group, code])
  }

  viommuEvent(): boolean {
    return false
  }

  ended(): void {}

  invalidate(): undefined {}
}

const SUCCESS = 0
const INVALID = 1

let ear: Ear

beforeEach(() => {
  ear = new Ear()
})

function setUp(overrides: object = PRI, facts = { ats: true, pri: true }) {
  const host = makeHost({ overrides })
  host.driver.listener = ear
  const device = host.driver.probe({ rid: RID, pasidLg2: 8, ...facts })
  const tape = new Tape(host)
  const domain = (takesFaults: boolean): DomainOps =>
    Object.assign(host.driver.createPaging(device, PLAIN), { takesFaults })
  const ask = (pasid: number, group: number, over: { access?: number; isLast?: boolean; at?: bigint } = {}): void => {
    const { access = READ, isLast = true, at = 0x7000n } = over
    const [lo, hi] = [Number(at & 0xffffffffn), Number(at >> 32n)]
    device.ats?.requestPage({ pasid, group, access, isLast, lo, hi })
  }
  return { host, device, tape, domain, ask }
}

describe('a device with PRI', () => {
  const entryOf = ({ tape }: ReturnType<typeof setUp>): string => tape.words(tape.scalableContext(RID), 1)[0].slice(-2)

  it('has PRE, bit 4, in its context entry where the unit has PRS and can drain, and the device ATS', () => {
    const all = setUp()
    expect([entryOf(all), all.device.ats?.takesPageRequests]).toEqual(['1d', true])
    const unable = [
      setUp(PRI, { ats: true, pri: false }),
      setUp({ ECAP: [0xa4000fc7, 0x0013e99c] }),
      setUp({ ECAP: [0x84000fc7, 0x0013ed9c] }),
    ]
    for (const one of unable) expect([entryOf(one), one.device.ats?.takesPageRequests]).toEqual(['0d', false])
    const deaf = setUp(PRI, { ats: false, pri: true })
    expect([entryOf(deaf), deaf.device.ats]).toEqual(['09', undefined])
    expect(setUp({}).device.ats).toBeUndefined()
  })

  it('finds a queue of 64 KiB with its interrupt on: PQA has PQS 4, PECTL is 0', () => {
    const { unit } = setUp().host.driver
    const read = (offset: number): number => unit.readRegister(offset, 8)[0]
    expect(read(REGISTER.PQA) & 0xffff).toBe(4)
    expect([read(REGISTER.PQH), read(REGISTER.PQT)]).toEqual([0, 0])
    expect(unit.readRegister(REGISTER.PECTL, 4)[0]).toBe(0)
    expect(unit.readRegister(REGISTER.PEADDR, 4)[0]).toBe(0xfee00000)
  })
})

describe('a page request', () => {
  it('is answered INVALID where nobody takes the faults of its slot, and nobody hears of it', () => {
    const { device, tape, domain, ask } = setUp()
    device.set(5, domain(false), null)
    tape.clear()
    ask(5, 3)
    // Type 9, PP, RC 1, RID, PASID; PRGI from bit 3 of the second word.
    expect(tape.descriptors()).toEqual(['0x510081019 0x18'])
    expect([ear.faults, ear.answers]).toEqual([[], [[5, 3, INVALID]]])
  })

  it('of an empty slot is the unit’s to refuse', () => {
    const { tape, ask } = setUp()
    tape.clear()
    ask(6, 2)
    expect([tape.descriptors(), ear.faults, ear.answers]).toEqual([[], [], [[6, 2, INVALID]]])
  })

  it('goes to whoever takes the faults of its PASID, or of the RID without one, and is answered once', () => {
    const { device, tape, domain, ask } = setUp()
    device.set(RID_SLOT, domain(true), null)
    device.set(5, domain(true), null)
    tape.clear()
    ask(5, 3, { isLast: false })
    ask(5, 3, { access: READ | WRITE, at: 0xffff_8000_0000_8000n })
    ask(-1, 511, { access: WRITE })
    expect(ear.faults).toEqual([
      { pasid: 5, group: 3, isLast: false, access: READ, address: 0x7000n, waits: expect.anything() },
      {
        pasid: 5,
        group: 3,
        isLast: true,
        access: READ | WRITE,
        address: 0xffff_8000_0000_8000n,
        waits: expect.anything(),
      },
      { pasid: -1, group: 511, isLast: true, access: WRITE, address: 0x7000n, waits: expect.anything() },
    ])
    expect([tape.descriptors(), ear.answers]).toEqual([[], []])
    device.respond?.(ear.faults[2], false)
    device.respond?.(ear.faults[1], true)
    device.respond?.(ear.faults[1], true)
    expect(tape.descriptors()).toEqual(['0x10081009 0xff8', '0x510080019 0x18'])
    expect(ear.answers).toEqual([
      [-1, 511, INVALID],
      [5, 3, SUCCESS],
    ])
  })

  it('that its taker has no room for is INVALID, once its group ends', () => {
    const { device, domain, ask } = setUp()
    device.set(5, domain(true), null)
    ear.takes = false
    ask(5, 3, { isLast: false })
    expect(ear.answers).toEqual([])
    ask(5, 3)
    expect(ear.answers).toEqual([[5, 3, INVALID]])
  })

  it('of a user domain goes to its own taker', () => {
    const { host, device, ask } = setUp()
    const user = makeUser(host, device, makeParent(host, device), 0x1000)
    user.takesFaults = true
    device.set(5, user, null)
    ask(5, 1, { access: WRITE, at: 0x7f12_3456_7000n })
    expect(ear.faults).toMatchObject([{ pasid: 5, group: 1, access: WRITE, address: 0x7f12_3456_7000n }])
  })

  it('is INVALID at once if its address is not canonical, or it is privileged, or would execute', () => {
    const { device, domain, ask } = setUp()
    device.set(5, domain(true), null)
    ask(5, 1, { at: 0x0000_8000_0000_0000n })
    ask(5, 2, { access: READ | PRIVILEGED })
    ask(5, 3, { access: READ | EXECUTE })
    ask(5, 4, { access: READ | EXECUTE, isLast: false })
    expect(ear.faults).toEqual([])
    expect(ear.answers.map(([, group, code]) => [group, code])).toEqual([
      [1, INVALID],
      [2, INVALID],
      [3, INVALID],
    ])
  })

  it('with neither right that ends a group is a stop marker, which nobody answers', () => {
    const { device, domain, ask } = setUp()
    device.set(5, domain(true), null)
    ask(5, 1, { access: 0 })
    expect([ear.faults, ear.answers]).toEqual([[], []])
  })

  it('that comes from inside an answer is read as well', () => {
    const { device, domain, ask } = setUp()
    device.set(5, domain(true), null)
    ear.onFault = () => {
      ear.onFault = () => {}
      ask(5, 2)
      ask(5, 3)
    }
    ask(5, 1)
    expect(ear.faults.map(({ group }) => group)).toEqual([1, 2, 3])
  })

  it('beyond the room of the queue is to be tried again: SUCCESS; afterwards there is room', () => {
    const { host, device, domain, ask } = setUp()
    device.set(5, domain(true), null)
    ear.onFault = () => {
      ear.onFault = () => {}
      for (let i = 0; i < 2060; i++) ask(5, i % 512)
    }
    ask(5, 1)
    // 2047 slots, of which the first request has one until it is handled.
    expect([ear.faults.length, ear.answers.length]).toEqual([1 + 2046, 2060 - 2046])
    expect(ear.answers.every(([, , code]) => code === SUCCESS)).toBe(true)
    expect(host.driver.unit.readRegister(REGISTER.PRS, 4)[0]).toBe(0)
    ask(5, 9)
    expect(ear.faults.at(-1)?.group).toBe(9)
  })
})

describe('groups that wait', () => {
  it('are refused when their slot is detached, after the drain that Linux does, and others go on waiting', () => {
    const { device, tape, domain, ask } = setUp()
    const [one, two] = [domain(true), domain(true)]
    device.set(RID_SLOT, one, null)
    device.set(5, two, null)
    ask(5, 3)
    ask(-1, 4)
    tape.clear()
    device.clear(5, two)
    const lines = tape.lines(0, 0)
    expect(lines.slice(0, 6)).toEqual([
      '0x500030017 0x0',
      'wait',
      '0x500030026 0x0',
      'wait',
      '0x510080008 0x7ffffffffffff800',
      'wait',
    ])
    // A fence (FN), the PASID's translations under the RID's domain-id, a wait with PD; then the answer.
    expect(lines.slice(6, 8)).toEqual(['0x200000045 0x0', '0x500020026 0x0'])
    expect(lines[8]).toMatch(/^0x2000000a5 0x/)
    expect(lines.slice(9)).toEqual(['0x510081019 0x18', 'wait'])
    expect(ear.answers).toEqual([[5, 3, INVALID]])
    device.respond?.(ear.faults[0], true)
    expect(ear.answers.length).toBe(1)
    device.respond?.(ear.faults[1], true)
    expect(ear.answers.at(-1)).toEqual([-1, 4, SUCCESS])
  })

  it('are refused when their slot has another domain, in place or not', () => {
    const { host, device, domain, ask } = setUp()
    const parent = makeParent(host, device)
    const users = [0x1000, 0x2000].map((root) => {
      return Object.assign(makeUser(host, device, parent, root), { takesFaults: true })
    })
    device.set(5, users[0], null)
    ask(5, 1)
    device.set(5, users[1], users[0])
    expect(device.lastSetWasHitless).toBe(true)
    expect(ear.answers).toEqual([[5, 1, INVALID]])
    ask(5, 2)
    device.set(5, domain(false), users[1])
    expect(ear.answers.at(-1)).toEqual([5, 2, INVALID])
    ask(5, 3)
    expect([ear.faults.length, ear.answers.at(-1)]).toEqual([2, [5, 3, INVALID]])
  })

  it('are refused when an attach that fails leaves the RID blocked', () => {
    const { host, device, domain, ask } = setUp()
    const old = domain(true)
    device.set(RID_SLOT, old, null)
    ask(-1, 1)
    const data = givenData('vtd_s1', { flags: 0n, pgtblAddr: 0x1000n, addrWidth: 39 })
    const bad = host.driver.createUserDomain(device, makeParent(host, device), data)
    expect(() => device.set(RID_SLOT, bad, old)).toThrow(/blocked now/)
    expect(ear.answers).toEqual([[-1, 1, INVALID]])
  })

  it('are forgotten by a reset, of the slots that it is for', () => {
    const { device, tape, domain, ask } = setUp()
    device.set(RID_SLOT, domain(true), null)
    device.set(5, domain(true), null)
    ask(5, 1)
    ask(-1, 2)
    device.reset([5])
    tape.clear()
    device.respond?.(ear.faults[0], true)
    expect(tape.descriptors()).toEqual([])
    device.respond?.(ear.faults[1], true)
    expect(tape.descriptors()).toEqual(['0x10080009 0x10'])
    ask(-1, 3)
    device.reset()
    device.respond?.(ear.faults[2], true)
    expect(tape.descriptors().length).toBe(1)
  })
})
