/** Pages of a window that served the table before: nothing of what they said is met again. */

import { expect, it } from 'vitest'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import { givenEntries } from '../../server/core/driver.js'
import { Ear } from './ear.js'
import { RAM_IPA, VA, WINDOW_IPA, WindowWorld } from './window-world.js'
import { GUEST_RAM, RW, refusal } from './world.js'

const PAGE = 4096n
/** Beyond the first page of the window, at multiples of 32 pages. */
const MIDDLE = WINDOW_IPA + 0x100_0000n
const FAR = WINDOW_IPA + 0x200_0000n

it('a level 1 of eight pages in which an older one stood has only its own leaves', () => {
  const world = new WindowWorld()
  const { window, a } = world
  const at = (pasid: number): string => world.dma(a, VA, pasid)
  const attach = (pasid: number, root: number): void => void a.set(pasid, world.root(root), null)
  a.set(0, window, null)
  // Single pages, for leaves and for the first level 1.
  for (let n = 1n; n <= 6n; n++) world.grow(window, WINDOW_IPA + n * 2n * PAGE, 1n)
  attach(64, 1)
  // Two pages, which are the fifth and the sixth of eight later; then four elsewhere.
  world.grow(window, FAR + 4n * PAGE, 2n)
  attach(32_768, 2)
  world.grow(window, MIDDLE, 4n)
  attach(65_536, 3)
  world.grow(window, FAR, 4n)
  world.grow(window, FAR + 6n * PAGE, 2n)
  attach(131_072, 4)
  expect([64, 32_768, 65_536, 131_072].map(at)).toEqual([1, 2, 3, 4].map((root) => world.page(root)))
  // The fifth page begins with PASID 131,072: in the old one the next leaf was that of PASID 64.
  expect([131_072 + 64, 131_072 + 65].map(at)).toEqual(['C_BAD_SUBSTREAMID', 'C_BAD_SUBSTREAMID'])
})

it('a leaf where a level 1 stood has only its own CD', () => {
  const world = new WindowWorld({}, {}, { pages: 2n })
  const { window, a } = world
  a.set(0, window, null)
  world.grow(window, MIDDLE, 1n)
  a.set(64, world.root(1), null)
  world.grow(window, FAR, 2n)
  // The second page of the window is free when level 1 has two pages, and serves the next leaf but one.
  world.grow(window, FAR + 8n * PAGE, 1n)
  a.set(32_768, world.root(2), null)
  a.set(32_832, world.root(3), null)
  const words = world.words(world.behind(WINDOW_IPA + PAGE), 512)
  expect(words.slice(0, 8).some((word) => word !== 0n)).toBe(true)
  expect(words.slice(8).every((word) => word === 0n)).toBe(true)
})

it('a unit that was switched off invalidates nothing of a root: ETIMEDOUT', () => {
  const world = new WindowWorld()
  const root = world.root(1)
  world.a.set(0, root, null)
  world.driver.unit.fail()
  world.dma(world.a, VA)
  expect(refusal(() => world.invalidate(root, { addr: VA, npages: 1n, flags: 0 }))).toBe('ETIMEDOUT')
})

it('a device that is late fails the last entry of the piece', async () => {
  const { IDR0 } = PRESETS.default
  // IDR0.ATS is bit 10.
  const world = new WindowWorld({ IDR0: IDR0 | (1 << 10) }, { ats: true })
  const ear = new Ear()
  world.driver.listener = ear
  const root = world.root(1)
  world.a.set(0, root, null)
  ear.holds = Promise.resolve(false)
  const entries = givenEntries('smmuv3_pgd', Array(6).fill({ addr: VA, npages: 1n, flags: 0 }))
  const answer = root.invalidate?.(entries, 2, 5)
  await answer?.completion
  expect([answer?.done, answer?.failure?.()?.name, answer?.failure?.()?.context.index]).toEqual([3, 'ETIMEDOUT', 4])
})

it('an entry that is refused is named by its place in the call, wherever the piece began', () => {
  const world = new WindowWorld()
  const root = world.root(1)
  world.a.set(0, root, null)
  const good = { addr: VA, npages: 1n, flags: 0 }
  const entries = givenEntries('smmuv3_pgd', [good, good, good, good, { ...good, addr: 1n }, good])
  const answer = root.invalidate?.(entries, 3, 6)
  expect([answer?.done, answer?.refusal?.name, answer?.refusal?.context.index]).toEqual([1, 'EINVAL', 4])
})

it('what a device read through the parent under the window’s VMID is forgotten when it leaves', () => {
  const world = new WindowWorld({}, {}, { caches: { policy: 'greedy' } })
  const { a, window, parent } = world
  const iova = RAM_IPA - 0x10_0000n
  parent.map(iova, GUEST_RAM, PAGE, RW)
  a.set(0, window, null)
  expect(world.dma(a, iova)).toBe(`ok ${GUEST_RAM.toString(16)}`)
  a.clear(0, window)
  // Nothing is attached to it now, so this flush has nothing to do.
  parent.unmap(iova, PAGE)
  parent.flush()
  parent.map(iova, GUEST_RAM + 0x4000, PAGE, RW)
  a.set(0, window, null)
  expect(world.dma(a, iova)).toBe(`ok ${(GUEST_RAM + 0x4000).toString(16)}`)
})
