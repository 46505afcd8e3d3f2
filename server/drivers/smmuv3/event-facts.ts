/** What an operator is told of an event record or a page request that nobody else takes: Linux's line, as facts. */

import {
  EVENT,
  EVENT_RECORD,
  F_PERMISSION,
  F_STE_FETCH,
  F_TRANSLATION,
  PRI_ENTRY,
} from '../../../hw-model/smmuv3/index.js'

type Facts = Readonly<Record<string, string | number>>

const CLASSES = ['CD', 'TTD', 'IN', 'reserved'] as const

/** Events that say which access met what. */
const TRANSLATIONS: readonly number[] = [EVENT.F_TRANSLATION, EVENT.F_ADDR_SIZE, EVENT.F_ACCESS, EVENT.F_PERMISSION]

/** Events that say what could not be fetched. */
const FETCHES: readonly number[] = [EVENT.F_STE_FETCH, EVENT.F_CD_FETCH, EVENT.F_VMS_FETCH]

/** Events without SSV. */
const WITHOUT_SUBSTREAM: readonly number[] = [EVENT.F_STREAM_DISABLED, EVENT.F_TRANSL_FORBIDDEN]

/** An event record. `raw` is all of it. [SMMU 7.3 Event records] */
export function eventFacts(record: Int32Array): Facts {
  const id = EVENT_RECORD.ID.get(record, 0)
  const facts: Record<string, string | number> = { sid: hex(EVENT_RECORD.SID.get(record, 0)) }
  if (id === EVENT.C_BAD_SUBSTREAMID) facts['ssid'] = F_TRANSLATION.SSID.get(record, 0)
  else if (!WITHOUT_SUBSTREAM.includes(id) && F_TRANSLATION.SSV.get(record, 0) === 1) {
    facts['ssid'] = F_TRANSLATION.SSID.get(record, 0)
  }
  if (FETCHES.includes(id)) facts['fetchAddress'] = hex(F_STE_FETCH.FetchAddr.get(record, 0))
  if (TRANSLATIONS.includes(id)) Object.assign(facts, translationFacts(record, id === EVENT.F_PERMISSION))
  return { ...facts, raw: rawOf(record) }
}

function translationFacts(record: Int32Array, isPermission: boolean): Facts {
  const { PnU, InD, RnW, S2, CLASS, Stall, STAG, InputAddr, IPA } = F_TRANSLATION
  const is = (field: typeof PnU, one: string, zero: string): string => (field.get(record, 0) === 1 ? one : zero)
  const word = InputAddr.low >>> 5
  const access = [is(PnU, 'privileged', 'unprivileged'), is(InD, 'instruction', 'data'), is(RnW, 'read', 'write')]
  const ofTable = isPermission && CLASSES[CLASS.get(record, 0)] === 'TTD'
  return {
    iova: doubleword(record[word], record[word + 1]),
    access: access.join(' '),
    stage: is(S2, '2', '1'),
    class: CLASSES[CLASS.get(record, 0)],
    ...(S2.get(record, 0) === 1 ? { ipa: hex(IPA.get(record, 0)) } : {}),
    ...(ofTable ? { table: is(F_PERMISSION.TTRnW, 'read', 'write') } : {}),
    ...(Stall.get(record, 0) === 1 ? { stag: STAG.get(record, 0) } : {}),
  }
}

/** A page request. [SMMU 8 Page request queue] */
export function pageFacts(entry: Int32Array): Facts {
  const { StreamID, SSV, SubstreamID, PRGIndex, Last, R, W, X, Priv, PageAddress } = PRI_ENTRY
  const has = (field: typeof R): boolean => field.get(entry, 0) === 1
  const letters = (has(R) ? 'R' : '') + (has(W) ? 'W' : '') + (has(X) ? 'X' : '')
  return {
    sid: hex(StreamID.get(entry, 0)),
    ...(has(SSV) ? { ssid: SubstreamID.get(entry, 0) } : {}),
    group: PRGIndex.get(entry, 0),
    last: Last.get(entry, 0),
    access: `${has(Priv) ? 'privileged' : 'unprivileged'} ${letters}`,
    iova: doubleword(PageAddress.lo(entry, 0), PageAddress.hi(entry, 0)),
  }
}

/** A record's doublewords. */
export const rawOf = (record: Int32Array): string =>
  Array.from({ length: record.length / 2 }, (_, i) => doubleword(record[2 * i], record[2 * i + 1])).join(' ')

const doubleword = (lo: number, hi: number): string =>
  `0x${((BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)).toString(16)}`

const hex = (value: number): string => `0x${value.toString(16)}`
