/** GetHwInfo: what the unit in front of a device says of itself, and which model its user domains follow. */

import type { Call } from './call.js'
import { Device } from './device.js'
import { Refusal } from './refusal.js'

/** The contract's HwInfoType. */
export const HW_INFO_TYPE = { UNSPECIFIED: 0, INTEL_VTD: 1, ARM_SMMUV3: 2 } as const

/** The contract's UserDomainModel. */
export const USER_DOMAIN_MODEL = { NONE: 0, PER_PASID: 1, WHOLE_RID: 2 } as const

/** The contract's GetHwInfoResponse. */
export interface HwInfoReply {
  readonly type: 1 | 2
  readonly vtd?: { readonly flags: number; readonly capReg: bigint; readonly ecapReg: bigint }
  readonly smmuv3?: { readonly flags: number; readonly idr: Uint32Array; readonly iidr: number; readonly aidr: number }
  readonly capabilities: bigint
  readonly maxPasidLog2: number
  readonly userDomainModel: 0 | 1 | 2
}

/** Raw ID registers and capabilities. [uAPI IOMMU_GET_HW_INFO] */
export function getHwInfo(
  call: Call,
  request: { readonly deviceId: number; readonly requestedType: number },
): HwInfoReply {
  const { device, driver, mediated } = call.look(Device, request.deviceId, 'device_id').platform
  const { hwInfo } = device
  if (hwInfo.kind === 'selftest') {
    throw new Refusal('EOPNOTSUPP', 'the self-test’s information has no typed message; ask IOMMU_GET_HW_INFO')
  }
  const type = hwInfo.kind === 'vtd' ? HW_INFO_TYPE.INTEL_VTD : HW_INFO_TYPE.ARM_SMMUV3
  if (request.requestedType !== HW_INFO_TYPE.UNSPECIFIED && request.requestedType !== type) {
    const reason = `${driver.name} has no information of type ${request.requestedType}, its own is ${type}`
    throw new Refusal('EOPNOTSUPP', reason, { type, requested_type: request.requestedType })
  }
  const wholeRid = driver.userDomainBinds === 'rid-and-all-pasids'
  const { NONE, PER_PASID, WHOLE_RID } = USER_DOMAIN_MODEL
  return {
    type,
    ...(hwInfo.kind === 'vtd'
      ? { vtd: { flags: hwInfo.flags, capReg: hwInfo.cap, ecapReg: hwInfo.ecap } }
      : { smmuv3: { flags: 0, idr: Uint32Array.from(hwInfo.idr), iidr: hwInfo.iidr, aidr: hwInfo.aidr } }),
    capabilities: BigInt(device.capabilities),
    maxPasidLog2: device.maxPasids > 1 ? Math.floor(Math.log2(device.maxPasids)) : 0,
    // A mediated device is one PASID, and a whole-RID domain takes them all.
    userDomainModel: wholeRid ? (mediated === undefined ? WHOLE_RID : NONE) : PER_PASID,
  }
}
