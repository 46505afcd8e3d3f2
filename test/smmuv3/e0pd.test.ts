/** What a CD keeps from one privilege: E0PD, PAN and EPAN. [SMMU 5.4 Context Descriptor] */

import { describe, expect, it } from 'vitest'
import { ACCESS, type Outcome, Outcome as Result, STATUS, Transaction, type WalkStep } from '../../hw-model/port.js'
import { CONFIG, idRegisters } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields } from './bench.js'

const SID = 3
const VA = 0x7654321000n
const HIGH_VA = 0xffff_ff00_0000_0000n | VA
const PA = 0x90000000n
const [READ, FETCH]: readonly number[] = [ACCESS.READ, ACCESS.READ | ACCESS.EXECUTE]
const WRITE: number = ACCESS.WRITE
const privileged = (access: number): number => access | ACCESS.PRIVILEGED

/** Pages: AF, nG. AP[2:1] in bits 7:6, PXN 53, UXN 54. */
const PAGE = 0xf03n
const AP = { RW: 0n, USER_RW: 0x40n, RO: 0x80n, USER_RO: 0xc0n } as const
const PXN = 1n << 53n
const UXN = 1n << 54n

/** IDR3: E0PD 13, EPAN 17. */
const without = (bit: number): object => ({ id: { IDR3: idRegisters('full').IDR3 & ~(1 << bit) } })

function stageOne(leaf: bigint, fields: object, options: object = {}, stream: object = {}): Bench {
  const bench = new Bench({ preset: 'full', ...options })
  const [cd, root] = [bench.alloc(), bench.alloc()]
  bench.map(root, VA, PA | leaf)
  bench.map(root, HIGH_VA & 0xffff_ffff_ffffn, PA | leaf)
  // TG1 = 2 is 4 KiB; both halves have the same table.
  const high = { EPD1: 0, T1SZ: 16, TG1: 2, TTB1: root }
  bench.cd(cd, { ...contextFields(7, root), ...high, ...fields })
  bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd, ...stream })
  return bench
}

describe('E0PD', () => {
  const leaf = PAGE | AP.USER_RW

  it.each([
    ['E0PD0 is of TTB0', { E0PD0: 1 }, 'F_TRANSLATION', 'ok 90000000'],
    ['E0PD1 is of TTB1', { E0PD1: 1 }, 'ok 90000000', 'F_TRANSLATION'],
    ['neither keeps anybody out', {}, 'ok 90000000', 'ok 90000000'],
  ])('%s', (_name, fields, low, high) => {
    const bench = stageOne(leaf, fields)
    expect([bench.dma(SID, VA), bench.dma(SID, HIGH_VA)]).toEqual([low, high])
    expect(bench.dma(SID, VA, { access: privileged(READ) })).toBe('ok 90000000')
    expect(bench.dma(SID, HIGH_VA, { access: privileged(WRITE) })).toBe('ok 90000000')
  })

  it('keeps unprivileged accesses from what is cached, and records a fault of stage 1', () => {
    const bench = stageOne(leaf, { E0PD0: 1 })
    bench.dma(SID, VA, { access: privileged(READ) })
    expect(bench.dma(SID, VA, { access: WRITE })).toBe('F_TRANSLATION')
    expect(bench.events()).toEqual([[0x0000_0003_0000_0010n, 0x0000_0200_0000_0000n, VA, 0n]])
    expect(bench.outcome(SID, VA, { access: privileged(READ) }).hit).toBe(1)
  })

  it('looks at the privilege that PRIVCFG leaves', () => {
    // 2 is unprivileged, 3 privileged.
    expect(stageOne(leaf, { E0PD0: 1 }, {}, { PRIVCFG: 3 }).dma(SID, VA)).toBe('ok 90000000')
    const access = privileged(READ)
    expect(stageOne(leaf, { E0PD0: 1 }, {}, { PRIVCFG: 2 }).dma(SID, VA, { access })).toBe('F_TRANSLATION')
  })

  it('is in NS-EL2-E2H, and reserved in NS-EL2', () => {
    const el2 = stageOne(leaf, { E0PD0: 1, EPD1: 1 }, {}, { STRW: 2 })
    expect(el2.dma(SID, VA)).toBe('ok 90000000')
    const e2h = stageOne(leaf, { E0PD0: 1 }, {}, { STRW: 2 })
    // CR2 may be written while SMMUEN is 0; bit 0 is E2H.
    e2h.write(0x20, 0b1100)
    e2h.write(0x2c, 0b11)
    e2h.write(0x20, 0b1101)
    expect(e2h.dma(SID, VA)).toBe('F_TRANSLATION')
  })

  it('is reserved where IDR3.E0PD is 0', () => {
    expect(stageOne(leaf, { E0PD0: 1 }, without(13)).dma(SID, VA)).toBe('ok 90000000')
  })

  it('is told of the CD, and nothing of tables', () => {
    const bench = stageOne(leaf, { E0PD0: 1 })
    const transaction = Object.assign(new Transaction(), { rid: SID, lo: Number(VA & 0xffffffffn), hi: 0x76 })
    const [steps, outcome]: [WalkStep[], Outcome] = [[], new Result()]
    bench.unit.explain(transaction, outcome, { step: (step) => steps.push(step) })
    expect(outcome.status).toBe(STATUS.FAULT)
    expect(steps.map(({ what }) => what)).toEqual(['STE', 'CD', 'fault'])
    expect(steps[1].fields).toMatchObject({ E0PD0: 1, E0PD1: 0, EPAN: 0 })
  })
})

describe('EPAN', () => {
  it.each([
    ['a page that EL0 may read, without EPAN', 0, PAGE | AP.USER_RO | UXN, 'F_PERMISSION'],
    ['a page that EL0 may only execute, without EPAN', 0, PAGE | AP.RW | PXN, 'ok 90000000'],
    ['a page that EL0 may only execute', 1, PAGE | AP.RW | PXN, 'F_PERMISSION'],
    ['a page that EL0 may only execute, read-only', 1, PAGE | AP.RO | PXN, 'F_PERMISSION'],
    ['a page that EL0 may not execute', 1, PAGE | AP.RW | UXN, 'ok 90000000'],
  ])('of %s', (_name, EPAN, leaf, answer) => {
    const access = privileged(READ)
    expect(stageOne(leaf, { PAN: 1, EPAN }).dma(SID, VA, { access })).toBe(answer)
    // It is nothing without PAN, and for nobody else.
    expect(stageOne(leaf, { EPAN }).dma(SID, VA, { access })).toBe('ok 90000000')
    expect(stageOne(leaf | AP.USER_RO, { PAN: 1, EPAN }).dma(SID, VA)).toBe('ok 90000000')
  })

  it('takes data alone away', () => {
    const bench = stageOne(PAGE | AP.RW, { PAN: 1, EPAN: 1 })
    expect(bench.dma(SID, VA, { access: privileged(FETCH) })).toBe('ok 90000000')
    expect(bench.dma(SID, VA, { access: privileged(WRITE) })).toBe('F_PERMISSION')
  })

  it('heeds UXNTable, and not WXN', () => {
    const tabled = stageOne(PAGE | AP.RW, { PAN: 1, EPAN: 1 })
    const root = tabled.peek(tabled.streamTable + SID * 64) & 0xffff_ffff_ffc0n
    const table = Number(tabled.peek(Number(root) + 8) & 0xffff_ffff_f000n) + Number((VA >> 39n) & 511n) * 8
    tabled.poke(table, tabled.peek(table) | (1n << 60n))
    expect(tabled.dma(SID, VA, { access: privileged(READ) })).toBe('ok 90000000')
    const written = stageOne(PAGE | AP.RW, { PAN: 1, EPAN: 1, WXN: 1 })
    expect(written.dma(SID, VA, { access: privileged(READ) })).toBe('F_PERMISSION')
    // Nor does PAN, in taking the write away, give back what WXN took.
    expect(written.dma(SID, VA, { access: privileged(FETCH) })).toBe('F_PERMISSION')
  })

  it('is reserved where IDR3.EPAN is 0, and in NS-EL2', () => {
    const access = privileged(READ)
    expect(stageOne(PAGE | AP.RW, { PAN: 1, EPAN: 1 }, without(17)).dma(SID, VA, { access })).toBe('ok 90000000')
    const el2 = stageOne(PAGE | AP.RW, { PAN: 1, EPAN: 1, EPD1: 1 }, {}, { STRW: 2 })
    expect(el2.dma(SID, VA, { access })).toBe('ok 90000000')
  })
})

describe('what IDR3 does not offer', () => {
  it('of permission indirection and attribute indices is ignored', () => {
    // STE.S1PIE, CD.PIE and CD.AIE, and stage 2's S2PIE and S2POE, which stage 1 alone ignores anyway.
    const indirect = { PIE: 1, AIE: 1, PnCH: 1, PIIU: 0, PIIP: 0 }
    const bench = stageOne(PAGE | AP.USER_RW, indirect, {}, { S1PIE: 1, S2PIE: 1, S2POE: 1 })
    expect(bench.dma(SID, VA, { access: WRITE })).toBe('ok 90000000')
  })

  it('is refused of a unit, and PTWNNC of one without stage 2', () => {
    const { IDR3 } = idRegisters('full')
    for (const bit of [7, 15, 16, 18, 19, 20, 21, 22, 23]) {
      expect(() => idRegisters('full', { IDR3: IDR3 | (1 << bit) })).toThrow('IDR3')
    }
    expect(() => idRegisters('default', { IDR0: idRegisters().IDR0 & ~1, IDR3 })).toThrow('PTWNNC')
  })
})
