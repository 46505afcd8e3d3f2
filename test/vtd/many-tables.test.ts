/**
 * More PASIDs and domain-ids than the caches of tables and host permissions have numbers for: all is forgotten, as
 * hardware may at any time, and goes on as if nothing had been. [VTD 6.2.5, 6.2.6]
 */

import { describe, expect, it } from 'vitest'
import type { CacheOptions } from '../../hw-model/vtd/index.js'
import { AtsGuest, ECAP } from './ats-guest.js'
import { FS, Guest, IQ, PASIDS, SID, SS } from './guest.js'

const PAGE = 0x40_0000n
const FIRST = 0x100000
const SECOND = 0x140000
const OLD = 0x30_0000n
const NEW = 0x70_1000n
const [WAS, IS] = ['0x300000', '0x701000']
const OFF = { entries: 0, ways: 1 } as const
/** So large that nothing has to make room. */
const LARGE = { entries: 65536, ways: 16 } as const

/** Numbers for (source-id, PASID) and for (domain-id, PASID); for domain-ids. */
const PAIRS = 8192
const DOMAINS = 1024

/** Every PASID below 2^13 has the same 64 entries, and a second function the same directory. */
function widened<T extends Guest>(guest: T, contextFlags?: bigint): T {
  guest.startScalable(contextFlags)
  guest.startQueue()
  guest.store(guest.context + 32, guest.load(guest.context), 0n, 0n, 0n)
  guest.store(guest.directory, ...Array.from({ length: 128 }, () => BigInt(PASIDS | 1)))
  return guest
}

function started(caches: CacheOptions): Guest {
  const guest = widened(new Guest({ caches }))
  guest.path(FIRST, PAGE, 0n, FS.TABLE)
  guest.path(SECOND, PAGE, OLD | SS.RW, SS.RW)
  return guest
}

/** All PASID entries: first stage under one domain-id. */
function all(guest: Guest, did: number): void {
  for (let pasid = 0; pasid < 64; pasid++) guest.firstStage(pasid, did, FIRST)
  guest.queue(IQ.pasidsAll)
}

/** Answers to so many PASIDs, each told once. */
function answers(guest: Guest, pasids: number): string[] {
  const told = new Set<string>()
  for (let pasid = 1; pasid <= pasids; pasid++) told.add(guest.dma(PAGE, 'r', pasid))
  return [...told]
}

/** The entry above the page leads to another table of pages. */
const moveTable = (guest: Guest, table: number): void =>
  guest.store(SECOND + 0x2000 + Number(PAGE >> 21n) * 8, BigInt(table) | SS.RW)

describe('an IOTLB', () => {
  it('tells PASIDs of a function apart by all of their bits', () => {
    const guest = started({ walk2: OFF })
    for (let pasid = 0; pasid < 64; pasid++) guest.secondStage(pasid, 2, SECOND)
    const pasids = [1, 1 + 2 ** 10, 1 + 2 ** 11, 1 + 2 ** 12]
    expect(guest.dma(PAGE, 'r', 1)).toBe(WAS)
    guest.path(SECOND, PAGE, NEW | SS.RW, SS.RW)
    for (const hit of [0, 1]) {
      const told = pasids.map((pasid) => [guest.dma(PAGE, 'r', pasid), guest.out.hit])
      expect(told).toEqual([[WAS, 1], ...pasids.slice(1).map(() => [IS, hit])])
    }
  })
})

describe('a paging-structure cache', () => {
  it('that meets more domain-ids with PASIDs than it tells apart forgets those it knew', () => {
    const guest = started({ iotlb: OFF, walk1: LARGE, names: PAIRS })
    // Pages of 1 GiB, so that a walk keeps one entry: the root's.
    guest.store(FIRST + 0x1000, FS.PAGE | FS.PS)
    guest.store(FIRST + 0x2000, (1n << 30n) | FS.PAGE | FS.PS)
    all(guest, 2)
    expect(answers(guest, PAIRS / 2)).toEqual(['0x400000'])
    guest.store(FIRST, BigInt(FIRST + 0x2000) | FS.TABLE)
    all(guest, 3)
    expect(answers(guest, PAIRS / 2)).toEqual(['0x40400000'])
    all(guest, 2)
    expect(answers(guest, PAIRS / 2)).toEqual(['0x400000'])
    expect([guest.dma(PAGE, 'r', PAIRS / 2 + 1), guest.dma(PAGE, 'r', 1)]).toEqual(['0x40400000', '0x40400000'])
    guest.store(FIRST, BigInt(FIRST + 0x1000) | FS.TABLE)
    guest.queue(IQ.piotlb(2, 1))
    expect([guest.dma(PAGE, 'r', PAIRS / 2 + 1), guest.dma(PAGE, 'r', 1)]).toEqual(['0x40400000', '0x400000'])
  })

  it('that meets more domain-ids than it tells apart forgets those it knew, and drops what is new as ever', () => {
    const guest = started({ iotlb: OFF, walk2: LARGE, names: DOMAINS })
    const use = (did: number): string => {
      guest.secondStage(1, did, SECOND)
      guest.queue(IQ.pasidsAll)
      return guest.dma(PAGE, 'r', 1)
    }
    expect(use(1)).toBe(WAS)
    guest.store(SECOND + 0x4000, NEW | SS.RW)
    moveTable(guest, SECOND + 0x4000)
    for (let did = 2; did <= DOMAINS; did++) expect(use(did)).toBe(IS)
    expect(use(1)).toBe(WAS)
    expect([use(DOMAINS + 1), use(1)]).toEqual([IS, IS])
    moveTable(guest, SECOND + 0x3000)
    guest.queue(IQ.iotlbPage(DOMAINS + 1, PAGE))
    expect([use(1), use(DOMAINS + 1)]).toEqual([IS, WAS])
  })
})

describe('the cache of host permissions', () => {
  const TARGET = 0x5000n
  const TABLES = 0x60000

  /** Host permission tables of every PASID, with a page that may be read; HPTE and EPTR beside P, DTE and PASIDE. */
  function permitting(): AtsGuest {
    const guest = widened(new AtsGuest({ offers: ECAP.HPTS, caches: { permissions: LARGE, names: PAIRS } }), 0x6dn)
    for (const [step, root] of [TABLES, TABLES + 0x8000, TABLES + 0x9000].entries()) {
      guest.store(root, 0n, BigInt(TABLES + 0x8000 + step * 0x1000) | 1n)
    }
    permit(guest, 1n)
    for (let pasid = 0; pasid < 64; pasid++) {
      guest.store(PASIDS + pasid * 64, 0x41n, 0x0080_0002n, BigInt(FIRST), 0n, BigInt(TABLES), 7n, 0n, 0n)
    }
    return guest
  }

  /** The sixth page of 4 KiB. */
  const permit = (guest: AtsGuest, rights: bigint): void => guest.store(TABLES + 0xa000, rights << 20n, 0n)

  it('that meets more requesters than it tells apart forgets those it knew, and drops what is new as ever', () => {
    const guest = permitting()
    const use = (pasid: number, sid = SID): string => guest.translated(TARGET, 'r', pasid, sid)
    for (const sid of [SID, SID + 1]) {
      for (let pasid = 1; pasid <= PAIRS / 2; pasid++) expect(use(pasid, sid)).toBe('0x5000')
    }
    permit(guest, 0n)
    expect([use(1), use(PAIRS / 2, SID + 1)]).toEqual(['0x5000', '0x5000'])
    permit(guest, 1n)
    expect(use(-1)).toBe('0x5000')
    permit(guest, 0n)
    expect([use(1), use(PAIRS / 2, SID + 1), use(-1)]).toEqual(['fault 0xa5', 'fault 0xa5', '0x5000'])
    guest.queue([0x2an | (7n << 16n)])
    expect(use(-1)).toBe('fault 0xa5')
  })
})
