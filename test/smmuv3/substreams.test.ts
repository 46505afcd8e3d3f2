import { describe, expect, it } from 'vitest'
import { CONFIG, S1FMT } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, S1 } from './bench.js'

const SID = 5
const VA = 0x123456000n

/** A stream with 8 CDs; each index maps the same page elsewhere. CD 7 is absent. */
function streamWithSubstreams(s1dss: number, s1cdMax = 3): Bench {
  const bench = new Bench()
  const cds = bench.alloc()
  for (let index = 0; index < 7; index++) {
    const root = bench.alloc()
    bench.map(root, VA, BigInt(0x80000000 + index * 0x10000) | S1.RW)
    bench.cd(cds + index * 64, contextFields(index + 1, root))
  }
  bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cds, S1CDMax: s1cdMax, S1DSS: s1dss })
  return bench
}

describe('[SMMU 5.2 S1DSS] with substreams', () => {
  const rows: [s1dss: number, pasid: number | undefined, answer: string][] = [
    [0, undefined, 'F_STREAM_DISABLED'],
    [1, undefined, 'ok 123456000'],
    [2, undefined, 'ok 80000000'],
    [3, undefined, 'F_STREAM_DISABLED'],
    [0, 0, 'ok 80000000'],
    [1, 0, 'ok 80000000'],
    [2, 0, 'F_STREAM_DISABLED'],
    [3, 0, 'ok 80000000'],
    [0, 6, 'ok 80060000'],
    [1, 6, 'ok 80060000'],
    [2, 6, 'ok 80060000'],
    [3, 6, 'ok 80060000'],
    [0, 7, 'C_BAD_CD'],
    [2, 8, 'C_BAD_SUBSTREAMID'],
    [1, 0xfffff, 'C_BAD_SUBSTREAMID'],
  ]
  it.each(rows)('S1DSS %i and PASID %s give %s', (s1dss, pasid, answer) => {
    expect(streamWithSubstreams(s1dss).dma(SID, VA, { pasid })).toBe(answer)
  })

  it.each([0, 1, 2, 3])('S1DSS %i means nothing where S1CDMax is 0', (s1dss) => {
    const bench = streamWithSubstreams(s1dss, 0)
    expect(bench.dma(SID, VA)).toBe('ok 80000000')
    expect(bench.dma(SID, VA, { pasid: 0 })).toBe('C_BAD_SUBSTREAMID')
  })

  it('records the SSID without SSV in C_BAD_SUBSTREAMID, and no substream in F_STREAM_DISABLED', () => {
    const bench = streamWithSubstreams(2)
    bench.dma(SID, VA, { pasid: 9 })
    bench.dma(SID, VA, { pasid: 0 })
    expect(bench.events()).toEqual([
      [0x0000000500009008n, 0n, 0n, 0n],
      [0x0000000500000006n, 0n, 0n, 0n],
    ])
  })

  it('refuses an address beyond the output size where stage 1 is bypassed', () => {
    const bench = streamWithSubstreams(1)
    expect(bench.dma(SID, 1n << 48n)).toBe('F_ADDR_SIZE')
    expect(bench.events()).toEqual([[0x0000000500000011n, 0x0000020800000000n, 0x1000000000000n, 0n]])
  })

  it('refuses a PASID on a stream without stage 1', () => {
    const bench = new Bench()
    bench.ste(SID, { V: 1, Config: CONFIG.BYPASS })
    expect(bench.dma(SID, VA)).toBe('ok 123456000')
    expect(bench.dma(SID, VA, { pasid: 1 })).toBe('C_BAD_SUBSTREAMID')
  })
})

describe('[SMMU 5.3 Level 1 Context Descriptor] two-level CD tables', () => {
  const formats: [format: number, leafLg2: number, leafBytes: number][] = [
    [S1FMT.TWO_LEVEL_4K, 6, 4096],
    [S1FMT.TWO_LEVEL_64K, 10, 65536],
  ]
  for (const [format, leafLg2, leafBytes] of formats) {
    it(`find 2^20 SubstreamIDs through leaves of ${leafBytes} bytes`, () => {
      const bench = new Bench()
      const l1 = bench.alloc(2 ** (20 - leafLg2) * 8)
      for (const ssid of [0, 1, 2 ** leafLg2 - 1, 2 ** leafLg2, 0xfffff]) {
        const slot = l1 + (ssid >>> leafLg2) * 8
        const leaf = bench.peek(slot) === 0n ? bench.alloc(leafBytes) : Number(bench.peek(slot) - 1n)
        bench.poke(slot, BigInt(leaf) | 1n)
        const root = bench.alloc()
        bench.map(root, VA, BigInt(0x80000000 + (ssid & 0xff) * 0x1000) | S1.RW)
        bench.cd(leaf + (ssid % 2 ** leafLg2) * 64, contextFields(ssid & 0xffff, root))
      }
      bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1Fmt: format, S1ContextPtr: l1, S1CDMax: 20, S1DSS: 2 })
      expect(bench.dma(SID, VA)).toBe('ok 80000000')
      expect(bench.dma(SID, VA, { pasid: 1 })).toBe('ok 80001000')
      expect(bench.dma(SID, VA, { pasid: 0xfffff })).toBe('ok 800ff000')
      expect(bench.dma(SID, VA, { pasid: 2 ** leafLg2 })).toMatch(/^ok 80/)
      expect(bench.dma(SID, VA, { pasid: 3 })).toBe('C_BAD_CD')
      expect(bench.dma(SID, VA, { pasid: 0x80000 })).toBe('C_BAD_SUBSTREAMID')
      expect(bench.events().map(([dw0]) => dw0)).toEqual([0x000000050000380an, 0x0000000580000008n])
    })
  }
})
