/**
 * Mistakes with configuration, numbers that are used again, tables, and stage 2: which command the oracle names for each.
 * [SMMU 4.3 Configuration structure invalidation] [SMMU 4.4 TLB invalidation]
 */

import { describe, expect, it } from 'vitest'
import { CONFIG } from '../../hw-model/smmuv3/index.js'
import { contextFields, GUEST, S1, S2, stageTwoFields } from './bench.js'
import {
  ASID,
  cfgiCd,
  cfgiSte,
  FRAME,
  Guest,
  nhAll,
  OTHER,
  SECOND,
  SID,
  SYNC,
  tlbiAsid,
  tlbiIpa,
  tlbiVa,
  VA,
} from './oracle-guest.js'

describe('configuration', () => {
  it('of a stream lacks CFGI_STE', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    bench.ste(SID, { V: 1, Config: CONFIG.ABORT })
    bench.commands(SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.missing).toEqual(['CFGI_STE SID=3 Leaf=1'])
    expect(guest.only).toMatchObject({ cache: 'ste', changed: { what: 'STE', address: bench.streamTable + SID * 64 } })
  })

  it('of a substream lacks CFGI_CD where its tables are others, and has sent it for another stream', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    const root = bench.alloc()
    bench.map(root, VA, SECOND | S1.RW)
    bench.cd(guest.cd, contextFields(8, root))
    bench.commands(cfgiCd(OTHER), SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.missing).toEqual(['CFGI_CD SID=3 SSID=0 Leaf=1'])
    expect(guest.only).toMatchObject({ cache: 'cd', changed: { what: 'CD' } })
    expect(guest.only.sent.map(({ why }) => why)).toEqual(['wrong SID (4, needed 3)'])
  })

  it('of two pages is one stale entry', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.map(guest.root, 0x6000n, SECOND | S1.RW)
    bench.dma(SID, VA)
    bench.dma(SID, 0x6000n)
    bench.ste(SID, { V: 1, Config: CONFIG.ABORT })
    bench.commands(SYNC)
    bench.dma(SID, VA)
    bench.dma(SID, 0x6000n)
    expect(guest.only.hits).toBe(2)
  })
})

describe('an ASID that is used again', () => {
  it('lacks TLBI_NH_ASID as software sends it, and for one entry TLBI_NH_VA', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    const root = bench.alloc()
    bench.map(root, VA, SECOND | S1.RW)
    bench.cd(guest.cd, contextFields(ASID, root))
    bench.commands(cfgiCd(SID), SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    // The table entries of the ASID are others too.
    expect(guest.missing).toEqual(['TLBI_NH_VA VMID=0 ASID=7 Leaf=0 ADDR=5000'])
    expect(guest.only.usual).toEqual({ name: 'TLBI_NH_ASID', operands: { VMID: 0, ASID } })
  })

  it('is met by another stream than the one that filled it', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    bench.ste(SID, { V: 1, Config: CONFIG.ABORT })
    bench.commands(cfgiSte(SID), SYNC)
    const [root, cd] = [bench.alloc(), bench.alloc()]
    bench.map(root, VA, SECOND | S1.RW)
    bench.cd(cd, contextFields(ASID, root))
    bench.ste(OTHER, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: cd })
    expect(bench.dma(OTHER, VA)).toBe('ok 300000')
    expect(guest.only).toMatchObject({ rid: OTHER, cache: 'walk1', usual: { name: 'TLBI_NH_ASID' } })
  })

  it('is no matter after TLBI_NH_ASID', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    const root = bench.alloc()
    bench.map(root, VA, SECOND | S1.RW)
    bench.cd(guest.cd, contextFields(ASID, root))
    bench.commands(cfgiCd(SID), tlbiAsid(ASID), SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 400000')
    expect(guest.oracle.reports).toEqual([])
  })
})

describe('a table that is replaced', () => {
  it('lacks a TLBI that is not leaf-only, for a page that was never met too', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.map(guest.root, 0x6000n, FRAME | S1.RW)
    bench.dma(SID, VA)
    const table = bench.alloc()
    for (const slot of [5, 6]) bench.poke(table + slot * 8, SECOND | S1.RW)
    bench.poke(guest.table(VA, 2), BigInt(table) | S1.TABLE)
    bench.commands(tlbiVa(VA, { leaf: 1 }), SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.missing).toEqual(['TLBI_NH_VA VMID=0 ASID=7 Leaf=0 ADDR=5000'])
    expect(guest.only).toMatchObject({ cache: 'walk1', changed: { level: 2, address: guest.table(VA, 2) } })
    expect(guest.only.sent.map(({ why }) => why)).toEqual(['leaf-only over a table change'])
    expect(bench.dma(SID, 0x6000n)).toBe('ok 300000')
    expect(guest.missing[1]).toBe('TLBI_NH_VA VMID=0 ASID=7 Leaf=0 ADDR=6000')
  })
})

describe('behind stage 2', () => {
  const nested = (): Guest & { second: number } => {
    const guest = new Guest()
    const { bench } = guest
    const second = bench.alloc()
    for (let pa = 0; pa < 0x500000; pa += 4096) bench.map(second, BigInt(GUEST + pa), BigInt(pa) | S2.RW)
    const root = bench.alloc()
    bench.map(root, VA, (BigInt(GUEST) + FRAME) | S1.RW, 3, GUEST)
    bench.cd(guest.cd, contextFields(ASID, GUEST + root))
    bench.ste(SID, {
      ...stageTwoFields(9, second),
      V: 1,
      Config: CONFIG.NESTED,
      S1ContextPtr: GUEST + guest.cd,
    })
    return Object.assign(guest, { second })
  }
  const IPA = BigInt(GUEST) + FRAME

  it('an IPA that maps elsewhere lacks TLBI_S2_IPA where VA entries were dropped', () => {
    const guest = nested()
    const { bench } = guest
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    bench.poke(guest.table(IPA, 3, guest.second), SECOND | S2.RW)
    bench.commands(nhAll(9), SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.missing).toEqual(['TLBI_S2_IPA VMID=9 Leaf=1 ADDR=100300000'])
    expect(guest.only).toMatchObject({ cache: 'ipa', changed: { stage: 2, level: 3 } })
    expect(guest.only.sent[0].why).toBe('it drops stage 1, and what is kept by IPA is stale')
  })

  it('an IPA that maps elsewhere lacks TLBI_NH_VA where TLBI_S2_IPA was sent', () => {
    const guest = nested()
    const { bench } = guest
    bench.dma(SID, VA)
    bench.poke(guest.table(IPA, 3, guest.second), SECOND | S2.RW)
    bench.commands(tlbiIpa(IPA, 9), SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.missing).toEqual(['TLBI_NH_VA VMID=9 ASID=7 Leaf=1 ADDR=5000'])
  })

  it('an IPA that maps elsewhere lacks both where nothing was sent', () => {
    const guest = nested()
    const { bench } = guest
    bench.dma(SID, VA)
    bench.poke(guest.table(IPA, 3, guest.second), SECOND | S2.RW)
    bench.commands(SYNC)
    bench.dma(SID, VA)
    expect(guest.missing).toEqual([
      'TLBI_S2_IPA VMID=9 Leaf=1 ADDR=100300000 + TLBI_NH_VA VMID=9 ASID=7 Leaf=1 ADDR=5000',
    ])
  })
})
