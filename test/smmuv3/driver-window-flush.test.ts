import { beforeEach, describe, expect, it } from 'vitest'
import { PRESETS } from '../../hw-model/smmuv3/index.js'
import { givenData, givenEntries, type SmmuRoot, type UserOps, type VtdInvalidation } from '../../server/core/driver.js'
import { PLAIN_ROOT, RAM_IPA, VA, WINDOW_IPA, WindowWorld } from './window-world.js'
import { GUEST_RAM, RW, refusal } from './world.js'

const EVERYTHING: VtdInvalidation = { addr: 0n, npages: 2n ** 64n - 1n, flags: 0 }
const LEAF = 1
/** A page: accessed, not global, inner shareable, AP read-write; and the same for every ASID. */
const PAGE = 0xf43n
const GLOBAL_PAGE = 0x743n

let world: WindowWorld
beforeEach(() => {
  world = new WindowWorld({}, {}, { pages: 3n, caches: { policy: 'greedy' } })
  world.a.set(0, world.window, null)
})

/** Tables of two levels, with pages of 4, 16 or 64 KiB, in the guest's RAM. */
class Tables {
  readonly data: SmmuRoot
  readonly pageBytes: number
  readonly #leaves: number

  /** @param at a multiple of 1 MiB in the guest's RAM; @param tg0 0, 1, 2 for 4, 64 and 16 KiB */
  constructor(at: number, tg0: number, attributes = PAGE) {
    const granuleLg2 = [12, 16, 14][tg0]
    this.pageBytes = 2 ** granuleLg2
    this.#leaves = GUEST_RAM + at + this.pageBytes
    world.poke(GUEST_RAM + at, (RAM_IPA + BigInt(at + this.pageBytes)) | 3n)
    // Two levels of eight-byte entries.
    this.data = { ...PLAIN_ROOT, tg0, t0sz: 64 - (granuleLg2 + 2 * (granuleLg2 - 3)), ttb0: RAM_IPA + BigInt(at) }
    for (let page = 0; page < 64; page++) this.point(page, page, attributes)
  }

  /** Where a page leads: to the granule of that number from 512 MiB on. */
  point(page: number, to: number, attributes = PAGE): void {
    const target = RAM_IPA + 0x2000_0000n + BigInt(to * this.pageBytes)
    world.poke(this.#leaves + page * 8, target | attributes)
  }

  /** Which granule an access arrives in. */
  read(pasid: number, page: number, offset = 0): number {
    const text = world.dma(world.a, BigInt(page * this.pageBytes + offset), pasid)
    return (Number.parseInt(text.slice(3), 16) - offset - GUEST_RAM - 0x2000_0000) / this.pageBytes
  }
}

const rootOf = (tables: Tables): UserOps => world.window.createUserDomain(world.a, givenData('smmuv3_pgd', tables.data))

describe.each([
  ['4 KiB', 0],
  ['64 KiB', 1],
  ['16 KiB', 2],
] as const)('an invalidation with pages of %s', (_size, tg0) => {
  let tables: Tables
  let root: UserOps
  const at = (page: number): bigint => BigInt(page * tables.pageBytes)
  const pagesOf4K = (pages: number): bigint => BigInt((pages * tables.pageBytes) / 4096)
  /** Pages of 0 to 39 that lead elsewhere when all leaves have changed and `entry` was given. */
  const fresh = (entry: VtdInvalidation): number[] => {
    for (let page = 0; page < 40; page++) expect(tables.read(1, page)).toBe(page)
    for (let page = 0; page < 40; page++) tables.point(page, page + 100)
    expect(world.invalidate(root, entry)).toMatchObject({ done: 1, refusal: undefined })
    return Array.from({ length: 40 }, (_, page) => page).filter((page) => tables.read(1, page) === page + 100)
  }

  beforeEach(() => {
    tables = new Tables(0x10_0000, tg0)
    root = rootOf(tables)
    world.a.set(1, root, null)
  })

  it.each([
    [7, 1],
    [3, 2],
    [8, 8],
    [1, 31],
    [0, 32],
    [5, 33],
  ])('from page %i on reaches %i of them, and no other', (first, pages) => {
    const reached = Array.from({ length: pages }, (_, i) => first + i)
    expect(fresh({ addr: at(first), npages: pagesOf4K(pages), flags: LEAF })).toEqual(reached)
  })

  it('of any part of a page reaches all of it', () => {
    expect(fresh({ addr: at(4) - 4096n, npages: 2n, flags: LEAF })).toEqual([3, 4])
  })

  it('of nothing reaches nothing', () => {
    expect(fresh({ addr: at(4), npages: 0n, flags: 0 })).toEqual([])
  })

  it.each([EVERYTHING, { ...EVERYTHING, npages: 0n }])('of everything reaches everything: %o', (entry) => {
    expect(fresh(entry)).toEqual(Array.from({ length: 40 }, (_, page) => page))
  })

  it('beyond the end of what TTB0 serves is cut off there', () => {
    expect(fresh({ addr: at(38), npages: 2n ** 51n, flags: LEAF })).toEqual([38, 39])
  })

  it('reaches each piece of 4 KiB that the parent maps a page by', () => {
    // Stage 2 in pages, so that the TLB holds pieces of what software names with one address.
    const piece = RAM_IPA + 0x6000_0000n
    world.parent.map(piece, GUEST_RAM + 0x2f00_0000, BigInt(tables.pageBytes), RW, true)
    const leaf = GUEST_RAM + 0x10_0000 + tables.pageBytes + 9 * 8
    world.poke(leaf, piece | PAGE)
    const pieces = tables.pageBytes / 4096
    const offsets = Array.from({ length: pieces }, (_, i) => i * 4096)
    for (const offset of offsets) expect(tables.read(1, 9, offset)).toBe(0xf00_0000 / tables.pageBytes)
    tables.point(9, 9)
    world.invalidate(root, { addr: at(9), npages: 1n, flags: LEAF })
    for (const offset of offsets) expect(tables.read(1, 9, offset)).toBe(9)
  })

  it('with LEAF leaves table entries, and without it takes them, too', () => {
    const second = GUEST_RAM + 0x20_0000
    for (let page = 0; page < 40; page++) {
      world.poke(second + page * 8, (RAM_IPA + 0x2000_0000n + BigInt((page + 200) * tables.pageBytes)) | PAGE)
    }
    expect(tables.read(1, 2)).toBe(2)
    world.poke(GUEST_RAM + 0x10_0000, (RAM_IPA + 0x20_0000n) | 3n)
    world.invalidate(root, { addr: at(2), npages: 1n, flags: LEAF })
    expect(tables.read(1, 2)).toBe(2)
    world.invalidate(root, { addr: at(2), npages: 1n, flags: 0 })
    expect(tables.read(1, 2)).toBe(202)
  })
})

describe('the commands of an invalidation [SMMU 4.4.1.1 Range-based invalidation and level hint]', () => {
  const given = (tg0: number, entry: VtdInvalidation): string[] => {
    const root = rootOf(new Tables(0x10_0000, tg0))
    world.a.set(1, root, null)
    return world.commandsOf(() => void world.invalidate(root, entry))
  }

  it('name the window’s VMID, 2, and the root’s ASID, 1', () => {
    // TLBI_NH_ASID.
    expect(given(0, EVERYTHING)).toEqual(['1000200000011 0'])
  })

  it('are TLBI_NH_VA with the granule in TG, and without it for one page', () => {
    expect(given(0, { addr: 0x5000n, npages: 1n, flags: LEAF })).toEqual(['1000200000012 5001'])
    // 5 pages: NUM 4 in [16:12], SCALE 0, TG 1 in 75:74.
    expect(given(0, { addr: 0x5000n, npages: 5n, flags: 0 })).toEqual(['2000200004012 5400'])
  })

  it('have the address in pages of 4 KiB and the count in granules', () => {
    // Three pages of 64 KiB: TG 3, NUM 2.
    expect(given(1, { addr: 0x3_0000n, npages: 48n, flags: LEAF })).toEqual(['1000200002012 30c01'])
    // 32 and then one more of 16 KiB, the lowest first.
    expect(given(2, { addr: 0n, npages: 132n, flags: LEAF })).toEqual(['2000200000012 1', '2000200500012 4801'])
  })

  it('are one by one where the unit has no ranges, and all of the root for very many', () => {
    // IDR3.RIL is bit 10.
    world = new WindowWorld({ IDR3: PRESETS.default.IDR3 & ~(1 << 10) })
    world.a.set(0, world.window, null)
    expect(given(0, { addr: 0x5000n, npages: 2n, flags: 0 })).toEqual(['1000200000012 5000', '1000200000012 6000'])
    expect(given(1, { addr: 0n, npages: 17n, flags: 0 })).toEqual(['2000200000012 0', '2000200000012 10000'])
    expect(given(0, { addr: 0n, npages: 513n, flags: 0 })).toEqual(['3000200000011 0'])
  })
})

describe('an array of invalidations', () => {
  it('stops at the first that is refused; those before it were carried out', () => {
    const tables = new Tables(0x10_0000, 0)
    const root = rootOf(tables)
    world.a.set(1, root, null)
    const good = { addr: 0x1000n, npages: 1n, flags: 0 }
    const result = (bad: Partial<VtdInvalidation>): unknown[] => {
      const { done, refusal: why } = world.invalidate(root, good, { ...good, ...bad }, good)
      return [done, why?.name, why?.context['index']]
    }
    expect(result({ flags: 2 })).toEqual([1, 'EOPNOTSUPP', 1])
    expect(result({ addr: 0x1001n })).toEqual([1, 'EINVAL', 1])
    expect(result({ npages: 2n ** 64n - 1n })).toEqual([1, 'EINVAL', 1])
    tables.read(1, 1)
    tables.point(1, 50)
    expect(tables.read(1, 1)).toBe(1)
    world.invalidate(root, good, { ...good, flags: 2 })
    expect(tables.read(1, 1)).toBe(50)
  })

  it('of another type is EINVAL, and the other way round', () => {
    const root = rootOf(new Tables(0x10_0000, 0))
    const commands = givenEntries('smmuv3', [{ dw0: 0x30n, dw1: 0n }])
    expect(refusal(() => root.invalidate?.(commands, 0, 1))).toBe('EINVAL')
    expect(refusal(() => root.invalidate?.(givenEntries('vtd_s1', [EVERYTHING]), 0, 1))).toBe('EINVAL')
    const viommu = world.driver.createViommu(world.a, world.parent)
    expect(refusal(() => viommu.invalidate?.(givenEntries('smmuv3_pgd', [EVERYTHING]), 0, 1))).toBe('EINVAL')
  })

  it('gives no command while the root is nowhere', () => {
    const root = rootOf(new Tables(0x10_0000, 0))
    expect(world.commandsOf(() => expect(world.invalidate(root, EVERYTHING).done).toBe(1))).toEqual([])
  })
})

describe('leaves for every ASID (nG = 0)', () => {
  it('are reached by a range and not by everything, which is a root’s own [SMMU 4.4.2.2 CMD_TLBI_NH_ASID]', () => {
    const tables = new Tables(0x10_0000, 0, GLOBAL_PAGE)
    const root = rootOf(tables)
    world.a.set(1, root, null)
    expect(tables.read(1, 3)).toBe(3)
    tables.point(3, 30, GLOBAL_PAGE)
    world.invalidate(root, EVERYTHING)
    expect(tables.read(1, 3)).toBe(3)
    world.invalidate(root, { addr: 0x3000n, npages: 1n, flags: LEAF })
    expect(tables.read(1, 3)).toBe(30)
  })
})

describe('equal ASIDs on one parent', () => {
  const GUEST_VA = VA

  /** A guest with a CD table of its own, ASID 1, on the device `b`, whose VA leads to page 0x20000. */
  function guest(): { readonly page: string; moved(): string } {
    const viommu = world.driver.createViommu(world.b, world.parent)
    viommu.addVdevice(world.b, 7n)
    const { ttb0 } = world.rootData(900)
    world.pointTo(900, 0x20000)
    const cds = 0x80_0000
    // T0SZ 25, IR0, OR0, SH0, EPD1, V; IPS 4, AA64, R, A, ASET, ASID 1.
    world.poke(GUEST_RAM + cds, 0x0001_e204_c000_3519n)
    world.poke(GUEST_RAM + cds + 8, ttb0)
    world.poke(GUEST_RAM + cds + 24, 0xffn)
    const data = givenData('smmuv3_ste', { ste0: (RAM_IPA + BigInt(cds)) | 0xbn, ste1: 0n })
    world.b.set(0, viommu.createUserDomain(world.b, data, { pasid: false }), null)
    const arrives = (frame: number): string => `ok ${(GUEST_RAM + frame * 4096).toString(16)}`
    return {
      page: arrives(0x20000),
      moved: () => {
        world.pointTo(900, 0x20001)
        return arrives(0x20001)
      },
    }
  }

  it('do not meet in the TLB: a guest’s, and those of two windows', () => {
    const c = world.driver.probe({ rid: 9, pasidLg2: 8, ats: false, pri: false })
    const second = world.makeWindow(WINDOW_IPA + 0x10_0000n, 1n)
    const own = guest()
    const one = world.root(1)
    const two = second.createUserDomain(c, givenData('smmuv3_pgd', world.rootData(2)))
    world.a.set(3, one, null)
    c.set(0, second, null)
    c.set(3, two, null)
    for (let round = 0; round < 2; round++) {
      expect(world.dma(world.b, GUEST_VA)).toBe(own.page)
      expect(world.dma(world.a, VA, 3)).toBe(world.page(1))
      expect(world.dma(c, VA, 3)).toBe(world.page(2))
    }
    // The guest's ASID is 1, and so are the first of each window.
    for (const k of [1, 2]) world.pointTo(k, 0x30000 + k)
    const moved = own.moved()
    world.invalidate(one, EVERYTHING)
    expect(world.dma(world.a, VA, 3)).toBe(`ok ${(GUEST_RAM + 0x30001 * 4096).toString(16)}`)
    expect([world.dma(c, VA, 3), world.dma(world.b, GUEST_VA)]).toEqual([world.page(2), own.page])
    world.invalidate(two, { addr: VA, npages: 1n, flags: 0 })
    expect(world.dma(c, VA, 3)).toBe(`ok ${(GUEST_RAM + 0x30002 * 4096).toString(16)}`)
    expect(world.dma(world.b, GUEST_VA)).toBe(own.page)
    // What the parent flushes is flushed under the guest's VMID, too.
    world.parent.map(0x9_0000_0000n, GUEST_RAM, 0x1000n, RW)
    world.parent.unmap(0x9_0000_0000n, 0x1000n)
    world.parent.flush()
    expect(world.dma(world.b, GUEST_VA)).toBe(moved)
  })

  it('two roots of a window have different ones, and the next takes what was freed', () => {
    const asid = (pasid: number): bigint => world.peek(world.behind(WINDOW_IPA + BigInt(pasid * 64))) >> 48n
    const [one, two] = [world.root(1), world.root(2)]
    world.a.set(1, one, null)
    world.a.set(2, two, null)
    expect([asid(1), asid(2)]).toEqual([1n, 2n])
    expect(world.dma(world.a, VA, 1)).toBe(world.page(1))
    world.a.clear(1, one)
    one.destroy()
    const three = world.root(3)
    world.a.set(5, three, null)
    expect(asid(5)).toBe(1n)
    expect(world.dma(world.a, VA, 5)).toBe(world.page(3))
  })
})

describe('what the parent unmaps', () => {
  it('is gone for roots, for their tables, and for what bypasses stage 1', () => {
    const extra = 0x9_0000_0000n
    world.parent.map(extra, GUEST_RAM + 0x3000_0000, 0x1000n, RW)
    const root = world.root(1)
    world.a.set(1, root, null)
    world.poke(GUEST_RAM + 0x100_0000 + 0x3000 + 0x2000 + 16, extra | PAGE)
    expect(world.dma(world.a, 0x2000n, 1)).toBe('ok 10030000000')
    expect(world.dma(world.a, extra)).toBe('ok 10030000000')
    world.parent.unmap(extra, 0x1000n)
    expect(world.dma(world.a, 0x2000n, 1)).toBe('ok 10030000000')
    world.parent.flush()
    expect([world.dma(world.a, 0x2000n, 1), world.dma(world.a, extra)]).toEqual(['F_TRANSLATION', 'F_TRANSLATION'])
    expect(world.events.every(({ isStageTwo }) => isStageTwo)).toBe(true)
    expect(world.dma(world.a, VA, 1)).toBe(world.page(1))
    world.parent.unmap(RAM_IPA, 0x4000_0000n)
    world.parent.flush()
    expect([world.dma(world.a, VA, 1), world.dma(world.a, RAM_IPA)]).toEqual(['F_TRANSLATION', 'F_TRANSLATION'])
  })

  it('is flushed under its own VMID and that of each window on a device: S2_IPA, a SYNC, then NH_ALL', () => {
    world.b.set(0, world.makeWindow(WINDOW_IPA + 0x10_0000n, 1n), null)
    world.makeWindow(WINDOW_IPA + 0x20_0000n, 1n)
    world.parent.map(0x9_0000_0000n, GUEST_RAM, 0x1000n, RW)
    world.parent.map(0x9_0000_1000n, GUEST_RAM, 0x1000n, RW)
    world.parent.unmap(0x9_0000_0000n, 0x1000n)
    const opcodes = world
      .commandsOf(() => void world.parent.flush())
      .map((text) => {
        const word = BigInt(`0x${text.split(' ')[0]}`)
        return [(word & 0xffn).toString(16), (word >> 32n) & 0xffffn]
      })
    // VMID 1 is the parent's, 2 and 3 the windows'.
    expect(opcodes).toEqual([
      ['2a', 1n],
      ['2a', 2n],
      ['2a', 3n],
      ['10', 1n],
      ['10', 2n],
      ['10', 3n],
    ])
  })
})

describe('Explain of a DMA through a root', () => {
  it('names the call that its owner has not given, and nothing once it was', () => {
    const root = world.root(1)
    world.a.set(1, root, null)
    world.a.set(0, root, world.window)
    const missing = (pasid: number): string => world.a.port.missing(pasid, Number(VA), 0, 1)
    for (const pasid of [1, -1]) {
      expect(world.dma(world.a, VA, pasid)).toBe(world.page(1))
      expect(missing(pasid)).toBe('')
    }
    world.pointTo(1, 0x50000)
    expect([missing(1), missing(-1)]).toEqual(Array(2).fill('smmuv3_pgd addr=0x1000 npages=1 on the user domain'))
    world.invalidate(root, { addr: VA, npages: 1n, flags: LEAF })
    expect([missing(1), missing(-1)]).toEqual(['', ''])
  })
})
