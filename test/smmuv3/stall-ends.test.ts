import { describe, expect, it } from 'vitest'
import { ACCESS, type WalkStep } from '../../hw-model/port.js'
import { OFFSET } from '../../hw-model/smmuv3/index.js'
import { Bench, S1, stageTwoFields } from './bench.js'
import {
  ABORT,
  OTHER,
  PA,
  PAGE,
  RAZ_WI,
  RETRY,
  resume,
  SID,
  stags,
  stalling,
  stalls,
  stallTerm,
  VA,
} from './stalling.js'

const { READ, WRITE, EXECUTE, PRIVILEGED } = ACCESS

describe('who hears of an end', () => {
  it('may send the next transaction from inside', () => {
    const { bench } = stalling()
    bench.dma(SID, VA)
    bench.dma(SID, VA)
    const answers: string[] = []
    bench.endings.push = (...endings) => {
      for (const [tag] of endings) answers.push(`${tag}: ${bench.dma(SID, VA + BigInt(tag) * 4096n)}`)
      return 0
    }
    bench.commands(resume(ABORT, 0n), resume(ABORT, 1n))
    expect(answers).toEqual(['1: pending 3', '2: pending 4'])
    expect(bench.events().map((record) => record[2])).toEqual([VA, VA, VA + 4096n, VA + 8192n])
  })

  it('may answer further stalls from inside, which end in their turn', () => {
    const { bench } = stalling()
    for (let i = 0; i < 3; i++) bench.dma(SID, VA)
    const order: number[] = []
    bench.endings.push = (...endings) => {
      for (const [tag] of endings) {
        order.push(tag)
        if (tag === 1) bench.write(OFFSET.CR0, 0b1100)
        order.push(-tag)
      }
      return 0
    }
    bench.commands(resume(ABORT, 0n))
    expect(order).toEqual([1, -1, 2, -2, 3, -3])
  })

  it('never hears of it before the transaction is known to be pending', () => {
    const { bench } = stalling()
    bench.interrupts.push = () => {
      bench.commands(resume(ABORT, 0n))
      return 0
    }
    expect(bench.dma(SID, VA)).toBe('pending 1')
    expect([bench.endings, bench.unit.hasWork]).toEqual([[], true])
    bench.unit.run()
    expect([bench.endings, bench.unit.hasWork]).toEqual([[[1, 'aborted']], false])
  })

  it("never hears of it from inside the translation of another, whose record is software's cue", () => {
    const { bench } = stalling()
    bench.dma(SID, VA)
    bench.events()
    let during = -1
    bench.interrupts.push = () => {
      bench.commands(resume(ABORT, 0n))
      during = bench.endings.length
      return 0
    }
    expect([bench.dma(9, VA), during, bench.endings.length]).toEqual(['C_BAD_STE', 0, 0])
    bench.unit.run()
    expect(bench.endings).toEqual([[1, 'aborted']])
  })

  it('hears what was said first, but for a retry that is overtaken by an abort', () => {
    const { bench } = stalling()
    for (let i = 0; i < 2; i++) bench.dma(SID, VA)
    bench.events()
    // The first two are answered while the third is being recorded, so nothing happens before `run`.
    bench.interrupts.push = () => {
      bench.commands(resume(RAZ_WI, 0n), resume(RETRY, 1n), stallTerm(SID))
      return 0
    }
    expect(bench.dma(SID, VA)).toBe('pending 3')
    bench.unit.run()
    expect(bench.endings).toEqual([
      [1, 'raz/wi event 0x00'],
      [2, 'aborted'],
      [3, 'aborted'],
    ])
  })

  it('may meet a stall in the interrupt of a record, which has a tag of its own', () => {
    const { bench } = stalling()
    bench.dma(SID, VA)
    bench.events()
    let inner = ''
    bench.interrupts.push = () => {
      inner = bench.dma(OTHER, VA)
      return 0
    }
    bench.ste(SID, {})
    bench.commands([0x04n, 0x1fn], resume(RETRY, 0n))
    expect([bench.endings, inner]).toEqual([[[1, 'C_BAD_STE']], 'pending 2'])
  })
})

describe('looking at a transaction that would stall', () => {
  it('says so, and holds nothing', () => {
    const { bench } = stalling()
    const steps: WalkStep[] = []
    const transaction = bench.transaction(SID, VA)
    const outcome = bench.outcomeOf((out) => bench.unit.explain(transaction, out, { step: (step) => steps.push(step) }))
    expect(bench.describe(outcome)).toBe('F_TRANSLATION')
    expect(steps.at(-1)).toMatchObject({ what: 'fault', stage: 1, verdict: 'F_TRANSLATION, stalls' })
    expect(steps.find((step) => step.what === 'CD')?.texts).toMatchObject({ S: 'a fault stalls' })
    bench.dma(SID, VA)
    const seen = bench.outcomeOf((out) => bench.unit.peek(transaction, out))
    expect(bench.describe(seen)).toBe('F_TRANSLATION')
    expect(bench.unit.missing(transaction)).toEqual([])
    expect([bench.unit.stalls.recorded, bench.events().length]).toEqual([1, 1])
  })

  it('names stage 2 where its tables say so', () => {
    const bench = new Bench({ id: stalls(1) })
    bench.ste(SID, { ...stageTwoFields(1, bench.alloc()), V: 1, Config: 0b110, S2S: 1 })
    const steps: WalkStep[] = []
    bench.outcomeOf((out) => bench.unit.explain(bench.transaction(SID, VA), out, { step: (step) => steps.push(step) }))
    expect(steps.at(-1)).toMatchObject({ what: 'fault', stage: 2, verdict: 'F_TRANSLATION, stalls' })
    expect(steps[0].texts).toMatchObject({ S2S: 'faults stall' })
  })
})

describe('[SMMU 3.12.2.1 Suppression of duplicate Stall event records] as a policy', () => {
  const options = { suppressesStalls: true }

  it('records one of the stalls of a page, and retries the others when that is answered', () => {
    const { bench, root } = stalling(options)
    for (let i = 0n; i < 3n; i++) expect(bench.dma(SID, PAGE + i)).toBe(`pending ${i + 1n}`)
    expect([stags(bench), bench.unit.stalls.unrecorded]).toEqual([[0n], 2])
    bench.commands(resume(ABORT, 0n))
    expect([bench.endings, stags(bench), bench.unit.stalls.unrecorded]).toEqual([[[1, 'aborted']], [3n], 1])
    bench.map(root, PAGE, PA | S1.RW)
    bench.commands(resume(RETRY, 3n))
    expect(bench.endings.slice(1)).toEqual([
      [2, 'ok 80000001'],
      [3, 'ok 80000002'],
    ])
  })

  it.each([
    ['another page', SID, VA + 4096n, READ],
    ['another 4 GiB', SID, VA + 2n ** 32n, READ],
    ['a write', SID, VA, WRITE],
    ['a privileged access', SID, VA, READ | PRIVILEGED],
    ['a fetch', SID, VA, READ | EXECUTE],
    ['another stream', OTHER, VA, READ],
  ])('records %s on its own', (_name, sid, va, access) => {
    const { bench } = stalling(options)
    bench.dma(SID, VA)
    bench.dma(sid, va, { access })
    expect(bench.events().length).toBe(2)
  })

  it('retries those of the record that is answered, and leaves those of another', () => {
    const { bench } = stalling(options)
    for (const va of [VA, VA + 4096n, VA, VA + 4096n]) bench.dma(SID, va)
    bench.commands(resume(ABORT, 1n))
    expect([bench.endings, bench.unit.stalls.unrecorded]).toEqual([[[2, 'aborted']], 1])
    expect(bench.events().map((record) => record[2])).toEqual([VA, VA + 4096n, VA + 4096n])
  })

  it('ends the suppressed with their stream', () => {
    const { bench } = stalling(options)
    for (let i = 0; i < 3; i++) bench.dma(SID, VA)
    bench.commands(stallTerm(SID))
    expect(bench.endings.length).toBe(3)
    expect([bench.unit.stalls.recorded, bench.unit.stalls.unrecorded]).toEqual([0, 0])
  })
})
