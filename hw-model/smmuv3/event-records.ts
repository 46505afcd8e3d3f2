/** What the unit writes into the event queue, record by record. [SMMU 7.3 Event records] */

import { address, bit, bits, type FieldSpec, layout } from '../bits/layout.js'

/** Event numbers. [SMMU 7.3 Event records] */
export const EVENT = {
  F_UUT: 0x01,
  C_BAD_STREAMID: 0x02,
  F_STE_FETCH: 0x03,
  C_BAD_STE: 0x04,
  F_BAD_ATS_TREQ: 0x05,
  F_STREAM_DISABLED: 0x06,
  F_TRANSL_FORBIDDEN: 0x07,
  C_BAD_SUBSTREAMID: 0x08,
  F_CD_FETCH: 0x09,
  C_BAD_CD: 0x0a,
  F_WALK_EABT: 0x0b,
  F_TRANSLATION: 0x10,
  F_ADDR_SIZE: 0x11,
  F_ACCESS: 0x12,
  F_PERMISSION: 0x13,
  F_TLB_CONFLICT: 0x20,
  F_CFG_CONFLICT: 0x21,
  E_PAGE_REQUEST: 0x24,
  F_VMS_FETCH: 0x25,
} as const

const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(EVENT).map(([name, number]) => [number, name]))

/** The manual's name of an event. */
export const eventName = (event: number): string => NAMES.get(event) ?? `event 0x${event.toString(16).padStart(2, '0')}`

/** The CLASS field: what was being translated when stage 2 refused. [SMMU 7.3.13 F_TRANSLATION] */
export const CLASS = {
  /** A CD or L1CD. */
  CD: 0b00,
  /** A stage 1 table entry. */
  TT: 0b01,
  /** The input address. */
  IN: 0b10,
} as const

const stream = { ID: bits(7, 0), SID: bits(63, 32) } as const
const substream = { ...stream, SSV: bit(11), SSID: bits(31, 12) } as const
const reason = { Reason: bits(79, 64) } as const
const access = { PnU: bit(97), InD: bit(98), RnW: bit(99) } as const
const input = { InputAddr: bits(191, 128) } as const
const fetch = { FetchAddr: address(247, 195) } as const
const translation = {
  ...substream,
  STAG: bits(79, 64),
  Stall: bit(95),
  ...access,
  NSIPA: bit(102),
  S2: bit(103),
  CLASS: bits(105, 104),
  ...input,
  IPA: address(247, 204),
} as const

const record = <const F extends Record<string, FieldSpec>>(name: string, fields: F) => layout(name, 256, fields)

/** What all records have. [SMMU 7.3 Event records] */
export const EVENT_RECORD = record('event', stream)
/** [SMMU 7.3.2 F_UUT] */
export const F_UUT = record('F_UUT', { ...substream, ...reason, ...access, ...input })
/** [SMMU 7.3.3 C_BAD_STREAMID] */
export const C_BAD_STREAMID = record('C_BAD_STREAMID', substream)
/** [SMMU 7.3.4 F_STE_FETCH] */
export const F_STE_FETCH = record('F_STE_FETCH', { ...substream, ...reason, ...fetch })
/** [SMMU 7.3.5 C_BAD_STE] */
export const C_BAD_STE = record('C_BAD_STE', substream)
/** [SMMU 7.3.6 F_BAD_ATS_TREQ] The places of R, W, X, P and Span come from a secondary source. */
export const F_BAD_ATS_TREQ = record('F_BAD_ATS_TREQ', {
  ...substream,
  Span: bits(67, 64),
  P: bit(92),
  X: bit(93),
  W: bit(94),
  R: bit(95),
  InputAddr: address(191, 140),
})
/** [SMMU 7.3.7 F_STREAM_DISABLED] */
export const F_STREAM_DISABLED = record('F_STREAM_DISABLED', stream)
/** [SMMU 7.3.8 F_TRANSL_FORBIDDEN] */
export const F_TRANSL_FORBIDDEN = record('F_TRANSL_FORBIDDEN', { ...stream, RnW: bit(99), ...input })
/** [SMMU 7.3.9 C_BAD_SUBSTREAMID] The SSID always holds, and there is no SSV. */
export const C_BAD_SUBSTREAMID = record('C_BAD_SUBSTREAMID', { ...stream, SSID: bits(31, 12) })
/** [SMMU 7.3.10 F_CD_FETCH] */
export const F_CD_FETCH = record('F_CD_FETCH', { ...substream, ...reason, ...fetch })
/** [SMMU 7.3.11 C_BAD_CD] */
export const C_BAD_CD = record('C_BAD_CD', substream)
/** [SMMU 7.3.12 F_WALK_EABT] */
export const F_WALK_EABT = record('F_WALK_EABT', {
  ...substream,
  ...reason,
  ...access,
  S2: bit(103),
  CLASS: bits(105, 104),
  ...input,
  ...fetch,
})
/** [SMMU 7.3.13 F_TRANSLATION] */
export const F_TRANSLATION = record('F_TRANSLATION', translation)
/** [SMMU 7.3.14 F_ADDR_SIZE] */
export const F_ADDR_SIZE = record('F_ADDR_SIZE', translation)
/** [SMMU 7.3.15 F_ACCESS] */
export const F_ACCESS = record('F_ACCESS', translation)
/** [SMMU 7.3.16 F_PERMISSION] */
export const F_PERMISSION = record('F_PERMISSION', { ...translation, TTRnW: bit(108) })
/** [SMMU 7.3.17 F_TLB_CONFLICT] */
export const F_TLB_CONFLICT = record('F_TLB_CONFLICT', {
  ...substream,
  ...reason,
  ...access,
  S2: bit(103),
  ...input,
  IPA: address(247, 204),
})
/** [SMMU 7.3.18 F_CFG_CONFLICT] */
export const F_CFG_CONFLICT = record('F_CFG_CONFLICT', { ...substream, ...reason })
/** [SMMU 7.3.19 E_PAGE_REQUEST] */
export const E_PAGE_REQUEST = record('E_PAGE_REQUEST', {
  ...substream,
  uX: bit(97),
  uW: bit(98),
  uR: bit(99),
  pX: bit(101),
  pW: bit(102),
  pR: bit(103),
  Span: bits(127, 116),
  InputAddr: address(191, 140),
})
/** [SMMU 7.3.20 F_VMS_FETCH] */
export const F_VMS_FETCH = record('F_VMS_FETCH', { ...substream, ...reason, ...fetch })
