/** Words of the presets, spelled as software reads them. */

import { describe, expect, it } from 'vitest'
import { decodeCapabilities, PRESETS, type PresetName } from '../../hw-model/vtd/index.js'
import { Guest } from './guest.js'

const word = ([lo, hi]: readonly [number, number]): bigint => (BigInt(hi) << 32n) | BigInt(lo)

describe('the registers of a preset', () => {
  it.each([
    ['vtd-scalable', 0x81d2078c226f0606n, 0x0013e99c84000fc3n, 48],
    ['vtd-scalable-57', 0x91d2078c22780e06n, 0x0013e99c84000fc3n, 52],
    ['vtd-legacy', 0x80d2078c226f0606n, 0xfc3n, 48],
    ['qemu-legacy', 0x80d2008c222f0606n, 0xf00f4an, 48],
    ['qemu-first-stage', 0x81d2008c222f0606n, 0x880000000f42n, 48],
  ] as const)('of %s are these', (name, cap, ecap, hawBits) => {
    const ids = PRESETS[name]
    expect([ids.VER, word(ids.CAP), word(ids.ECAP), ids.hawBits]).toEqual([0x10, cap, ecap, hawBits])
  })

  it.each(Object.keys(PRESETS) as PresetName[])(
    'of %s are what software reads, but for interrupt remapping',
    (preset) => {
      const guest = new Guest({ preset })
      const ids = PRESETS[preset]
      const interrupts = 0x60000000_00f00018n
      expect(guest.read(0)).toBe(BigInt(ids.VER))
      expect(guest.read(8, 8)).toBe(word(ids.CAP) & ~((1n << 59n) | (1n << 62n)))
      expect(guest.read(0x10, 8)).toBe(word(ids.ECAP) & ~interrupts)
    },
  )

  it('of the full unit have 57-bit guest addresses, 52-bit host addresses and 16 fault records', () => {
    const { mgawBits, agawBits, hawBits, frcdCount } = decodeCapabilities(PRESETS['vtd-full'])
    expect([mgawBits, agawBits, hawBits, frcdCount]).toEqual([57, 57, 52, 16])
  })
})
