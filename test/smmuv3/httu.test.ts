/** [SMMU 3.13 Translation tables and Access flag/Dirty state] [Arm D8.5 Hardware updates to the translation tables] */

import { describe, expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import { CONFIG } from '../../hw-model/smmuv3/index.js'
import { Bench, S1, S2, stageTwoFields } from './bench.js'
import {
  AF,
  AP,
  BOTH,
  DBM,
  EXECUTE,
  HA,
  HD,
  offering,
  PA,
  PAGE,
  PAGE_2,
  privileged,
  READ,
  S2AP,
  SID,
  stageOne,
  stageTwo,
  tried,
  VA,
  WRITE,
} from './httu-guest.js'

describe('the access flag of stage 1', () => {
  it.each([
    ['faults without HA', {}, 'F_ACCESS', 0n],
    ['is treated as set with AFFD', { AFFD: 1 }, 'ok 90000000', 0n],
    ['is set by hardware with HA', HA, 'ok 90000000', AF],
    ['is set with HA, whatever AFFD says', { HA: 1, AFFD: 1 }, 'ok 90000000', AF],
    ['faults with HD alone, which is off without HA', { HD: 1 }, 'F_ACCESS', 0n],
  ])('%s', (_name, fields, answer, flag) => {
    const { bench, at } = stageOne(PAGE | AP.USER_RW, fields)
    expect(tried(bench, at, READ)).toEqual([answer, PAGE | AP.USER_RW | flag])
  })

  it('is set in a block', () => {
    const { bench, root } = stageOne(PAGE | AP.USER_RW, HA)
    bench.map(root, 0x40000000n, 0x80000000n | 0xb41n, 1)
    expect(bench.dma(SID, 0x40000000n + 0x1234567n)).toBe('ok 81234567')
    const table = Number(bench.peek(root) & 0xfffff000n)
    expect(bench.peek(table + 8)).toBe(0x80000000n | 0xf41n)
  })

  it('is never looked for in a table entry', () => {
    const { bench, root } = stageOne(PAGE | AP.USER_RW, HA)
    const before = bench.peek(root)
    bench.dma(SID, VA)
    expect(bench.peek(root)).toBe(before)
    expect(before & AF).toBe(0n)
  })
})

describe('the dirty state of stage 1', () => {
  const clean = PAGE | AF | DBM
  it.each([
    ['a read leaves a clean page clean', HD, clean | AP.USER_RO, READ, 'ok 90000000', clean | AP.USER_RO],
    ['a write clears AP[2]', HD, clean | AP.USER_RO, WRITE, 'ok 90000000', clean | AP.USER_RW],
    ['an access that reads and writes does', HD, clean | AP.USER_RO, BOTH, 'ok 90000000', clean | AP.USER_RW],
    ['the access flag goes with it', HD, PAGE | DBM | AP.USER_RO, WRITE, 'ok 90000000', clean | AP.USER_RW],
    ['a dirty page stays as it is', HD, clean | AP.USER_RW, WRITE, 'ok 90000000', clean | AP.USER_RW],
    ['DBM = 0 is read-only', HD, PAGE | AF | AP.USER_RO, WRITE, 'F_PERMISSION', PAGE | AF | AP.USER_RO],
    ['a refused write sets no access flag', HD, PAGE | AP.USER_RO, WRITE, 'F_PERMISSION', PAGE | AP.USER_RO],
    ['without HD a clean page is read-only', HA, clean | AP.USER_RO, WRITE, 'F_PERMISSION', clean | AP.USER_RO],
    ['HD without HA is off', { HD: 1 }, clean | AP.USER_RO, WRITE, 'F_PERMISSION', clean | AP.USER_RO],
    ['unprivileged writes stay out of EL1 pages', HD, clean | AP.RO, WRITE, 'F_PERMISSION', clean | AP.RO],
    ['privileged writes mark them', HD, clean | AP.RO, privileged(WRITE), 'ok 90000000', clean | AP.RW],
    ['PAN', { ...HD, PAN: 1 }, clean | AP.USER_RO, privileged(WRITE), 'F_PERMISSION', clean | AP.USER_RO],
  ])('%s', (_name, fields, leaf, access, answer, after) => {
    const { bench, at } = stageOne(leaf, fields)
    expect(tried(bench, at, access)).toEqual([answer, after])
  })

  it('APTable[1] above a clean page takes the write away', () => {
    const { bench, at, root } = stageOne(clean | AP.USER_RO, HD)
    const entry = root + Number((VA >> 39n) & 511n) * 8
    bench.poke(entry, bench.peek(entry) | (1n << 62n))
    expect(tried(bench, at, WRITE)).toEqual(['F_PERMISSION', clean | AP.USER_RO])
  })

  it.each([
    ['WXN', { ...HD, WXN: 1 }, AP.USER_RO, EXECUTE],
    ['WXN, privileged', { ...HD, WXN: 1 }, AP.RO, privileged(EXECUTE)],
    ['being writable by EL0', HD, AP.USER_RO, privileged(EXECUTE)],
  ])('a clean page counts as writable for %s', (_name, fields, ap, access) => {
    expect(stageOne(clean | ap, fields).bench.dma(SID, VA, { access })).toBe('F_PERMISSION')
    // Where hardware does not keep the dirty state it is read-only, and may be executed.
    expect(stageOne(clean | ap, { ...fields, HD: 0 }).bench.dma(SID, VA, { access })).toBe('ok 90000000')
  })

  it('is kept for NS-EL2 too, where everybody is privileged', () => {
    const { bench, at } = stageOne(clean | AP.RO, { ...HD, WXN: 1 }, 2, { STRW: 2 })
    expect(tried(bench, at, EXECUTE)).toEqual(['F_PERMISSION', clean | AP.RO])
    expect(tried(bench, at, WRITE)).toEqual(['ok 90000000', clean | AP.RW])
    bench.poke(at, PA | PAGE | AP.RO)
    bench.commands([0x20n, 0n])
    expect(tried(bench, at, WRITE)).toEqual(['F_PERMISSION', PAGE | AP.RO])
  })

  it('does not grant a write that has yet to be marked', () => {
    const { bench } = stageOne(clean | AP.USER_RO, HD)
    const rights = (access: number): number => bench.outcome(SID, VA, { access }).rights
    expect([rights(READ), rights(READ)]).toEqual([READ | ACCESS.EXECUTE, READ | ACCESS.EXECUTE])
    expect([rights(WRITE), rights(READ)]).toEqual([7, 7])
  })
})

describe('the flags of stage 2', () => {
  const clean = PAGE_2 | AF | DBM
  const [S2HA, S2HD] = [{ S2HA: 1 }, { S2HA: 1, S2HD: 1 }]
  it.each([
    ['AF = 0 faults without S2HA', {}, PAGE_2 | S2AP.RW, READ, 'F_ACCESS', PAGE_2 | S2AP.RW],
    ['S2AFFD treats it as set', { S2AFFD: 1 }, PAGE_2 | S2AP.RW, READ, 'ok 90000000', PAGE_2 | S2AP.RW],
    ['S2HA sets it', S2HA, PAGE_2 | S2AP.RW, READ, 'ok 90000000', PAGE_2 | AF | S2AP.RW],
    ['S2HD alone is off', { S2HD: 1 }, PAGE_2 | S2AP.RW, READ, 'F_ACCESS', PAGE_2 | S2AP.RW],
    ['a read leaves a clean page clean', S2HD, clean | S2AP.R, READ, 'ok 90000000', clean | S2AP.R],
    ['a write sets S2AP[1]', S2HD, clean | S2AP.R, WRITE, 'ok 90000000', clean | S2AP.RW],
    ['a write sets both', S2HD, PAGE_2 | DBM | S2AP.R, WRITE, 'ok 90000000', clean | S2AP.RW],
    ['a page without any right may be clean', S2HD, clean, WRITE, 'ok 90000000', clean | S2AP.W],
    ['what may not be read is not written first', S2HD, clean, BOTH, 'F_PERMISSION', clean],
    ['DBM = 0 is read-only', S2HD, PAGE_2 | S2AP.R, WRITE, 'F_PERMISSION', PAGE_2 | S2AP.R],
    ['without S2HD a clean page is read-only', S2HA, clean | S2AP.R, WRITE, 'F_PERMISSION', clean | S2AP.R],
  ])('%s', (_name, fields, leaf, access, answer, after) => {
    const { bench, at } = stageTwo(leaf, fields)
    expect(tried(bench, at, access)).toEqual([answer, after])
  })

  it('are looked up again for the first write, and the entry answers the second', () => {
    const { bench } = stageTwo(clean | S2AP.R, S2HD)
    const hit = (access: number): number => bench.outcome(SID, VA, { access }).hit
    expect([hit(READ), hit(READ), hit(WRITE), hit(WRITE)]).toEqual([0, 1, 0, 1])
  })
})

describe('IDR0.HTTU', () => {
  it.each([
    [0, {}, 'ok 90000000'],
    [0, { HA: 1 }, 'C_BAD_CD'],
    [0, { HD: 1 }, 'C_BAD_CD'],
    [1, { HA: 1 }, 'ok 90000000'],
    [1, { HD: 1 }, 'C_BAD_CD'],
    [1, { HA: 1, HD: 1 }, 'C_BAD_CD'],
    [2, { HD: 1 }, 'ok 90000000'],
    [2, { HA: 1, HD: 1 }, 'ok 90000000'],
    // Flags of table entries are not offered: the bit is reserved.
    [2, { HAFT: 1 }, 'ok 90000000'],
  ])('%i with %o is %s', (httu, fields, answer) => {
    expect(stageOne(S1.RW, fields, httu).bench.dma(SID, VA)).toBe(answer)
  })

  it.each([
    [0, { S2HA: 1 }, 'C_BAD_STE'],
    [0, { S2HD: 1 }, 'C_BAD_STE'],
    [1, { S2HA: 1 }, 'ok 90000000'],
    [1, { S2HD: 1 }, 'C_BAD_STE'],
    [2, { S2HD: 1 }, 'ok 90000000'],
    [2, { S2HA: 1, S2HD: 1, S2HAFT: 1 }, 'ok 90000000'],
  ])('%i with %o is %s at stage 2', (httu, fields, answer) => {
    const bench = new Bench(offering(httu))
    const root = bench.alloc()
    bench.map(root, VA, PA | S2.RW)
    bench.ste(SID, { ...stageTwoFields(2, root), ...fields, V: 1, Config: CONFIG.S2_TRANS })
    expect(bench.dma(SID, VA)).toBe(answer)
  })
})
