/** The test of `iommufd_ioas` about what hardware says of itself. */

import { expect } from 'vitest'
import { struct, u32, u64 } from '../harness/bytes.js'
import type { Case } from '../harness/fixture.js'
import type { WorldName } from '../harness/lab.js'
import { E } from '../harness/process.js'
import type { IoasSelf, IoasVariant } from './ioas.js'

/** Type, bytes, and what is known of the data: the mock's register, VT-d's flags, an SMMUv3's flags of 0. */
const INFO: Readonly<Record<WorldName, { type: number; bytes: number; isRight: (data: Uint8Array) => boolean }>> = {
  mock: { type: 0xfeedbeef, bytes: 8, isRight: (data) => u32(data, 0) === 0 && u32(data, 4) === 0xdeadbeef },
  // CAP_REG has ND = 6 or more wherever it is real; ECAP_REG is not 0.
  vtd: { type: 1, bytes: 24, isRight: (data) => u32(data, 0) === 1 && u64(data, 8) !== 0n && u64(data, 16) !== 0n },
  smmuv3: { type: 2, bytes: 40, isRight: (data) => u32(data, 0) === 0 && u32(data, 8) !== 0 },
}

/** By name. */
export const HW_INFO_CASES: Readonly<Record<string, Case<IoasSelf, IoasVariant>>> = {
  get_hw_info: {
    async run({ device, pasidDevice }, { iommufd, world }) {
      const { type, bytes, isRight } = INFO[world.name]
      if (device === undefined) {
        for (const length of [bytes, bytes + 8]) expect((await iommufd.hwInfo(0, { length })).errno).toBe(E.NOENT)
        return
      }
      const { dev } = device
      const fact = { errno: 0, trueLength: bytes, type, pasidLg2: 0 }
      expect(await iommufd.hwInfo(dev)).toMatchObject(fact)
      const exact = await iommufd.hwInfo(dev, { length: bytes })
      expect([exact.errno, isRight(exact.data)]).toEqual([0, true])
      expect((await iommufd.hwInfo(dev, { length: bytes, type: type + 1 })).errno).toBe(E.OPNOTSUPP)
      const asked = await iommufd.hwInfo(dev, { length: bytes, type })
      expect([asked.errno, asked.data]).toEqual([0, exact.data])
      const larger = await iommufd.hwInfo(dev, { length: bytes + 8 })
      expect([larger.errno, larger.data]).toEqual([0, Uint8Array.from([...exact.data, ...struct([8, 0])])])
      const smaller = await iommufd.hwInfo(dev, { length: 4 })
      expect([smaller.errno, smaller.data]).toEqual([0, exact.data.subarray(0, 4)])
      expect(smaller.trueLength).toBe(bytes)
      if (pasidDevice !== undefined) expect((await iommufd.hwInfo(pasidDevice.dev)).pasidLg2).toBe(20)
    },
  },
}
