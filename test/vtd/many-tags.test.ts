/** More requesters, domain-ids and PASIDs than the caches can tell apart: all is forgotten, and nothing is mixed up. */

import { describe, expect, it } from 'vitest'
import { Guest, IQ, MODE, SS } from './guest.js'

const PAGE = 0x40_0000n
const SECOND = 0x140000
const TARGETS = [0x30_0000n, 0x30_1000n] as const

describe('a unit that meets more tags than it has numbers for', () => {
  it('forgets translations of all requesters at once', () => {
    const guest = new Guest({ preset: 'vtd-legacy', caches: { names: 8192 } })
    // Every bus has the same context table: second stage, AW 2, domain 3.
    for (let bus = 0; bus < 34; bus++) guest.store(0x1000 + bus * 16, 0x2001n, 0n)
    for (let devfn = 0; devfn < 256; devfn++) guest.store(0x2000 + devfn * 16, BigInt(SECOND) | 1n, 0x302n)
    guest.path(SECOND, PAGE, TARGETS[0] | SS.RW, SS.RW)
    guest.start(MODE.LEGACY)
    for (let sid = 0; sid < 8192; sid++) guest.dma(PAGE, 'r', -1, sid)
    expect([guest.dma(PAGE, 'r', -1, 8191), guest.out.hit]).toEqual(['0x300000', 1])
    expect(guest.dma(PAGE, 'r', -1, 8192)).toBe('0x300000')
    expect(guest.unit.iotlbEntries).toBe(1)
    guest.store(SECOND + 0x3000, TARGETS[1] | SS.RW)
    // Those before have no translation any more, and the last one has its own.
    expect([guest.dma(PAGE, 'r', -1, 0), guest.dma(PAGE, 'r', -1, 8192)]).toEqual(['0x301000', '0x300000'])
  })

  it('forgets what was made under all domain-ids at once', () => {
    const guest = new Guest({ caches: { names: 8192 } })
    guest.startScalable()
    guest.startQueue()
    guest.path(SECOND, PAGE, TARGETS[0] | SS.RW, SS.RW)
    guest.secondStage(2, 9000, SECOND)
    guest.dma(PAGE, 'r', 2)
    for (let did = 1; did <= 8200; did++) {
      guest.secondStage(1, did, SECOND)
      guest.queue(IQ.pasid(did - 1, 1))
      // A new domain-id has neither translations nor tables of the one before, once that is invalidated.
      guest.queue(IQ.piotlb(did - 1, 1))
      expect(guest.dma(PAGE, 'r', 1)).toBe('0x300000')
    }
    // The PASID entry that was cached all the while gets new numbers, and is invalidated by them.
    expect(guest.dma(PAGE, 'r', 2)).toBe('0x300000')
    guest.store(SECOND + 0x3000, TARGETS[1] | SS.RW)
    expect([guest.dma(PAGE, 'r', 1), guest.dma(PAGE, 'r', 2)]).toEqual(['0x300000', '0x300000'])
    guest.queue(IQ.iotlbDomain(9000))
    expect([guest.dma(PAGE, 'r', 1), guest.dma(PAGE, 'r', 2)]).toEqual(['0x300000', '0x301000'])
    guest.queue(IQ.iotlbDomain(8200))
    expect(guest.dma(PAGE, 'r', 1)).toBe('0x301000')
  })
})
