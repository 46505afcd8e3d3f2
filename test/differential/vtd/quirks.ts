/** What QEMU's VT-d is known to get wrong, and which section of the manual says so. */

import type { Quirk } from '../quirks.js'

const all = { hides: 'answer' } as const

/** FR stands in bits [103:96] of a fault record, FI in [63:12]. [VTD 11.4.7.6 Fault Recording Registers] */
const FR = { hides: { 3: 0xff } } as const

/** By a name that the survey uses. The order is the order in a report. */
export const VTD_QUIRKS = {
  TABLE_CODES: {
    does: 'root and context entries of scalable mode fault with the reasons of legacy mode',
    manual: '[VTD 7.1.3 Fault Conditions, SRT.1 to SCT.3]',
    ...FR,
  },
  SECOND_CODES: {
    does: 'the second stage of scalable mode faults with the reasons of legacy mode',
    manual: '[VTD 7.1.3 Fault Conditions, SSS.1 to SGN.7]',
    ...FR,
  },
  INTERRUPT_CODE: {
    does: 'a unit with scalable mode reports outputs in the interrupt range as scalable mode does in legacy mode too',
    manual: '[VTD 7.1.3 Fault Conditions, LGN.4]',
    ...FR,
  },
  RIGHTS_FIRST: {
    does: 'an entry that lacks a right ends the walk, whatever is wrong with it or below it',
    manual: '[VTD 3.7.1 Access Rights] [VTD 7.1.3 Fault Conditions, LSS.1, LSS.2, SFS.1 to SFS.3]',
    ...FR,
  },
  PASID_ORDER: {
    does: 'PGTT of a PASID table entry is looked at before P',
    manual: '[VTD 7.1.3 Fault Conditions, SPT.2]',
    ...FR,
  },
  ALL_ONES: {
    does: 'an entry of ones alone counts as one that could not be read',
    manual: '[VTD 7.1.3 Fault Conditions, LSS.2]',
    ...FR,
  },
  FI_ABOVE_48: {
    does: 'FI keeps address bits above the widest AGAW',
    manual: '[VTD 11.4.7.6 Fault Recording Registers, FI]',
    hides: { 1: -0x10000 },
  },
  FI_ABOVE_39: {
    does: 'FI keeps address bits above the widest AGAW, where that has 39 bits',
    manual: '[VTD 11.4.7.6 Fault Recording Registers, FI]',
    hides: { 1: -0x80 },
  },
  FPD_BELOW: {
    does: 'FPD of a PASID directory or table entry is forgotten where that entry ends the search',
    manual: '[VTD 7.1.1 Non-Recoverable Address Translation Faults] [VTD 9.5 PASID Directory Entry, FPD]',
    hides: 'record',
  },
  CONTEXT_FPD: {
    does: 'reserved bits of a context entry are reported whatever its FPD says',
    manual: '[VTD 7.1.3 Fault Conditions, LCT.3] [VTD 9.3 Context Entry, FPD]',
    hides: 'record',
  },
  CONTEXT_RESERVED: {
    does: 'fields of absent capabilities are let pass in a scalable-mode context entry',
    manual: '[VTD 9.4 Scalable-Mode Context Entry]',
    ...all,
  },
  CONTEXT_VALID: {
    does: 'a scalable-mode context entry may allow page requests and no translation requests',
    manual: '[VTD 7.1.3 Fault Conditions, SCT.4]',
    ...all,
  },
  ROOT_HALF: {
    does: 'reserved bits of a half of a root entry count although it is not present',
    manual: '[VTD 7.1.3 Fault Conditions, SRT.3]',
    ...all,
  },
  PASID_RESERVED: {
    does: 'no reserved bit of a PASID directory or table entry is looked at',
    manual: '[VTD 7.1.3 Fault Conditions, SPD.3, SPT.3]',
    ...all,
  },
  PASID_PRESENT: {
    does: 'P of a PASID table entry is not looked at while the context entry is cached',
    manual: '[VTD 7.1.3 Fault Conditions, SPT.2]',
    ...all,
  },
  FIRST_WIDTH: {
    does: 'AW, which belongs to the second stage, says which first-stage addresses are canonical',
    manual: '[VTD 3.6 First-Stage Translation]',
    ...all,
  },
  FLAGS: {
    does: 'access and dirty flags are set by a unit that does not snoop, and not at all in an entry that has one of them',
    manual: '[VTD 7.1.3 Fault Conditions, SFS.9] [VTD 3.10 Snoop Behavior]',
    ...all,
  },
  SNOOP: {
    does: 'a unit with scalable mode lets SNP pass without ECAP.SC',
    manual: '[VTD 9.8 Second-Stage Paging Entries, SNP]',
    ...all,
  },
  PASS_WIDTH: {
    does: 'addresses beyond the host width pass through',
    manual: '[VTD 7.1.3 Fault Conditions, LGN.1.3, SGN.4.2]',
    ...all,
  },
  MODE: {
    does: 'TTM that asks for a mode that the unit lacks is taken for another one',
    manual: '[VTD 7.1.3 Fault Conditions, RTA.1]',
    ...all,
  },
  CACHED_DENIAL: {
    does: 'what a cached entry denies is blocked without a record, whatever the tables say by now',
    manual: '[VTD 7.1.3 Fault Conditions, LGN.2, LGN.3, SGN.6] [VTD 6.5.3.6 Delayed Invalidation]',
    ...all,
  },
  IOTLB_ADDRESS: {
    does: 'address bits above MGAW of an IOTLB invalidation are not ignored',
    manual: '[VTD 6.5.2.3 IOTLB Invalidate Descriptor]',
    ...all,
  },
  PASID_RANGE: {
    does: 'a PASID-based IOTLB invalidation is refused where its AM is above CAP.MAMV',
    manual: '[VTD 11.4.2 Capability Register, MAMV] [VTD 6.5.2.4 PASID-based-IOTLB Invalidate Descriptor]',
    hides: {},
  },
  DESCRIPTOR_TAKEN: {
    does: 'what is for device TLBs, page requests, interrupts or scalable mode alone is taken by a unit without them',
    manual: '[VTD 6.5.2.5 Device-TLB Invalidate Descriptor] [VTD 6.5.2.11 Invalidation Queue Errors]',
    hides: {},
  },
  WAIT_IDLE: {
    does: 'a wait descriptor that asks for neither a status nor an interrupt nor a fence is refused',
    manual: '[VTD 6.5.2.9 Invalidation Wait Descriptor]',
    hides: {},
  },
} as const satisfies Readonly<Record<string, Omit<Quirk, 'name'>>>

/** Name of one of them. */
export type VtdQuirk = keyof typeof VTD_QUIRKS

/** The same with their names in them, in order. */
export const VTD_QUIRK_LIST: readonly Quirk[] = Object.entries(VTD_QUIRKS).map(([name, quirk]) => ({ name, ...quirk }))
