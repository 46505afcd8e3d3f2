/**
 * One mistake of each kind, made by a guest that writes its tables and commands by hand: what the oracle says of it, and
 * what it does not say where software did as the manual asks. Commands are spelled from the manual. [SMMU 4 Commands]
 */

import { describe, expect, it } from 'vitest'
import { ACCESS, type Invalidation, type StaleReport, type UnitOracle } from '../../hw-model/port.js'
import { type CacheOptions, CONFIG } from '../../hw-model/smmuv3/index.js'
import { Bench, contextFields, GUEST, S1, S2, stageTwoFields } from './bench.js'

const SID = 3
const OTHER = 4
const VA = 0x5000n
const FRAME = 0x300000n
const SECOND = 0x400000n
const ASID = 7
const CACHES: CacheOptions = {
  tlb: { entries: 64, ways: 4 },
  ipa: { entries: 64, ways: 4 },
  walk1: { entries: 64, ways: 4 },
  walk2: { entries: 64, ways: 4 },
  configEntries: 16,
}

type Command = readonly [bigint, bigint]
const SYNC: Command = [0x46n, 0n]
const tlbiVa = (va: bigint, { asid = ASID, vmid = 0, leaf = 0 } = {}): Command => [
  0x12n | (BigInt(vmid) << 32n) | (BigInt(asid) << 48n),
  va | BigInt(leaf),
]
/** 4 KiB granule, any level, `pages` of them. */
const tlbiRange = (va: bigint, pages: number): Command => [
  0x12n | (BigInt(pages - 1) << 12n) | (BigInt(ASID) << 48n),
  va | (1n << 10n),
]
const tlbiAsid = (asid: number): Command => [0x11n | (BigInt(asid) << 48n), 0n]
const tlbiIpa = (ipa: bigint, vmid: number): Command => [0x2an | (BigInt(vmid) << 32n), ipa]
const nhAll = (vmid: number): Command => [0x10n | (BigInt(vmid) << 32n), 0n]
const cfgiSte = (sid: number): Command => [0x03n | (BigInt(sid) << 32n), 1n]
const cfgiCd = (sid: number, ssid = 0): Command => [0x05n | (BigInt(ssid) << 12n) | (BigInt(sid) << 32n), 1n]

/** A guest with one stream behind stage 1. */
class Guest {
  readonly bench: Bench
  readonly root: number
  readonly cd: number
  readonly leaf: (va?: bigint) => number
  readonly oracle: UnitOracle

  constructor(options: { caches?: CacheOptions; fails?: boolean; graceSyncs?: number } = {}) {
    const { fails = false, graceSyncs = 0, caches = {} } = options
    this.bench = new Bench({ preset: 'full', caches: { ...CACHES, ...caches } })
    this.root = this.bench.alloc()
    this.cd = this.bench.alloc()
    this.bench.map(this.root, VA, FRAME | S1.RW)
    this.bench.cd(this.cd, contextFields(ASID, this.root))
    this.bench.ste(SID, { V: 1, Config: CONFIG.S1_TRANS, S1ContextPtr: this.cd })
    this.leaf = (va = VA) => this.table(va, 3)
    this.bench.unit.setOracle({ fails, graceSyncs, reportLimit: 100 })
    this.oracle = this.bench.unit.oracle as UnitOracle
  }

  /** Where the entry of a level stands. */
  table(va: bigint, level: number, root = this.root): number {
    let table = root
    for (let at = 0; at < level; at++) {
      table = Number(this.bench.peek(table + Number((va >> BigInt(39 - 9 * at)) & 0x1ffn) * 8) & 0xfffffffff000n)
    }
    return table + Number((va >> BigInt(39 - 9 * level)) & 0x1ffn) * 8
  }

  /** The reports, as commands in words. */
  get missing(): string[] {
    return this.oracle.reports.map(({ missing }) => missing.map(spell).join(' + '))
  }

  get only(): StaleReport {
    expect(this.oracle.reports).toHaveLength(1)
    return this.oracle.reports[0]
  }

  /** Unmaps the page without a word. */
  unmap(va = VA): void {
    this.bench.poke(this.leaf(va), 0n)
  }
}

const spell = ({ name, operands, page }: Invalidation): string =>
  [
    name,
    ...Object.entries(operands).map(([operand, value]) => `${operand}=${value}`),
    ...(page === undefined ? [] : [`ADDR=${(page[1] * 2 ** 32 + page[0]).toString(16)}`]),
  ].join(' ')

describe('a page that is unmapped and kept in the TLB', () => {
  it('may be answered from the TLB until a SYNC completes', () => {
    const { bench, oracle, ...guest } = new Guest()
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    bench.poke(guest.leaf(), 0n)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(oracle.counts).toMatchObject({ compared: 2, stale: 1, inWindow: 1, reports: 0 })
  })

  it('is reported once a SYNC has completed, with the command and the entry that changed', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    const filledAt = guest.oracle.operation
    guest.unmap()
    bench.commands(SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    const { bench: _, only } = guest
    expect(guest.missing).toEqual(['TLBI_NH_VA VMID=0 ASID=7 Leaf=1 ADDR=5000'])
    expect(only).toMatchObject({
      reason: 'synced',
      cache: 'tlb',
      rid: SID,
      lo: 0x5000,
      filledAt,
      lastRightAt: filledAt,
      cached: { status: 1, address: 0x300000, rights: 7 },
      fresh: { status: 2, fault: 0x10 },
      changed: {
        what: 'stage-1 table entry',
        stage: 1,
        level: 3,
        address: guest.leaf(),
        before: [0x300f43, 0],
        after: [0, 0],
      },
      sent: [],
    })
    expect(only.firstSeenAt).toBeGreaterThan(filledAt)
    expect(only.at).toBeGreaterThan(only.firstSeenAt)
  })

  it('is reported once, however often and however it is met', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    guest.unmap()
    bench.commands(SYNC)
    for (let i = 0; i < 3; i++) bench.dma(SID, VA + 8n)
    bench.dma(SID, VA, { access: ACCESS.WRITE })
    expect(guest.only.hits).toBe(4)
    expect(guest.oracle.counts).toMatchObject({ stale: 4, reports: 1, inWindow: 0 })
  })

  it('is no matter once it is invalidated, and a later mistake is another', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    guest.unmap()
    bench.commands(tlbiVa(VA), SYNC)
    expect(bench.dma(SID, VA)).toBe('F_TRANSLATION')
    bench.poke(guest.leaf(), SECOND | S1.RW)
    expect(bench.dma(SID, VA)).toBe('ok 400000')
    expect(guest.oracle.reports).toEqual([])
    for (const _ of [1, 2]) {
      guest.unmap()
      bench.commands(SYNC)
      bench.dma(SID, VA)
      bench.commands(tlbiVa(VA), SYNC)
      bench.poke(guest.leaf(), SECOND | S1.RW)
      bench.dma(SID, VA)
    }
    expect(guest.oracle.counts).toMatchObject({ stale: 2, reports: 2 })
  })

  it('is reported in the next SYNC but one with a grace of one', () => {
    const guest = new Guest({ graceSyncs: 1 })
    const { bench } = guest
    bench.dma(SID, VA)
    guest.unmap()
    bench.commands(SYNC)
    bench.dma(SID, VA)
    expect(guest.oracle.counts).toMatchObject({ inWindow: 1, reports: 0 })
    bench.commands(SYNC)
    bench.dma(SID, VA)
    expect(guest.oracle.counts).toMatchObject({ inWindow: 1, reports: 1 })
  })

  it('ends aborted where the oracle fails it, from the report on', () => {
    const guest = new Guest({ fails: true })
    const { bench } = guest
    bench.dma(SID, VA)
    guest.unmap()
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    bench.commands(SYNC)
    expect(bench.dma(SID, VA)).toBe('aborted')
    expect(bench.dma(SID, VA)).toBe('aborted')
  })

  it('is found by who asks, without a SYNC and without a DMA', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    guest.unmap()
    expect(guest.oracle.check(10).stale).toEqual([guest.only])
    expect(guest.only).toMatchObject({ reason: 'checked', cache: 'tlb' })
    expect(guest.oracle.check(10).stale).toEqual([])
  })

  it('is reported within the window where its frame was given to another address', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    guest.unmap()
    bench.map(guest.root, 0x9000n, FRAME | S1.RW)
    expect(bench.dma(SID, 0x9000n)).toBe('ok 300000')
    bench.dma(SID, VA)
    expect(guest.only).toMatchObject({ reason: 'frame-reused', lo: 0x5000 })
  })
})

describe('the commands that were sent', () => {
  const after = (...commands: readonly Command[]): Guest => {
    const guest = new Guest()
    guest.bench.dma(SID, VA)
    guest.unmap()
    guest.bench.commands(...commands, SYNC)
    guest.bench.dma(SID, VA)
    return guest
  }
  const why = (guest: Guest): string[] => guest.only.sent.map(({ command, why }) => `${spell(command)}: ${why}`)

  it('had the wrong ASID', () => {
    expect(why(after(tlbiVa(VA, { asid: 2 })))).toEqual([
      'TLBI_NH_VA VMID=0 ASID=2 Leaf=0 ADDR=5000: wrong ASID (2, needed 7)',
    ])
  })

  it('had the wrong VMID', () => {
    expect(why(after(tlbiVa(VA, { vmid: 5 })))).toEqual([
      'TLBI_NH_VA VMID=5 ASID=7 Leaf=0 ADDR=5000: wrong VMID (5, needed 0)',
    ])
  })

  it('ended before the page', () => {
    expect(why(after(tlbiRange(0x2000n, 3)))).toEqual([
      'TLBI_NH_VA VMID=0 ASID=7 Leaf=0 TG=1 TTL=0 NUM=2 SCALE=0 ADDR=2000: range ends at 0x4fff',
    ])
  })

  it('named another page', () => {
    expect(why(after(tlbiVa(0x6000n)))).toEqual(['TLBI_NH_VA VMID=0 ASID=7 Leaf=0 ADDR=6000: it begins at 0x6000'])
  })

  it('were the nearest first', () => {
    expect(after(tlbiVa(0x6000n, { asid: 1 }), tlbiAsid(1)).only.sent.map(({ command }) => command.name)).toEqual([
      'TLBI_NH_ASID',
      'TLBI_NH_VA',
    ])
  })

  it('came before the change', () => {
    const guest = new Guest()
    guest.bench.commands(tlbiVa(VA), SYNC)
    guest.bench.dma(SID, VA)
    guest.unmap()
    guest.bench.commands(SYNC)
    guest.bench.dma(SID, VA)
    expect(guest.only.sent[0].why).toMatch(/^before the change/)
  })

  it('lack a SYNC, on a unit that drops as late as it may', () => {
    const guest = new Guest({ caches: { invalidation: 'late' } })
    guest.bench.dma(SID, VA)
    guest.unmap()
    guest.bench.commands(tlbiVa(VA))
    expect(guest.bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.oracle.counts).toMatchObject({ inWindow: 1, reports: 0 })
    guest.oracle.check(10)
    expect(guest.only.missing.map(spell)).toEqual(['SYNC'])
    expect(why(guest)).toEqual(['TLBI_NH_VA VMID=0 ASID=7 Leaf=0 ADDR=5000: no SYNC since'])
    guest.bench.commands(SYNC)
    expect(guest.bench.dma(SID, VA)).toBe('F_TRANSLATION')
  })
})

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
    expect(guest.only).toMatchObject({ rid: OTHER, cache: 'tlb', usual: { name: 'TLBI_NH_ASID' } })
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

describe('what needs no invalidation', () => {
  it('is a page that is mapped where none was', () => {
    const guest = new Guest()
    const { bench } = guest
    expect(bench.dma(SID, 0x6000n)).toBe('F_TRANSLATION')
    bench.map(guest.root, 0x6000n, SECOND | S1.RW)
    bench.commands(SYNC)
    expect(bench.dma(SID, 0x6000n)).toBe('ok 400000')
    expect(guest.oracle.counts.stale).toBe(0)
  })

  it('is the access flag, which hardware sets and software may clear', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    bench.poke(guest.leaf(), (FRAME | S1.RW) & ~0x400n)
    bench.commands(SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.oracle.counts.stale).toBe(0)
  })

  it('is a right that is granted since; one that is taken counts', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.poke(guest.leaf(), FRAME | S1.RO)
    bench.dma(SID, VA)
    bench.poke(guest.leaf(), FRAME | S1.RW)
    bench.commands(SYNC)
    bench.dma(SID, VA)
    expect(guest.oracle.counts.stale).toBe(0)
    bench.commands(tlbiVa(VA), SYNC)
    bench.dma(SID, VA)
    bench.poke(guest.leaf(), FRAME | S1.RO)
    bench.commands(SYNC)
    bench.dma(SID, VA)
    expect(guest.missing).toEqual(['TLBI_NH_VA VMID=0 ASID=7 Leaf=1 ADDR=5000'])
  })

  it('is what a change leaves as it was', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    const table = bench.alloc()
    bench.poke(table + 5 * 8, FRAME | S1.RW)
    bench.poke(guest.table(VA, 2), BigInt(table) | S1.TABLE)
    bench.commands(SYNC)
    bench.dma(SID, VA)
    expect(guest.oracle.counts).toMatchObject({ compared: 2, stale: 0 })
  })
})

describe('a valid entry in place of another', () => {
  it('breaks the rule of an invalid one between, before any SYNC', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    bench.poke(guest.leaf(), SECOND | S1.RW)
    bench.dma(SID, VA)
    expect(guest.only).toMatchObject({ reason: 'break-before-make', changed: { before: [0x300f43, 0] } })
  })
})

describe('the fresh walk', () => {
  it('sets no flag, records nothing, and fills nothing', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.dma(SID, VA)
    guest.unmap()
    bench.commands(SYNC)
    bench.dma(SID, VA)
    expect(guest.oracle.counts.reports).toBe(1)
    expect(bench.events()).toEqual([])
    bench.unit.setOracle(null)
    expect(bench.unit.oracle).toBe(null)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
  })
})

describe('an invalidation', () => {
  it('of what has changed was needed, of what had not was needless', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.map(guest.root, 0x6000n, SECOND | S1.RW)
    bench.dma(SID, VA)
    bench.dma(SID, 0x6000n)
    guest.unmap()
    bench.commands(tlbiAsid(ASID), SYNC)
    expect(guest.oracle.counts).toMatchObject({ needed: 1, needless: 1, syncs: 1 })
  })
})
