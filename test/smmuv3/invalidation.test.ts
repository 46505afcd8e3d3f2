import { describe, expect, it } from 'vitest'
import { CONFIG, S1FMT } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, GUEST, S1, S2, stageTwoFields } from './bench.js'

const PAGE_A = 0x10000000n
const PAGE_B = 0x10001000n
const BLOCK = 0x40200000n
const GLOBAL = 0x10002000n

/** What is planted in the caches: a stream (sid), an address, and a name for the survivors' list. */
const PLANTED: readonly (readonly [name: string, sid: number, va: bigint])[] = [
  ['vmid1 asid1 A', 1, PAGE_A],
  ['vmid1 asid1 B', 1, PAGE_B],
  ['vmid1 asid1 block', 1, BLOCK],
  ['vmid1 global', 1, GLOBAL],
  ['vmid1 asid2 A', 2, PAGE_A],
  ['vmid2 asid1 A', 3, PAGE_A],
  ['vmid2 asid1 nested', 4, PAGE_B],
  ['vmid2 stage 2', 5, BigInt(GUEST) + PAGE_B],
]

/** Streams 1 to 3 on stage 1, 4 nested, 5 on stage 2; all planted, then every table emptied behind their backs. */
function plantedBench(): Bench {
  const bench = new Bench()
  const roots: number[] = []
  const stageOne = (sid: number, vmid: number, asid: number): void => {
    const root = bench.alloc()
    const cd = bench.alloc()
    bench.map(root, PAGE_A, 0x80000000n | S1.RW)
    bench.map(root, PAGE_B, 0x80001000n | S1.RW)
    bench.map(root, BLOCK, 0x80200000n | S1.BLOCK_RW, 2)
    bench.map(root, GLOBAL, 0x80002000n | S1.GLOBAL)
    bench.cd(cd, contextFields(asid, root))
    bench.ste(sid, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd, S2VMID: vmid })
    roots.push(root)
  }
  stageOne(1, 1, 1)
  stageOne(2, 1, 2)
  stageOne(3, 2, 1)
  const s2 = bench.alloc()
  const s1 = bench.alloc()
  const cd = bench.alloc()
  bench.map(s1, PAGE_B, (BigInt(GUEST) + PAGE_B) | S1.RW, 3, GUEST)
  for (let pa = 0; pa < 0x1000000; pa += 4096) bench.map(s2, BigInt(GUEST + pa), BigInt(pa) | S2.RW)
  bench.map(s2, BigInt(GUEST) + PAGE_B, 0xa0000000n | S2.RW)
  bench.cd(cd, contextFields(3, GUEST + s1))
  bench.ste(4, { ...stageTwoFields(2, s2), V: 1, Config: CONFIG.NESTED, S1ContextPtr: GUEST + cd })
  bench.ste(5, { ...stageTwoFields(2, s2), V: 1, Config: CONFIG.S2_TRANS })
  for (const [name, sid, va] of PLANTED) expect(bench.dma(sid, va), name).toMatch(/^ok/)
  for (const root of [...roots, s1, s2]) for (let i = 0; i < 512; i++) bench.poke(root + i * 8, 0n)
  return bench
}

const survivors = (bench: Bench): string[] =>
  PLANTED.filter(([, sid, va]) => bench.dma(sid, va).startsWith('ok')).map(([name]) => name)

const ALL = PLANTED.map(([name]) => name)
const without = (...gone: string[]): string[] => ALL.filter((name) => !gone.includes(name))

describe('[SMMU 4.4 TLB invalidation] forgets what the command names and nothing else', () => {
  const rows: [name: string, command: [bigint, bigint], gone: string[]][] = [
    ['nothing at all', [0x46n, 0n], []],
    ['NH_ALL of VMID 1', [0x0000_0001_0000_0010n, 0n], ALL.filter((name) => name.startsWith('vmid1'))],
    ['NH_ALL of VMID 2', [0x0000_0002_0000_0010n, 0n], ['vmid2 asid1 A', 'vmid2 asid1 nested']],
    [
      'NH_ASID spares global entries',
      [0x0001_0001_0000_0011n, 0n],
      ['vmid1 asid1 A', 'vmid1 asid1 B', 'vmid1 asid1 block'],
    ],
    ['NH_VA of one page', [0x0001_0001_0000_0012n, PAGE_A | 1n], ['vmid1 asid1 A']],
    ['NH_VA takes global entries of any ASID', [0x0009_0001_0000_0012n, GLOBAL], ['vmid1 global']],
    ['NH_VA in the middle of a block', [0x0001_0001_0000_0012n, BLOCK + 0x155000n], ['vmid1 asid1 block']],
    ['NH_VA of another VMID', [0x0001_0003_0000_0012n, PAGE_A], []],
    ['NH_VAA of every ASID', [0x0000_0001_0000_0013n, PAGE_A], ['vmid1 asid1 A', 'vmid1 asid2 A']],
    ['NH_VA range of two pages', [0x0001_0001_0000_1012n, PAGE_A | 0x400n], ['vmid1 asid1 A', 'vmid1 asid1 B']],
    ['NH_VA range with TTL 3 spares a block', [0x0001_0001_0100_0012n, BLOCK | 0x700n], []],
    ['NH_VA range with TTL 2 takes a block', [0x0001_0001_0000_0012n, BLOCK | 0x600n], ['vmid1 asid1 block']],
    ['NH_VA range of 64 KiB granules spares 4 KiB entries', [0x0001_0001_0100_0012n, PAGE_A | 0xc00n], []],
    ['S2_IPA spares combined entries', [0x0000_0002_0000_002an, (BigInt(GUEST) + PAGE_B) | 1n], ['vmid2 stage 2']],
    ['S12_VMALL', [0x0000_0002_0000_0028n, 0n], ['vmid2 asid1 A', 'vmid2 asid1 nested', 'vmid2 stage 2']],
    ['NSNH_ALL', [0x30n, 0n], ALL],
    ['CFGI_ALL leaves the TLB alone', [0x4n, 0x1fn], []],
  ]
  it.each(rows)('%s', (_name, command, gone) => {
    const bench = plantedBench()
    bench.commands(command)
    // Stream 4's CD is fetched again after CFGI_ALL, through the cached part of stage 2.
    expect(survivors(bench)).toEqual(without(...gone))
  })

  it('needs both S2_IPA and NH_ALL before a nested page is gone', () => {
    const bench = plantedBench()
    bench.commands([0x0000_0002_0000_002an, BigInt(GUEST) + PAGE_B], [0x46n, 0n], [0x0000_0002_0000_0010n, 0n])
    expect(bench.dma(4, PAGE_B)).toBe('F_TRANSLATION')
  })
})

describe('configuration caches', () => {
  const SID = 9

  function configured(): { bench: Bench; cds: number; roots: number[] } {
    const bench = new Bench()
    const l1 = bench.alloc()
    const cds = bench.alloc()
    const roots = [0x80000000n, 0x90000000n].map((frame) => {
      const root = bench.alloc()
      bench.map(root, PAGE_A, frame | S1.RW)
      return root
    })
    bench.poke(l1, BigInt(cds) | 1n)
    bench.cd(cds + 64, contextFields(1, roots[0]))
    const s1 = { S1ContextPtr: l1, S1Fmt: S1FMT.TWO_LEVEL_4K, S1CDMax: 8, S1DSS: 2 }
    bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, ...s1 })
    return { bench, cds, roots }
  }

  it('keep an STE, even an illegal one, until CFGI_STE', () => {
    const { bench } = configured()
    bench.ste(8, {})
    expect(bench.dma(8, PAGE_A)).toBe('C_BAD_STE')
    bench.ste(8, { V: 1, Config: CONFIG.BYPASS })
    expect(bench.dma(8, PAGE_A)).toBe('C_BAD_STE')
    bench.commands([0x0000_0009_0000_0003n, 1n])
    expect(bench.dma(8, PAGE_A)).toBe('C_BAD_STE')
    bench.commands([0x0000_0008_0000_0003n, 1n])
    expect(bench.dma(8, PAGE_A)).toBe('ok 10000000')
  })

  it.each([
    ['CFGI_CD', [0x0000_0009_0000_1005n, 1n], true],
    ['CFGI_CD of another SSID', [0x0000_0009_0000_2005n, 1n], false],
    ['CFGI_CD of another stream', [0x0000_0008_0000_1005n, 1n], false],
    ['CFGI_CD_ALL', [0x0000_0009_0000_0006n, 0n], true],
    ['CFGI_STE', [0x0000_0009_0000_0003n, 1n], true],
    ['CFGI_STE_RANGE around it', [0x0000_0008_0000_0004n, 0n], true],
    ['CFGI_STE_RANGE beside it', [0x0000_000a_0000_0004n, 0n], false],
    ['CFGI_ALL', [0x4n, 0x1fn], true],
    ['TLBI_NSNH_ALL', [0x30n, 0n], false],
  ] as [string, [bigint, bigint], boolean][])('keep a CD under %s: fresh afterwards is %s', (_name, command, fresh) => {
    const { bench, cds, roots } = configured()
    expect(bench.dma(SID, PAGE_A, { pasid: 1 })).toBe('ok 80000000')
    bench.cd(cds + 64, contextFields(2, roots[1]))
    bench.commands([0x30n, 0n], command)
    expect(bench.dma(SID, PAGE_A, { pasid: 1 })).toBe(fresh ? 'ok 90000000' : 'ok 80000000')
  })

  it('keep an L1CD under CFGI_CD with Leaf = 1, and drop it with Leaf = 0', () => {
    const { bench, roots } = configured()
    const other = bench.alloc()
    bench.cd(other + 64, contextFields(2, roots[1]))
    expect(bench.dma(SID, PAGE_A, { pasid: 1 })).toBe('ok 80000000')
    const l1 = Number(bench.peek(bench.streamTable + SID * 64) & 0xffffffc0n)
    bench.poke(l1, BigInt(other) | 1n)
    bench.commands([0x0000_0009_0000_1005n, 1n])
    expect(bench.dma(SID, PAGE_A, { pasid: 1 })).toBe('ok 80000000')
    bench.commands([0x0000_0009_0000_1005n, 0n])
    expect(bench.dma(SID, PAGE_A, { pasid: 1 })).toBe('ok 90000000')
  })

  it('do not keep a failed fetch', () => {
    const { bench } = configured()
    const beyond = { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: 2 ** 32 }
    bench.ste(8, beyond)
    expect(bench.dma(8, PAGE_A)).toBe('F_CD_FETCH')
    expect(bench.events()).toEqual([[0x0000000800000009n, 0n, 0n, 0x100000000n]])
  })
})
