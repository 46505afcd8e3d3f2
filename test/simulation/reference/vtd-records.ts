/** What the reference VT-d unit records of a fault. */

import { inPlace, ones } from './memory.js'
import type { VtdFeatures } from './vtd-features.js'
import type { VtdAccess, VtdRecord } from './vtd-types.js'

/** [VTD 11.4.7.6 Fault Recording Registers] */
export function recordOf(features: VtdFeatures, access: VtdAccess, reason: number): VtdRecord {
  const { kind, read, write, pasid } = access
  const width = agawBits(features)
  const low = inPlace(access.address, 63, 12) & ones(width)
  const isRead = kind !== 'page' && (kind === 'request' || !write || read)
  const isAtomic = kind !== 'page' && kind !== 'request' && write && read
  const withPasid =
    pasid === undefined || !features.pasid
      ? 0n
      : (BigInt(access.privileged) << 29n) |
        (BigInt(access.execute && isRead && !isAtomic) << 30n) |
        (1n << 31n) |
        (BigInt(pasid) << 40n)
  const at = features.dt ? { untranslated: 0n, request: 1n, translated: 2n, page: 0n }[kind] : 0n
  const type = (BigInt(isAtomic || kind === 'page') << 28n) | (BigInt(isRead) << 62n)
  const high = BigInt(access.sid) | withPasid | (BigInt(reason) << 32n) | type | (at << 60n) | (1n << 63n)
  return { words: [low, high], hasAddress: reason !== 0x29 }
}

/** The widest AGAW; a unit without second stage may name none. [VTD 11.4.7.6 FI] */
function agawBits({ sagaw, fs5lp }: VtdFeatures): number {
  if (sagaw === 0) return fs5lp ? 57 : 48
  return (sagaw & 8) !== 0 ? 57 : (sagaw & 4) !== 0 ? 48 : 39
}
