/** What an explained walk says of table entries, whose bits are spelled out here. [Arm D8.3.1] */

import { describe, expect, it } from 'vitest'
import { ACCESS, Outcome, type WalkStep } from '../../hw-model/port.js'
import { CONFIG } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, GUEST, S1, S2, stageTwoFields } from './bench.js'

const SID = 5
const VA = 0x40_0000_0000n + 0x4020_1000n
const PA = 0x80000000n
/** V, page, AP[1], inner shareable, AF, nG: bits 0, 1, 6, 9:8, 10 and 11. */
const PAGE = 0xf43n
const BLOCK = 0xf41n
const AF = 1n << 10n
const NG = 1n << 11n
const AP1 = 1n << 6n
const AP2 = 1n << 7n

/** The last entry that is shown, and how the access itself ends. */
function entryOf(bench: Bench): { step: WalkStep; end: string } {
  const steps: WalkStep[] = []
  bench.unit.explain(bench.transaction(SID, VA), new Outcome(), { step: (step) => steps.push(step) })
  const step = steps.filter(({ level }) => level !== undefined).at(-1)
  if (step === undefined) throw new Error('no table entry is shown')
  return { step, end: bench.dma(SID, VA) }
}

/** A stage 1 entry at a level, as the manual counts it; outputs have 40 bits. */
function stageOne(entry: bigint, level = 3): { step: WalkStep; end: string } {
  const bench = new Bench()
  const [cd, root] = [bench.alloc(), bench.alloc()]
  bench.map(root, VA, entry, level)
  bench.cd(cd, { ...contextFields(7, root), IPS: 2 })
  bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
  return entryOf(bench)
}

/** A stage 2 entry at a level. */
function stageTwo(entry: bigint, level = 3): { step: WalkStep; end: string } {
  const bench = new Bench()
  const root = bench.alloc()
  bench.map(root, VA, entry, level)
  bench.ste(SID, { ...stageTwoFields(2, root), V: 1, Config: CONFIG.S2_TRANS, S2PS: 2 })
  return entryOf(bench)
}

describe('a stage 1 entry that is shown', () => {
  it.each([
    ['a page', PA | PAGE, 3, 'leaf, 4 KiB, read-write, not global', 'page', 'ok 80000000'],
    ['a block of level 2', PA | BLOCK, 2, 'leaf, 2 MiB, read-write, not global', 'block', 'ok 80001000'],
    ['a block of level 1', PA | BLOCK, 1, 'leaf, 1 GiB, read-write, not global', 'block', 'ok 80201000'],
    ['a global page', PA | (PAGE ^ NG), 3, 'leaf, 4 KiB, read-write, global', 'page', 'ok 80000000'],
    ['one that nobody accessed', PA | (PAGE ^ AF), 3, 'F_ACCESS: the access flag is clear', 'page', 'F_ACCESS'],
    [
      'one beyond the output size',
      (1n << 40n) | PAGE,
      3,
      'F_ADDR_SIZE: its address is beyond the output size',
      'page',
      'F_ADDR_SIZE',
    ],
    ['a block where none can be', PA | BLOCK, 0, 'F_TRANSLATION: level 0 has no block', 'block', 'F_TRANSLATION'],
    ['a block for a page', PA | BLOCK, 3, 'F_TRANSLATION: level 3 has no block', 'page', 'F_TRANSLATION'],
  ])('%s says what it is, and what the access comes to', (_, entry, level, verdict, Type, end) => {
    const { step, end: got } = stageOne(entry, level)
    expect([step.verdict, step.level, step.texts?.['Type'], got]).toEqual([verdict, level, Type, end])
    expect(step.target?.address).toBe(end.startsWith('ok') ? Number(PA) : undefined)
  })

  it('shows nothing but V where it is not valid', () => {
    const { step, end } = stageOne(0xffff_ffff_ffff_fffen)
    expect([step.verdict, step.fields, step.texts, end]).toEqual([
      'F_TRANSLATION: not valid',
      { V: 0 },
      { V: 'not valid' },
      'F_TRANSLATION',
    ])
  })

  // AP[2:1]: [2] takes writes away, [1] lets EL0 in. [Arm D8.4.1 Direct permissions]
  it.each([
    [AP1, 'read-write, EL0 and EL1', 'read-write', 'ok 80000000'],
    [AP2 | AP1, 'read-only, EL0 and EL1', 'read-only', 'ok 80000000'],
    [0n, 'read-write, EL1 only', 'EL0 no access, EL1 read-write', 'F_PERMISSION'],
    [AP2, 'read-only, EL1 only', 'EL0 no access, EL1 read-only', 'F_PERMISSION'],
  ])('says what AP %i means and what is left of it', (ap, text, rights, end) => {
    const { step, end: got } = stageOne(PA | (PAGE ^ AP1) | ap)
    expect([step.texts?.['AP'], step.verdict, got]).toEqual([text, `leaf, 4 KiB, ${rights}, not global`, end])
  })

  it('says what its other fields mean', () => {
    expect(stageOne(PA | PAGE).step.texts).toMatchObject({ AF: 'accessed', SH: 'inner shareable', nG: 'not global' })
    const bare = stageOne(PA | AP1 | 3n).step
    expect(bare.texts).toMatchObject({ AF: 'not accessed', SH: 'non-shareable', nG: 'global' })
  })

  // APTable, bits 62:61, limits whatever is below. [Arm D8.4.1 Hierarchical permissions]
  it.each([
    [0n, 'no limit', 'leaf, 4 KiB, read-write, not global'],
    [1n, 'EL1 only', 'leaf, 4 KiB, EL0 no access, EL1 read-write, not global'],
    [2n, 'read-only', 'leaf, 4 KiB, read-only, not global'],
    [3n, 'read-only, EL1 only', 'leaf, 4 KiB, EL0 no access, EL1 read-only, not global'],
  ])('is narrowed by a table above whose APTable is %i', (limit, text, verdict) => {
    const bench = new Bench()
    const [cd, root] = [bench.alloc(), bench.alloc()]
    bench.map(root, VA, PA | PAGE)
    bench.poke(root, bench.peek(root) | (limit << 61n))
    bench.cd(cd, contextFields(7, root))
    bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
    const steps: WalkStep[] = []
    bench.unit.explain(bench.transaction(SID, VA), new Outcome(), { step: (step) => steps.push(step) })
    const [table, leaf] = [0, 3].map((level) => steps.find((step) => step.level === level))
    expect([table?.citation, leaf?.citation]).toEqual([
      '[Arm D8.3.1 Table descriptor format]',
      '[Arm D8.3.1 Block descriptor and Page descriptor formats]',
    ])
    expect([table?.verdict, table?.texts, leaf?.verdict]).toEqual([
      'next table',
      { Type: 'table', APTable: text },
      verdict,
    ])
  })
})

describe('a stage 2 entry that is shown', () => {
  it.each([
    ['a page', PA | S2.RW, 3, 'leaf, 4 KiB, read-write', 'ok 80000000'],
    ['a block', PA | S2.BLOCK_RW, 2, 'leaf, 2 MiB, read-write', 'ok 80001000'],
    ['a read-only page', PA | S2.RO, 3, 'leaf, 4 KiB, read-only', 'ok 80000000'],
    ['a write-only page', PA | S2.WO, 3, 'leaf, 4 KiB, write-only', 'F_PERMISSION'],
    ['a page of Device memory', PA | S2.DEVICE, 3, 'leaf, 4 KiB, read-write, Device memory', 'ok 80000000'],
    ['one that nobody accessed', PA | (S2.RW ^ AF), 3, 'F_ACCESS: the access flag is clear', 'F_ACCESS'],
    [
      'one beyond the output size',
      (1n << 40n) | S2.RW,
      3,
      'F_ADDR_SIZE: its address is beyond the output size',
      'F_ADDR_SIZE',
    ],
    ['one that is not valid', 0n, 3, 'F_TRANSLATION: not valid', 'F_TRANSLATION'],
    ['a block where none can be', PA | S2.BLOCK_RW, 0, 'F_TRANSLATION: level 0 has no block', 'F_TRANSLATION'],
  ])('%s says what it is, and what the access comes to', (_, entry, level, verdict, end) => {
    const { step, end: got } = stageTwo(entry, level)
    expect([step.verdict, step.stage, step.level, got]).toEqual([verdict, 2, level, end])
  })

  it('is that of an IPA where stage 1 is in front of it', () => {
    const bench = new Bench()
    const [cd, first, second] = [bench.alloc(), bench.alloc(), bench.alloc()]
    bench.map(first, VA, BigInt(GUEST + 0x9000_0000) | S1.RW, 3, GUEST)
    for (let pa = 0; pa < 0x1000000; pa += 4096) bench.map(second, BigInt(GUEST + pa), BigInt(pa) | S2.RW)
    bench.cd(cd, contextFields(7, GUEST + first))
    bench.ste(SID, { ...stageTwoFields(2, second), V: 1, Config: CONFIG.NESTED, S1ContextPtr: GUEST + cd })
    expect(entryOf(bench)).toMatchObject({
      step: { stage: 2, verdict: 'F_TRANSLATION: not valid' },
      end: 'F_TRANSLATION',
    })
    bench.map(second, BigInt(GUEST + 0x9000_0000), PA | S2.RO)
    expect(entryOf(bench)).toMatchObject({ step: { stage: 2, verdict: 'leaf, 4 KiB, read-only' }, end: 'ok 80000000' })
  })
})

describe('an entry whose flags hardware sets', () => {
  const DBM = 1n << 51n
  const flagsOf = (bench: Bench): WalkStep | undefined => {
    const steps: WalkStep[] = []
    const transaction = bench.transaction(SID, VA, { access: ACCESS.WRITE })
    bench.unit.explain(transaction, new Outcome(), { step: (step) => steps.push(step) })
    return steps.find(({ what }) => what.endsWith('flag update'))
  }

  it('is shown as it would be, by the names of its stage', () => {
    const bench = new Bench({ preset: 'full' })
    const [cd, first, second] = [bench.alloc(), bench.alloc(), bench.alloc()]
    bench.cd(cd, { ...contextFields(7, first), HA: 1, HD: 1 })
    bench.map(first, VA, PA | (PAGE ^ AF) | AP2 | DBM)
    bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
    expect(flagsOf(bench)).toMatchObject({
      what: 'stage-1 flag update',
      fields: { AF: 1, DBM: 1, AP: 1 },
      verdict: 'hardware marks it accessed and dirty',
    })
    bench.map(second, VA, PA | (S2.RO ^ AF) | DBM)
    bench.ste(SID, { ...stageTwoFields(2, second), V: 1, Config: CONFIG.S2_TRANS, S2HA: 1, S2HD: 1 })
    expect(flagsOf(bench)).toMatchObject({
      what: 'stage-2 flag update',
      fields: { AF: 1, DBM: 1, S2AP: 3 },
      verdict: 'hardware marks it accessed and dirty',
    })
  })
})
