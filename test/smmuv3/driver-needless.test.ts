/** What the driver leaves alone: looking at a log flushes nothing, and large invalidations are said in few words. */

import { expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import { Ear } from './ear.js'
import { VA, WindowWorld } from './window-world.js'
import { GUEST_RAM, PARENT, PLAIN, RW, World } from './world.js'

const { IDR0, IDR1, IDR5 } = PRESETS.default
/** IDR0.ATS is bit 10, PRI bit 16; IDR1.PRIQS bits 15:11. */
const ATS = { IDR0: IDR0 | (1 << 10) | (1 << 16), IDR1: IDR1 | (8 << 11) }

it('reading the log of writes flushes nothing, and clearing it flushes what was in it', () => {
  const world = new WindowWorld()
  const domain = world.driver.createPaging(world.a, { ...PLAIN, dirtyTracking: true })
  domain.map(VA, GUEST_RAM, 0x1000n, RW)
  world.a.set(0, domain, null)
  domain.dirty?.setTracking(true)
  expect(world.dma(world.a, VA, -1, ACCESS.WRITE)).toBe(`ok ${GUEST_RAM.toString(16)}`)
  const found: bigint[] = []
  const collect = (clears: boolean): number =>
    world.commandsOf(() => {
      domain.dirty?.collect(VA, VA + 0xfffn, clears, (iova) => found.push(BigInt(iova)))
      domain.flush()
    }).length
  expect([collect(false), collect(true), collect(true)]).toEqual([0, 1, 0])
  expect(found).toEqual([VA, VA])
})

it('two ranges of a root on 300 PASIDs are 300 invalidations of what devices keep, not 600', () => {
  const world = new WindowWorld(ATS, { ats: true, pri: true }, { pages: 8n })
  const ear = new Ear()
  world.driver.listener = ear
  const root = world.root(1)
  world.a.set(0, world.window, null)
  for (let pasid = 1; pasid <= 300; pasid++) world.a.set(pasid, root, null)
  const entry = { addr: VA, npages: 1n, flags: 0 }
  const asked = (...entries: (typeof entry)[]): string[] => {
    ear.asked.length = 0
    world.invalidate(root, ...entries)
    return ear.asked
  }
  const numbers = Array.from({ length: 300 }, (_, i) => i + 1)
  expect(asked(entry)).toEqual(numbers.map((pasid) => `8 ${pasid} 1000 12`))
  expect(asked(entry, { ...entry, addr: 0x9000n })).toEqual(numbers.map((pasid) => `8 ${pasid} 0 64`))
})

it('a device has no ATS beside stalls of stage 2, which are no answer to a translation request', () => {
  // IDR0.STALL_MODEL 0, IDR5.STALL_MAX 6; EATS is bit 92 of an STE, S2S bit 185.
  const ids = { IDR0: ATS.IDR0 & ~(3 << 24), IDR1: ATS.IDR1, IDR5: (IDR5 | (6 << 16)) >>> 0 }
  const world = new World(ids, { ats: true, stalls: true })
  const bits = (takesFaults: boolean): bigint[] => {
    const domain = world.driver.createPaging(world.a, PARENT)
    domain.takesFaults = takesFaults
    world.a.set(0, domain, null)
    const ste = world.ste(world.a)
    world.a.clear(0, domain)
    return [(ste[1] >> 28n) & 3n, (ste[2] >> 57n) & 1n]
  }
  expect([bits(false), bits(true)]).toEqual([
    [1n, 0n],
    [0n, 1n],
  ])
})
