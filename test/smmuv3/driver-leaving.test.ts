/** What is left behind when something goes: a domain from a slot, a root from one of several, a request that waited. */

import { describe, expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import { CMD_ATC_INV, PRESETS } from '../../hw-model/smmuv3/index.js'
import { type PageFault, Refusal, type SmmuCommand } from '../../server/core/driver.js'
import { invalidateCommands } from '../given.js'
import { Ear, IPA, NestedGuest, VSID } from './ear.js'
import { RAM_IPA, VA, WINDOW_IPA, WindowWorld } from './window-world.js'
import { GUEST_RAM, PARENT, PASID, PLAIN, RW, refusal, World } from './world.js'

const { IDR0, IDR1, IDR5 } = PRESETS.default
const ATS = { IDR0: IDR0 | (1 << 10) | (1 << 16), IDR1: IDR1 | (8 << 11) }
/** IDR0.STALL_MODEL 0: software chooses. IDR5.STALL_MAX is 6, for two devices. */
const STALLS = { IDR0: IDR0 & ~(3 << 24), IDR5: (IDR5 | (6 << 16)) >>> 0 }

/** CMD_ATC_INV of a guest for 4 KiB at 0x1000. */
function atcInv(fields: Partial<Record<'SSV' | 'SSID' | 'G', number>>): SmmuCommand {
  const words = new Int32Array(4)
  CMD_ATC_INV.SID.set(words, 0, Number(VSID))
  for (const [name, value] of Object.entries(fields)) CMD_ATC_INV[name as 'SSV' | 'SSID' | 'G'].set(words, 0, value)
  const word = (i: number): bigint => BigInt(words[i] >>> 0)
  return { dw0: (word(1) << 32n) | word(0) | 0x40n, dw1: 0x1000n }
}

/** Whether the unit was told of everything that was queued: behind that, a queue that has not wrapped is empty. */
const isTold = (world: World): boolean =>
  world.peek(Number(world.register(0x90, 8) & 0xf_ffff_ffff_ffc0n) + Number(world.register(0x98, 4)) * 16) === 0n

describe('CD 0 of the host’s table', () => {
  const onStageOne = (world: World) => {
    const domain = world.driver.createPaging(world.a, PLAIN)
    domain.map(VA, GUEST_RAM, 0x1000n, RW)
    world.a.set(0, domain, null)
    return domain
  }
  /** Where a request tagged PASID 0 gets, when the table is in use again for a PASID. */
  const probe = (world: World): string => {
    world.a.set(5, world.driver.createPaging(world.a, PASID), null)
    return world.dma(world.a, VA, 0)
  }

  it('is gone when the RID was on a window since', () => {
    const world = new WindowWorld()
    world.a.set(0, world.window, onStageOne(world))
    world.a.clear(0, world.window)
    expect(probe(world)).toBe('C_BAD_CD')
  })

  it('is gone when the RID was on stage 2 since', () => {
    const world = new World()
    const parent = world.driver.createPaging(world.a, PARENT)
    world.a.set(0, parent, onStageOne(world))
    world.a.clear(0, parent)
    expect(probe(world)).toBe('C_BAD_CD')
  })

  it('is invalid in memory as soon as the RID is elsewhere: a window, stage 2', () => {
    // 64 CDs in a row: the first is where the STE points.
    const world = new WindowWorld({}, { pasidLg2: 6 })
    for (const next of [world.window, world.driver.createPaging(world.a, PARENT)]) {
      const domain = onStageOne(world)
      // STE.S1ContextPtr, bits 55:6, and CD.V, bit 31.
      const cd = Number(world.ste(world.a)[0] & 0xff_ffff_ffff_ffc0n)
      expect(world.peek(cd) & 0x8000_0000n).toBe(0x8000_0000n)
      world.a.set(0, next, domain)
      expect(world.peek(cd) & 0x8000_0000n).toBe(0n)
      world.a.clear(0, next)
    }
  })

  it('is not made where only a PASID of another leaf was ever in use', () => {
    const world = new World()
    const domain = world.driver.createPaging(world.a, PASID)
    world.a.set(5000, domain, null)
    world.a.clear(5000, domain)
    const used = world.ram.usedBytes
    world.a.set(0, world.driver.createPaging(world.a, PARENT), null)
    // The root of stage 2 alone: at most sixteen tables.
    expect(world.ram.usedBytes - used).toBeLessThanOrEqual(16 * 4096)
  })
})

describe('a root that leaves', () => {
  it('one of its slots is not forgotten: it is in use in the others', () => {
    const world = new WindowWorld()
    const root = world.root(1)
    world.a.set(0, world.window, null)
    for (const pasid of [1, 2]) world.a.set(pasid, root, null)
    const opcodes = (pasid: number) =>
      world.commandsOf(() => void world.a.clear(pasid, root)).map((one) => Number.parseInt(one.split(' ')[0], 16) % 256)
    // CMD_CFGI_CD is 0x05, CMD_TLBI_NH_ASID 0x11. [SMMU 4.1.2 Command opcodes]
    expect(opcodes(1)).not.toContain(0x11)
    expect(opcodes(2)).toContain(0x11)
    expect(isTold(world)).toBe(true)
  })

  it('has a table of two entries at any multiple of their sixteen bytes', () => {
    const world = new WindowWorld()
    // 31 bits of input: three levels of 9 bits are 27 + 12, so the root has one bit. Its entry 0 is at ...10.
    const at = 0x50_0010
    world.poke(GUEST_RAM + at, (RAM_IPA + 0x51_0000n) | 3n)
    world.poke(GUEST_RAM + 0x51_0000, (RAM_IPA + 0x52_0000n) | 3n)
    world.poke(GUEST_RAM + 0x52_0008, (RAM_IPA + 0x53_0000n) | 0xf43n)
    world.a.set(0, world.window, null)
    world.a.set(1, world.root(1, { t0sz: 33, ttb0: RAM_IPA + BigInt(at) }), null)
    expect(world.dma(world.a, VA, 1)).toBe(`ok ${(GUEST_RAM + 0x53_0000).toString(16)}`)
    expect(refusal(() => world.root(1, { t0sz: 33, ttb0: RAM_IPA + BigInt(at) + 8n }))).toBe('EINVAL')
  })
})

describe('memory for a window', () => {
  it('that is more than there is, is refused before a page of it is taken', () => {
    let asked = 0
    const world = new WindowWorld({}, {}, { failPoint: () => asked++ })
    asked = 0
    const all = { start: WINDOW_IPA * 2n, last: WINDOW_IPA * 2n + 2n ** 30n - 1n }
    expect([refusal(() => world.window.back(all)), asked]).toEqual(['ENOMEM', 0])
  })

  it('that is refused in its third page is given back, and the range can be backed again', () => {
    let left = Number.POSITIVE_INFINITY
    const world = new WindowWorld(
      {},
      {},
      {
        failPoint: () => {
          if (--left === 0) throw new Refusal('ENOMEM', 'the test refuses this')
        },
      },
    )
    const start = WINDOW_IPA + 0x100_0000n
    const range = { start, last: start + 4n * 4096n - 1n }
    const [used, held] = [world.ram.usedBytes, world.window.heldBytes]
    for (let nth = 1; ; nth++) {
      left = nth
      const got = refusal(() => world.window.back(range))
      if (got === 'no refusal') break
      expect([got, world.ram.usedBytes, world.window.heldBytes]).toEqual(['ENOMEM', used, held])
    }
    expect(world.window.heldBytes).toBe(held + 4 * 4096)
  })
})

describe('ranges of one flush', () => {
  it('with leaves of different levels are told apart, or the level of one would hide the other', () => {
    const world = new WindowWorld({}, {}, { caches: { policy: 'greedy' } })
    const domain = world.driver.createPaging(world.a, PLAIN)
    world.a.set(0, domain, null)
    // What stays keeps the tables, without which there would be no level to tell.
    domain.map(0x1f_e000n, GUEST_RAM + 0x1000, 0x1000n, RW)
    domain.map(0x1f_f000n, GUEST_RAM, 0x1000n, RW)
    domain.map(0x20_0000n, GUEST_RAM + 0x20_0000, 0x20_0000n, RW)
    const reads = () => [world.dma(world.a, 0x1f_f000n), world.dma(world.a, 0x20_0000n)]
    expect(reads()).toEqual(['ok 10000000000', 'ok 10000200000'])
    const commands = world.commandsOf(() => {
      domain.unmap(0x1f_f000n, 0x20_1000n)
      domain.flush()
    })
    // CMD_TLBI_NH_VA: TTL, bits 9:8 of its second word, is 3 for pages and 2 for blocks of 2 MiB. [SMMU 4.4.1.1]
    expect(commands.map((one) => (BigInt(`0x${one.split(' ')[1]}`) >> 8n) & 3n)).toEqual([3n, 2n])
    expect(reads()).toEqual(['F_TRANSLATION', 'F_TRANSLATION'])
  })
})

describe('requests that waited', () => {
  it.each(['a reset', 'a detach'])('leave their places to others after %s', (way) => {
    const world = new World(STALLS, { stalls: true })
    const ear = new Ear()
    world.driver.listener = ear
    const domain = world.driver.createPaging(world.a, PLAIN)
    domain.takesFaults = true
    world.a.set(0, domain, null)
    const stall = () => [0x5000n, 0x6000n, 0x7000n].map((at) => world.dma(world.a, at))
    stall()
    if (way === 'a reset') world.a.reset()
    else {
      world.a.clear(0, domain)
      world.a.set(0, domain, null)
    }
    ear.ends.length = 0
    stall()
    expect([ear.faults.length, ear.ends]).toEqual([6, []])
    // An answer to one that has ended is none to its successor under the same tag.
    for (const fault of ear.faults.slice(0, 3)) world.a.respond?.(fault, false)
    expect(ear.ends).toEqual([])
  })

  it('without a PASID end with slot 0 when some slots are reset', () => {
    const world = new World(STALLS, { stalls: true })
    const ear = new Ear()
    world.driver.listener = ear
    const [rid, nine] = [PLAIN, PASID].map((flags) => world.driver.createPaging(world.a, flags))
    for (const domain of [rid, nine]) domain.takesFaults = true
    world.a.set(0, rid, null)
    world.a.set(9, nine, null)
    world.dma(world.a, 0x5000n)
    world.dma(world.a, 0x5000n, 9)
    world.a.reset([0])
    expect(ear.ends).toEqual(['1 3'])
  })

  it('say whether they were privileged, and whether they were fetches', () => {
    const world = new World(STALLS, { stalls: true })
    const ear = new Ear()
    world.driver.listener = ear
    const domain = world.driver.createPaging(world.a, PASID)
    domain.takesFaults = true
    world.a.set(9, domain, null)
    const kinds = [ACCESS.READ | ACCESS.PRIVILEGED, ACCESS.READ | ACCESS.EXECUTE, ACCESS.WRITE]
    kinds.forEach((access, i) => {
      world.dma(world.a, BigInt(i + 5) << 12n, 9, access)
    })
    expect(ear.faults.map(({ access }) => access)).toEqual(kinds)
  })

  it('of the PRI queue that ask for nothing stop a PASID, and without one are asked like any other', () => {
    const world = new World(ATS, { ats: true, pri: true })
    const ear = new Ear()
    world.driver.listener = ear
    const domain = world.driver.createPaging(world.a, PLAIN)
    domain.takesFaults = true
    world.a.set(0, domain, null)
    world.a.ats?.requestPage({ pasid: -1, lo: 0x5000, hi: 1, access: 0, group: 3, isLast: true })
    expect(ear.faults.map(({ group, access }) => [group, access])).toEqual([[3, 0]])
  })

  it('of the PRI queue are one a group, and none when that is answered; a reset of slots leaves those of others', () => {
    const world = new World(ATS, { ats: true, pri: true })
    const ear = new Ear()
    world.driver.listener = ear
    for (const slot of [7, 8]) {
      const domain = world.driver.createPaging(world.a, PASID)
      domain.takesFaults = true
      world.a.set(slot, domain, null)
    }
    const request = (pasid: number, group: number, isLast: boolean) =>
      world.a.ats?.requestPage({ pasid, lo: 0x5000, hi: 1, access: ACCESS.WRITE, group, isLast })
    const { waits } = world.a as unknown as { waits: { page: Set<{ pasid: number }> } }
    request(7, 1, false)
    request(7, 1, true)
    expect(waits.page.size).toBe(1)
    world.a.respond?.(ear.faults.at(-1) as PageFault, true)
    expect(waits.page.size).toBe(0)
    for (const pasid of [7, 8]) request(pasid, 2, true)
    world.a.reset([7])
    expect([...waits.page].map(({ pasid }) => pasid)).toEqual([8])
    expect(ear.faults.map(({ access }) => access)).toEqual([2, 2, 2, 2])
  })
})

describe('what a device with ATS keeps', () => {
  it('of a guest that bypasses stage 1 are the parent’s addresses, and go range by range', () => {
    const world = new World(ATS, { ats: true })
    const ear = new Ear()
    world.driver.listener = ear
    const guest = new NestedGuest(world)
    guest.viommu.addVdevice(world.a, VSID)
    guest.parent.map(0x1000n, GUEST_RAM, 0x1000n, RW)
    // V, Config 0b100; EATS is bit 92, so bit 28 of the second word.
    world.a.set(0, guest.domain(9n, 1n << 28n), null)
    ear.asked.length = 0
    guest.parent.unmap(0x1000n, 0x1000n)
    guest.parent.flush()
    expect(ear.asked).toEqual(['8 -1 1000 12', '8 all 1000 12'])
  })

  it('has no PASID on a unit without SubstreamIDs, whatever a guest’s command says', () => {
    // IDR1.SSIDSIZE, bits 10:6.
    const world = new World({ ...ATS, IDR1: ATS.IDR1 & ~(31 << 6) }, { ats: true, pasidLg2: 0 })
    const ear = new Ear()
    world.driver.listener = ear
    const guest = new NestedGuest(world)
    guest.viommu.addVdevice(world.a, VSID)
    world.a.set(0, guest.domain((IPA + 0x10_0000n) | 0xbn, 1n << 28n), null)
    ear.asked.length = 0
    expect(invalidateCommands(guest.viommu, [atcInv({ SSV: 1, SSID: 1 })])).toMatchObject({ done: 1 })
    expect(ear.asked).toEqual(['8 -1 1000 12'])
  })

  it('of every PASID goes with G where a guest’s command has a PASID, and without one G says nothing', () => {
    const world = new World(ATS, { ats: true })
    const ear = new Ear()
    world.driver.listener = ear
    const guest = new NestedGuest(world)
    guest.viommu.addVdevice(world.a, VSID)
    world.a.set(0, guest.domain((3n << 59n) | (IPA + 0x10_0000n) | 0xbn, 2n | (1n << 28n)), null)
    ear.asked.length = 0
    const commands = [atcInv({ SSV: 1, SSID: 1, G: 1 }), atcInv({ G: 1 })]
    expect(invalidateCommands(guest.viommu, commands)).toMatchObject({ done: 2 })
    expect(ear.asked).toEqual(['8 all 1000 12', '8 -1 1000 12'])
  })

  it('is all forgotten when another CD table comes to the RID', () => {
    const world = new WindowWorld(ATS, { ats: true })
    const ear = new Ear()
    world.driver.listener = ear
    const domain = world.driver.createPaging(world.a, PLAIN)
    world.a.set(0, domain, null)
    ear.asked.length = 0
    world.a.set(0, world.window, domain)
    expect(ear.asked.splice(0)).toEqual(['8 -1 0 64', '8 all 0 64'])
    world.a.set(0, domain, world.window)
    expect(ear.asked).toEqual(['8 -1 0 64', '8 all 0 64'])
  })
})
