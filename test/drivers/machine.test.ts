/** What the machine tells core of its devices. */

import { describe, expect, it } from 'vitest'
import { createMachine } from '../../server/drivers/machine.js'

const files = {
  roots: [],
  map: () => {
    throw new Error('nothing maps files here')
  },
}

describe('a machine', () => {
  it('tells of each device whether the platform gave it ATS and PRI', () => {
    const device = (name: string, ats: boolean, pri: boolean) => ({ name, iommu: 'vtd0', pasidBits: 0, ats, pri })
    const devices = [
      device('0000:00:01.0', false, false),
      device('0000:00:02.0', true, false),
      device('0000:00:03.0', true, true),
    ]
    const machine = createMachine({ platform: { units: [{ name: 'vtd0', type: 'vtd' }], devices }, files })
    expect(machine.devices.map(({ ats, pri }) => [ats, pri])).toEqual([
      [false, false],
      [true, false],
      [true, true],
    ])
  })

  it('gives a unit the registers of a named part, and those that the platform names in their place', () => {
    const units = [
      { name: 'smmu0', type: 'smmuv3', preset: 'full' },
      { name: 'smmu1', type: 'smmuv3', preset: 'full', registers: { IDR5: 0x400075n } },
      { name: 'vtd0', type: 'vtd', preset: 'vtd-full' },
    ] as const
    const machine = createMachine({ platform: { units, devices: [] }, files })
    const id = (index: number, name: string): bigint => machine.units[index].idRegisters.get(name) ?? 0n
    // IDR0.ATS is bit 10 and IDR0.PRI bit 16; ECAP.DT is bit 2 and ECAP.PRS bit 29.
    expect([0, 1].map((index) => [(id(index, 'IDR0') >> 10n) & 1n, (id(index, 'IDR0') >> 16n) & 1n])).toEqual([
      [1n, 1n],
      [1n, 1n],
    ])
    expect([id(1, 'IDR5'), (id(2, 'ECAP') >> 2n) & 1n, (id(2, 'ECAP') >> 29n) & 1n]).toEqual([0x400075n, 1n, 1n])
    const unknown = { units: [{ name: 'u', type: 'vtd', preset: 'nobody' }], devices: [] } as const
    expect(() => createMachine({ platform: unknown, files })).toThrow(/unit u: there is no preset nobody/)
  })

  it('places memory where its narrowest unit reaches', () => {
    // MGAW and SAGAW of 39 bits; IDR5.OAS of 40 bits; the default units reach 44 bits and more.
    const narrow = { name: 'vtd0', type: 'vtd', registers: { CAP: 0x80d2008c22260206n, ECAP: 0xf00f4an } } as const
    const forty = { name: 'smmu0', type: 'smmuv3', registers: { IDR5: 0x72n } } as const
    const wide = { name: 'vtd1', type: 'vtd' } as const
    const addressOf = (...units: readonly (typeof narrow | typeof forty | typeof wide)[]): number => {
      const machine = createMachine({ platform: { units, devices: [] }, files })
      const [first, second] = [2 ** 30, 0x1000].map((lengthBytes) =>
        machine.createRegion({ kind: 'anonymous', lengthBytes }, () => undefined),
      )
      expect(second.address).toBe(first.address + 2 ** 30)
      return first.address
    }
    expect([addressOf(wide), addressOf(wide, narrow), addressOf(forty, wide)]).toEqual([2 ** 40, 2 ** 37, 2 ** 37])
    const machine = createMachine({ platform: { units: [narrow], devices: [] }, files })
    const tooLong = { kind: 'anonymous', lengthBytes: 2 ** 39 } as const
    expect(() => machine.createRegion(tooLong, () => undefined)).toThrow(/no physical addresses/)
  })
})
