/** What QEMU's SMMUv3 is known to get wrong, and which section of the manual says so. */

import type { Quirk } from '../quirks.js'

const all = { hides: 'answer' } as const

/** Bits of event records, by the word that they stand in. [SMMU 7.3 Event records] */
const S2_RNW_TTRNW_IPA = { 3: (1 << 3) | (1 << 7) | (1 << 12), 6: -1, 7: -1 } as const

/** By a name that the survey uses. The order is the order in a report. */
export const SMMU_QUIRKS = {
  UNPRIVILEGED: {
    does: 'AP[1] = 0 in a leaf of stage 1 keeps nobody out',
    manual: '[Arm D8.4 Memory access control]',
    ...all,
  },
  TABLE_LIMITS: {
    does: 'APTable stops writes where it stands, and is forgotten below and in cached entries',
    manual: '[Arm D8.4 Memory access control]',
    ...all,
  },
  GLOBAL: {
    does: 'a global leaf (nG = 0) is cached for its ASID alone',
    manual: '[SMMU 3.17 TLB tagging, VMIDs, ASIDs and StreamWorlds]',
    ...all,
  },
  CONCATENATED: {
    does: 'only the first of concatenated stage 2 tables is ever read',
    manual: '[Arm D8.2 Translation process]',
    ...all,
  },
  START_TOO_HIGH: {
    does: 'S2SL0 may start above what S2T0SZ needs',
    manual: '[SMMU 5.2 Stream Table Entry, S2SL0]',
    ...all,
  },
  S2PS_LIMITS_INPUT: {
    does: 'S2T0SZ may not ask for more bits than S2PS has',
    manual: '[SMMU 5.2 Stream Table Entry, S2T0SZ]',
    ...all,
  },
  S2_FLAGS: {
    does: 'S2HA and S2HD are legal without IDR0.HTTU',
    manual: '[SMMU 5.2 Stream Table Entry, S2HA and S2HD]',
    ...all,
  },
  S1CDMAX: {
    does: 'S1CDMax must be 0 where IDR1.SSIDSIZE is 0, and in any stream with a stage',
    manual: '[SMMU 5.2 Stream Table Entry, S1CDMax]',
    ...all,
  },
  S1STALLD: {
    does: 'S1STALLD is looked at without a stage 1',
    manual: '[SMMU 5.2 Stream Table Entry, S1STALLD]',
    ...all,
  },
  CONTEXT_POINTER: {
    does: 'S1ContextPtr may be beyond OAS or IAS',
    manual: '[SMMU 5.2 Stream Table Entry, S1ContextPtr]',
    ...all,
  },
  TABLE_SIZE: {
    does: 'the address of a next table may be beyond the output size',
    manual: '[SMMU 3.4 Address sizes]',
    ...all,
  },
  LEAF_ORDER: {
    does: 'a leaf beyond the output size is asked for its flag and its permissions first',
    manual: '[Arm D8.2 Translation process, priority of faults]',
    ...all,
  },
  BLOCK_LEVEL: {
    does: 'there are blocks at levels that have none',
    manual: '[Arm D8.3 Translation table descriptor formats]',
    ...all,
  },
  FETCH_ADDRESS: {
    does: 'F_CD_FETCH has FetchAddr where other events have InputAddr',
    manual: '[SMMU 7.3.10 F_CD_FETCH]',
    hides: { 4: -1, 5: -1, 6: -1, 7: -1 },
  },
  FETCH_TOP: {
    does: 'FetchAddr of F_STE_FETCH has bits above OAS',
    manual: '[SMMU 7.3.4 F_STE_FETCH]',
    // Bits of FetchAddr from 44 on, which is the OAS of this part.
    hides: { 7: -0x1000 },
  },
  TABLE_FAULT: {
    does: 'what stage 2 says of a table of stage 1 counts as a fault of stage 1, and names the table, not the entry',
    manual: '[SMMU 7.3.13 F_TRANSLATION]',
    hides: 'record',
  },
  ROOT_FAULT: {
    does: 'both TTBs go through stage 2 when the CD is read, and stay as they were found',
    manual: '[SMMU 3.3.2 StreamIDs to Context Descriptors]',
    ...all,
  },
  SCATTERED_TABLE: {
    does: 'a table of stage 1 that is larger than the page it is mapped by at stage 2 is taken for one piece',
    manual: '[Arm D8.2 Translation process]',
    ...all,
  },
  CONTEXT_FAULT: {
    does: 'a fault on the way to a CD says RnW = 1, and keeps the low bits of the IPA',
    manual: '[SMMU 7.3.13 F_TRANSLATION]',
    hides: S2_RNW_TTRNW_IPA,
  },
  IPA_BITS: {
    does: 'the IPA in a record keeps its low 12 bits',
    manual: '[SMMU 7.3.13 F_TRANSLATION, IPA]',
    hides: { 6: 0xfff },
  },
  CACHED_IPA: {
    does: 'a write that stage 2 denies has no IPA where a cached entry denies it',
    manual: '[SMMU 7.3.16 F_PERMISSION, IPA]',
    hides: { 6: -1, 7: -1 },
  },
  CACHED_DENIAL: {
    does: 'a write that a cached entry of stage 2 alone denies makes no record',
    manual: '[SMMU 7.3.16 F_PERMISSION]',
    hides: 'record',
  },
  WRITE_ONLY: {
    does: 'a cached entry without S2AP[0] is read through, or blocks without a record',
    manual: '[Arm D8.4 Memory access control]',
    ...all,
  },
  INPUT_SIZE: {
    does: 'an input beyond IAS without a stage 1 makes no record, and none beyond OAS without stages is refused',
    manual: '[SMMU 3.4 Address sizes]',
    ...all,
  },
  SPAN: {
    does: 'a level 2 stream table has twice the STEs that Span says, and a reserved Span is taken as it is',
    manual: '[SMMU 5.1 Level 1 Stream Table Descriptor]',
    ...all,
  },
  L2PTR: {
    does: 'the RES0 bits above L2Ptr are taken for a part of it',
    manual: '[SMMU 5.1 Level 1 Stream Table Descriptor, L2Ptr]',
    ...all,
  },
  UNWANTED_RECORD: {
    does: 'C_BAD_STREAMID is recorded whatever CR2.RECINVSID says',
    manual: '[SMMU 6.3.12 SMMU_CR2]',
    ...all,
  },
  DEVICE_TABLE: {
    does: 'S2PTW lets tables stand in Device memory',
    manual: '[SMMU 5.2 Stream Table Entry, S2PTW]',
    ...all,
  },
  COMMAND_TAKEN: {
    does: 'commands of EL2, EL3, ATS, PRI, stalls and Secure streams, CS = 3, and a range that says nothing are consumed',
    manual: '[SMMU 4.1.3 Command opcodes] [SMMU 4.7.3 CMD_SYNC] [SMMU 4.4.1.1 Range-based]',
    hides: {},
  },
  HIGH_TAG: {
    does: 'TBI0 says whether the top byte is ignored in the upper half too',
    manual: '[SMMU 5.4 Context Descriptor, TBI1]',
    ...all,
  },
  TAGGED: {
    does: 'the ignored top byte is part of what an entry is cached by',
    manual: '[Arm D8.8 Address tagging]',
    ...all,
  },
} as const satisfies Readonly<Record<string, Omit<Quirk, 'name'>>>

/** Name of one of them. */
export type SmmuQuirk = keyof typeof SMMU_QUIRKS

/** The same with their names in them, in order. */
export const SMMU_QUIRK_LIST: readonly Quirk[] = Object.entries(SMMU_QUIRKS).map(([name, quirk]) => ({
  name,
  ...quirk,
}))
