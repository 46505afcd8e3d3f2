/** SSADE: the log of writes is a property of the tables, so every entry that names them has it. [VTD 6.2.3.1] */

import { describe, expect, it } from 'vitest'
import { HW_CAPABILITY, type PagingFlags, RID_SLOT } from '../../server/core/driver.js'
import type { PagingDomain } from '../../server/drivers/vtd/paging.js'
import { Tape } from './driver-tape.js'
import { CLIENT, dma, FS_RW, guestMaps, makeHost, makeUser, NEST_PARENT, PLAIN } from './host.js'

const TRACKED: PagingFlags = { nestParent: true, dirtyTracking: true, pasid: true }
const SSADE = 0x200n

function setUp() {
  const host = makeHost()
  const device = host.probe(8)
  const tape = new Tape(host)
  const domain = host.driver.createPaging(device, TRACKED) as PagingDomain
  domain.map(0n, CLIENT, 0x20_0000n, { read: true, write: true })
  const hasSsade = (slot: number): boolean => (BigInt(tape.words(tape.pasidEntry(8, slot), 1)[0]) & SSADE) !== 0n
  /** D, bit 9 of the one large leaf; the table of level 1 is two below the root. [VTD 9.8] */
  const isDirty = (): boolean => {
    let table = domain.root
    for (let level = 0; level < 2; level++) table = Number(BigInt(tape.words(table, 1)[0]) & 0xffff_ffff_f000n)
    return (BigInt(tape.words(table, 1)[0]) & 0x200n) !== 0n
  }
  return { host, device, tape, domain, hasSsade, isDirty }
}

describe('a domain whose writes are logged', () => {
  it('has SSADE in every entry, those of nested domains and of later attachments included', () => {
    const { host, device, tape, domain, hasSsade, isDirty } = setUp()
    guestMaps(host.memory, [0x1000, 0x2000, 0x3000, 0x4000], 0x7000n, BigInt(0x8000 | FS_RW))
    const user = makeUser(host, device, domain, 0x1000)
    device.set(RID_SLOT, domain, null)
    device.set(5, user, null)
    expect([hasSsade(RID_SLOT), hasSsade(5)]).toEqual([false, false])
    expect(dma(device, 0n, 'w')).toBe('0x100000000')
    expect(isDirty()).toBe(false)

    tape.clear()
    domain.dirty?.setTracking(true)
    expect([hasSsade(RID_SLOT), hasSsade(5)]).toEqual([true, true])
    // One store, PC PASID, IOTLB domain; each seen done.
    const own = tape.lines(tape.pasidEntry(8, RID_SLOT))
    expect(own.length).toBe(9)
    expect(own[0]).toMatch(/^q0 <- 0x[0-9a-f]+289$/)
    expect(own.slice(1, 5)).toEqual(['0x20017 0x0', 'wait', '0x200e2 0x0', 'wait'])
    expect(own.slice(5)).toEqual(['0x500030017 0x0', 'wait', '0x300e2 0x0', 'wait'])
    device.set(6, user, null)
    expect(hasSsade(6)).toBe(true)
    expect(dma(device, 0n)).toBe('0x100000000')
    expect(isDirty()).toBe(false)
    expect(dma(device, 0n, 'w')).toBe('0x100000000')
    expect(isDirty()).toBe(true)

    domain.dirty?.setTracking(false)
    expect([RID_SLOT, 5, 6].map(hasSsade)).toEqual([false, false, false])
  })

  it('changes nothing when it is so already', () => {
    const { device, tape, domain } = setUp()
    device.set(5, domain, null)
    tape.clear()
    domain.dirty?.setTracking(false)
    expect(tape.descriptors()).toEqual([])
  })

  it('was made so; another has no log', () => {
    const { host, device } = setUp()
    expect(host.driver.createPaging(device, PLAIN).dirty).toBeUndefined()
    expect(host.driver.createPaging(device, NEST_PARENT).dirty).toBeUndefined()
  })

  it('is EOPNOTSUPP on a unit without second-stage dirty flags', () => {
    // ECAP without SSADS, bit 45.
    const host = makeHost({ overrides: { ECAP: [0x84000fc3, 0x0013c99c] } })
    expect(() => host.driver.createPaging(host.probe(8), TRACKED)).toThrow(/ECAP\.SSADS/)
  })

  it('is told as a capability in scalable mode with SSADS and SMPWCS', () => {
    const tells = (options: Parameters<typeof makeHost>[0]): boolean =>
      (makeHost(options).probe(8).capabilities & HW_CAPABILITY.DIRTY_TRACKING) !== 0
    expect(tells({})).toBe(true)
    expect(tells({ preset: 'vtd-full' })).toBe(true)
    expect(tells({ overrides: { ECAP: [0x84000fc3, 0x0013c99c] } })).toBe(false)
    // Without EAFS, SSADS and SMPWCS: bits 34, 45, 48.
    expect(tells({ overrides: { ECAP: [0x84000fc3, 0x0012c998] } })).toBe(false)
    expect(tells({ preset: 'vtd-legacy' })).toBe(false)
  })
})

/** Tracked 4 KiB pages at 0x1000 to 0x3fff and 2 MiB ones at 1 GiB; nothing was written since. */
function logged(flags: PagingFlags = { ...TRACKED, nestParent: false }) {
  const host = makeHost()
  const device = host.probe(8, true)
  const domain = host.driver.createPaging(device, flags) as PagingDomain
  domain.map(0x1000n, CLIENT + 0x1000, 0x3000n, { read: true, write: true })
  domain.map(0x4000_0000n, CLIENT, 0x60_0000n, { read: true, write: true })
  domain.dirty?.setTracking(true)
  /** Every dirty leaf of a range, however many calls that takes. */
  const collect = (start: bigint, last: bigint, clears = false): string[] => {
    const found: string[] = []
    for (let at: bigint | undefined = start; at !== undefined; ) {
      at = domain.dirty?.collect(at, last, clears, (iova, length) => {
        found.push(`${iova.toString(16)}+${length.toString(16)}`)
      })
    }
    return found
  }
  return { host, device, domain, collect }
}

describe('the log of writes', () => {
  it('tells the leaves that were written, and nothing for reads', () => {
    const { device, domain, collect } = logged()
    device.set(RID_SLOT, domain, null)
    device.set(5, domain, null)
    expect(collect(0x1000n, 0x3fffn)).toEqual([])
    dma(device, 0x1008n)
    dma(device, 0x2008n, 'w')
    dma(device, 0x3ff8n, 'w', 5)
    expect(collect(0x1000n, 0x3fffn)).toEqual(['2000+1000', '3000+1000'])
    expect(collect(0x2000n, 0x2fffn)).toEqual(['2000+1000'])
  })

  it('tells a large leaf as all that it maps within the range, and ends at a hole', () => {
    const { device, domain, collect } = logged()
    device.set(RID_SLOT, domain, null)
    dma(device, 0x4020_0000n, 'w')
    dma(device, 0x1000n, 'w')
    expect(collect(0x4000_0000n, 0x405f_ffffn)).toEqual(['40200000+200000'])
    expect(collect(0x4021_0000n, 0x4021_ffffn)).toEqual(['40210000+10000'])
    expect(collect(0x0n, 0x3fffn)).toEqual([])
    expect(collect(0x1000n, 0x405f_ffffn)).toEqual(['1000+1000'])
  })

  it('is cleared with a flush, without which a cached translation sets no flag', () => {
    const { device, domain, collect } = logged()
    device.set(RID_SLOT, domain, null)
    dma(device, 0x2000n, 'w')
    expect(collect(0x1000n, 0x3fffn, true)).toEqual(['2000+1000'])
    dma(device, 0x2000n, 'w')
    expect(collect(0x1000n, 0x3fffn)).toEqual([])
    domain.flush()
    dma(device, 0x2000n, 'w')
    expect(collect(0x1000n, 0x3fffn)).toEqual(['2000+1000'])
    domain.flush()
    expect(collect(0x1000n, 0x3fffn)).toEqual(['2000+1000'])
  })

  it('is flushed by page, as an unmap is, and not where nothing was cleared', () => {
    const { host, device, domain, collect } = logged()
    device.set(RID_SLOT, domain, null)
    const tape = new Tape(host)
    dma(device, 0x2000n, 'w')
    collect(0x1000n, 0x3fffn)
    domain.flush()
    expect(tape.descriptors()).toEqual([])
    collect(0x1000n, 0x3fffn, true)
    domain.flush()
    // IOTLB, page-selective, DR and DW, domain-id 2, IH.
    expect(tape.descriptors()).toEqual(['0x200f2 0x2040'])
  })

  it('of a nesting parent has what guests write through their own tables, and clears it', () => {
    const { host, device, domain, collect } = logged(TRACKED)
    // The guest's tables stand at guest-physical 0x10000, and lead 0x7000 into a large page.
    domain.map(0x1_0000n, CLIENT + 0x1_0000, 0x4000n, { read: true, write: true })
    guestMaps(host.memory, [0x1_0000, 0x1_1000, 0x1_2000, 0x1_3000], 0x7000n, 0x4020_0000n | BigInt(FS_RW))
    const user = makeUser(host, device, domain, 0x1_0000)
    device.set(5, user, null)
    expect(dma(device, 0x7010n, 'w', 5)).toBe('0x100200010')
    expect(collect(0x4000_0000n, 0x405f_ffffn)).toContain('40200000+200000')
    collect(0x4000_0000n, 0x405f_ffffn, true)
    domain.flush()
    expect(collect(0x4000_0000n, 0x405f_ffffn)).toEqual([])
    expect(dma(device, 0x7010n, 'w', 5)).toBe('0x100200010')
    expect(collect(0x4000_0000n, 0x405f_ffffn)).toContain('40200000+200000')
  })

  it('is switched on and off while devices are attached, and off it grows no more', () => {
    const { device, domain, collect } = logged()
    device.set(RID_SLOT, domain, null)
    dma(device, 0x1000n, 'w')
    domain.dirty?.setTracking(false)
    dma(device, 0x2000n, 'w')
    expect(collect(0x1000n, 0x3fffn, true)).toEqual(['1000+1000'])
    domain.flush()
    domain.dirty?.setTracking(true)
    dma(device, 0x2000n, 'w')
    expect(collect(0x1000n, 0x3fffn)).toEqual(['2000+1000'])
  })

  it('is cheap where nothing was written: an entry with a stamp is read, and no others', () => {
    const { host, device, domain } = logged()
    device.set(RID_SLOT, domain, null)
    // A page beyond what a 2 MiB leaf could begin at: 64 full tables.
    domain.map(0x80_0000_0000n, CLIENT + 0x1000, 32n * 2n ** 20n, { read: true, write: true })
    dma(device, 0x80_0020_3000n, 'w')
    let loads = 0
    const { memory } = host
    const load = memory.loadWord.bind(memory)
    memory.loadWord = (at) => {
      loads++
      return load(at)
    }
    const found: number[] = []
    domain.dirty?.collect(0x80_0000_0000n, 0x80_01ff_ffffn, false, (iova) => found.push(iova))
    expect([found, loads]).toEqual([[0x80_0020_3000], 1])
  })
})
