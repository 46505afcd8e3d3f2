/**
 * Tables that break the manual's programming rules: no check stands against them, and what follows is what the caches
 * then do. [VTD 6.2.2.1 Context-Entry Programming Considerations, 6.2.3.1 Scalable-Mode PASID-Table Entry Programming
 * Considerations, 9.3 DID, 9.6 DID]
 */

import { describe, expect, it } from 'vitest'
import { Guest, IQ, MODE, PASIDS, SID, SS } from './guest.js'
import { Tables } from './tables.js'

const OTHER = 0x10
const TERABYTE = 1n << 40n
const ONE = 0x10_0000
const TWO = 0x20_0000

/** Two trees; an address under one top-level entry of the first, and under another of the second. */
function trees(guest: Guest): { readonly one: Tables; readonly two: Tables } {
  const one = new Tables(guest, ONE, 4, SS.RW)
  const two = new Tables(guest, TWO, 4, SS.RW)
  one.map(0n, 0x30_0000n | SS.RW)
  two.map(TERABYTE, 0x40_0000n | SS.RW)
  return { one, two }
}

describe('one domain-id over different tables', () => {
  /** Two functions with PASID tables of their own, domain 7 in both. */
  function scalable(entries = 1024): { readonly guest: Guest; readonly one: Tables; readonly two: Tables } {
    const guest = new Guest({ caches: { walk2: { entries, ways: 1 } } })
    guest.startScalable()
    guest.startQueue()
    guest.store(0x2000 + OTHER * 32, 0x8009n, 0n, 0n, 0n)
    guest.store(0x8000, 0x9001n)
    guest.store(0x9000, BigInt(TWO) | 0x89n, 7n | (1n << 23n))
    guest.secondStage(0, 7, ONE)
    return { guest, ...trees(guest) }
  }

  it('lets a function walk through the other one of the domain, whose paging-structure entries it finds', () => {
    const { guest } = scalable()
    expect([guest.dma(0n), guest.dma(TERABYTE, 'r', -1, OTHER)]).toEqual(['0x300000', '0x400000'])
    expect([guest.dma(TERABYTE), guest.dma(0n, 'r', -1, OTHER)]).toEqual(['0x400000', '0x300000'])
  })

  it('lets each function use its own without such entries, and one flush reaches both', () => {
    const { guest, one, two } = scalable(0)
    const ends = (): string[] => [guest.dma(0n), guest.dma(TERABYTE, 'r', -1, OTHER)]
    expect(ends()).toEqual(['0x300000', '0x400000'])
    expect([guest.dma(TERABYTE), guest.dma(0n, 'r', -1, OTHER)]).toEqual(['fault 0x79', 'fault 0x79'])
    one.map(0n, 0x50_0000n | SS.RW)
    two.map(TERABYTE, 0x60_0000n | SS.RW)
    expect(ends()).toEqual(['0x300000', '0x400000'])
    guest.queue(IQ.iotlbDomain(7))
    expect(ends()).toEqual(['0x500000', '0x600000'])
  })

  it('drops the cached entries of both functions at once', () => {
    const { guest } = scalable()
    expect([guest.dma(0n), guest.dma(TERABYTE, 'r', -1, OTHER)]).toEqual(['0x300000', '0x400000'])
    guest.store(PASIDS, 0n)
    guest.store(0x9000, 0n)
    guest.queue(IQ.iotlbAll)
    expect([guest.dma(0n), guest.dma(TERABYTE, 'r', -1, OTHER)]).toEqual(['0x300000', '0x400000'])
    guest.queue(IQ.pasidsDomain(7), IQ.iotlbAll)
    expect([guest.dma(0n), guest.dma(TERABYTE, 'r', -1, OTHER)]).toEqual(['fault 0x59', 'fault 0x59'])
  })

  it('does the same in legacy mode', () => {
    const guest = new Guest()
    guest.store(0x1000, 0x2001n, 0n)
    guest.store(0x2000 + SID * 16, BigInt(ONE) | 1n, 0x702n)
    guest.store(0x2000 + OTHER * 16, BigInt(TWO) | 1n, 0x702n)
    const { one, two } = trees(guest)
    guest.start(MODE.LEGACY)
    guest.startQueue(false)
    const ends = (): string[] => [guest.dma(0n), guest.dma(TERABYTE, 'r', -1, OTHER)]
    expect(ends()).toEqual(['0x300000', '0x400000'])
    one.map(0n, 0x50_0000n | SS.RW)
    two.map(TERABYTE, 0x60_0000n | SS.RW)
    guest.queue(IQ.iotlbDomain(7))
    expect(ends()).toEqual(['0x500000', '0x600000'])
  })
})

describe('a present entry that is overwritten', () => {
  it('with another domain-id keeps what the old one filled, until the old one is flushed', () => {
    const guest = new Guest()
    guest.startScalable()
    guest.startQueue()
    const { one } = trees(guest)
    guest.secondStage(0, 7, ONE)
    expect(guest.dma(0n)).toBe('0x300000')
    guest.secondStage(0, 8, TWO)
    guest.queue(IQ.pasid(7, 0), IQ.iotlbDomain(8))
    expect(guest.dma(0n)).toBe('0x300000')
    guest.queue(IQ.iotlbDomain(7))
    expect(guest.dma(0n)).toBe('fault 0x79')
    one.map(0n, 0n)
    expect(guest.dma(TERABYTE)).toBe('0x400000')
  })

  it('with another type under the same domain-id does the same, and one flush takes both', () => {
    const guest = new Guest()
    guest.startScalable()
    guest.startQueue()
    trees(guest)
    guest.secondStage(0, 7, ONE)
    expect(guest.dma(0n)).toBe('0x300000')
    guest.passThrough(0, 7)
    guest.queue(IQ.pasid(7, 0))
    expect([guest.dma(0n), guest.dma(TERABYTE)]).toEqual(['0x300000', '0x10000000000'])
    guest.store(PASIDS, 0n)
    guest.queue(IQ.pasid(7, 0), IQ.iotlbDomain(7))
    expect([guest.dma(0n), guest.dma(TERABYTE)]).toEqual(['fault 0x59', 'fault 0x59'])
  })
})

describe('domain-id 0 and those beyond ND', () => {
  it('0 is a domain like any other while CM is 0', () => {
    const guest = new Guest()
    guest.startScalable()
    guest.startQueue()
    const { one } = trees(guest)
    guest.secondStage(0, 0, ONE)
    expect(guest.dma(0n)).toBe('0x300000')
    one.map(0n, 0x50_0000n | SS.RW)
    guest.queue(IQ.iotlbDomain(0))
    expect(guest.dma(0n)).toBe('0x500000')
  })

  it.each([0, 1, 2, 3, 4, 5, 6])('with ND %i its bits beyond the width are reserved in both kinds of entry', (nd) => {
    const width = 4 + 2 * nd
    const ids = { CAP: [0x226f_0600 | nd, 0x81d2_078c] as [number, number] }
    for (let bit = 0; bit < 16; bit++) {
      const scalable = new Guest({ ids })
      scalable.startScalable()
      scalable.secondStage(0, 1 << bit, ONE)
      expect(scalable.dma(0n), `${bit}`).toBe(bit < width ? 'fault 0x79' : 'fault 0x5a')
      const legacy = new Guest({ ids })
      legacy.store(0x1000, 0x2001n, 0n)
      legacy.store(0x2000 + SID * 16, BigInt(ONE) | 1n, 2n | (1n << BigInt(8 + bit)))
      legacy.start(MODE.LEGACY)
      expect(legacy.dma(0n), `${bit}`).toBe(bit < width ? 'fault 0x6' : 'fault 0xb')
    }
  })
})
