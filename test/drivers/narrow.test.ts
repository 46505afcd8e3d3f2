/** Machines whose units have narrow physical addresses. */

import { describe, expect, it } from 'vitest'
import { createMachine, type UnitSpec } from '../../server/drivers/machine.js'

const files = { roots: [], map: () => Promise.reject(new Error('no file')) as never }
const PAGE = 4096

function machineOf(...units: UnitSpec[]) {
  const devices = units.map(({ name }, at) => ({
    name: `0000:00:0${at + 1}.0`,
    iommu: name,
    pasidBits: 0,
    ats: false,
    pri: false,
  }))
  return createMachine({ platform: { units, devices }, files })
}

/** QEMU's intel-iommu with `aw-bits=39`: SAGAW has 39 bits alone, MGAW is 38. */
const AW_39 = { name: 'narrow', type: 'vtd', registers: { CAP: 0x00d2008c22260206n, ECAP: 0xf00f4an } } as const
/** IDR5.OAS is 40 bits. */
const OAS_40 = { name: 'small', type: 'smmuv3', registers: { IDR5: 0x72n } } as const
const WIDE = { name: 'wide', type: 'smmuv3' } as const

describe("a client's memory", () => {
  it.each([
    ['39 bits of a VT-d unit', [AW_39], 2 ** 39],
    ['40 bits of an SMMUv3', [OAS_40], 2 ** 40],
    ['the narrowest of several units', [WIDE, AW_39, OAS_40], 2 ** 39],
  ])('stands within %s', (_what, units, end) => {
    const machine = machineOf(...units)
    const region = machine.createRegion({ kind: 'anonymous', lengthBytes: 2 ** 31 }, () => {})
    expect(region.address + region.lengthBytes).toBeLessThanOrEqual(end)
    for (const { device, driver } of machine.devices) {
      const domain = driver.createPaging(device, { nestParent: false, dirtyTracking: false, pasid: false })
      const last = region.address + region.lengthBytes - PAGE
      expect(() => domain.map(0x1000n, last, BigInt(PAGE), { read: true, write: true })).not.toThrow()
    }
  })

  it('is ENOMEM beyond the last address, and fits below it', () => {
    const machine = machineOf(AW_39)
    const take = (lengthBytes: number) => machine.createRegion({ kind: 'anonymous', lengthBytes }, () => {})
    expect(() => take(2 ** 39)).toThrow(/no physical addresses/)
    expect(take(2 ** 38).address).toBeGreaterThan(0)
  })
})
