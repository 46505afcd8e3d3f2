/**
 * A page that is unmapped and stays in the TLB: when the oracle says so, what it says of the commands that were sent,
 * and what needs no invalidation. [SMMU 4.4 TLB invalidation]
 */

import { describe, expect, it } from 'vitest'
import { ACCESS } from '../../hw-model/port.js'
import { contextFields, S1 } from './bench.js'
import {
  ASID,
  type Command,
  FRAME,
  Guest,
  SECOND,
  SID,
  SYNC,
  spell,
  tlbiAsid,
  tlbiRange,
  tlbiVa,
  VA,
} from './oracle-guest.js'

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

  it('is not accused of its frame where two addresses shared that all the while', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.map(guest.root, 0x9000n, FRAME | S1.RW)
    bench.dma(SID, 0x9000n)
    bench.dma(SID, VA)
    guest.unmap()
    bench.commands(tlbiVa(0x9000n))
    expect(bench.dma(SID, 0x9000n)).toBe('ok 300000')
    bench.dma(SID, VA)
    expect([guest.oracle.reports, guest.oracle.counts.inWindow]).toEqual([[], 1])
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

  it('is the access flag where hardware sets it, and software clears it to see who is there', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.cd(guest.cd, { ...contextFields(ASID, guest.root), HA: 1 })
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

  it('may be another page where both are read-only, until a SYNC', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.poke(guest.leaf(), FRAME | S1.RW | (1n << 7n))
    bench.dma(SID, VA)
    bench.poke(guest.leaf(), SECOND | S1.RW | (1n << 7n))
    bench.dma(SID, VA)
    expect([guest.oracle.reports, guest.oracle.counts.inWindow]).toEqual([[], 1])
    bench.commands(SYNC)
    bench.dma(SID, VA)
    expect(guest.only).toMatchObject({ reason: 'synced' })
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
