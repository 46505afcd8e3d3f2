/** Entries that are found otherwise than by their page and ASID alone: globals, VMIDs, runs of leaves, what denies. */

import { describe, expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import { CONFIG } from '../../hw-model/smmuv3/index.js'
import { S1, S2, stageTwoFields } from './bench.js'
import { cfgiSte, FRAME, Guest, SECOND, SID, SYNC, tlbiAsid, VA } from './oracle-guest.js'

describe('a global page', () => {
  it('outlives TLBI_NH_ASID, and lacks TLBI_NH_VA', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.poke(guest.leaf(), FRAME | S1.GLOBAL)
    bench.dma(SID, VA)
    guest.unmap()
    bench.commands(tlbiAsid(7), SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.missing).toEqual(['TLBI_NH_VA VMID=0 ASID=7 Leaf=1 ADDR=5000'])
    expect(guest.only.sent.map(({ command }) => command.name)).toEqual(['TLBI_NH_ASID'])
  })
})

describe('a VMID that is used again', () => {
  it('lacks TLBI_S12_VMALL as software sends it, and for one entry TLBI_S2_IPA', () => {
    const guest = new Guest()
    const { bench } = guest
    const [one, two] = [bench.alloc(), bench.alloc()]
    bench.map(one, VA, FRAME | S2.RW)
    bench.map(two, VA, SECOND | S2.RW)
    const through = (root: number): void =>
      bench.ste(SID, { ...stageTwoFields(9, root), V: 1, Config: CONFIG.S2_TRANS })
    through(one)
    bench.dma(SID, VA)
    through(two)
    bench.commands(cfgiSte(SID), SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.missing).toEqual(['TLBI_S2_IPA VMID=9 Leaf=0 ADDR=5000'])
    expect(guest.only.usual).toEqual({ name: 'TLBI_S12_VMALL', operands: { VMID: 9 } })
    expect(guest.only.changed).toMatchObject({ what: 'STE' })
  })
})

describe('a greedy unit', () => {
  const greedy = { contiguous: true, denials: true } as const

  it('keeps a contiguous run, and a page of it that was never met is stale too', () => {
    const guest = new Guest({ caches: greedy })
    const { bench } = guest
    for (let i = 0n; i < 16n; i++) {
      bench.map(guest.root, 0x10000n + i * 0x1000n, (FRAME + i * 0x1000n) | S1.RW | (1n << 52n))
    }
    expect(bench.dma(SID, 0x13000n)).toBe('ok 303000')
    bench.poke(guest.leaf(0x18000n), 0n)
    bench.commands(SYNC)
    expect(bench.dma(SID, 0x18000n)).toBe('ok 308000')
    expect(guest.oracle.counts).toMatchObject({ inWindow: 1 })
    bench.commands(SYNC)
    bench.dma(SID, 0x18000n)
    expect(guest.missing).toEqual(['TLBI_NH_VA VMID=0 ASID=7 Leaf=1 ADDR=18000'])
  })

  it('keeps what denies, and says so when the access is allowed since', () => {
    const guest = new Guest({ caches: greedy })
    const { bench } = guest
    bench.poke(guest.leaf(), FRAME | S1.RO)
    expect(bench.dma(SID, VA, { access: ACCESS.WRITE })).toBe('F_PERMISSION')
    bench.poke(guest.leaf(), FRAME | S1.RW)
    bench.commands(SYNC)
    expect(bench.dma(SID, VA, { access: ACCESS.WRITE })).toBe('F_PERMISSION')
    expect(guest.missing).toEqual(['TLBI_NH_VA VMID=0 ASID=7 Leaf=1 ADDR=5000'])
  })
})
