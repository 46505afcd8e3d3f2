/** More VMIDs and ASIDs than a unit has numbers for: it forgets everything, and goes on as if nothing had been. */

import { describe, expect, it } from 'vitest'
import { CONFIG } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, GUEST, S1, S2, stageTwoFields } from './bench.js'

const VA = 0x5000n
/** VMIDs and ASIDs that these units tell apart at once. */
const VMIDS = 1024
const ASIDS = 8192

/** CMD_CFGI_STE and CMD_CFGI_CD of a stream. */
const cfgiSte = (sid: number): [bigint, bigint] => [0x03n | (BigInt(sid) << 32n), 1n]
const cfgiCd = (sid: number): [bigint, bigint] => [0x05n | (BigInt(sid) << 32n), 1n]

function stageTwo(bench: Bench): number {
  const root = bench.alloc()
  for (let pa = 0; pa < 0x400000; pa += 4096) bench.map(root, BigInt(GUEST + pa), BigInt(pa) | S2.RW)
  bench.map(root, VA, 0x9000_0000n | S2.RW)
  return root
}

/** Has stream 1 on stage 2 use one VMID after the other. */
function useVmids(bench: Bench, root: number, first: number, count: number): void {
  for (let vmid = first; vmid < first + count; vmid++) {
    bench.ste(1, { ...stageTwoFields(vmid, root), V: 1, Config: CONFIG.S2_TRANS })
    bench.commands(cfgiSte(1))
    expect(bench.dma(1, VA)).toBe('ok 90000000')
  }
}

describe('a unit with more VMIDs than it has numbers for', () => {
  it('forgets those it knew, and each still has its own entries', () => {
    const bench = new Bench({ caches: { names: VMIDS } })
    const [one, two] = [stageTwo(bench), bench.alloc()]
    bench.map(two, VA, 0xa000_0000n | S2.RW)
    bench.ste(2, { ...stageTwoFields(1, two), V: 1, Config: CONFIG.S2_TRANS })
    expect(bench.dma(2, VA)).toBe('ok a0000000')
    useVmids(bench, one, 2, VMIDS - 1)
    expect(bench.unit.tlb.ipa.countLive()).toBeGreaterThan(VMIDS / 2)
    useVmids(bench, one, VMIDS + 1, 1)
    expect(bench.unit.tlb.ipa.countLive()).toBe(1)
    expect([bench.dma(2, VA), bench.dma(1, VA)]).toEqual(['ok a0000000', 'ok 90000000'])
    bench.commands([0x28n | (1n << 32n), 0n])
    bench.map(two, VA, 0n)
    expect([bench.dma(2, VA), bench.dma(1, VA)]).toEqual(['F_TRANSLATION', 'ok 90000000'])
  })

  it('does so in the middle of a walk too', () => {
    const bench = new Bench({ caches: { names: VMIDS } })
    const root = stageTwo(bench)
    const [s1, cd] = [bench.alloc(), bench.alloc()]
    for (const va of [VA, VA + 0x1000n]) bench.map(s1, va, BigInt(GUEST + 0x300000) | S1.RW, 3, GUEST)
    bench.cd(cd, contextFields(7, GUEST + s1))
    bench.ste(2, { ...stageTwoFields(1, root), V: 1, Config: CONFIG.NESTED, S1ContextPtr: GUEST + cd })
    expect(bench.dma(2, VA)).toBe('ok 300000')
    // VMID 1 has lost its number, and there is no other left; the CD is still known.
    useVmids(bench, root, 2, 2 * VMIDS - 1)
    expect(bench.dma(2, VA + 0x1000n)).toBe('ok 300000')
    expect(bench.unit.tlb.va.countLive()).toBe(1)
    bench.map(s1, VA + 0x1000n, 0n, 3, GUEST)
    expect(bench.dma(2, VA + 0x1000n)).toBe('ok 300000')
    bench.commands([0x12n | (1n << 32n) | (7n << 48n), VA + 0x1000n])
    expect(bench.dma(2, VA + 0x1000n)).toBe('F_TRANSLATION')
  })
})

describe('a unit with more ASIDs than it has numbers for', () => {
  it('forgets those it knew, and does not take one for another', () => {
    const bench = new Bench({ caches: { names: ASIDS } })
    const [root, other, cd, first] = [bench.alloc(), bench.alloc(), bench.alloc(), bench.alloc()]
    bench.map(root, VA, 0x8000_0000n | S1.RW)
    bench.map(other, VA, 0x9000_0000n | S1.RW)
    bench.cd(first, contextFields(0, other))
    bench.ste(1, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
    bench.ste(2, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: first })
    expect(bench.dma(2, VA)).toBe('ok 90000000')
    for (let asid = 1; asid <= ASIDS; asid++) {
      bench.cd(cd, contextFields(asid, root))
      bench.commands(cfgiCd(1))
      expect(bench.dma(1, VA)).toBe('ok 80000000')
    }
    expect([bench.dma(2, VA), bench.dma(1, VA)]).toEqual(['ok 90000000', 'ok 80000000'])
  })
})
