/**
 * What the oracle says of descriptors that were sent and did not do, of host permissions, and of units that know no page
 * form. [VTD 6.5.2 Queued Invalidation Interface, 6.5.3.3 T28]
 */

import { describe, expect, it } from 'vitest'
import { AtsGuest, ECAP, halves } from './ats-guest.js'
import { FS, type Guest, IQ, PASIDS, SS } from './guest.js'
import {
  anotherWait,
  changed,
  FIRST,
  FIRST_LEAF,
  MOVED,
  mapSecond,
  oracleOf,
  PAGE,
  REPORT,
  reportsOf,
  SECOND,
  SECOND_LEAF,
  text,
  told,
  watched,
} from './oracle-guest.js'

const why = (guest: Guest): string[] => reportsOf(guest)[0].sent.map((sent) => `${text(sent.command)}: ${sent.why}`)

describe('[VTD 4.2.4, 6.5.2.7] host permissions that were taken back', () => {
  const L4 = 0x60000
  const L3 = 0x68000
  const L2 = 0x69000
  const L1 = 0x6a000
  /** Of the first 128 KiB under the first entry of each level: page 17 of them is not the first of a table. */
  const TARGET = 0x1_1000n
  const HPTDID = 7n
  const domain = (did: bigint, ih: bigint): [bigint, bigint] => [0x2an | (did << 16n), ih << 6n]
  const pages = (did: bigint, address: bigint, ih: bigint): [bigint, bigint] => [
    0x3an | (did << 16n),
    address | (ih << 6n),
  ]

  function host(): AtsGuest {
    const guest = new AtsGuest({ offers: ECAP.HPTS })
    guest.startScalable(0x2dn)
    guest.store(PASIDS, 0x41n, 0x0080_0002n, 0x20000n, 0n, BigInt(L4), HPTDID, 0n, 0n)
    guest.store(L4, 0n, BigInt(L3) | 1n)
    guest.store(L3, 0n, BigInt(L2) | 1n)
    guest.store(L2, 0n, BigInt(L1) | 1n)
    guest.startQueue()
    guest.unit.setOracle(REPORT)
    return guest
  }

  /** Read and write of page 17: bits 71:68 of the 4 KiB entry. */
  const page = (guest: Guest, rights: bigint): void => guest.store(L1, 0n, rights << 4n)
  /** Of the first 2 MiB: bits 3:0 of its table's entry. */
  const large = (guest: Guest, rights: bigint): void => guest.store(L2, rights, BigInt(L1) | 1n)

  /** Used, taken back, and used after so many descriptors and a wait. */
  function revoked(which: typeof page, ...sent: readonly (readonly [bigint, bigint?])[]): AtsGuest {
    const guest = host()
    which(guest, 3n)
    expect(guest.translated(TARGET)).toBe('0x11000')
    which(guest, 0n)
    guest.queue(...sent, IQ.fence)
    expect(guest.translated(TARGET)).toBe('0x11000')
    return guest
  }

  it('are missing an HPT cache invalidation of their page, and of their level', () => {
    const small = revoked(page)
    expect(told(small)).toEqual(['hpt: HPT cache HPTDID=7 AM=0 ADDR=0x11000'])
    expect(reportsOf(small)[0]).toMatchObject({ fresh: { status: 2 }, changed: { what: 'HPTL1E', address: L1 + 8 } })
    small.queue(pages(HPTDID, TARGET, 0n), IQ.fence)
    expect(small.translated(TARGET)).toBe('fault 0xa5')
    const big = revoked(large)
    expect(told(big)).toEqual(['hpt: HPT cache HPTDID=7 AM=0 IH=1 ADDR=0x11000'])
    big.queue(pages(HPTDID, TARGET, 1n), IQ.fence)
    expect(big.translated(TARGET)).toBe('fault 0xa5')
    expect([reportsOf(small).length, reportsOf(big).length]).toEqual([1, 1])
  })

  it('are not those of another domain, level or page', () => {
    expect(why(revoked(large, domain(8n, 3n), domain(HPTDID, 0n), pages(HPTDID, 0x40_0000n, 1n)))).toEqual([
      'HPT cache HPTDID=7 IH=1 AM=0 ADDR=0x400000: range starts at 0x400000',
      'HPT cache HPTDID=7 IH=0: entries of lower levels alone',
      'HPT cache HPTDID=8 IH=3: wrong HPTDID (8, needed 7)',
    ])
  })

  it('had been dropped before that', () => {
    const guest = host()
    page(guest, 3n)
    guest.queue([0x1an], IQ.fence)
    guest.translated(TARGET)
    page(guest, 0n)
    anotherWait(guest)
    guest.translated(TARGET)
    expect(why(guest)[0]).toMatch(/^HPT cache: before the change/)
  })

  it('are no difference where no cache keeps them, now that the policy is another', () => {
    const guest = host()
    guest.unit.setCachePolicy('off')
    page(guest, 3n)
    expect(guest.translated(TARGET)).toBe('0x11000')
    page(guest, 0n)
    guest.queue(IQ.fence)
    expect(guest.translated(TARGET)).toBe('fault 0xa5')
    expect(oracleOf(guest).counts.stale).toBe(0)
    guest.unit.setCachePolicy('hardware')
    page(guest, 3n)
    guest.translated(TARGET)
    page(guest, 0n)
    expect(guest.translated(TARGET)).toBe('0x11000')
  })
})

describe('a context entry that was cleared', () => {
  const cleared = (...sent: readonly (readonly [bigint, bigint?])[]): Guest => {
    const guest = watched()
    guest.dma(PAGE, 'r', 1)
    guest.store(guest.context, 0n)
    guest.queue(...sent, IQ.iotlbAll, IQ.fence)
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x308000')
    expect(told(guest)).toEqual(['context: context cache SID=8'])
    return guest
  }

  it('is not that of another function, nor of others whose low bits differ', () => {
    // FM 1 ignores bit 2 of a source-id: 0x18 and 0x1c.
    const masked: [bigint] = [0x31n | (0x18n << 32n) | (1n << 48n)]
    expect(why(cleared(IQ.contextDevice(9), masked))).toEqual([
      'context cache SID=24 DID=0 FM=1: wrong SID (24, needed 8)',
      'context cache SID=9 DID=0: wrong SID (9, needed 8)',
    ])
  })

  it('goes with its neighbour, where bits are ignored that tell them apart, and with any domain', () => {
    // FM 3 ignores bits 2 to 0. The domain form is the global one in scalable mode.
    for (const sent of [[0x31n | (0xfn << 32n) | (3n << 48n)], IQ.contextDomain(99), IQ.contextsAll] as const) {
      const guest = watched()
      guest.dma(PAGE, 'r', 1)
      guest.store(guest.context, 0n)
      guest.queue(sent, IQ.iotlbAll, IQ.fence)
      expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x41')
      expect(reportsOf(guest)).toEqual([])
    }
  })
})

describe('a PASID table entry that was cleared', () => {
  it('is not that of another domain or PASID', () => {
    const guest = watched()
    guest.dma(PAGE, 'r', 1)
    guest.store(PASIDS + 64, 0n)
    guest.queue(IQ.pasid(2, 4), IQ.pasidsDomain(9), IQ.iotlbAll, IQ.fence)
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x308000')
    expect(told(guest)).toEqual(['pasid: PASID cache DID=2 PASID=1'])
    expect(why(guest)).toEqual([
      'PASID cache DID=9: wrong DID (9, needed 2)',
      'PASID cache DID=2 PASID=4: wrong PASID (4, needed 1)',
    ])
  })

  it('had been dropped before that', () => {
    const guest = watched()
    guest.queue(IQ.pasidsAll, IQ.fence)
    guest.dma(PAGE, 'r', 1)
    guest.store(PASIDS + 64, 0n)
    guest.queue(IQ.iotlbAll, IQ.fence)
    guest.dma(PAGE, 'r', 1)
    expect(why(guest)[0]).toMatch(/^PASID cache: before the change/)
  })
})

describe('a second-stage table that was replaced', () => {
  const OTHER = 0x15_0000
  const replaced = (...sent: readonly (readonly [bigint, bigint?])[]): Guest => {
    const guest = watched()
    guest.dma(PAGE, 'r', 4)
    guest.store(OTHER, MOVED | SS.RW)
    guest.store(SECOND + 0x2000 + Number((PAGE >> 21n) & 511n) * 8, BigInt(OTHER) | SS.RW)
    guest.queue(...sent, IQ.fence)
    guest.dma(PAGE, 'r', 4)
    return guest
  }

  it('is not reached by what says that leaves alone have changed, nor by another domain', () => {
    const guest = replaced(IQ.iotlbPage(3, PAGE, IQ.IH), IQ.iotlbDomain(2), IQ.piotlb(3, 4), IQ.piotlbPage(3, 9, PAGE))
    expect(told(guest)).toEqual(['walk2: IOTLB DID=3 AM=0 IH=0 ADDR=0x400000'])
    expect(why(guest)).toEqual([
      'P_IOTLB DID=3 PASID=9 AM=0 IH=0 ADDR=0x400000: drops no second-stage table entries',
      'P_IOTLB DID=3 PASID=4: drops no second-stage table entries',
      'IOTLB DID=2: wrong DID (2, needed 3)',
      'IOTLB DID=3 AM=0 IH=1 ADDR=0x400000: leaf-only (IH=1) over a table change',
    ])
  })

  it('is told as it was before, where the whole cache was dropped then', () => {
    const guest = watched()
    guest.queue(IQ.iotlbAll, IQ.fence)
    guest.dma(PAGE, 'r', 4)
    guest.store(SECOND_LEAF, 0n)
    anotherWait(guest)
    guest.dma(PAGE, 'r', 4)
    expect(why(guest).find((line) => line.startsWith('IOTLB:'))).toMatch(/^IOTLB: before the change/)
  })
})

describe('a second-stage page that was unmapped', () => {
  it('is reached by no page form of another stage, and by all of its PASID', () => {
    const guest = watched()
    guest.dma(PAGE, 'r', 4)
    guest.store(SECOND_LEAF, 0n)
    guest.queue(IQ.piotlbPage(3, 4, PAGE), IQ.piotlb(3, 9), IQ.iotlbPage(3, PAGE + 0x1000n, IQ.IH), IQ.fence)
    guest.dma(PAGE, 'r', 4)
    expect(told(guest)).toEqual(['iotlb: IOTLB DID=3 AM=0 IH=1 ADDR=0x400000'])
    expect(why(guest)).toEqual([
      'IOTLB DID=3 AM=0 IH=1 ADDR=0x401000: range starts at 0x401000',
      'P_IOTLB DID=3 PASID=9: wrong PASID (9, needed 4)',
      'P_IOTLB DID=3 PASID=4 AM=0 IH=0 ADDR=0x400000: its page form drops no second-stage translations',
    ])
  })

  it('of 2 MiB is one descriptor of its size to most software', () => {
    const guest = watched()
    const entry = SECOND + 0x2000 + Number((PAGE >> 21n) & 511n) * 8
    guest.store(entry, 0x60_0000n | SS.RW | SS.PS)
    expect(changed(guest, 4, () => guest.store(entry, 0n))).toEqual(['iotlb: IOTLB DID=3 AM=0 IH=1 ADDR=0x400000'])
    expect(text(reportsOf(guest)[0].usual as never)).toMatch(/^IOTLB DID=3/)
    const other = watched()
    other.store(entry, 0x60_0000n | SS.RW | SS.PS)
    changed(other, 4, () => other.store(entry, 0x80_0000n | SS.RW | SS.PS))
    expect(text(reportsOf(other)[0].usual as never)).toBe('IOTLB DID=3 AM=9 IH=1 ADDR=0x400000')
  })

  it('goes with its whole domain, where the unit has no page form', () => {
    // CAP.PSI is bit 39.
    const [lo, hi] = halves(0x81d2_0700_226f_0606n)
    const guest = watched({}, {}, { ids: { CAP: [lo, hi] } })
    expect(changed(guest, 4, () => guest.store(SECOND_LEAF, 0n))).toEqual(['iotlb: IOTLB DID=3'])
    guest.queue(IQ.iotlbDomain(3), IQ.fence)
    expect(guest.dma(PAGE, 'r', 4)).toBe('fault 0x79')
  })
})

describe('[VTD 3.15] a large page that reaches into the interrupt range', () => {
  const entry = SECOND + 0x2000 + Number((PAGE >> 21n) & 511n) * 8

  it('by where it leads to is told of by its other half', () => {
    const guest = watched()
    guest.store(entry, 0xfee0_0000n | SS.RW | SS.PS)
    const half = PAGE + 0x10_0000n
    const read = (): string => guest.dma(half, 'r', 4)
    expect([guest.dma(PAGE, 'r', 4), read(), read()]).toEqual(['fault 0x87', '0xfef00000', '0xfef00000'])
    guest.store(entry, 0xfec0_0000n | SS.RW | SS.PS)
    anotherWait(guest)
    expect(read()).toBe('0xfef00000')
    expect(told(guest)).toEqual(['iotlb: IOTLB DID=3 AM=0 IH=1 ADDR=0x500000'])
    guest.queue(IQ.iotlbDomain(3), IQ.fence)
    expect([read(), guest.dma(PAGE, 'r', 4)]).toEqual(['0xfed00000', '0xfec00000'])
  })

  it('by its own addresses is told of by those of them that are translated', () => {
    const guest = watched()
    const range = 0xfee0_0000n
    guest.path(SECOND, range, 0n, SS.RW)
    // Four tables stand side by side: of the same gigabyte none was mapped yet.
    const large = SECOND + 0x2000 + Number((range >> 21n) & 511n) * 8
    guest.store(large, 0x60_0000n | SS.RW | SS.PS)
    guest.secondStage(0, 3, SECOND)
    const read = (): string => guest.dma(range + 0x10_0000n)
    expect([read(), read()]).toEqual(['0x700000', '0x700000'])
    guest.store(large, 0x80_0000n | SS.RW | SS.PS)
    anotherWait(guest)
    expect(read()).toBe('0x700000')
    expect(told(guest)).toEqual(['iotlb: IOTLB DID=3 AM=0 IH=1 ADDR=0xfef00000'])
  })
})

describe('a first-stage page of another size', () => {
  it('came of one step where it was present all the time, and of none where it was not, or was a page of the last level', () => {
    const entry = FIRST + 0x2000 + Number((PAGE >> 21n) & 511n) * 8
    const large = 0x60_0000n | FS.PAGE | FS.PS
    const one = watched()
    one.dma(PAGE, 'r', 1)
    one.store(entry, large)
    one.dma(PAGE, 'r', 1)
    expect(reportsOf(one).map(({ reason }) => reason)).toEqual(['break-before-make'])
    // PAT, bit 7 of a leaf of 4 KiB, is no size.
    const none = watched()
    none.dma(PAGE, 'r', 1)
    none.store(FIRST_LEAF, MOVED | FS.PAGE | FS.PS)
    none.dma(PAGE, 'r', 1)
    expect(oracleOf(none).counts).toMatchObject({ stale: 1, inWindow: 1, reports: 0 })
  })
})

describe('two stages that lead elsewhere', () => {
  it('are told by the second where it moved the page, and by the first where that did', () => {
    const both = watched()
    both.dma(PAGE, 'r', 3)
    both.store(FIRST_LEAF, MOVED | FS.PAGE)
    mapSecond(both, MOVED, 0x30_a000n)
    anotherWait(both)
    expect(both.dma(PAGE, 'r', 3)).toBe('0x308000')
    expect(told(both)).toEqual(['iotlb: P_IOTLB DID=3 PASID=3 AM=0 IH=1 ADDR=0x400000'])
  })
})
