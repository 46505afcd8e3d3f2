/** What is reported for which forgotten invalidation, one kind of mistake after the other. [VTD 6.5.3.3 T28] */

import { describe, expect, it } from 'vitest'
import { FS, type Guest, IQ, PASIDS, SID, SS } from './guest.js'
import {
  anotherWait,
  CACHING,
  changed,
  FIRST,
  FIRST_LEAF,
  GUEST_PAGE,
  MOVED,
  mapSecond,
  oracleOf,
  PAGE,
  reportsOf,
  SECOND,
  SECOND_LEAF,
  text,
  told,
  watched,
} from './oracle-guest.js'

describe('a page that was unmapped while the IOTLB kept it', () => {
  it('is missing the page form of its stage: leaves alone', () => {
    const first = watched()
    expect(changed(first, 1, () => first.store(FIRST_LEAF, 0n))).toEqual([
      'iotlb: P_IOTLB DID=2 PASID=1 AM=0 IH=1 ADDR=0x400000',
    ])
    const second = watched()
    expect(changed(second, 4, () => second.store(SECOND_LEAF, 0n))).toEqual([
      'iotlb: IOTLB DID=3 AM=0 IH=1 ADDR=0x400000',
    ])
    const nested = watched()
    expect(changed(nested, 3, () => nested.store(FIRST_LEAF, 0n))).toEqual([
      'iotlb: P_IOTLB DID=3 PASID=3 AM=0 IH=1 ADDR=0x400000',
    ])
    const behind = watched()
    expect(changed(behind, 3, () => mapSecond(behind, GUEST_PAGE, MOVED))).toEqual([
      'iotlb: IOTLB DID=3 AM=0 IH=1 ADDR=0x308000',
    ])
  })

  it('is told with both answers, the entry that changed, and when', () => {
    const guest = watched()
    changed(guest, 1, () => guest.store(FIRST_LEAF, MOVED | FS.PAGE))
    const [report] = reportsOf(guest)
    expect(report).toMatchObject({
      number: 1,
      reason: 'synced',
      cache: 'iotlb',
      rid: SID,
      pasid: 1,
      lo: 0x40_0000,
      hi: 0,
      cached: { status: 1, address: 0x30_8000 },
      fresh: { status: 1, address: 0x30_9000 },
      changed: {
        what: 'first-stage entry',
        stage: 1,
        level: 1,
        address: FIRST_LEAF,
        before: [0x30_8067, 0],
        after: [0x30_9067, 0],
      },
      hits: 1,
      usual: null,
    })
    expect(report.filledAt).toBeLessThan(report.lastRightAt)
    expect(report.lastRightAt).toBeLessThan(report.firstSeenAt)
    guest.dma(PAGE + 8n, 'r', 1)
    expect(reportsOf(guest)).toHaveLength(1)
    expect(report.hits).toBe(2)
  })

  it('is no difference once what was missing was sent', () => {
    const guest = watched()
    changed(guest, 1, () => guest.store(FIRST_LEAF, 0n))
    guest.queue(IQ.piotlbPage(2, 1, PAGE, IQ.IH), IQ.fence)
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x71')
    guest.store(FIRST_LEAF, MOVED | FS.PAGE)
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x309000')
    expect(reportsOf(guest)).toHaveLength(1)
  })
})

describe('what was sent instead', () => {
  const instead = (...descriptors: readonly (readonly [bigint, bigint?])[]): string[] => {
    const guest = watched()
    guest.dma(PAGE, 'r', 1)
    guest.store(FIRST_LEAF, 0n)
    guest.queue(...descriptors, IQ.fence)
    guest.dma(PAGE, 'r', 1)
    expect(told(guest)).toEqual(['iotlb: P_IOTLB DID=2 PASID=1 AM=0 IH=1 ADDR=0x400000'])
    return reportsOf(guest)[0].sent.map(({ command, why }) => `${text(command)}: ${why}`)
  }

  it('names the wrong domain, PASID or page', () => {
    expect(instead(IQ.piotlbPage(3, 1, PAGE))).toEqual([
      'P_IOTLB DID=3 PASID=1 AM=0 IH=0 ADDR=0x400000: wrong DID (3, needed 2)',
    ])
    expect(instead(IQ.piotlb(2, 2))).toEqual(['P_IOTLB DID=2 PASID=2: wrong PASID (2, needed 1)'])
    expect(instead(IQ.piotlbPage(2, 1, PAGE - 0x2000n, 1n))).toEqual([
      'P_IOTLB DID=2 PASID=1 AM=1 IH=0 ADDR=0x3fe000: range ends at 0x3fffff',
    ])
    expect(instead(IQ.piotlbPage(2, 1, PAGE + 0x1000n))).toEqual([
      'P_IOTLB DID=2 PASID=1 AM=0 IH=0 ADDR=0x401000: range starts at 0x401000',
    ])
    expect(instead(IQ.iotlbDomain(3))).toEqual(['IOTLB DID=3: wrong DID (3, needed 2)'])
  })

  it('reaches another cache', () => {
    expect(instead(IQ.pasid(2, 1))).toEqual(['PASID cache DID=2 PASID=1: drops PASID-cache entries alone'])
  })

  it('came before the change', () => {
    const guest = watched()
    guest.dma(PAGE, 'r', 1)
    guest.queue(IQ.piotlbPage(2, 1, PAGE), IQ.fence)
    guest.dma(PAGE, 'r', 1)
    guest.store(FIRST_LEAF, 0n)
    anotherWait(guest)
    guest.dma(PAGE, 'r', 1)
    const [{ lastRightAt, sent }] = reportsOf(guest)
    const early = sent.find(({ command }) => command.name === 'P_IOTLB')
    expect(early?.why).toMatch(/^before the change: the entry was right at operation \d+$/)
    expect(early?.at).toBeLessThan(lastRightAt)
  })
})

describe('a table entry that was changed', () => {
  it('is missing a flush of tables too, although nothing below was ever mapped', () => {
    const guest = watched({ iotlb: { entries: 0, ways: 1 } })
    const move = (): void => {
      guest.store(FIRST + 0x4000, MOVED | FS.PAGE)
      guest.store(FIRST + 0x2000 + Number((PAGE >> 21n) & 511n) * 8, BigInt(FIRST + 0x4000) | FS.TABLE)
    }
    expect(changed(guest, 1, move)).toEqual(['walk1: P_IOTLB DID=2 PASID=1 AM=0 IH=0 ADDR=0x400000'])
    expect(text(reportsOf(guest)[0].usual as never)).toBe('P_IOTLB DID=2 PASID=1')
  })

  it('is not covered by what says that leaves alone have changed', () => {
    const guest = watched()
    guest.dma(PAGE, 'r', 1)
    guest.store(FIRST + 0x4000, MOVED | FS.PAGE)
    guest.store(FIRST + 0x2000 + Number((PAGE >> 21n) & 511n) * 8, BigInt(FIRST + 0x4000) | FS.TABLE)
    guest.queue(IQ.piotlbPage(2, 1, PAGE, IQ.IH), IQ.fence)
    guest.dma(PAGE, 'r', 1)
    expect(told(guest)).toEqual(['walk1: P_IOTLB DID=2 PASID=1 AM=0 IH=0 ADDR=0x400000'])
    expect(reportsOf(guest)[0].sent[0].why).toBe('leaf-only (IH=1) over a table change')
  })

  it('of the second stage is dropped by no form of the PASID-based descriptor', () => {
    const guest = watched()
    guest.dma(PAGE, 'r', 4)
    guest.store(SECOND + 0x8000, MOVED | SS.RW)
    guest.store(SECOND + 0x2000 + Number((PAGE >> 21n) & 511n) * 8, BigInt(SECOND + 0x8000) | SS.RW)
    guest.queue(IQ.piotlb(3, 4), IQ.fence)
    guest.dma(PAGE, 'r', 4)
    expect(told(guest)).toEqual(['walk2: IOTLB DID=3 AM=0 IH=0 ADDR=0x400000'])
    expect(reportsOf(guest)[0].sent[0].why).toBe('drops no second-stage table entries')
  })
})

describe('an answer that nobody has seen right', () => {
  // A page of the large one, at the same place in it as before; and another one, which is not.
  const SAME = PAGE + 0x10_8000n
  const OTHER = PAGE + 0x10_a000n
  const entry = SECOND + 0x2000 + Number((PAGE >> 21n) & 511n) * 8

  function merged(): Guest {
    const guest = watched()
    guest.path(SECOND, SAME, GUEST_PAGE | SS.RW, SS.RW)
    guest.path(SECOND, OTHER, 0x31_0000n | SS.RW, SS.RW)
    guest.dma(SAME, 'r', 4)
    guest.store(entry, 0x20_0000n | SS.RW | SS.PS)
    return guest
  }

  it('is reported once a wait is complete, where another page has shown that the change is older', () => {
    const guest = merged()
    guest.queue(IQ.iotlbPage(3, PAGE, IQ.IH | 9n), IQ.fence)
    expect(guest.dma(SAME, 'r', 4)).toBe('0x308000')
    expect(reportsOf(guest)).toEqual([])
    expect(guest.dma(OTHER, 'r', 4)).toBe('0x310000')
    expect(told(guest)).toEqual(['walk2: IOTLB DID=3 AM=0 IH=0 ADDR=0x50a000'])
    expect(reportsOf(guest).map(({ reason, lastRightAt }) => [reason, lastRightAt])).toEqual([['synced', 0]])
  })

  it('is legal until then', () => {
    const guest = merged()
    expect(guest.dma(OTHER, 'r', 4)).toBe('0x310000')
    expect(oracleOf(guest).counts).toMatchObject({ stale: 1, inWindow: 1, reports: 0 })
  })

  it('is legal where the change came after the wait', () => {
    const guest = merged()
    guest.queue(IQ.iotlbPage(3, PAGE, 9n), IQ.fence)
    expect(guest.dma(SAME, 'r', 4)).toBe('0x308000')
    guest.store(entry, BigInt(SECOND + 0x3000) | SS.RW)
    guest.queue(IQ.iotlbPage(3, PAGE, 9n), IQ.fence)
    guest.dma(SAME, 'r', 4)
    guest.store(entry, 0x20_0000n | SS.RW | SS.PS)
    expect(guest.dma(OTHER, 'r', 4)).toBe('0x310000')
    expect(oracleOf(guest).counts).toMatchObject({ stale: 1, inWindow: 1, reports: 0 })
  })
})

describe('a large page', () => {
  it('that is kept in pieces is stale in each of them, and most software names it as a whole', () => {
    const guest = watched({ policy: 'greedy' })
    const entry = FIRST + 0x2000 + Number((PAGE >> 21n) & 511n) * 8
    guest.store(entry, 0x60_0000n | FS.PAGE | FS.PS)
    const piece = PAGE + 0x3_1000n
    guest.dma(piece, 'r', 1)
    guest.store(entry, 0x80_0000n | FS.PAGE | FS.PS)
    guest.queue(IQ.piotlbPage(2, 1, PAGE, 2n), IQ.fence)
    expect(guest.dma(piece, 'r', 1)).toBe('0x631000')
    expect(told(guest)).toEqual(['iotlb: P_IOTLB DID=2 PASID=1 AM=0 IH=1 ADDR=0x431000'])
    const [{ usual, sent }] = reportsOf(guest)
    expect(text(usual as never)).toBe('P_IOTLB DID=2 PASID=1 AM=9 IH=1 ADDR=0x400000')
    expect(sent[0].why).toBe('range ends at 0x403fff')
  })
})

describe('a PASID table entry', () => {
  it('that was changed without any flush needs its translations dropped, and then the PASID cache emptied', () => {
    const guest = watched()
    const change = (): void => guest.firstStage(1, 2, FIRST + 0x8000)
    guest.path(FIRST + 0x8000, PAGE, MOVED | FS.PAGE, FS.TABLE)
    expect(changed(guest, 1, change)).toEqual(['iotlb: P_IOTLB DID=2 PASID=1 AM=0 IH=1 ADDR=0x400000'])
    const [{ usual, changed: entry }] = reportsOf(guest)
    expect(text(usual as never)).toBe('P_IOTLB DID=2 PASID=1')
    expect(entry).toMatchObject({ what: 'PASID table entry', address: PASIDS + 64 + 16 })
    guest.queue(IQ.piotlb(2, 1), IQ.fence)
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x308000')
    expect(told(guest)[1]).toBe('pasid: PASID cache DID=2 PASID=1')
  })

  it('that got another domain-id leaves translations of the old one, which a flush of the new one does not drop', () => {
    const guest = watched()
    guest.dma(PAGE, 'r', 1)
    guest.path(FIRST + 0x8000, PAGE, MOVED | FS.PAGE, FS.TABLE)
    guest.firstStage(1, 6, FIRST + 0x8000)
    guest.queue(IQ.pasid(2, 1), IQ.piotlb(6, 1), IQ.fence)
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x308000')
    expect(told(guest)).toEqual(['iotlb: P_IOTLB DID=2 PASID=1 AM=0 IH=1 ADDR=0x400000'])
    const [{ usual, sent }] = reportsOf(guest)
    expect(text(usual as never)).toBe('IOTLB DID=2')
    expect(sent.map(({ command, why }) => `${text(command)}: ${why}`)).toEqual([
      'P_IOTLB DID=6 PASID=1: wrong DID (6, needed 2)',
      'PASID cache DID=2 PASID=1: drops PASID-cache entries alone',
    ])
  })

  it('is kept under the domain-id that it had', () => {
    const guest = watched()
    guest.dma(PAGE, 'r', 1)
    guest.path(FIRST + 0x8000, PAGE, MOVED | FS.PAGE, FS.TABLE)
    guest.firstStage(1, 6, FIRST + 0x8000)
    guest.queue(IQ.pasid(6, 1), IQ.iotlbDomain(2), IQ.fence)
    guest.dma(PAGE, 'r', 1)
    expect(told(guest)).toEqual(['pasid: PASID cache DID=2 PASID=1'])
    expect(reportsOf(guest)[0].sent.map(({ why }) => why)).toContain('wrong DID (6, needed 2)')
  })
})

describe('a context entry', () => {
  it('that was cleared leaves access open', () => {
    const guest = watched()
    const clear = (): void => guest.store(guest.context, 0n)
    const [line] = changed(guest, 1, clear)
    expect(line).toBe('iotlb: P_IOTLB DID=2 PASID=1 AM=0 IH=1 ADDR=0x400000')
    guest.queue(IQ.iotlbDomain(2), IQ.fence)
    guest.dma(PAGE, 'r', 1)
    expect(told(guest)[1]).toBe('context: context cache SID=8')
    expect(reportsOf(guest)[0].fresh).toMatchObject({ status: 2, fault: 0x41 })
    expect(text(reportsOf(guest)[0].usual as never)).toBe('IOTLB DID=2')
  })
})

describe('faults that software does not want to hear of', () => {
  it('are others than those that it does', () => {
    const guest = watched()
    guest.store(FIRST_LEAF, 0n)
    const silence = (): void => guest.store(PASIDS + 64, 0x43n)
    expect(changed(guest, 1, silence)).toEqual(['pasid: PASID cache DID=2 PASID=1'])
    expect(reportsOf(guest)[0]).toMatchObject({ cached: { fault: 0x71 }, fresh: { fault: 0x71 } })
  })
})

describe('what caching mode keeps of what is not there', () => {
  it('needs a flush once it is there', () => {
    const guest = watched({ policy: 'greedy' }, {}, CACHING)
    guest.store(SECOND_LEAF, 0n)
    const lines = changed(guest, 4, () => guest.store(SECOND_LEAF, MOVED | SS.RW))
    expect(lines).toEqual(['iotlb: IOTLB DID=3 AM=0 IH=1 ADDR=0x400000'])
    expect(reportsOf(guest)[0]).toMatchObject({ cached: { status: 2 }, fresh: { status: 1, address: 0x30_9000 } })
  })

  it('is no difference to a unit without it', () => {
    const guest = watched({ policy: 'greedy' })
    guest.store(SECOND_LEAF, 0n)
    expect(changed(guest, 4, () => guest.store(SECOND_LEAF, MOVED | SS.RW))).toEqual([])
    const entry = watched({ policy: 'greedy' })
    entry.store(PASIDS + 64, 0n)
    expect(changed(entry, 1, () => entry.firstStage(1, 2, FIRST))).toEqual([])
  })

  it('is a PASID table entry too', () => {
    const guest = watched({ policy: 'greedy' }, {}, CACHING)
    guest.store(PASIDS + 64, 0n)
    expect(changed(guest, 1, () => guest.firstStage(1, 2, FIRST))).toEqual(['pasid: PASID cache DID=0 PASID=1'])
  })
})

describe('what needs no flush', () => {
  it('is a right more, where the unit asks the tables before it refuses', () => {
    const guest = watched()
    guest.store(FIRST_LEAF, GUEST_PAGE | (FS.PAGE & ~FS.RW))
    expect(changed(guest, 1, () => guest.store(FIRST_LEAF, GUEST_PAGE | FS.PAGE))).toEqual([])
    expect(guest.dma(PAGE, 'w', 1)).toBe('0x308000')
    expect(oracleOf(guest).counts).toMatchObject({ stale: 0, reports: 0 })
  })

  it('counts where the unit believes that the right is missing', () => {
    const guest = watched({ rights: 'strict' })
    guest.store(FIRST_LEAF, GUEST_PAGE | (FS.PAGE & ~FS.RW))
    changed(guest, 1, () => guest.store(FIRST_LEAF, GUEST_PAGE | FS.PAGE))
    expect(guest.dma(PAGE, 'w', 1)).toBe('fault 0x85')
    anotherWait(guest)
    expect(guest.dma(PAGE, 'w', 1)).toBe('fault 0x85')
    expect(told(guest)).toEqual(['iotlb: P_IOTLB DID=2 PASID=1 AM=0 IH=1 ADDR=0x400000'])
  })

  it('is a right less that is not used, but one that could be used is reported at once', () => {
    const guest = watched()
    const lines = changed(guest, 1, () => guest.store(FIRST_LEAF, GUEST_PAGE | (FS.PAGE & ~FS.RW)))
    expect(lines).toEqual(['iotlb: P_IOTLB DID=2 PASID=1 AM=0 IH=1 ADDR=0x400000'])
    expect(reportsOf(guest)[0]).toMatchObject({ cached: { rights: 3 }, fresh: { rights: 1 } })
  })

  it('are access and dirty flags, and bits that are ignored', () => {
    const guest = watched()
    guest.store(FIRST_LEAF, GUEST_PAGE | (FS.PAGE & ~FS.A & ~FS.D))
    guest.dma(PAGE, 'r', 1)
    guest.dma(PAGE, 'w', 1)
    expect(changed(guest, 1, () => guest.store(FIRST_LEAF, GUEST_PAGE | FS.PAGE | (1n << 9n) | (1n << 52n)))).toEqual(
      [],
    )
    expect(oracleOf(guest).counts).toMatchObject({ stale: 0, reports: 0 })
  })
})
