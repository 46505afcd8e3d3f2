/** [SMMU 3.13 Translation tables and Access flag/Dirty state] [Arm D8.5 Hardware updates to the translation tables] */

import { describe, expect, it } from 'vitest'
import { MEMORY } from '../../hw-model/memory/index.js'
import { Outcome, Transaction, type WalkStep } from '../../hw-model/port.js'
import { GUEST } from './bench.js'
import {
  AF,
  AP,
  DBM,
  HA,
  HD,
  nested,
  PA,
  PAGE,
  PAGE_2,
  READ,
  S2AP,
  SID,
  stageOne,
  stageTwo,
  tried,
  VA,
  WRITE,
  watch,
} from './httu-guest.js'

describe('a cached entry', () => {
  const clean = PAGE | AF | DBM

  it('that is clean is walked again for the first write, and answers the second', () => {
    const { bench, at } = stageOne(clean | AP.USER_RO, HD)
    const hit = (access: number): number => bench.outcome(SID, VA, { access }).hit
    expect([hit(READ), hit(READ), hit(WRITE), hit(WRITE), hit(READ)]).toEqual([0, 1, 0, 1, 1])
    expect(bench.peek(at)).toBe(PA | clean | AP.USER_RW)
    expect(bench.unit.counters.hits).toBe(3)
  })

  it('that is clean gives way to what memory says by then', () => {
    const { bench, at } = stageOne(clean | AP.USER_RO, HD)
    bench.dma(SID, VA)
    bench.poke(at, 0xa0000000n | clean | AP.USER_RO)
    expect(bench.dma(SID, VA)).toBe('ok 90000000')
    expect(bench.dma(SID, VA, { access: WRITE })).toBe('ok a0000000')
    bench.dma(SID, VA)
    bench.poke(at, 0xa0000000n | PAGE | AF | AP.USER_RO)
    bench.commands([0x0007000000000012n, VA | 1n])
    bench.dma(SID, VA)
    expect(bench.dma(SID, VA, { access: WRITE })).toBe('F_PERMISSION')
  })

  it('that is dirty does not see the page being cleaned without an invalidation', () => {
    const { bench, at } = stageOne(clean | AP.USER_RO, HD)
    bench.dma(SID, VA, { access: WRITE })
    bench.poke(at, PA | clean | AP.USER_RO)
    expect(tried(bench, at, WRITE)).toEqual(['ok 90000000', clean | AP.USER_RO])
    bench.commands([0x0007000000000012n, VA | 1n])
    expect(tried(bench, at, WRITE)).toEqual(['ok 90000000', clean | AP.USER_RW])
  })

  it('is not made by an access that stage 2 refuses before its flag is set', () => {
    const { bench, at } = stageTwo(PAGE_2 | S2AP.R, { S2HA: 1 })
    expect(tried(bench, at, WRITE)).toEqual(['F_PERMISSION', PAGE_2 | S2AP.R])
    bench.poke(at, 0xa0000000n | PAGE_2 | S2AP.R)
    expect(tried(bench, at, READ)).toEqual(['ok a0000000', PAGE_2 | S2AP.R | AF])
  })
})

describe('nested flags', () => {
  const [accessed, written] = [0x77fn, 0x7ffn]

  it('are set in the order of the walk, and a page of tables is dirty only where stage 1 was flagged', () => {
    const { bench, at } = nested(PAGE | DBM | AP.USER_RO, HD)
    const seen = watch(bench)
    expect(bench.dma(SID, VA, { access: WRITE })).toBe('ok a0000000')
    expect(seen).toEqual([
      [at.cd, accessed],
      ...at.tables.map((table) => [table, accessed]),
      [at.tables[3], written],
      [at.leaf, PAGE | AF | AP.USER_RW],
      [at.output, written],
    ])
    // The page of the CD is read by the unit and never marked.
    expect(bench.peek(at.cd) & 0xfffn).toBe(accessed)
  })

  it('of stage 2 stay when stage 1 refuses', () => {
    const { bench, at } = nested(PAGE | AF | AP.USER_RO, HD)
    const before = bench.peek(at.output)
    expect(bench.dma(SID, VA, { access: WRITE })).toBe('F_PERMISSION')
    expect(bench.peek(at.output)).toBe(before)
    expect(bench.peek(at.leaf) & 0xfffn).toBe(PAGE | AF | AP.USER_RO)
  })

  it('need no write to a table whose flags are set', () => {
    const { bench, at } = nested(PAGE | AF | AP.USER_RW, HD)
    expect(bench.dma(SID, VA, { access: WRITE })).toBe('ok a0000000')
    expect(bench.peek(at.tables[3]) & 0xfffn).toBe(0x77fn)
  })

  it('are refused where stage 2 does not let the table be written, as a write of the table', () => {
    const { bench, at, s2, leafTable } = nested(PAGE | AP.USER_RW, HA)
    bench.map(s2, BigInt(GUEST + leafTable), BigInt(leafTable) | PAGE_2 | AF | S2AP.R)
    expect(bench.dma(SID, VA)).toBe('F_PERMISSION')
    expect(bench.peek(at.leaf) & 0xfffn).toBe(PAGE | AP.USER_RW)
    const ipa = BigInt(GUEST + at.leaf) & ~0xfffn
    expect(bench.events()).toEqual([[0x0000000300000013n, 0x0000018800000000n, VA, ipa]])
  })

  it('are marked in both stages by the first write to an entry that was cached by a read', () => {
    const { bench, at } = nested(PAGE | DBM | AP.USER_RO, HD)
    bench.dma(SID, VA)
    const seen = watch(bench)
    expect(bench.outcome(SID, VA, { access: WRITE }).hit).toBe(0)
    expect(seen.map(([pa]) => pa)).toEqual([at.leaf, at.output])
    expect(bench.outcome(SID, VA, { access: WRITE }).hit).toBe(1)
  })

  it('are marked at stage 2 alone where stage 1 is writable', () => {
    const { bench, at } = nested(PAGE | AF | AP.USER_RW, {})
    const hit = (access: number): number => bench.outcome(SID, VA, { access }).hit
    expect([hit(READ), hit(READ), hit(WRITE), hit(WRITE)]).toEqual([0, 1, 0, 1])
    expect(bench.peek(at.output)).toBe(0xa0000000n | PAGE_2 | DBM | AF | S2AP.RW)
  })

  it('stay clear where a table stands in Device memory that S2PTW keeps out', () => {
    const { bench, at } = nested(PAGE | AP.USER_RW, HA)
    const device = (bench.peek(at.tables[0]) & ~0xfffn) | 0x307n | S2AP.RW
    bench.poke(at.tables[0], device)
    expect(bench.dma(SID, VA)).toBe('F_PERMISSION')
    expect(bench.peek(at.tables[0])).toBe(device)
  })
})

describe('a flag update that races with a CPU', () => {
  /** The CPU stores `entry` just before the unit's first update lands. */
  function racing(entry: bigint, leaf: bigint) {
    const { bench, at } = stageOne(leaf, HD)
    const { memory } = bench
    const update = memory.updateFlags.bind(memory)
    let isFirst = true
    memory.updateFlags = (pa, expected, next, hi) => {
      if (isFirst) bench.poke(at, entry)
      isFirst = false
      return update(pa, expected, next, hi)
    }
    return { bench, at }
  }

  it.each([
    ['uses the new page', 0xa0000000n | PAGE | AP.USER_RW, READ, 'ok a0000000', 0xa0000000n | PAGE | AF | AP.USER_RW],
    ['never brings an unmapped page back', 0n, READ, 'F_TRANSLATION', 0n],
    [
      'leaves a page alone that became read-only by its DBM',
      PA | PAGE | AF | AP.USER_RO,
      WRITE,
      'F_PERMISSION',
      PA | PAGE | AF | AP.USER_RO,
    ],
    ['finds its work done', PA | PAGE | AF | DBM | AP.USER_RW, WRITE, 'ok 90000000', PA | PAGE | AF | DBM | AP.USER_RW],
  ])('%s', (_name, entry, access, answer, after) => {
    const leaf = access === READ ? PAGE | AP.USER_RW : PAGE | AF | DBM | AP.USER_RO
    const { bench, at } = racing(entry, leaf)
    expect(bench.dma(SID, VA, { access })).toBe(answer)
    expect(bench.peek(at)).toBe(after)
  })

  it('and loses every time ends as an aborted walk', () => {
    const { bench, at } = stageOne(PAGE | AP.USER_RW, HA)
    bench.memory.updateFlags = () => MEMORY.LOST
    expect(bench.dma(SID, VA)).toBe('F_WALK_EABT')
    expect(bench.events()).toEqual([[0x000000030000000bn, 0x0000010800000000n, VA, BigInt(at)]])
  })

  it('is an aborted walk where the table may not be written', () => {
    const { bench, at } = stageTwo(PAGE_2 | S2AP.RW, { S2HA: 1 })
    bench.memory.updateFlags = () => MEMORY.ABORT
    expect(bench.dma(SID, VA)).toBe('F_WALK_EABT')
    expect(bench.events()).toEqual([[0x000000030000000bn, 0x0000028800000000n, VA, BigInt(at)]])
  })
})

describe('explaining a walk that would set flags', () => {
  it('sets none, answers alike, and tells of each', () => {
    const { bench, at } = nested(PAGE | DBM | AP.USER_RO, HD)
    const seen = watch(bench)
    const transaction = Object.assign(new Transaction(), { rid: SID, access: WRITE })
    transaction.lo = Number(VA & 0xffffffffn)
    transaction.hi = Number(VA >> 32n)
    const outcome = new Outcome()
    const steps: WalkStep[] = []
    bench.unit.explain(transaction, outcome, { step: (step) => steps.push(step) })
    expect(seen).toEqual([])
    expect([outcome.address, outcome.rights]).toEqual([0xa0000000, 2 | 1 | 4])
    const updates = steps.filter(({ what }) => what.endsWith('flag update'))
    const accessed = 'hardware marks it accessed'
    const dirty = 'hardware marks it accessed and dirty'
    expect(updates.map(({ address }) => address)).toContain(at.leaf)
    expect(updates.slice(-3).map(({ what, level, verdict }) => [what, level, verdict])).toEqual([
      ['stage-2 flag update', 3, dirty],
      ['stage-1 flag update', 3, dirty],
      ['stage-2 flag update', 3, dirty],
    ])
    expect(updates[0].verdict).toBe(accessed)
    const leaf = steps.find(({ address, fields }) => address === at.leaf && fields?.['OutputAddress'] !== undefined)
    expect(leaf?.verdict).toBe('leaf, 4 KiB, read-write, clean until it is written, not global')
    expect(leaf?.fields?.['DBM']).toBe(1)
    expect(bench.unit.translate(transaction, outcome)).toBeUndefined()
    expect([outcome.address, outcome.rights]).toEqual([0xa0000000, 7])
  })

  it('finds nothing missing after a read, and cannot answer the first write from the caches', () => {
    const { bench } = stageOne(PAGE | AF | DBM | AP.USER_RO, HD)
    bench.dma(SID, VA)
    const transaction = Object.assign(new Transaction(), { rid: SID, access: WRITE })
    transaction.lo = Number(VA & 0xffffffffn)
    transaction.hi = Number(VA >> 32n)
    expect(bench.unit.missing(transaction)).toEqual([])
    expect(bench.unit.peek(transaction, new Outcome())).toBe(false)
    transaction.access = READ
    expect(bench.unit.peek(transaction, new Outcome())).toBe(true)
  })
})
