import { beforeEach, describe, expect, it } from 'vitest'
import { ACCESS, Outcome, STATUS } from '../../hw-model/port.js'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import type { AtsDoor, DeviceDriver, PagingOps } from '../../server/core/driver.js'
import { HW_CAPABILITY } from '../../server/core/driver.js'
import { invalidateCommands } from '../given.js'
import { Ear, IPA, NestedGuest, VSID } from './ear.js'
import { GUEST_RAM, PARENT, PASID, PLAIN, RW, World } from './world.js'

/** IDR0.ATS is bit 10, PRI bit 16; IDR1.PRIQS bits 15:11. */
const IDS = { IDR0: PRESETS.default.IDR0 | (1 << 10) | (1 << 16), IDR1: PRESETS.default.IDR1 | (8 << 11) }
/** STE.EATS is bits 93:92, so bits 29:28 of the second word: 1 is full ATS. */
const EATS = 3n << 28n
const FULL = 1n << 28n
/** PCIe's codes of a page response. */
const [SUCCESS, INVALID] = [0, 1]

let world: World
let ear: Ear
beforeEach(() => {
  world = new World(IDS, { ats: true, pri: true })
  ear = new Ear()
  world.driver.listener = ear
})

const door = (device: DeviceDriver): AtsDoor => device.ats as AtsDoor
const eats = (): bigint => world.ste(world.a)[1] & EATS

function ask(address: bigint, pasid = -1, access: number = ACCESS.READ): Outcome {
  const out = new Outcome()
  door(world.a).request(pasid, Number(address & 0xffff_ffffn), Number(address >> 32n), access, out)
  return out
}

function use(address: number): number {
  const out = new Outcome()
  door(world.a).translated(-1, address % 2 ** 32, Math.floor(address / 2 ** 32), ACCESS.READ, out)
  return out.status === STATUS.FAULT ? out.fault : out.status
}

function attached(slot = 0, flags = slot === 0 ? PLAIN : PASID): PagingOps {
  const domain = world.driver.createPaging(world.a, flags)
  domain.map(0x1000n, GUEST_RAM, 0x4000n, RW)
  world.a.set(slot, domain, null)
  return domain
}

/** Waits until a promise that was held back is answered. */
const settled = async (completion: Promise<void> | undefined): Promise<void> => {
  expect(completion).toBeInstanceOf(Promise)
  await completion
}

describe('a device with ATS behind a unit with ATS', () => {
  it('says so, and no other does', () => {
    const none = HW_CAPABILITY.PCI_ATS_NOT_SUPPORTED
    expect([world.a.capabilities & none, world.b.capabilities & none]).toEqual([0, none])
    expect([world.b.ats, new World({}, { ats: true, pri: true }).a.ats]).toEqual([undefined, undefined])
    expect([
      door(world.a).takesPageRequests,
      (new World(IDS, { ats: true }).a.ats as AtsDoor).takesPageRequests,
    ]).toEqual([true, false])
  })

  it('has EATS in its STE while a domain is attached, and translated accesses are checked (CR0.ATSCHK)', () => {
    // SMMUEN 0, PRIQEN 1, EVENTQEN 2, CMDQEN 3, ATSCHK 4.
    expect(world.register(0x20, 4)).toBe(0x1fn)
    expect(use(GUEST_RAM)).toBe(STATUS.ABORTED)
    const domain = attached()
    expect(eats()).toBe(FULL)
    expect(ask(0x1000n).address).toBe(GUEST_RAM)
    expect(use(GUEST_RAM)).toBe(STATUS.OK)
    world.a.clear(0, domain)
    expect(eats()).toBe(0n)
    expect(ask(0x1000n).status).toBe(STATUS.UNSUPPORTED)
  })

  it('has it for stage 2, and for PASIDs with the RID blocked', () => {
    const two = attached(0, PARENT)
    expect(eats()).toBe(FULL)
    world.a.clear(0, two)
    attached(5)
    expect(eats()).toBe(FULL)
    expect([ask(0x1000n, 5).address, ask(0x1000n).status]).toEqual([GUEST_RAM, STATUS.COMPLETER_ABORT])
  })
})

describe("what a device's own TLB is asked to forget", () => {
  it('is everything when ATS goes on or off, and its slot when a domain is replaced', () => {
    const domain = attached()
    const everything = ['8 -1 0 64', '8 all 0 64']
    expect(ear.asked.splice(0)).toEqual(everything)
    const next = world.driver.createPaging(world.a, PLAIN)
    world.a.set(0, next, domain)
    expect(ear.asked.splice(0)).toEqual(['8 -1 0 64'])
    const pasid = attached(5)
    expect(ear.asked.splice(0)).toEqual(['8 5 0 64'])
    world.a.clear(5, pasid)
    expect(ear.asked.splice(0)).toEqual(['8 5 0 64'])
    world.a.clear(0, next)
    expect(ear.asked.splice(0)).toEqual(everything)
  })

  it('is the smallest power of two around what was unmapped, under the PASID of the slot', () => {
    const [plain, five] = [attached(), attached(5)]
    ear.asked.length = 0
    for (const domain of [plain, five]) {
      domain.unmap(0x2000n, 0x2000n)
      domain.flush()
    }
    expect(ear.asked.splice(0)).toEqual(['8 -1 2000 13', '8 5 2000 13'])
    plain.unmap(0x4000n, 0x1000n)
    plain.unmap(0x1000n, 0x1000n)
    plain.flush()
    expect(ear.asked).toEqual(['8 -1 4000 12', '8 -1 1000 12'])
  })

  it('is, of stage 2, what was obtained under any PASID', () => {
    const two = attached(0, PARENT)
    ear.asked.length = 0
    two.unmap(0x1000n, 0x1000n)
    two.flush()
    expect(ear.asked).toEqual(['8 -1 1000 12', '8 all 1000 12'])
  })

  it('is asked after the unit has forgotten, and the command is given when it was answered', async () => {
    const domain = attached()
    let answer: (inTime: boolean) => void = () => undefined
    ear.holds = new Promise((resolve) => {
      answer = resolve
    })
    world.dma(world.a, 0x1000n)
    domain.unmap(0x1000n, 0x1000n)
    const before = world.driver.counters()['commands'] as number
    const completion = domain.flush()
    // TLBI and SYNC now; ATC_INV and SYNC then.
    expect([world.driver.counters()['commands'], world.dma(world.a, 0x1000n)]).toEqual([before + 2, 'F_TRANSLATION'])
    answer(true)
    await settled(completion)
    expect([world.driver.counters()['commands'], world.driver.counters()['atcTimeouts']]).toEqual([before + 4, 0])
  })

  it('fails the command of a device that does not answer, and the unit goes on', async () => {
    const domain = attached()
    ear.holds = Promise.resolve(false)
    domain.unmap(0x1000n, 0x1000n)
    await settled(domain.flush())
    expect(world.driver.counters()['atcTimeouts']).toBe(1)
    // GERROR equals GERRORN: CMDQ_ERR was acknowledged.
    expect(world.register(0x60, 4)).toBe(world.register(0x64, 4))
    ear.holds = undefined
    world.a.reset()
    domain.unmap(0x2000n, 0x1000n)
    expect(domain.flush()).toBeUndefined()
    expect([world.dma(world.a, 0x2000n), world.dma(world.a, 0x3000n)]).toEqual(['F_TRANSLATION', 'ok 10000002000'])
  })

  it('fails none of many that the unit may have outstanding at once', async () => {
    const domains = Array.from({ length: 40 }, (_, i) => attached(i + 1))
    const shared = domains[0]
    for (const [i, domain] of domains.entries()) if (i > 0) world.a.set(i + 1, shared, domain)
    ear.holds = Promise.resolve(false)
    shared.unmap(0x1000n, 0x1000n)
    await settled(shared.flush())
    expect(world.driver.counters()['atcTimeouts']).toBe(40)
  })
})

describe("a guest's vSTE", () => {
  const CONFIG_5 = (3n << 59n) | (IPA + 0x10_0000n) | 0xbn

  it('has ATS on only with EATS = 1, and then the parent makes the device forget everything', () => {
    const guest = new NestedGuest(world)
    guest.viommu.addVdevice(world.a, VSID)
    const off = guest.domain(CONFIG_5, 2n)
    world.a.set(0, off, null)
    expect([eats(), ask(0x1000n).status]).toEqual([0n, STATUS.UNSUPPORTED])
    const on = guest.domain(CONFIG_5, 2n | FULL)
    world.a.set(0, on, off)
    expect([eats(), ask(0x1000n).address]).toEqual([FULL, GUEST_RAM + 0x70_0000])
    ear.asked.length = 0
    guest.parent.unmap(IPA, 0x4000_0000n)
    guest.parent.flush()
    expect(ear.asked).toEqual(['8 -1 0 64', '8 all 0 64'])
  })

  it('that bypasses stage 1 has it as stage 2 has', () => {
    const guest = new NestedGuest(world)
    world.a.set(0, guest.domain(9n, 0n), null)
    expect([eats(), ask(IPA).address]).toEqual([FULL, GUEST_RAM])
  })

  it('has its ATC_INV carried out after the unit forgot, under the PASID that it names', async () => {
    const guest = new NestedGuest(world)
    guest.viommu.addVdevice(world.a, VSID)
    world.a.set(0, guest.domain(CONFIG_5, 2n | FULL), null)
    ear.asked.length = 0
    const [atc, tlbi] = [0x40n | (VSID << 32n), 0x10n]
    ear.holds = Promise.resolve(true)
    const result = invalidateCommands(guest.viommu, [
      // SSV, bit 11; SSID 3, bits 31:12; 2^(12+1) bytes at 0x6000.
      { dw0: atc | (1n << 11n) | (3n << 12n), dw1: 0x7000n | 1n },
      { dw0: tlbi, dw1: 0n },
      { dw0: atc, dw1: 52n },
    ])
    expect([result.done, result.refusal]).toEqual([3, undefined])
    await settled(result.completion)
    expect(ear.asked).toEqual(['8 3 6000 13', '8 -1 0 64'])
    // Size 53 would stop the queue.
    const bad = invalidateCommands(guest.viommu, [{ dw0: atc, dw1: 53n }])
    expect([bad.done, bad.refusal?.name]).toEqual([0, 'EIO'])
  })
})

describe('a page request', () => {
  const request = (group: number, isLast = true, pasid = -1, access: number = ACCESS.READ): void =>
    door(world.a).requestPage({ pasid, lo: 0x5000, hi: 1, access, group, isLast })

  it('is told with its group, and its answer goes to the device', () => {
    const domain = attached(5)
    domain.takesFaults = true
    request(7, false, 5, ACCESS.READ | ACCESS.WRITE)
    request(7, true, 5, ACCESS.READ | ACCESS.PRIVILEGED | ACCESS.EXECUTE)
    expect(
      ear.faults.map(({ pasid, group, isLast, access, address }) => [pasid, group, isLast, access, address]),
    ).toEqual([
      [5, 7, false, 3, 0x1_0000_5000n],
      [5, 7, true, 13, 0x1_0000_5000n],
    ])
    expect(ear.answers).toEqual([])
    world.a.respond?.(ear.faults[1], true)
    world.a.respond?.(ear.faults[1], true)
    expect(ear.answers).toEqual([`8 5 7 ${SUCCESS}`])
    request(8, true, 5)
    world.a.respond?.(ear.faults[2], false)
    expect(ear.answers[1]).toBe(`8 5 8 ${INVALID}`)
  })

  it('that nobody takes is INVALID, once for its group', () => {
    const domain = attached()
    request(1, false)
    request(1)
    expect([ear.faults, ear.answers.splice(0)]).toEqual([[], [`8 -1 1 ${INVALID}`]])
    domain.takesFaults = true
    ear.takes = false
    request(2)
    expect([ear.faults.length, ear.answers]).toEqual([1, [`8 -1 2 ${INVALID}`]])
  })

  it('that stops a PASID has no answer, and is told to nobody', () => {
    attached(5).takesFaults = true
    request(0, true, 5, 0)
    expect([ear.faults, ear.answers]).toEqual([[], []])
  })

  it('beyond what the queue holds is answered by the unit, and the next one is told again', () => {
    attached().takesFaults = true
    // While it tells of the first the driver reads no further: 256 entries fit (IDR1.PRIQS), and 44 do not.
    const tell = ear.pageFault.bind(ear)
    ear.pageFault = (device, fault) => {
      const taken = tell(device, fault)
      if (ear.faults.length === 1) for (let i = 0; i < 300; i++) request(i)
      return taken
    }
    request(500)
    expect([ear.faults.length, ear.answers.length]).toEqual([1 + 256, 44])
    expect(ear.answers[0]).toBe(`8 -1 256 ${SUCCESS}`)
    expect(world.driver.counters()['pageRequestOverflows']).toBe(1)
    request(501)
    expect(ear.faults.at(-1)?.group).toBe(501)
  })

  it('of a device that was reset is answered no more', () => {
    attached().takesFaults = true
    request(3)
    world.a.reset()
    world.a.respond?.(ear.faults[0], true)
    expect(ear.answers).toEqual([])
  })
})
