/** Domain-ids: which one a domain gets, when it is given back, and what happens when there is none. */

import { describe, expect, it } from 'vitest'
import { type PagingOps, type Refusal, RID_SLOT } from '../../server/core/driver.js'
import { DomainIds } from '../../server/drivers/vtd/domain-ids.js'
import { Tape } from './driver-tape.js'
import { CLIENT, dma, makeHost, makeParent, makeUser, NEST_PARENT, PLAIN } from './host.js'

describe('domain-ids', () => {
  it('are all of 2^(4 + 2 ND) but 0 and 1, the lowest free one first', () => {
    const ids = new DomainIds(16)
    const wrong: number[] = []
    for (let did = 2; did < 65536; did++) if (ids.alloc() !== did) wrong.push(did)
    expect(wrong).toEqual([])
    expect(() => ids.alloc()).toThrow(/no domain-id left/)
    for (const did of [40000, 3, 65535, 31, 32]) ids.free(did)
    expect([1, 2, 3, 4, 5].map(() => ids.alloc())).toEqual([3, 31, 32, 40000, 65535])
    expect(ids.hasFree).toBe(false)
  })

  it('of four bits are fourteen', () => {
    const ids = new DomainIds(4)
    expect(Array.from({ length: 14 }, () => ids.alloc())).toEqual([2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
    expect(() => ids.alloc()).toThrow(/no domain-id left/)
  })

  it('are freed once, and 0 and 1 never', () => {
    const ids = new DomainIds(4)
    ids.free(ids.alloc())
    for (const did of [0, 1, 2]) expect(() => ids.free(did)).toThrow(/freed once/)
  })
})

/** A unit of 4-bit domain-ids. */
function setUp() {
  const host = makeHost({ overrides: { CAP: [0x226f0600, 0x81d2078c] } })
  const device = host.probe(8)
  const tape = new Tape(host)
  /** DID, the low 16 bits of the second word. [VTD 9.6] */
  const did = (slot: number): number => Number(BigInt(tape.words(tape.pasidEntry(8, slot) + 8, 1)[0]) & 0xffffn)
  const plain = (): PagingOps => host.driver.createPaging(device, PLAIN)
  return { host, device, did, plain }
}

describe('a domain', () => {
  it('has one id on its unit, wherever it is attached, from its first attachment to its last', () => {
    const { host, device, did, plain } = setUp()
    const other = host.probe(16)
    const [one, two] = [plain(), plain()]
    device.set(1, one, null)
    device.set(2, two, null)
    device.set(3, one, null)
    other.set(1, one, null)
    expect([1, 2, 3].map(did)).toEqual([2, 3, 2])
    device.clear(1, one)
    device.clear(3, one)
    device.set(4, plain(), null)
    expect(did(4)).toBe(4)
    other.clear(1, one)
    device.set(5, plain(), null)
    expect(did(5)).toBe(2)
  })

  it('nested has one of its own, and its parent none while only its children are attached', () => {
    const { host, device, did } = setUp()
    const parent = makeParent(host, device)
    const [one, two] = [makeUser(host, device, parent, 0x1000), makeUser(host, device, parent, 0x2000)]
    device.set(1, one, null)
    device.set(2, two, null)
    device.set(RID_SLOT, parent, null)
    expect([1, 2, RID_SLOT].map(did)).toEqual([2, 3, 4])
  })

  it('that finds no id left is ENOSPC, and what was attached stays', () => {
    const { device, plain } = setUp()
    const domains = Array.from({ length: 14 }, plain)
    for (const [i, domain] of domains.entries()) device.set(i, domain, null)
    domains[0].map(0n, CLIENT, 0x1000n, { read: true, write: true })
    domains[3].map(0n, CLIENT, 0x1000n, { read: true, write: true })
    const refused = (slot: number, old: PagingOps | null): string => {
      try {
        device.set(slot, plain(), old)
      } catch (error) {
        return (error as Refusal).name
      }
      return 'none'
    }
    expect(refused(100, null)).toBe('ENOSPC')
    // A PASID takes the new id before it gives up the old one.
    expect(refused(3, domains[3])).toBe('ENOSPC')
    expect(dma(device, 0n, 'r', 3)).toBe('0x100000000')
    expect(refused(RID_SLOT, domains[0])).toBe('none')
    expect(dma(device, 0n)).toBe('0x71 SFS.2')
  })

  it('that finds no id left on a RID whose old domain keeps its own is ENOSPC too', () => {
    const { host, device, plain } = setUp()
    const other = host.probe(16)
    const domains = Array.from({ length: 14 }, plain)
    for (const [i, domain] of domains.entries()) device.set(i, domain, null)
    domains[0].map(0n, CLIENT, 0x1000n, { read: true, write: true })
    other.set(RID_SLOT, domains[0], null)
    expect(dma(device, 0n)).toBe('0x100000000')
    expect(() => device.set(RID_SLOT, plain(), domains[0])).toThrow(/no domain-id left.*; the RID is blocked now/)
    expect(dma(device, 0n)).toBe('0x59 SPT.2')
    // One that is attached somewhere has its id already.
    device.set(RID_SLOT, domains[1], domains[0])
    expect(dma(device, 0n)).toBe('0x71 SFS.2')
  })

  it('nested is replaced even without a free id, by way of an absent entry', () => {
    const { host, device, did, plain } = setUp()
    const parent = makeParent(host, device)
    const [one, two] = [makeUser(host, device, parent, 0x1000), makeUser(host, device, parent, 0x2000)]
    device.set(RID_SLOT, one, null)
    for (let slot = 1; slot < 14; slot++) device.set(slot, plain(), null)
    device.set(RID_SLOT, two, one)
    expect(did(RID_SLOT)).toBe(2)
    expect(device.lastSetWasHitless).toBe(false)
  })

  it('that gets another’s former id finds nothing of the other in any cache', () => {
    const { host, device, did } = setUp()
    const make = (frame: number): PagingOps => {
      const domain = host.driver.createPaging(device, NEST_PARENT)
      domain.map(0n, CLIENT + frame * 4096, 0x1000n, { read: true, write: true })
      return domain
    }
    const [one, two] = [make(1), make(2)]
    device.set(7, one, null)
    expect(dma(device, 0n, 'r', 7)).toBe('0x100001000')
    device.clear(7, one)
    device.set(7, two, null)
    expect(did(7)).toBe(2)
    expect(dma(device, 0n, 'r', 7)).toBe('0x100002000')
  })
})
