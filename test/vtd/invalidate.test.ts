import { describe, expect, it } from 'vitest'
import { FS, Guest, IQ, SID, SS } from './guest.js'

const PAGE = 0x40_0000n
const FAR = 0x40_2000n

/** The same two pages in the first stage, in the second stage and nested, each under its own PASID and domain-id. */
const ENTRIES = [
  { name: 'FS did 2 pasid 1', pasid: 1, iova: PAGE },
  { name: 'FS did 2 pasid 1 far', pasid: 1, iova: FAR },
  { name: 'FS did 2 pasid 2', pasid: 2, iova: PAGE },
  { name: 'NE did 3 pasid 3', pasid: 3, iova: PAGE },
  { name: 'NE did 3 pasid 3 far', pasid: 3, iova: FAR },
  { name: 'SS did 3 pasid 4', pasid: 4, iova: PAGE },
  { name: 'SS did 3 pasid 4 far', pasid: 4, iova: FAR },
  { name: 'PT did 2 pasid 5', pasid: 5, iova: PAGE },
] as const

const FIRST = 0x100000
const SECOND = 0x110000

/** Everything planted; then every table is emptied, so that only a cached translation still answers. */
function planted(): Guest {
  const guest = new Guest()
  guest.startScalable()
  guest.startQueue()
  for (const iova of [PAGE, FAR]) {
    guest.path(FIRST, iova, 0x200000n | FS.PAGE, FS.TABLE)
    guest.path(SECOND, iova, 0x300000n | SS.RW, SS.RW)
  }
  // What a nested walk reads: the first stage's own tables, and the page it maps, one to one.
  const tables = [0, 1, 2, 3].map((step) => BigInt(FIRST + step * 0x1000))
  for (const gpa of [...tables, 0x200000n]) guest.path(SECOND, gpa, gpa | SS.RW, SS.RW)
  guest.firstStage(1, 2, FIRST)
  guest.firstStage(2, 2, FIRST)
  guest.nested(3, 3, FIRST, SECOND)
  guest.secondStage(4, 3, SECOND)
  guest.passThrough(5, 2)
  for (const { pasid, iova } of ENTRIES) expect(guest.dma(iova, 'r', pasid)).toMatch(/^0x/)
  // Context, directory and PASID entries go, and are forgotten; the IOTLB stays.
  guest.store(guest.context, 0n)
  guest.queue(IQ.contextsAll, IQ.pasidsAll)
  return guest
}

const left = (guest: Guest): string[] =>
  ENTRIES.filter(({ pasid, iova }) => guest.dma(iova, 'r', pasid).startsWith('0x')).map(({ name }) => name)

const without = (...gone: string[]): string[] => ENTRIES.map(({ name }) => name).filter((name) => !gone.includes(name))

describe('an IOTLB entry', () => {
  it('answers without context and PASID entries until it is invalidated', () => {
    expect(left(planted())).toEqual(without())
  })

  it('is not shared between source-ids, nor between requests with and without PASID', () => {
    const guest = planted()
    expect(guest.dma(PAGE, 'r', 1, SID + 1)).toBe('fault 0x41')
    expect(guest.dma(PAGE, 'r', -1)).toBe('fault 0x41')
  })
})

describe('an invalidation drops exactly', () => {
  const cases: readonly [string, readonly [bigint, bigint?], readonly string[]][] = [
    ['nothing, by context', IQ.contextsAll, []],
    ['nothing, by PASID cache', IQ.pasidsAll, []],
    ['everything, by IOTLB global', IQ.iotlbAll, ENTRIES.map(({ name }) => name)],
    [
      'a domain whatever the type, by IOTLB domain',
      IQ.iotlbDomain(2),
      ['FS did 2 pasid 1', 'FS did 2 pasid 1 far', 'FS did 2 pasid 2', 'PT did 2 pasid 5'],
    ],
    [
      'second-stage pages in range and every nested one, by IOTLB page',
      IQ.iotlbPage(3, PAGE),
      ['NE did 3 pasid 3', 'NE did 3 pasid 3 far', 'SS did 3 pasid 4'],
    ],
    [
      'pass-through in range and all of the first stage, by IOTLB page',
      IQ.iotlbPage(2, PAGE),
      ['FS did 2 pasid 1', 'FS did 2 pasid 1 far', 'FS did 2 pasid 2', 'PT did 2 pasid 5'],
    ],
    [
      'the first stage but no pass-through elsewhere, by IOTLB page',
      IQ.iotlbPage(2, 0x80_0000n),
      ['FS did 2 pasid 1', 'FS did 2 pasid 1 far', 'FS did 2 pasid 2'],
    ],
    [
      '2^AM pages with low address bits ignored, by IOTLB page',
      IQ.iotlbPage(3, PAGE + 0x3000n, 2n),
      ['NE did 3 pasid 3', 'NE did 3 pasid 3 far', 'SS did 3 pasid 4', 'SS did 3 pasid 4 far'],
    ],
    ['one PASID, by PIOTLB', IQ.piotlb(2, 1), ['FS did 2 pasid 1', 'FS did 2 pasid 1 far']],
    ['second-stage entries too, by PIOTLB', IQ.piotlb(3, 4), ['SS did 3 pasid 4', 'SS did 3 pasid 4 far']],
    ['pass-through entries too, by PIOTLB', IQ.piotlb(2, 5), ['PT did 2 pasid 5']],
    ['nothing of another domain, by PIOTLB', IQ.piotlb(3, 1), []],
    ['one page of one PASID, by PIOTLB page', IQ.piotlbPage(2, 1, FAR), ['FS did 2 pasid 1 far']],
    ['a nested page, by PIOTLB page', IQ.piotlbPage(3, 3, PAGE), ['NE did 3 pasid 3']],
    ['no second-stage page, by PIOTLB page', IQ.piotlbPage(3, 4, PAGE), []],
    ['no pass-through page, by PIOTLB page', IQ.piotlbPage(2, 5, PAGE), []],
    [
      'the whole space with AM 52, by PIOTLB page',
      IQ.piotlbPage(2, 1, 0n, 52n),
      ['FS did 2 pasid 1', 'FS did 2 pasid 1 far'],
    ],
  ]
  it.each(cases)('%s', (_, descriptor, gone) => {
    const guest = planted()
    guest.queue(descriptor)
    expect(left(guest)).toEqual(without(...gone))
  })

  it('everything when translation goes off, and when SRTP latches a table (ESRTPS)', () => {
    const off = planted()
    off.stop()
    off.start(1n)
    expect(left(off)).toEqual([])
  })
})

describe('a context entry and a PASID entry', () => {
  function running(): Guest {
    const guest = new Guest({ caches: { iotlb: { entries: 0, ways: 1 } } })
    guest.startScalable()
    guest.startQueue()
    guest.path(FIRST, PAGE, 0x200000n | FS.PAGE, FS.TABLE)
    guest.firstStage(1, 2, FIRST)
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x200000')
    return guest
  }

  it('stay cached until their own invalidation names them', () => {
    const guest = running()
    guest.store(guest.context, 0n)
    guest.store(0x5000 + 64, 0n)
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x200000')
    guest.queue(IQ.iotlbAll, IQ.contextDevice(SID + 1), IQ.pasid(2, 2), IQ.pasid(3, 1), IQ.pasidsDomain(3))
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x200000')
    guest.queue(IQ.contextDevice(SID))
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x41')
  })

  it.each([
    ['PASID-selective', IQ.pasid(2, 1)],
    ['domain-selective', IQ.pasidsDomain(2)],
    ['global', IQ.pasidsAll],
  ])('are read again after a %s PASID-cache invalidation', (_, descriptor) => {
    const guest = running()
    guest.store(0x5000 + 64, 0n)
    guest.queue(descriptor)
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x59')
  })

  it('are matched by the domain-id they were cached with, not by the new one', () => {
    const guest = running()
    guest.firstStage(1, 7, 0x600000)
    guest.queue(IQ.pasid(7, 1))
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x200000')
    guest.queue(IQ.pasid(2, 1))
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x71')
  })

  it('fall together by the domain form in scalable mode, and by function mask', () => {
    const first = running()
    first.store(first.context, 0n)
    first.queue(IQ.contextDomain(99))
    expect(first.dma(PAGE, 'r', 1)).toBe('fault 0x41')
    const second = running()
    second.store(second.context, 0n)
    second.queue([0x31n | (BigInt(SID + 7) << 32n)])
    expect(second.dma(PAGE, 'r', 1)).toBe('0x200000')
    second.queue([0x31n | (BigInt(SID + 7) << 32n) | (3n << 48n)])
    expect(second.dma(PAGE, 'r', 1)).toBe('fault 0x41')
  })
})
