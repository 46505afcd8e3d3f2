import { describe, expect, it } from 'vitest'
import { Outcome, STATUS, Transaction, type WalkStep } from '../../hw-model/port.js'
import { CONFIG } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, GUEST, S1, S2, stageTwoFields } from './bench.js'

const VA = 0x5000n

function explain(bench: Bench, sid: number): { steps: WalkStep[]; outcome: Outcome } {
  const transaction = new Transaction()
  const outcome = new Outcome()
  const steps: WalkStep[] = []
  transaction.rid = sid
  transaction.lo = Number(VA)
  bench.unit.explain(transaction, outcome, { step: (step) => steps.push(step) })
  return { steps, outcome }
}

function nested(): { bench: Bench; cd: number; s1: number; s2: number } {
  const bench = new Bench()
  const [s2, cd, s1] = [bench.alloc(), bench.alloc(), bench.alloc()]
  bench.map(s1, VA, BigInt(GUEST + 0x90000000) | S1.RW, 3, GUEST)
  for (let pa = 0; pa < 0x1000000; pa += 4096) bench.map(s2, BigInt(GUEST + pa), BigInt(pa) | S2.RW)
  bench.map(s2, BigInt(GUEST + 0x90000000), 0xa0000000n | S2.RW)
  bench.cd(cd, contextFields(7, GUEST + s1))
  bench.ste(3, { ...stageTwoFields(2, s2), V: 1, Config: CONFIG.NESTED, S1ContextPtr: GUEST + cd })
  return { bench, cd, s1, s2 }
}

describe('explaining a nested walk', () => {
  it('shows the STE, the CD behind stage 2, and every table entry behind its own', () => {
    const { bench, cd, s1 } = nested()
    const { steps, outcome } = explain(bench, 3)
    const walk = ['stage 2 level 0', 'stage 2 level 1', 'stage 2 level 2', 'stage 2 level 3']
    const tables = [0, 1, 2, 3].flatMap((level) => [...walk, `stage 1 level ${level}`])
    const entries = steps.filter(({ stage }) => stage !== undefined)
    expect(entries.every(({ what, stage }) => what === `stage-${stage} table entry`)).toBe(true)
    const names = steps.map(({ what, stage, level }) => (stage === undefined ? what : `stage ${stage} level ${level}`))
    expect(names).toEqual(['STE', ...walk, 'CD', ...tables, ...walk, 'output'])
    expect([outcome.status, outcome.address]).toEqual([STATUS.OK, 0xa0000000])
    const shown = steps.find(({ what }) => what === 'CD')
    expect([shown?.address, shown?.guestAddress, shown?.fields?.['ASID']]).toEqual([cd, GUEST + cd, 7])
    const root = steps.find(({ stage, level }) => stage === 1 && level === 0)
    expect([root?.address, root?.guestAddress, root?.verdict]).toEqual([s1, GUEST + s1, 'next table'])
  })

  it('is fresh where the caches are stale, and changes neither them nor the event queue', () => {
    const { bench, s2 } = nested()
    expect(bench.dma(3, VA)).toBe('ok a0000000')
    bench.map(s2, BigInt(GUEST + 0x90000000), 0n)
    const { steps, outcome } = explain(bench, 3)
    expect([outcome.status, bench.describe(outcome)]).toEqual([STATUS.FAULT, 'F_TRANSLATION'])
    expect(steps.at(-1)?.verdict).toBe('F_TRANSLATION')
    expect(steps.at(-1)?.fields).toEqual({ S2: 1, CLASS: 2, PnU: 0, InD: 0, RnW: 1 })
    expect(bench.dma(3, VA)).toBe('ok a0000000')
    expect(bench.events()).toEqual([])
  })

  it('names the stream table when the stream does not exist', () => {
    const { bench } = nested()
    const { steps } = explain(bench, 64)
    expect(steps.map(({ what }) => what)).toEqual(['stream table', 'fault'])
  })
})

describe('an explained entry that ends a walk', () => {
  it.each([
    ['F_ACCESS: the access flag is clear', 3, 0xb43n],
    ['F_ADDR_SIZE: its address is beyond the output size', 3, (1n << 40n) | S1.RW],
    ['F_TRANSLATION: not valid', 3, 0xf42n],
    ['F_TRANSLATION: level 0 has no block', 0, S1.BLOCK_RW],
    ['F_TRANSLATION: level 3 has no block', 3, S1.BLOCK_RW],
    ['leaf, 1 GiB, read-write, not global', 1, S1.BLOCK_RW],
  ])('says %s', (verdict, level, entry) => {
    const bench = new Bench()
    const [cd, s1] = [bench.alloc(), bench.alloc()]
    bench.map(s1, VA, entry, level)
    // IPS = 2 is 40 bits.
    bench.cd(cd, { ...contextFields(7, s1), IPS: 2 })
    bench.ste(3, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
    const { steps, outcome } = explain(bench, 3)
    const last = steps.at(-2)
    expect([last?.level, last?.verdict]).toEqual([level, verdict])
    const event = verdict.startsWith('leaf') ? 'ok 5000' : verdict.slice(0, verdict.indexOf(':'))
    expect(bench.describe(outcome)).toBe(event)
  })
})
