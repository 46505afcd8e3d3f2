/** SSADE: the log of writes is a property of the tables, so every entry that names them has it. [VTD 6.2.3.1] */

import { describe, expect, it } from 'vitest'
import { type PagingFlags, RID_SLOT } from '../../server/core/driver.js'
import type { PagingDomain } from '../../server/drivers/vtd/paging.js'
import { Tape } from './driver-tape.js'
import { CLIENT, dma, FS_RW, guestMaps, makeHost, makeUser, PLAIN } from './host.js'

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
    domain.setDirtyTracking(true)
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

    domain.setDirtyTracking(false)
    expect([RID_SLOT, 5, 6].map(hasSsade)).toEqual([false, false, false])
  })

  it('changes nothing when it is so already', () => {
    const { device, tape, domain } = setUp()
    device.set(5, domain, null)
    tape.clear()
    domain.setDirtyTracking(false)
    expect(tape.descriptors()).toEqual([])
  })

  it('was made so; another is EOPNOTSUPP', () => {
    const { host, device } = setUp()
    const plain = host.driver.createPaging(device, PLAIN) as PagingDomain
    expect(() => plain.setDirtyTracking(true)).toThrow(/DIRTY_TRACKING/)
  })

  it('is EOPNOTSUPP on a unit without second-stage dirty flags', () => {
    // ECAP without SSADS, bit 45.
    const host = makeHost({ overrides: { ECAP: [0x84000fc3, 0x0013c99c] } })
    expect(() => host.driver.createPaging(host.probe(8), TRACKED)).toThrow(/ECAP\.SSADS/)
  })
})
