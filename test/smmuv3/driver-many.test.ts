/** Much of one thing, which one client can make: it costs others nothing. */

import { describe, expect, it } from 'vitest'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import type { PagingOps } from '../../server/core/driver.js'
import { Ear } from './ear.js'
import { RAM_IPA, VA, WINDOW_IPA, WindowWorld } from './window-world.js'
import { GUEST_RAM, PASID, RW } from './world.js'

const FREE_IPA = 0x9_0000_0000n
const ATS = { IDR0: PRESETS.default.IDR0 | (1 << 10) }

const unmapPage = (domain: PagingOps): void => {
  domain.map(FREE_IPA, GUEST_RAM, 0x1000n, RW)
  domain.unmap(FREE_IPA, 0x1000n)
  domain.flush()
}

describe('windows that no device has', () => {
  it('take no command when their parent unmaps', () => {
    const world = new WindowWorld()
    world.b.set(0, world.parent, null)
    const alone = world.commandsOf(() => unmapPage(world.parent))
    for (let i = 1n; i < 20n; i++) world.makeWindow(WINDOW_IPA + i * 0x1_0000n, 1n)
    expect(world.commandsOf(() => unmapPage(world.parent))).toEqual(alone)
    world.a.set(0, world.window, null)
    expect(world.commandsOf(() => unmapPage(world.parent))).toHaveLength(2 * alone.length)
    world.a.clear(0, world.window)
    expect(world.commandsOf(() => unmapPage(world.parent))).toEqual(alone)
  })

  it.each([
    ['the RID', -1],
    ['a PASID', 3],
  ])('keep nothing in the TLB of what they led to while they were on a device, last on %s', (_name, pasid) => {
    const world = new WindowWorld()
    const root = world.root(1)
    world.b.set(0, world.parent, null)
    world.a.set(0, world.window, null)
    world.a.set(3, root, null)
    const reach = (): string => world.dma(world.a, pasid < 0 ? RAM_IPA + 0x1_0001_000n : VA, pasid)
    expect(reach()).toBe(world.page(1))
    if (pasid < 0) world.a.clear(3, root)
    world.a.clear(0, world.window)
    if (pasid >= 0) world.a.clear(3, root)
    // The guest's page 0x10001 moves while nobody has the window.
    world.parent.unmap(RAM_IPA, 0x4000_0000n)
    world.parent.flush()
    world.parent.map(RAM_IPA, GUEST_RAM, 0x1000_0000n, RW)
    world.parent.map(RAM_IPA + 0x1000_0000n, GUEST_RAM + 0x2000_0000, 0x1000_0000n, RW)
    world.a.set(0, world.window, null)
    world.a.set(3, root, null)
    expect(reach()).toBe(`ok ${(GUEST_RAM + 0x2000_1000).toString(16)}`)
  })
})

describe('a domain on a thousand PASIDs of a device with ATS', () => {
  it('has the device forget all when it unmaps: no command each', () => {
    const world = new WindowWorld(ATS, { ats: true })
    world.driver.listener = new Ear()
    const domain = world.driver.createPaging(world.a, PASID)
    for (let pasid = 1; pasid <= 512; pasid++) world.a.set(pasid, domain, null)
    expect(world.commandsOf(() => unmapPage(domain))).toHaveLength(513)
    world.a.set(1000, domain, null)
    // TLBI_NH_VA; ATC_INV of everything without a PASID, and of all PASIDs: Global is bit 9, size 52.
    expect(world.commandsOf(() => unmapPage(domain)).slice(1)).toEqual(['800000040 34', '800000a40 34'])
    world.a.clear(1000, domain)
    expect(world.commandsOf(() => unmapPage(domain))).toHaveLength(513)
  })
})

describe('a domain on a thousand PASIDs of a function that others have PASIDs of', () => {
  it('has the device forget its own, one by one', () => {
    const world = new WindowWorld(ATS, { ats: true, mediatedPasids: [7] })
    const ear = new Ear()
    world.driver.listener = ear
    const [own, others] = [PASID, PASID].map((flags) => world.driver.createPaging(world.a, flags))
    for (let pasid = 100; pasid < 700; pasid++) world.a.set(pasid, own, null)
    world.a.set(7, others, null)
    ear.asked.length = 0
    unmapPage(own)
    expect(ear.asked).toEqual(Array.from({ length: 600 }, (_, i) => `8 ${100 + i} 900000000 12`))
  })
})

describe('an invalidation of more pages than there are', () => {
  it.each([2n ** 20n, 2n ** 52n - 1n, 2n ** 52n, 2n ** 52n + 1n, 2n ** 64n - 2n])(
    'ends where the addresses end: from 0x1000 on, %i pages',
    (npages) => {
      const world = new WindowWorld()
      const root = world.root(1)
      world.a.set(0, world.window, null)
      world.a.set(1, root, null)
      world.pointTo(1, 0x777, 0x5000n)
      expect(world.dma(world.a, 0x5000n, 1)).toBe(`ok ${(GUEST_RAM + 0x777_000).toString(16)}`)
      world.pointTo(1, 0x888, 0x5000n)
      world.invalidate(root, { addr: VA, npages, flags: 0 })
      expect(world.dma(world.a, 0x5000n, 1)).toBe(`ok ${(GUEST_RAM + 0x888_000).toString(16)}`)
    },
  )
})

describe('invalidations on a unit without ranges', () => {
  it('come to an end after a table’s worth of commands, and say how far they came', () => {
    const world = new WindowWorld({ IDR3: PRESETS.default.IDR3 & ~(1 << 10), AIDR: 1 })
    const root = world.root(1)
    world.a.set(0, root, null)
    const entries = Array.from({ length: 16 }, () => ({ addr: 0n, npages: 300n, flags: 0 }))
    const all = world.commandsOf(() => expect(world.invalidate(root, ...entries).done).toBe(2))
    expect(all).toHaveLength(600)
    expect(world.invalidate(root, ...entries.map((entry) => ({ ...entry, npages: 513n }))).done).toBe(16)
  })
})
