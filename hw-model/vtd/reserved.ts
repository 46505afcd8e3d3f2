/**
 * Which bits of an entry or a descriptor are reserved on a given unit: those in no field, address bits above the host
 * address width, and fields whose capability is absent. [VTD 9, 6.5.2, 11.4.3]
 */

import { type FieldSpec, type Layout, maskOutside } from '../bits/layout.js'
import type { Capabilities } from './capabilities.js'
import {
  CONTEXT_CACHE_INVALIDATE,
  DESCRIPTOR_TYPE,
  DEVICE_TLB_INVALIDATE,
  HPT_CACHE_INVALIDATE,
  INVALIDATION_WAIT,
  IOTLB_INVALIDATE,
  PAGE_GROUP_RESPONSE,
  PASID_CACHE_INVALIDATE,
  PASID_DEVICE_TLB_INVALIDATE,
  PASID_IOTLB_INVALIDATE,
} from './descriptors.js'
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

/** Bits outside every field of a descriptor, by type; absent for types that a unit does not have. */
export type DescriptorMasks = Readonly<Partial<Record<number, Int32Array>>>

/** Made once per unit. [VTD 6.5.2 Queued Invalidation Interface] */
export function descriptorMasks({ ecap }: Capabilities): DescriptorMasks {
  // PD is reserved without page-request draining, PFSID without throttling.
  const pfsid = absent(ecap.DIT, 'PFSIDLow', 'PFSIDHigh')
  return {
    [DESCRIPTOR_TYPE.CONTEXT_CACHE]: maskOutside(CONTEXT_CACHE_INVALIDATE),
    [DESCRIPTOR_TYPE.IOTLB]: maskOutside(IOTLB_INVALIDATE),
    [DESCRIPTOR_TYPE.WAIT]: without(INVALIDATION_WAIT, absent(ecap.PDS, 'PD')),
    [DESCRIPTOR_TYPE.PASID_IOTLB]: maskOutside(PASID_IOTLB_INVALIDATE),
    [DESCRIPTOR_TYPE.PASID_CACHE]: maskOutside(PASID_CACHE_INVALIDATE),
    ...(ecap.HPTS === 0 ? {} : { [DESCRIPTOR_TYPE.HPT_CACHE]: maskOutside(HPT_CACHE_INVALIDATE) }),
    ...(ecap.PRS === 0 ? {} : { [DESCRIPTOR_TYPE.PAGE_GROUP_RESPONSE]: maskOutside(PAGE_GROUP_RESPONSE) }),
    ...(ecap.DT === 0
      ? {}
      : {
          [DESCRIPTOR_TYPE.DEVICE_TLB]: without(DEVICE_TLB_INVALIDATE, pfsid),
          [DESCRIPTOR_TYPE.PASID_DEVICE_TLB]: without(PASID_DEVICE_TLB_INVALIDATE, pfsid),
        }),
  }
}

/** Names that are reserved when a capability is absent. */
const absent = (capability: number, ...names: string[]): string[] => (capability === 0 ? names : [])

/** What is reserved where some fields are, too. */
function without<F extends Record<string, FieldSpec>>(record: Layout<F>, fields: readonly string[]): Int32Array {
  const kept = [...record.$.fields.keys()].filter((name) => !fields.includes(name))
  return maskOutside(record, kept)
}

function reserved<F extends Record<string, FieldSpec>>(
  record: Layout<F>,
  hawBits: number,
  lacking: readonly string[],
): Int32Array {
  const mask = without(record, lacking)
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
