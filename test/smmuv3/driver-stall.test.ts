import { beforeEach, describe, expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import type { PagingOps } from '../../server/core/driver.js'
import { Ear, NestedGuest, VSID } from './ear.js'
import { GUEST_RAM, PARENT, PASID, PLAIN, RW, World } from './world.js'

/** IDR0.STALL_MODEL, bits 25:24, 0: software chooses. IDR5.STALL_MAX, bits 31:16, is 6. */
const IDS = { IDR0: PRESETS.default.IDR0 & ~(3 << 24), IDR5: (PRESETS.default.IDR5 | (6 << 16)) >>> 0 }
/** STE.S1STALLD is bit 91, so bit 27 of its second word; S2S is bit 185, so bit 57 of the third. */
const S1STALLD = 1n << 27n
const S2S = 1n << 57n
const ABORTED = 3

let world: World
let ear: Ear
beforeEach(() => {
  world = new World(IDS, { stalls: true })
  ear = new Ear()
  world.driver.listener = ear
})

/** A domain with a fault queue, on a slot of the device `a`. */
function attached(slot = 0, takesFaults = true): PagingOps {
  const domain = world.driver.createPaging(world.a, slot === 0 ? PLAIN : PASID)
  domain.takesFaults = takesFaults
  domain.map(0x1000n, GUEST_RAM, 0x1000n, RW)
  world.a.set(slot, domain, null)
  return domain
}

const mapLater = (domain: PagingOps): void => domain.map(0x5000n, GUEST_RAM + 0x5000, 0x1000n, RW)

describe('a request that stage 1 stalls', () => {
  it('is pending, told with what it asked, and ends where the tables say then', () => {
    const domain = attached()
    expect(world.a.port.mayPend).toBe(true)
    expect(world.dma(world.a, 0x5678n, -1, ACCESS.WRITE)).toBe('pending 1')
    const [fault] = ear.faults
    expect(fault).toMatchObject({ pasid: -1, isLast: true, access: ACCESS.WRITE, address: 0x5678n })
    mapLater(domain)
    expect(ear.ends).toEqual([])
    world.a.respond?.(fault, true)
    expect(ear.ends).toEqual(['1 ok 10000005678'])
    world.a.respond?.(fault, true)
    expect(ear.ends).toHaveLength(1)
  })

  it('is told again where nothing was mapped, and aborted where it is refused', () => {
    attached()
    world.dma(world.a, 0x5000n)
    world.a.respond?.(ear.faults[0], true)
    expect([ear.faults.length, ear.ends]).toEqual([2, []])
    world.a.respond?.(ear.faults[1], false)
    expect(ear.ends).toEqual([`1 ${ABORTED}`])
    expect(ear.faults[1].access).toBe(ACCESS.READ)
  })

  it('has its PASID and its own domain', () => {
    const domain = attached(9)
    expect(world.dma(world.a, 0x5000n, 9)).toBe('pending 1')
    expect(ear.faults[0].pasid).toBe(9)
    mapLater(domain)
    world.a.respond?.(ear.faults[0], true)
    expect(ear.ends).toEqual(['1 ok 10000005000'])
  })

  it('is aborted at once when nobody takes it', () => {
    attached()
    ear.takes = false
    expect(world.dma(world.a, 0x5000n)).toBe('pending 1')
    expect(ear.ends).toEqual([`1 ${ABORTED}`])
  })

  it('beyond its share of IDR5.STALL_MAX is aborted, and takes no place of another device', () => {
    const domain = attached()
    for (const at of [0x5000n, 0x6000n, 0x7000n, 0x8000n]) expect(world.dma(world.a, at)).toMatch('pending')
    expect([ear.faults.length, ear.ends.splice(0)]).toEqual([3, [`4 ${ABORTED}`]])
    world.a.respond?.(ear.faults[0], false)
    expect(world.dma(world.a, 0x8000n)).toBe('pending 5')
    expect([ear.faults.length, ear.ends]).toEqual([4, [`1 ${ABORTED}`]])
    world.a.clear(0, domain)
    expect(ear.ends).toHaveLength(4)
  })

  it('of a mediated device has a share of its own, which its parent and siblings cannot take', () => {
    world = new World(IDS, { stalls: true, mediatedPasids: [9] })
    world.driver.listener = ear
    for (const slot of [9, 10]) attached(slot)
    // Two devices and the mediated one: two places for each of the three.
    for (const at of [0x5000n, 0x6000n, 0x7000n]) world.dma(world.a, at, 10)
    expect([ear.faults.length, ear.ends]).toEqual([2, [`3 ${ABORTED}`]])
    for (const at of [0x5000n, 0x6000n, 0x7000n]) world.dma(world.a, at, 9)
    expect([ear.faults.length, ear.ends]).toEqual([4, [`3 ${ABORTED}`, `6 ${ABORTED}`]])
  })

  it.each([
    ['detached', (domain: PagingOps) => world.a.clear(0, domain)],
    ['reset', () => world.a.reset()],
  ])('is aborted when its device is %s, and an answer finds nothing then', (_name, end) => {
    const domain = attached()
    for (const at of [0x5000n, 0x6000n, 0x7000n]) world.dma(world.a, at)
    end(domain)
    expect(ear.ends).toEqual([`1 ${ABORTED}`, `2 ${ABORTED}`, `3 ${ABORTED}`])
    mapLater(domain)
    world.a.respond?.(ear.faults[0], true)
    expect(ear.ends).toHaveLength(3)
  })
})

describe('a reset of some slots alone', () => {
  it('ends what waits in them, and nothing of the others', () => {
    const [nine, ten] = [attached(9), attached(10)]
    world.dma(world.a, 0x5000n, 9)
    world.dma(world.a, 0x5000n, 10)
    world.dma(world.a, 0x6000n, 9)
    world.a.reset([9])
    expect(ear.ends).toEqual([`1 ${ABORTED}`, `3 ${ABORTED}`])
    for (const domain of [nine, ten]) mapLater(domain)
    for (const fault of ear.faults) world.a.respond?.(fault, true)
    expect(ear.ends.slice(2)).toEqual(['2 ok 10000005000'])
  })

  it('ends what the unit had no place to tell of, and tells nobody', () => {
    world = new World({ ...IDS, IDR5: PRESETS.default.IDR5 | (1 << 16) }, { stalls: true })
    world.driver.listener = ear
    attached(9)
    for (const at of [0x5000n, 0x6000n]) expect(world.dma(world.a, at, 9)).toMatch('pending')
    world.a.reset([9])
    expect([ear.ends, ear.faults.length]).toEqual([[`1 ${ABORTED}`, `2 ${ABORTED}`], 1])
  })
})

describe('who does not stall', () => {
  it('is a domain without a fault queue, and a device that cannot', () => {
    attached(0, false)
    expect(world.dma(world.a, 0x5000n)).toBe('F_TRANSLATION')
    const domain = world.driver.createPaging(world.b, PLAIN)
    domain.takesFaults = true
    world.b.set(0, domain, null)
    expect(world.b.port.mayPend).toBe(false)
    expect(world.dma(world.b, 0x5000n)).toBe('F_TRANSLATION')
    expect(ear.faults).toEqual([])
  })

  it('has S1STALLD in its STE, where the unit leaves the choice', () => {
    attached()
    world.b.set(0, world.driver.createPaging(world.b, PLAIN), null)
    expect([world.ste(world.a)[1] & S1STALLD, world.ste(world.b)[1] & S1STALLD]).toEqual([0n, S1STALLD])
    const plain = new World()
    plain.a.set(0, plain.driver.createPaging(plain.a, PLAIN), null)
    expect(plain.ste(plain.a)[1] & S1STALLD).toBe(0n)
  })
})

describe('stage 2 of a device that stalls', () => {
  it('stalls, with S2S, where its domain has a fault queue', () => {
    const domain = world.driver.createPaging(world.a, PARENT)
    domain.takesFaults = true
    world.a.set(0, domain, null)
    expect(world.ste(world.a)[2] & S2S).toBe(S2S)
    expect(world.dma(world.a, 0x5000n)).toBe('pending 1')
    mapLater(domain)
    world.a.respond?.(ear.faults[0], true)
    expect(ear.ends).toEqual(['1 ok 10000005000'])
    const quiet = world.driver.createPaging(world.a, PARENT)
    world.a.set(0, quiet, domain)
    expect(world.ste(world.a)[2] & S2S).toBe(0n)
  })
})

describe("a guest's own CDs", () => {
  /** CD.S is bit 44. */
  const STALLING = 1n << 44n

  it('stall where they say so, and the fault is no event of the vIOMMU', () => {
    const guest = new NestedGuest(world, STALLING)
    guest.viommu.addVdevice(world.a, VSID)
    const domain = guest.domain()
    domain.takesFaults = true
    world.a.set(0, domain, null)
    expect(world.dma(world.a, 0x5000n)).toBe('pending 1')
    expect([ear.faults.length, ear.vevents]).toEqual([1, []])
    guest.map(5, 0x4070_0000n)
    world.a.respond?.(ear.faults[0], true)
    expect(ear.ends).toEqual(['1 ok 10000700000'])
  })

  it('are aborted where their domain has no fault queue', () => {
    const guest = new NestedGuest(world, STALLING)
    guest.viommu.addVdevice(world.a, VSID)
    world.a.set(0, guest.domain(), null)
    expect(world.a.port.mayPend).toBe(true)
    expect(world.dma(world.a, 0x5000n)).toBe('pending 1')
    expect([ear.faults, ear.ends]).toEqual([[], [`1 ${ABORTED}`]])
  })
})

describe('a unit that always stalls', () => {
  it('is driven so: CD.S everywhere, and S1STALLD nowhere', () => {
    const forced = new World({ ...IDS, IDR0: IDS.IDR0 | (2 << 24) })
    forced.driver.listener = ear
    const domain = forced.driver.createPaging(forced.b, PLAIN)
    domain.map(0x1000n, GUEST_RAM, 0x1000n, RW)
    forced.b.set(0, domain, null)
    expect(forced.dma(forced.b, 0x1000n)).toBe('ok 10000000000')
    expect(forced.dma(forced.b, 0x5000n)).toBe('pending 1')
    expect(ear.ends).toEqual([`1 ${ABORTED}`])
    const two = forced.driver.createPaging(forced.b, PARENT)
    forced.b.set(0, two, domain)
    expect(forced.ste(forced.b)[2] & S2S).toBe(S2S)
  })
})
