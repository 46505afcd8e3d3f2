/** Words of the presets, spelled as software reads them. */

import { describe, expect, it } from 'vitest'
import { PageRequest } from '../../hw-model/port.js'
import { decodeCapabilities, PRESETS, type PresetName } from '../../hw-model/vtd/index.js'
import { FS, Guest, MODE, PASIDS, SID, SS } from './guest.js'

const word = ([lo, hi]: readonly [number, number]): bigint => (BigInt(hi) << 32n) | BigInt(lo)

describe('the registers of a preset', () => {
  it.each([
    ['vtd-scalable', 0x81d2078c226f0606n, 0x0013e99c84000fc3n, 48],
    ['vtd-ats', 0x81d2078c226f0606n, 0x0013ed9ca4000fc7n, 48],
    ['vtd-scalable-57', 0x91d2078c22780e06n, 0x0013e99c84000fc3n, 52],
    ['vtd-legacy', 0x80d2078c226f0606n, 0xfc3n, 48],
    ['qemu-legacy', 0x80d2008c222f0606n, 0xf00f4an, 48],
    ['qemu-first-stage', 0x81d2008c222f0606n, 0x880000000f42n, 48],
  ] as const)('of %s are these', (name, cap, ecap, hawBits) => {
    const ids = PRESETS[name]
    expect([ids.VER, word(ids.CAP), word(ids.ECAP), ids.hawBits]).toEqual([0x10, cap, ecap, hawBits])
  })

  it.each([
    ['skylake', 0x10, 0xd2008c40660462n, 0xf050dan, 39],
    ['skylake-sp', 0x10, 0x8d2078c106f0466n, 0xf020dfn, 46],
    ['ice-lake-sp', 0x40, 0x8ed008c40780466n, 0x60000f050dfn, 46],
    ['arrow-lake-u', 0x70, 0xc9de008cee690462n, 0x12ca9a00f0efden, 42],
    ['granite-rapids', 0x70, 0xf9ed008cee780c66n, 0x3fef9ea6f0efdfn, 52],
  ] as const)('of %s are what Linux prints on one, but for what is refused', (name, version, cap, ecap, hawBits) => {
    const ids = PRESETS[name]
    // ECMDS; MTS, TDXCS and PMS.
    const refused = [1n << 61n, (1n << 25n) | (3n << 50n)] as const
    expect([word(ids.CAP), word(ids.ECAP)]).toEqual([cap & ~refused[0], ecap & ~refused[1]])
    expect([ids.VER, ids.hawBits]).toEqual([version, hawBits])
  })

  it.each(['skylake', 'skylake-sp', 'ice-lake-sp', 'granite-rapids'] as const)(
    'of %s do legacy mode in 48 bits',
    (preset) => {
      const guest = new Guest({ preset })
      guest.store(0x1000, 0x2001n, 0n)
      guest.store(0x2000 + SID * 16, 0x110001n, 0x302n)
      guest.path(0x110000, 0x40_0000n, 0x30_0000n | SS.RW, SS.RW)
      guest.start(MODE.LEGACY)
      expect([guest.dma(0x40_0000n), guest.dma(0x7000n)]).toEqual(['0x300000', 'fault 0x6'])
      // The record stands where CAP.FRO says.
      const record = Number((guest.read(8, 8) >> 24n) & 0x3ffn) * 16
      expect(guest.read(record, 8)).toBe(0x7000n)
    },
  )

  it('of arrow-lake-u want A and D set beforehand, since nothing is snooped there', () => {
    const guest = new Guest({ preset: 'arrow-lake-u' })
    guest.startScalable(1n)
    guest.path(0x100000, 0x40_0000n, 0x20_0000n | FS.PAGE, FS.TABLE)
    guest.store(PASIDS, 0x41n, 2n, 0x100000n)
    expect(guest.dma(0x40_0000n, 'w')).toBe('0x200000')
    guest.path(0x100000, 0x80_0000n, 0x20_0000n | 7n, FS.TABLE)
    expect(guest.dma(0x80_0000n)).toBe('fault 0x90')
  })

  it('of granite-rapids take page requests', () => {
    const guest = new Guest({ preset: 'granite-rapids' })
    guest.startScalable(0x1dn)
    guest.firstStage(0, 2, 0x100000)
    guest.write(0xd0, 0x20000n, 8)
    guest.unit.ats?.requestPage(Object.assign(new PageRequest(), { rid: SID, lo: 0x5000 }))
    expect([guest.read(0xc8, 8), guest.load(0x20008)]).toEqual([0x20n, 0x5005n])
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
