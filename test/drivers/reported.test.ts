/** What GetHwInfo tells beside what the emulated unit has. */

import { describe, expect, it } from 'vitest'
import { createMachine, type UnitSpec } from '../../server/drivers/machine.js'

const files = { roots: [], map: () => Promise.reject(new Error('no file')) as never }

function machineOf(unit: UnitSpec) {
  const device = { name: '0000:00:03.0', iommu: unit.name, pasidBits: 0, ats: false, pri: false }
  const { devices, units } = createMachine({ platform: { units: [unit], devices: [device] }, files })
  return { info: devices[0].device.hwInfo, idRegisters: units[0].idRegisters }
}

/** QEMU's unit with `intremap=on`: bits 3, 4 and 23:20 are interrupt remapping's. */
const ECAP = 0xf00f4an | 0x10n

describe('registers that a platform wants told otherwise', () => {
  it('are told so of a VT-d unit, which has not got them', () => {
    const { info, idRegisters } = machineOf({
      name: 'v',
      type: 'vtd',
      registers: { CAP: 0x80d2008c222f0606n, ECAP },
      reported: { ECAP },
    })
    expect(info).toMatchObject({ kind: 'vtd', cap: 0x80d2008c222f0606n, ecap: ECAP })
    expect(idRegisters.get('ECAP')).toBe(ECAP & ~0xf00018n)
  })

  it('are told so of an SMMUv3, word by word', () => {
    const plain = machineOf({ name: 's', type: 'smmuv3' }).info
    const { info, idRegisters } = machineOf({ name: 's', type: 'smmuv3', reported: { IDR4: 0x99n, AIDR: 5n } })
    if (info.kind !== 'smmuv3' || plain.kind !== 'smmuv3') throw new Error('no SMMUv3')
    expect(info).toEqual({ ...plain, idr: plain.idr.with(4, 0x99), aidr: 5 })
    expect(idRegisters.get('IDR4')).toBe(BigInt(plain.idr[4]))
  })
})
