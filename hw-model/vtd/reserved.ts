/**
 * Which bits of an entry are reserved on a given unit: those in no field, address bits above the host address width,
 * and fields whose capability is absent. [VTD 9, 11.4.3]
 */

import { type FieldSpec, type Layout, maskOutside } from '../bits/layout.js'
import type { Capabilities } from './capabilities.js'
import {
  CONTEXT_ENTRY,
  PASID_DIRECTORY_ENTRY,
  PASID_TABLE_ENTRY,
  ROOT_ENTRY,
  SCALABLE_CONTEXT_ENTRY,
  SCALABLE_ROOT_ENTRY,
} from './records.js'

/** Reserved-bit masks, made once per unit. */
export class ReservedMasks {
  readonly root: Int32Array
  readonly context: Int32Array
  readonly scalableContext: Int32Array
  readonly directory: Int32Array
  readonly pasidEntry: Int32Array
  readonly #scalableRoot: Int32Array

  /** @param strictAw whether AW is reserved without a second stage */
  constructor(caps: Capabilities, strictAw: boolean) {
    const { ecap, hawBits, didBits } = caps
    this.root = reserved(ROOT_ENTRY, hawBits, [])
    this.#scalableRoot = reserved(SCALABLE_ROOT_ENTRY, hawBits, [])
    this.context = reserved(CONTEXT_ENTRY, hawBits, [])
    reserveAbove(this.context, CONTEXT_ENTRY.DID, didBits)
    this.directory = reserved(PASID_DIRECTORY_ENTRY, hawBits, [])
    this.scalableContext = reserved(SCALABLE_CONTEXT_ENTRY, hawBits, [
      ...absent(ecap.DT, 'DTE'),
      ...absent(ecap.PASID, 'PASIDE'),
      ...absent(ecap.PRS, 'PRE'),
      ...absent(ecap.HPTS, 'HPTE'),
      ...absent(ecap.PTRS, 'EPTR'),
      ...absent(ecap.RPS, 'RID_PASID'),
      ...absent(ecap.RPRIVS, 'RID_PRIV'),
    ])
    this.pasidEntry = reserved(PASID_TABLE_ENTRY, hawBits, [
      ...absent(ecap.SSTS, 'SSADE', 'SSPTPTR', ...(strictAw ? ['AW'] : [])),
      ...absent(ecap.SSADS, 'SSADE'),
      ...absent(ecap.SMPWCS, 'PWSNP'),
      ...absent(ecap.SC, 'PGSNP'),
      ...absent(ecap.MTS, 'CD', 'EMTE', 'PAT'),
      ...absent(ecap.SRS, 'SRE'),
      ...absent(ecap.FSTS, 'FSPM', 'WPE', 'FSPTPTR'),
      ...absent(ecap.EAFS, 'EAFE'),
      ...absent(ecap.HPTS, 'HPTSZ', 'HPTPFD', 'HPTPTR', 'HPTDID'),
    ])
    reserveAbove(this.pasidEntry, PASID_TABLE_ENTRY.DID, didBits)
    reserveAbove(this.pasidEntry, PASID_TABLE_ENTRY.HPTDID, didBits)
  }

  /** Both halves count, each if it is present. [VTD 7.1.3 SRT.3] */
  scalableRootIsBad(words: Int32Array): boolean {
    const mask = this.#scalableRoot
    const lower = SCALABLE_ROOT_ENTRY.LP.get(words, 0) !== 0 && ((words[0] & mask[0]) | (words[1] & mask[1])) !== 0
    const upper = SCALABLE_ROOT_ENTRY.UP.get(words, 0) !== 0 && ((words[2] & mask[2]) | (words[3] & mask[3])) !== 0
    return lower || upper
  }
}

/** Names that are reserved when a capability is absent. */
const absent = (capability: number, ...names: string[]): string[] => (capability === 0 ? names : [])

function reserved<F extends Record<string, FieldSpec>>(
  record: Layout<F>,
  hawBits: number,
  lacking: readonly string[],
): Int32Array {
  const kept = [...record.$.fields.keys()].filter((name) => !lacking.includes(name))
  const mask = maskOutside(record, kept)
  for (const field of record.$.fields.values()) if (field.isAddress) reserveAddressAbove(mask, field.low & ~63, hawBits)
  return mask
}

/** Address bits `[63:HAW]` of the 64-bit word that starts at bit `from`. */
function reserveAddressAbove(mask: Int32Array, from: number, hawBits: number): void {
  for (let b = from + hawBits; b < from + 64; b++) mask[b >>> 5] |= 1 << (b & 31)
}

/** Bits of a field beyond the width that the unit has. */
function reserveAbove(mask: Int32Array, field: { low: number; high: number }, width: number): void {
  for (let b = field.low + width; b <= field.high; b++) mask[b >>> 5] |= 1 << (b & 31)
}
