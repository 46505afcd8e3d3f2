/** What an explained walk says of the configuration it meets; field values are the manual's codes. */

import { describe, expect, it } from 'vitest'
import { NO_PASID, Outcome, type WalkStep } from '../../hw-model/port.js'
import { CONFIG } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, GUEST, S1, S2, stageTwoFields } from './bench.js'

const SID = 5
const VA = 0x5000n

function stepsOf(bench: Bench, pasid = NO_PASID): WalkStep[] {
  const steps: WalkStep[] = []
  bench.unit.explain(bench.transaction(SID, VA, { pasid }), new Outcome(), { step: (step) => steps.push(step) })
  return steps
}

function stepOf(bench: Bench, what: string, pasid = NO_PASID): WalkStep {
  const step = stepsOf(bench, pasid).find((one) => one.what === what)
  if (step === undefined) throw new Error(`no step shows the ${what}`)
  return step
}

/** The step of an STE, behind whose S1ContextPtr stands one good CD. */
function steOf(fields: Parameters<Bench['ste']>[1]): WalkStep {
  const bench = new Bench()
  const [cd, root] = [bench.alloc(), bench.alloc()]
  bench.map(root, VA, 0x80000000n | S1.RW)
  bench.cd(cd, contextFields(7, root))
  bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd, ...fields })
  return stepOf(bench, 'STE')
}

/** The step of a CD. */
function cdOf(fields: Parameters<Bench['cd']>[1]): WalkStep {
  const bench = new Bench()
  const cd = bench.alloc()
  bench.cd(cd, { ...contextFields(7, 0x40000), ...fields })
  bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
  return stepOf(bench, 'CD')
}

describe('an STE that is shown [SMMU 5.2]', () => {
  it('says what is translated', () => {
    const root = 0x40000
    expect(steOf({ Config: CONFIG.ABORT }).verdict).toBe('transactions are aborted, without an event')
    expect(steOf({ Config: CONFIG.BYPASS }).verdict).toBe('addresses pass untranslated')
    expect(steOf({ ...stageTwoFields(1, root), Config: CONFIG.S2_TRANS }).verdict).toBe('stage 2 alone translates')
    expect(steOf({}).verdict).toBe('stage 1: the CD')
    expect(steOf({ ...stageTwoFields(1, root), Config: CONFIG.NESTED }).verdict).toBe('stage 1 then stage 2: the CD')
  })

  it('says where S1ContextPtr leads, and in which space', () => {
    const physical = steOf({ S1ContextPtr: 0x123440 })
    expect([physical.target, physical.pointers]).toEqual([{ space: 'pa', address: 0x123440 }, { S1ContextPtr: 'pa' }])
    const nested = steOf({ ...stageTwoFields(1, 0x40000), Config: CONFIG.NESTED, S1ContextPtr: 0x123440 })
    expect(nested.target).toEqual({ space: 'ipa', address: 0x123440 })
    expect(nested.pointers).toEqual({ S1ContextPtr: 'ipa', S2TTB: 'pa' })
    expect(steOf({ Config: CONFIG.BYPASS }).target).toBeUndefined()
  })

  it.each([
    [0b00, 'the table of CDs', 'one level'],
    [0b01, 'the table of L1CDs', 'two levels, 4 KiB leaves'],
    [0b10, 'the table of L1CDs', 'two levels, 64 KiB leaves'],
    [0b11, 'the table of CDs', 'one level'],
  ])('says what S1Fmt %i means, where there are substreams', (S1Fmt, where, text) => {
    const { verdict, texts } = steOf({ S1CDMax: 11, S1Fmt, S1DSS: 1 })
    expect([verdict, texts?.['S1Fmt'], texts?.['S1CDMax']]).toEqual([`stage 1: ${where}`, text, '2048 CDs'])
  })

  it.each([
    [0, 'terminate'],
    [1, 'bypass stage 1'],
    [2, 'use SubstreamID 0'],
    [3, 'terminate'],
  ])('says what S1DSS %i means, where there are substreams', (S1DSS, text) => {
    expect(steOf({ S1CDMax: 3, S1DSS }).texts?.['S1DSS']).toBe(`without SubstreamID: ${text}`)
  })

  it('says nothing of S1Fmt and S1DSS without substreams', () => {
    const { fields, texts } = steOf({ S1Fmt: 1, S1DSS: 1 })
    expect(texts?.['S1CDMax']).toBe('one CD, no substreams')
    expect(fields).toMatchObject({ S1Fmt: 1, S1DSS: 1, S1CDMax: 0 })
    expect(Object.keys(texts ?? {}).filter((name) => ['S1Fmt', 'S1DSS'].includes(name))).toEqual([])
  })

  it.each([
    ['S1STALLD', 0, 'a CD may stall'],
    ['S1STALLD', 1, 'no CD may stall'],
    ['PRIVCFG', 0b00, 'as the device says'],
    ['PRIVCFG', 0b01, 'as the device says'],
    ['PRIVCFG', 0b10, 'unprivileged'],
    ['PRIVCFG', 0b11, 'privileged'],
    ['INSTCFG', 0b10, 'data'],
    ['INSTCFG', 0b11, 'instruction'],
    ['EATS', 0b00, 'ATS: off'],
    ['EATS', 0b01, 'ATS: full'],
  ])('says what %s %i means', (name, value, text) => {
    expect(steOf({ [name]: value }).texts?.[name]).toBe(text)
  })

  it.each([
    ['S2S', 0, 'faults end the access'],
    ['S2S', 1, 'faults stall'],
    ['S2R', 0, 'faults are not recorded'],
    ['S2R', 1, 'faults are recorded'],
    ['S2AA64', 0, 'VMSAv8-32 LPAE'],
    ['S2AA64', 1, 'VMSAv8-64'],
    ['S2PS', 5, '48-bit outputs'],
    ['S2PS', 0, '32-bit outputs'],
    ['S2T0SZ', 24, '40-bit IPAs'],
  ])('says what %s %i means in stage 2', (name, value, text) => {
    const { texts } = steOf({ ...stageTwoFields(1, 0x40000), Config: CONFIG.S2_TRANS, [name]: value })
    expect(texts?.[name]).toBe(text)
  })

  // 4 KiB granules count from level 2 up, the others from level 3 up. [SMMU 5.2 S2SL0]
  it.each([
    ['4 KiB', 0b00, 16, 0b10, 0],
    ['4 KiB', 0b00, 25, 0b01, 1],
    ['4 KiB', 0b00, 34, 0b00, 2],
    ['16 KiB', 0b10, 24, 0b10, 1],
    ['16 KiB', 0b10, 28, 0b01, 2],
    ['64 KiB', 0b01, 20, 0b10, 1],
    ['64 KiB', 0b01, 30, 0b01, 2],
    ['64 KiB', 0b01, 39, 0b00, 3],
  ])('says at which level stage 2 starts: %s, S2SL0 %#', (granule, S2TG, S2T0SZ, S2SL0, level) => {
    const { texts, verdict } = steOf({
      ...stageTwoFields(1, 0x40000),
      Config: CONFIG.S2_TRANS,
      S2TG,
      S2T0SZ,
      S2SL0,
    })
    expect([verdict, texts?.['S2TG'], texts?.['S2SL0']]).toEqual([
      'stage 2 alone translates',
      granule,
      `starts at level ${level}`,
    ])
  })

  it('says why it is ILLEGAL, and then leads nowhere', () => {
    const stage2 = { ...stageTwoFields(1, 0x40000), Config: CONFIG.NESTED }
    const { verdict, texts, target } = steOf({ ...stage2, S2SL0: 3 })
    expect(verdict).toMatch(/^C_BAD_STE: S2SL0 /)
    expect([texts?.['S2SL0'], target]).toEqual([undefined, undefined])
    // Nothing of an entry that is not valid means anything.
    expect(steOf({ ...stage2, V: 0 })).toMatchObject({ verdict: 'C_BAD_STE: V is 0', texts: {} })
  })
})

describe('an L1CD that is shown [SMMU 5.3]', () => {
  /** CD 64 of 128, behind the second of two L1CDs; `below` is what addresses are more than physical ones. */
  function twoLevels(entry: (leaf: number) => bigint, below = 0): { bench: Bench; table: number; leaf: number } {
    const bench = new Bench()
    const [table, leaf, root, second] = [bench.alloc(), bench.alloc(), bench.alloc(), bench.alloc()]
    bench.map(root, VA, 0x80000000n | S1.RW, 3, below)
    bench.cd(leaf, contextFields(7, root + below))
    bench.poke(table + 8, entry(leaf + below))
    const S1ContextPtr = table + below
    const stage1 = { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr, S1CDMax: 7, S1Fmt: 1, S1DSS: 1 }
    if (below === 0) bench.ste(SID, stage1)
    else bench.ste(SID, { ...stage1, ...stageTwoFields(2, second), Config: CONFIG.NESTED })
    for (let pa = 0; pa < 0x1000000; pa += 4096) bench.map(second, BigInt(below + pa), BigInt(pa) | S2.RW)
    return { bench, table, leaf }
  }

  it('leads to a table of CDs', () => {
    const { bench, table, leaf } = twoLevels((pointer) => BigInt(pointer) | 1n)
    expect(stepOf(bench, 'L1CD', 64)).toMatchObject({
      address: table + 8,
      fields: { V: 1, L2Ptr: leaf },
      pointers: { L2Ptr: 'pa' },
      verdict: 'table of CDs',
      target: { space: 'pa', address: leaf },
    })
    expect(stepOf(bench, 'L1CD', 64).guestAddress).toBeUndefined()
    expect(stepOf(bench, 'CD', 64)).toMatchObject({ address: leaf, verdict: 'ASID 7, tables at TTB0' })
  })

  it('is shown with its IPA where it stands behind stage 2, and leads to an IPA', () => {
    const { bench, table, leaf } = twoLevels((pointer) => BigInt(pointer) | 1n, GUEST)
    expect(stepOf(bench, 'L1CD', 64)).toMatchObject({
      address: table + 8,
      guestAddress: GUEST + table + 8,
      pointers: { L2Ptr: 'ipa' },
      target: { space: 'ipa', address: GUEST + leaf },
    })
    expect(stepOf(bench, 'CD', 64)).toMatchObject({
      address: leaf,
      guestAddress: GUEST + leaf,
      pointers: { TTB0: 'ipa' },
    })
  })

  it.each([
    ['V is 0', (pointer: number): bigint => BigInt(pointer)],
    ['L2Ptr is beyond IDR5.OAS', (): bigint => (1n << 55n) | 1n],
  ])('leads nowhere where %s', (why, entry) => {
    const { bench } = twoLevels(entry)
    const { verdict, target } = stepOf(bench, 'L1CD', 64)
    expect([verdict, target]).toEqual([`C_BAD_SUBSTREAMID: ${why}`, undefined])
    expect(stepsOf(bench, 64).at(-1)).toMatchObject({ what: 'fault', verdict: 'C_BAD_SUBSTREAMID' })
  })
})

describe('a CD that is shown [SMMU 5.4]', () => {
  const HIGH = { T1SZ: 16, TG1: 0b10, EPD1: 0, TTB1: 0x50000 } as const

  it('says whose translations it makes, and which tables it has', () => {
    expect(cdOf({}).verdict).toBe('ASID 7, tables at TTB0')
    expect(cdOf({ ...HIGH }).verdict).toBe('ASID 7, tables at TTB0 and TTB1')
    expect(cdOf({ ...HIGH, EPD0: 1 }).verdict).toBe('ASID 7, tables at TTB1')
    expect(cdOf({ EPD0: 1, EPD1: 1 }).verdict).toBe('both halves are switched off')
  })

  it('shows the fields of the halves that are on', () => {
    const names = (fields: Parameters<Bench['cd']>[1]): string[] =>
      Object.keys(cdOf(fields).fields ?? {}).filter((name) => ['TTB0', 'TTB1', 'T0SZ', 'T1SZ'].includes(name))
    expect(names({})).toEqual(['T0SZ', 'TTB0'])
    expect(names({ ...HIGH })).toEqual(['T0SZ', 'T1SZ', 'TTB0', 'TTB1'])
    expect(names({ EPD0: 1, EPD1: 1 })).toEqual([])
  })

  it.each([
    ['EPD0', 0, 'TTB0 is on'],
    ['EPD0', 1, 'TTB0 is off'],
    ['EPD1', 1, 'TTB1 is off'],
    ['AA64', 0, 'VMSAv8-32 LPAE'],
    ['AA64', 1, 'VMSAv8-64'],
    ['S', 0, 'a fault ends the access'],
    ['S', 1, 'a fault stalls'],
    ['R', 0, 'faults are not recorded'],
    ['R', 1, 'faults are recorded'],
    ['A', 0, 'a fault reads as zero'],
    ['A', 1, 'a fault aborts'],
    ['IPS', 2, '40-bit outputs'],
    ['T0SZ', 25, '39-bit addresses'],
    ['TG0', 0b01, '64 KiB'],
  ])('says what %s %i means', (name, value, text) => {
    expect(cdOf({ [name]: value }).texts?.[name]).toBe(text)
  })

  it('says what TG1 means, whose codes are its own', () => {
    const texts = [0b01, 0b10, 0b11].map((TG1) => cdOf({ ...HIGH, TG1 }).texts)
    expect(texts.map((text) => text?.['TG1'])).toEqual(['16 KiB', '4 KiB', '64 KiB'])
    expect(texts[0]).toMatchObject({ EPD1: 'TTB1 is on', T1SZ: '48-bit addresses' })
  })

  it('says why it is ILLEGAL, and nothing of its fields where it is not valid', () => {
    expect(cdOf({ AA64: 0 }).verdict).toMatch(/^C_BAD_CD: AA64 is 0/)
    expect(cdOf({ V: 0 })).toMatchObject({ verdict: 'C_BAD_CD: V is 0', texts: {} })
  })
})
