/** What entries say of each kind of domain, field by field as Linux fills them. [VTD 9.3, 9.4, 9.6] */

import { pack } from '../../../hw-model/bits/layout.js'
import { CONTEXT_ENTRY, PASID_TABLE_ENTRY, PGTT, SCALABLE_CONTEXT_ENTRY, TT } from '../../../hw-model/vtd/index.js'
import { IDENTITY_DID } from './domain-ids.js'
import type { VtdHardware } from './hardware.js'
import type { IdentityDomain } from './identity.js'
import type { PagingDomain } from './paging.js'
import { type UserDomain, VTD_S1_FLAG } from './user.js'

/** A domain that an entry can point to. */
export type VtdDomain = PagingDomain | UserDomain | IdentityDomain

/** Entries of the smallest PASID directory, PDTS 0. [VTD 9.4 PDTS] */
const MIN_DIRECTORY = 128

/** What a device can do, as its context entry says it. */
export interface FunctionFacts {
  /** PASIDs it can use, a power of two; 0 for none. */
  readonly pasids: number
  /** It may ask for translations. */
  readonly hasTlb: boolean
  /** It may ask for pages. */
  readonly hasPageRequests: boolean
}

/** A device's context entry in scalable mode. RID_PASID is 0: requests without PASID use the first PASID entry. */
export const scalableContextEntry = (directory: number, entries: number, facts: FunctionFacts) =>
  pack(SCALABLE_CONTEXT_ENTRY, {
    P: 1,
    DTE: facts.hasTlb ? 1 : 0,
    PASIDE: facts.pasids > 0 ? 1 : 0,
    PRE: facts.hasPageRequests ? 1 : 0,
    PDTS: Math.log2(entries / MIN_DIRECTORY),
    PASIDDIRPTR: directory,
    RID_PASID: 0,
  })

/** A device's context entry in legacy mode. A pass-through entry names the unit's greatest width. */
export function legacyContextEntry(hardware: VtdHardware, domain: VtdDomain, did: number, hasTlb: boolean): Int32Array {
  if (domain.kind === 'identity') {
    return pack(CONTEXT_ENTRY, { P: 1, TT: TT.PASS_THROUGH, AW: widestOf(hardware), DID: IDENTITY_DID })
  }
  const { root, levels } = domain as PagingDomain
  return pack(CONTEXT_ENTRY, {
    P: 1,
    TT: hasTlb ? TT.ALL : TT.UNTRANSLATED,
    SSPTPTR: root,
    AW: levels - 2,
    DID: did,
  })
}

/** A PASID table entry. */
export function pasidEntry(hardware: VtdHardware, domain: VtdDomain, did: number): Int32Array {
  const { ecap } = hardware
  const common = { P: 1, DID: did, PWSNP: ecap['SMPWCS'] }
  if (domain.kind === 'identity') {
    return pack(PASID_TABLE_ENTRY, { ...common, PGTT: PGTT.PASS_THROUGH, AW: widestOf(hardware) })
  }
  if (domain.kind === 'user') {
    const words = pack(PASID_TABLE_ENTRY, { ...common, ...nestedFields(hardware, domain) })
    return withGuestTable(words, domain.data.pgtblAddr)
  }
  if (domain.stage === 'first') {
    return pack(PASID_TABLE_ENTRY, {
      ...common,
      PGTT: PGTT.FIRST,
      AW: widestOf(hardware),
      PGSNP: ecap['SC'],
      FSPM: domain.levels - 4,
      FSPTPTR: domain.root,
    })
  }
  return pack(PASID_TABLE_ENTRY, {
    ...common,
    PGTT: PGTT.SECOND,
    AW: domain.levels - 2,
    SSADE: domain.isDirtyTracked ? 1 : 0,
    SSPTPTR: domain.root,
  })
}

/** The guest's fields beside its parent's. WPE counts only beside SRE. [uAPI IOMMU_VTD_S1_WPE] */
function nestedFields({ ecap }: VtdHardware, { data, parent }: UserDomain): Record<string, number> {
  const has = (flag: bigint): number => ((data.flags & flag) !== 0n ? 1 : 0)
  const sre = has(VTD_S1_FLAG.SRE)
  return {
    PGTT: PGTT.NESTED,
    AW: parent.levels - 2,
    SSADE: parent.isDirtyTracked ? 1 : 0,
    SSPTPTR: parent.root,
    PGSNP: ecap['SC'],
    SRE: sre,
    FSPM: data.addrWidth === 57 ? 1 : 0,
    WPE: sre & has(VTD_S1_FLAG.WPE),
    EAFE: has(VTD_S1_FLAG.EAFE),
  }
}

/** The guest's pointer as it came, but for bits 11:0: it may have more bits than a number holds, or than the unit takes. */
function withGuestTable(words: Int32Array, address: bigint): Int32Array {
  const at = PASID_TABLE_ENTRY.FSPTPTR.low >>> 5
  words[at] |= Number(BigInt.asIntN(32, address & ~0xfffn))
  words[at + 1] = Number(BigInt.asIntN(32, address >> 32n))
  return words
}

/**
 * AW of entries without tables of their own in the second stage: the unit's widest. Without a second stage the field is
 * reserved, and Linux's value there would fault. [VTD 9.6 AW]
 */
function widestOf({ cap, ecap }: VtdHardware): number {
  if (ecap['SMTS'] && !ecap['SSTS']) return 0
  const widths = ecap['FSTS'] ? cap['SAGAW'] & (cap['FS5LP'] ? 0b1100 : 0b0100) : cap['SAGAW']
  return 31 - Math.clz32(widths === 0 ? cap['SAGAW'] : widths)
}
