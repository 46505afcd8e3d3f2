/** Calls that meet: what one of them does between another's unmap and its flush, or when memory ends halfway. */

import { expect, it } from 'vitest'
import { Refusal } from '../../server/core/driver.js'
import { GUEST_RAM, PASID, PLAIN, RW, refusal, World } from './world.js'

it('a map into the place of a table that an unmap emptied is found, although that was not flushed yet', () => {
  const world = new World()
  const domain = world.driver.createPaging(world.a, PLAIN)
  world.a.set(0, domain, null)
  domain.map(0x4000_0000n, GUEST_RAM, 0x1000n, RW)
  expect(world.dma(world.a, 0x4000_0000n)).toBe(`ok ${GUEST_RAM.toString(16)}`)
  domain.unmap(0x4000_0000n, 0x1000n)
  domain.map(0x4000_1000n, GUEST_RAM + 0x5000, 0x1000n, RW)
  expect(world.dma(world.a, 0x4000_1000n)).toBe(`ok ${(GUEST_RAM + 0x5000).toString(16)}`)
  void domain.flush()
  expect(world.dma(world.a, 0x4000_0000n)).toBe('F_TRANSLATION')
})

it('a map that memory ends leaves nothing in the caches that DMA met meanwhile', () => {
  const world = new World()
  const domain = world.driver.createPaging(world.a, PLAIN)
  world.a.set(0, domain, null)
  const { ram } = world
  const alloc = ram.alloc.bind(ram)
  let left = 4
  // A table more, and DMA runs to what is mapped so far; then there is no memory.
  ram.alloc = (bytes) => {
    world.dma(world.a, 0x7fff_f000n)
    if (left-- > 0) return alloc(bytes)
    throw new Refusal('ENOMEM', 'there is no memory left')
  }
  const map = (): void => domain.map(0x7ffd_f000n, GUEST_RAM + 0x1000, 0x50_0000n, RW)
  expect(refusal(map)).toBe('ENOMEM')
  ram.alloc = alloc
  expect(world.dma(world.a, 0x7fff_f000n)).toBe('F_TRANSLATION')
  domain.map(0x7fff_f000n, GUEST_RAM, 0x1000n, RW)
  expect(world.dma(world.a, 0x7fff_f000n)).toBe(`ok ${GUEST_RAM.toString(16)}`)
})

it('a RID that lets go beside a PASID forgets the domain when nothing leads to it any more', () => {
  const world = new World()
  const [rid, pasid] = [0, 1].map((frame) => {
    const domain = world.driver.createPaging(world.a, PASID)
    domain.map(0x1000n, GUEST_RAM + frame * 4096, 0x1000n, RW)
    return domain
  })
  world.a.set(0, rid, null)
  world.a.set(5, pasid, null)
  // PASID 0 reaches CD 0 whatever S1DSS says, at each command that the detach gives.
  const { unit } = world.driver
  const write = unit.writeRegister.bind(unit)
  let isInside = false
  unit.writeRegister = (...args) => {
    write(...args)
    // What a DMA's own events make the driver write is no place for another.
    if (isInside) return
    isInside = true
    world.dma(world.a, 0x1000n, 0)
    isInside = false
  }
  world.a.clear(0, rid)
  unit.writeRegister = write
  rid.unmap(0x1000n, 0x1000n)
  void rid.flush()
  world.b.set(0, rid, null)
  expect(world.dma(world.b, 0x1000n)).toBe('F_TRANSLATION')
})
