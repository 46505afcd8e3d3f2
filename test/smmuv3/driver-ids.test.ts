/** ASIDs and VMIDs: which ones are handed out, how many there are, and that a used one finds nothing in the TLB. */

import { describe, expect, it } from 'vitest'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import type { PagingOps } from '../../server/core/driver.js'
import { IdAllocator } from '../../server/drivers/smmuv3/ids.js'
import { IPA, NestedGuest, VSID } from './ear.js'
import { GUEST_RAM, PARENT, PASID, PLAIN, RW, refusal, World } from './world.js'

describe('numbers', () => {
  it('are handed out from 1, the lowest free one first', () => {
    const ids = new IdAllocator('ASID', 8)
    expect([1, 2, 3, 4, 5].map(() => ids.alloc())).toEqual([1, 2, 3, 4, 5])
    for (const id of [4, 2, 5]) ids.free(id)
    expect([1, 2, 3, 4].map(() => ids.alloc())).toEqual([2, 4, 5, 6])
  })

  it.each([8, 16])('of %i bits are as many as that, but for 0', (bits) => {
    const ids = new IdAllocator('VMID', bits)
    const all = Array.from({ length: 2 ** bits - 1 }, () => ids.alloc())
    expect(all).toEqual(Array.from({ length: 2 ** bits - 1 }, (_, i) => i + 1))
    expect(refusal(() => ids.alloc())).toBe('ENOSPC')
    const some = [2 ** bits - 1, 1, 33, 32, 64, 31]
    for (const id of some) ids.free(id)
    expect(some.map(() => ids.alloc())).toEqual(some.sort((a, b) => a - b))
    expect(refusal(() => ids.alloc())).toBe('ENOSPC')
  })

  it('are not given back twice', () => {
    const ids = new IdAllocator('ASID', 8)
    ids.free(ids.alloc())
    expect(() => ids.free(1)).toThrow()
    expect(() => ids.free(2)).toThrow()
  })
})

const at = (world: World, flags: typeof PLAIN, frame: number): PagingOps => {
  const domain = world.driver.createPaging(world.a, flags)
  domain.map(0x1000n, GUEST_RAM + frame * 4096, 0x1000n, RW)
  return domain
}

/** ASID16 is IDR0 bit 12, VMID16 bit 18. */
const SMALL = { IDR0: PRESETS.default.IDR0 & ~(1 << 12) & ~(1 << 18) }

describe.each([
  ['ASIDs', PLAIN],
  ['VMIDs', PARENT],
] as const)('%s of 8 bits', (_name, flags) => {
  it('are used up by 255 domains; what the refused one had made is given back', () => {
    const world = new World(SMALL)
    const domains = Array.from({ length: 255 }, () => world.driver.createPaging(world.a, flags))
    const used = world.ram.usedBytes
    expect(refusal(() => world.driver.createPaging(world.a, flags))).toBe('ENOSPC')
    expect(world.ram.usedBytes).toBe(used)
    domains[100].destroy()
    const again = at(world, flags, 1)
    world.a.set(0, again, null)
    expect(world.dma(world.a, 0x1000n)).toBe('ok 10000001000')
  })

  it('are used again without anything left of whom they were', () => {
    const world = new World(SMALL)
    for (let i = 0; i < 600; i++) {
      const domain = at(world, flags, i % 7)
      world.a.set(0, domain, null)
      expect(world.dma(world.a, 0x1000n)).toBe(`ok ${(GUEST_RAM + (i % 7) * 4096).toString(16)}`)
      if (i % 3 === 0) domain.unmap(0x1000n, 0x1000n)
      world.a.clear(0, domain)
      domain.destroy()
    }
    expect(world.driver.createPaging(world.a, flags)).toMatchObject(flags === PLAIN ? { asid: 1 } : { vmid: 1 })
  })
})

describe.each([
  ['ASIDs', PLAIN],
  ['VMIDs', PARENT],
] as const)('%s of 16 bits', (_name, flags) => {
  it('are used up by 65,535 domains, and each of them is its own', () => {
    const world = new World()
    const domains = Array.from({ length: 2 ** 16 - 1 }, () => world.driver.createPaging(world.a, flags))
    expect(refusal(() => world.driver.createPaging(world.a, flags))).toBe('ENOSPC')
    // Numbers that are alike in their low byte, in their high byte, or in neither.
    const some = [1, 2, 0x100, 0x101, 0x201, 0xff01, 0xffff].map((id) => domains[id - 1])
    const devices = some.map((domain, i) => {
      domain.map(0x1000n, GUEST_RAM + i * 4096, 0x1000n, RW)
      const device = world.driver.probe({ rid: 0x20 + i, pasidLg2: 0, ats: false, pri: false })
      device.set(0, domain, null)
      return device
    })
    const own = some.map((_, i) => `ok ${(GUEST_RAM + i * 4096).toString(16)}`)
    const all = (): string[] => devices.map((device) => world.dma(device, 0x1000n))
    expect([all(), all()]).toEqual([own, own])
    domains[0x7776].destroy()
    expect(world.driver.createPaging(world.a, flags)).toMatchObject(
      flags === PLAIN ? { asid: 0x7777 } : { vmid: 0x7777 },
    )
  })
})

describe('a number that is used again', () => {
  it('finds nothing of another domain although that was replaced, not detached, on RID and PASID', () => {
    const world = new World()
    for (const slot of [0, 7]) {
      const flags = slot === 0 ? PLAIN : PASID
      let old = at(world, flags, 20)
      world.a.set(slot, old, null)
      for (let frame = 1; frame < 20; frame++) {
        const next = at(world, flags, frame)
        world.dma(world.a, 0x1000n, slot === 0 ? -1 : slot)
        world.a.set(slot, next, old)
        old.destroy()
        const heir = at(world, flags, 30)
        // The number of the one that has gone is the lowest, and its own tables serve it at once.
        expect(heir).toMatchObject({ asid: (old as unknown as { asid: number }).asid })
        world.b.set(0, heir, null)
        expect(world.dma(world.b, 0x1000n)).toBe('ok 1000001e000')
        world.b.clear(0, heir)
        heir.destroy()
        old = next
      }
      world.a.clear(slot, old)
      old.destroy()
    }
  })
})

describe('a VMID that is used again', () => {
  /** The guest's page 1, through its own tables, which it has changed while nobody looked. */
  const reaches = (world: World, guest: NestedGuest, page: number): string => {
    guest.map(1, IPA + BigInt(page) * 0x1000n)
    return world.dma(world.a, 0x1000n)
  }

  it('finds nothing of another guest that had the same ASIDs', () => {
    const world = new World()
    const answers = Array.from({ length: 10 }, (_, i) => {
      const guest = new NestedGuest(world)
      expect(guest.parent).toMatchObject({ vmid: 1 })
      guest.viommu.addVdevice(world.a, VSID)
      const domain = guest.domain()
      guest.map(1, IPA + BigInt(0x700 + i) * 0x1000n)
      world.a.set(0, domain, null)
      const answer = world.dma(world.a, 0x1000n)
      world.a.clear(0, domain)
      domain.destroy()
      guest.viommu.destroy()
      guest.parent.destroy()
      return answer
    })
    expect(answers).toEqual(answers.map((_, i) => `ok ${(GUEST_RAM + (0x700 + i) * 4096).toString(16)}`))
  })

  it('finds nothing of the same guest from before its device was detached', () => {
    const world = new World()
    const guest = new NestedGuest(world)
    guest.viommu.addVdevice(world.a, VSID)
    const domain = guest.domain()
    world.a.set(0, domain, null)
    expect(reaches(world, guest, 0x700)).toBe('ok 10000700000')
    // As long as it is attached, the guest has to say what it changed.
    expect(reaches(world, guest, 0x701)).toBe('ok 10000700000')
    world.a.clear(0, domain)
    world.a.set(0, domain, null)
    expect(reaches(world, guest, 0x701)).toBe('ok 10000701000')
  })
})
