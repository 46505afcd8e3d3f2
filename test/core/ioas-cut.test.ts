/** Areas that are cut in two, and how often pages are pinned. */

import { describe, expect, it } from 'vitest'
import type { Call } from '../../server/core/call.js'
import { Ioas } from '../../server/core/ioas.js'
import { cutAreas } from '../../server/core/ioas-cut.js'
import { allPages, pinCount } from '../../server/core/pin-count.js'
import { Refusal } from '../../server/core/refusal.js'
import type { FakePaging } from './fake-machine.js'
import { PAGE } from './paused.js'
import { ALL, World } from './world.js'

const HUGE_PAGES = 2

/** 16 pages at 0x10000, in a domain of small leaves. */
function scene({ hugePages = false, attached = true } = {}) {
  const world = new World()
  const ioasId = world.ioas()
  const regionId = world.region()
  if (!hugePages) world.do('SetOption', { option: HUGE_PAGES, objectId: ioasId, value: 0n })
  if (attached) world.do('AttachRid', { deviceId: world.bind('arm2'), ptId: ioasId })
  world.map(ioasId, regionId, 16n * PAGE, 0x10000n)
  const context = world.core.contexts[0]
  const ioas = context.objects.get(Ioas, ioasId, 'ioas_id')
  const cut = (...bytes: bigint[]): string => {
    try {
      world.core.run(world.peer, context, (call: Call) => cutAreas(call, ioas, bytes), {})
      return 'done'
    } catch (error) {
      if (error instanceof Refusal) return error.name
      throw error
    }
  }
  const areas = () => [...ioas.areas].map(({ start, last }) => [start, last])
  return { world, ioas, ioasId, regionId, context, cut, areas }
}

const tableOf = ({ machine }: World): FakePaging => {
  const { slots } = machine.devices[1].device as unknown as { slots: Map<number, FakePaging> }
  return slots.get(0) as FakePaging
}

describe('cutting an area', () => {
  it('makes two of it, which are unmapped one by one, and leaves the tables alone', () => {
    const { world, ioasId, cut, areas } = scene()
    const before = structuredClone(tableOf(world).mappings)
    expect(cut(0x13fffn, 0x17fffn)).toBe('done')
    expect(areas()).toEqual([
      [0x10000n, 0x13fffn],
      [0x14000n, 0x17fffn],
      [0x18000n, 0x1ffffn],
    ])
    expect(tableOf(world).mappings).toEqual(before)
    expect(world.do('IoasUnmap', { ioasId, iova: 0x14000n, length: 4n * PAGE })).toEqual({ length: 4n * PAGE })
    expect(tableOf(world).mappings).toEqual(before.filter(({ iova }) => iova < 0x14000n || iova > 0x17fffn))
    expect(world.do('IoasUnmap', { ioasId, iova: 0n, length: ALL })).toEqual({ length: 12n * PAGE })
    expect(tableOf(world).mappings).toEqual([])
  })

  it('changes nothing of what is paid, and each part is paid for by itself afterwards', () => {
    const { world, ioasId, context, cut } = scene()
    const used = () => world.core.locked.used({ uid: 1000, process: '' }, context.accountMode)
    expect(cut(0x13fffn)).toBe('done')
    expect(used()).toBe(16 * 4096)
    world.do('IoasUnmap', { ioasId, iova: 0x10000n, length: 4n * PAGE })
    expect(used()).toBe(12 * 4096)
    world.do('IoasUnmap', { ioasId, iova: 0x14000n, length: 12n * PAGE })
    expect(used()).toBe(0)
  })

  it('skips what is not mapped, and the ends of an area', () => {
    const { cut, areas } = scene()
    expect(cut(0x5000n, 0x10000n, 0x1ffffn, 0x20000n)).toBe('done')
    expect(areas()).toEqual([[0x10000n, 0x1ffffn]])
  })

  it('stops at the first that is refused, and what was cut stays so', () => {
    const { cut, areas } = scene()
    expect(cut(0x13fffn, 0x17ffen, 0x18fffn)).toBe('EINVAL')
    expect(areas()).toHaveLength(2)
  })

  it('is refused while leaves may be large, unless no domain is there', () => {
    expect(scene({ hugePages: true }).cut(0x13fffn)).toBe('EINVAL')
    expect(scene({ hugePages: true, attached: false }).cut(0x13fffn)).toBe('done')
  })

  it('is refused while something inside the daemon uses the area', () => {
    const { ioas, cut } = scene()
    const area = ioas.areas.firstFrom(0n)
    if (area !== undefined) area.accesses = 1
    expect(cut(0x13fffn)).toBe('EINVAL')
    if (area !== undefined) area.preventsAccess = true
    expect(cut(0x13fffn)).toBe('EBUSY')
  })
})

describe('how often a page is pinned', () => {
  it('is once for each mapping that a domain has, however many domains', () => {
    const { world, ioasId, regionId, context } = scene()
    world.paging(world.bind('arm'), ioasId)
    world.map(ioasId, regionId, 2n * PAGE, 0x100000n, 3n * PAGE)
    const region = context.regions.get(regionId)
    const counts = () => [0, 2, 3, 4, 5, 15, 16].map((page) => pinCount(allPages(context), region, page * 4096 + 7))
    expect(counts()).toEqual([1, 1, 2, 2, 1, 1, 0])
    world.do('IoasUnmap', { ioasId, iova: 0x10000n, length: 16n * PAGE })
    expect(counts()).toEqual([0, 0, 1, 1, 0, 0, 0])
  })

  it('is the same for memory that is named by the client’s address', () => {
    const { world, ioasId, context } = scene()
    const regionId = world.region(0x10000n, 0x7000_0000n)
    world.do('IoasMap', { ioasId, userVa: 0x7000_2000n, length: 2n * PAGE, iova: 0n, flags: 6 })
    const region = context.regions.get(regionId)
    expect([1, 2, 3, 4].map((page) => pinCount(allPages(context), region, page * 4096))).toEqual([0, 1, 1, 0])
  })

  it('is 0 without a domain', () => {
    const { regionId, context } = scene({ attached: false })
    expect(pinCount(allPages(context), context.regions.get(regionId), 0)).toBe(0)
  })
})
