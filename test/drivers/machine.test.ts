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
})
