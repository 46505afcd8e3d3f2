/** When a stale answer is reported: after a wait, when its page is somebody else's, when somebody asks; and what else a mode does. */

import { describe, expect, it } from 'vitest'
import { type IdRegisters, presetOptions } from '../../hw-model/vtd/index.js'
import { FS, Guest, IQ, MODE, REG, SID } from './guest.js'
import {
  anotherWait,
  FIRST,
  FIRST_LEAF,
  GUEST_PAGE,
  MOVED,
  oracleOf,
  PAGE,
  REPORT,
  reportsOf,
  text,
  told,
  watched,
} from './oracle-guest.js'

const FLUSH = 'iotlb: P_IOTLB DID=2 PASID=1 AM=0 IH=1 ADDR=0x400000'
const NEXT = PAGE + 0x1000n

/** A page that was read, and is not there any more. */
function unmapped(guest: Guest): Guest {
  guest.dma(PAGE, 'r', 1)
  guest.dma(PAGE, 'r', 1)
  guest.store(FIRST_LEAF, 0n)
  return guest
}

describe('a stale answer', () => {
  it('is legal until a wait descriptor is complete, and counted', () => {
    const guest = unmapped(watched())
    for (let i = 0; i < 3; i++) expect(guest.dma(PAGE, 'r', 1)).toBe('0x308000')
    expect(oracleOf(guest).counts).toMatchObject({ stale: 3, inWindow: 3, reports: 0, syncs: 0 })
    anotherWait(guest)
    expect(reportsOf(guest)).toEqual([])
    guest.dma(PAGE, 'r', 1)
    expect(told(guest)).toEqual([FLUSH])
    expect(oracleOf(guest).counts).toMatchObject({ stale: 4, inWindow: 3, reports: 1, syncs: 1 })
  })

  it('is legal for as many waits more as are forgiven', () => {
    const guest = unmapped(watched({}, { graceSyncs: 2 }))
    for (let i = 0; i < 2; i++) {
      anotherWait(guest)
      guest.dma(PAGE, 'r', 1)
      expect(reportsOf(guest)).toEqual([])
    }
    anotherWait(guest)
    guest.dma(PAGE, 'r', 1)
    expect(told(guest)).toEqual([FLUSH])
  })

  it('is not stale when what was missing came before the wait', () => {
    const guest = unmapped(watched())
    guest.queue(IQ.piotlbPage(2, 1, PAGE, IQ.IH), IQ.fence)
    guest.dma(PAGE, 'r', 1)
    expect(oracleOf(guest).counts).toMatchObject({ stale: 0, reports: 0 })
  })

  it('is reported without any wait once its page is another one’s', () => {
    const guest = unmapped(watched())
    guest.store(FIRST_LEAF + 8, GUEST_PAGE | FS.PAGE)
    expect(guest.dma(NEXT, 'r', 1)).toBe('0x308000')
    guest.dma(PAGE, 'r', 1)
    expect(reportsOf(guest).map(({ reason }) => reason)).toEqual(['frame-reused'])
    expect(told(guest)).toEqual([FLUSH])
  })

  it('is found when somebody asks what is stale, and only once', () => {
    const guest = unmapped(watched())
    const { stale } = oracleOf(guest).check(1000)
    expect(stale.map(({ reason, cache, missing }) => [reason, cache, ...missing.map(text)])).toEqual([
      ['checked', 'iotlb', 'P_IOTLB DID=2 PASID=1 AM=0 IH=1 ADDR=0x400000'],
    ])
    expect(oracleOf(guest).check(1000).stale).toEqual([])
    guest.queue(IQ.piotlbPage(2, 1, PAGE), IQ.fence)
    expect(oracleOf(guest).check(1000).stale).toEqual([])
    expect(reportsOf(guest)).toHaveLength(1)
  })

  it('ends aborted where that was asked for, once it is reported', () => {
    const guest = unmapped(watched({}, { fails: true }))
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x308000')
    anotherWait(guest)
    expect([guest.dma(PAGE, 'r', 1), guest.dma(PAGE, 'r', 1)]).toEqual(['aborted', 'aborted'])
    expect(reportsOf(guest)).toHaveLength(1)
    guest.queue(IQ.piotlbPage(2, 1, PAGE), IQ.fence)
    guest.store(FIRST_LEAF, MOVED | FS.PAGE)
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x309000')
  })

  it('of a page whose size changed in one step is a break before make', () => {
    const guest = watched()
    const LARGE = 0x60_0000n
    const entry = FIRST + 0x2000 + Number((PAGE >> 21n) & 511n) * 8
    guest.dma(PAGE, 'r', 1)
    guest.store(entry, LARGE | FS.PAGE | FS.PS)
    guest.dma(PAGE, 'r', 1)
    expect(reportsOf(guest).map(({ reason, changed }) => [reason, changed?.what, changed?.level])).toEqual([
      ['break-before-make', 'first-stage entry', 2],
    ])
  })
})

describe('a unit whose invalidations are late', () => {
  const late = { invalidation: 'late' } as const

  it('is missing a wait, where the rest was sent', () => {
    const guest = unmapped(watched(late))
    guest.queue(IQ.piotlbPage(2, 1, PAGE))
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x308000')
    const [report] = oracleOf(guest).check(1000).stale
    expect(report.missing.map(text)).toEqual(['wait'])
    expect(report.sent.map(({ command, why }) => `${text(command)}: ${why}`)).toEqual([
      'P_IOTLB DID=2 PASID=1 AM=0 IH=0 ADDR=0x400000: no SYNC since',
    ])
  })

  it('is missing what was not sent all the same', () => {
    const guest = unmapped(watched(late))
    guest.queue(IQ.piotlbPage(2, 1, NEXT))
    const [report] = oracleOf(guest).check(1000).stale
    expect(report.missing.map(text)).toEqual(['P_IOTLB DID=2 PASID=1 AM=0 IH=1 ADDR=0x400000'])
  })
})

describe('the oracle', () => {
  it('keeps so many reports, and counts the others', () => {
    const guest = watched({}, { reportLimit: 1 })
    guest.store(FIRST_LEAF + 8, MOVED | FS.PAGE)
    guest.dma(PAGE, 'r', 1)
    guest.dma(NEXT, 'r', 1)
    guest.store(FIRST_LEAF, 0n, 0n)
    anotherWait(guest)
    guest.dma(PAGE, 'r', 1)
    guest.dma(NEXT, 'r', 1)
    expect(oracleOf(guest).counts).toMatchObject({ reports: 2, droppedReports: 1 })
    expect(reportsOf(guest)).toHaveLength(1)
  })

  it('tells each report as it is made', () => {
    const guest = unmapped(watched())
    const heard: number[] = []
    oracleOf(guest).onReport = ({ number }) => heard.push(number)
    anotherWait(guest)
    guest.dma(PAGE, 'r', 1)
    guest.dma(PAGE, 'r', 1)
    expect(heard).toEqual([1])
  })

  it('changes nothing that can be seen: answers, faults, flags, counters of caches', () => {
    const seen = (isWatched: boolean): unknown => {
      const guest = watched()
      if (!isWatched) guest.unit.setOracle(null)
      const answers: unknown[] = []
      guest.store(FIRST_LEAF, GUEST_PAGE | (FS.PAGE & ~FS.A & ~FS.D))
      for (const access of ['r', 'r', 'w', 'w', 'rp']) answers.push(guest.dma(PAGE, access, 1), guest.load(FIRST_LEAF))
      guest.store(FIRST_LEAF, 0n)
      answers.push(guest.dma(PAGE, 'r', 1), guest.dma(NEXT, 'r', 1), guest.dma(PAGE, 'r', 4), guest.dma(PAGE, 'w', 3))
      guest.queue(IQ.piotlbPage(2, 1, PAGE), IQ.fence)
      answers.push(guest.dma(PAGE, 'r', 1), guest.dma(PAGE, 'r', 5), guest.dma(PAGE, 'r', 9))
      const faults = Array.from({ length: 8 }, (_, i) => guest.read(0x220 + i * 16, 8))
      return [answers, faults, guest.unit.counters, guest.unit.cacheStatistics]
    }
    expect(seen(true)).toEqual(seen(false))
  })

  it('counts what a flush has dropped, for a reason and for none', () => {
    const guest = watched()
    guest.store(FIRST_LEAF + 8, MOVED | FS.PAGE)
    guest.dma(PAGE, 'r', 1)
    guest.dma(NEXT, 'r', 1)
    guest.store(FIRST_LEAF, 0n)
    guest.queue(IQ.piotlb(2, 1), IQ.fence)
    expect(oracleOf(guest).counts).toMatchObject({ needed: 1, needless: 1 })
  })

  it('says nothing of what a new root table leads to, where the unit forgets by itself', () => {
    const guest = watched()
    guest.dma(PAGE, 'r', 1)
    guest.store(guest.context, 0n)
    guest.stop()
    guest.start(MODE.SCALABLE)
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x41')
    expect(oracleOf(guest).counts).toMatchObject({ stale: 0, reports: 0 })
  })

  it('is off until it is set, and after it is taken away', () => {
    const guest = unmapped(watched())
    guest.unit.setOracle(null)
    expect(guest.unit.oracle).toBeNull()
    anotherWait(guest)
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x308000')
  })
})

describe('legacy mode', () => {
  const ROOT = 0x1000
  const CONTEXT = 0x2000 + SID * 16
  const SECOND_TABLE = 0x140000
  const OTHER_ROOT = 0x7000

  function legacy(ids: Partial<IdRegisters> = {}): Guest {
    const guest = new Guest({ preset: 'vtd-legacy', ids })
    guest.path(SECOND_TABLE, PAGE, GUEST_PAGE | 3n, 3n)
    guest.store(ROOT, 0x2001n, 0n)
    guest.store(CONTEXT, BigInt(SECOND_TABLE) | 1n, 0x302n)
    guest.start(MODE.LEGACY)
    guest.startQueue(false)
    guest.unit.setOracle(REPORT)
    return guest
  }

  it('is missing a flush of the context and of its domain', () => {
    const guest = legacy()
    expect(guest.dma(PAGE)).toBe('0x308000')
    guest.store(CONTEXT, 0n, 0n)
    anotherWait(guest)
    guest.dma(PAGE)
    expect(told(guest)).toEqual(['iotlb: IOTLB DID=3 AM=0 IH=1 ADDR=0x400000'])
    expect(text(reportsOf(guest)[0].usual as never)).toBe('IOTLB DID=3')
  })

  it('drops a context entry by the domain-id that it had', () => {
    const guest = legacy()
    guest.dma(PAGE)
    guest.store(CONTEXT, 0n, 0n)
    guest.queue(IQ.contextDevice(SID), IQ.iotlbDomain(3), IQ.fence)
    expect(guest.dma(PAGE)).toBe('0x308000')
    expect(told(guest)).toEqual(['context: context cache SID=8 DID=3'])
    expect(reportsOf(guest)[0].sent.map(({ why }) => why)).toContain('wrong DID (0, needed 3)')
  })

  it('is missing a flush of the contexts that another root table has replaced', () => {
    const [lo, hi] = presetOptions('vtd-legacy').ids.CAP
    // Without ESRTPS: SRTP empties no cache.
    const guest = legacy({ CAP: [lo, hi & 0x7fffffff] })
    guest.dma(PAGE)
    guest.dma(PAGE)
    guest.store(OTHER_ROOT, 0n, 0n)
    guest.write(REG.RTADDR, BigInt(OTHER_ROOT), 8)
    // SRTP; TE and QIE stay.
    guest.write(REG.GCMD, (1n << 31n) | (1n << 30n) | (1n << 26n))
    guest.queue(IQ.iotlbAll, IQ.fence)
    expect(guest.dma(PAGE)).toBe('0x308000')
    expect(told(guest)).toEqual(['context: context cache SID=8 DID=3'])
    guest.queue(IQ.contextsAll, IQ.fence, IQ.iotlbAll, IQ.fence)
    expect(guest.dma(PAGE)).toBe('fault 0x1')
    expect(reportsOf(guest)).toHaveLength(1)
  })

  it('hears of registers as of descriptors, and has nothing to wait for', () => {
    const guest = legacy()
    guest.dma(PAGE)
    guest.store(SECOND_TABLE + 0x3000, 0n)
    guest.write(0x18, 1n << 31n)
    guest.unit.run()
    expect(guest.dma(PAGE)).toBe('0x308000')
    // IVT, domain-selective, the wrong domain.
    guest.write(0xf8, (1n << 63n) | (2n << 60n) | (4n << 32n), 8)
    expect(guest.dma(PAGE)).toBe('0x308000')
    expect(told(guest)).toEqual(['iotlb: IOTLB DID=3 AM=0 IH=1 ADDR=0x400000'])
    expect(reportsOf(guest)[0].sent[0]).toMatchObject({
      command: { name: 'IOTLB', operands: { DID: 4 } },
      why: 'wrong DID (4, needed 3)',
    })
    guest.write(0xf8, (1n << 63n) | (2n << 60n) | (3n << 32n), 8)
    expect(guest.dma(PAGE)).toBe('fault 0x6')
  })
})
