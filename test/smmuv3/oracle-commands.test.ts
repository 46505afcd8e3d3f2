/**
 * What the oracle says of each form of command that was sent and did not do: which of them reach configuration, which a
 * StreamWorld, which one stage alone. [SMMU 4.3 Configuration structure invalidation] [SMMU 4.4 TLB invalidation]
 */

import { describe, expect, it } from 'vitest'
import { NO_CACHE } from '../../hw-model/cache/geometry.js'
import { type CacheOptions, CONFIG, idRegisters, OFFSET } from '../../hw-model/smmuv3/index.js'
import { contextFields, GUEST, S1, S2, stageTwoFields } from './bench.js'
import {
  ASID,
  type Command,
  cfgiCd,
  cfgiSte,
  FRAME,
  Guest,
  SECOND,
  SID,
  SYNC,
  spell,
  tlbiVa,
  VA,
} from './oracle-guest.js'

/** CMD_CFGI_STE_RANGE: the aligned block of 2^(Range + 1) streams; with 31 all of them. */
const cfgiRange = (sid: number, range: number): Command => [0x04n | (BigInt(sid) << 32n), BigInt(range)]
const cfgiCdAll = (sid: number): Command => [0x06n | (BigInt(sid) << 32n), 0n]
const S1FMT_4K = 1

const why = (guest: Guest): string[] => guest.only.sent.map((sent) => `${spell(sent.command)}: ${sent.why}`)

/** STRW 2 of the STE's second doubleword: EL2, or EL2-E2H with CR2.E2H. [SMMU 5.2 STE.STRW] */
function inEl2(guest: Guest): Guest {
  const { bench } = guest
  const dw1 = bench.streamTable + SID * 64 + 8
  bench.poke(dw1, bench.peek(dw1) | (2n << 30n))
  bench.commands(cfgiRange(0, 31), SYNC)
  return guest
}

function selectE2h(guest: Guest): Guest {
  guest.bench.write(OFFSET.CR0, 0b1100)
  guest.bench.write(OFFSET.CR2, 0b11)
  guest.bench.write(OFFSET.CR0, 0b1101)
  return guest
}

describe('an STE that changed', () => {
  const after = (...commands: readonly Command[]): string[] => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    bench.ste(SID, { V: 1, Config: CONFIG.ABORT })
    bench.commands(...commands, SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.missing).toEqual(['CFGI_STE SID=3 Leaf=1'])
    return why(guest)
  }

  it('is not in a block of streams beside it', () => {
    expect(after(cfgiRange(4, 1))).toEqual(['CFGI_STE_RANGE SID=4 Range=1: wrong SID (4, needed 3)'])
  })

  it('does not go with its CDs', () => {
    const because = 'it drops CDs, and the STE is stale'
    expect(after(cfgiCd(SID))).toEqual([`CFGI_CD SID=3 SSID=0 Leaf=1: ${because}`])
    expect(after(cfgiCdAll(SID))).toEqual([`CFGI_CD_ALL SID=3: ${because}`])
    expect(after(cfgiCdAll(5))).toEqual([`CFGI_CD_ALL SID=5: wrong SID (5, needed 3); ${because}`])
  })

  it('goes with every stream, and with its own block', () => {
    for (const range of [31, 0, 3]) {
      const guest = new Guest()
      const { bench } = guest
      bench.dma(SID, VA)
      bench.ste(SID, { V: 1, Config: CONFIG.ABORT })
      bench.commands(cfgiRange(SID, range), SYNC)
      expect(bench.dma(SID, VA)).toBe('aborted')
      expect(guest.oracle.reports).toEqual([])
    }
  })

  it('was dropped before it changed', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    bench.commands(cfgiRange(0, 31), SYNC)
    bench.dma(SID, VA)
    bench.ste(SID, { V: 1, Config: CONFIG.ABORT })
    bench.commands(SYNC)
    bench.dma(SID, VA)
    expect(why(guest)[0]).toMatch(/^CFGI_STE_RANGE SID=0 Range=31: before the change/)
  })

  it('of a stream that bypasses is told as any other', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.ste(SID, { V: 1, Config: CONFIG.BYPASS })
    expect(bench.dma(SID, VA)).toBe('ok 5000')
    bench.ste(SID, { V: 1, Config: CONFIG.ABORT })
    bench.commands(SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 5000')
    expect(guest.missing).toEqual(['CFGI_STE SID=3 Leaf=1'])
    expect(guest.only).toMatchObject({ cache: 'ste', cached: { address: 0x5000 }, usual: null })
  })

  it('of a block whose level 1 descriptor leads elsewhere needs more than a leaf', () => {
    const guest = new Guest()
    const { bench } = guest
    const [top, other] = [bench.alloc(), bench.alloc()]
    // Span 7: 64 STEs. FMT 1, SPLIT 6, LOG2SIZE 6.
    bench.poke(top, BigInt(bench.streamTable) | 7n)
    bench.write(OFFSET.CR0, 0b1100)
    bench.write64(OFFSET.STRTAB_BASE, top)
    bench.write(OFFSET.STRTAB_BASE_CFG, (1 << 16) | (6 << 6) | 6)
    bench.write(OFFSET.CR0, 0b1101)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    bench.poke(top, BigInt(other) | 7n)
    for (const sid of [SID, 9]) bench.poke(other + sid * 64, BigInt(1 | (CONFIG.ABORT << 1)))
    bench.commands(cfgiSte(SID), SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.missing).toEqual(['CFGI_STE SID=3 Leaf=0'])
    expect(guest.only).toMatchObject({ cache: 'l1std', changed: { what: 'L1STD', address: top } })
    expect(why(guest)).toEqual(['CFGI_STE SID=3 Leaf=1: leaf-only over a level 1 descriptor'])
  })
})

describe('a CD that changed', () => {
  /** Substreams 0 and 1 over a linear table, or over a level 1 table. */
  const withSubstreams = (twoLevels: boolean): Guest & { table: number; top: number } => {
    const guest = new Guest()
    const { bench } = guest
    const [table, top] = [bench.alloc(), bench.alloc()]
    bench.cd(table, contextFields(6, guest.root))
    bench.cd(table + 64, contextFields(ASID, guest.root))
    bench.poke(top, BigInt(table) | 1n)
    const format = twoLevels ? { S1Fmt: S1FMT_4K, S1ContextPtr: top, S1CDMax: 7 } : { S1ContextPtr: table, S1CDMax: 1 }
    bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1DSS: 2, ...format })
    expect(bench.dma(SID, VA, { pasid: 1 })).toBe('ok 300000')
    return Object.assign(guest, { table, top })
  }

  it('is not that of another substream', () => {
    const guest = withSubstreams(false)
    const { bench } = guest
    const root = bench.alloc()
    bench.map(root, VA, SECOND | S1.RW)
    bench.cd(guest.table + 64, contextFields(8, root))
    bench.commands(cfgiCd(SID, 0), SYNC)
    expect(bench.dma(SID, VA, { pasid: 1 })).toBe('ok 300000')
    expect(guest.missing).toEqual(['CFGI_CD SID=3 SSID=1 Leaf=1'])
    expect(why(guest)).toEqual(['CFGI_CD SID=3 SSID=0 Leaf=1: wrong SSID (0, needed 1)'])
  })

  it('of a block whose level 1 descriptor leads elsewhere needs more than a leaf', () => {
    const guest = withSubstreams(true)
    const { bench } = guest
    const [root, other] = [bench.alloc(), bench.alloc()]
    bench.map(root, VA, SECOND | S1.RW)
    bench.cd(other + 64, contextFields(8, root))
    bench.poke(guest.top, BigInt(other) | 1n)
    bench.commands(cfgiCd(SID, 1), SYNC)
    expect(bench.dma(SID, VA, { pasid: 1 })).toBe('ok 300000')
    expect(guest.missing).toEqual(['CFGI_CD SID=3 SSID=1 Leaf=0'])
    expect(guest.only).toMatchObject({ cache: 'l1cd', changed: { what: 'L1CD', address: guest.top } })
    expect(why(guest)).toEqual(['CFGI_CD SID=3 SSID=1 Leaf=1: leaf-only over a level 1 descriptor'])
  })
})

describe('a page that is unmapped', () => {
  it('in an EL2 world is not reached by what is for VMIDs', () => {
    const guest = inEl2(new Guest())
    const { bench } = guest
    bench.dma(SID, VA)
    guest.unmap()
    bench.commands(tlbiVa(VA), [0x30n, 0n], SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.missing).toEqual(['TLBI_EL2_VA Leaf=1 ADDR=5000'])
    expect(why(guest).filter((line) => line.startsWith('TLBI_N'))).toEqual([
      'TLBI_NSNH_ALL: wrong StreamWorld',
      'TLBI_NH_VA VMID=0 ASID=7 Leaf=0 ADDR=5000: wrong StreamWorld',
    ])
  })

  it('is out of a range of large granules that ends before it', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    guest.unmap()
    // TG 3 is 64 KiB, and NUM 1 two of them; TTL 2 of 4 KiB granules names 2 MiB leaves, and this is none.
    const large: Command = [0x12n | (1n << 12n) | (7n << 48n), 0x10000n | (3n << 10n)]
    const other: Command = [0x12n | (7n << 12n) | (7n << 48n), (1n << 10n) | (2n << 8n)]
    bench.commands(large, other, SYNC)
    bench.dma(SID, VA)
    expect(why(guest)).toEqual([
      'TLBI_NH_VA VMID=0 ASID=7 Leaf=0 TG=1 TTL=2 NUM=7 SCALE=0 ADDR=0: TTL 2 and TG 1 name leaves of that level alone',
      'TLBI_NH_VA VMID=0 ASID=7 Leaf=0 TG=3 TTL=0 NUM=1 SCALE=0 ADDR=10000: it begins at 0x10000',
    ])
  })

  it('is not on the one page that was named', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    guest.unmap()
    bench.commands(tlbiVa(0x4000n), SYNC)
    bench.dma(SID, VA)
    expect(why(guest)).toEqual(['TLBI_NH_VA VMID=0 ASID=7 Leaf=0 ADDR=4000: another page, 0x4000'])
  })

  it('has VMID 0 in every command to a unit without stage 2', () => {
    // IDR0 without S2P, Hyp and VMW, IDR3 without PTWNNC.
    const { IDR0, IDR3 } = idRegisters('full')
    const guest = new Guest({ id: { IDR0: IDR0 & ~((1 << 17) | (1 << 9) | 1), IDR3: IDR3 & ~(1 << 14), AIDR: 1 } })
    const { bench } = guest
    bench.dma(SID, VA)
    guest.unmap()
    bench.commands(tlbiVa(VA, { asid: 2, vmid: 5 }), SYNC)
    bench.dma(SID, VA)
    expect(why(guest)).toEqual(['TLBI_NH_VA VMID=0 ASID=2 Leaf=0 ADDR=5000: wrong ASID (2, needed 7)'])
  })
})

describe('numbers that are used again', () => {
  const another = (guest: Guest): void => {
    const { bench } = guest
    const root = bench.alloc()
    bench.map(root, VA, SECOND | S1.RW)
    bench.cd(guest.cd, contextFields(ASID, root))
    bench.commands(cfgiCd(SID), SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
  }

  it('are all of EL2 in a world without ASIDs, and an ASID in the one with them', () => {
    const el2 = inEl2(new Guest())
    el2.bench.dma(SID, VA)
    another(el2)
    expect(el2.missing).toEqual(['TLBI_EL2_VA Leaf=0 ADDR=5000'])
    expect(el2.only.usual).toEqual({ name: 'TLBI_EL2_ALL', operands: {} })
    const e2h = inEl2(selectE2h(new Guest()))
    e2h.bench.dma(SID, VA)
    another(e2h)
    expect(e2h.missing).toEqual(['TLBI_EL2_VA ASID=7 Leaf=0 ADDR=5000'])
    expect(e2h.only.usual).toEqual({ name: 'TLBI_EL2_ASID', operands: { ASID } })
  })

  it('are a VMID where the STE has another stage 2, and the TLB keeps what both stages led to', () => {
    const guest = nested({ ipa: NO_CACHE, walk1: NO_CACHE, walk2: NO_CACHE })
    const { bench } = guest
    bench.dma(SID, VA)
    const other = identity(guest, SECOND - FRAME)
    bench.ste(SID, { ...nestedFields(guest, other) })
    bench.commands(cfgiSte(SID), SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.missing).toEqual(['TLBI_NH_VA VMID=9 ASID=7 Leaf=1 ADDR=5000'])
    expect(guest.only.usual).toEqual({ name: 'TLBI_S12_VMALL', operands: { VMID: 9 } })
  })
})

describe('IPAs of one walk', () => {
  it('are named where they are stale, and only these', () => {
    const guest = nested({ tlb: NO_CACHE, walk1: NO_CACHE, walk2: NO_CACHE })
    const { bench } = guest
    bench.dma(SID, VA)
    // The page moves, and so does the last table of stage 1, with all that is in it.
    const table = guest.table(VA, 3) & ~0xfff
    const copy = bench.alloc()
    bench.poke(copy + 5 * 8, bench.peek(guest.table(VA, 3)))
    const [ipa, tableIpa] = [BigInt(GUEST) + FRAME, BigInt(GUEST + table)]
    bench.poke(guest.table(ipa, 3, guest.second), SECOND | S2.RW)
    bench.poke(table + 5 * 8, 0n)
    bench.poke(guest.table(tableIpa, 3, guest.second), BigInt(copy) | S2.RW)
    bench.commands(SYNC)
    expect(bench.dma(SID, VA)).toBe('F_TRANSLATION')
    expect(guest.missing).toEqual([
      [
        `TLBI_S2_IPA VMID=9 Leaf=1 ADDR=${tableIpa.toString(16)}`,
        `TLBI_S2_IPA VMID=9 Leaf=1 ADDR=${ipa.toString(16)}`,
      ].join(' + '),
    ])
  })
})

interface Nested extends Guest {
  readonly second: number
}

/** A stage 2 that takes an IPA to the physical address GUEST below it, and FRAME so much above that. */
function identity({ bench }: Guest, moved = 0n): number {
  const second = bench.alloc()
  for (let pa = 0; pa < 0x500000; pa += 4096) {
    const to = BigInt(pa) === FRAME ? FRAME + moved : BigInt(pa)
    bench.map(second, BigInt(GUEST + pa), to | S2.RW)
  }
  return second
}

const nestedFields = ({ cd }: Guest, second: number) => ({
  ...stageTwoFields(9, second),
  V: 1,
  Config: CONFIG.NESTED,
  S1ContextPtr: GUEST + cd,
})

function nested(caches: CacheOptions): Nested {
  const guest = new Guest({ caches })
  const { bench } = guest
  const second = identity(guest)
  const root = bench.alloc()
  bench.map(root, VA, (BigInt(GUEST) + FRAME) | S1.RW, 3, GUEST)
  bench.cd(guest.cd, contextFields(ASID, GUEST + root))
  bench.ste(SID, nestedFields(guest, second))
  const table = (va: bigint, level: number, of = root): number => {
    let at = of
    for (let i = 0; i < level; i++) {
      const entry = bench.peek(at + Number((va >> BigInt(39 - 9 * i)) & 0x1ffn) * 8)
      at = Number(entry & 0xfffffffff000n) - (of === root ? GUEST : 0)
    }
    return at + Number((va >> BigInt(39 - 9 * level)) & 0x1ffn) * 8
  }
  return Object.assign(guest, { second, table })
}
