import { describe, expect, it } from 'vitest'
import { idRegisters, PRESETS } from '../../hw-model/smmuv3/index.js'

describe('ID registers', () => {
  it.each(Object.keys(PRESETS) as (keyof typeof PRESETS)[])('of the preset %s are accepted as they are', (name) => {
    expect(idRegisters(name)).toEqual(PRESETS[name])
  })

  it('of Arm’s FVP are those of its scripts, without AArch32, BTM, ATOS and types, and with little-endian tables alone', () => {
    const [AARCH32, BTM, ATOS, LITTLE_ENDIAN, TYPES_OVR] = [1 << 2, 1 << 5, 1 << 15, 2 << 21, 1 << 27]
    expect(PRESETS['arm-fvp']).toMatchObject({
      IDR0: (0x080f_f6bf & ~(AARCH32 | BTM | ATOS)) | LITTLE_ENDIAN,
      IDR1: 0x0ce7_3d20 & ~TYPES_OVR,
      IDR3: 0x1714,
      IDR5: 0xffff_0475,
      AIDR: 2,
    })
  })

  it('of gem5 are its defaults without AArch32', () => {
    expect(PRESETS.gem5).toMatchObject({ IDR0: 0x094c_100f & ~(1 << 2), IDR1: 0x00e0_0000, IDR5: 0x55, AIDR: 0 })
  })

  it('of units that do not keep what their version makes mandatory are accepted', () => {
    // QEMU with stage 1 alone: SMMUv3.1, and no XNX.
    const stageOne = { IDR0: 0xd44101a, IDR1: 0x2730010, IDR3: 0x1404, IDR5: 0x74, AIDR: 1 }
    expect(idRegisters('qemu', stageOne)).toMatchObject(stageOne)
    // QEMU with stage 2 alone.
    const stageTwo = { IDR0: 0xd441019, IDR3: 0x1414, AIDR: 1 }
    expect(idRegisters('qemu', stageTwo)).toMatchObject(stageTwo)
  })

  it.each([
    ['a unit that translates nothing', { IDR0: 0xd441018 }, /S1P and IDR0\.S2P are both 0/],
    ['no granule', { IDR5: 0x4 }, /IDR5 offers no granule/],
    ['a big stream table of one level', { IDR0: 0x544101b }, /IDR1\.SIDSIZE of 7 or more/],
    ['a field that this model does not do', { IDR0: 0xd44903b }, /IDR0\.(BTM|ATOS) = 1 offers/],
    ['a reserved bit', { IDR5: 0x74 | (1 << 12) }, /IDR5 bit 12 is reserved/],
    ['an implementation defined register', { IDR4: 1 }, /IDR4/],
  ])('refuse %s', (_name, overrides, reason) => {
    expect(() => idRegisters('qemu', overrides)).toThrow(reason)
  })
})
