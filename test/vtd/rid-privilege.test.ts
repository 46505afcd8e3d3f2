/** ECAP.RPRIVS: the privilege of requests without PASID. [VTD 9.4 RID_PRIV] */

import { describe, expect, it } from 'vitest'
import { AtsGuest, CONTEXT } from './ats-guest.js'
import { FS, Guest, IQ, REG } from './guest.js'

const PAGE = 0x40_0000n
const FIRST = 0x100000
const SRE = 1n
const WPE = 0x10n
const RID_PRIV = 1n << 20n
/** Present, read-only, for supervisors. */
const SUPERVISOR = 0x200000n | FS.P

function rid(leaf: bigint, flags: bigint, qw1 = RID_PRIV, preset: 'vtd-full' | 'vtd-scalable' = 'vtd-full'): Guest {
  const guest = new Guest({ preset })
  guest.startScalable()
  guest.startQueue()
  guest.store(guest.context + 8, qw1)
  guest.path(FIRST, PAGE, leaf, FS.TABLE)
  guest.firstStage(0, 2, FIRST, flags)
  guest.firstStage(1, 2, FIRST, flags)
  return guest
}

describe('RID_PRIV', () => {
  it('makes requests without PASID privileged', () => {
    expect(rid(SUPERVISOR, SRE, 0n).dma(PAGE)).toBe('fault 0x81')
    expect(rid(SUPERVISOR, SRE).dma(PAGE)).toBe('0x200000')
    expect(rid(SUPERVISOR, SRE).dma(PAGE, 'w')).toBe('0x200000')
    expect(rid(SUPERVISOR, SRE | WPE).dma(PAGE, 'w')).toBe('fault 0x85')
  })

  it('leaves those with a PASID to ask for it themselves', () => {
    const guest = rid(SUPERVISOR, SRE)
    expect(guest.dma(PAGE, 'r', 1)).toBe('fault 0x81')
    expect(guest.dma(PAGE, 'rp', 1)).toBe('0x200000')
  })

  it('needs SRE', () => {
    const guest = rid(SUPERVISOR, 0n)
    expect(guest.dma(PAGE)).toBe('fault 0x5d')
    // PP and PRIV tell of the request itself, which carried neither.
    expect((guest.read(REG.FRCD + 8, 8) >> 28n) & 0xfn).toBe(0n)
  })

  it('does not count what a request without PASID says of itself', () => {
    expect(rid(SUPERVISOR, SRE, 0n).dma(PAGE, 'rpx')).toBe('fault 0x81')
    expect(rid(0x200000n | FS.PAGE, 0n, 0n).dma(PAGE, 'rpx')).toBe('0x200000')
  })

  it('is reserved on a unit without it', () => {
    expect(rid(SUPERVISOR, SRE, RID_PRIV, 'vtd-scalable').dma(PAGE)).toBe('fault 0x42')
  })

  it('stays in the IOTLB with the rights that it gave, as long as those are not flushed', () => {
    const guest = rid(SUPERVISOR | FS.D | FS.A, SRE)
    expect(guest.dma(PAGE, 'w')).toBe('0x200000')
    expect(guest.dma(PAGE, 'w')).toBe('0x200000')
    expect([guest.out.hit, guest.out.rights]).toEqual([1, 3])
    guest.store(guest.context + 8, 0n)
    guest.queue(IQ.contextsAll)
    expect(guest.dma(PAGE, 'w')).toBe('0x200000')
    guest.queue(IQ.iotlbAll)
    expect(guest.dma(PAGE, 'w')).toBe('fault 0x81')
  })

  it('writes through a read-only page only where R/W lets it, from the IOTLB as from the tables', () => {
    const guest = rid(SUPERVISOR, SRE | WPE)
    expect(guest.dma(PAGE)).toBe('0x200000')
    expect(guest.out.rights).toBe(1)
    expect(guest.dma(PAGE, 'w')).toBe('fault 0x85')
    expect(guest.dma(PAGE, '')).toBe('0x200000')
    expect(guest.out.hit).toBe(1)
  })

  it('tells a device that asks without PASID what a privileged request may do', () => {
    const ask = (flags: bigint, qw1: bigint, access = 'rw'): string => {
      // SRS and RPRIVS.
      const guest = new AtsGuest({ offers: 1n << 53n })
      guest.startScalable(CONTEXT.PASID)
      guest.store(guest.context + 8, qw1)
      guest.path(FIRST, PAGE, SUPERVISOR, FS.TABLE)
      guest.firstStage(0, 2, FIRST, flags)
      const first = guest.ask(PAGE, access)
      // The same from the IOTLB.
      expect(guest.ask(PAGE, access)).toBe(first)
      return first
    }
    expect(ask(SRE, RID_PRIV)).toBe('rw 0x200000/12')
    expect(ask(SRE, RID_PRIV, 'r')).toBe('r 0x200000/12')
    expect(ask(SRE | WPE, RID_PRIV)).toBe('r 0x200000/12')
    expect(ask(SRE, 0n)).toBe('nothing')
    expect(ask(0n, RID_PRIV)).toBe('nothing')
  })
})
