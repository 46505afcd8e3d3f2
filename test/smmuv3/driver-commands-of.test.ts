/** Which commands ranges become at the edges: the largest counts, parts of leaves, ranges that no address has. */

import { describe, expect, it } from 'vitest'
import { dump } from '../../hw-model/bits/layout.js'
import { CMD_ATC_INV, CMD_TLBI_NH_VA, PRESETS } from '../../hw-model/smmuv3/index.js'
import { type FlushRange, Invalidator } from '../../server/drivers/smmuv3/invalidation.js'
import type { CommandRing } from '../../server/drivers/smmuv3/queues.js'
import { Ear } from './ear.js'
import { PLAIN_ROOT, WindowWorld } from './window-world.js'
import { PLAIN, World } from './world.js'

const { IDR0, IDR1, IDR3 } = PRESETS.default
const ATS = { IDR0: IDR0 | (1 << 10) | (1 << 16), IDR1: IDR1 | (8 << 11) }
const NO_RIL = { IDR3: IDR3 & ~(1 << 10) }

/** The fields that an invalidator gives for a range of ASID 1. */
function fieldsOf(hasRanges: boolean, range: FlushRange): Readonly<Record<string, number>>[] {
  const given: Record<string, number>[] = []
  const ring = { push: (command: Int32Array) => given.push(dump(CMD_TLBI_NH_VA, command)) }
  new Invalidator(ring as unknown as CommandRing, hasRanges).stageOne(1, [range])
  return given
}

describe('a range of a domain', () => {
  // (NUM + 1) * 2^SCALE pages; SCALE is at most 31, NUM at most 31. [SMMU 4.4.1.1 Range-based invalidation]
  it.each([
    ['all 2^36 pages of 48 bits', 2 ** 36, [[31, 31]]],
    ['2^33 pages', 2 ** 33, [[3, 31]]],
    [
      '2^35 pages and 2^10',
      2 ** 35 + 2 ** 10,
      [
        [0, 10],
        [15, 31],
      ],
    ],
    [
      '33 pages',
      33,
      [
        [0, 0],
        [0, 5],
      ],
    ],
  ])('of %s is told in as many commands as it takes', (_name, pages, expected) => {
    const given = fieldsOf(true, { page: 0, pages, level: 0, tables: false })
    expect(given.map(({ NUM, SCALE }) => [NUM, SCALE])).toEqual(expected)
    let at = 0
    for (const { Address, NUM, SCALE } of given) {
      expect(Address).toBe(at * 4096)
      at += (NUM + 1) * 2 ** SCALE
    }
    expect(at).toBe(pages)
  })

  it('that begins and ends inside of blocks reaches each of them, one by one', () => {
    const given = fieldsOf(false, { page: 512 + 256, pages: 512, level: 1, tables: false })
    const blocks = given.map(({ Address }) => Math.floor(Address / 2 ** 21))
    expect([...new Set(blocks)]).toEqual([1, 2])
  })

  it('that is a part of a block has no level', () => {
    expect(fieldsOf(true, { page: 512, pages: 256, level: 1, tables: false })).toMatchObject([{ TTL: 0 }])
    expect(fieldsOf(true, { page: 512, pages: 512, level: 1, tables: false })).toMatchObject([{ TTL: 2 }])
  })
})

describe('an invalidation of a root', () => {
  const commandsOf = (world: WindowWorld, npages: bigint, addr = 0n, t0sz = 16): number[][] => {
    const root = world.root(1, { ...PLAIN_ROOT, t0sz, ttb0: 0x4000_0000n })
    world.a.set(1, root, null)
    const commands = world.commandsOf(() => {
      expect(world.invalidate(root, { addr, npages, flags: 0 })).toMatchObject({ done: 1, refusal: undefined })
    })
    return commands.map((one) => {
      const [dw0, dw1] = one.split(' ').map((word) => BigInt(`0x${word}`))
      const words = Int32Array.from([dw0, dw0 >> 32n, dw1, dw1 >> 32n], (word) => Number(BigInt.asIntN(32, word)))
      return [words[0] & 0xff, CMD_TLBI_NH_VA.NUM.get(words, 0), CMD_TLBI_NH_VA.SCALE.get(words, 0)]
    })
  }
  const onWindow = (overrides = {}): WindowWorld => {
    const world = new WindowWorld(overrides)
    world.a.set(0, world.window, null)
    return world
  }

  it('of every page of 48 bits, by their number, is one range', () => {
    expect(commandsOf(onWindow(), 2n ** 36n)).toEqual([[0x12, 31, 31]])
  })

  it('above what TTB0 serves is no command', () => {
    expect(commandsOf(onWindow(), 1n, 1n << 39n, 25)).toEqual([])
    expect(commandsOf(onWindow(), 1n, (1n << 39n) - 4096n, 25)).toHaveLength(1)
  })

  it('without ranges is page by page up to 512 of them, and else the whole ASID', () => {
    const commands = commandsOf(onWindow(NO_RIL), 512n)
    expect([commands.length, new Set(commands.map(([opcode]) => opcode))]).toEqual([512, new Set([0x12])])
    expect(commandsOf(onWindow(NO_RIL), 513n)).toEqual([[0x11, 0, 0]])
  })
})

describe('a device with ATS', () => {
  it('and without PASIDs is asked once for everything, and once for a range', () => {
    const world = new World(ATS, { ats: true, pasidLg2: 0 })
    const ear = new Ear()
    world.driver.listener = ear
    const parent = world.driver.createPaging(world.a, { ...PLAIN, nestParent: true })
    parent.map(0x1000n, 2 ** 40, 0x1000n, { read: true, write: true })
    world.a.set(0, parent, null)
    expect(ear.asked.splice(0)).toEqual(['8 -1 0 64'])
    parent.unmap(0x1000n, 0x1000n)
    parent.flush()
    expect(ear.asked).toEqual(['8 -1 1000 12'])
  })

  it('and more than 512 PASIDs on one root forgets everything at once', () => {
    const world = new WindowWorld(ATS, { ats: true, pri: true }, { pages: 12n })
    const ear = new Ear()
    world.driver.listener = ear
    const root = world.root(1)
    world.a.set(0, world.window, null)
    for (let pasid = 1; pasid <= 513; pasid++) world.a.set(pasid, root, null)
    ear.asked.length = 0
    world.invalidate(root, { addr: 0x1000n, npages: 1n, flags: 0 })
    expect(ear.asked).toEqual(['8 -1 0 64', '8 all 0 64'])
  })

  it('that answers at once gets its command beside one that answers later', async () => {
    const world = new World(ATS, { ats: true })
    const other = world.driver.probe({ rid: 9, pasidLg2: 0, ats: true, pri: false })
    const ear = new Ear()
    const domain = world.driver.createPaging(world.a, PLAIN)
    domain.map(0x1000n, 2 ** 40, 0x1000n, { read: true, write: true })
    for (const device of [world.a, other]) device.set(0, domain, null)
    world.driver.listener = Object.assign(ear, {
      invalidate: (device: { readonly rid: number }) => (device.rid === 8 ? Promise.resolve(true) : undefined),
    })
    const given: number[] = []
    const { memory } = world
    const storeRecord = memory.storeRecord.bind(memory)
    memory.storeRecord = (pa, words, at, count) => {
      if (count === 4 && (words[at] & 0xff) === 0x40) given.push(CMD_ATC_INV.SID.get(words, at))
      return storeRecord(pa, words, at, count)
    }
    domain.unmap(0x1000n, 0x1000n)
    await domain.flush()
    expect(given.sort()).toEqual([8, 9])
  })
})
