/** Table entries as the steps of an explained walk. [Arm D8.3 Translation table descriptor formats] */

import type { Field } from '../bits/layout.js'
import type { Space, WalkStep, WalkTrace } from '../port.js'
import { recordOf, rightsText, sizeText } from '../walk/describe.js'
import { addressIn, ENTRY } from '../walk/format.js'
import type { EntryTrace, Walker } from '../walk/walker.js'
import {
  STAGE_1_LEAF,
  STAGE_1_LEAVES,
  STAGE_1_TABLES,
  STAGE_2_LEAF,
  STAGE_2_LEAVES,
  STAGE_2_TABLE,
  STAGE_2_TABLES,
} from './descriptors.js'
import { HypFormat, type Vmsa, WIDE } from './formats.js'
import { PRIVILEGED_SHIFT, RIGHT } from './rights.js'

const AP = ['read-write, EL1 only', 'read-write, EL0 and EL1', 'read-only, EL1 only', 'read-only, EL0 and EL1'] as const
const AP_TABLE = ['no limit', 'EL1 only', 'read-only', 'read-only, EL1 only'] as const
/** NS-EL2 has one privilege and one bit. */
const AP_EL2 = ['read-write', 'read-write', 'read-only', 'read-only'] as const
const AP_TABLE_EL2 = ['no limit', 'no limit', 'read-only', 'read-only'] as const
const SHAREABILITY = ['non-shareable', 'reserved', 'outer shareable', 'inner shareable'] as const

/** The walker's levels count up from the leaves, the manual's down to 3. */
const LAST_LEVEL = 3

/** Shows the entries of one stage. What stage 1 names is an IPA where its tables stand behind stage 2. */
export function entryTrace(stage: 1 | 2, trace: WalkTrace): EntryTrace {
  return {
    entry(walker, format, tables, physical, kind, above) {
      const { lo, hi, level } = walker
      const isTable = kind === ENTRY.TABLE
      const isPresent = kind === ENTRY.TABLE || kind === ENTRY.LEAF
      const space = tables === null ? 'pa' : 'ipa'
      const rights = kind === ENTRY.LEAF ? format.narrow(above, lo, hi, level) : 0
      trace.step({
        what: `stage-${stage} table entry`,
        stage,
        level: LAST_LEVEL - level,
        address: physical,
        ...(tables === null ? {} : { guestAddress: walker.entryAddress }),
        ...fieldsOf(stage, walker, space, format as Vmsa),
        verdict: verdictOf(stage, walker, kind, rights, format instanceof HypFormat),
        ...(isPresent ? { target: { space, address: addressIn(format, lo, hi, level) } } : {}),
        citation: isTable
          ? '[Arm D8.3.1 Table descriptor format]'
          : '[Arm D8.3.1 Block descriptor and Page descriptor formats]',
      })
    },
    flags({ lo, hi, level }, physical, next) {
      const words = Int32Array.of(next, hi)
      const isDirty = STAGE_1_LEAF.AP.get(words, 0) !== STAGE_1_LEAF.AP.get(Int32Array.of(lo, hi), 0)
      const only = ['AF', 'DBM', stage === 1 ? 'AP' : 'S2AP']
      trace.step({
        what: `stage-${stage} flag update`,
        stage,
        level: LAST_LEVEL - level,
        address: physical,
        ...(stage === 1 ? recordOf(STAGE_1_LEAF, words, { only }) : recordOf(STAGE_2_LEAF, words, { only })),
        verdict: `hardware marks it ${isDirty ? 'accessed and dirty' : 'accessed'}`,
        citation: isDirty ? '[SMMU 3.13.3 Dirty state hardware update]' : '[SMMU 3.13.2 Access flag hardware update]',
      })
    },
  }
}

function verdictOf(stage: 1 | 2, { lo, level, leafLg2 }: Walker, kind: number, rights: number, isHyp: boolean): string {
  switch (kind) {
    case ENTRY.TABLE:
      return 'next table'
    case ENTRY.LEAF:
      return [
        'leaf',
        sizeText(leafLg2),
        ...(stage === 1 ? stageOneRights(rights, isHyp) : stageTwoRights(rights)),
      ].join(', ')
    case ENTRY.TOO_WIDE:
      return 'F_ADDR_SIZE: its address is beyond the output size'
    case ENTRY.UNACCESSED:
      return 'F_ACCESS: the access flag is clear'
    default:
      if ((lo & 1) === 0) return 'F_TRANSLATION: not valid'
      return `F_TRANSLATION: level ${LAST_LEVEL - level} has no block`
  }
}

function stageOneRights(rights: number, isHyp: boolean): string[] {
  if (isHyp) return [rightsText(rights), ...cleanText(rights)]
  const scope = (rights & RIGHT.NOT_GLOBAL) === 0 ? 'global' : 'not global'
  const [user, privileged] = [rightsText(rights), rightsText(rights >>> PRIVILEGED_SHIFT)]
  if (user === privileged) return [user, ...cleanText(rights), scope]
  return [`EL0 ${user}`, `EL1 ${privileged}`, ...cleanText(rights), scope]
}

const stageTwoRights = (rights: number): string[] => [
  rightsText(rights),
  ...cleanText(rights),
  ...((rights & RIGHT.DEVICE) === 0 ? [] : ['Device memory']),
]

/** DBM is set, hardware keeps the dirty state, and nobody has written yet. */
const cleanText = (rights: number): string[] => ((rights & RIGHT.CLEAN) === 0 ? [] : ['clean until it is written'])

function fieldsOf(stage: 1 | 2, { lo, hi, level }: Walker, space: Space, format: Vmsa): Partial<WalkStep> {
  const words = Int32Array.of(lo, hi)
  const valueIn = (field: Field): number => field.get(words, 0)
  const isHyp = format instanceof HypFormat
  const isTable = level !== 0 && (lo & 2) !== 0
  const isValid = (lo & 1) !== 0
  const Type = isTable ? 'table' : level === 0 ? 'page' : 'block'
  // An invalid entry is software's own but for its lowest bit.
  if (!isValid) return recordOf(STAGE_2_TABLE, words, { only: ['V'], texts: { V: 'not valid' } })
  if (isTable && stage === 2) return recordOf(STAGE_2_TABLES[format.wide], words, { texts: { Type }, space })
  if (isTable) {
    const table = STAGE_1_TABLES[format.wide]
    const APTable = (isHyp ? AP_TABLE_EL2 : AP_TABLE)[valueIn(table.APTable)]
    return recordOf(table, words, { texts: { Type, APTable }, space })
  }
  // With DS there is no SH: it comes from the CD or STE.
  const SH: Record<string, string> = format.wide === WIDE.DS ? {} : { SH: SHAREABILITY[valueIn(STAGE_1_LEAF.SH)] }
  if (stage === 2) {
    const leaf = STAGE_2_LEAVES[format.wide]
    const texts = { Type, S2AP: rightsText(valueIn(leaf.S2AP)), ...SH, AF: accessText(valueIn(leaf.AF)) }
    return recordOf(leaf, words, { texts, space })
  }
  const leaf = STAGE_1_LEAVES[format.wide]
  const texts = {
    Type,
    AP: (isHyp ? AP_EL2 : AP)[valueIn(leaf.AP)],
    ...SH,
    AF: accessText(valueIn(leaf.AF)),
    nG: isHyp ? 'no effect' : valueIn(leaf.nG) === 1 ? 'not global' : 'global',
  }
  return recordOf(leaf, words, { texts, space })
}

const accessText = (flag: number): string => (flag === 1 ? 'accessed' : 'not accessed')
