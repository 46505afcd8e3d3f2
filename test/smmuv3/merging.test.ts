import { describe, expect, it } from 'vitest'
import { ACCESS, REQUEST } from '../../hw-model/port.js'
import { OFFSET, PAGE_1 } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields } from './bench.js'
import { stalls } from './stalling.js'

const SID = 2
const OTHER = 5
const UNKNOWN = 64
const VA = 0x5000n
const OVFLG = 2 ** 31

/** Two streams with empty tables, whose events may be merged or may not. */
function make(mev: 0 | 1, options: ConstructorParameters<typeof Bench>[0] = {}, s: 0 | 1 = 0): Bench {
  const bench = new Bench({ mergesEvents: true, ...options })
  const cd = bench.alloc()
  bench.cd(cd, { ...contextFields(1, bench.alloc()), S: s })
  for (const sid of [SID, OTHER])
    bench.ste(sid, { V: 1, Config: 0b101, S1ContextPtr: cd, MEV: mev, S1CDMax: 1, S1DSS: 2 })
  return bench
}

describe('[SMMU 7.3.1 Event record merging] as a policy', () => {
  it('leaves out what repeats the record before it, page by page', () => {
    const bench = make(1)
    for (const va of [VA, VA, VA + 0xfffn]) expect(bench.dma(SID, va)).toBe('F_TRANSLATION')
    expect([bench.events(), bench.unit.events.merged]).toEqual([
      [[0x0000000200000010n, 0x0000020800000000n, VA, 0n]],
      2,
    ])
  })

  it.each([
    ['of another page', SID, VA + 0x1000n, {}],
    ['4 GiB away', SID, VA + 2n ** 32n, {}],
    ['that writes', SID, VA, { access: ACCESS.WRITE }],
    ['that is privileged', SID, VA, { access: ACCESS.READ | ACCESS.PRIVILEGED }],
    ['of another stream', OTHER, VA, {}],
    ['with a SubstreamID', SID, VA, { pasid: 1 }],
  ])('keeps the record of an access %s', (_name, sid, va, how) => {
    const bench = make(1)
    bench.dma(SID, VA)
    bench.dma(sid, va, how)
    expect(bench.events().length).toBe(2)
  })

  it('keeps every record of a stream whose MEV is 0', () => {
    const bench = make(0)
    for (let i = 0; i < 3; i++) bench.dma(SID, VA)
    expect(bench.events().length).toBe(3)
  })

  it('merges what comes before an STE whatever MEV would say', () => {
    const bench = make(0)
    for (const sid of [9, 9, UNKNOWN, UNKNOWN]) bench.dma(sid, VA)
    expect(bench.events().map(([dw0]) => dw0 & 0xffn)).toEqual([4n, 2n])
    bench.write(OFFSET.CR0, 0b1100)
    bench.write64(OFFSET.STRTAB_BASE, 2 ** 40)
    bench.write(OFFSET.CR0, 0b1101)
    bench.commands([0x04n, 0x1fn])
    bench.dma(SID, VA)
    bench.dma(SID, VA)
    expect(bench.events().map(([dw0]) => dw0 & 0xffn)).toEqual([3n])
  })

  it('keeps a record whose twin is consumed, or is no longer the last', () => {
    const bench = make(1)
    bench.dma(SID, VA)
    bench.events()
    bench.dma(SID, VA)
    bench.dma(OTHER, VA)
    bench.dma(SID, VA)
    expect(bench.events().length).toBe(3)
    expect(bench.unit.events.merged).toBe(0)
  })

  it('does not overflow a full queue with what is in it, and does with anything else', () => {
    const bench = make(1, { eventLg2: 0 })
    bench.dma(SID, VA)
    bench.dma(SID, VA)
    expect(bench.read(PAGE_1 + OFFSET.EVENTQ_PROD)).toBe(1)
    bench.dma(OTHER, VA)
    expect(bench.read(PAGE_1 + OFFSET.EVENTQ_PROD)).toBe(1 + OVFLG)
  })

  it('counts nothing as merged that a disabled queue would not have taken', () => {
    const bench = make(1)
    bench.dma(SID, VA)
    bench.write(OFFSET.CR0, 0b1001)
    bench.dma(SID, VA)
    expect([bench.unit.events.merged, bench.unit.events.dropped]).toEqual([0, 1])
  })

  it('merges no stalls', () => {
    const bench = make(1, { id: stalls(8) }, 1)
    bench.dma(SID, VA)
    bench.dma(SID, VA)
    expect([bench.events().length, bench.unit.events.merged]).toEqual([2, 0])
  })

  it('is off unless it is asked for', () => {
    const bench = make(1, { mergesEvents: false })
    bench.dma(SID, VA)
    bench.dma(SID, VA)
    expect(bench.events().length).toBe(2)
  })

  it('keeps what a unit that is off records: no STE lets it be merged', () => {
    const bench = make(1)
    bench.write(OFFSET.CR0, 0b1100)
    for (const va of [VA, VA + 8n]) {
      const transaction = Object.assign(bench.transaction(SID, va), { type: REQUEST.TRANSLATED })
      bench.outcomeOf((outcome) => bench.unit.translate(transaction, outcome))
    }

    expect(bench.events().length).toBe(2)
  })
})
