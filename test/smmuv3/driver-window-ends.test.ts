import { describe, expect, it } from 'vitest'
import { ACCESS, Outcome } from '../../hw-model/port.js'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import { Refusal, type UserOps, type WindowOps } from '../../server/core/driver.js'
import { Ear } from './ear.js'
import { RAM_IPA, VA, WINDOW_IPA, WindowWorld } from './window-world.js'
import { GUEST_RAM, RW } from './world.js'

const { IDR0, IDR1, IDR5 } = PRESETS.default
/** IDR0.ATS is bit 10, PRI bit 16; IDR1.PRIQS bits 15:11. */
const ATS = { IDR0: IDR0 | (1 << 10) | (1 << 16), IDR1: IDR1 | (8 << 11) }
/** IDR0.STALL_MODEL, bits 25:24: 0 software chooses, 2 always; IDR5.STALL_MAX, bits 31:16. */
const stalls = (model: number) => ({ IDR0: (IDR0 & ~(3 << 24)) | (model << 24), IDR5: (IDR5 | (6 << 16)) >>> 0 })

/** A world with something that hears what devices are asked. */
function heard(world: WindowWorld): { readonly world: WindowWorld; readonly ear: Ear } {
  const ear = new Ear()
  world.driver.listener = ear
  return { world, ear }
}

const withAts = () => heard(new WindowWorld(ATS, { ats: true, pri: true }, { pages: 3n }))

/** What a device is asked to forget: `rid pasid address log2(bytes)`; all of a PASID is 52 pages' bits, 64. */
const said = (ear: Ear, act: () => void): string[] => {
  ear.asked.length = 0
  act()
  return [...ear.asked]
}

describe('a unit that was switched off', () => {
  it('takes no root up, and lets the one of PASID 0 go', () => {
    const world = new WindowWorld()
    const [one, two] = [world.root(1), world.root(2)]
    world.a.set(0, one, null)
    world.driver.unit.fail()
    expect(world.dma(world.a, VA)).toBe('aborted')
    expect(() => world.a.set(0, two, one)).toThrow(Refusal)
    expect(() => world.a.set(3, two, null)).toThrow(Refusal)
    world.a.set(0, world.window, one)
    world.a.clear(0, world.window)
    expect(() => world.a.set(0, world.window, null)).toThrow(Refusal)
  })
})

describe('a device with ATS on a window', () => {
  it('has EATS 1, and translations of roots and of what bypasses stage 1', () => {
    const { world } = withAts()
    world.a.set(0, world.window, null)
    world.a.set(1, world.root(1), null)
    expect((world.ste(world.a)[1] >> 28n) & 3n).toBe(1n)
    const ask = (address: bigint, pasid: number): string => {
      const out = new Outcome()
      world.a.ats?.request(pasid, Number(address & 0xffff_ffffn), Number(address >> 32n), ACCESS.READ, out)
      return out.address.toString(16)
    }
    expect([ask(VA, 1), ask(RAM_IPA, -1)]).toEqual(['10010001000', '10000000000'])
  })

  it('forgets what its owner invalidates in each slot of the root, and no other', () => {
    const { world, ear } = withAts()
    const root = world.root(1)
    world.a.set(0, root, null)
    world.a.set(3, root, null)
    world.a.set(4, world.root(2), null)
    const entry = { addr: 0x5000n, npages: 3n, flags: 0 }
    // The smallest aligned span that covers three pages from 0x5000 on is 16 KiB from 0x4000 on.
    expect(said(ear, () => void world.invalidate(root, entry))).toEqual(['8 -1 4000 14', '8 3 4000 14'])
    expect(said(ear, () => void world.invalidate(root, { ...entry, npages: 1n }))).toEqual([
      '8 -1 5000 12',
      '8 3 5000 12',
    ])
    const everything = { addr: 0n, npages: 2n ** 64n - 1n, flags: 0 }
    expect(said(ear, () => void world.invalidate(root, everything))).toEqual(['8 -1 0 64', '8 3 0 64'])
  })

  it('forgets the slot that changes, or everything where ATS goes on or off', () => {
    const { world, ear } = withAts()
    const [one, two] = [world.root(1), world.root(2)]
    const everything = ['8 -1 0 64', '8 all 0 64']
    expect(said(ear, () => void world.a.set(0, world.window, null))).toEqual(everything)
    expect(said(ear, () => void world.a.set(2, one, null))).toEqual(['8 2 0 64'])
    expect(said(ear, () => void world.a.set(2, two, one))).toEqual(['8 2 0 64'])
    expect(said(ear, () => void world.a.set(0, one, world.window))).toEqual(['8 -1 0 64'])
    expect(said(ear, () => void world.a.clear(0, one))).toEqual(['8 -1 0 64'])
    expect(said(ear, () => void world.a.clear(2, two))).toEqual(everything)
  })

  it('forgets what the parent unmaps: a range of what bypasses stage 1, all where a root may have led there', () => {
    const { world, ear } = withAts()
    const unmapped = (): string[] => {
      world.parent.map(0x9_0000_0000n, GUEST_RAM, 0x1000n, RW)
      world.parent.unmap(0x9_0000_0000n, 0x1000n)
      return said(ear, () => void world.parent.flush())
    }
    world.a.set(0, world.window, null)
    expect(unmapped()).toEqual(['8 -1 900000000 12'])
    for (let pasid = 1; pasid < 20; pasid++) world.a.set(pasid, world.root(pasid), null)
    expect(unmapped()).toEqual(['8 -1 0 64', '8 all 0 64'])
  })

  it('holds the memory behind a withdrawn range until it has answered', async () => {
    const { world, ear } = withAts()
    world.a.set(0, world.window, null)
    const before = world.ram.usedBytes
    world.window.back({ start: WINDOW_IPA + 0x10_0000n, last: WINDOW_IPA + 0x10_1fffn })
    const backed = world.ram.usedBytes
    let answer: (isInTime: boolean) => void = () => undefined
    ear.holds = new Promise((resolve) => {
      answer = resolve
    })
    const completion = world.window.withdraw()
    expect(completion).toBeInstanceOf(Promise)
    expect(backed - world.ram.usedBytes).toBeLessThan(8192)
    // Who flushes meanwhile waits for the same answers.
    expect(world.parent.flush()).toBeInstanceOf(Promise)
    answer(true)
    await completion
    expect([world.ram.usedBytes, world.window.heldBytes, world.window.freeBytes]).toEqual([before, 12_288, 8192])
    expect(world.parent.flush()).toBeUndefined()
  })
})

describe('a device that did not answer in time', () => {
  it('stays blocked while its table grows, and finds the new one when it was reset', async () => {
    const { world, ear } = withAts()
    world.a.set(0, world.window, null)
    world.a.set(1, world.root(1), null)
    ear.holds = Promise.resolve(false)
    world.parent.map(0x9_0000_0000n, GUEST_RAM, 0x1000n, RW)
    world.parent.unmap(0x9_0000_0000n, 0x1000n)
    await world.parent.flush()
    ear.holds = undefined
    const all = (): string[] => [1, 64].map((pasid) => world.dma(world.a, VA, pasid))
    expect(all()).toEqual(['aborted', 'aborted'])
    world.a.set(64, world.root(2), null)
    expect(all()).toEqual(['aborted', 'aborted'])
    world.a.reset()
    expect(all()).toEqual([world.page(1), world.page(2)])
  })
})

describe('faults of roots', () => {
  it('wait where the device can and the root has a fault queue: CD.S, and S1STALLD where it cannot', () => {
    const { world, ear } = heard(new WindowWorld(stalls(0), { stalls: true }))
    const [one, two] = [world.root(1), world.root(2)]
    one.takesFaults = true
    world.a.set(0, world.window, null)
    world.a.set(1, one, null)
    world.a.set(2, two, null)
    // CD.S is bit 44; STE.S1STALLD bit 91; S2S bit 185.
    const stall = (pasid: number): bigint => (world.peek(world.behind(WINDOW_IPA + BigInt(pasid * 64))) >> 44n) & 1n
    expect([stall(1), stall(2), (world.ste(world.a)[1] >> 27n) & 1n, (world.ste(world.a)[2] >> 57n) & 1n]).toEqual([
      1n,
      0n,
      0n,
      0n,
    ])
    expect(world.dma(world.a, 0x5000n, 2)).toBe('F_TRANSLATION')
    expect(world.dma(world.a, 0x5678n, 1)).toBe('pending 1')
    expect(ear.faults).toMatchObject([{ pasid: 1, address: 0x5678n, isLast: true }])
    world.pointTo(1, 0x777, 0x5000n)
    world.a.respond?.(ear.faults[0], true)
    expect(ear.ends).toEqual([`1 ok ${(GUEST_RAM + 0x777_678).toString(16)}`])
    world.b.set(0, world.makeWindow(WINDOW_IPA + 0x10_0000n, 1n), null)
    expect((world.ste(world.b)[1] >> 27n) & 1n).toBe(1n)
  })

  it('always wait on a unit that knows nothing else, and stage 2 then, too', () => {
    const { world, ear } = heard(new WindowWorld(stalls(2)))
    ear.takes = false
    const root = world.root(1)
    world.a.set(0, root, null)
    expect(world.dma(world.a, VA)).toBe(world.page(1))
    expect((world.ste(world.a)[2] >> 57n) & 1n).toBe(1n)
    // Nobody takes it, so it is ended at once.
    expect(world.dma(world.a, 0x5000n)).toMatch(/^pending/)
    expect(ear.ends).toEqual(['1 3'])
  })

  it('end when the slot is emptied', () => {
    const { world, ear } = heard(new WindowWorld(stalls(0), { stalls: true }))
    const root = world.root(1)
    root.takesFaults = true
    world.a.set(0, root, null)
    expect(world.dma(world.a, 0x5000n)).toBe('pending 1')
    world.a.clear(0, root)
    expect(ear.ends).toEqual(['1 3'])
  })

  it('are asked for by page requests of their PASID', () => {
    const { world, ear } = withAts()
    const root = world.root(1)
    root.takesFaults = true
    world.a.set(0, world.window, null)
    world.a.set(2, root, null)
    world.a.ats?.requestPage({ pasid: 2, lo: 0x5000, hi: 0, access: ACCESS.READ, group: 9, isLast: true })
    world.a.ats?.requestPage({ pasid: -1, lo: 0x5000, hi: 0, access: ACCESS.READ, group: 8, isLast: true })
    expect(ear.faults).toMatchObject([{ pasid: 2, group: 9, address: 0x5000n }])
    // The window itself takes none: Invalid Request.
    expect(ear.answers).toEqual(['8 -1 8 1'])
    world.a.respond?.(ear.faults[0], true)
    expect(ear.answers).toEqual(['8 -1 8 1', '8 2 9 0'])
  })
})

describe('a window that goes', () => {
  it('gives back its memory, its VMID and its place in the parent', () => {
    const world = new WindowWorld({}, {}, { caches: { policy: 'greedy' } })
    const before = [world.ram.usedBytes, world.parent.tableBytes]
    const at = WINDOW_IPA + 0x10_0000n
    const second = world.makeWindow(at, 3n)
    expect([second.heldBytes, second.freeBytes]).toEqual([12_288, 8192])
    const root = world.root(1, {}, second)
    world.a.set(0, root, null)
    world.a.set(200, root, null)
    expect([world.dma(world.a, VA), world.dma(world.a, VA, 200)]).toEqual([world.page(1), world.page(1)])
    const vmid = world.ste(world.a)[2] & 0xffffn
    world.a.clear(0, root)
    world.a.clear(200, root)
    root.destroy()
    expect(second.destroy()).toBeUndefined()
    expect([world.ram.usedBytes, world.parent.tableBytes]).toEqual(before)
    const third = world.makeWindow(WINDOW_IPA + 0x20_0000n, 1n)
    world.a.set(0, third, null)
    expect(world.ste(world.a)[2] & 0xffffn).toBe(vmid)
    expect(world.dma(world.a, at)).toBe('F_TRANSLATION')
    expect(world.dma(world.a, VA)).toBe('F_TRANSLATION')
    world.a.set(0, world.root(2, {}, third), third)
    expect(world.dma(world.a, VA)).toBe(world.page(2))
  })

  it('leaves nothing in the TLB of devices on the same parent', () => {
    const world = new WindowWorld({}, {}, { caches: { policy: 'greedy' } })
    const second = world.makeWindow(WINDOW_IPA + 0x10_0000n, 1n)
    world.a.set(0, world.window, null)
    expect(world.dma(world.a, WINDOW_IPA + 0x10_0000n)).toMatch(/^ok/)
    second.destroy()
    expect(world.dma(world.a, WINDOW_IPA + 0x10_0000n)).toBe('F_TRANSLATION')
  })

  it('may have a range withdrawn before it was offered', () => {
    const world = new WindowWorld()
    const before = world.ram.usedBytes
    world.window.back({ start: WINDOW_IPA + 0x1000n, last: WINDOW_IPA + 0x2fffn })
    expect(world.window.freeBytes).toBe(0)
    expect(world.window.withdraw()).toBeUndefined()
    expect([world.ram.usedBytes, world.window.heldBytes]).toEqual([before, 4096])
    expect(world.window.withdraw()).toBeUndefined()
  })

  it('is refused where the host has no memory for it: ENOMEM', () => {
    const world = new WindowWorld()
    const before = [world.ram.usedBytes, world.parent.tableBytes, world.window.heldBytes]
    for (const pages of [2n ** 18n, 2n ** 30n]) {
      const last = WINDOW_IPA + 0x1_0000n + pages * 4096n - 1n
      expect(() => world.window.back({ start: WINDOW_IPA + 0x1_0000n, last })).toThrow(Refusal)
    }
    expect([world.ram.usedBytes, world.parent.tableBytes, world.window.heldBytes]).toEqual(before)
  })
})

describe('numbers', () => {
  const names = (act: () => unknown): string => {
    try {
      act()
    } catch (error) {
      return (error as Refusal).name
    }
    return 'made'
  }

  it('are 8 bits where the unit has no more, and used up they are ENOSPC: VMIDs (IDR0.VMID16)', () => {
    // VMID16 is bit 18. 0 is the host's own, 1 the parent's, 2 the first window's.
    const world = new WindowWorld({ IDR0: IDR0 & ~(1 << 18) })
    const make = (): WindowOps => (world.parent as unknown as { createWindow(): WindowOps }).createWindow()
    const windows = Array.from({ length: 253 }, make)
    const before = world.ram.usedBytes
    expect(names(make)).toBe('ENOSPC')
    windows[100].destroy()
    expect([names(make), names(make), world.ram.usedBytes]).toEqual(['made', 'ENOSPC', before])
  })

  it('are 8 bits where the unit has no more, and used up they are ENOSPC: ASIDs of each window (IDR0.ASID16)', () => {
    // ASID16 is bit 12.
    const world = new WindowWorld({ IDR0: IDR0 & ~(1 << 12) })
    const roots = Array.from({ length: 255 }, () => world.root(1))
    expect(names(() => world.root(1))).toBe('ENOSPC')
    world.a.set(0, world.window, null)
    world.a.set(1, roots[254], null)
    expect(world.peek(world.behind(WINDOW_IPA + 64n)) >> 48n).toBe(255n)
    expect(world.dma(world.a, VA, 1)).toBe(world.page(1))
    const other = world.makeWindow(WINDOW_IPA + 0x10_0000n, 1n)
    expect(names(() => world.root(1, {}, other))).toBe('made')
    roots[7].destroy()
    expect([names(() => world.root(1)), names(() => world.root(1))]).toEqual(['made', 'ENOSPC'])
  })
})

describe('whatever is refused', () => {
  /** A window and roots, up to where something could not be made; then all of it goes. */
  function story(world: WindowWorld): string {
    const undo: (() => void)[] = []
    let told = 'no refusal'
    try {
      const window = (world.parent as unknown as { createWindow(): WindowOps }).createWindow()
      undo.push(() => void window.destroy())
      window.back({ start: WINDOW_IPA + 0x10_0000n, last: WINDOW_IPA + 0x10_0fffn })
      window.offer()
      const roots: UserOps[] = []
      for (const k of [1, 2, 3]) {
        const root = world.root(k, {}, window)
        undo.push(() => root.destroy())
        roots.push(root)
      }
      world.a.set(0, roots[0], null)
      undo.push(() => void world.a.clear(0, roots[0]))
      window.back({ start: WINDOW_IPA + 0x20_0000n, last: WINDOW_IPA + 0x20_3fffn })
      window.offer()
      for (const [i, pasid] of [
        [1, 1],
        [2, 100],
      ]) {
        world.a.set(pasid, roots[i], null)
        undo.push(() => void world.a.clear(pasid, roots[i]))
        expect(world.dma(world.a, VA, pasid)).toBe(world.page(i + 1))
      }
    } catch (error) {
      told = (error as Refusal).name
    }
    for (const back of undo.reverse()) back()
    return told
  }

  it('leaves nothing behind, whichever allocation it was', () => {
    let countdown = -1
    const failPoint = (what: string): void => {
      if (countdown-- === 0) throw new Refusal('ENOMEM', `no ${what}`)
    }
    const world = new WindowWorld({}, {}, { failPoint })
    // What is made once, such as tables of the parent for these addresses, is not made again.
    expect(story(world)).toBe('no refusal')
    const before = [world.ram.usedBytes, world.parent.tableBytes]
    let refused = 0
    for (let n = 0; ; n++) {
      countdown = n
      const told = story(world)
      expect([world.ram.usedBytes, world.parent.tableBytes], `the allocation ${n}`).toEqual(before)
      expect(world.dma(world.a, VA, 1)).toBe('aborted')
      if (told === 'no refusal') break
      expect(told).toBe('ENOMEM')
      refused++
    }
    // A VMID, pages and tables, three ASIDs, a place for a page of CDs.
    expect(refused).toBeGreaterThan(10)
    countdown = -1
    expect(story(world)).toBe('no refusal')
  })
})
