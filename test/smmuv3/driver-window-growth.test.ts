import { describe, expect, it } from 'vitest'
import type { CachePolicy } from '../../hw-model/smmuv3/cache-options.js'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import type { Refusal, UserOps } from '../../server/core/driver.js'
import { VA, WINDOW_IPA, WindowWorld } from './window-world.js'

const POLICIES: readonly CachePolicy[] = ['off', 'minimal', 'hardware', 'greedy']
const FAR = WINDOW_IPA + 0x1000_0000n

/** What a call that finds no room asks for. */
function asked(act: () => void): { readonly bytes: number; readonly alignment: number } {
  try {
    act()
  } catch (error) {
    const { name, context } = error as Refusal
    expect(name).toBe('ENOSPC')
    return { bytes: Number(context['bytes_needed']), alignment: Number(context['alignment'] ?? 4096) }
  }
  return NOTHING
}

const NOTHING = { bytes: 0, alignment: 0 }

const hex = (words: readonly bigint[]): string[] => words.map((word) => word.toString(16))

describe('growing from one page to two levels', () => {
  const cases = POLICIES.flatMap((policy) => (['window', 'root', 'blocked'] as const).map((rid) => ({ policy, rid })))

  it.each(cases)(
    'leaves 63 PASIDs and the RID where they were at each store: caches $policy, RID $rid',
    ({ policy, rid }) => {
      const world = new WindowWorld({}, {}, { pages: 3n, caches: { policy } })
      const { a, window } = world
      const onRid = rid === 'root' ? world.root(0) : window
      a.set(0, onRid, null)
      for (let pasid = 1; pasid < 64; pasid++) a.set(pasid, world.root(pasid), null)
      if (rid === 'blocked') a.clear(0, window)
      const ofRid = { window: 'ok 10000000000', root: world.page(0), blocked: 'F_STREAM_DISABLED' }[rid]
      const seen: string[] = []
      const look = (): void => {
        for (let pasid = 1; pasid < 64; pasid++) expect(world.dma(a, VA, pasid)).toBe(world.page(pasid))
        expect(world.dma(a, rid === 'root' ? VA : 0x4000_0000n)).toBe(ofRid)
        seen.push(world.dma(a, VA, 64))
      }
      look()
      const added = world.root(64)
      const stores = world.watch(() => void a.set(64, added, null), look)
      look()
      expect(stores).toBeGreaterThanOrEqual(3)
      const isFresh = (one: string): boolean => one === world.page(64)
      expect(seen.slice(0, seen.findIndex(isFresh)).every((one) => one === 'C_BAD_SUBSTREAMID')).toBe(true)
      expect(seen.slice(seen.findIndex(isFresh)).every(isFresh)).toBe(true)
      expect((a as unknown as { lastSetWasHitless: boolean }).lastSetWasHitless).toBe(true)
    },
  )

  it('stores the first word of the STE once, and no other', () => {
    const world = new WindowWorld({}, {}, { pages: 3n })
    world.a.set(0, world.window, null)
    const before = world.ste(world.a)
    const states = new Set<string>()
    world.watch(
      () => void world.a.set(64, world.root(1), null),
      () => states.add(hex(world.ste(world.a)).join(' ')),
    )
    // S1Fmt 1 in bit 4, the second page of the window, S1CDMax 15 in [63:59].
    const after = [0x7800_0008_0000_101fn, ...before.slice(1)]
    expect([...states]).toEqual([hex(before).join(' '), hex(after).join(' ')])
    // L1CD: V in bit 0, L2Ptr in [55:12]. The first page is leaf 0, the third is leaf 1.
    expect(hex(world.words(world.behind(WINDOW_IPA + 0x1000n), 3))).toEqual(['800000001', '800002001', '0'])
  })
})

describe('a new leaf of two levels', () => {
  it('holds its CD before one store of its pointer makes it reachable', () => {
    const world = new WindowWorld({}, {}, { pages: 8n, caches: { policy: 'off' } })
    const { a } = world
    a.set(0, world.window, null)
    a.set(1, world.root(1), null)
    a.set(64, world.root(2), null)
    const seen: string[] = []
    world.watch(
      () => void a.set(200, world.root(3), null),
      () => {
        expect([world.dma(a, VA, 1), world.dma(a, VA, 64)]).toEqual([world.page(1), world.page(2)])
        seen.push(world.dma(a, VA, 200))
      },
    )
    expect(new Set(seen)).toEqual(new Set(['C_BAD_SUBSTREAMID', world.page(3)]))
    expect(seen.at(-1)).toBe(world.page(3))
    expect(world.window.freeBytes).toBe(4 * 4096)
  })

  it('is told to the unit, as a new shape of the table and a CD are [SMMU 4.3 Configuration structure invalidation]', () => {
    const world = new WindowWorld({}, {}, { pages: 8n })
    const { a } = world
    const [one, two] = [world.root(1), world.root(2)]
    a.set(0, world.window, null)
    // CFGI_STE (0x03) with Leaf of StreamID 8, and a hint to fetch it (0x01).
    expect(world.commandsOf(() => void a.set(64, one, null))).toEqual(['800000003 1', '800000001 0'])
    // CFGI_CD (0x05) of SSID 200, which takes its L1CD, too: Leaf is 0.
    expect(world.commandsOf(() => void a.set(200, two, null))).toEqual(['8000c8005 0'])
    // With Leaf twice: all but the first word, then that.
    expect(world.commandsOf(() => void a.set(201, two, null))).toEqual(['8000c9005 1', '8000c9005 1'])
    // Both again when it goes, first V and then the rest; its ASID, 2 under VMID 2, stays while a slot has it.
    expect(world.commandsOf(() => void a.clear(201, two))).toEqual(['8000c9005 1', '8000c9005 1'])
    expect(world.commandsOf(() => void a.clear(200, two)).at(-1)).toBe('2000200000011 0')
  })

  it('keeps its page when its CDs are cleared', () => {
    const world = new WindowWorld({}, {}, { pages: 3n })
    world.a.set(0, world.window, null)
    const root = world.root(1)
    world.a.set(64, root, null)
    world.a.clear(64, root)
    expect([world.window.freeBytes, world.dma(world.a, VA, 64)]).toEqual([0, 'C_BAD_CD'])
    world.a.set(127, root, null)
    expect(world.dma(world.a, VA, 127)).toBe(world.page(1))
  })
})

describe('growing level 1', () => {
  /**
   * PASID, pages of level 1 that it needs and S1CDMax then; pages that the call asks for: level 1 where it grows, and a
   * leaf where the old level 1 has left no page free.
   */
  const STEPS = [
    [64, 1, 15n, 2],
    [32_767, 1, 15n, 1],
    [32_768, 2, 16n, 3],
    [65_535, 2, 16n, 0],
    [65_536, 4, 17n, 5],
    [131_072, 8, 18n, 8],
    [262_144, 16, 19n, 16],
    [524_288, 32, 20n, 32],
    [1_048_575, 32, 20n, 0],
  ] as const

  it.each(POLICIES)(
    'to 2^20 PASIDs takes what it asks for, and earlier PASIDs go on at each store: caches %s',
    (policy) => {
      const world = new WindowWorld({}, {}, { caches: { policy } })
      const { a, window } = world
      a.set(0, window, null)
      a.set(63, world.root(0), null)
      const earlier: [pasid: number, k: number][] = [[63, 0]]
      let place = FAR
      for (const [i, [pasid, pages, maxLg2, asks]] of STEPS.entries()) {
        const root = world.root(i + 1)
        const { bytes, alignment } = asks === 0 ? NOTHING : asked(() => a.set(pasid, root, null))
        expect([bytes, alignment]).toEqual([asks * 4096, asks > 1 ? pages * 4096 : asks * 4096])
        if (bytes > 0) world.grow(window, place, BigInt(bytes / 4096))
        place += 0x100_0000n
        const look = (): void => {
          for (const [other, k] of earlier) expect(world.dma(a, VA, other)).toBe(world.page(k))
        }
        world.watch(() => void a.set(pasid, root, null), look)
        earlier.push([pasid, i + 1])
        look()
        const [shape] = world.ste(a)
        expect([shape >> 59n, (shape >> 4n) & 3n]).toEqual([maxLg2, 1n])
        // Aligned to its size: S1ContextPtr is bits [55:6].
        expect((shape & 0xff_ffff_ffff_ffc0n) % BigInt(pages * 4096)).toBe(0n)
      }
      expect(world.dma(a, VA, 1_048_574)).toBe('C_BAD_CD')
      expect(world.dma(a, VA, 1_000_000)).toBe('C_BAD_SUBSTREAMID')
    },
  )

  it('gives the old pages back to the window, zeroed before they are used again', () => {
    const world = new WindowWorld({}, {}, { pages: 3n })
    const { a, window } = world
    a.set(0, window, null)
    a.set(64, world.root(1), null)
    expect(window.freeBytes).toBe(0)
    // Two pages of level 1 and a leaf; the old level 1 becomes free.
    world.grow(window, FAR, 3n)
    a.set(40_000, world.root(2), null)
    expect(window.freeBytes).toBe(4096)
    a.set(128, world.root(3), null)
    expect(window.freeBytes).toBe(0)
    expect(world.dma(a, VA, 129)).toBe('C_BAD_CD')
    for (const [pasid, k] of [
      [64, 1],
      [40_000, 2],
      [128, 3],
    ]) {
      expect(world.dma(a, VA, pasid)).toBe(world.page(k))
    }
    // The old level 1 was the window's second page; it is the leaf of PASIDs 128 to 191 now.
    expect(hex([world.peek(world.behind(WINDOW_IPA + 0x1000n))])).not.toEqual(['800000001'])
  })
})

describe('a window without room', () => {
  /** A small generator, the same on every machine. */
  function* numbers(seed: number): Generator<number> {
    for (let state = seed; ; ) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      yield state / 2 ** 32
    }
  }

  it.each([1, 2, 3, 4, 5, 6, 7, 8])('names what is missing, and has room when that much came (seed %s)', (seed) => {
    const random = numbers(seed)
    const below = (limit: number): number => Math.floor((random.next().value as number) * limit)
    const world = new WindowWorld()
    const { a, window } = world
    const root = world.root(1)
    a.set(0, window, null)
    let place = FAR
    for (let step = 0; step < 12; step++) {
      // Some pages here and there, of which a level 1 of several pages may find none aligned.
      if (below(2) === 0) world.grow(window, place + BigInt(below(7)) * 4096n, BigInt(1 + below(5)))
      place += 0x100_0000n
      const pasid = 2 ** below(20) + below(2)
      if (pasid >= 2 ** 20) continue
      if (world.dma(a, VA, pasid) === world.page(1)) continue
      const before = window.freeBytes
      const { bytes, alignment } = asked(() => a.set(pasid, root, null))
      if (bytes === 0) continue
      expect(window.freeBytes).toBe(before)
      expect(place % BigInt(alignment)).toBe(0n)
      world.grow(window, place, BigInt(bytes / 4096))
      a.set(pasid, root, null)
      expect(world.dma(a, VA, pasid)).toBe(world.page(1))
      place += 0x100_0000n
    }
  })

  it.each([
    [0n, 64, 2, 4096],
    [1n, 64, 1, 4096],
    [0n, 32_768, 3, 8192],
    [1n, 32_768, 2, 8192],
    [2n, 65_536, 4, 16_384],
    [0n, 1_048_575, 33, 131_072],
  ])(
    'with %s pages free and PASID %s asks for %s pages, aligned to %s bytes; one page less is not enough',
    (free, pasid, pages, alignment) => {
      for (const isShort of [true, false]) {
        const world = new WindowWorld()
        const { a, window } = world
        a.set(0, window, null)
        // At an odd page, so that no two of them are aligned together.
        for (let i = 0n; i < free; i++) world.grow(window, FAR + (1n + i * 2n) * 4096n, 1n)
        const root: UserOps = world.root(1)
        expect(asked(() => a.set(pasid, root, null))).toEqual({ bytes: pages * 4096, alignment })
        world.grow(window, FAR * 2n, BigInt(isShort ? pages - 1 : pages))
        expect(asked(() => a.set(pasid, root, null)).bytes > 0).toBe(isShort)
      }
    },
  )

  it('changes nothing when it refuses', () => {
    const world = new WindowWorld()
    const { a, window } = world
    a.set(0, window, null)
    a.set(1, world.root(1), null)
    const before = [world.ste(a), world.words(world.behind(WINDOW_IPA), 512)]
    expect(asked(() => a.set(64, world.root(2), null)).bytes).toBe(8192)
    expect([world.ste(a), world.words(world.behind(WINDOW_IPA), 512)]).toEqual(before)
    expect([window.freeBytes, world.dma(a, VA, 1)]).toEqual([0, world.page(1)])
  })
})

describe('a unit with', () => {
  it('no two-level CD tables (IDR0.CD2L 0) has 64 PASIDs in a window, and says why', () => {
    // IDR0.CD2L is bit 19.
    const world = new WindowWorld({ IDR0: PRESETS.default.IDR0 & ~(1 << 19) }, {}, { pages: 8n })
    world.a.set(0, world.window, null)
    world.a.set(63, world.root(1), null)
    try {
      world.a.set(64, world.root(2), null)
      expect.unreachable()
    } catch (error) {
      expect([(error as Refusal).name, (error as Refusal).message]).toEqual(['EINVAL', expect.stringContaining('CD2L')])
    }
    expect(world.dma(world.a, VA, 63)).toBe(world.page(1))
  })

  it('fewer PASIDs than a page of CDs says so in S1CDMax, and grows no further than it has', () => {
    // IDR1.SSIDSIZE is bits 10:6.
    const idr1 = (bits: number): number => (PRESETS.default.IDR1 & ~(31 << 6)) | (bits << 6)
    const small = new WindowWorld({ IDR1: idr1(3) })
    small.a.set(0, small.window, null)
    expect(small.ste(small.a)[0] >> 59n).toBe(3n)
    small.a.set(7, small.root(1), null)
    expect(small.dma(small.a, VA, 7)).toBe(small.page(1))
    const middle = new WindowWorld({ IDR1: idr1(8) }, {}, { pages: 3n })
    middle.a.set(0, middle.window, null)
    middle.a.set(255, middle.root(1), null)
    expect(middle.ste(middle.a)[0] >> 59n).toBe(8n)
    expect(middle.dma(middle.a, VA, 255)).toBe(middle.page(1))
  })

  it('no PASIDs, or no forced write-back, has no windows: EOPNOTSUPP', () => {
    const name = (make: () => unknown): string => {
      try {
        make()
      } catch (error) {
        return (error as Refusal).name
      }
      return 'made'
    }
    expect(name(() => new WindowWorld({ IDR1: PRESETS.default.IDR1 & ~(31 << 6) }))).toBe('EOPNOTSUPP')
    // IDR3.FWB is bit 8.
    const noFwb = { IDR3: PRESETS.default.IDR3 & ~(1 << 8) }
    expect(name(() => new WindowWorld(noFwb))).toBe('EOPNOTSUPP')
    expect(name(() => new WindowWorld(noFwb, { canwbs: true }))).toBe('made')
  })
})
