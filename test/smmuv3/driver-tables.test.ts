/** Stream tables and CD tables that grow while devices are at work, where they are linear, and when they are given back. */

import { beforeEach, describe, expect, it } from 'vitest'
import { NO_PASID, Outcome, STATUS, Transaction } from '../../hw-model/port.js'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import type { PagingOps } from '../../server/core/driver.js'
import { GUEST_RAM, PASID, PLAIN, RW, refusal, World } from './world.js'

const { IDR0, IDR1 } = PRESETS.default
/** IDR0.CD2L is bit 19, ST_LEVEL bits 28:27; IDR1.SIDSIZE is bits 5:0. */
const LINEAR_CDS = { IDR0: IDR0 & ~(1 << 19) }
const LINEAR_STREAMS = { IDR0: IDR0 & ~(3 << 27), IDR1: (IDR1 & ~0x3f) | 6 }

function domainOf(world: World, frame: number, device = world.a): PagingOps {
  const domain = world.driver.createPaging(device, device.maxPasids > 0 ? PASID : PLAIN)
  domain.map(0x1000n, GUEST_RAM + frame * 4096, 0x1000n, RW)
  return domain
}

/** A DMA of a stream that need not be a device's. */
function raw(world: World, sid: number): string {
  const [transaction, outcome] = [new Transaction(), new Outcome()]
  transaction.rid = sid
  transaction.pasid = NO_PASID
  transaction.lo = 0x1000
  world.driver.unit.translate(transaction, outcome)
  world.driver.drainEvents()
  if (outcome.status === STATUS.OK) return `ok ${outcome.address.toString(16)}`
  return outcome.status === STATUS.ABORTED ? 'aborted' : world.driver.unit.faultName(outcome.fault)
}

/** Calls `then` after each 64-bit store of the driver's outside its queues; answers how often. */
function atEachStore(world: World, act: () => void, then: () => void): number {
  const { memory } = world
  const queues = [0x90, 0xa0].map((offset) => Number(world.register(offset, 8) & 0xf_ffff_ffff_f000n))
  const store = memory.storeWord.bind(memory)
  let stores = 0
  let isBusy = false
  memory.storeWord = (pa, lo, hi) => {
    const status = store(pa, lo, hi)
    const isQueue = queues.includes(pa - (pa % 4096))
    if (isQueue || isBusy || pa < world.ram.base || pa >= GUEST_RAM) return status
    stores++
    isBusy = true
    then()
    isBusy = false
    return status
  }
  act()
  memory.storeWord = store
  return stores
}

/** Uses up the driver's memory, but for blocks smaller than `bytes`. */
function exhaust(world: World, bytes: number): number {
  let last = 0
  for (let size = 2 ** 28; size >= bytes; size /= 2) {
    while (refusal(() => (last = world.ram.alloc(size))) === 'no refusal');
  }
  return last
}

describe('a CD table of two levels', () => {
  let world: World
  beforeEach(() => {
    world = new World()
  })

  it('gets a leaf while every other PASID and the RID are at work, and the new PASID appears in one step', () => {
    const used = [0, 5, 1023, 3000]
    for (const [i, slot] of used.entries()) world.a.set(slot, domainOf(world, i + 1), null)
    const beside = (): string[] => used.map((slot) => world.dma(world.a, 0x1000n, slot === 0 ? -1 : slot))
    const alright = used.map((_, i) => `ok 1000000${i + 1}000`)
    expect(beside()).toEqual(alright)
    const next = domainOf(world, 9)
    const met: string[][] = []
    const look = (): void => {
      expect(beside()).toEqual(alright)
      met.push([1024, 2047].map((pasid) => world.dma(world.a, 0x1000n, pasid)))
    }
    look()
    const stores = atEachStore(world, () => world.a.set(2047, next, null), look)
    look()
    // The L1CD; then the CD's words, the one with V last.
    const changes = met.map((pair) => pair.join(' ')).filter((pair, i, all) => pair !== all[i - 1])
    expect(changes).toEqual(['C_BAD_SUBSTREAMID C_BAD_SUBSTREAMID', 'C_BAD_CD C_BAD_CD', 'C_BAD_CD ok 10000009000'])
    expect(stores).toBe(4)
  })

  it('is kept when everything has gone, with no valid CD in it, and used again', () => {
    const before = world.ram.usedBytes
    const cycle = (): void => {
      const slots = [0, 5, 1023, 1024, 2 ** 20 - 1]
      const domains = slots.map((_, i) => domainOf(world, i))
      for (const [i, slot] of slots.entries()) world.a.set(slot, domains[i], null)
      for (const [i, slot] of slots.entries()) world.a.clear(slot, domains[i])
      for (const domain of domains) domain.destroy()
    }
    cycle()
    // 1,024 L1CDs of 8 bytes, and three leaves.
    const table = 8192 + 3 * 65536
    expect(world.ram.usedBytes - before).toBe(table)
    for (let i = 0; i < 20; i++) cycle()
    expect(world.ram.usedBytes - before).toBe(table)
    const domain = domainOf(world, 1)
    world.a.set(7, domain, null)
    expect([5, 1023, 1024, 2 ** 20 - 1].map((pasid) => world.dma(world.a, 0x1000n, pasid))).toEqual(
      Array(4).fill('C_BAD_CD'),
    )
    expect(world.dma(world.a, 0x1000n, 2048)).toBe('C_BAD_SUBSTREAMID')
  })

  it('that finds no memory for a leaf refuses the PASID and changes nothing', () => {
    const [one, two] = [domainOf(world, 1), domainOf(world, 2)]
    world.a.set(5, one, null)
    const block = exhaust(world, 65536)
    const used = world.ram.usedBytes
    expect(refusal(() => world.a.set(1024, two, null))).toBe('ENOMEM')
    expect(world.ram.usedBytes).toBe(used)
    expect([5, 1024].map((pasid) => world.dma(world.a, 0x1000n, pasid))).toEqual([
      'ok 10000001000',
      'C_BAD_SUBSTREAMID',
    ])
    world.ram.free(block, 65536)
    world.a.set(1024, two, null)
    expect([5, 1024].map((pasid) => world.dma(world.a, 0x1000n, pasid))).toEqual(['ok 10000001000', 'ok 10000002000'])
  })

  it('that finds no memory at all leaves the device blocked', () => {
    const one = domainOf(world, 1)
    const block = exhaust(world, 8192)
    for (const slot of [0, 5]) expect(refusal(() => world.a.set(slot, one, null))).toBe('ENOMEM')
    expect([world.dma(world.a, 0x1000n), world.dma(world.a, 0x1000n, 5)]).toEqual(['aborted', 'aborted'])
    world.ram.free(block, 8192)
    // There is room for the first level, and none for a leaf.
    expect(refusal(() => world.a.set(0, one, null))).toBe('ENOMEM')
    expect(world.dma(world.a, 0x1000n)).toBe('aborted')
    one.destroy()
  })
})

describe('a CD table without IDR0.CD2L', () => {
  it('is linear, and has 1,024 PASIDs whatever the device could use', () => {
    const world = new World(LINEAR_CDS)
    expect(world.a.maxPasids).toBe(1024)
    const before = world.ram.usedBytes
    const [rid, last] = [domainOf(world, 1), domainOf(world, 2)]
    const tables = world.ram.usedBytes - before
    world.a.set(0, rid, null)
    world.a.set(1023, last, null)
    expect(world.ram.usedBytes - before - tables).toBe(65536)
    expect(refusal(() => world.a.set(1024, last, null))).toBe('EINVAL')
    const [ste0] = world.ste(world.a)
    // S1CDMax in 63:59, S1Fmt in 5:4.
    expect([ste0 >> 59n, (ste0 >> 4n) & 3n]).toEqual([10n, 0n])
    const seen = [-1, 1022, 1023].map((pasid) => world.dma(world.a, 0x1000n, pasid))
    expect(seen).toEqual(['ok 10000001000', 'C_BAD_CD', 'ok 10000002000'])
    expect(world.dma(world.a, 0x1000n, 1024)).toBe('C_BAD_SUBSTREAMID')
  })
})

describe('a stream table of two levels', () => {
  it('gets a table of 256 streams that abort, while others are at work and its streams already knock', () => {
    const world = new World()
    world.a.set(0, domainOf(world, 1), null)
    world.b.set(0, domainOf(world, 2, world.b), null)
    const met: string[] = []
    const look = (): void => {
      expect([world.dma(world.a, 0x1000n), world.dma(world.b, 0x1000n)]).toEqual(['ok 10000001000', 'ok 10000002000'])
      met.push([0x2000, 0x20ff].map((sid) => raw(world, sid)).join(' '))
    }
    look()
    const probe = (): void => {
      world.driver.probe({ rid: 0x2080, pasidLg2: 0, ats: false, pri: false })
    }
    const stores = atEachStore(world, probe, look)
    look()
    // 256 entries, and then what makes them known.
    expect(stores).toBe(256 * 8 + 1)
    expect(met.filter((pair, i) => pair !== met[i - 1])).toEqual(['C_BAD_STREAMID C_BAD_STREAMID', 'aborted aborted'])
    expect([raw(world, 0x1fff), raw(world, 0x2100)]).toEqual(['C_BAD_STREAMID', 'C_BAD_STREAMID'])
  })

  it('is made once for all of its streams', () => {
    const world = new World()
    const before = world.ram.usedBytes
    const stores = atEachStore(
      world,
      () => void world.driver.probe({ rid: 9, pasidLg2: 0, ats: false, pri: false }),
      () => undefined,
    )
    expect([stores, world.ram.usedBytes - before]).toEqual([0, 0])
  })

  it('that finds no memory refuses the device, which is not known then', () => {
    const world = new World()
    const facts = { rid: 0x2080, pasidLg2: 0, ats: false, pri: false }
    const block = exhaust(world, 16384)
    expect(refusal(() => world.driver.probe(facts))).toBe('ENOMEM')
    expect(raw(world, 0x2080)).toBe('C_BAD_STREAMID')
    world.ram.free(block, 16384)
    world.driver.probe(facts)
    expect(raw(world, 0x2080)).toBe('aborted')
  })

  it.each([
    [9, 9],
    [16, 16],
    [24, 24],
    // 128 Ki level 1 entries are the most.
    [32, 25],
  ])('of SIDSIZE %i has 2^%i streams, 256 to a table', (sidSize, lg2) => {
    const streams = { IDR1: (IDR1 & ~0x3f) | sidSize }
    const world = sidSize > 12 ? new World(streams) : new World({ ...streams }, { rid: 8 }, { ridOfB: 0x134 })
    // FMT 1 in 17:16, SPLIT 8 in 10:6.
    expect(world.register(0x88, 4)).toBe((1n << 16n) | (8n << 6n) | BigInt(lg2))
    const beyond = 2 ** lg2
    if (beyond < 2 ** sidSize) {
      expect(refusal(() => world.driver.probe({ rid: beyond, pasidLg2: 0, ats: false, pri: false }))).toBe('EINVAL')
    }
    const last = world.driver.probe({ rid: beyond - 1, pasidLg2: 0, ats: false, pri: false })
    last.set(0, domainOf(world, 3, last), null)
    expect(world.dma(last, 0x1000n)).toBe('ok 10000003000')
  })
})

describe('a stream table without IDR0.ST_LEVEL', () => {
  it('is linear: every stream has an entry from the start, which aborts', () => {
    const world = new World(LINEAR_STREAMS, {}, { ridOfB: 0x34 })
    expect(world.register(0x88, 4)).toBe(6n)
    const base = Number(world.register(0x80, 8) & 0xf_ffff_ffff_ffc0n)
    for (const sid of [0, 8, 0x34, 0x3f])
      expect(world.words(base + sid * 64, 8)).toEqual([1n, 0n, 0n, 0n, 0n, 0n, 0n, 0n])
    expect([raw(world, 0x3f), raw(world, 0x40)]).toEqual(['aborted', 'C_BAD_STREAMID'])
    const used = world.ram.usedBytes
    const last = world.driver.probe({ rid: 0x3f, pasidLg2: 0, ats: false, pri: false })
    expect(world.ram.usedBytes).toBe(used)
    last.set(0, domainOf(world, 4, last), null)
    expect([world.dma(last, 0x1000n), raw(world, 0x3e)]).toEqual(['ok 10000004000', 'aborted'])
    expect(refusal(() => world.driver.probe({ rid: 0x40, pasidLg2: 0, ats: false, pri: false }))).toBe('EINVAL')
  })

  it('serves units with at most 256 streams, two levels or not', () => {
    const world = new World({ IDR1: (IDR1 & ~0x3f) | 8 }, {}, { ridOfB: 0x34 })
    expect(world.register(0x88, 4)).toBe(8n)
    world.a.set(0, domainOf(world, 1), null)
    expect([world.dma(world.a, 0x1000n), raw(world, 0x100)]).toEqual(['ok 10000001000', 'C_BAD_STREAMID'])
  })
})
