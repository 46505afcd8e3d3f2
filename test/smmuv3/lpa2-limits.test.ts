/** What is ILLEGAL of 52-bit configurations, and ranges of commands there. [SMMU 5.2] [SMMU 5.4] [SMMU 4.4.1.1] */

import { describe, expect, it } from 'vitest'
import { idRegisters, OFFSET } from '../../hw-model/smmuv3/index.js'
import { HIGH, IDR5, type Shape, SID, spelled, WideBench } from './wide-tables.js'

const LEAF = 0xc43n
const LEAF_2 = 0x4ffn
/** A root table below 4 GiB, and one beyond 48 bits. */
const LOW_ROOT = 0x8_0000n

const stageOne = (idr5: number, shape: Shape, fields: object, root = LOW_ROOT): string => {
  const bench = new WideBench(idr5)
  bench.stageOne(shape, fields, root)
  return bench.dma(SID, 0n)
}

const stageTwo = (idr5: number, shape: Shape, fields: object, root = LOW_ROOT): string => {
  const bench = new WideBench(idr5)
  bench.stageTwo(shape, fields, root)
  return bench.dma(SID, 0n)
}

/** An empty table is reached where everything is legal. */
const LEGAL = 'F_TRANSLATION'

describe('T0SZ', () => {
  it.each([
    ['12 with 4 KiB and DS', IDR5.FULL, 12, 12, true, LEGAL],
    ['11 with 4 KiB and DS', IDR5.FULL, 12, 11, true, 'C_BAD_CD'],
    ['15 with 4 KiB and no DS', IDR5.FULL, 12, 15, false, 'C_BAD_CD'],
    ['15 with 4 KiB, where IDR5.DS is 0', IDR5.WITHOUT_DS, 12, 15, true, 'C_BAD_CD'],
    ['16 with 4 KiB and no DS', IDR5.FULL, 12, 16, false, LEGAL],
    ['12 with 16 KiB and DS', IDR5.FULL, 14, 12, true, LEGAL],
    ['15 with 16 KiB and no DS', IDR5.FULL, 14, 15, false, 'C_BAD_CD'],
    ['12 with 64 KiB', IDR5.FULL, 16, 12, false, LEGAL],
    ['11 with 64 KiB', IDR5.FULL, 16, 11, false, 'C_BAD_CD'],
    ['12 with 64 KiB, where OAS is 48 bits', IDR5.OAS_48, 16, 12, false, LEGAL],
    ['15 with 64 KiB, where IDR5.VAX is 0', IDR5.VAX_48, 16, 15, false, 'C_BAD_CD'],
  ])('%s', (_name, idr5, granule, T0SZ, ds, answer) => {
    expect(stageOne(idr5, { granule, bits: 64 - T0SZ, start: 0, ds }, {})).toBe(answer)
  })
})

describe('TTB0', () => {
  const beyond = HIGH + 0x10000n
  it.each([
    ['beyond 48 bits with 4 KiB and no DS', 12, false, { IPS: 6 }, beyond, 'C_BAD_CD'],
    ['beyond 48 bits with 16 KiB and no DS', 14, false, { IPS: 6 }, beyond, 'C_BAD_CD'],
    ['beyond 48 bits with 4 KiB and DS', 12, true, { IPS: 6 }, beyond, LEGAL],
    ['beyond 48 bits with 64 KiB', 16, false, { IPS: 6 }, beyond, LEGAL],
    ['beyond IPS', 16, false, { IPS: 5 }, beyond, 'C_BAD_CD'],
    ['with bits above 51, which are reserved', 12, false, { IPS: 5 }, 0xf0_0000_0008_0000n, LEGAL],
  ])('%s', (_name, granule, ds, fields, root, answer) => {
    expect(stageOne(IDR5.FULL, { granule, bits: 40, start: 0, ds }, fields, root)).toBe(answer)
  })

  it.each([
    [6, 0n],
    [5, 0x30n],
  ])('is aligned to 64 bytes with IPS = 6, and to a small table with less: IPS = %i', (IPS, offset) => {
    // 4 KiB, 40 bits: level 0 has two entries, 16 bytes.
    const bench = new WideBench()
    const shape = { granule: 12, bits: 40, start: 0, ds: true }
    bench.stageOne(shape, { IPS }, LOW_ROOT + 0x30n)
    bench.set(shape, LOW_ROOT + offset, 0n, 0, 0x80_0000_0000n | 0xc41n)
    expect(bench.dma(SID, 0x1234n)).toBe('ok 8000001234')
  })
})

describe('stage 2', () => {
  it.each([
    ['4 KiB, level -1, 52 bits', 12, 52, -1, true, {}, LEGAL],
    ['4 KiB, level -1, 49 bits', 12, 49, -1, true, {}, LEGAL],
    ['4 KiB, level -1, 48 bits', 12, 48, -1, true, {}, 'C_BAD_STE'],
    ['4 KiB, level 0, 52 bits, 16 tables', 12, 52, 0, true, {}, LEGAL],
    ['4 KiB, level 1, 44 bits, 32 tables', 12, 44, 1, true, {}, 'C_BAD_STE'],
    ['4 KiB, S2SL0_2 with S2SL0 = 1', 12, 49, -1, true, { S2SL0: 1 }, 'C_BAD_STE'],
    ['4 KiB, S2SL0_2 without S2DS, which ignores it', 12, 30, 2, false, { S2SL0_2: 1 }, LEGAL],
    ['4 KiB, 49 bits without S2DS', 12, 49, 0, false, {}, 'C_BAD_STE'],
    ['16 KiB, level 0, 52 bits', 14, 52, 0, true, {}, LEGAL],
    ['16 KiB, level 0, 48 bits', 14, 48, 0, true, {}, LEGAL],
    ['16 KiB, level 0, 47 bits', 14, 47, 0, true, {}, 'C_BAD_STE'],
    ['16 KiB, level 0 without S2DS', 14, 48, 0, false, {}, 'C_BAD_STE'],
    ['16 KiB, level 1, 51 bits, 16 tables', 14, 51, 1, true, {}, LEGAL],
    ['16 KiB, level 1, 52 bits', 14, 52, 1, true, {}, 'C_BAD_STE'],
    ['64 KiB, level 1, 52 bits', 16, 52, 1, false, {}, LEGAL],
    ['64 KiB, level 0, which it has not', 16, 52, 0, true, {}, 'C_BAD_STE'],
    ['64 KiB, 53 bits', 16, 53, 1, false, {}, 'C_BAD_STE'],
  ])('%s', (_name, granule, bits, start, ds, fields, answer) => {
    expect(stageTwo(IDR5.FULL, { granule, bits, start, ds }, fields)).toBe(answer)
  })

  it('has no more bits than IAS, which is OAS', () => {
    expect(stageTwo(IDR5.OAS_48, { granule: 16, bits: 49, start: 1 }, {})).toBe('C_BAD_STE')
    expect(stageTwo(IDR5.OAS_48, { granule: 16, bits: 48, start: 1 }, {})).toBe(LEGAL)
  })

  it('has S2DS and S2SL0_2 reserved where IDR5.DS is 0', () => {
    const fields = { S2DS: 1, S2SL0_2: 1, S2SL0: 0 }
    expect(stageTwo(IDR5.WITHOUT_DS, { granule: 12, bits: 30, start: 2 }, fields)).toBe(LEGAL)
    expect(stageTwo(IDR5.FULL, { granule: 12, bits: 30, start: 2 }, fields)).toBe('C_BAD_STE')
  })

  it.each([
    ['4 KiB without S2DS', 12, 0, false, 'C_BAD_STE'],
    ['4 KiB with S2DS', 12, 0, true, LEGAL],
    ['64 KiB', 16, 1, false, LEGAL],
  ])('has its root beyond 48 bits: %s', (_name, granule, start, ds, answer) => {
    expect(stageTwo(IDR5.FULL, { granule, bits: 48, start, ds }, {}, HIGH + 0x10_0000n)).toBe(answer)
  })

  it('ignores bits above 51 of its root', () => {
    expect(stageTwo(IDR5.FULL, { granule: 12, bits: 40, start: 0 }, {}, 0xf0_0000_0008_0000n)).toBe(LEGAL)
  })
})

describe('a range of a TLBI', () => {
  const shape = { granule: 16, bits: 52, start: 1 }
  const FAR = 0xf_0000_0000_0000n

  /** Two cached pages, at 0 and far above; answers which of them survive a command of DW0 and DW1. */
  function survivors(dw0: bigint, dw1: bigint, idr5: number = IDR5.FULL): number[] {
    const bench = new WideBench(idr5)
    const root = bench.stageOne(shape)
    for (const va of [0n, FAR]) {
      bench.set(shape, root, va, 3, spelled(HIGH, 16, false) | LEAF)
      bench.dma(SID, va)
    }
    bench.commands([dw0 | 0x0007_0000_0000_0012n, dw1])
    return [0n, FAR].map((va) => bench.outcome(SID, va).hit)
  }

  // SCALE in [25:20], NUM in [16:12], TG = 3 in DW1 [11:10].
  const range = (scale: bigint, num: bigint): bigint => (scale << 20n) | (num << 12n)
  it.each([
    ['31 and NUM 31, 2^52 bytes', range(31n, 31n), IDR5.FULL, [0, 0]],
    ['32 and NUM 0, 2^48 bytes', range(32n, 0n), IDR5.FULL, [0, 1]],
    ['32 and NUM 15, 2^52 bytes', range(32n, 15n), IDR5.FULL, [0, 0]],
    ['63, which is 39', range(63n, 0n), IDR5.FULL, [0, 0]],
    ['32, which is 0 where IDR5.DS is 0', range(32n, 15n), IDR5.WITHOUT_DS, [0, 1]],
  ])('has SCALE %s', (_name, dw0, idr5, hits) => {
    expect(survivors(dw0, 0xc01n, idr5)).toEqual(hits)
  })

  it.each([
    ['one granule of 16 KiB at level 1 is reserved without DS', IDR5.WITHOUT_DS, 0x901n, 1],
    ['and means a block of 64 GiB with it', IDR5.FULL, 0x901n, 0],
    ['one granule at no level is reserved anyway', IDR5.FULL, 0x801n, 1],
  ])('%s', (_name, idr5, dw1, error) => {
    const bench = new WideBench(idr5)
    bench.commands([0x0007_0000_0000_0012n, dw1])
    expect(bench.read(OFFSET.CMDQ_CONS) >>> 24).toBe(error)
  })

  it('names a block of 64 GiB by its level', () => {
    const bench = new WideBench()
    const small = { granule: 14, bits: 47, start: 1, ds: true }
    const root = bench.stageOne(small)
    bench.set(small, root, 0n, 1, spelled(HIGH, 14, true) | 0xc41n)
    bench.dma(SID, 0n)
    // Level 2 is another level, and 4 KiB another granule.
    bench.commands([0x0007_0000_0000_0012n, 0xa01n], [0x0007_0000_0000_0012n, 0x501n])
    expect(bench.outcome(SID, 0x8_0000_0000n).hit).toBe(1)
    bench.commands([0x0007_0000_0000_0012n, 0x8_0000_0901n])
    expect(bench.outcome(SID, 0n).hit).toBe(0)
  })

  it('reaches a block of 512 GiB, which no level names, only without one', () => {
    const bench = new WideBench()
    const large = { granule: 12, bits: 48, start: 0, ds: true }
    const root = bench.stageOne(large)
    bench.set(large, root, 0n, 0, spelled(HIGH & ~0x7f_ffff_ffffn, 12, true) | 0xc41n)
    bench.dma(SID, 0n)
    for (const ttl of [1n, 2n, 3n]) bench.commands([0x0007_0000_0000_1012n, 0x401n | (ttl << 8n)])
    expect(bench.outcome(SID, 0x70_0000_0000n).hit).toBe(1)
    bench.commands([0x0007_0000_0000_1012n, 0x60_0000_0401n])
    expect(bench.outcome(SID, 0x70_0000_0000n).hit).toBe(0)
    // Any address of it, without a granule.
    bench.commands([0x0007_0000_0000_0012n, 0x12_3456_7001n])
    expect(bench.outcome(SID, 0x70_0000_0000n).hit).toBe(0)
  })

  it('reaches stage 2 leaves by an IPA of 52 bits', () => {
    const bench = new WideBench()
    const root = bench.stageTwo(shape)
    bench.set(shape, root, FAR, 3, spelled(HIGH, 16, false) | LEAF_2)
    bench.dma(SID, FAR)
    bench.commands([0x0000_0002_0000_002an, 1n])
    expect(bench.outcome(SID, FAR).hit).toBe(1)
    bench.commands([0x0000_0002_0000_002an, FAR | 1n])
    expect(bench.outcome(SID, FAR).hit).toBe(0)
  })
})

describe('IDR5', () => {
  it.each([
    ['DS without VAX', 0x0f6, 'DS goes with VAX'],
    ['DS with 64 KiB granules alone', 0x4c5, 'DS goes with GRAN4K'],
    ['VAX with small granules and no DS', 0x435, 'VAX = 1 goes with'],
    ['OAS of 52 bits with small granules and no DS', 0x036, 'OAS = 6 goes with'],
    ['no granule', 0x405, 'no granule'],
    ['VAX of 56 bits', 0x8f6, 'VAX'],
    ['OAS of 56 bits', 0x4f7, 'OAS'],
  ])('is refused with %s', (_name, value, reason) => {
    expect(() => idRegisters('default', { IDR5: value })).toThrow(reason)
  })

  it.each([
    ['OAS of 52 bits with 64 KiB granules', 0x046],
    ['VAX with 64 KiB granules', 0x445],
    ['DS with 4 KiB granules and 48-bit outputs', 0x495],
  ])('takes %s', (_name, value) => {
    expect(idRegisters('default', { IDR5: value }).IDR5).toBe(value)
  })
})
