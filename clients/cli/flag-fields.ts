/** Which numbers of the contract are bits or values of which enum: the .proto files say so in their comments. */

import type { FieldInfo } from '../../proto/codec.js'

/** Fields that hold bits, by message and .proto name, with the enum that spells them. */
const FLAGS: Readonly<Record<string, string>> = {
  'CreatePagingDomainRequest.flags': 'HwptFlag',
  'CreateUserDomainRequest.flags': 'HwptFlag',
  'VtdS1.flags': 'VtdS1Flag',
  'RangeInvalidation.flags': 'InvalidateFlag',
  'SetDirtyTrackingRequest.flags': 'DirtyTrackingFlag',
  'GetDirtyBitmapRequest.flags': 'DirtyBitmapFlag',
  'IoasMapRequest.flags': 'IoasMapFlag',
  'IoasMapFileRequest.flags': 'IoasMapFlag',
  'IoasCopyRequest.flags': 'IoasMapFlag',
  'ViommuEvent.flags': 'VeventFlag',
  'PageFault.flags': 'PageFaultFlag',
  'PollTarget.events': 'PollFlag',
  'PollHandleResponse.revents': 'PollFlag',
  'GetHwInfoResponse.capabilities': 'HwCapability',
}

/** Fields of any message that hold AccessFlag bits. */
const ACCESS = new Set(['access', 'accesses', 'permissions'])

/** Dense arrays of an enum's values, which travel as plain numbers. */
const VALUES: Readonly<Record<string, string>> = {
  'TranslateResponse.outcomes': 'DmaOutcome',
  'TranslateUnitResponse.outcomes': 'DmaOutcome',
  'RequestTranslationsResponse.statuses': 'AtsStatus',
}

/** Numbers that people know in hex although they are no addresses. */
const HEX = new Set(['code', 'fault_codes', 'source_id', 'source_ids', 'cmd'])

/** The enum whose bits a field holds. */
export const flagsOf = (message: string, field: FieldInfo): string | undefined =>
  field.kind === 'enum'
    ? undefined
    : ACCESS.has(field.protoName)
      ? 'AccessFlag'
      : FLAGS[`${message}.${field.protoName}`]

/** The enum whose values a field holds. */
export const enumOf = (message: string, field: FieldInfo): string | undefined =>
  field.kind === 'enum' ? field.typeName : VALUES[`${message}.${field.protoName}`]

/** Whether people read a field in hex: addresses, register values, and codes of the manuals. */
export const inHex = (field: FieldInfo): boolean =>
  field.kind === 'fixed64' || field.kind === 'fixed32' || HEX.has(field.protoName)
