/**
 * More ASIDs and VMIDs than the caches keep numbers for. Everything may be forgotten then, and nothing may be mistaken:
 * an entry of one ASID or VMID never serves another. [SMMU 3.17 TLB tagging, VMIDs, ASIDs and StreamWorlds]
 */

import { describe, expect, it } from 'vitest'
import { CONFIG } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, GUEST, S1, S2, stageTwoFields } from './bench.js'

const SID = 3
const VA = 0x5000n
/** Enough for the entries of all that are told apart at once. */
const ROOMY = { entries: 16384, ways: 4 } as const

const CFGI_STE = (sid: number): [bigint, bigint] => [(BigInt(sid) << 32n) | 0x03n, 1n]
const CFGI_CD = (sid: number): [bigint, bigint] => [(BigInt(sid) << 32n) | 0x05n, 1n]

/** Two trees of tables that map the page to different frames. */
function twoTrees(bench: Bench, leaf: bigint): readonly [number, number] {
  const roots = [bench.alloc(), bench.alloc()] as const
  bench.map(roots[0], VA, 0x80000000n | leaf)
  bench.map(roots[1], VA, 0x90000000n | leaf)
  return roots
}

const answerOf = (which: number): string => (which === 0 ? 'ok 80000000' : 'ok 90000000')

describe('a unit that has met more than it has numbers for', () => {
  it('answers each of 9000 ASIDs from its own tables', () => {
    const bench = new Bench({ caches: { tlb: ROOMY, ipa: ROOMY, names: 8192 } })
    const roots = twoTrees(bench, S1.RW)
    const cd = bench.alloc()
    bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
    const wrong: string[] = []
    for (let asid = 1; asid <= 9000; asid++) {
      // The tables change where numbers would be handed out again, whatever the stride.
      const which = asid > 8000 ? 1 : 0
      bench.cd(cd, contextFields(asid, roots[which]))
      bench.commands(CFGI_CD(SID))
      const first = bench.outcome(SID, VA)
      const second = bench.outcome(SID, VA)
      const seen = [bench.describe(first), first.hit, bench.describe(second), second.hit].join(' ')
      if (seen !== `${answerOf(which)} 0 ${answerOf(which)} 1`) wrong.push(`ASID ${asid}: ${seen}`)
    }
    expect(wrong).toEqual([])
  })

  it('answers each of 1500 VMIDs from its own tables, on either stage', () => {
    const bench = new Bench({ caches: { tlb: ROOMY, ipa: ROOMY, names: 1024 } })
    const firsts = twoTrees(bench, S1.RW)
    const seconds = twoTrees(bench, S2.RW)
    const cds = firsts.map((root) => {
      const cd = bench.alloc()
      bench.cd(cd, contextFields(1, root))
      return cd
    })
    const wrong: string[] = []
    for (let vmid = 1; vmid <= 1500; vmid++) {
      const which = vmid > 1000 ? 1 : 0
      bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cds[which], S2VMID: vmid })
      bench.ste(SID + 1, { ...stageTwoFields(vmid, seconds[which]), V: 1, Config: CONFIG.S2_TRANS })
      bench.commands(CFGI_STE(SID), CFGI_STE(SID + 1))
      for (const sid of [SID, SID + 1]) {
        const first = bench.outcome(sid, VA)
        const second = bench.outcome(sid, VA)
        const seen = [bench.describe(first), first.hit, bench.describe(second), second.hit].join(' ')
        if (seen !== `${answerOf(which)} 0 ${answerOf(which)} 1`) wrong.push(`stream ${sid}, VMID ${vmid}: ${seen}`)
      }
    }
    expect(wrong).toEqual([])
  })

  it('keeps what a nested walk found whose stage 2 was numbered anew on the way', () => {
    const bench = new Bench({ caches: { tlb: ROOMY, ipa: ROOMY, names: 1024 } })
    const [first, second, cd] = [bench.alloc(), bench.alloc(), bench.alloc()]
    bench.map(first, VA, BigInt(GUEST + 0x90000000) | S1.RW, 3, GUEST)
    bench.cd(cd, contextFields(7, GUEST + first))
    bench.ste(SID, { ...stageTwoFields(5000, second), V: 1, Config: CONFIG.NESTED, S1ContextPtr: GUEST + cd })
    for (let pa = 0; pa < 0x400000; pa += 4096) bench.map(second, BigInt(GUEST + pa), BigInt(pa) | S2.RW)
    bench.map(second, BigInt(GUEST + 0x90000000), 0xa0000000n | S2.RW)
    const page = 0x7000n
    bench.map(second, page, 0x80000000n | S2.RW)
    expect(bench.dma(SID, VA)).toBe('ok a0000000')
    // 1024 numbers of stage 2: the nested stream's, 1023 more, and once more as many for others.
    for (let vmid = 1; vmid <= 2047; vmid++) {
      bench.ste(SID + 1, { ...stageTwoFields(vmid, second), V: 1, Config: CONFIG.S2_TRANS })
      bench.commands(CFGI_STE(SID + 1))
      expect(bench.dma(SID + 1, page)).toBe('ok 80000000')
    }
    const outcomes = [bench.outcome(SID, VA), bench.outcome(SID, VA)]
    expect(outcomes.map((outcome) => [bench.describe(outcome), outcome.hit])).toEqual([
      ['ok a0000000', 0],
      ['ok a0000000', 1],
    ])
    // What was kept has its own ASID and VMID: commands for others leave it, its own takes it.
    bench.map(first, VA, BigInt(GUEST) | S1.RW, 3, GUEST)
    bench.commands([0x0008_1388_0000_0011n, 0n], [0x0007_1387_0000_0011n, 0n])
    expect(bench.dma(SID, VA)).toBe('ok a0000000')
    bench.commands([0x0007_1388_0000_0011n, 0n])
    expect(bench.dma(SID, VA)).toBe('ok 0')
  })
})
