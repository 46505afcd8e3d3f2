/** Levels and widths of kernel-owned domains, by CAP, as Linux works them out. [VTD 3.6, 3.7, 11.4.2 SAGAW, MGAW] */

import { describe, expect, it } from 'vitest'
import { type Refusal, RID_SLOT } from '../../server/core/driver.js'
import type { PagingDomain } from '../../server/drivers/vtd/paging.js'
import { CLIENT, dma, makeHost, makeParent, makeUser, NEST_PARENT, PLAIN } from './host.js'

const RW = { read: true, write: true }

/** The default CAP with other widths: SAGAW in bits 12:8, MGAW - 1 in bits 21:16, FS5LP in bit 60. */
const capOf = (sagaw: number, mgaw: number, has5 = false) => ({
  CAP: [((0x226f0606 & ~0x3f1f00) | (sagaw << 8) | ((mgaw - 1) << 16)) >>> 0, has5 ? 0x91d2078c : 0x81d2078c] as const,
  hawBits: Math.min(mgaw, 52),
})

function shapes(sagaw: number, mgaw: number, has5 = false): string[] {
  const host = makeHost({ overrides: capOf(sagaw, mgaw, has5) })
  const device = host.probe(8)
  return [PLAIN, NEST_PARENT].map((flags) => {
    const domain = host.driver.createPaging(device, flags) as PagingDomain
    const { last } = domain.aperture
    domain.map(last - 0xfffn, CLIENT, 0x1000n, RW)
    device.set(RID_SLOT, domain, null)
    expect(dma(device, last - 0xff8n, 'w')).toBe('0x100000007')
    device.clear(RID_SLOT, domain)
    return `${domain.levels} levels, ${(last + 1n).toString(2).length - 1} bits`
  })
}

describe('the first and the second stage of a unit', () => {
  it.each([
    // SAGAW has 39 bits at 2, 48 at 4, 57 at 8.
    [0b0110, 48, false, '4 levels, 47 bits', '4 levels, 48 bits'],
    [0b0100, 48, false, '4 levels, 47 bits', '4 levels, 48 bits'],
    [0b0010, 48, false, '4 levels, 47 bits', '3 levels, 39 bits'],
    [0b0010, 39, false, '4 levels, 38 bits', '3 levels, 39 bits'],
    [0b0110, 39, false, '4 levels, 38 bits', '4 levels, 39 bits'],
    [0b0100, 42, false, '4 levels, 41 bits', '4 levels, 42 bits'],
    [0b1110, 57, true, '5 levels, 56 bits', '5 levels, 57 bits'],
    [0b1110, 57, false, '4 levels, 47 bits', '5 levels, 57 bits'],
    [0b1100, 52, true, '5 levels, 51 bits', '5 levels, 52 bits'],
    [0b0110, 57, true, '5 levels, 56 bits', '4 levels, 48 bits'],
    // Of 48 bits and less the kernel takes the shortest walk that is beyond four levels, or beyond three.
    [0b1100, 48, true, '4 levels, 47 bits', '5 levels, 48 bits'],
    [0b1110, 39, true, '4 levels, 38 bits', '4 levels, 39 bits'],
    [0b1010, 39, true, '4 levels, 38 bits', '5 levels, 39 bits'],
  ])('of SAGAW %i and MGAW %i, 5-level %s: %s, %s', (sagaw, mgaw, has5, first, second) => {
    expect(shapes(sagaw, mgaw, has5)).toEqual([first, second])
  })
})

describe('a domain with a fault queue', () => {
  /** PRS (29), DT (2) and PDS (42) beside the default ECAP. */
  const PRI = { ECAP: [0xa4000fc7, 0x0013ed9c] } as const
  const NO_DRAIN = { ECAP: [0xa4000fc7, 0x0013e99c] } as const

  function attach(overrides: object, facts: { ats: boolean; pri: boolean }, kind: 'paging' | 'user', slot: number) {
    const host = makeHost({ overrides })
    const device = host.driver.probe({ rid: 8, pasidLg2: 8, ...facts })
    const parent = makeParent(host, device)
    const domain = kind === 'user' ? makeUser(host, device, parent, 0x1000) : host.driver.createPaging(device, PLAIN)
    const old = host.driver.createPaging(device, PLAIN)
    old.map(0n, CLIENT, 0x1000n, RW)
    device.set(slot, old, null)
    domain.takesFaults = true
    let name = 'none'
    try {
      device.set(slot, domain, old)
    } catch (error) {
      name = (error as Refusal).name
    }
    return [name, dma(device, 8n, 'r', slot === RID_SLOT ? undefined : slot)]
  }

  const BOTH = { ats: true, pri: true }
  const kinds = [
    ['paging', RID_SLOT],
    ['paging', 5],
    ['user', RID_SLOT],
    ['user', 5],
  ] as const

  it.each(kinds)('of kind %s in slot %i is ENODEV where the device has no PRI, or the unit lacks it', (kind, slot) => {
    const answer = ['ENODEV', slot === RID_SLOT ? '0x59 SPT.2' : '0x100000008']
    for (const facts of [
      { ats: false, pri: false },
      { ats: true, pri: false },
      { ats: false, pri: true },
    ]) {
      expect(attach(PRI, facts, kind, slot)).toEqual(answer)
    }
    expect(attach({}, BOTH, kind, slot)).toEqual(answer)
    expect(attach(NO_DRAIN, BOTH, kind, slot)).toEqual(answer)
    expect(attach(PRI, BOTH, kind, slot)[0]).toBe('none')
  })

  it('is ENODEV in legacy mode', () => {
    const host = makeHost({ preset: 'skylake-sp' })
    const device = host.driver.probe({ rid: 8, pasidLg2: 0, ...BOTH })
    const domain = host.driver.createPaging(device, PLAIN)
    domain.takesFaults = true
    expect(() => device.set(RID_SLOT, domain, null)).toThrow(/no page requests/)
  })

  it('is looked at after the parent and before the guest’s own data', () => {
    const host = makeHost()
    const device = host.probe(8)
    const other = makeHost()
    const bad = makeUser(host, device, makeParent(other, other.probe(8)), 0x1000)
    bad.takesFaults = true
    expect(() => device.set(RID_SLOT, bad, null)).toThrow(/nesting parent was made for/)
  })
})
