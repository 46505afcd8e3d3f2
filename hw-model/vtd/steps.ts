/** What the unit reads as the steps of an explained walk. [VTD 9] */

import type { WalkStep, WalkTrace } from '../port.js'
import { recordOf, rightsText, sizeText, type Telling } from '../walk/describe.js'
import { addressIn, ENTRY } from '../walk/format.js'
import type { EntryTrace, Walker } from '../walk/walker.js'
import { faultName, REASON } from './faults.js'
import { RIGHT, SecondStageFormat } from './formats.js'
import { HPTL1E, HPTL2E, HPTL3E, HPTL4E } from './hpt-records.js'
import {
  CONTEXT_ENTRY,
  FIRST_STAGE_ENTRY,
  PASID_DIRECTORY_ENTRY,
  PASID_TABLE_ENTRY,
  PGTT,
  ROOT_ENTRY,
  SCALABLE_CONTEXT_ENTRY,
  SCALABLE_ROOT_ENTRY,
  SECOND_STAGE_ENTRY,
} from './records.js'

const TRANSLATION_TYPES = ['untranslated requests', 'device-TLB requests too', 'pass-through', 'reserved'] as const
const PASID_TYPES = ['reserved', 'first stage', 'second stage', 'nested', 'pass-through'] as const
const FIRST_MODES = ['4 levels', '5 levels', 'reserved', 'reserved'] as const

/** Flags of a scalable context entry: what they say when they are 0 and 1. [VTD 9.4] */
const CONTEXT_FLAGS = {
  DTE: ['no device TLB', 'translation and translated requests'],
  PASIDE: ['no PASIDs', 'PASIDs allowed'],
  PRE: ['no page requests', 'page requests'],
  EPTR: ['no PASIDs in translated requests', 'PASIDs in translated requests'],
  RID_PRIV: ['user requests', 'privileged requests'],
} as const

const COMMON_FIELDS = ['P', 'FPD', 'PGTT', 'DID', 'PWSNP', 'PGSNP', 'SRE'] as const
const FIRST_FIELDS = ['FSPM', 'WPE', 'EAFE', 'FSPTPTR'] as const
const SECOND_FIELDS = ['AW', 'SSADE', 'SSPTPTR'] as const

/** Reasons in words, as far as an entry's own fields or its place are at fault. [VTD 7.1.3 T30] */
const REASONS: Readonly<Record<number, string>> = {
  [REASON.LRT_1]: 'the root entry cannot be read',
  [REASON.LRT_2]: 'P is 0',
  [REASON.LRT_3]: 'reserved bits are set',
  [REASON.LCT_1]: 'the context entry cannot be read',
  [REASON.LCT_2]: 'P is 0',
  [REASON.LCT_3]: 'reserved bits are set',
  [REASON.LCT_4]: 'AW or TT has a value that this unit does not offer',
  [REASON.SRT_1]: 'the root entry cannot be read',
  [REASON.SRT_2]: 'the half of the function is not present',
  [REASON.SRT_3]: 'reserved bits are set',
  [REASON.SCT_1]: 'the context entry cannot be read',
  [REASON.SCT_2]: 'P is 0',
  [REASON.SCT_3]: 'reserved bits are set',
  [REASON.SCT_4]: 'PRE stands without DTE, RID_PASID is beyond the PASIDs of PDTS, or EPTR stands without PASIDE',
  [REASON.SCT_6]: 'PASIDE is 0',
  [REASON.SPD_1]: 'the PASID directory entry cannot be read',
  [REASON.SPD_2]: 'P is 0',
  [REASON.SPD_3]: 'reserved bits are set',
  [REASON.SPT_1]: 'the PASID table entry cannot be read',
  [REASON.SPT_2]: 'P is 0',
  [REASON.SPT_3]: 'reserved bits are set',
  [REASON.HPT_1]: 'a table of host permissions cannot be read',
  [REASON.HPT_2]: 'reserved bits are set',
  [REASON.HPT_3]: 'the root of the host permissions cannot be read',
  [REASON.SPT_4]: 'AW, PGTT, FSPM or FSPTPTR has a value that this unit does not offer',
}

/** A configuration entry that leads on. */
export function configStep(
  name: string,
  address: number,
  words: Int32Array,
  verdict: string,
  target: WalkStep['target'],
): WalkStep {
  return {
    what: name,
    address,
    ...fieldsOf(name, words),
    verdict,
    ...(target === undefined ? {} : { target }),
    citation: CITATIONS[name],
  }
}

/** A configuration entry that ends the walk; `words` is null where it could not be read. */
export function failedStep(name: string, address: number, words: Int32Array | null, reason: number): WalkStep {
  return {
    what: name,
    address,
    ...(words === null ? {} : fieldsOf(name, words)),
    verdict: `${faultName(reason)}: ${REASONS[reason]}`,
    citation: CITATIONS[name],
  }
}

const CITATIONS: Readonly<Record<string, string>> = {
  [ROOT_ENTRY.$.name]: '[VTD 9.1 Root Entry]',
  [SCALABLE_ROOT_ENTRY.$.name]: '[VTD 9.2 Scalable-mode Root Entry]',
  [CONTEXT_ENTRY.$.name]: '[VTD 9.3 Context Entry]',
  [SCALABLE_CONTEXT_ENTRY.$.name]: '[VTD 9.4 Scalable-Mode Context Entry]',
  [PASID_DIRECTORY_ENTRY.$.name]: '[VTD 9.5 Scalable-Mode PASID Directory Entry]',
  [PASID_TABLE_ENTRY.$.name]: '[VTD 9.6 Scalable-Mode PASID Table Entry]',
  [HPTL4E.$.name]: '[VTD 9.12.1 HPTL4E]',
  [HPTL3E.$.name]: '[VTD 9.12.2 HPTL3E]',
  [HPTL2E.$.name]: '[VTD 9.12.3 HPTL2E]',
  [HPTL1E.$.name]: '[VTD 9.12.4 HPTL1E]',
}

function fieldsOf(name: string, words: Int32Array): ReturnType<typeof recordOf> {
  switch (name) {
    case ROOT_ENTRY.$.name:
      return recordOf(ROOT_ENTRY, words)
    case SCALABLE_ROOT_ENTRY.$.name:
      return recordOf(SCALABLE_ROOT_ENTRY, words)
    case CONTEXT_ENTRY.$.name: {
      const only = ['P', 'FPD', 'TT', 'SSPTPTR', 'AW', 'DID']
      const TT = TRANSLATION_TYPES[CONTEXT_ENTRY.TT.get(words, 0)]
      return recordOf(CONTEXT_ENTRY, words, { only, texts: { TT, AW: widthText(CONTEXT_ENTRY.AW.get(words, 0)) } })
    }
    case SCALABLE_CONTEXT_ENTRY.$.name: {
      const PDTS = `PASIDs below ${2 ** (SCALABLE_CONTEXT_ENTRY.PDTS.get(words, 0) + 13)}`
      const texts = Object.entries(CONTEXT_FLAGS).map(([name, [off, on]]) => [
        name,
        SCALABLE_CONTEXT_ENTRY[name as keyof typeof CONTEXT_FLAGS].get(words, 0) === 0 ? off : on,
      ])
      return recordOf(SCALABLE_CONTEXT_ENTRY, words, { texts: { PDTS, ...Object.fromEntries(texts) } })
    }
    case PASID_DIRECTORY_ENTRY.$.name:
      return recordOf(PASID_DIRECTORY_ENTRY, words)
    case HPTL4E.$.name:
    case HPTL3E.$.name:
    case HPTL2E.$.name:
      return recordOf(HPTL4E, words, { only: ['AV', 'ADDR'] })
    case HPTL1E.$.name:
      return recordOf(HPTL1E, words, { only: [] })
    default:
      return recordOf(PASID_TABLE_ENTRY, words, pasidTelling(words))
  }
}

function pasidTelling(words: Int32Array): Telling {
  const pgtt = PASID_TABLE_ENTRY.PGTT.get(words, 0)
  const hasFirst = pgtt === PGTT.FIRST || pgtt === PGTT.NESTED
  const hasSecond = pgtt === PGTT.SECOND || pgtt === PGTT.NESTED
  const only = [...COMMON_FIELDS, ...(hasFirst ? FIRST_FIELDS : []), ...(hasSecond ? SECOND_FIELDS : [])]
  return {
    // A reserved type says nothing of what matters.
    ...(pgtt === PGTT.PASS_THROUGH || hasFirst || hasSecond ? { only } : {}),
    texts: {
      PGTT: PASID_TYPES[pgtt] ?? 'reserved',
      AW: widthText(PASID_TABLE_ENTRY.AW.get(words, 0)),
      FSPM: FIRST_MODES[PASID_TABLE_ENTRY.FSPM.get(words, 0)],
    },
    spaces: { FSPTPTR: pgtt === PGTT.NESTED ? 'ipa' : 'pa' },
  }
}

/** AW codes: 1, 2, 3 for 3, 4, 5 levels. [VTD 9.3 AW] */
const widthText = (aw: number): string =>
  aw >= 1 && aw <= 3 ? `${aw + 2} levels, ${30 + 9 * aw}-bit addresses` : 'reserved'

/** Table entries count from 4 or 5 at the root down to 1. [VTD 3.6 First-Stage Translation, 3.7] */
const LEAF_LEVEL = 1

/** Shows the entries of one stage. What a first stage names is guest-physical where it stands behind the second. */
export function entryTrace(stage: 1 | 2, trace: WalkTrace): EntryTrace {
  return {
    entry(walker, format, tables, physical, kind, above) {
      const { lo, hi, level } = walker
      const isPresent = kind === ENTRY.TABLE || kind === ENTRY.LEAF
      const space = tables === null ? 'pa' : 'ipa'
      const words = Int32Array.of(lo, hi)
      const rights = kind === ENTRY.LEAF ? format.narrow(above, lo, hi, level) : 0
      const isFirst = stage === 1
      const ioRights = format instanceof SecondStageFormat && format.hasIoRights
      trace.step({
        what: isFirst ? 'first-stage entry' : 'second-stage entry',
        stage,
        level: level + LEAF_LEVEL,
        address: physical,
        ...(tables === null ? {} : { guestAddress: walker.entryAddress }),
        ...(isFirst ? firstFields(words, kind, level, space) : secondFields(words, kind, level, ioRights)),
        verdict: verdictOf(stage, walker, kind, rights, ioRights),
        ...(isPresent ? { target: { space, address: addressIn(format, lo, hi, level) } } : {}),
        citation: isFirst ? '[VTD 9.7 First-Stage Paging Entries]' : '[VTD 9.8 Second-Stage Paging Entries]',
      })
    },
  }
}

function verdictOf(stage: 1 | 2, { leafLg2 }: Walker, kind: number, rights: number, ioRights: boolean): string {
  switch (kind) {
    case ENTRY.TABLE:
      return 'next table'
    case ENTRY.LEAF:
      return ['leaf', sizeText(leafLg2), ...(stage === 1 ? firstRights(rights) : [rightsText(rights)])].join(', ')
    case ENTRY.TOO_WIDE:
      return 'its address is beyond what the second stage takes'
    case ENTRY.RESERVED:
      return 'reserved bits are set, or the level has no such leaf'
    default:
      if (stage === 1) return 'not present: P is 0'
      return ioRights ? 'not present: IR and IW are 0' : 'not present: R and W are 0'
  }
}

const firstRights = (rights: number): string[] => [
  rights & (RIGHT.WRITE | RIGHT.NO_WRITE_PROTECT) ? 'read-write' : 'read-only',
  rights & RIGHT.USER ? 'user and supervisor' : 'supervisor',
]

const FIRST_TABLE_FIELDS = ['P', 'RW', 'US', 'PWT', 'PCD', 'A', 'EA', 'ADDR', 'XD'] as const
const SECOND_RIGHTS = { plain: ['R', 'W'], io: ['IR', 'IW'] } as const

function firstFields(words: Int32Array, kind: number, level: number, space: 'ipa' | 'pa'): Partial<WalkStep> {
  if (kind === ENTRY.INVALID) return recordOf(FIRST_STAGE_ENTRY, words, { only: ['P'], texts: { P: 'not present' } })
  if (kind === ENTRY.RESERVED) return recordOf(FIRST_STAGE_ENTRY, words, { space })
  const isTable = kind === ENTRY.TABLE
  const texts: Record<string, string> = {
    RW: FIRST_STAGE_ENTRY.RW.get(words, 0) === 1 ? 'read-write' : 'read-only',
    US: FIRST_STAGE_ENTRY.US.get(words, 0) === 1 ? 'user' : 'supervisor',
    A: accessText(FIRST_STAGE_ENTRY.A.get(words, 0)),
  }
  if (!isTable) texts['D'] = dirtyText(FIRST_STAGE_ENTRY.D.get(words, 0))
  if (level !== 0) texts['PS'] = FIRST_STAGE_ENTRY.PS.get(words, 0) === 1 ? 'leaf' : 'table'
  const only = level === 0 || !isTable ? ['D', 'G', ...FIRST_TABLE_FIELDS] : FIRST_TABLE_FIELDS
  return recordOf(FIRST_STAGE_ENTRY, words, { only: level === 0 ? only : ['PS', ...only], texts, space })
}

function secondFields(words: Int32Array, kind: number, level: number, ioRights: boolean): Partial<WalkStep> {
  const rights = ioRights ? SECOND_RIGHTS.io : SECOND_RIGHTS.plain
  if (kind === ENTRY.INVALID) return recordOf(SECOND_STAGE_ENTRY, words, { only: rights })
  if (kind === ENTRY.RESERVED) return recordOf(SECOND_STAGE_ENTRY, words)
  const only = [...rights, 'A', 'ADDR', ...(kind === ENTRY.TABLE ? [] : ['EMT', 'IPAT', 'D', 'SNP'])]
  const texts: Record<string, string> =
    level === 0 ? {} : { PS: SECOND_STAGE_ENTRY.PS.get(words, 0) === 1 ? 'leaf' : 'table' }
  return recordOf(SECOND_STAGE_ENTRY, words, { only: level === 0 ? only : ['PS', ...only], texts })
}

const accessText = (flag: number): string => (flag === 1 ? 'accessed' : 'not accessed')
const dirtyText = (flag: number): string => (flag === 1 ? 'dirty' : 'clean')
