/**
 * The paging-structure caches, with no IOTLB above them. An entry that leads to a table of pages is made to lead to
 * another one: who still comes out at the old page walks by what was kept. [VTD 6.2.5, 6.5.2.3 T23, 6.5.2.4 T24]
 */

import { describe, expect, it } from 'vitest'
import { FS, Guest, IQ, MODE, REG, SID, SS } from './guest.js'

const NO_IOTLB = { iotlb: { entries: 0, ways: 1 } } as const
const PAGE = 0x40_0000n
/** Shares no entry with PAGE, at any level. */
const FAR = (1n << 39n) | (1n << 30n) | (5n << 21n) | 0x7000n
/** Second-stage tables of domain 3 map the guest's own tables one to one from here. */
const FIRST = 0x100000
const GUEST_FIRST = 0x120000
const SECOND = 0x140000
const OTHER_SECOND = 0x160000

const OLD = 0x30_0000n
const NEW = 0x70_1000n

interface Plant {
  readonly pasid: number
  readonly iova: bigint
  /** The tree whose entry changes, its flags, and the page below it as that stage names it. */
  readonly root: number
  readonly flags: bigint
}

const first = (pasid: number, iova: bigint, root = FIRST): Plant => ({ pasid, iova, root, flags: FS.TABLE })
const second = (pasid: number, iova: bigint, root = SECOND): Plant => ({ pasid, iova, root, flags: SS.RW })

const PLANTS: Readonly<Record<string, Plant>> = {
  'FS 2/1': first(1, PAGE),
  'FS 2/1 far': first(1, FAR),
  'FS 2/2': first(2, PAGE),
  'FS 6/5': first(5, PAGE),
  'NE 3/3': first(3, PAGE, GUEST_FIRST),
  'NE 3/3 far': first(3, FAR, GUEST_FIRST),
  'SS 3/4': second(4, PAGE),
  'SS 3/4 far': second(4, FAR),
  'SS 7/6': second(6, PAGE, OTHER_SECOND),
}
const NAMES = Object.keys(PLANTS)

const leafOf = ({ flags }: Plant, page: bigint): bigint => page | (flags === SS.RW ? SS.RW : FS.PAGE)

/** Every plant walked once, through tables that then lead elsewhere. */
function planted(caches: object = {}): Guest {
  const guest = new Guest({ caches: { ...NO_IOTLB, ...caches } })
  guest.startScalable()
  guest.startQueue()
  for (const plant of Object.values(PLANTS)) guest.path(plant.root, plant.iova, leafOf(plant, OLD), plant.flags)
  for (let pa = GUEST_FIRST; pa < GUEST_FIRST + 0x8000; pa += 0x1000) oneToOne(guest, BigInt(pa))
  oneToOne(guest, OLD)
  oneToOne(guest, NEW)
  guest.firstStage(1, 2, FIRST)
  guest.firstStage(2, 2, FIRST)
  guest.firstStage(5, 6, FIRST)
  guest.nested(3, 3, GUEST_FIRST, SECOND)
  guest.secondStage(4, 3, SECOND)
  guest.secondStage(6, 7, OTHER_SECOND)
  for (const { pasid, iova } of Object.values(PLANTS)) expect(guest.dma(iova, 'r', pasid)).toBe('0x300000')
  for (const plant of Object.values(PLANTS)) moveTable(guest, plant)
  return guest
}

const oneToOne = (guest: Guest, pa: bigint): void => guest.path(SECOND, pa, pa | SS.RW, SS.RW)

/** The entry above the pages leads to another table. */
function moveTable(guest: Guest, plant: Plant): void {
  const { root, iova, flags } = plant
  guest.store(root + 0x2000 + Number((iova >> 21n) & 511n) * 8, BigInt(root + 0x4000) | flags)
  guest.store(root + 0x4000 + Number((iova >> 12n) & 511n) * 8, leafOf(plant, NEW))
}

/** The plants that walk through the new table. */
const fresh = (guest: Guest): string[] =>
  NAMES.filter((name) => guest.dma(PLANTS[name].iova, 'r', PLANTS[name].pasid) === '0x701000')

const after = (...descriptors: readonly (readonly [bigint, bigint?])[]): string[] => {
  const guest = planted()
  guest.queue(...descriptors)
  return fresh(guest)
}

const OF_3 = ['NE 3/3', 'NE 3/3 far', 'SS 3/4', 'SS 3/4 far']

describe('paging-structure entries', () => {
  it('are walked by until they are invalidated, and without the caches the new ones are', () => {
    expect(after()).toEqual([])
    expect(fresh(planted({ walk1: NO_IOTLB.iotlb, walk2: NO_IOTLB.iotlb }))).toEqual(NAMES)
    expect(fresh(planted({ walk1: NO_IOTLB.iotlb }))).toEqual(NAMES.filter((name) => !name.startsWith('SS')))
    expect(fresh(planted({ walk2: NO_IOTLB.iotlb }))).toEqual(NAMES.filter((name) => name.startsWith('SS')))
  })

  const rows: readonly [string, readonly (readonly [bigint, bigint?])[], readonly string[]][] = [
    ['stay, by context and PASID caches', [IQ.contextsAll, IQ.pasidsAll], []],
    ['all go, by IOTLB global', [IQ.iotlbAll], NAMES],
    ['of a domain go, of either stage, by IOTLB domain', [IQ.iotlbDomain(3)], OF_3],
    ['of a domain without second stage go, by IOTLB domain', [IQ.iotlbDomain(2)], ['FS 2/1', 'FS 2/1 far', 'FS 2/2']],
    [
      'of the second stage go in range, of the first all of the domain, by IOTLB page',
      [IQ.iotlbPage(3, PAGE)],
      ['NE 3/3', 'NE 3/3 far', 'SS 3/4'],
    ],
    ['go by any page below them', [IQ.iotlbPage(3, PAGE + 0x1ff000n)], ['NE 3/3', 'NE 3/3 far', 'SS 3/4']],
    ['stay, with a page beside what they cover', [IQ.iotlbPage(3, PAGE + 0x200000n)], ['NE 3/3', 'NE 3/3 far']],
    ['of the second stage stay, by IOTLB page with IH', [IQ.iotlbPage(3, PAGE, IQ.IH)], ['NE 3/3', 'NE 3/3 far']],
    [
      'of the first stage go without second stage too, by IOTLB page',
      [IQ.iotlbPage(2, FAR, IQ.IH)],
      ['FS 2/1', 'FS 2/1 far', 'FS 2/2'],
    ],
    ['of the first stage go, by PIOTLB', [IQ.piotlb(2, 1)], ['FS 2/1', 'FS 2/1 far']],
    ['of a nested walk go by PIOTLB, and those of the second stage stay', [IQ.piotlb(3, 3)], ['NE 3/3', 'NE 3/3 far']],
    ['of the second stage stay, by PIOTLB', [IQ.piotlb(3, 4)], []],
    ['of the first stage go in range, by PIOTLB page', [IQ.piotlbPage(2, 1, PAGE + 0x1000n)], ['FS 2/1']],
    ['of a nested walk go in range, by PIOTLB page', [IQ.piotlbPage(3, 3, FAR)], ['NE 3/3 far']],
    ['stay, by PIOTLB page with IH', [IQ.piotlbPage(2, 1, PAGE, IQ.IH), IQ.piotlbPage(3, 3, PAGE, IQ.IH)], []],
    ['of the second stage stay, by PIOTLB page', [IQ.piotlbPage(3, 4, PAGE)], []],
    ['of other domains and PASIDs stay', [IQ.piotlb(3, 1), IQ.piotlb(2, 3), IQ.iotlbDomain(4)], []],
  ]
  it.each(rows)('%s', (_, descriptors, gone) => {
    expect(after(...descriptors)).toEqual(gone)
  })

  it('all go by SRTP with ESRTPS, and when translation goes off', () => {
    const again = planted()
    again.start(MODE.SCALABLE)
    expect(fresh(again)).toEqual(NAMES)
    const off = planted()
    off.stop()
    off.start(MODE.SCALABLE)
    expect(fresh(off)).toEqual(NAMES)
  })
})

describe('a paging-structure entry', () => {
  it('is shared by the devices of a domain, as no translation is', () => {
    const guest = planted()
    const other = SID + 1
    for (const sid of [other]) guest.store(guest.context + (sid - SID) * 32, BigInt(guest.directory) | 9n, 0n, 0n, 0n)
    expect(guest.dma(PAGE, 'r', 4, other)).toBe('0x300000')
    expect(guest.dma(PAGE, 'r', 1, other)).toBe('0x300000')
    // The same tables under another domain-id are other entries.
    guest.secondStage(9, 8, SECOND)
    guest.firstStage(10, 2, FIRST)
    expect([guest.dma(PAGE, 'r', 9), guest.dma(PAGE, 'r', 10)]).toEqual(['0x701000', '0x701000'])
  })

  it('of a nested walk holds where the next table really is, and survives until the second stage is invalidated', () => {
    const guest = new Guest({ caches: NO_IOTLB })
    guest.startScalable()
    guest.startQueue()
    guest.path(GUEST_FIRST, PAGE, OLD | FS.PAGE, FS.TABLE)
    for (let step = 0; step < 4; step++) oneToOne(guest, BigInt(GUEST_FIRST + step * 0x1000))
    oneToOne(guest, OLD)
    oneToOne(guest, NEW)
    guest.nested(3, 3, GUEST_FIRST, SECOND)
    expect(guest.dma(PAGE, 'r', 3)).toBe('0x300000')
    // The second stage moves the table of pages to where another page stands.
    const moved = GUEST_FIRST + 0x6000
    guest.store(moved, NEW | FS.PAGE)
    guest.path(SECOND, BigInt(GUEST_FIRST + 0x3000), BigInt(moved) | SS.RW, SS.RW)
    expect(guest.dma(PAGE, 'r', 3)).toBe('0x300000')
    guest.queue(IQ.piotlbPage(3, 3, PAGE, IQ.IH), IQ.piotlbPage(3, 4, PAGE))
    expect(guest.dma(PAGE, 'r', 3)).toBe('0x300000')
    guest.queue(IQ.iotlbPage(3, 0x9_0000_0000n, IQ.IH))
    expect(guest.dma(PAGE, 'r', 3)).toBe('0x701000')
  })

  it('is kept though nothing is mapped below it', () => {
    const guest = new Guest({ caches: NO_IOTLB })
    guest.startScalable()
    guest.startQueue()
    guest.path(FIRST, PAGE, 0n, FS.TABLE)
    guest.firstStage(1, 2, FIRST)
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x71')
    moveTable(guest, PLANTS['FS 2/1'])
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x71')
    guest.queue(IQ.piotlbPage(2, 1, PAGE, IQ.IH))
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x71')
    guest.queue(IQ.piotlbPage(2, 1, PAGE))
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x701000')
  })

  it('has no part in legacy mode but the second stage', () => {
    const guest = new Guest({ preset: 'vtd-legacy', caches: NO_IOTLB })
    guest.store(0x1000, 0x2001n, 0n)
    for (const [sid, did] of [
      [SID, 3n],
      [SID + 1, 3n],
      [SID + 2, 4n],
    ] as const) {
      guest.store(0x2000 + sid * 16, BigInt(SECOND) | 1n, 2n | (did << 8n))
    }
    guest.path(SECOND, PAGE, OLD | SS.RW, SS.RW)
    guest.start(MODE.LEGACY)
    expect(guest.dma(PAGE)).toBe('0x300000')
    moveTable(guest, PLANTS['SS 3/4'])
    const all = (): string[] => [SID, SID + 1, SID + 2].map((sid) => guest.dma(PAGE, 'r', -1, sid))
    expect(all()).toEqual(['0x300000', '0x300000', '0x701000'])
    const byRegister = (iva: bigint): void => {
      guest.write(REG.IVA, iva, 8)
      guest.write(REG.IOTLB, 0xb000_0003_0000_0000n, 8)
    }
    byRegister(PAGE | IQ.IH)
    expect(all()[0]).toBe('0x300000')
    byRegister(PAGE)
    expect(all()[0]).toBe('0x701000')
  })
})

describe('a walk that starts below a kept entry', () => {
  /** Two pages under one table of pages; the second is walked with the first one's entries. */
  function pair(flags: bigint, leaf: bigint, entry: bigint): Guest {
    const guest = new Guest({ caches: NO_IOTLB })
    guest.startScalable(0x9n)
    guest.path(FIRST, PAGE, OLD | leaf, flags)
    guest.store(FIRST + 0x3008, NEW | leaf)
    guest.store(0x5000 + 64, BigInt(FIRST) | entry, 2n | (1n << 23n), BigInt(FIRST))
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x300000')
    return guest
  }

  it('sets A, EA and D of the entries that it reads, and needs no others', () => {
    const guest = new Guest({ caches: NO_IOTLB })
    guest.startScalable()
    guest.path(FIRST, PAGE, OLD | FS.P | FS.RW | FS.US, FS.P | FS.RW | FS.US)
    guest.store(FIRST + 0x3008, NEW | FS.P | FS.RW | FS.US)
    // EAFE is bit 135.
    guest.store(0x5000 + 64, 0x41n, 2n | (1n << 23n), BigInt(FIRST) | 0x80n)
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x300000')
    expect(guest.load(FIRST) & 0x460n).toBe(0x420n)
    // What software clears above the kept entry is not set again before it is invalidated.
    guest.store(FIRST, guest.load(FIRST) & ~0x420n)
    expect(guest.dma(PAGE + 0x1000n, 'w', 1)).toBe('0x701000')
    expect([guest.load(FIRST) & 0x460n, guest.load(FIRST + 0x3008) & 0x460n]).toEqual([0n, 0x460n])
    guest.startQueue()
    guest.queue(IQ.piotlbPage(2, 1, PAGE))
    expect(guest.dma(PAGE + 0x1000n, 'r', 1)).toBe('0x701000')
    expect(guest.load(FIRST) & 0x460n).toBe(0x420n)
  })

  it('has the rights that the levels above left', () => {
    const readOnly = pair(FS.P | FS.US | FS.A, FS.PAGE, 0x41n)
    expect(readOnly.dma(PAGE + 0x1000n, 'w', 1)).toBe('fault 0x85')
    const supervisor = new Guest({ caches: NO_IOTLB })
    supervisor.startScalable()
    supervisor.path(FIRST, PAGE, OLD | FS.PAGE, FS.P | FS.RW | FS.A)
    supervisor.store(FIRST + 0x3008, NEW | FS.PAGE)
    // SRE is bit 128.
    supervisor.store(0x5000 + 64, 0x41n, 2n | (1n << 23n), BigInt(FIRST) | 1n)
    expect(supervisor.dma(PAGE, 'rp', 1)).toBe('0x300000')
    expect(supervisor.dma(PAGE + 0x1000n, 'r', 1)).toBe('fault 0x81')
    expect(supervisor.dma(PAGE + 0x1000n, 'wp', 1)).toBe('0x701000')
    const second = pair(SS.R, SS.RW, 0x89n)
    expect(second.dma(PAGE + 0x1000n, 'w', 1)).toBe('fault 0x85')
  })

  it('sets flags of a guest table where the second stage lets it be written, and faults where it does not', () => {
    const nested = (rights: bigint): Guest => {
      const guest = new Guest({ caches: NO_IOTLB })
      guest.startScalable()
      guest.startQueue()
      guest.path(GUEST_FIRST, PAGE, OLD | FS.PAGE, FS.TABLE)
      guest.store(GUEST_FIRST + 0x3008, NEW | FS.P | FS.RW | FS.US)
      for (let step = 0; step < 4; step++) {
        const table = BigInt(GUEST_FIRST + step * 0x1000)
        guest.path(SECOND, table, table | rights, SS.RW)
      }
      oneToOne(guest, OLD)
      oneToOne(guest, NEW)
      guest.nested(3, 3, GUEST_FIRST, SECOND)
      expect(guest.dma(PAGE, 'r', 3)).toBe('0x300000')
      return guest
    }
    const writable = nested(SS.RW)
    expect(writable.dma(PAGE + 0x1000n, 'w', 3)).toBe('0x701000')
    expect(writable.load(GUEST_FIRST + 0x3008) & 0x60n).toBe(0x60n)
    const readOnly = nested(SS.R)
    expect(readOnly.dma(PAGE + 0x1000n, 'r', 3)).toBe('fault 0x77')
    // The second stage is asked again for what the kept entry does not allow.
    readOnly.path(SECOND, BigInt(GUEST_FIRST + 0x3000), BigInt(GUEST_FIRST + 0x3000) | SS.RW, SS.RW)
    expect(readOnly.dma(PAGE + 0x1000n, 'r', 3)).toBe('0x701000')
  })

  it('meets a table that leads to itself', () => {
    const guest = new Guest({ caches: NO_IOTLB })
    guest.startScalable()
    guest.store(GUEST_FIRST, BigInt(GUEST_FIRST) | FS.PAGE)
    oneToOne(guest, BigInt(GUEST_FIRST))
    guest.nested(3, 3, GUEST_FIRST, SECOND)
    expect([guest.dma(0x10n, 'r', 3), guest.dma(0x20n, 'r', 3)]).toEqual(['0x120010', '0x120020'])
  })
})
