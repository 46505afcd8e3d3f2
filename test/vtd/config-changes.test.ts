/**
 * What a function is told after its context or PASID entry has changed, for every way to say so and for those that do
 * not: the unit may know a short way to what it keeps, but never one past what it was told to forget.
 * [VTD 6.2.2 Context-Cache, 6.2.3 PASID-Cache, 6.5.2.1, 6.5.2.2, 6.6 Set Root Table Pointer Operation]
 */

import { describe, expect, it } from 'vitest'
import { NO_CACHE } from '../../hw-model/cache/geometry.js'
import { NO_PASID, Outcome, Transaction } from '../../hw-model/port.js'
import { type CacheOptions, type IdRegisters, presetOptions } from '../../hw-model/vtd/index.js'
import { accessOf, FS, Guest, IQ, MODE, PASIDS, REG, SID, SS } from './guest.js'

const ONE = { entries: 1, ways: 1 }

type Descriptor = readonly [bigint, bigint?]

const PAGE = 0x40_0000n
const [FIRST, OTHER_FIRST, SECOND] = [0x100000, 0x110000, 0x140000]
const NEIGHBOUR = SID + 1
/** Translations go first, or a hit needs neither entry. [VTD 6.2.4.1] */
const TRANSLATIONS: Descriptor = IQ.iotlbAll

/** Functions 8 and 9 with one directory: PASIDs 1 and 2 of domain 2, 3 of domain 3. PAGE leads to 0x308000. */
function scalable(caches: CacheOptions = {}, ids: Partial<IdRegisters> = {}): Guest {
  const guest = new Guest({ caches, ids })
  guest.startScalable()
  guest.startQueue()
  guest.store(guest.context + 32, guest.load(guest.context), 0n, 0n, 0n)
  guest.path(FIRST, PAGE, 0x30_8000n | FS.PAGE, FS.TABLE)
  guest.path(OTHER_FIRST, PAGE, 0x30_9000n | FS.PAGE, FS.TABLE)
  for (const [pasid, did] of [
    [1, 2],
    [2, 2],
    [3, 3],
  ] as const) {
    guest.firstStage(pasid, did, FIRST)
    for (const sid of [SID, NEIGHBOUR]) {
      for (let i = 0; i < 3; i++) expect(guest.dma(PAGE, 'r', pasid, sid)).toBe('0x308000')
    }
  }
  return guest
}

/** What PASIDs 1 to 3 of a function are told: 8 for the first tables, 9 for the others, - for nothing. */
const seen = (guest: Guest, sid = SID): string =>
  [1, 2, 3].map((pasid) => /0x30(\d)000/.exec(guest.dma(PAGE, 'r', pasid, sid))?.[1] ?? '-').join('')

describe('a PASID entry with other tables', () => {
  const changed = (...descriptors: readonly Descriptor[]): string[] => {
    const guest = scalable()
    for (const [pasid, did] of [
      [1, 2],
      [2, 2],
      [3, 3],
    ] as const) {
      guest.firstStage(pasid, did, OTHER_FIRST)
    }
    guest.queue(...descriptors, IQ.fence)
    return [seen(guest), seen(guest, NEIGHBOUR), seen(guest)]
  }
  const all = (line: string): string[] => [line, line, line]

  it.each([
    ['nothing at all', [], '888'],
    ['translations alone', [TRANSLATIONS], '888'],
    ['a PASID of another domain', [IQ.pasid(3, 1), TRANSLATIONS], '888'],
    ['one PASID', [IQ.pasid(2, 1), TRANSLATIONS], '988'],
    ['another PASID', [IQ.pasid(3, 3), TRANSLATIONS], '889'],
    ['a domain', [IQ.pasidsDomain(2), TRANSLATIONS], '998'],
    ['another domain', [IQ.pasidsDomain(3), TRANSLATIONS], '889'],
    ['everything', [IQ.pasidsAll, TRANSLATIONS], '999'],
    ['the PASID cache, but not the translations that it led to', [IQ.pasidsAll], '888'],
    ['one PASID, and its translations', [IQ.pasid(2, 2), IQ.piotlb(2, 2)], '898'],
    ['one PASID, and the page', [IQ.pasid(2, 2), IQ.piotlbPage(2, 2, PAGE)], '898'],
    ['one PASID, and the page of another', [IQ.pasid(2, 2), IQ.piotlbPage(2, 1, PAGE)], '888'],
    // Context entries lead to PASID entries, which are looked up anew. [VTD 6.2.2.1]
    ['the function, whose neighbour has kept its own', [IQ.pasidsAll, IQ.contextDevice(SID), TRANSLATIONS], '999'],
  ] as const)('is met after what must drop it, and it alone: %s', (_, descriptors, expected) => {
    expect(changed(...descriptors)).toEqual(all(expected))
  })

  it.each([
    ['not present', 0x40n, 0n, 'fault 0x59'],
    ['pass-through', 0x109n, 2n | (1n << 23n), '0x400000'],
    ['of second-stage tables', BigInt(SECOND) | 0x89n, 2n | (1n << 23n), '0x30a000'],
    ['of an encoding that is none', 0x1c1n, 2n, 'fault 0x5b'],
  ] as const)('is met as what it is now, each time: %s', (_, low, high, expected) => {
    const guest = scalable()
    guest.path(SECOND, PAGE, 0x30_a000n | SS.RW, SS.RW)
    for (let i = 0; i < 2; i++) {
      guest.store(PASIDS + 64, low, high)
      guest.queue(IQ.pasid(2, 1), IQ.iotlbDomain(2), IQ.fence)
      expect([guest.dma(PAGE, 'r', 1), guest.dma(PAGE, 'r', 1)]).toEqual([expected, expected])
      guest.firstStage(1, 2, FIRST)
      guest.queue(IQ.pasidsAll, TRANSLATIONS, IQ.fence)
      expect(seen(guest)).toBe('888')
    }
  })

  it('lets supervisors in with SRE, and keeps them out without', () => {
    const guest = scalable()
    const supervisor = (): string[] => [guest.dma(PAGE, 'rp', 1), guest.dma(PAGE, 'rp', 1), guest.dma(PAGE, 'r', 1)]
    for (let i = 0; i < 2; i++) {
      expect(supervisor()).toEqual([expect.stringMatching(/^fault/), expect.stringMatching(/^fault/), '0x308000'])
      guest.firstStage(1, 2, FIRST, 1n)
      guest.queue(IQ.pasid(2, 1), IQ.piotlb(2, 1), IQ.fence)
      expect(supervisor()).toEqual(['0x308000', '0x308000', '0x308000'])
      guest.firstStage(1, 2, FIRST)
      guest.queue(IQ.pasid(2, 1), IQ.piotlb(2, 1), IQ.fence)
    }
  })
})

describe('a context entry that is cleared', () => {
  const changed = (...descriptors: readonly Descriptor[]): string[] => {
    const guest = scalable()
    for (const at of [guest.context, guest.context + 32]) guest.store(at, 0n)
    guest.queue(...descriptors, IQ.fence)
    return [seen(guest), seen(guest, NEIGHBOUR)]
  }

  it.each([
    ['nothing at all', [], ['888', '888']],
    ['translations alone', [TRANSLATIONS], ['888', '888']],
    ['PASID entries and translations', [IQ.pasidsAll, TRANSLATIONS], ['888', '888']],
    ['another function', [IQ.contextDevice(NEIGHBOUR), TRANSLATIONS], ['888', '---']],
    ['the function', [IQ.contextDevice(SID), TRANSLATIONS], ['---', '888']],
    ['two functions by a mask', [[0x31n | (BigInt(SID) << 32n) | (3n << 48n)], TRANSLATIONS], ['---', '---']],
    // In scalable mode contexts have no domain, and its form is the global one.
    ['a domain', [IQ.contextDomain(77), TRANSLATIONS], ['---', '---']],
    ['everything', [IQ.contextsAll, TRANSLATIONS], ['---', '---']],
    ['contexts, but not the translations', [IQ.contextsAll], ['888', '888']],
  ] as const)('is met after what must drop it, and it alone: %s', (_, descriptors, expected) => {
    expect(changed(...(descriptors as readonly Descriptor[]))).toEqual(expected)
  })

  it('leads to another directory when it is there again', () => {
    const guest = scalable()
    // Another directory, whose table of PASIDs is empty.
    guest.store(0x7000, 0x8001n)
    guest.store(guest.context, 0x7009n)
    guest.queue(IQ.contextDevice(SID), IQ.pasidsAll, TRANSLATIONS, IQ.fence)
    expect([seen(guest), seen(guest, NEIGHBOUR)]).toEqual(['---', '888'])
  })
})

describe('legacy mode', () => {
  const ROOT = 0x1000
  const OTHER_ROOT = 0x7000
  const CONTEXT = 0x2000 + SID * 16
  const TABLES = [0x140000, 0x150000, 0x160000] as const

  /** Functions 8, 9 and 10 with domains 3, 3 and 4. */
  function legacy(ids: Partial<IdRegisters> = {}, hasQueue = true): Guest {
    // Tables of one domain are alike to software that obeys; here they are not, and must be read.
    const guest = new Guest({ preset: 'vtd-legacy', ids, caches: { walk1: NO_CACHE, walk2: NO_CACHE } })
    for (const [i, table] of TABLES.entries()) guest.path(table, PAGE, (0x30_8000n + BigInt(i) * 0x1000n) | 3n, 3n)
    guest.store(ROOT, 0x2001n, 0n)
    for (let i = 0; i < 3; i++) lead(guest, i, TABLES[0])
    guest.start(MODE.LEGACY)
    if (hasQueue) guest.startQueue(false)
    for (let i = 0; i < 3; i++) expect(functions(guest)).toBe('888')
    return guest
  }

  const lead = (guest: Guest, which: number, table: number): void =>
    guest.store(CONTEXT + which * 16, BigInt(table) | 1n, which === 2 ? 0x402n : 0x302n)

  const functions = (guest: Guest): string =>
    [0, 1, 2].map((i) => /0x30(\d)000/.exec(guest.dma(PAGE, 'r', NO_PASID, SID + i))?.[1] ?? '-').join('')

  it.each([
    ['nothing at all', [TRANSLATIONS], '888'],
    ['one function', [[0x31n | (BigInt(SID) << 32n) | (3n << 16n)], TRANSLATIONS], '988'],
    ['one function of another domain', [[0x31n | (BigInt(SID) << 32n) | (4n << 16n)], TRANSLATIONS], '888'],
    ['a domain', [IQ.contextDomain(3), TRANSLATIONS], '998'],
    ['another domain', [IQ.contextDomain(4), TRANSLATIONS], '889'],
    ['everything', [IQ.contextsAll, TRANSLATIONS], '999'],
  ] as const)('meets a changed context after what must drop it, and it alone: %s', (_, descriptors, expected) => {
    const guest = legacy()
    for (let i = 0; i < 3; i++) lead(guest, i, TABLES[1])
    guest.queue(...(descriptors as readonly Descriptor[]), IQ.fence)
    expect([functions(guest), functions(guest)]).toEqual([expected, expected])
  })

  it('meets it after what the registers drop, too', () => {
    // ICC and CIRG of CCMD; IVT and IIRG of IOTLB. [VTD 11.4.5, 11.4.6.2]
    for (const [command, expected] of [
      [(1n << 63n) | (1n << 61n), '999'],
      [(1n << 63n) | (2n << 61n) | 3n, '998'],
      [(1n << 63n) | (3n << 61n) | (BigInt(SID) << 16n) | 3n, '988'],
      [(1n << 63n) | (2n << 61n) | 9n, '888'],
    ] as const) {
      const guest = legacy({}, false)
      for (let i = 0; i < 3; i++) lead(guest, i, TABLES[1])
      guest.write(REG.CCMD, command, 8)
      guest.write(REG.IOTLB, (1n << 63n) | (1n << 60n), 8)
      expect([functions(guest), functions(guest)]).toEqual([expected, expected])
    }
  })

  /** SRTP with another root table: function 8 has other tables there, and 9 and 10 have none. */
  const moved = (guest: Guest): string[] => {
    guest.store(OTHER_ROOT, 0x8001n, 0n)
    guest.store(0x8000 + SID * 16, BigInt(TABLES[2]) | 1n, 0x302n)
    guest.write(REG.RTADDR, BigInt(OTHER_ROOT), 8)
    const before = functions(guest)
    // TE and QIE stay.
    guest.write(REG.GCMD, (1n << 31n) | (1n << 30n) | (1n << 26n))
    return [before, functions(guest), functions(guest)]
  }

  it('has another root table once its pointer is set, where that empties the caches', () => {
    // ESRTPS is bit 63 of CAP.
    const guest = legacy()
    expect(moved(guest)).toEqual(['888', '---', '---'])
    // 0xa is no digit: the page is 0x30a000.
    expect(guest.dma(PAGE)).toBe('0x30a000')
  })

  it('keeps what it knows of the former root table until it is told to forget, where that empties nothing', () => {
    const [lo, hi] = presetOptions('vtd-legacy').ids.CAP
    const guest = legacy({ CAP: [lo, hi & 0x7fffffff] })
    expect(moved(guest)).toEqual(['888', '888', '888'])
    guest.queue(IQ.contextsAll, TRANSLATIONS, IQ.fence)
    expect(guest.dma(PAGE)).toBe('0x30a000')
  })
})

describe('registers', () => {
  it('switch translation off and on, and everything is looked up anew or is as it was kept', () => {
    const guest = scalable()
    guest.firstStage(1, 2, OTHER_FIRST)
    for (let i = 0; i < 2; i++) {
      guest.stop()
      expect(guest.dma(PAGE)).toBe('0x400000')
      guest.start(MODE.SCALABLE)
    }
    // SRTP of `start` has emptied the caches: ESRTPS.
    expect([seen(guest), seen(guest, NEIGHBOUR)]).toEqual(['988', '988'])
  })

  it('of a unit that was reset know nothing', () => {
    const guest = scalable()
    guest.firstStage(1, 2, OTHER_FIRST)
    guest.unit.reset()
    expect(guest.dma(PAGE)).toBe('0x400000')
    guest.start(MODE.SCALABLE)
    expect([seen(guest), seen(guest, NEIGHBOUR)]).toEqual(['988', '988'])
  })

  it('abort everything in that mode, and nothing after it', () => {
    const guest = scalable()
    guest.start(MODE.ABORT)
    expect([seen(guest), seen(guest)]).toEqual(['---', '---'])
    guest.start(MODE.SCALABLE)
    expect([seen(guest), seen(guest)]).toEqual(['888', '888'])
  })
})

describe('who looks on', () => {
  const explained = (guest: Guest): number => {
    const [transaction, out] = [new Transaction(), new Outcome()]
    Object.assign(transaction, { rid: SID, pasid: 1, lo: Number(PAGE), hi: 0, access: accessOf('r') })
    guest.unit.explain(transaction, out, { step: () => undefined })
    return out.address
  }

  it('is told what memory says, and changes nothing of what the function is told', () => {
    const guest = scalable()
    guest.firstStage(1, 2, OTHER_FIRST)
    for (let i = 0; i < 3; i++) expect([explained(guest), seen(guest)]).toEqual([0x309000, '888'])
    guest.queue(IQ.pasid(2, 1), IQ.piotlb(2, 1), IQ.fence)
    for (let i = 0; i < 3; i++) expect([explained(guest), seen(guest)]).toEqual([0x309000, '988'])
  })

  it('is an oracle too, from any time to any other', () => {
    const guest = scalable()
    const watch = (isOn: boolean): void =>
      guest.unit.setOracle(isOn ? { fails: false, graceSyncs: 0, reportLimit: 8 } : null)
    watch(true)
    expect(seen(guest)).toBe('888')
    guest.firstStage(1, 2, OTHER_FIRST)
    expect(seen(guest)).toBe('888')
    watch(false)
    expect(seen(guest)).toBe('888')
    guest.queue(IQ.pasid(2, 1), IQ.piotlb(2, 1), IQ.fence)
    watch(true)
    expect([seen(guest), seen(guest)]).toEqual(['988', '988'])
    expect(guest.unit.oracle?.reports).toEqual([])
    guest.store(guest.context, 0n)
    guest.queue(IQ.contextsAll, TRANSLATIONS, IQ.fence)
    expect(seen(guest)).toBe('---')
    watch(false)
    expect([seen(guest), seen(guest, NEIGHBOUR)]).toEqual(['---', '988'])
  })

  it('may set another cache policy: then nothing is kept of before', () => {
    const guest = scalable()
    guest.firstStage(1, 2, OTHER_FIRST)
    guest.unit.setCachePolicy('hardware')
    expect([seen(guest), seen(guest)]).toEqual(['988', '988'])
    guest.unit.setCachePolicy('off')
    guest.firstStage(1, 2, FIRST)
    expect(seen(guest)).toBe('888')
  })
})

describe('a unit with room for one entry of each kind', () => {
  it('knows of a function what it keeps of it, and no more', () => {
    const guest = scalable({ contextEntries: 1, pasidEntries: 1, iotlb: ONE, walk1: NO_CACHE, walk2: NO_CACHE })
    expect([seen(guest), seen(guest, NEIGHBOUR)]).toEqual(['888', '888'])
    // Function 9 with PASID 3 was the last: all that is kept is its.
    for (const pasid of [1, 2, 3]) guest.firstStage(pasid, pasid === 3 ? 3 : 2, OTHER_FIRST)
    expect(guest.dma(PAGE, 'r', 3, NEIGHBOUR)).toBe('0x308000')
    expect([guest.dma(PAGE, 'r', 1), guest.dma(PAGE, 'r', 3, NEIGHBOUR)]).toEqual(['0x309000', '0x309000'])
  })
})
