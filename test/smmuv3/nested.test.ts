import { describe, expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import { type CacheOptions, CONFIG } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, GUEST, NO_LEAVES, S1, S2, stageTwoFields } from './bench.js'

const SID = 3
const VA = 0x7654321000n

/** A nested stream. The guest's structures stand at GUEST + their physical address, page by page. */
function nestedStream(options: { caches?: CacheOptions } = {}): { bench: Bench; s2: number; cd: number; s1: number } {
  const bench = new Bench(options)
  const s2 = bench.alloc()
  const cd = bench.alloc()
  const s1 = bench.alloc()
  bench.map(s1, VA, BigInt(GUEST + 0x90000000) | S1.RW, 3, GUEST)
  for (let pa = 0; pa < 0x1000000; pa += 4096) bench.map(s2, BigInt(GUEST + pa), BigInt(pa) | S2.RW)
  bench.map(s2, BigInt(GUEST + 0x90000000), 0xa0000000n | S2.RW)
  bench.cd(cd, contextFields(7, GUEST + s1))
  bench.ste(SID, { ...stageTwoFields(2, s2), V: 1, Config: CONFIG.NESTED, S1ContextPtr: GUEST + cd })
  return { bench, s2, cd, s1 }
}

describe('a nested stream', () => {
  it('translates CD, tables and output through stage 2', () => {
    const { bench } = nestedStream()
    expect(bench.dma(SID, VA + 0x123n)).toBe('ok a0000123')
    const again = bench.outcome(SID, VA + 0x456n)
    expect([again.hit, again.address, again.leafLg2]).toEqual([1, 0xa0000456, 12])
  })

  it.each([
    ['writable and not readable, as a read', S2.WO, 0x0000028800000000n],
    ['readable and not writable, as a write', S2.RO, 0x0000028000000000n],
    ['neither', 0x73fn, 0x0000028000000000n],
  ])('records an access that reads and writes, where stage 2 is %s', (_name, leaf, dw1) => {
    const { bench, s2 } = nestedStream()
    const access = ACCESS.READ | ACCESS.WRITE
    bench.map(s2, BigInt(GUEST + 0x90000000), 0xa0000000n | leaf)
    expect(bench.dma(SID, VA, { access })).toBe('F_PERMISSION')
    // The other kind of access fills the TLB where it may, and the entry answers alike.
    bench.dma(SID, VA, { access: leaf === S2.WO ? ACCESS.WRITE : ACCESS.READ })
    bench.events()
    expect(bench.dma(SID, VA, { access })).toBe('F_PERMISSION')
    expect(bench.events().map((record) => record[1])).toEqual([dw1])
  })

  it('tells which structure stage 2 did not map, in the class and in the IPA', () => {
    const { bench, s2, cd, s1 } = nestedStream({ caches: NO_LEAVES })
    bench.map(s2, BigInt(GUEST + 0x90000000), 0n)
    expect(bench.dma(SID, VA)).toBe('F_TRANSLATION')
    bench.map(s2, BigInt(GUEST + s1), 0n)
    expect(bench.dma(SID, VA)).toBe('F_TRANSLATION')
    bench.map(s2, BigInt(GUEST + cd), 0n)
    bench.commands([0x0000000300000005n, 1n])
    expect(bench.dma(SID, VA, { access: ACCESS.WRITE })).toBe('F_TRANSLATION')
    expect(bench.events()).toEqual([
      [0x0000000300000010n, 0x0000028800000000n, VA, BigInt(GUEST + 0x90000000)],
      [0x0000000300000010n, 0x0000018800000000n, VA, BigInt(GUEST + s1)],
      [0x0000000300000010n, 0x0000008000000000n, VA, BigInt(GUEST + cd)],
    ])
  })

  it('denies a write that stage 2 denies, walked or cached, with the IPA', () => {
    const { bench, s2 } = nestedStream()
    bench.map(s2, BigInt(GUEST + 0x90000000), 0xa0000000n | S2.RO)
    expect(bench.dma(SID, VA, { access: ACCESS.WRITE })).toBe('F_PERMISSION')
    expect(bench.dma(SID, VA)).toBe('ok a0000000')
    expect(bench.dma(SID, VA, { access: ACCESS.WRITE })).toBe('F_PERMISSION')
    const record = [0x0000000300000013n, 0x0000028000000000n, VA, BigInt(GUEST + 0x90000000)]
    expect(bench.events()).toEqual([record, record])
  })

  it('reads stage 1 tables only where stage 2 lets them be read, and not from Device memory', () => {
    const { bench, s2, s1 } = nestedStream({ caches: NO_LEAVES })
    bench.map(s2, BigInt(GUEST + s1), BigInt(s1) | S2.WO)
    expect(bench.dma(SID, VA)).toBe('F_PERMISSION')
    bench.map(s2, BigInt(GUEST + s1), BigInt(s1) | S2.DEVICE)
    expect(bench.dma(SID, VA)).toBe('F_PERMISSION')
    // TTRnW is 1: the table was being read.
    expect(bench.events().map(([, dw1]) => dw1)).toEqual([0x0000118800000000n, 0x0000118800000000n])
  })

  it('keeps stage 2 faults quiet without S2R, and aborts all the same', () => {
    const { bench, s2, cd } = nestedStream()
    const fields = { ...stageTwoFields(2, s2), S2R: 0, V: 1, Config: CONFIG.NESTED, S1ContextPtr: GUEST + cd }
    bench.ste(SID, fields)
    bench.map(s2, BigInt(GUEST + 0x90000000), 0n)
    expect(bench.dma(SID, VA)).toBe('aborted')
    expect(bench.events()).toEqual([])
  })

  it('walks a 64 KiB table that spans sixteen pages of stage 2', () => {
    const { bench, s2, cd } = nestedStream()
    // 64 KiB granule, T0SZ 22: one level 2 table of 8192 entries, whose pages lie apart in physical memory.
    const root = GUEST + 0x40000000
    const level3 = GUEST + 0x40010000
    const va = (0x1a5fn << 29n) | (0x1234n << 16n)
    for (let page = 0; page < 32; page++) {
      bench.map(s2, BigInt(root + page * 4096), BigInt(0x50000000 + (31 - page) * 0x4000) | S2.RW)
    }
    const at = (index: number, from: number): number => {
      const page = (from - root) / 4096 + Math.floor((index * 8) / 4096)
      return 0x50000000 + (31 - page) * 0x4000 + ((index * 8) % 4096)
    }
    bench.poke(at(0x1a5f, root), BigInt(level3) | S1.TABLE)
    bench.poke(at(0x1234, level3), BigInt(GUEST + 0x90000000) | S1.RW)
    bench.cd(cd, { ...contextFields(7, root), TG0: 1, T0SZ: 22 })
    expect(bench.dma(SID, va + 0x234n)).toBe('ok a0000234')
    expect(bench.dma(SID, va + 0x1000n)).toBe('F_TRANSLATION')
  })

  it('drops every piece of a large leaf when any address of it is invalidated', () => {
    const { bench, s2, s1 } = nestedStream()
    bench.map(s1, 0x40000000n, BigInt(GUEST + 0x60000000) | S1.BLOCK_RW, 2, GUEST)
    bench.map(s2, BigInt(GUEST + 0x60000000), 0xb0000000n | S2.RW)
    bench.map(s2, BigInt(GUEST + 0x60001000), 0xc0000000n | S2.RW)
    expect(bench.dma(SID, 0x40000000n)).toBe('ok b0000000')
    expect(bench.dma(SID, 0x40001000n)).toBe('ok c0000000')
    bench.map(s1, 0x40000000n, 0n, 2, GUEST)
    expect(bench.dma(SID, 0x40001000n)).toBe('ok c0000000')
    bench.commands([0x0007000200000012n, 0x40155001n])
    expect(bench.dma(SID, 0x40000000n)).toBe('F_TRANSLATION')
    expect(bench.dma(SID, 0x40001000n)).toBe('F_TRANSLATION')
  })

  it('bypasses stage 1 alone with S1DSS = 1', () => {
    const { bench, s2, cd } = nestedStream()
    const substreams = { S1CDMax: 1, S1DSS: 1, S1ContextPtr: GUEST + cd }
    bench.ste(SID, { ...stageTwoFields(2, s2), ...substreams, V: 1, Config: CONFIG.NESTED })
    expect(bench.dma(SID, BigInt(GUEST + 0x90000010))).toBe('ok a0000010')
    expect(bench.dma(SID, VA, { pasid: 0 })).toBe('ok a0000000')
  })
})

describe('stage 2 alone', () => {
  it('translates, caches by VMID, and faults on an IPA beyond S2T0SZ', () => {
    const { bench, s2 } = nestedStream()
    bench.ste(SID, { ...stageTwoFields(2, s2), V: 1, Config: CONFIG.S2_TRANS })
    expect(bench.dma(SID, BigInt(GUEST + 0x90000010))).toBe('ok a0000010')
    expect(bench.outcome(SID, BigInt(GUEST + 0x90000020)).hit).toBe(1)
    bench.ste(4, { ...stageTwoFields(2, s2), S2T0SZ: 24, S2PS: 5, V: 1, Config: CONFIG.S2_TRANS })
    expect(bench.dma(4, 1n << 40n)).toBe('F_TRANSLATION')
    expect(bench.dma(4, 1n << 48n)).toBe('F_ADDR_SIZE')
  })

  it('starts at concatenated tables', () => {
    const bench = new Bench()
    // 40 bits from level 1: two tables side by side.
    const root = bench.alloc(8192)
    bench.poke(root + 4096 + 3 * 8, 0x40000000n | S2.BLOCK_RW)
    bench.ste(SID, { ...stageTwoFields(2, root), S2T0SZ: 24, S2SL0: 1, V: 1, Config: CONFIG.S2_TRANS })
    expect(bench.dma(SID, (512n + 3n) << 30n)).toBe('ok 40000000')
    expect(bench.dma(SID, 3n << 30n)).toBe('F_TRANSLATION')
  })
})
