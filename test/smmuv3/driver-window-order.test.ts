import { describe, expect, it } from 'vitest'
import type { DomainOps } from '../../server/core/driver.js'
import { RAM_IPA, VA, WINDOW_IPA, WindowWorld } from './window-world.js'
import { GUEST_RAM, PLAIN, RW, refusal } from './world.js'

/** What the RID is on: two windows, two roots of the first and one of the second, kernel-owned domains, nothing. */
function domains(world: WindowWorld): Readonly<Record<string, DomainOps | null>> {
  const other = world.makeWindow(WINDOW_IPA + 0x10_0000n, 1n)
  const first = world.driver.createPaging(world.a, PLAIN)
  first.map(VA, GUEST_RAM + 0x3000_0000, 0x1000n, RW)
  return {
    nothing: null,
    window: world.window,
    'a root': world.root(1),
    'another root': world.root(2),
    'another window': other,
    'a root of it': world.root(3, {}, other),
    'stage 1': first,
    'stage 2': world.parent,
  }
}

const NAMES = Object.keys(domains(new WindowWorld()))
const OF_WINDOW = ['window', 'a root', 'another root']
const pairs = NAMES.flatMap((from) => NAMES.filter((to) => to !== from).map((to) => ({ from, to })))

/** What a device sees without a PASID: at VA, and where bypass leads to the guest's RAM. */
const look = (world: WindowWorld): string => `${world.dma(world.a, VA)}, ${world.dma(world.a, RAM_IPA + 0x5_0000n)}`

/** Moves the RID of `a` as core does. */
function move(world: WindowWorld, from: DomainOps | null, to: DomainOps | null): void {
  if (to === null) world.a.clear(0, from as DomainOps)
  else world.a.set(0, to, from)
}

describe.each(['off', 'hardware'] as const)(
  'each store on the way from one domain of the RID to another, caches %s',
  (policy) => {
    it.each(pairs)('from $from to $to is the old one, the new one, or an entry that is not valid', ({ from, to }) => {
      const world = new WindowWorld({}, {}, { caches: { policy } })
      const all = domains(world)
      if (all[from] !== null) move(world, null, all[from])
      const before = look(world)
      const seen = new Set<string>()
      world.watch(
        () => move(world, all[from], all[to]),
        () => seen.add(look(world)),
      )
      const after = look(world)
      const fresh = new WindowWorld()
      const there = domains(fresh)
      if (there[to] !== null) move(fresh, null, there[to])
      expect(after).toBe(look(fresh))
      for (const one of [before, after]) seen.delete(one)
      const isHitless = (world.a as unknown as { lastSetWasHitless: boolean }).lastSetWasHitless
      const isBetweenRoots = OF_WINDOW.includes(from) && OF_WINDOW.includes(to)
      const way = isBetweenRoots ? 'C_BAD_CD, C_BAD_CD' : 'C_BAD_STE, C_BAD_STE'
      expect([...seen].filter((one) => one !== way)).toEqual([])
      if (isHitless) expect(seen.size).toBe(0)
      // In one window only a CD changes under more than one word.
      if (isBetweenRoots) expect(isHitless).toBe(from === 'window' || to === 'window')
      if (from === 'nothing' || to === 'nothing') expect(isHitless).toBe(true)
    })

    const within = pairs.filter(({ from, to }) => [from, to].every((one) => [...OF_WINDOW, 'nothing'].includes(one)))
    it.each(within)('from $from to $to leaves PASIDs alone', ({ from, to }) => {
      const world = new WindowWorld({}, {}, { caches: { policy } })
      const all = domains(world)
      world.a.set(0, world.window, null)
      world.a.set(7, world.root(4), null)
      if (from === 'nothing') world.a.clear(0, world.window)
      else if (from !== 'window') move(world, world.window, all[from])
      const seen = new Set<string>()
      const stores = world.watch(
        () => move(world, all[from], all[to]),
        () => seen.add(world.dma(world.a, VA, 7)),
      )
      expect([stores > 0, ...seen]).toEqual([true, world.page(4)])
      expect(world.dma(world.a, VA, 7)).toBe(world.page(4))
    })

    it('a PASID is its old root, its new one or C_BAD_CD while it is replaced, attached and detached', () => {
      const world = new WindowWorld({}, {}, { caches: { policy } })
      const [one, two] = [world.root(1), world.root(2)]
      world.a.set(0, world.window, null)
      const see = (act: () => void): Set<string> => {
        const seen = new Set<string>()
        world.watch(act, () => seen.add(world.dma(world.a, VA, 3)))
        return seen
      }
      const [bad, first, second] = ['C_BAD_CD', world.page(1), world.page(2)]
      expect(see(() => void world.a.set(3, one, null))).toEqual(new Set([bad, first]))
      // V goes with the first store.
      expect(see(() => void world.a.set(3, two, one))).toEqual(new Set([bad, second]))
      expect(see(() => void world.a.clear(3, two))).toEqual(new Set([bad]))
    })
  },
)

describe('a window that another device has', () => {
  it('is free for it when its last PASID has gone, not before', () => {
    const world = new WindowWorld()
    const c = world.driver.probe({ rid: 9, pasidLg2: 8, ats: false, pri: false })
    const root = world.root(1)
    world.a.set(0, root, null)
    world.a.set(4, root, null)
    expect(refusal(() => c.set(0, world.window, null))).toBe('EBUSY')
    world.a.clear(0, root)
    expect(refusal(() => c.set(0, world.window, null))).toBe('EBUSY')
    expect(refusal(() => c.set(0, root, null))).toBe('EBUSY')
    world.a.clear(4, root)
    c.set(0, root, null)
    c.set(4, root, null)
    expect([world.dma(c, VA), world.dma(c, VA, 4)]).toEqual([world.page(1), world.page(1)])
    expect([world.dma(world.a, VA), world.dma(world.a, VA, 4)]).toEqual(['aborted', 'aborted'])
  })

  it('takes its two levels along', () => {
    const world = new WindowWorld({}, {}, { pages: 3n })
    const c = world.driver.probe({ rid: 9, pasidLg2: 8, ats: false, pri: false })
    const [one, two] = [world.root(1), world.root(2)]
    world.a.set(0, world.window, null)
    world.a.set(100, one, null)
    world.a.clear(100, one)
    world.a.clear(0, world.window)
    c.set(0, world.window, null)
    expect(world.ste(c)[0] >> 59n).toBe(15n)
    expect(world.dma(c, VA, 100)).toBe('C_BAD_CD')
    c.set(100, two, null)
    expect(world.dma(c, VA, 100)).toBe(world.page(2))
  })
})
