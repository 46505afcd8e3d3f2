/** What a unit is made to keep, and how it forgets. [VTD 6.2, 3.6.1, 6.2.4.1, 6.5.3.6] */

import { describe, expect, it } from 'vitest'
import { type CacheOptions, cachesOfSize } from '../../hw-model/vtd/index.js'
import { AtsGuest, FIRST as FIRST_TABLE } from './ats-guest.js'
import { FS, Guest, IQ, PASIDS, SID, SS } from './guest.js'

const PAGE = 0x40_0000n
const FIRST = 0x100000
const SECOND = 0x140000
const PWSNP = 1n << 23n

/** PASID 1: first stage, did 2. PASID 2: second stage, did 3. Page k of either is at 0x300000 or 0x308000 + k pages. */
function scalable(caches: CacheOptions = {}): Guest {
  const guest = new Guest({ caches })
  guest.startScalable()
  guest.startQueue()
  guest.path(FIRST, PAGE, 0x30_0000n | FS.PAGE, FS.TABLE)
  guest.path(SECOND, PAGE, 0x30_8000n | SS.RW, SS.RW)
  for (let k = 1n; k < 8n; k++) {
    guest.store(FIRST + 0x3000 + Number(k) * 8, (0x30_0000n + k * 0x1000n) | FS.PAGE)
    guest.store(SECOND + 0x3000 + Number(k) * 8, (0x30_8000n + k * 0x1000n) | SS.RW)
  }
  guest.firstStage(1, 2, FIRST)
  guest.secondStage(2, 3, SECOND)
  return guest
}

const statistics = (guest: Guest, name: string) => guest.unit.cacheStatistics.find((each) => each.name === name)
const page = (k: number): bigint => PAGE + BigInt(k) * 0x1000n

describe('a cache policy', () => {
  const sizes = (caches: CacheOptions): Record<string, number> =>
    Object.fromEntries(new Guest({ caches }).unit.cacheStatistics.map(({ name, entries }) => [name, entries]))

  it('settles the sizes that are not said', () => {
    expect(sizes({ policy: 'off' })).toEqual({ context: 0, pasid: 0, iotlb: 0, walk1: 0, walk2: 0 })
    expect(sizes({ policy: 'minimal' })).toEqual({ context: 1, pasid: 1, iotlb: 1, walk1: 1, walk2: 1 })
    const hardware = { context: 256, pasid: 1024, iotlb: 4096, walk1: 1024, walk2: 1024 }
    expect([sizes({}), sizes({ policy: 'hardware' })]).toEqual([hardware, hardware])
    expect(sizes({ policy: 'greedy' })).toEqual({ context: 4096, pasid: 4096, iotlb: 16384, walk1: 4096, walk2: 4096 })
    expect(sizes({ policy: 'off', walk2: { entries: 8, ways: 2 } })).toMatchObject({ iotlb: 0, walk1: 0, walk2: 8 })
    expect(sizes(cachesOfSize({ entries: 64, ways: 4 }))).toEqual({ ...hardware, iotlb: 64 })
    expect(sizes(cachesOfSize({ entries: 0, ways: 1 }))).toMatchObject({ context: 256, iotlb: 0, walk1: 0, walk2: 0 })
  })

  it('counts host permissions where the unit has their tables', () => {
    const names = new Guest({ preset: 'vtd-full' }).unit.cacheStatistics.map(({ name }) => name)
    expect(names).toEqual(['context', 'pasid', 'iotlb', 'walk1', 'walk2', 'hpt'])
  })

  it('of nothing reads every table every time', () => {
    const guest = scalable({ policy: 'off' })
    expect([guest.dma(page(0), 'r', 1), guest.dma(page(0), 'r', 2)]).toEqual(['0x300000', '0x308000'])
    expect(guest.unit.cacheStatistics.map(({ live }) => live)).toEqual([0, 0, 0, 0, 0])
    guest.store(FIRST + 0x3000, 0n)
    guest.store(PASIDS + 128, 0n)
    expect([guest.dma(page(0), 'r', 1), guest.dma(page(0), 'r', 2)]).toEqual(['fault 0x71', 'fault 0x59'])
    guest.store(guest.context, 0n)
    expect(guest.dma(page(0), 'r', 1)).toBe('fault 0x41')
  })

  it('of one entry each remembers what came last', () => {
    const guest = scalable({ policy: 'minimal' })
    for (const [k, pasid] of [
      [0, 1],
      [1, 1],
      [0, 2],
    ] as const) {
      guest.dma(page(k), 'r', pasid)
    }
    expect(guest.unit.cacheStatistics.map(({ live }) => live)).toEqual([1, 1, 1, 1, 1])
    guest.dma(page(0), 'r', 2)
    expect(guest.out.hit).toBe(1)
    guest.dma(page(1), 'r', 1)
    expect(guest.out.hit).toBe(0)
    expect(guest.unit.counters.evictions).toBeGreaterThan(3)
  })
})

describe('statistics', () => {
  it('count what each cache found, and a view counts nothing', () => {
    const guest = scalable()
    guest.dma(page(0), 'r', 1)
    guest.dma(page(0), 'r', 1)
    guest.dma(page(1), 'r', 1)
    const counted = (name: string) => [statistics(guest, name)?.hits, statistics(guest, name)?.misses]
    expect(counted('iotlb')).toEqual([1, 2])
    expect(counted('context')).toEqual([1, 1])
    expect(counted('pasid')).toEqual([1, 1])
    expect(counted('walk1')).toEqual([1, 1])
    expect(counted('walk2')).toEqual([0, 0])
    expect(statistics(guest, 'walk1')?.live).toBe(3)
    const before = guest.unit.cacheStatistics
    guest.explain(page(2), 'r', 1)
    expect(guest.unit.cacheStatistics).toEqual(before)
  })
})

describe('an entry that makes room', () => {
  const evicted = (caches: CacheOptions): string => {
    const guest = scalable({ iotlb: { entries: 4, ways: 4 }, ...caches })
    for (let k = 0; k < 7; k++) guest.dma(page(k), 'r', 1)
    return Array.from({ length: 7 }, (_, k) => {
      guest.store(FIRST + 0x3000 + k * 8, 0n)
      return guest.dma(page(k), 'r', 1).startsWith('0x') ? k : ''
    }).join('')
  }

  it('is the oldest in turn, or one by chance, the same for the same seed', () => {
    expect(evicted({})).toBe('3456')
    const random = (seed: number): string => evicted({ replacement: 'random', seed })
    const all = new Set(Array.from({ length: 20 }, (_, seed) => random(seed)))
    expect(all.size).toBeGreaterThan(3)
    expect([random(5), random(6)]).toEqual([random(5), random(6)])
    expect(evicted({ replacement: 'random' })).toBe(random(0))
  })
})

describe('an invalidation that does not look closely', () => {
  const wide = (...descriptors: readonly (readonly [bigint, bigint?])[]): string => {
    const guest = scalable({ invalidation: 'wide' })
    guest.dma(page(0), 'r', 1)
    guest.dma(page(0), 'r', 2)
    guest.queue(...descriptors)
    return guest.unit.cacheStatistics.map(({ live }) => live).join(' ')
  }

  it('drops all of the domain, and of context and PASID caches everything', () => {
    expect(wide()).toBe('1 2 2 3 3')
    expect(wide(IQ.contextDevice(SID + 1))).toBe('0 2 2 3 3')
    expect(wide(IQ.pasid(9, 9))).toBe('1 0 2 3 3')
    expect(wide(IQ.iotlbPage(3, 0x9_0000_0000n, IQ.IH))).toBe('1 2 1 3 0')
    expect(wide(IQ.piotlbPage(2, 7, 0x9_0000_0000n, IQ.IH))).toBe('1 2 1 0 3')
    expect(wide(IQ.piotlb(3, 9))).toBe('1 2 1 3 0')
    expect(wide(IQ.iotlbDomain(4))).toBe('1 2 2 3 3')
  })

  it('refuses what does not exist all the same', () => {
    const guest = scalable({ invalidation: 'wide' })
    guest.queue([0x01n])
    expect(guest.read(0x34) & 0x10n).toBe(0x10n)
  })
})

describe('an invalidation that is late', () => {
  /** What page 0 of PASID 1 leads to after it was moved and these descriptors were sent. */
  const moved = (caches: CacheOptions, ...descriptors: readonly (readonly [bigint, bigint?])[]): string => {
    const guest = scalable(caches)
    guest.dma(PAGE, 'r', 1)
    guest.store(FIRST + 0x3000, 0x30_9000n | FS.PAGE)
    guest.queue(...descriptors)
    return guest.dma(PAGE, 'r', 1)
  }
  const late: CacheOptions = { invalidation: 'late' }

  it('has no effect before a wait descriptor, and all of it then', () => {
    const page = IQ.piotlbPage(2, 1, PAGE)
    expect([moved({}, page), moved(late, page), moved({ policy: 'greedy' }, page)]).toEqual([
      '0x309000',
      '0x300000',
      '0x300000',
    ])
    expect(moved(late, page, IQ.fence)).toBe('0x309000')
    expect(moved({ policy: 'greedy', invalidation: 'exact' }, page)).toBe('0x309000')
  })

  it('has its effect before a device is asked to forget, and when the queue goes off', () => {
    const page = IQ.piotlbPage(2, 1, PAGE)
    const asked = new AtsGuest({ caches: late })
    asked.startScalable()
    asked.startQueue()
    asked.mapFirst(PAGE, 0x30_0000n | FS.PAGE, 1)
    asked.dma(PAGE, 'r', 1)
    asked.store(FIRST_TABLE + 0x3000, 0x30_9000n | FS.PAGE)
    asked.queue(page)
    expect(asked.dma(PAGE, 'r', 1)).toBe('0x300000')
    asked.queue([0x03n | (BigInt(SID) << 32n), PAGE])
    expect(asked.dma(PAGE, 'r', 1)).toBe('0x309000')
    const guest = scalable(late)
    guest.dma(PAGE, 'r', 1)
    guest.store(FIRST + 0x3000, 0x30_9000n | FS.PAGE)
    guest.queue(page)
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x300000')
    guest.write(0x18, 1n << 31n)
    guest.write(0x9c, 1n)
    guest.unit.run()
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x309000')
  })

  it('is refused at once where it does not exist', () => {
    const guest = scalable(late)
    guest.queue([0x01n])
    expect(guest.read(0x34) & 0x10n).toBe(0x10n)
  })

  it('takes effect where more of them come than can be held', () => {
    const guest = scalable(late)
    guest.dma(PAGE, 'r', 1)
    guest.store(FIRST + 0x3000, 0x30_9000n | FS.PAGE)
    guest.queue(IQ.piotlbPage(2, 1, PAGE))
    for (let i = 0; i < 1023; i++) {
      guest.queue(IQ.iotlbDomain(9))
      guest.unit.run()
    }
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x300000')
    guest.queue(IQ.iotlbDomain(9))
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x309000')
  })
})

describe('a hit that lacks a right', () => {
  const READ_ONLY = FS.PAGE & ~FS.RW
  const SUPERVISOR = FS.PAGE & ~FS.US

  /** A translation made from one leaf, which then grants more. */
  const upgraded = (caches: CacheOptions, first: bigint, then: bigint, fill: string, use: string, sre = 0n): string => {
    const guest = scalable(caches)
    guest.store(PASIDS + 64, 0x41n, 2n | PWSNP, BigInt(FIRST) | sre)
    guest.store(FIRST + 0x3000, 0x30_0000n | first)
    guest.dma(PAGE, fill, 1)
    guest.store(FIRST + 0x3000, 0x30_0000n | then)
    return guest.dma(PAGE, use, 1)
  }

  it('walks again, or is believed', () => {
    const lenient: CacheOptions = { rights: 'lenient' }
    const strict: CacheOptions = { rights: 'strict' }
    expect(upgraded({}, READ_ONLY, FS.PAGE, 'r', 'w')).toBe('0x300000')
    expect(upgraded(lenient, READ_ONLY, FS.PAGE, 'r', 'w')).toBe('0x300000')
    expect(upgraded(strict, READ_ONLY, FS.PAGE, 'r', 'w')).toBe('fault 0x85')
    expect(upgraded({ policy: 'greedy' }, READ_ONLY, FS.PAGE, 'r', 'w')).toBe('fault 0x85')
    expect(upgraded(lenient, SUPERVISOR, FS.PAGE, 'rp', 'r', 1n)).toBe('0x300000')
    expect(upgraded(strict, SUPERVISOR, FS.PAGE, 'rp', 'r', 1n)).toBe('fault 0x81')
    expect(upgraded(strict, READ_ONLY, FS.PAGE, 'r', 'wp', 0x11n)).toBe('fault 0x85')
    expect(upgraded(strict, FS.PAGE, FS.PAGE, 'r', 'rp')).toBe('fault 0x5d')
  })

  it('is believed of the second stage too, by its own reasons, and of legacy mode by those', () => {
    const second = (first: bigint, fill: string, use: string): string => {
      const guest = scalable({ rights: 'strict' })
      guest.store(SECOND + 0x3000, 0x30_8000n | first)
      guest.dma(PAGE, fill, 2)
      guest.store(SECOND + 0x3000, 0x30_8000n | SS.RW)
      return guest.dma(PAGE, use, 2)
    }
    expect(second(SS.R, 'r', 'w')).toBe('fault 0x85')
    expect(second(SS.W, 'w', 'r')).toBe('fault 0x86')
    expect(second(SS.W, 'w', '')).toBe('0x308000')
    const legacy = (first: bigint, fill: string, use: string): string => {
      const guest = new Guest({ preset: 'vtd-legacy', caches: { rights: 'strict' } })
      guest.store(0x1000, 0x2001n, 0n)
      guest.store(0x2000 + SID * 16, BigInt(SECOND) | 1n, 0x302n)
      guest.path(SECOND, PAGE, 0x30_8000n | first, SS.RW)
      guest.start(0n)
      guest.dma(PAGE, fill)
      guest.store(SECOND + 0x3000, 0x30_8000n | SS.RW)
      return guest.dma(PAGE, use)
    }
    expect([legacy(SS.R, 'r', 'w'), legacy(SS.W, 'w', 'r')]).toEqual(['fault 0x5', 'fault 0x6'])
  })

  it('is recorded like any fault, and not with FPD', () => {
    for (const fpd of [0n, 2n]) {
      const guest = scalable({ rights: 'strict' })
      guest.store(PASIDS + 64, 0x41n | fpd, 2n | PWSNP, BigInt(FIRST))
      guest.store(FIRST + 0x3000, 0x30_0000n | READ_ONLY)
      expect([guest.dma(PAGE, 'r', 1), guest.dma(PAGE, 'w', 1)]).toEqual(['0x300000', 'fault 0x85'])
      expect([guest.out.hit, guest.read(0x220 + 12) >> 31n]).toEqual([1, fpd === 0n ? 1n : 0n])
    }
  })

  it('but for a dirty flag always walks, so that the flag is set', () => {
    for (const rights of ['lenient', 'strict'] as const) {
      const guest = scalable({ rights })
      guest.store(FIRST + 0x3000, 0x30_0000n | (FS.PAGE & ~FS.D))
      expect([guest.dma(PAGE, 'r', 1), guest.dma(PAGE, 'w', 1)]).toEqual(['0x300000', '0x300000'])
      expect(guest.load(FIRST + 0x3000) & FS.D).toBe(FS.D)
      guest.dma(PAGE, 'w', 1)
      expect(guest.out.hit).toBe(1)
    }
  })
})

describe('a large page', () => {
  /** 2 MiB at PAGE, in the first stage; two pages of it are used. */
  const large = (fractions: boolean): Guest => {
    const guest = scalable({ fractions })
    guest.store(FIRST + 0x2000 + 2 * 8, 0x60_0000n | FS.PAGE | FS.PS)
    expect([guest.dma(page(1), 'r', 1), guest.dma(page(5), 'r', 1)]).toEqual(['0x601000', '0x605000'])
    guest.store(FIRST + 0x2000 + 2 * 8, 0x80_0000n | FS.PAGE | FS.PS)
    return guest
  }
  const ends = (guest: Guest): string[] => [guest.dma(page(1), 'r', 1), guest.dma(page(5), 'r', 1)]

  it('is kept whole, and one page of it drops all of it', () => {
    const guest = large(false)
    expect([guest.unit.iotlbEntries, ...ends(guest)]).toEqual([1, '0x601000', '0x605000'])
    guest.queue(IQ.piotlbPage(2, 1, page(1), IQ.IH))
    expect(ends(guest)).toEqual(['0x801000', '0x805000'])
  })

  it('is kept in fractions, of which too small an AM forgets one', () => {
    const guest = large(true)
    expect([guest.unit.iotlbEntries, ...ends(guest)]).toEqual([2, '0x601000', '0x605000'])
    guest.queue(IQ.piotlbPage(2, 1, page(1), IQ.IH))
    expect(ends(guest)).toEqual(['0x801000', '0x605000'])
    guest.queue(IQ.piotlbPage(2, 1, PAGE, 9n))
    expect(ends(guest)).toEqual(['0x801000', '0x805000'])
  })

  it('of pass-through is kept in fractions too', () => {
    const guest = scalable({ fractions: true })
    guest.passThrough(4, 2)
    expect([guest.dma(0x1234_5678n, 'r', 4), guest.unit.iotlbEntries]).toEqual(['0x12345678', 1])
    guest.store(PASIDS + 256, 0n)
    guest.queue(IQ.pasidsAll)
    expect([guest.dma(0x1234_5000n, 'r', 4), guest.dma(0x1234_6000n, 'r', 4)]).toEqual(['0x12345000', 'fault 0x59'])
  })
})

describe('the tests of emulators observe', () => {
  it.each([1, 2])('that a rewritten leaf is used after a flush alone: PASID %i', (pasid) => {
    const [root, flags, did] = pasid === 1 ? [FIRST, FS.PAGE, 2] : [SECOND, SS.RW, 3]
    const [old, next] = [pasid === 1 ? '0x300000' : '0x308000', '0x777000']
    for (const flush of [IQ.iotlbAll, IQ.iotlbDomain(did), IQ.iotlbPage(did, PAGE)]) {
      const guest = scalable()
      expect(guest.dma(PAGE, 'r', pasid)).toBe(old)
      guest.store(root + 0x3000, 0x77_7000n | flags)
      expect(guest.dma(PAGE, 'r', pasid)).toBe(old)
      guest.queue(flush)
      expect(guest.dma(PAGE, 'r', pasid)).toBe(next)
    }
  })

  it('that a page flush reaches a second page of the first stage, and none of the second', () => {
    for (const [pasid, did, isReached] of [
      [1, 2, true],
      [2, 3, false],
    ] as const) {
      const guest = scalable()
      const [root, flags] = pasid === 1 ? [FIRST, FS.PAGE] : [SECOND, SS.RW]
      const before = guest.dma(page(1), 'r', pasid)
      guest.dma(PAGE, 'r', pasid)
      guest.store(root + 0x3008, 0x77_7000n | flags)
      guest.queue(IQ.iotlbPage(did, PAGE))
      expect(guest.dma(page(1), 'r', pasid)).toBe(isReached ? '0x777000' : before)
    }
  })
})
