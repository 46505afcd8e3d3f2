/**
 * Caching mode: what faulted stays, under the tags that the manual gives it, until the descriptor that names them. The
 * same changes need no invalidation of a unit without caching mode. [VTD 6.1 Caching Mode, 6.2.2 to 6.2.5]
 */

import { describe, expect, it } from 'vitest'
import type { CacheOptions } from '../../hw-model/vtd/index.js'
import { FS, Guest, IQ, MODE, PASIDS, SID, SS } from './guest.js'

type Descriptor = readonly [bigint, bigint?]

const PAGE = 0x40_0000n
const NEIGHBOUR = PAGE + 0x1000n
const FIRST = 0x100000
const SECOND = 0x140000
const TARGET = 0x30_8000n
const PWSNP = 1n << 23n
const OFF = { entries: 0, ways: 1 } as const

/** CAP with and without CM, which is bit 7. [VTD 11.4.2 CAP_REG] */
const SCALABLE = (isCaching: boolean) => ({ CAP: [isCaching ? 0x226f0686 : 0x226f0606, 0x81d2078c] as const })
const LEGACY = (isCaching: boolean) => ({ CAP: [isCaching ? 0x226f0686 : 0x226f0606, 0x80d2078c] as const })

function scalable(isCaching: boolean, caches: CacheOptions = {}): Guest {
  const guest = new Guest({ ids: SCALABLE(isCaching), caches: { faults: true, ...caches } })
  guest.startScalable()
  guest.startQueue()
  return guest
}

interface Row {
  readonly what: string
  readonly caches?: CacheOptions
  /** Tables with something wrong. */
  readonly prepare: (guest: Guest) => void
  readonly use: (guest: Guest) => string
  readonly fault: string
  readonly mend: (guest: Guest) => void
  readonly stays: readonly Descriptor[]
  readonly goes: readonly Descriptor[]
  readonly fixed: string
}

const passes = (guest: Guest): string => guest.dma(PAGE, 'r', 1)
const secondStage = (guest: Guest): void => {
  guest.path(SECOND, PAGE, 0n, SS.RW)
  guest.secondStage(1, 3, SECOND)
}
const mapSecond = (guest: Guest): void => guest.path(SECOND, PAGE, TARGET | SS.RW, SS.RW)
const nested = (guest: Guest): void => {
  guest.path(FIRST, PAGE, TARGET | FS.PAGE, FS.TABLE)
  for (let step = 0; step < 4; step++) {
    const table = BigInt(FIRST + step * 0x1000)
    guest.path(SECOND, table, table | SS.RW, SS.RW)
  }
  guest.nested(1, 3, FIRST, SECOND)
}

const ROWS: readonly Row[] = [
  {
    what: 'an absent context entry, by source-id',
    prepare: (guest) => guest.store(guest.context, 0n),
    use: passes,
    fault: 'fault 0x41',
    mend: (guest) => {
      guest.store(guest.context, BigInt(guest.directory) | 9n)
      guest.passThrough(1, 2)
    },
    stays: [IQ.contextDevice(SID + 1), IQ.pasidsAll, IQ.iotlbAll],
    goes: [IQ.contextDevice(SID)],
    fixed: '0x400000',
  },
  {
    what: 'a context entry with reserved bits, which the domain form drops like all',
    prepare: (guest) => guest.store(guest.context, BigInt(guest.directory) | 0x109n),
    use: passes,
    fault: 'fault 0x42',
    mend: (guest) => {
      guest.store(guest.context, BigInt(guest.directory) | 9n)
      guest.passThrough(1, 2)
    },
    stays: [IQ.pasidsAll, IQ.iotlbAll],
    goes: [IQ.contextDomain(77)],
    fixed: '0x400000',
  },
  {
    what: 'an absent root entry, for each source-id that met it',
    prepare: (guest) => guest.store(0x1000, 0n),
    use: passes,
    fault: 'fault 0x39',
    mend: (guest) => {
      guest.store(0x1000, 0x2001n)
      guest.passThrough(1, 2)
    },
    stays: [IQ.pasidsAll, IQ.iotlbAll],
    goes: [IQ.contextsAll],
    fixed: '0x400000',
  },
  {
    what: 'an absent PASID entry, under domain-id 0',
    prepare: () => {},
    use: passes,
    fault: 'fault 0x59',
    mend: (guest) => guest.passThrough(1, 2),
    stays: [IQ.pasid(0, 2), IQ.pasidsDomain(2), IQ.contextsAll, IQ.iotlbAll, IQ.piotlb(0, 1)],
    goes: [IQ.pasid(0, 1)],
    fixed: '0x400000',
  },
  {
    what: 'a PASID entry with reserved bits, which goes with domain-id 0',
    prepare: (guest) => guest.store(PASIDS + 64, 0x109n | 0x20n, 2n | PWSNP),
    use: passes,
    fault: 'fault 0x5a',
    mend: (guest) => guest.passThrough(1, 2),
    stays: [IQ.pasidsDomain(2), IQ.pasid(2, 3)],
    goes: [IQ.pasidsDomain(0)],
    fixed: '0x400000',
  },
  {
    what: 'an absent PASID directory entry',
    prepare: (guest) => guest.store(guest.directory, 0n),
    use: passes,
    fault: 'fault 0x51',
    mend: (guest) => {
      guest.store(guest.directory, BigInt(PASIDS) | 1n)
      guest.passThrough(1, 2)
    },
    stays: [IQ.pasid(0, 2), IQ.iotlbAll],
    goes: [IQ.pasidsAll],
    fixed: '0x400000',
  },
  {
    what: 'a faulted second-stage result in the IOTLB, as the translation would be',
    caches: { walk2: OFF },
    prepare: secondStage,
    use: passes,
    fault: 'fault 0x79',
    mend: mapSecond,
    stays: [
      IQ.iotlbPage(3, NEIGHBOUR),
      IQ.iotlbPage(4, PAGE),
      IQ.piotlbPage(3, 1, PAGE),
      IQ.pasidsAll,
      IQ.contextsAll,
      IQ.iotlbDomain(0),
    ],
    goes: [IQ.iotlbPage(3, PAGE, IQ.IH)],
    fixed: '0x308000',
  },
  {
    what: 'second-stage reserved bits, until PIOTLB names domain-id and PASID',
    caches: { walk2: OFF },
    prepare: (guest) => {
      guest.path(SECOND, PAGE, TARGET | SS.RW | (1n << 51n), SS.RW)
      guest.secondStage(1, 3, SECOND)
    },
    use: passes,
    fault: 'fault 0x7a',
    mend: mapSecond,
    stays: [IQ.piotlb(3, 2), IQ.piotlb(2, 1)],
    goes: [IQ.piotlb(3, 1)],
    fixed: '0x308000',
  },
  {
    what: 'a right that the second stage did not give',
    prepare: (guest) => {
      guest.path(SECOND, PAGE, TARGET | SS.R, SS.RW)
      guest.secondStage(1, 3, SECOND)
    },
    use: (guest) => guest.dma(PAGE, 'w', 1),
    fault: 'fault 0x85',
    mend: mapSecond,
    stays: [IQ.iotlbPage(3, NEIGHBOUR)],
    goes: [IQ.iotlbPage(3, PAGE, IQ.IH)],
    fixed: '0x308000',
  },
  {
    what: 'the second-stage part of a nested result',
    caches: { walk2: OFF },
    prepare: nested,
    use: passes,
    fault: 'fault 0x79',
    mend: (guest) => guest.path(SECOND, TARGET, TARGET | SS.RW, SS.RW),
    stays: [IQ.piotlbPage(3, 1, NEIGHBOUR), IQ.piotlbPage(3, 2, PAGE)],
    goes: [IQ.piotlbPage(3, 1, PAGE, IQ.IH)],
    fixed: '0x308000',
  },
  {
    what: 'a nested result, of which any second-stage page of the domain may be the reason',
    caches: { walk2: OFF },
    prepare: nested,
    use: passes,
    fault: 'fault 0x79',
    mend: (guest) => guest.path(SECOND, TARGET, TARGET | SS.RW, SS.RW),
    stays: [IQ.iotlbPage(2, TARGET)],
    goes: [IQ.iotlbPage(3, 0x9_0000_0000n, IQ.IH)],
    fixed: '0x308000',
  },
  {
    what: 'a second-stage entry above the pages, until IH is clear',
    caches: { iotlb: OFF },
    prepare: (guest) => {
      secondStage(guest)
      guest.store(SECOND + 0x2000 + 2 * 8, 0n)
    },
    use: passes,
    fault: 'fault 0x79',
    mend: mapSecond,
    stays: [IQ.iotlbPage(3, PAGE, IQ.IH), IQ.piotlb(3, 1), IQ.iotlbPage(3, PAGE + 0x20_0000n), IQ.iotlbDomain(2)],
    goes: [IQ.iotlbPage(3, PAGE + 0x1f_f000n)],
    fixed: '0x308000',
  },
  {
    what: 'a second-stage entry above the pages that has reserved bits',
    caches: { iotlb: OFF },
    prepare: (guest) => {
      secondStage(guest)
      guest.store(SECOND + 0x2000 + 2 * 8, 0x803n)
    },
    use: passes,
    fault: 'fault 0x7a',
    mend: mapSecond,
    stays: [IQ.iotlbPage(3, PAGE, IQ.IH)],
    goes: [IQ.iotlbDomain(3)],
    fixed: '0x308000',
  },
]

describe('a large leaf that faulted', () => {
  it.each([
    ['absent', 0x80n, '0x79'],
    ['with reserved bits', 0x1083n, '0x7a'],
  ])('is no paging-structure entry: IH drops what is kept of it (%s)', (_what, bad, code) => {
    const guest = scalable(true)
    secondStage(guest)
    guest.store(SECOND + 0x2000 + 2 * 8, bad)
    expect(passes(guest)).toBe(`fault ${code}`)
    guest.store(SECOND + 0x2000 + 2 * 8, 0x60_0000n | 0x83n)
    expect(passes(guest)).toBe(`fault ${code}`)
    guest.queue(IQ.iotlbPage(3, PAGE, IQ.IH))
    expect(passes(guest)).toBe('0x600000')
  })
})

describe('what faulted', () => {
  it.each(ROWS)('is kept with caching mode: $what', (row) => {
    const { caches, prepare, use, fault, mend, stays, goes, fixed } = row
    const guest = scalable(true, caches)
    prepare(guest)
    expect(use(guest)).toBe(fault)
    mend(guest)
    expect(use(guest)).toBe(fault)
    guest.queue(...stays)
    expect(use(guest)).toBe(fault)
    guest.queue(...goes)
    expect(use(guest)).toBe(fixed)
  })

  it.each(ROWS)('is not kept without caching mode: $what', ({ caches, prepare, use, fault, mend, fixed }) => {
    const guest = scalable(false, caches)
    prepare(guest)
    expect(use(guest)).toBe(fault)
    mend(guest)
    expect(use(guest)).toBe(fixed)
  })

  it.each(ROWS)('is not kept by a unit that makes no use of caching mode: $what', (row) => {
    const guest = scalable(true, { ...row.caches, faults: false })
    row.prepare(guest)
    expect(row.use(guest)).toBe(row.fault)
    row.mend(guest)
    expect(row.use(guest)).toBe(row.fixed)
  })

  it.each(ROWS)('is recorded each time, and seen by who asks what is missing: $what', (row) => {
    const guest = scalable(true, row.caches)
    row.prepare(guest)
    row.use(guest)
    row.mend(guest)
    row.use(guest)
    expect(guest.unit.counters.faults).toBe(2)
  })
})

describe('with caching mode', () => {
  it('a faulted PASID entry goes with its PASID under whatever domain-id, as Linux names the new one', () => {
    const guest = scalable(true)
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x59')
    expect(guest.dma(PAGE, 'r', 2)).toBe('fault 0x59')
    guest.passThrough(1, 2)
    guest.passThrough(2, 2)
    guest.queue(IQ.pasid(2, 1))
    expect([guest.dma(PAGE, 'r', 1), guest.dma(PAGE, 'r', 2)]).toEqual(['0x400000', 'fault 0x59'])
  })

  it('a faulted context entry of legacy mode is dropped under domain-id 0 alone', () => {
    for (const isCaching of [true, false]) {
      const guest = new Guest({ preset: 'vtd-legacy', ids: LEGACY(isCaching), caches: { faults: true } })
      guest.store(0x1000, 0x2001n, 0n)
      guest.start(MODE.LEGACY)
      guest.startQueue(false)
      expect(guest.dma(PAGE)).toBe('fault 0x2')
      // Pass-through is TT 10, AW 2; the domain-id is 5.
      guest.store(0x2000 + SID * 16, 9n, 0x502n)
      if (isCaching) {
        expect(guest.dma(PAGE)).toBe('fault 0x2')
        guest.queue([0x31n | (5n << 16n) | (BigInt(SID) << 32n)], IQ.contextDomain(5))
        expect(guest.dma(PAGE)).toBe('fault 0x2')
        guest.queue(IQ.contextDevice(SID))
      }
      expect(guest.dma(PAGE)).toBe('0x400000')
    }
  })

  it('nothing that the first stage refused is ever kept', () => {
    const guest = scalable(true, { policy: 'greedy' })
    guest.path(FIRST, PAGE, 0n, FS.TABLE)
    guest.firstStage(1, 2, FIRST)
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x71')
    guest.path(FIRST, PAGE, TARGET | (FS.PAGE & ~FS.RW), FS.TABLE)
    expect([guest.dma(PAGE, 'w', 1), guest.unit.iotlbEntries]).toEqual(['fault 0x85', 0])
    guest.path(FIRST, PAGE, TARGET | FS.PAGE, FS.TABLE)
    expect(guest.dma(PAGE, 'w', 1)).toBe('0x308000')
    nested(guest)
    guest.path(SECOND, TARGET, TARGET | SS.RW, SS.RW)
    guest.path(FIRST, PAGE, 0n, FS.TABLE)
    guest.queue(IQ.pasidsAll, IQ.iotlbAll, IQ.fence)
    expect([guest.dma(PAGE, 'r', 1), guest.unit.iotlbEntries]).toEqual(['fault 0x71', 0])
    guest.path(FIRST, PAGE, TARGET | FS.PAGE, FS.TABLE)
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x308000')
  })

  it('a pass-through entry keeps what is beyond the host width, and the interrupt range', () => {
    const guest = new Guest({
      preset: 'vtd-scalable-57',
      ids: { CAP: [0x22780e86, 0x91d2078c], hawBits: 48 },
      caches: { faults: true },
    })
    guest.startScalable()
    guest.startQueue()
    guest.passThrough(1, 2)
    const beyond = 1n << 48n
    expect([guest.dma(beyond, 'r', 1), guest.dma(0xfee00000n, 'r', 1)]).toEqual(['fault 0x83', 'fault 0x87'])
    guest.path(SECOND, 0xfee00000n, TARGET | SS.RW, SS.RW)
    guest.secondStage(1, 2, SECOND)
    guest.queue(IQ.pasidsAll)
    expect([guest.dma(beyond, 'r', 1), guest.dma(0xfee00000n, 'r', 1)]).toEqual(['fault 0x83', 'fault 0x87'])
    guest.queue(IQ.iotlbPage(2, 0xfee00000n))
    expect([guest.dma(beyond, 'r', 1), guest.dma(0xfee00000n, 'r', 1)]).toEqual(['fault 0x83', '0x308000'])
    guest.queue(IQ.piotlb(2, 1))
    expect(guest.dma(beyond, 'r', 1)).toBe('fault 0x84')
  })

  it('a kept fault answers requests with the same needs, and no others', () => {
    const guest = scalable(true)
    guest.path(SECOND, PAGE, TARGET | SS.W, SS.RW)
    guest.secondStage(1, 3, SECOND)
    expect([guest.dma(PAGE, 'r', 1), guest.out.hit]).toEqual(['fault 0x86', 0])
    expect([guest.dma(PAGE, 'r', 1), guest.out.hit]).toEqual(['fault 0x86', 1])
    expect(guest.dma(PAGE, 'w', 1)).toBe('0x308000')
  })

  it('FPD of the entries on the way holds for a kept fault too', () => {
    const guest = scalable(true)
    secondStage(guest)
    // FPD is bit 1 of the PASID entry.
    guest.secondStage(1, 3, SECOND, 2n)
    const records = (): bigint => guest.read(0x220 + 12) >> 31n
    for (let i = 0; i < 2; i++) expect([guest.dma(PAGE, 'r', 1), records()]).toEqual(['fault 0x79', 0n])
    expect(guest.out.hit).toBe(1)
    const faulty = scalable(true)
    faulty.store(PASIDS + 64, 2n)
    const recorded = (): bigint => faulty.read(0x220 + 12) >> 31n
    for (let i = 0; i < 2; i++) expect([faulty.dma(PAGE, 'r', 1), recorded()]).toEqual(['fault 0x59', 0n])
  })

  it('accessed flags of what is not there stay as they are', () => {
    const guest = scalable(true)
    // SSADE is bit 9.
    guest.path(SECOND, PAGE, 0n, SS.RW)
    guest.secondStage(1, 3, SECOND, 0x200n)
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x79')
    expect([guest.load(SECOND) & SS.A, guest.load(SECOND + 0x3000)]).toEqual([SS.A, 0n])
  })

  it('a context entry that only PASIDE spares some requests from keeps both its answers', () => {
    const guest = new Guest({ preset: 'vtd-full', caches: { faults: true } })
    const full = guest.read(0x08, 8)
    const caching = new Guest({
      preset: 'vtd-full',
      ids: { CAP: [Number(full & 0xffffffffn) | 0x80, Number(full >> 32n)] },
      caches: { faults: true },
    })
    // EPTR is bit 6, DTE bit 2; PASIDE, bit 3, is clear.
    caching.startScalable(0x45n)
    for (let i = 0; i < 2; i++) {
      expect([caching.dma(PAGE), caching.dma(PAGE, 'r', 1)]).toEqual(['fault 0x43', 'fault 0x45'])
    }
  })
})
