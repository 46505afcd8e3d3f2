/** Small translation tables: inputs of 16 or 17 bits and up. [SMMU 6.3.4 IDR3.STT] [Arm D8.2.8 to D8.2.10] */

import { describe, expect, it } from 'vitest'
import { idRegisters } from '../../hw-model/smmuv3/index.js'
import { IDR5, SID, WideBench } from './wide-tables.js'

const [PAGE, BLOCK] = [0xf43n, 0xf41n]
const PAGE_2 = 0x7ffn
/** IDR3.STT is bit 9. */
const WITHOUT_STT = idRegisters('full').IDR3 & ~(1 << 9)

const stageOne = (granule: number, bits: number, start: number, stt = true): string => {
  const bench = new WideBench(IDR5.FULL, 'full', stt ? undefined : WITHOUT_STT)
  const shape = { granule, bits, start }
  const root = bench.stageOne(shape, {}, 0x8_0000n)
  const last = (1n << BigInt(bits)) - 1n
  bench.set(shape, root, last, 3, 0x9000_0000n | PAGE)
  return bench.dma(SID, last)
}

describe('T0SZ with small tables', () => {
  it.each([
    ['4 KiB, 40: level 2', 12, 24, 2, 'ok 90000fff'],
    ['4 KiB, 42: level 2', 12, 22, 2, 'ok 90000fff'],
    ['4 KiB, 43: level 3', 12, 21, 3, 'ok 90000fff'],
    ['4 KiB, 48: level 3', 12, 16, 3, 'ok 90000fff'],
    ['4 KiB, 49', 12, 15, 3, 'C_BAD_CD'],
    ['16 KiB, 40: level 3', 14, 24, 3, 'ok 90003fff'],
    ['16 KiB, 48: level 3', 14, 16, 3, 'ok 90003fff'],
    ['16 KiB, 49', 14, 15, 3, 'C_BAD_CD'],
    ['64 KiB, 40: level 3', 16, 24, 3, 'ok 9000ffff'],
    ['64 KiB, 47: level 3', 16, 17, 3, 'ok 9000ffff'],
    ['64 KiB, 48', 16, 16, 3, 'C_BAD_CD'],
  ])('%s', (_name, granule, bits, start, answer) => {
    expect(stageOne(granule, bits, start)).toBe(answer)
    // Without IDR3.STT no more than 39.
    expect(stageOne(granule, bits, start, false)).toBe('C_BAD_CD')
    expect(stageOne(granule, 25, granule === 12 ? 2 : 3, false)).toMatch(/^ok/)
  })

  it('finds nothing beyond its bits', () => {
    const bench = new WideBench()
    const shape = { granule: 12, bits: 16, start: 3 }
    const root = bench.stageOne(shape, {}, 0x8_0000n)
    bench.set(shape, root, 0n, 3, 0x9000_0000n | PAGE)
    expect([0n, 0xfffn, 0x1_0000n, 1n << 32n].map((va) => bench.dma(SID, va))).toEqual([
      'ok 90000000',
      'ok 90000fff',
      'F_TRANSLATION',
      'F_TRANSLATION',
    ])
  })

  it('is for TTB1 too', () => {
    const bench = new WideBench()
    const shape = { granule: 12, bits: 16, start: 3 }
    bench.stageOne(shape, { EPD0: 1, EPD1: 0, T1SZ: 48, TG1: 2, TTB1: 0x8_0000 }, 0x8_0000n)
    bench.set(shape, 0x8_0000n, 0xffff_ffff_ffff_f000n, 3, 0x9000_0000n | PAGE)
    expect(bench.dma(SID, 0xffff_ffff_ffff_f123n)).toBe('ok 90000123')
    expect(bench.dma(SID, 0xffff_ffff_fffe_f123n)).toBe('F_TRANSLATION')
  })

  it('has tables as small as two entries, and aligned to no more', () => {
    const bench = new WideBench()
    // 64 KiB, 17 bits: 16 bytes.
    const shape = { granule: 16, bits: 17, start: 3 }
    bench.stageOne(shape, { IPS: 5 }, 0x8_0010n)
    bench.set(shape, 0x8_0010n, 0x1_0000n, 3, 0x9000_0000n | PAGE)
    expect(bench.dma(SID, 0x1_2345n)).toBe('ok 90002345')
  })

  it('has no block where it starts at level 3', () => {
    const bench = new WideBench()
    const shape = { granule: 12, bits: 16, start: 3 }
    bench.set(shape, bench.stageOne(shape, {}, 0x8_0000n), 0n, 3, 0x9000_0000n | BLOCK)
    expect(bench.dma(SID, 0n)).toBe('F_TRANSLATION')
  })
})

describe('S2T0SZ with small tables', () => {
  const stageTwo = (granule: number, bits: number, start: number, stt = true): string => {
    const bench = new WideBench(IDR5.FULL, 'full', stt ? undefined : WITHOUT_STT)
    const shape = { granule, bits, start }
    const root = bench.stageTwo(shape, {}, 0x10_0000n)
    const last = (1n << BigInt(bits)) - 1n
    bench.set(shape, root, last, 3, 0x9000_0000n | PAGE_2)
    return bench.dma(SID, last)
  }

  it.each([
    ['4 KiB, level 3, 39: 16 tables', 12, 25, 3, 'ok 90000fff'],
    ['4 KiB, level 3, 38', 12, 26, 3, 'C_BAD_STE'],
    ['4 KiB, level 3, 48', 12, 16, 3, 'ok 90000fff'],
    ['4 KiB, level 3, 49', 12, 15, 3, 'C_BAD_STE'],
    ['4 KiB, level 2, 42', 12, 22, 2, 'ok 90000fff'],
    ['4 KiB, level 2, 43', 12, 21, 2, 'C_BAD_STE'],
    ['16 KiB, level 3, 48', 14, 16, 3, 'ok 90003fff'],
    ['64 KiB, level 3, 47', 16, 17, 3, 'ok 9000ffff'],
    ['64 KiB, level 3, 48', 16, 16, 3, 'C_BAD_STE'],
  ])('%s', (_name, granule, bits, start, answer) => {
    expect(stageTwo(granule, bits, start)).toBe(answer)
    expect(stageTwo(granule, bits, start, false)).toBe('C_BAD_STE')
  })

  it('is told to start at level 3', () => {
    const bench = new WideBench()
    const shape = { granule: 12, bits: 16, start: 3 }
    const root = bench.stageTwo(shape, { S2SL0: 3 }, 0x10_0000n)
    bench.set(shape, root, 0x3000n, 3, 0x9000_0000n | PAGE_2)
    expect(bench.dma(SID, 0x3456n)).toBe('ok 90000456')
    expect(bench.dma(SID, 0x1_0000n)).toBe('F_TRANSLATION')
    expect(bench.events()[0].slice(1)).toEqual([0x0288_0000_0000n, 0x1_0000n, 0x1_0000n])
  })
})
