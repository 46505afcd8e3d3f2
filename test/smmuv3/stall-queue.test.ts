import { describe, expect, it } from 'vitest'
import { SparseBacking } from '../../hw-model/memory/backing.js'
import { CONFIG, OFFSET, PAGE_1 } from '../../hw-model/smmuv3/index.js'
import { type Bench, S1 } from './bench.js'
import { ABORT, OTHER, PA, PAGE, RETRY, resume, SID, stalling, stalls, stallTerm, VA } from './stalling.js'

const OVFLG = 2 ** 31
const prodOf = (bench: Bench): number => bench.read(PAGE_1 + OFFSET.EVENTQ_PROD)
const consume = (bench: Bench, cons: number): void => bench.write(PAGE_1 + OFFSET.EVENTQ_CONS, cons)
/** A stream without a valid STE: its records do not stall. */
const BAD = 9

/** A stall that meets a queue of one slot, which something else has filled. */
function behindFullQueue(): ReturnType<typeof stalling> {
  const made = stalling({ eventLg2: 0 })
  made.bench.dma(BAD, VA)
  expect(made.bench.dma(SID, VA)).toBe('pending 1')
  return made
}

describe('[SMMU 7.2.1 Recording of events] a stall that cannot be recorded', () => {
  it('does not overflow a full queue, and is recorded when a slot is free', () => {
    const { bench } = behindFullQueue()
    expect([prodOf(bench), bench.unit.stalls.unrecorded, bench.unit.hasWork]).toEqual([1, 1, false])
    expect(bench.interrupts).toEqual(['eventq'])
    consume(bench, 1)
    expect([prodOf(bench), bench.unit.stalls.recorded]).toEqual([0, 1])
    expect(bench.interrupts).toEqual(['eventq', 'eventq'])
    expect(bench.events()).toEqual([[0x0000000200000010n, 0x0000020880000001n, VA, 0n]])
    bench.commands(resume(ABORT, 1n))
    expect(bench.endings).toEqual([[1, 'aborted']])
  })

  it('goes before the next record that may be dropped, which overflows', () => {
    const { bench } = behindFullQueue()
    bench.dma(BAD, VA)
    expect(prodOf(bench)).toBe(1 + OVFLG)
    // An overflow that is not acknowledged keeps nothing out.
    consume(bench, 1)
    expect([prodOf(bench), bench.unit.stalls.recorded]).toEqual([OVFLG, 1])
  })

  it('waits while EVENTQEN is 0, without an overflow', () => {
    const { bench } = stalling()
    bench.write(OFFSET.CR0, 0b1001)
    expect([bench.dma(SID, VA), bench.dma(BAD, VA)]).toEqual(['pending 1', 'C_BAD_STE'])
    expect([bench.unit.stalls.unrecorded, prodOf(bench)]).toEqual([1, 0])
    bench.write(OFFSET.CR0, 0b1101)
    expect(bench.events()).toEqual([[0x0000000200000010n, 0x0000020880000001n, VA, 0n]])
  })

  it('waits until an abort of the queue is acknowledged, and no longer', () => {
    const { bench } = stalling()
    bench.write(OFFSET.CR0, 0b1001)
    bench.write64(OFFSET.EVENTQ_BASE, 2 ** 40 + 4)
    bench.write(OFFSET.CR0, 0b1101)
    // The record of the first stall is what meets the abort; it is not lost.
    expect([bench.dma(SID, VA), bench.dma(OTHER, VA)]).toEqual(['pending 1', 'pending 2'])
    expect([bench.read(OFFSET.GERROR), prodOf(bench), bench.unit.stalls.unrecorded]).toEqual([1 << 2, 0, 2])
    expect(bench.interrupts).toEqual(['gerror'])
    // Nothing has changed: the error comes back, and they wait on.
    bench.write(OFFSET.GERRORN, 1 << 2)
    expect([bench.read(OFFSET.GERROR), prodOf(bench), bench.unit.stalls.unrecorded]).toEqual([0, 0, 2])
    bench.memory.place(2 ** 40, new SparseBacking(65536))
    bench.write(OFFSET.GERRORN, 0)
    expect([prodOf(bench), bench.unit.stalls.recorded]).toEqual([2, 2])
    expect([0, 32].map((at) => bench.peek(2 ** 40 + at) >> 32n).sort()).toEqual([BigInt(SID), BigInt(OTHER)])
  })

  it('may be ended from inside the interrupt of that abort', () => {
    const { bench } = stalling()
    bench.write(OFFSET.CR0, 0b1001)
    bench.write64(OFFSET.EVENTQ_BASE, 2 ** 40 + 4)
    bench.write(OFFSET.CR0, 0b1101)
    bench.interrupts.push = () => {
      bench.commands(stallTerm(SID))
      return 0
    }
    expect(bench.dma(SID, VA)).toBe('pending 1')
    bench.unit.run()
    expect([bench.endings, bench.unit.stalls.unrecorded]).toEqual([[[1, 'aborted']], 0])
  })

  it('is retried, so that it says nothing of tables that were mended meanwhile', () => {
    const { bench, root } = behindFullQueue()
    bench.map(root, PAGE, PA | S1.RW)
    bench.commands([0x0000000000000030n, 0n], [0x46n, 0n])
    expect(bench.endings).toEqual([])
    consume(bench, 1)
    expect([bench.endings, bench.events()]).toEqual([[[1, 'ok 80000abc']], []])
  })

  it('records how it ends under a configuration that came meanwhile', () => {
    const { bench, cd } = behindFullQueue()
    // S of the CD: bit 44.
    bench.poke(cd, bench.peek(cd) & ~(1n << 44n))
    bench.commands([0x0000000200000005n, 1n], [0x46n, 0n])
    consume(bench, 1)
    expect(bench.endings).toEqual([[1, 'F_TRANSLATION']])
    expect(bench.events()).toEqual([[0x0000000200000010n, 0x0000020800000000n, VA, 0n]])
  })

  it('has no STAG, and ends with CMD_STALL_TERM unseen', () => {
    const { bench } = behindFullQueue()
    for (let stag = 0n; stag < 80n; stag++) bench.commands(resume(ABORT, stag))
    expect(bench.endings).toEqual([])
    bench.commands(stallTerm(SID))
    expect(bench.endings).toEqual([[1, 'aborted']])
    consume(bench, 1)
    expect(bench.events()).toEqual([])
  })

  it('ends when SMMUEN goes to 0', () => {
    const { bench } = behindFullQueue()
    bench.write(OFFSET.CR0, 0b1100)
    expect(bench.endings).toEqual([[1, 'aborted']])
    consume(bench, 1)
    expect(bench.events()).toEqual([])
  })

  it('waits again when its own retry finds the queue full', () => {
    const { bench } = stalling({ eventLg2: 0 })
    bench.dma(SID, VA)
    bench.commands(resume(RETRY, 0n))
    expect([bench.unit.stalls.recorded, bench.unit.stalls.unrecorded, bench.endings]).toEqual([0, 1, []])
    consume(bench, 1)
    expect([bench.unit.stalls.recorded, bench.unit.stalls.unrecorded]).toEqual([1, 0])
  })
})

describe('[SMMU 6.3.9.4 EVENTQEN] going to 0', () => {
  it('leaves recorded stalls to be answered', () => {
    const { bench, root } = stalling()
    bench.dma(SID, VA)
    bench.map(root, PAGE, PA | S1.RW)
    bench.write(OFFSET.CR0, 0b1001)
    bench.commands(resume(RETRY, 0n))
    expect(bench.endings).toEqual([[1, 'ok 80000abc']])
  })
})

describe('stalls that wait', () => {
  it('are recorded in the order in which they came, sixteen for each write, and nobody overtakes them', () => {
    const { bench } = stalling({ eventLg2: 7 })
    bench.write(OFFSET.CR0, 0b1001)
    for (let i = 0n; i < 40n; i++) bench.dma(SID, i * 4096n)
    bench.write(OFFSET.CR0, 0b1101)
    expect([prodOf(bench), bench.unit.hasWork]).toEqual([16, true])
    bench.dma(OTHER, 40n * 4096n)
    expect(prodOf(bench)).toBe(16)
    while (bench.unit.hasWork) bench.unit.run()
    expect(bench.events().map((record) => record[2])).toEqual(Array.from({ length: 41 }, (_, i) => BigInt(i * 4096)))
  })

  it('wait for a place among the records first, then for the queue', () => {
    const { bench } = stalling({ id: stalls(1), eventLg2: 0 })
    bench.dma(SID, VA)
    bench.dma(OTHER, VA)
    bench.commands(resume(ABORT, 0n))
    expect([bench.unit.stalls.recorded, bench.unit.stalls.unrecorded]).toEqual([0, 1])
    consume(bench, 1)
    expect([bench.unit.stalls.recorded, bench.unit.stalls.unrecorded]).toEqual([1, 0])
  })

  it('that would translate by now leave, and make room for the next', () => {
    const { bench } = behindFullQueue()
    bench.dma(OTHER, VA)
    bench.ste(SID, { V: 1, Config: CONFIG.BYPASS })
    bench.commands([0x0000000200000003n, 1n])
    consume(bench, 1)
    expect(bench.endings).toEqual([[1, 'ok 123456789abc']])
    expect(bench.events().map(([dw0]) => dw0 >> 32n)).toEqual([BigInt(OTHER)])
  })
})
