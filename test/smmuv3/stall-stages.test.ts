import { describe, expect, it } from 'vitest'
import { ACCESS, REQUEST, STATUS } from '../../hw-model/port.js'
import { CONFIG, type IdOverrides, idRegisters } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, GUEST, NO_LEAVES, S1, S2, stageTwoFields } from './bench.js'
import {
  type CdFields,
  PA,
  PAGE,
  RAZ_WI,
  RETRY,
  resume,
  SID,
  type SteFields,
  stalling,
  stalls,
  VA,
} from './stalling.js'

const { WRITE } = ACCESS

describe('[SMMU 5.5 Fault configuration] by IDR0.STALL_MODEL', () => {
  const nested = { ...stageTwoFields(1, 0), Config: CONFIG.NESTED }
  const rows: [model: number, name: string, cd: CdFields, ste: SteFields, answer: string][] = [
    [0, 'S', {}, {}, 'pending 1'],
    [0, 'S = 0', { S: 0 }, {}, 'F_TRANSLATION'],
    [0, 'S with S1STALLD', {}, { S1STALLD: 1 }, 'C_BAD_CD'],
    [0, 'S = 0 with S1STALLD', { S: 0 }, { S1STALLD: 1 }, 'F_TRANSLATION'],
    [0, 'S2S = 0', {}, nested, 'F_TRANSLATION'],
    [0, 'S2S', {}, { ...nested, S2S: 1 }, 'pending 1'],
    [1, 'S', {}, {}, 'C_BAD_CD'],
    [1, 'S = 0', { S: 0 }, {}, 'F_TRANSLATION'],
    [1, 'S1STALLD', { S: 0 }, { S1STALLD: 1 }, 'C_BAD_STE'],
    [1, 'S2S', {}, { ...nested, S2S: 1 }, 'C_BAD_STE'],
    [1, 'S2S without stage 2', { S: 0 }, { S2S: 1 }, 'F_TRANSLATION'],
    [2, 'S', {}, {}, 'pending 1'],
    [2, 'S = 0', { S: 0 }, {}, 'C_BAD_CD'],
    [2, 'S1STALLD', {}, { S1STALLD: 1 }, 'C_BAD_STE'],
    [2, 'S1STALLD without stage 1', {}, { ...nested, Config: CONFIG.S2_TRANS, S2S: 1, S1STALLD: 1 }, 'pending 1'],
    [2, 'S2S = 0', {}, nested, 'C_BAD_STE'],
    [2, 'S2S', {}, { ...nested, S2S: 1 }, 'pending 1'],
  ]
  it.each(rows)('%i: %s', (model, _name, cd, ste, answer) => {
    const { bench } = stalling({ id: stalls(model === 1 ? 0 : 8, model) }, cd, ste)
    expect(bench.dma(SID, VA)).toBe(answer)
  })

  it.each([
    ['no stalls, and a STALL_MAX', 1, 1, /IDR5\.STALL_MAX/],
    ['stalls, and a STALL_MAX of 0', 0, 0, /IDR5\.STALL_MAX/],
    ['forced stalls, and a STALL_MAX of 0', 2, 0, /IDR5\.STALL_MAX/],
    ['the reserved model', 3, 1, /IDR0\.STALL_MODEL = 3/],
  ])('%s is refused', (_name, model, most, reason) => {
    expect(() => idRegisters('default', stalls(most, model))).toThrow(reason)
  })

  it('forced stalls with ATS are refused: a PCIe device must not be made to wait', () => {
    const { IDR0 = 0, IDR5 } = stalls(1, 2)
    const id = { IDR0: (IDR0 | (0b11 << 10)) >>> 0, IDR5 }
    expect(() => idRegisters('default', id as IdOverrides)).toThrow(/IDR0\.STALL_MODEL/)
  })
})

/** A nested stream whose structures stand at GUEST + their physical address; either stage stalls or not. */
function nestedStream(s1Stalls: 0 | 1, s2Stalls: 0 | 1) {
  const bench = new Bench({ id: stalls(64), caches: NO_LEAVES })
  const s2 = bench.alloc()
  const cd = bench.alloc()
  const s1 = bench.alloc()
  bench.map(s1, PAGE, BigInt(GUEST + 0x90000000) | S1.RW, 3, GUEST)
  for (let pa = 0; pa < 0x400000; pa += 4096) bench.map(s2, BigInt(GUEST + pa), BigInt(pa) | S2.RW)
  bench.map(s2, BigInt(GUEST + 0x90000000), 0xa0000000n | S2.RW)
  bench.cd(cd, { ...contextFields(7, GUEST + s1), S: s1Stalls })
  const fields = { V: 1, Config: CONFIG.NESTED, S1ContextPtr: GUEST + cd, S2S: s2Stalls }
  bench.ste(SID, { ...stageTwoFields(2, s2), ...fields })
  return { bench, s2, cd, s1 }
}

describe('[SMMU 3.12.5 Combinations of fault configuration with two stages]', () => {
  it('stage 2 stalls for a CD, a stage 1 table and the output, and says which', () => {
    const { bench, s2, cd, s1 } = nestedStream(0, 1)
    const root = BigInt(GUEST + s1)
    bench.map(s2, BigInt(GUEST + 0x90000000), 0n)
    bench.map(s2, root, 0n)
    bench.map(s2, BigInt(GUEST + cd), 0n)
    expect(bench.dma(SID, VA, { access: WRITE })).toBe('pending 1')
    bench.map(s2, BigInt(GUEST + cd), BigInt(cd) | S2.RW)
    bench.commands(resume(RETRY, 0n))
    bench.map(s2, root, BigInt(s1) | S2.WO)
    bench.commands(resume(RETRY, 1n))
    bench.map(s2, root, BigInt(s1) | S2.RW)
    bench.commands(resume(RETRY, 2n))
    expect(bench.endings).toEqual([])
    bench.map(s2, BigInt(GUEST + 0x90000000), 0xa0000000n | S2.RW)
    bench.commands(resume(RETRY, 3n))
    expect(bench.endings).toEqual([[1, 'ok a0000abc']])
    const slot = root + ((VA >> 39n) & 0x1ffn) * 8n
    expect(bench.events()).toEqual([
      [0x0000000200000010n, 0x0000008080000000n, VA, BigInt(GUEST + cd)],
      [0x0000000200000010n, 0x0000018080000001n, VA, root],
      [0x0000000200000013n, 0x0000118080000002n, VA, slot & ~0xfffn],
      [0x0000000200000010n, 0x0000028080000003n, VA, BigInt(GUEST + 0x90000000)],
    ])
  })

  it.each([
    [0, 0, 'F_TRANSLATION', 'F_TRANSLATION'],
    [0, 1, 'F_TRANSLATION', 'pending 1'],
    [1, 0, 'pending 1', 'F_TRANSLATION'],
    [1, 1, 'pending 1', 'pending 1'],
  ] as const)('stage 1 stalls %i, stage 2 stalls %i', (one, two, atOne, atTwo) => {
    expect(nestedStream(one, two).bench.dma(SID, 0x1000n)).toBe(atOne)
    const { bench, s2 } = nestedStream(one, two)
    bench.map(s2, BigInt(GUEST + 0x90000000), 0n)
    expect(bench.dma(SID, VA)).toBe(atTwo)
  })

  it('stage 2 alone stalls, and needs no S2R for a record', () => {
    const bench = new Bench({ id: stalls(64) })
    const root = bench.alloc()
    const fields = { V: 1, Config: CONFIG.S2_TRANS, S2S: 1, S2R: 0 }
    bench.ste(SID, { ...stageTwoFields(1, root), ...fields })
    expect(bench.dma(SID, VA)).toBe('pending 1')
    expect(bench.events()).toEqual([[0x0000000200000010n, 0x0000028880000000n, VA, PAGE]])
    bench.map(root, PAGE, PA | S2.RO)
    bench.commands(resume(RETRY, 0n))
    expect(bench.endings).toEqual([[1, 'ok 80000abc']])
    // What the IPA cache holds is checked again.
    expect(bench.dma(SID, VA, { access: WRITE })).toBe('pending 2')
    expect(bench.dma(SID, 1n << 50n)).toBe('F_ADDR_SIZE')
    bench.commands(resume(RAZ_WI, 1n))
    expect(bench.endings[1]).toEqual([2, 'raz/wi event 0x00'])
  })

  it('an ATS translation request is answered, and never stalls', () => {
    const id = stalls(8)
    const { bench } = stalling({ id: { ...id, IDR0: ((id.IDR0 ?? 0) | (0b11 << 10)) >>> 0 } }, {}, { EATS: 1 })
    const request = Object.assign(bench.transaction(SID, VA), { type: REQUEST.TRANSLATION })
    const outcome = bench.outcomeOf((out) => bench.unit.translate(request, out))
    expect([outcome.status, outcome.rights]).toEqual([STATUS.OK, 0])
    expect([bench.unit.stalls.recorded, bench.unit.stalls.unrecorded, bench.events()]).toEqual([0, 0, []])
    // An ordinary access to the same page does.
    expect(bench.dma(SID, VA)).toBe('pending 1')
  })

  it('a stage 2 table that cannot be read aborts', () => {
    const { bench, s2 } = nestedStream(1, 1)
    bench.poke(s2, 0x200000000003n)
    expect(bench.dma(SID, VA)).toBe('F_WALK_EABT')
  })
})
