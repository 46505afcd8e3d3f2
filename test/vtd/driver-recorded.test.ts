/**
 * Units as QEMU tells them, with the registers that a kernel read on them or on their like: what can be made and attached
 * there, errno by errno. The words are a recorded machine's, and its like with other options. [VTD 11.4.2, 11.4.3]
 */

import { describe, expect, it } from 'vitest'
import { type DomainOps, HW_CAPABILITY, type PagingFlags, type Refusal, RID_SLOT } from '../../server/core/driver.js'
import type { PagingDomain } from '../../server/drivers/vtd/paging.js'
import { CLIENT, dma, makeHost, makeUser, NEST_PARENT, PLAIN } from './host.js'

const RW = { read: true, write: true }

/** As read: 39 and 48 bits, 2 MiB and 1 GiB, ESRTPS. */
const CAP = 0x80d2008c222f0606n
/** QI, IR, PT, IRO, MHMV. */
const LEGACY = 0x00f00f4an
/** As read: scalable mode (43), second stage (46), PASIDs (40) of 20 bits, SRS (31). */
const SECOND = 0x0000499880f00f4an
/** First stage (47) in place of the second, with its 1 GiB pages (CAP 56), without SRS. */
const FIRST = 0x0000899800f00f4an
const CM = 1n << 7n
const FS1GP = 1n << 56n
const DT = 1n << 2n
const SC = 1n << 7n
const PASID = 0x0000019800000000n

/** SAGAW and MGAW of 39 bits in place of 48. */
const narrow = (cap: bigint): bigint => (cap & ~0x3f1f00n) | 0x260200n

const halves = (word: bigint) => [Number(word & 0xffffffffn), Number(word >> 32n)] as const

function makeUnit(cap: bigint, ecap: bigint) {
  const host = makeHost({ overrides: { VER: 0x10, CAP: halves(cap), ECAP: halves(ecap) } })
  return { host, device: host.probe(0x18), plain: host.probe(0x20) }
}

function nameOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    return (error as Refusal).name
  }
  return 'none'
}

/** Every mix of NEST_PARENT, DIRTY_TRACKING and PASID: the stage and the last address, or the errno. */
function kinds(cap: bigint, ecap: bigint): string[] {
  const { host, device } = makeUnit(cap, ecap)
  return [...Array(8).keys()].map((bits) => {
    const flags: PagingFlags = {
      nestParent: (bits & 1) !== 0,
      dirtyTracking: (bits & 2) !== 0,
      pasid: (bits & 4) !== 0,
    }
    let domain: PagingDomain | undefined
    const name = nameOf(() => {
      domain = host.driver.createPaging(device, flags) as PagingDomain
    })
    return domain === undefined ? name : `${domain.stage} 0x${domain.aperture.last.toString(16)}`
  })
}

const NO = 'EOPNOTSUPP'
const SECOND_48 = 'second 0xffffffffffff'
const FIRST_47 = 'first 0x7fffffffffff'

describe('domains of a unit', () => {
  it.each([
    ['in legacy mode', CAP, LEGACY, SECOND_48],
    ['in legacy mode with 39 bits', narrow(CAP), LEGACY, 'second 0x7fffffffff'],
    ['in legacy mode with caching mode and device TLBs', CAP | CM, LEGACY | DT, SECOND_48],
    ['with a second stage alone', CAP, SECOND, SECOND_48],
    ['with a second stage alone, of 39 bits', narrow(CAP), SECOND, 'second 0x7fffffffff'],
    ['with a first stage alone', CAP | FS1GP, FIRST, FIRST_47],
    ['with a first stage alone, and MGAW 39', narrow(CAP), FIRST, 'first 0x3fffffffff'],
  ])('%s are plain or for PASIDs, and nothing else', (_, cap, ecap, stage) => {
    expect(kinds(cap, ecap)).toEqual([stage, NO, NO, NO, stage, NO, NO, NO])
  })
})

describe('a device behind such a unit', () => {
  const units: [string, bigint, bigint][] = []
  for (const [name, cap, ecap] of [
    ['legacy', CAP, LEGACY],
    ['second stage', CAP, SECOND],
    ['second stage without PASIDs', CAP, SECOND & ~PASID],
    ['first stage', CAP | FS1GP, FIRST],
    ['first stage without PASIDs', CAP, FIRST & ~PASID],
  ] as const) {
    for (const [more, capBits, ecapBits] of [
      ['', 0n, 0n],
      [', caching mode', CM, 0n],
      [', device TLBs and snoop control', 0n, DT | SC],
    ] as const) {
      units.push([`${name}${more}`, cap | capBits, ecap | ecapBits])
      units.push([`${name}${more}, 39 bits`, narrow(cap | capBits), ecap | ecapBits])
    }
  }

  it.each(units)('%s: is attached by RID and PASID where there are any, mapped, and blocked again', (_, cap, ecap) => {
    const { host, device, plain } = makeUnit(cap, ecap)
    const hasPasids = (ecap & PASID) !== 0n
    expect(device.maxPasids).toBe(hasPasids ? 2 ** 20 : 0)
    // The device's own bits of PASID, EXEC and PRIV, and no ATS.
    const { PCI_PASID_EXEC, PCI_PASID_PRIV, PCI_ATS_NOT_SUPPORTED } = HW_CAPABILITY
    const ofPasids = hasPasids ? PCI_PASID_EXEC | PCI_PASID_PRIV : 0
    expect(device.capabilities).toBe(ofPasids | PCI_ATS_NOT_SUPPORTED)
    const [one, two] = [PLAIN, PLAIN].map((flags) => host.driver.createPaging(device, flags))
    one.map(0x1000n, CLIENT, 0x20_1000n, RW)
    two.map(0x1000n, CLIENT + 0x5000, 0x1000n, RW)
    for (const slot of hasPasids ? [RID_SLOT, 5] : [RID_SLOT]) {
      const pasid = slot === RID_SLOT ? undefined : slot
      device.set(slot, one, null)
      expect(dma(device, 0x1008n, 'w', pasid)).toBe('0x100000008')
      device.set(slot, two, one)
      expect(dma(device, 0x1008n, 'w', pasid)).toBe('0x100005008')
      two.unmap(0x1000n, 0x1000n)
      two.flush()
      expect(dma(device, 0x1008n, 'w', pasid)).not.toMatch(/^0x1/)
      two.map(0x1000n, CLIENT + 0x5000, 0x1000n, RW)
      device.clear(slot, two)
      expect(dma(device, 0x1008n, 'w', pasid)).not.toMatch(/^0x1/)
    }
    if (!hasPasids) expect(nameOf(() => device.set(5, one, null))).toBe(NO)
    // A fault queue asks for page requests, which no such unit takes.
    one.takesFaults = true
    expect(nameOf(() => plain.set(RID_SLOT, one, null))).toBe('ENODEV')
  })

  it('has no user domains: EOPNOTSUPP, whatever the parent', () => {
    for (const [, cap, ecap] of units) {
      const { host, device } = makeUnit(cap, ecap)
      const parent = host.driver.createPaging(device, PLAIN)
      expect(nameOf(() => makeUser(host, device, parent, 0x1000))).toBe(NO)
      expect(nameOf(() => host.driver.createPaging(device, NEST_PARENT))).toBe(NO)
    }
  })

  it('passes untranslated where the unit lets it', () => {
    for (const [, cap, ecap] of units) {
      const { host, device } = makeUnit(cap, ecap)
      device.set(RID_SLOT, host.driver.identity as unknown as DomainOps, null)
      expect(dma(device, BigInt(CLIENT) + 8n)).toBe('0x100000008')
    }
  })
})
