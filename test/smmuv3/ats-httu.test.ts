import { describe, expect, it } from 'vitest'
import { ACCESS, Outcome, REQUEST, Transaction } from '../../hw-model/port.js'
import { AtsBench, IPA, PA2, SID, VA } from './ats-bench.js'
import { contextFields, GUEST, S1, S2 } from './bench.js'

const { READ, WRITE } = ACCESS
const AF = 1n << 10n
const DBM = 1n << 51n
/** AP[2], which a dirty page has clear; S2AP[1], which it has set. */
const AP2 = 1n << 7n
const S2AP1 = 1n << 7n

/** The entry of stage 1 that maps VA, and that of stage 2 that maps IPA, without their addresses. */
function entry(bench: AtsBench, root: number, va: bigint, below = 0): bigint {
  let at = root
  for (let level = 0; level < 3; level++) {
    at = Number(bench.peek(at + Number((va >> BigInt(39 - 9 * level)) & 511n) * 8) & 0xfffffffff000n) - below
  }
  return bench.peek(at + Number((va >> 12n) & 511n) * 8) & ~0xfffffffff000n
}

describe('[SMMU 3.13.7.1 Hardware flag update for ATS & PRI]', () => {
  const one = (leaf: bigint, cd = {}): AtsBench => new AtsBench().stageOne({}, leaf, { HA: 1, HD: 1, ...cd })
  const CLEAN = S1.RW | AP2 | DBM

  it('sets the access flag of a page that is granted, and of none that is not', () => {
    const bench = one(S1.RW & ~AF)
    expect(bench.request(VA)).toBe('r-- 80000000/12')
    expect(entry(bench, bench.s1, VA)).toBe(S1.RW)
    // Without HA the page is as if it were not there.
    const without = one(S1.RW & ~AF, { HA: 0, HD: 0 })
    expect(without.request(VA)).toBe('nothing/12')
    expect(entry(without, without.s1, VA)).toBe(S1.RW & ~AF)
  })

  it('makes a clean page dirty for a request to write, and grants that', () => {
    const bench = one(CLEAN)
    expect(bench.request(VA, { access: READ | WRITE })).toBe('rw- 80000000/12')
    expect(entry(bench, bench.s1, VA)).toBe(CLEAN & ~AP2)
  })

  it('leaves a clean page clean for a request that says No Write, and grants no writing', () => {
    const bench = one(CLEAN)
    for (let i = 0; i < 2; i++) expect(bench.request(VA)).toBe('r-- 80000000/12')
    expect(entry(bench, bench.s1, VA)).toBe(CLEAN)
    // The TLB knows the page now, as clean; it becomes dirty in memory all the same.
    expect(bench.request(VA, { access: READ | WRITE })).toBe('rw- 80000000/12')
    expect(entry(bench, bench.s1, VA)).toBe(CLEAN & ~AP2)
  })

  it('grants no writing of a clean page where HD is 0', () => {
    const bench = one(CLEAN, { HD: 0 })
    expect(bench.request(VA, { access: READ | WRITE })).toBe('r-- 80000000/12')
    expect(entry(bench, bench.s1, VA)).toBe(CLEAN)
  })

  it('updates nothing when it is explained', () => {
    const bench = one(S1.RW & ~AF)
    const asking = { rid: SID, type: REQUEST.TRANSLATION, lo: Number(VA & 0xffffffffn), hi: Number(VA >> 32n) }
    const outcome = new Outcome()
    bench.unit.explain(Object.assign(new Transaction(), asking), outcome, { step: () => undefined })
    expect(outcome.rights).toBe(READ)
    expect(entry(bench, bench.s1, VA)).toBe(S1.RW & ~AF)
  })
})

describe('flags of two stages', () => {
  const S2_CLEAN = (S2.RW & ~S2AP1) | DBM
  const two = (leaf1: bigint, leaf2: bigint, ste = {}): AtsBench =>
    new AtsBench().nested({ S2HA: 1, S2HD: 1, ...ste }, leaf1, leaf2)

  it('are set in both for a request to write, under full ATS', () => {
    const bench = two(S1.RW, S2_CLEAN & ~AF)
    expect(bench.request(VA, { access: READ | WRITE })).toBe(`rw- ${PA2.toString(16)}/12`)
    expect(entry(bench, bench.s2, IPA)).toBe(S2_CLEAN | S2AP1)
  })

  it('leave stage 2 clean where stage 1 may not be written', () => {
    const bench = two(S1.RO, S2_CLEAN)
    expect(bench.request(VA, { access: READ | WRITE })).toBe(`r-- ${PA2.toString(16)}/12`)
    expect(entry(bench, bench.s2, IPA)).toBe(S2_CLEAN)
  })

  it('leave stage 2 alone where stage 1 grants nothing', () => {
    const bench = two(S1.RW & ~(1n << 6n), S2_CLEAN & ~AF)
    expect(bench.request(VA, { access: READ | WRITE })).toBe('nothing/12')
    expect(entry(bench, bench.s2, IPA)).toBe(S2_CLEAN & ~AF)
  })

  it('are set by the translated access too, under split-stage ATS', () => {
    const bench = new AtsBench().switch(1).nested({ EATS: 2, S2HA: 1, S2HD: 1 }, S1.RW, S2_CLEAN & ~AF)
    expect(bench.translated(IPA)).toBe('ok a0000000')
    expect(entry(bench, bench.s2, IPA)).toBe(S2_CLEAN)
    expect(bench.translated(IPA, { access: WRITE })).toBe('ok a0000000')
    expect(entry(bench, bench.s2, IPA)).toBe(S2_CLEAN | S2AP1)
  })

  it('of stage 1 are set through stage 2, which becomes dirty where the table is', () => {
    const bench = two(S1.RW & ~AF, S2.RW)
    bench.cd(bench.cdTable, { ...contextFields(7, GUEST + bench.s1), HA: 1 })
    expect(bench.request(VA)).toBe(`r-- ${PA2.toString(16)}/12`)
    expect(entry(bench, bench.s1, VA, GUEST)).toBe(S1.RW)
  })
})
