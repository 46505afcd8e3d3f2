/** What a unit says of itself, as bytes. [uAPI IOMMU_GET_HW_INFO] */

import type { Call } from '../core/call.js'
import { checkFlags } from '../core/checks.js'
import { Device } from '../core/device.js'
import type { HwInfo } from '../core/driver.js'
import { Refusal } from '../core/refusal.js'
import type { Work } from '../core/work.js'
import { type CommandAnswer, refuseReserved } from './command.js'
import { HW_INFO_SELFTEST, HW_INFO_SMMUV3, HW_INFO_VTD } from './data-structs.js'
import { encode, type ValuesOf } from './struct.js'
import type { GET_HW_INFO } from './structs.js'
import type { UserMemory } from './user-memory.js'

type Members = typeof GET_HW_INFO.fields

/** [uAPI enum iommufd_hw_info_flags] */
const INPUT_TYPE = 1

/** [uAPI enum iommu_hw_info_type] */
const TYPE = { default: 0, vtd: 1, smmuv3: 2, selftest: 0xfeedbeef } as const

/** Does the command. */
export const getHwInfo = (call: Call, values: ValuesOf<Members>, user: UserMemory) =>
  call.inSlices(telling(call, values, user))

function* telling(call: Call, values: ValuesOf<Members>, user: UserMemory): Work<CommandAnswer<Members>> {
  const { flags, dev_id, data_len, data_uptr, __reserved } = values
  checkFlags(flags, INPUT_TYPE)
  refuseReserved(__reserved)
  // Without the flag whatever the caller left in the member is no request.
  const asked = (flags & INPUT_TYPE) === 0 ? TYPE.default : values.out_data_type
  const { device } = call.look(Device, dev_id, 'dev_id').platform
  const { hwInfo, maxPasids, capabilities } = device
  const type = TYPE[hwInfo.kind]
  if (asked !== TYPE.default && asked !== type) {
    throw new Refusal('EOPNOTSUPP', `${device.driver.name} has no information of type ${asked}, its own is ${type}`)
  }
  const bytes = bytesOf(hwInfo)
  const copied = bytes.subarray(0, data_len)
  user.write(data_uptr, copied)
  yield* user.clear(data_uptr + BigInt(copied.length), data_len - copied.length)
  return {
    set: {
      data_len: bytes.length,
      out_data_type: type,
      out_max_pasid_log2: maxPasids > 1 ? Math.floor(Math.log2(maxPasids)) : 0,
      out_capabilities: BigInt(capabilities),
    },
  }
}

function bytesOf(info: HwInfo): Uint8Array {
  switch (info.kind) {
    case 'vtd':
      return encode(HW_INFO_VTD, { flags: info.flags, cap_reg: info.cap, ecap_reg: info.ecap })
    case 'smmuv3': {
      const [idr0, idr1, idr2, idr3, idr4, idr5] = info.idr
      return encode(HW_INFO_SMMUV3, { idr0, idr1, idr2, idr3, idr4, idr5, iidr: info.iidr, aidr: info.aidr })
    }
    case 'selftest':
      return encode(HW_INFO_SELFTEST, { flags: info.flags, test_reg: info.testReg })
  }
}
