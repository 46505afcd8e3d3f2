/** [SMMU 3.4 Address sizes] [Arm D8.2.8 to D8.2.10] [Arm D8.3.1 VMSAv8-64 descriptor formats]: 52 bits */

import { describe, expect, it } from 'vitest'
import { ACCESS, Outcome, Transaction, type WalkStep } from '../../hw-model/port.js'
import { HIGH, IDR5, type Shape, SID, spelled, WideBench } from './wide-tables.js'

/** Low attributes: AF, AP[1], nG and V; bits [9:8] are 0. Stage 2: AF, S2AP and MemAttr. */
const [PAGE, BLOCK] = [0xc43n, 0xc41n]
const [PAGE_2, BLOCK_2] = [0x4ffn, 0x4fdn]

const hex = (value: bigint): string => value.toString(16)

/** Granule, bits, start level, level and size of the leaf. */
const TREES: readonly [Shape, number, bigint][] = [
  [{ granule: 12, bits: 52, start: -1, ds: true }, 3, 12n],
  [{ granule: 12, bits: 49, start: -1, ds: true }, 2, 21n],
  [{ granule: 12, bits: 52, start: -1, ds: true }, 1, 30n],
  [{ granule: 12, bits: 52, start: -1, ds: true }, 0, 39n],
  [{ granule: 12, bits: 48, start: 0, ds: true }, 0, 39n],
  [{ granule: 14, bits: 52, start: 0, ds: true }, 3, 14n],
  [{ granule: 14, bits: 52, start: 0, ds: true }, 2, 25n],
  [{ granule: 14, bits: 48, start: 0, ds: true }, 1, 36n],
  [{ granule: 14, bits: 47, start: 1, ds: true }, 1, 36n],
  [{ granule: 16, bits: 52, start: 1 }, 3, 16n],
  [{ granule: 16, bits: 52, start: 1 }, 2, 29n],
  [{ granule: 16, bits: 52, start: 1 }, 1, 42n],
  [{ granule: 16, bits: 43, start: 1 }, 1, 42n],
]

describe('a walk with addresses of 52 bits', () => {
  it.each(TREES)('at stage 1, %o, leaf at level %i of 2^%i bytes', (shape, level, lg2) => {
    const bench = new WideBench()
    const root = bench.stageOne(shape)
    const va = (1n << BigInt(shape.bits)) - (1n << (lg2 - 1n)) + 0x123n
    const block = 0xe_dcba_9876_5432n & ~((1n << lg2) - 1n)
    bench.set(shape, root, va, level, spelled(block, shape.granule, shape.ds === true) | (level === 3 ? PAGE : BLOCK))
    const output = block | (va & ((1n << lg2) - 1n))
    expect(bench.dma(SID, va)).toBe(`ok ${hex(output)}`)
    const again = bench.outcome(SID, va - 0x23n)
    expect([again.hit, BigInt(again.address), again.leafLg2]).toEqual([1, output - 0x23n, Number(lg2)])
  })

  it.each(TREES)('at stage 2, %o, leaf at level %i of 2^%i bytes', (shape, level, lg2) => {
    const bench = new WideBench()
    const root = bench.stageTwo(shape)
    const ipa = (1n << BigInt(shape.bits)) - (1n << (lg2 - 1n)) + 0x123n
    const block = 0xe_dcba_9876_5432n & ~((1n << lg2) - 1n)
    const leaf = level === 3 ? PAGE_2 : BLOCK_2
    bench.set(shape, root, ipa, level, spelled(block, shape.granule, shape.ds === true) | leaf)
    const output = block | (ipa & ((1n << lg2) - 1n))
    expect(bench.dma(SID, ipa)).toBe(`ok ${hex(output)}`)
    const again = bench.outcome(SID, ipa - 0x23n)
    expect([again.hit, BigInt(again.address), again.leafLg2]).toEqual([1, output - 0x23n, Number(lg2)])
  })

  it('goes through TTB1 with 52 bits', () => {
    const bench = new WideBench()
    const shape = { granule: 12, bits: 52, start: -1, ds: true }
    // TG1 = 2 is 4 KiB.
    const root = bench.high(0x1000n)
    bench.stageOne(shape, { EPD0: 1, EPD1: 0, T1SZ: 12, TG1: 2, TTB1: Number(root) })
    const va = 0xfff8_7654_3210_f123n
    bench.set(shape, root, va, 3, spelled(HIGH + 0x5000n, 12, true) | PAGE)
    expect(bench.dma(SID, va)).toBe(`ok ${hex(HIGH + 0x5123n)}`)
    expect(bench.dma(SID, 0xffef_ffff_ffff_f000n)).toBe('F_TRANSLATION')
  })

  it('starts stage 2 at concatenated tables', () => {
    const bench = new WideBench()
    for (const [shape, level, lg2] of [
      [{ granule: 12, bits: 52, start: 0, ds: true }, 0, 39n],
      [{ granule: 14, bits: 51, start: 1, ds: true }, 1, 36n],
    ] as const) {
      const root = bench.stageTwo(shape)
      const ipa = (1n << BigInt(shape.bits)) - 0x1000n
      bench.set(shape, root, ipa, level, spelled(0xf_8000_0000_0000n, shape.granule, true) | BLOCK_2)
      expect(bench.dma(SID, ipa)).toBe(`ok ${hex(0xf_8000_0000_0000n | (ipa & ((1n << lg2) - 1n)))}`)
      bench.commands([0x0000_0002_0000_0028n, 0n])
    }
  })

  it('tells where it could not read a table, and what stage 2 does not map', () => {
    const bench = new WideBench()
    const shape = { granule: 16, bits: 52, start: 1 }
    const root = bench.stageTwo(shape)
    const ipa = 0xf_edcb_a987_6543n
    expect(bench.dma(SID, ipa)).toBe('F_TRANSLATION')
    bench.poke(Number(root + (ipa >> 42n) * 8n), spelled(0xf_ffff_ffff_0000n, 16, false) | 3n)
    expect(bench.dma(SID, ipa)).toBe('F_WALK_EABT')
    const entry = 0xf_ffff_ffff_0000n + ((ipa >> 29n) & 0x1fffn) * 8n
    expect(bench.events()).toEqual([
      [0x0000_0003_0000_0010n, 0x0000_0288_0000_0000n, ipa, 0xf_edcb_a987_6000n],
      [0x0000_0003_0000_000bn, 0x0000_0288_0000_0000n, ipa, entry],
    ])
  })
})

describe('blocks that need wide addresses', () => {
  it.each([
    ['512 GiB', { granule: 12, bits: 48, start: 0 }, 0],
    ['64 GiB', { granule: 14, bits: 47, start: 1 }, 1],
  ])('of %s are invalid without DS', (_name, shape, level) => {
    for (const idr5 of [IDR5.FULL, IDR5.WITHOUT_DS]) {
      // DS is reserved where IDR5.DS is 0.
      const bench = new WideBench(idr5)
      const root = bench.stageOne(shape, { DS: idr5 === IDR5.FULL ? 0 : 1 }, 0x8_0000n)
      bench.set(shape, root, 0n, level, BLOCK)
      expect(bench.dma(SID, 0n)).toBe('F_TRANSLATION')
    }
  })

  it('of 4 TiB are invalid where IDR5.OAS is less than 52 bits', () => {
    const bench = new WideBench(IDR5.OAS_48)
    const shape = { granule: 16, bits: 48, start: 1 }
    bench.set(shape, bench.stageOne(shape, {}, 0x8_0000n), 0n, 1, BLOCK)
    expect(bench.dma(SID, 0n)).toBe('F_TRANSLATION')
  })

  it('have reserved bits below their address, which are ignored', () => {
    const bench = new WideBench()
    const shape = { granule: 12, bits: 48, start: 0, ds: true }
    bench.set(shape, bench.stageOne(shape, { IPS: 2 }, 0x8_0000n), 0n, 0, 0x7f_ffff_0000n | BLOCK)
    expect(bench.dma(SID, 0x12_3456_7890n)).toBe('ok 1234567890')
  })
})

describe('the output size', () => {
  it.each([
    ['IPS = 5', 5, 0x1_0000_0000_0000n, 'F_ADDR_SIZE'],
    ['IPS = 5', 5, 0x8_0000_0000_0000n, 'F_ADDR_SIZE'],
    ['IPS = 5', 5, 0x8000_0000_0000n, 'ok 800000000000'],
    ['IPS = 4', 4, 0x1000_0000_0000n, 'F_ADDR_SIZE'],
    ['IPS = 7, which is 52 bits', 7, 0x8_0000_0000_0000n, 'ok 8000000000000'],
  ])('is checked on every bit of a leaf and of a table: %s', (_name, IPS, output, answer) => {
    for (const shape of [
      { granule: 12, bits: 39, start: 1, ds: true },
      { granule: 14, bits: 36, start: 2, ds: true },
      { granule: 16, bits: 42, start: 2 },
    ]) {
      const bench = new WideBench()
      const root = bench.stageOne(shape, { IPS }, 0x8_0000n)
      const entry = spelled(output, shape.granule, shape.ds === true)
      bench.set(shape, root, 0n, shape.start, entry | BLOCK)
      expect(bench.dma(SID, 0n)).toBe(answer)
      bench.set(shape, root, 1n << 35n, shape.start, entry | 3n)
      const fault = answer === 'F_ADDR_SIZE' ? answer : 'F_WALK_EABT'
      expect(bench.dma(SID, 1n << 35n)).toBe(fault)
    }
  })

  it('is not there to be checked where entries have 48 bits', () => {
    // 4 KiB without DS: [49:48] and [9:8] are no address. 64 KiB with 48-bit outputs: neither is [15:12].
    const small = new WideBench()
    const shape = { granule: 12, bits: 39, start: 1 }
    small.set(shape, small.stageOne(shape, {}, 0x8_0000n), 0n, 1, (3n << 48n) | 0x300n | BLOCK)
    expect(small.dma(SID, 0n)).toBe('ok 0')
    const large = new WideBench(IDR5.OAS_48)
    const shape64 = { granule: 16, bits: 42, start: 2 }
    large.set(shape64, large.stageOne(shape64, {}, 0x8_0000n), 0n, 2, 0xf000n | BLOCK)
    expect(large.dma(SID, 0n)).toBe('ok 0')
  })
})

describe('a walk that is explained', () => {
  it('has a level -1, and names the parts of a wide address and no SH', () => {
    const bench = new WideBench()
    const shape = { granule: 12, bits: 52, start: -1, ds: true }
    const root = bench.stageOne(shape)
    bench.set(shape, root, 0x5000n, 3, spelled(HIGH + 0x3000n, 12, true) | PAGE)
    const transaction = Object.assign(new Transaction(), { rid: SID, lo: 0x5000, access: ACCESS.READ })
    const steps: WalkStep[] = []
    bench.unit.explain(transaction, new Outcome(), { step: (step) => steps.push(step) })
    const entries = steps.filter(({ stage }) => stage === 1)
    expect(entries.map(({ level }) => level)).toEqual([-1, 0, 1, 2, 3])
    expect(entries[0].fields?.['NLTA_51_50']).toBe(3)
    expect(entries[4].fields).toMatchObject({ OA_51_50: 3, OutputAddress: 0x1_0000_0000_3000 })
    expect(entries[4].fields).not.toHaveProperty('SH')
    expect(entries[4].texts).not.toHaveProperty('SH')
    expect(entries[4].target).toEqual({ space: 'pa', address: Number(HIGH + 0x3000n) })
    expect(steps.find(({ what }) => what === 'CD')?.fields?.['DS']).toBe(1)
  })

  it('has no DS fields with 64 KiB granules, and tells where stage 2 starts', () => {
    const bench = new WideBench()
    const shape = { granule: 16, bits: 52, start: 1 }
    const root = bench.stageTwo(shape, { S2DS: 1 })
    bench.set(shape, root, 0x5000n, 3, spelled(HIGH + 0x30000n, 16, false) | PAGE_2 | 0x300n)
    const transaction = Object.assign(new Transaction(), { rid: SID, lo: 0x5000, access: ACCESS.READ })
    const steps: WalkStep[] = []
    bench.unit.explain(transaction, new Outcome(), { step: (step) => steps.push(step) })
    const entries = steps.filter(({ stage }) => stage === 2)
    expect(entries.map(({ level }) => level)).toEqual([1, 2, 3])
    expect(entries[0].fields?.['NLTA_51_48']).toBe(13)
    expect(entries[2].fields).toMatchObject({ OA_51_48: 13, OutputAddress: 0x30000, SH: 3 })
    expect(steps[0].texts?.['S2SL0']).toBe('starts at level 1')
    expect(steps[0].fields).toMatchObject({ S2DS: 1, S2SL0_2: 0 })
  })
})
