import { beforeEach, describe, expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import type { DirtyOps, PagingFlags, PagingOps } from '../../server/core/driver.js'
import { HW_CAPABILITY } from '../../server/core/driver.js'
import { GUEST_RAM, PLAIN, RW, refusal, World } from './world.js'

const DIRTY: PagingFlags = { ...PLAIN, dirtyTracking: true }
/** IDR0.HTTU is bits 7:6, COHACC bit 4. */
const HTTU = 3 << 6
const COHACC = 1 << 4

let world: World
beforeEach(() => {
  world = new World()
})

/** Every dirty leaf of a range, however many calls that takes. */
function collect(domain: PagingOps, start: bigint, last: bigint, clears = false): string[] {
  const found: string[] = []
  let at: bigint | undefined = start
  while (at !== undefined) {
    const next = (domain.dirty as DirtyOps).collect(at, last, clears, (iova, length) => {
      found.push(`${iova.toString(16)}+${length.toString(16)}`)
    })
    if (next !== undefined) expect(next).toBeGreaterThan(at)
    at = next
  }
  return found
}

/** The 64-bit words of every page of host RAM that hold a leaf for an address of the guest's RAM. */
function leafOf(address: number): bigint | undefined {
  for (let at = world.ram.base; at < world.ram.base + world.ram.usedBytes + 2 ** 20; at += 8) {
    world.memory.loadWord(at)
    const word = (BigInt(world.memory.hi >>> 0) << 32n) | BigInt(world.memory.lo >>> 0)
    if ((word & 3n) === 3n && (word & 0xffff_ffff_f000n) === BigInt(address) && (word & (1n << 10n)) !== 0n) return word
  }
  return undefined
}

describe('the capability DIRTY_TRACKING', () => {
  it('is told where IDR0.HTTU is 2 and IDR0.COHACC is 1, and domains are refused where it is not', () => {
    expect(world.a.capabilities & HW_CAPABILITY.DIRTY_TRACKING).toBe(HW_CAPABILITY.DIRTY_TRACKING)
    for (const [IDR0, without] of [
      [PRESETS.default.IDR0 & ~HTTU, 'no flags'],
      [(PRESETS.default.IDR0 & ~HTTU) | (1 << 6), 'access flags alone'],
      [PRESETS.default.IDR0 & ~COHACC, 'no coherence'],
    ] as const) {
      const other = new World({ IDR0 })
      expect(other.a.capabilities & HW_CAPABILITY.DIRTY_TRACKING, without).toBe(0)
      expect(refusal(() => other.driver.createPaging(other.a, DIRTY))).toBe('EOPNOTSUPP')
    }
  })

  it('is of stage 1: not of a nesting parent, nor of a unit with stage 2 alone', () => {
    expect(refusal(() => world.driver.createPaging(world.a, { ...DIRTY, nestParent: true }))).toBe('EOPNOTSUPP')
    const stage2 = new World({ IDR0: PRESETS.default.IDR0 & ~2 })
    expect(refusal(() => stage2.driver.createPaging(stage2.a, DIRTY))).toBe('EOPNOTSUPP')
    expect(world.driver.createPaging(world.a, { ...DIRTY, pasid: true }).dirty).toBeDefined()
    expect(world.driver.createPaging(world.a, PLAIN).dirty).toBeUndefined()
  })
})

describe('a domain that tracks dirty pages', () => {
  let domain: PagingOps
  beforeEach(() => {
    domain = world.driver.createPaging(world.a, DIRTY)
    domain.map(0x1000n, GUEST_RAM + 0x1000, 0x3000n, RW)
    domain.map(0x4000n, GUEST_RAM + 0x4000, 0x1000n, { read: true, write: false })
    domain.map(0x4000_0000n, GUEST_RAM, 0x40_0000n, RW)
    world.a.set(0, domain, null)
  })
  const clean = (): void => {
    collect(domain, 0x1000n, 0x4fffn, true)
    collect(domain, 0x4000_0000n, 0x403f_ffffn, true)
    domain.flush()
  }

  it('spells its leaves as Linux does: DBM in bit 51, and AP[2] in bit 7 once it is clean', () => {
    const [dbm, readOnly] = [1n << 51n, 1n << 7n]
    expect((leafOf(GUEST_RAM + 0x1000) as bigint) & (dbm | readOnly)).toBe(dbm)
    expect((leafOf(GUEST_RAM + 0x4000) as bigint) & (dbm | readOnly)).toBe(readOnly)
    clean()
    expect((leafOf(GUEST_RAM + 0x1000) as bigint) & (dbm | readOnly)).toBe(dbm | readOnly)
    world.dma(world.a, 0x1000n, -1, ACCESS.WRITE)
    expect((leafOf(GUEST_RAM + 0x1000) as bigint) & (dbm | readOnly)).toBe(dbm)
  })

  it('begins with every writable leaf dirty, and never has a read-only one so', () => {
    expect(collect(domain, 0x1000n, 0x4fffn)).toEqual(['1000+1000', '2000+1000', '3000+1000'])
    expect(collect(domain, 0x1000n, 0x4fffn)).toHaveLength(3)
  })

  it('tells what was written since it was cleaned, and nothing for reads', () => {
    clean()
    expect(collect(domain, 0x1000n, 0x4fffn)).toEqual([])
    expect(world.dma(world.a, 0x1008n)).toBe('ok 10000001008')
    expect(world.dma(world.a, 0x2008n, -1, ACCESS.WRITE)).toBe('ok 10000002008')
    expect(world.dma(world.a, 0x4008n, -1, ACCESS.WRITE)).toBe('F_PERMISSION')
    expect(collect(domain, 0x1000n, 0x4fffn)).toEqual(['2000+1000'])
    expect(collect(domain, 0x1000n, 0x4fffn, true)).toEqual(['2000+1000'])
    domain.flush()
    expect(collect(domain, 0x1000n, 0x4fffn)).toEqual([])
    expect(world.dma(world.a, 0x2008n, -1, ACCESS.WRITE)).toBe('ok 10000002008')
    expect(collect(domain, 0x1000n, 0x4fffn)).toEqual(['2000+1000'])
  })

  it('misses a write through a cached dirty entry until the flush', () => {
    world.dma(world.a, 0x1000n, -1, ACCESS.WRITE)
    collect(domain, 0x1000n, 0x4fffn, true)
    world.dma(world.a, 0x1000n, -1, ACCESS.WRITE)
    expect(collect(domain, 0x1000n, 0x4fffn)).toEqual([])
    domain.flush()
    world.dma(world.a, 0x1000n, -1, ACCESS.WRITE)
    expect(collect(domain, 0x1000n, 0x4fffn)).toEqual(['1000+1000'])
  })

  it('tells a block as all that it maps within the range', () => {
    clean()
    world.dma(world.a, 0x4020_0000n, -1, ACCESS.WRITE)
    expect(collect(domain, 0x4000_0000n, 0x403f_ffffn)).toEqual(['40200000+200000'])
    expect(collect(domain, 0x4021_0000n, 0x4021_ffffn)).toEqual(['40210000+10000'])
  })

  it('ends at a hole', () => {
    domain.map(0x6000n, GUEST_RAM + 0x6000, 0x1000n, RW)
    expect(collect(domain, 0x1000n, 0x6fffn)).toEqual(['1000+1000', '2000+1000', '3000+1000'])
    expect(collect(domain, 0x0n, 0x6fffn)).toEqual([])
    expect(collect(domain, 0x6000n, 0x6fffn)).toEqual(['6000+1000'])
  })

  it('is cheap where nothing was written: an entry with a stamp is read, and no others', () => {
    const [start, tables] = [0x80_0000_0000n, 64]
    const length = BigInt(tables) << 21n
    // One page further than a block could be.
    domain.map(start, GUEST_RAM + 0x1000, length, RW)
    collect(domain, start, start + length - 1n, true)
    domain.flush()
    world.dma(world.a, start + 0x20_3000n, -1, ACCESS.WRITE)
    let loads = 0
    const { memory } = world
    const load = memory.loadWord.bind(memory)
    memory.loadWord = (address) => {
      loads++
      return load(address)
    }
    expect(collect(domain, start, start + length - 1n)).toEqual(['8000203000+1000'])
    expect(loads).toBe(1)
    loads = 0
    expect(collect(domain, start, start + length - 1n, true)).toHaveLength(1)
    domain.flush()
    loads = 0
    expect(collect(domain, start, start + length - 1n)).toEqual([])
    expect(loads).toBe(0)
  })

  describe('with a full table that is collected', () => {
    const [start, last] = [0x80_0020_0000n, 0x80_003f_ffffn]
    let written: number
    const write = (page: bigint): void => void world.dma(world.a, start + page * 0x1000n, -1, ACCESS.WRITE)

    beforeEach(() => {
      // Without caches a write need not wait for the flush to be marked.
      world = new World({}, {}, { caches: { policy: 'off' } })
      domain = world.driver.createPaging(world.a, DIRTY)
      domain.map(start, GUEST_RAM + 0x1000, 0x20_0000n, RW)
      world.a.set(0, domain, null)
      collect(domain, start, last, true)
      write(3n)
      written = 0
    })

    it('keeps what is written to a page behind the eye, for every later look', () => {
      const again = (): void => {
        if (written++ === 0) write(3n)
      }
      ;(domain.dirty as DirtyOps).collect(start, last, true, again)
      expect(written).toBe(1)
      domain.flush()
      write(3n)
      expect(collect(domain, start, last)).toEqual(['8000203000+1000'])
      expect(collect(domain, start, last, true)).toEqual(['8000203000+1000'])
      expect(collect(domain, start, last)).toEqual([])
    })

    it('keeps the rest where the one who is told stops', () => {
      write(5n)
      const stop = (): void => {
        throw new Error('full')
      }
      expect(() => (domain.dirty as DirtyOps).collect(start, last, true, stop)).toThrow('full')
      expect(collect(domain, start, last)).toEqual(['8000205000+1000'])
    })
  })

  it('looks at a bounded number of leaves in a call', () => {
    const [start, length] = [0x80_0000_0000n, 0x1000_0000n]
    domain.map(start, GUEST_RAM + 0x1000, length, RW)
    const seen: number[] = []
    const next = (domain.dirty as DirtyOps).collect(start, start + length - 1n, false, (iova) => seen.push(iova))
    expect(seen.length).toBeLessThanOrEqual(8192 + 512)
    expect(next).toBe(start + BigInt(seen.length) * 4096n)
    expect(collect(domain, start, start + length - 1n)).toHaveLength(65536)
  })

  it('forgets a stamp when its table is used for something else', () => {
    const other = world.driver.createPaging(world.a, DIRTY)
    other.map(0x1000n, GUEST_RAM, 0x1000n, RW)
    other.destroy()
    const next = world.driver.createPaging(world.a, DIRTY)
    next.map(0x20_0000n, GUEST_RAM + 0x1000, 0x20_0000n, { read: true, write: false })
    expect(collect(next, 0x20_0000n, 0x3f_ffffn)).toEqual([])
  })
})
