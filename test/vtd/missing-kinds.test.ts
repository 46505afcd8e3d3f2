/** Which descriptor is named for which forgotten invalidation, one kind after the other. [VTD 6.5.3.3, T28] */

import { describe, expect, it } from 'vitest'
import { ACCESS, type Invalidation, NO_PASID, Transaction } from '../../hw-model/port.js'
import type { CacheOptions } from '../../hw-model/vtd/index.js'
import { FS, Guest, IQ, MODE, PASIDS, SID, SS } from './guest.js'

const PAGE = 0x40_0000n
const NEXT = PAGE + 0x1000n
const FIRST = 0x100000
const SECOND = 0x140000
const OTHER = 0x180000
/** Guest-physical pages of a nested domain. */
const GUEST = 0x30_8000n
const MOVED = 0x30_9000n
const OFF = { entries: 0, ways: 1 } as const
const CACHING = { ids: { CAP: [0x226f0686, 0x81d2078c] }, caches: { policy: 'greedy' } } as const

const at = (address: bigint): readonly [number, number] => [Number(address & 0xffff_ffffn), Number(address >> 32n)]
const oneToOne = (guest: Guest, pa: bigint): void => guest.path(SECOND, pa, pa | SS.RW, SS.RW)

/** PASID 1: first stage, did 2. 3: nested, did 3. 4: second stage, did 3. 5: pass-through, did 2. */
function scalable(options: ConstructorParameters<typeof Guest>[0] = {}): Guest {
  const guest = new Guest(options)
  guest.startScalable()
  guest.startQueue()
  guest.path(FIRST, PAGE, GUEST | FS.PAGE, FS.TABLE)
  guest.store(FIRST + 0x3008, GUEST | FS.PAGE)
  for (let step = 0; step < 8; step++) oneToOne(guest, BigInt(FIRST + step * 0x1000))
  oneToOne(guest, GUEST)
  oneToOne(guest, MOVED)
  guest.path(SECOND, PAGE, GUEST | SS.RW, SS.RW)
  guest.firstStage(1, 2, FIRST)
  guest.nested(3, 3, FIRST, SECOND)
  guest.secondStage(4, 3, SECOND)
  guest.passThrough(5, 2)
  return guest
}

function missing(guest: Guest, pasid: number, iova = PAGE, access: number = ACCESS.READ): readonly Invalidation[] {
  const transaction = new Transaction()
  transaction.rid = SID
  transaction.pasid = pasid
  transaction.access = access
  ;[transaction.lo, transaction.hi] = at(iova)
  return guest.unit.missing(transaction)
}

/** What is named after a change of what one read has used. */
function after(pasid: number, change: (guest: Guest) => void, caches: CacheOptions = {}): readonly Invalidation[] {
  const guest = scalable({ caches })
  expect(guest.dma(PAGE, 'r', pasid)).toMatch(/^0x/)
  expect(missing(guest, pasid)).toEqual([])
  change(guest)
  return missing(guest, pasid)
}

const piotlb = (DID: number, PASID: number, IH: number, page = PAGE) => [
  { name: 'P_IOTLB', operands: { DID, PASID, IH }, page: at(page) },
]
const iotlb = (DID: number, IH: number, page: bigint) => [{ name: 'IOTLB', operands: { DID, IH }, page: at(page) }]
const NO_IOTLB = { iotlb: OFF } as const

describe('for a translation', () => {
  it('of the first stage, PIOTLB by page, leaves alone', () => {
    expect(after(1, (guest) => guest.store(FIRST + 0x3000, MOVED | FS.PAGE))).toEqual(piotlb(2, 1, 1))
  })

  it('of the second stage, IOTLB by page, leaves alone', () => {
    expect(after(4, (guest) => guest.store(SECOND + 0x3000, MOVED | SS.RW))).toEqual(iotlb(3, 1, PAGE))
  })

  it('of the second stage on a unit without page forms, IOTLB by domain', () => {
    const guest = scalable({ ids: { CAP: [0x226f0606, 0x81d2078c & ~0x80] } })
    guest.dma(PAGE, 'r', 4)
    guest.store(SECOND + 0x3000, MOVED | SS.RW)
    expect(missing(guest, 4)).toEqual([{ name: 'IOTLB', operands: { DID: 3 } }])
  })

  it('of a nested walk whose first stage changed, PIOTLB', () => {
    expect(after(3, (guest) => guest.store(FIRST + 0x3000, MOVED | FS.PAGE))).toEqual(piotlb(3, 3, 1))
    expect(after(3, (guest) => guest.store(FIRST + 0x3000, GUEST | (FS.PAGE & ~FS.RW)))).toEqual(piotlb(3, 3, 1))
    expect(after(3, (guest) => guest.store(FIRST + 0x3000, 0n))).toEqual(piotlb(3, 3, 1))
  })

  it('of a nested walk whose second stage changed, IOTLB at the guest-physical page', () => {
    expect(after(3, (guest) => guest.path(SECOND, GUEST, MOVED | SS.RW, SS.RW))).toEqual(iotlb(3, 1, GUEST))
    expect(after(3, (guest) => guest.path(SECOND, GUEST, GUEST | SS.R, SS.RW))).toEqual(iotlb(3, 1, GUEST))
    expect(after(3, (guest) => guest.path(SECOND, GUEST, 0n, SS.RW))).toEqual(iotlb(3, 1, GUEST))
  })

  it('under a domain-id that its PASID entry no longer has, the old one', () => {
    const changed = after(1, (guest) => {
      guest.firstStage(1, 7, FIRST)
      guest.store(FIRST + 0x3000, MOVED | FS.PAGE)
      guest.queue(IQ.pasid(2, 1), IQ.piotlb(7, 1))
    })
    expect(changed).toEqual(piotlb(2, 1, 1))
  })
})

describe('for a paging-structure entry', () => {
  /** The entry above the pages leads to another table. */
  const move = (guest: Guest, root: number, flags: bigint, leaf: bigint): void => {
    guest.store(root + 0x4000, leaf)
    guest.store(root + 0x2000 + 2 * 8, BigInt(root + 0x4000) | flags)
  }

  it('of the first stage, PIOTLB with IH clear', () => {
    const change = (guest: Guest): void => move(guest, FIRST, FS.TABLE, MOVED | FS.PAGE)
    expect(after(1, change, NO_IOTLB)).toEqual(piotlb(2, 1, 0))
    expect(after(3, change, NO_IOTLB)).toEqual(piotlb(3, 3, 0))
    // One descriptor drops the translation too.
    expect(after(1, change)).toEqual(piotlb(2, 1, 0))
  })

  it('that stays because only leaves were invalidated', () => {
    const change = (guest: Guest): void => {
      move(guest, FIRST, FS.TABLE, MOVED | FS.PAGE)
      guest.queue(IQ.piotlbPage(2, 1, PAGE, IQ.IH))
    }
    expect(after(1, change)).toEqual(piotlb(2, 1, 0))
  })

  it('though nothing was mapped below it', () => {
    const guest = scalable()
    guest.store(FIRST + 0x3000, 0n)
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x71')
    expect(missing(guest, 1)).toEqual([])
    move(guest, FIRST, FS.TABLE, GUEST | FS.PAGE)
    expect(missing(guest, 1)).toEqual(piotlb(2, 1, 0))
  })

  it('of the second stage, IOTLB with IH clear', () => {
    const change = (guest: Guest): void => move(guest, SECOND, SS.RW, MOVED | SS.RW)
    expect(after(4, change, NO_IOTLB)).toEqual(iotlb(3, 0, PAGE))
    expect(after(4, change)).toEqual(iotlb(3, 0, PAGE))
  })

  it('of the second stage below a nested walk, at the guest-physical page', () => {
    const change = (guest: Guest): void => {
      guest.store(OTHER + Number((GUEST >> 12n) & 511n) * 8, MOVED | SS.RW)
      guest.store(SECOND + 0x2000 + Number(GUEST >> 21n) * 8, BigInt(OTHER) | SS.RW)
    }
    expect(after(3, change, NO_IOTLB)).toEqual(iotlb(3, 0, GUEST))
    expect(after(3, change)).toEqual(iotlb(3, 0, GUEST))
  })

  it('of a guest table that the second stage has unmapped, IOTLB at that table', () => {
    const table = BigInt(FIRST + 0x3000)
    const change = (guest: Guest): void => guest.path(SECOND, table, 0n, SS.RW)
    expect(after(3, change, { iotlb: OFF })).toEqual(iotlb(3, 1, table))
  })

  it('of a guest table that the second stage has moved, IOTLB at that table', () => {
    const change = (guest: Guest): void => {
      guest.store(OTHER, MOVED | FS.PAGE)
      guest.path(SECOND, BigInt(FIRST + 0x3000), BigInt(OTHER) | SS.RW, SS.RW)
    }
    expect(after(3, change, NO_IOTLB)).toEqual(iotlb(3, 1, BigInt(FIRST + 0x3000)))
  })
})

describe('for configuration', () => {
  it('a context entry, by source-id', () => {
    expect(after(5, (guest) => guest.store(guest.context, 0n), NO_IOTLB)).toEqual([
      { name: 'context cache', operands: { SID } },
    ])
  })

  it('a context entry and the translation, together and in this order', () => {
    expect(after(5, (guest) => guest.store(guest.context, 0n))).toEqual([
      { name: 'context cache', operands: { SID } },
      { name: 'IOTLB', operands: { DID: 2, IH: 1 }, page: at(PAGE) },
    ])
  })

  it('a PASID entry, by the domain-id of the cached one', () => {
    const change = (guest: Guest): void => guest.secondStage(5, 9, SECOND)
    expect(after(5, change, NO_IOTLB)).toEqual([{ name: 'PASID cache', operands: { DID: 2, PASID: 5 } }])
    expect(after(5, change)).toEqual([
      { name: 'PASID cache', operands: { DID: 2, PASID: 5 } },
      { name: 'IOTLB', operands: { DID: 2, IH: 1 }, page: at(PAGE) },
    ])
  })

  it('a PASID entry with other tables of the same domain-id, and what is kept of the old ones', () => {
    const guest = scalable()
    guest.dma(NEXT, 'r', 1)
    guest.path(OTHER, PAGE, MOVED | FS.PAGE, FS.TABLE)
    guest.firstStage(1, 2, OTHER)
    expect(missing(guest, 1)).toEqual([{ name: 'PASID cache', operands: { DID: 2, PASID: 1 } }, ...piotlb(2, 1, 0)])
    guest.queue(IQ.pasid(2, 1))
    expect(missing(guest, 1)).toEqual(piotlb(2, 1, 0))
  })

  it('a directory that moved, its context entry and the PASID entries', () => {
    const change = (guest: Guest): void => {
      guest.store(0x6000, 0x7001n)
      guest.store(guest.context, 0x6009n)
    }
    expect(after(5, change, NO_IOTLB)).toEqual([
      { name: 'context cache', operands: { SID } },
      { name: 'PASID cache', operands: { DID: 2, PASID: 5 } },
    ])
  })

  it('three caches that all hold on', () => {
    const change = (guest: Guest): void => {
      guest.store(0x6000, 0x7001n)
      guest.store(0x7000 + 64, 0x41n, 9n | (1n << 23n), BigInt(FIRST))
      guest.store(FIRST + 0x3000, MOVED | FS.PAGE)
      guest.store(guest.context, 0x6009n)
    }
    // What the cached entries say is what memory says but for the page.
    expect(after(1, change)).toEqual(piotlb(2, 1, 1))
    const gone = (guest: Guest): void => {
      guest.store(0x6000, 0x7001n)
      guest.store(guest.context, 0x6009n)
    }
    expect(after(1, gone)).toEqual([
      { name: 'context cache', operands: { SID } },
      { name: 'PASID cache', operands: { DID: 2, PASID: 1 } },
      ...piotlb(2, 1, 1),
    ])
  })

  it('a legacy context entry, by source-id and the domain-id of the cached one', () => {
    const guest = new Guest({ preset: 'vtd-legacy', caches: NO_IOTLB })
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 16, 9n, 0x502n)
    guest.start(MODE.LEGACY)
    guest.dma(PAGE)
    guest.store(0x2000 + SID * 16, 0n, 0n)
    expect(missing(guest, NO_PASID)).toEqual([{ name: 'context cache', operands: { SID, DID: 5 } }])
  })
})

describe('for what faulted, with caching mode', () => {
  it('a context entry that was absent', () => {
    const guest = scalable(CACHING)
    guest.store(guest.context, 0n)
    expect(guest.dma(PAGE, 'r', 5)).toBe('fault 0x41')
    guest.store(guest.context, BigInt(guest.directory) | 9n)
    expect(missing(guest, 5)).toEqual([{ name: 'context cache', operands: { SID } }])
  })

  it('a legacy context entry that was absent, under domain-id 0', () => {
    const guest = new Guest({ preset: 'vtd-legacy', ids: { CAP: [0x226f0686, 0x80d2078c] }, caches: CACHING.caches })
    guest.store(0x1000, 0x2001n, 0n)
    guest.start(MODE.LEGACY)
    expect(guest.dma(PAGE)).toBe('fault 0x2')
    guest.store(0x2000 + SID * 16, 9n, 0x502n)
    expect(missing(guest, NO_PASID)).toEqual([{ name: 'context cache', operands: { SID, DID: 0 } }])
  })

  it('a PASID entry that was absent, under domain-id 0', () => {
    const guest = scalable(CACHING)
    expect(guest.dma(PAGE, 'r', 9)).toBe('fault 0x59')
    guest.passThrough(9, 2)
    expect(missing(guest, 9)).toEqual([{ name: 'PASID cache', operands: { DID: 0, PASID: 9 } }])
  })

  it('a second-stage page that was absent, by page', () => {
    const guest = scalable(CACHING)
    guest.store(SECOND + 0x3008, 0n)
    expect(guest.dma(NEXT, 'r', 4)).toBe('fault 0x79')
    guest.store(SECOND + 0x3008, MOVED | SS.RW)
    expect(missing(guest, 4, NEXT)).toEqual(iotlb(3, 1, NEXT))
  })

  it('a second-stage table that was absent, with IH clear', () => {
    const guest = scalable(CACHING)
    const far = 0x1_2345_6000n
    expect(guest.dma(far, 'r', 4)).toBe('fault 0x79')
    guest.path(SECOND, far, MOVED | SS.RW, SS.RW)
    expect(missing(guest, 4, far)).toEqual(iotlb(3, 0, far))
  })

  it('a right that is believed to be missing', () => {
    const guest = scalable({ caches: { rights: 'strict' } })
    guest.store(FIRST + 0x3000, GUEST | (FS.PAGE & ~FS.RW))
    guest.dma(PAGE, 'r', 1)
    guest.store(FIRST + 0x3000, GUEST | FS.PAGE)
    expect(missing(guest, 1, PAGE, ACCESS.READ)).toEqual(piotlb(2, 1, 1))
    expect(missing(guest, 1, PAGE, ACCESS.WRITE)).toEqual(piotlb(2, 1, 1))
    guest.queue(IQ.piotlbPage(2, 1, PAGE, IQ.IH))
    expect([guest.dma(PAGE, 'w', 1), missing(guest, 1)]).toEqual(['0x308000', []])
  })

  it('nothing is missing where what was absent is absent still', () => {
    const guest = scalable(CACHING)
    guest.store(PASIDS + 64, 0n)
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x59')
    expect(missing(guest, 1)).toEqual([])
  })
})

describe('without caches', () => {
  it('nothing is missing, though an entry is another one whenever it is read', () => {
    const guest = scalable({ caches: { policy: 'off' } })
    const { memory } = guest
    const load = memory.loadAt.bind(memory)
    let reads = 0n
    memory.loadAt = (lo, hi) => {
      if (lo === FIRST + 0x2000 + 16) guest.store(FIRST + 0x3000, (++reads << 16n) | FS.PAGE)
      return load(lo, hi)
    }
    expect(missing(guest, 1)).toEqual([])
    expect(reads).toBeGreaterThan(1n)
  })
})
