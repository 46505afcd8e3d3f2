/**
 * Changes of one step, flags that hardware sets beside them, and ends other than an address. [Arm D8.16 Using
 * break-before-make] [SMMU 3.21.1.3 BBML] [Arm D8.5 Hardware updates] [SMMU 3.12.2 Stall model]
 */

import { describe, expect, it } from 'vitest'
import { NO_CACHE } from '../../hw-model/cache/geometry.js'
import { ACCESS, REQUEST, STATUS } from '../../hw-model/port.js'
import { CONFIG, idRegisters } from '../../hw-model/smmuv3/index.js'
import { AtsBench, CR0, VA as FAR, PA } from './ats-bench.js'
import { contextFields, GUEST, S1, S2, stageTwoFields } from './bench.js'
import { ASID, cfgiCd, FRAME, Guest, SECOND, SID, SYNC, spell, VA } from './oracle-guest.js'

/** A 2 MiB block around VA, of this frame. */
const block = (frame: bigint): bigint => frame | S1.BLOCK_RW
const LARGE = 0x60_0000n

/** IDR3.BBML is bits 12:11. */
const withBbml = (level: number): Guest =>
  new Guest({ id: { IDR3: (idRegisters('full').IDR3 & ~(3 << 11)) | (level << 11) } })

/** The level 2 entry of VA changes in one step, from a block to another one or to a table. */
function changed(guest: Guest, to: bigint): string[] {
  const { bench } = guest
  const entry = guest.table(VA, 2)
  bench.poke(entry, block(LARGE))
  expect(bench.dma(SID, VA)).toBe('ok 605000')
  bench.poke(entry, to)
  expect(bench.dma(SID, VA)).toBe('ok 605000')
  return guest.oracle.reports.map(({ reason }) => reason)
}

/** Pages in the place of a block: of the same frames, but for the one of VA. */
function tableOf(guest: Guest, frame: bigint): bigint {
  const table = guest.bench.alloc()
  for (let i = 0; i < 512; i++) guest.bench.poke(table + i * 8, (LARGE + BigInt(i) * 4096n) | S1.RW)
  guest.bench.poke(table + 5 * 8, frame | S1.RW)
  return BigInt(table) | S1.TABLE
}

describe('an entry that is changed while it is valid', () => {
  it('breaks the rule with another block', () => {
    expect(changed(new Guest(), block(0x80_0000n))).toEqual(['break-before-make'])
  })

  it('breaks it with a table where the unit does not handle another size, and not where it does', () => {
    const strict = withBbml(0)
    expect(changed(strict, tableOf(strict, FRAME))).toEqual(['break-before-make'])
    for (const level of [1, 2]) {
      const able = withBbml(level)
      expect(changed(able, tableOf(able, FRAME))).toEqual([])
      able.bench.commands(SYNC)
      able.bench.dma(SID, VA)
      expect(able.missing).toEqual(['TLBI_NH_VA VMID=0 ASID=7 Leaf=1 ADDR=5000'])
    }
  })

  it('does not break it by one table for another, nor by becoming invalid, nor by rights alone', () => {
    const tables = new Guest()
    tables.bench.dma(SID, VA)
    tables.bench.poke(tables.table(VA, 2), tableOf(tables, SECOND))
    tables.bench.dma(SID, VA)
    const gone = new Guest()
    gone.bench.dma(SID, VA)
    gone.unmap()
    gone.bench.dma(SID, VA)
    const less = new Guest()
    less.bench.dma(SID, VA, { access: ACCESS.WRITE })
    less.bench.poke(less.leaf(), FRAME | S1.RO)
    less.bench.dma(SID, VA, { access: ACCESS.WRITE })
    for (const { oracle } of [tables, gone, less]) expect(oracle.counts).toMatchObject({ inWindow: 1, reports: 0 })
  })

  it('is no table entry, where it is a CD', () => {
    const guest = new Guest()
    guest.bench.dma(SID, VA)
    const root = guest.bench.alloc()
    guest.bench.map(root, VA, SECOND | S1.RW)
    guest.bench.cd(guest.cd, contextFields(8, root))
    guest.bench.dma(SID, VA)
    expect(guest.oracle.counts).toMatchObject({ inWindow: 1, reports: 0 })
    guest.bench.commands(cfgiCd(SID), SYNC)
    expect(guest.bench.dma(SID, VA)).toBe('ok 400000')
  })
})

describe('the entry that has changed', () => {
  it('is the one that software wrote, and not one that hardware has marked as accessed', () => {
    const guest = new Guest({ caches: { ipa: NO_CACHE, walk1: NO_CACHE, walk2: NO_CACHE } })
    const { bench } = guest
    const second = bench.alloc()
    // Without AF: stage 2 sets it in what it walks for the tables of stage 1.
    for (let pa = 0; pa < 0x500000; pa += 4096) bench.map(second, BigInt(GUEST + pa), BigInt(pa) | (S2.RW & ~0x400n))
    const root = bench.alloc()
    bench.map(root, VA, (BigInt(GUEST) + FRAME) | S1.RW, 3, GUEST)
    bench.cd(guest.cd, contextFields(ASID, GUEST + root))
    bench.ste(SID, {
      ...stageTwoFields(9, second),
      ...{ V: 1, Config: CONFIG.NESTED, S1ContextPtr: GUEST + guest.cd, S2HA: 1 },
    })
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    let leaf = root
    for (const shift of [39n, 30n, 21n]) {
      leaf = Number(bench.peek(leaf + Number((VA >> shift) & 0x1ffn) * 8) & 0xfffffffff000n) - GUEST
    }
    leaf += 5 * 8
    expect(bench.peek(guest.table(BigInt(GUEST + leaf), 3, second)) & 0x400n).toBe(0x400n)
    bench.poke(leaf, 0n)
    bench.commands(SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.only.changed).toMatchObject({ what: 'stage-1 table entry', level: 3, address: leaf, after: [0, 0] })
  })
})

describe('a page that was never met, under a CD that has changed before the last SYNC', () => {
  it('is told of at once, although the access itself makes good what it finds', () => {
    const guest = new Guest()
    const { bench } = guest
    const marked = { ...contextFields(ASID, guest.root), HA: 1 }
    bench.cd(guest.cd, marked)
    bench.map(guest.root, 0x6000n, SECOND | (S1.RW & ~0x400n))
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    // Without HA a page that was not accessed is a fault; with the CD that is kept, it is marked.
    bench.cd(guest.cd, { ...marked, HA: 0 })
    bench.commands(SYNC)
    expect(bench.dma(SID, 0x6000n)).toBe('ok 400000')
    expect(guest.missing).toEqual(['CFGI_CD SID=3 SSID=0 Leaf=1'])
    expect(guest.only).toMatchObject({ reason: 'synced', fresh: { status: STATUS.FAULT, fault: 0x12 } })
    expect(bench.peek(guest.table(0x6000n, 3)) & 0x400n).toBe(0x400n)
  })

  it('is legal where the CD changed after it', () => {
    const guest = new Guest()
    const { bench } = guest
    bench.map(guest.root, 0x6000n, SECOND | S1.RW)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    bench.commands(SYNC)
    bench.cd(guest.cd, { ...contextFields(ASID, guest.root), EPD0: 1 })
    expect(bench.dma(SID, 0x6000n)).toBe('ok 400000')
    expect(guest.oracle.counts).toMatchObject({ inWindow: 1, reports: 0 })
  })
})

describe('an access that would be held', () => {
  it('is another end than an address, and nothing of it is recorded', () => {
    const guest = new Guest()
    const { bench } = guest
    // S of the CD: a fault stalls.
    bench.cd(guest.cd, { ...contextFields(ASID, guest.root), S: 1 })
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    guest.unmap()
    bench.commands(SYNC)
    expect(bench.dma(SID, VA)).toBe('ok 300000')
    expect(guest.missing).toEqual(['TLBI_NH_VA VMID=0 ASID=7 Leaf=1 ADDR=5000'])
    expect(guest.only.fresh).toMatchObject({ status: STATUS.PENDING, fault: 0x10 })
    expect(bench.events()).toEqual([])
    expect(bench.endings).toEqual([])
  })
})

describe('a function that asks for a translation', () => {
  it('is told of less than it asked for, as an access is that fails for it; of what it did not ask for it needs nothing', () => {
    const bench = new AtsBench().switch(CR0.ON)
    bench.stageOne({}, S1.RO)
    const read = { access: ACCESS.READ }
    const write = { access: ACCESS.READ | ACCESS.WRITE }
    expect([bench.request(FAR, write), bench.request(FAR, read)]).toEqual(['r-- 80000000/12', 'r-- 80000000/12'])
    bench.unit.setOracle({ fails: false, graceSyncs: 0, reportLimit: 8 })
    bench.request(FAR, write)
    bench.map(bench.s1, FAR, PA | S1.RW)
    bench.commands(SYNC)
    expect(bench.request(FAR, read)).toBe('r-- 80000000/12')
    expect(bench.unit.oracle?.counts.stale).toBe(0)
    expect(bench.request(FAR, write)).toBe('r-- 80000000/12')
    expect(bench.unit.oracle?.reports.map(({ missing }) => missing.map(spell).join(' + '))).toEqual([
      'TLBI_NH_VA VMID=0 ASID=7 Leaf=1 ADDR=7654321000',
    ])
    bench.commands([0x30n, 0n], SYNC)
    expect(bench.request(FAR, write)).toBe('rw- 80000000/12')
    expect(bench.unit.oracle?.reports).toHaveLength(1)
  })

  it('is told of a page that none of its rights is left of, and no address is compared then', () => {
    const bench = new AtsBench().switch(CR0.ON)
    bench.stageOne({}, S1.RW & ~0x40n)
    bench.unit.setOracle({ fails: false, graceSyncs: 0, reportLimit: 8 })
    for (let i = 0; i < 2; i++) expect(bench.send(REQUEST.TRANSLATION, FAR, {})).toMatchObject({ rights: 0 })
    expect(bench.unit.oracle?.counts.stale).toBe(0)
  })
})
