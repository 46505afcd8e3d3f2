/** One stage's walk for a survey, entry by entry. [Arm D8.2 Translation process] */

import { addressIn, BIT, entryAt, hasBlocks, levelLg2, rootBytes } from './geometry.js'
import { PLACE, RAM_BASE } from './ram.js'
import type { Survey } from './survey.js'
import type { Format, RootOf } from './survey-entries.js'

/** Where a walk led. */
export interface Walked {
  readonly address: number
  /** log2 of the leaf. */
  readonly lg2: number
  /** The leaf maps Device memory; stage 2 only. */
  readonly isDevice: boolean
}

/** Where the entry at an address of a table is in memory, given the table's first byte; -1 with an end where nowhere. */
export type TablePlace = (address: number, base: number) => number

/** Walks, or answers null with an end. */
export function surveyWalk(
  survey: Survey,
  root: Format & RootOf,
  stage: 1 | 2,
  input: bigint,
  isWrite: boolean,
  place: TablePlace | null,
): Walked | null {
  const { granuleLg2, start } = root
  let table = root.table - (root.table % rootBytes(root))
  if (stage === 2 && input >> BigInt(levelLg2(granuleLg2, start) + granuleLg2 - 3) !== 0n) {
    survey.quirk('CONCATENATED')
  }
  for (let level = start; ; level++) {
    const at = entryAt(table, root, level, input)
    const physical = place === null ? at : place(at, table)
    if (physical < 0) return null
    if (!survey.has(physical)) return fail(survey, 'F_WALK_EABT', stage)
    const entry = survey.get(physical)
    const isTable = (entry & 2n) !== 0n && level < 3
    const isLeaf = level === 3 ? (entry & 3n) === 3n : (entry & 3n) === 1n
    if ((entry & 1n) === 0n || !(isTable || isLeaf)) return fail(survey, 'F_TRANSLATION', stage)
    const lg2 = isTable ? granuleLg2 : levelLg2(granuleLg2, level)
    if (isLeaf && level < 3 && !hasBlocks(granuleLg2, level)) {
      survey.quirk('BLOCK_LEVEL')
      checkStray(survey, addressIn(entry, lg2) + Number(input & ((1n << BigInt(lg2)) - 1n)))
      return fail(survey, 'F_TRANSLATION', stage)
    }
    const isTooWide = addressIn(entry, 12) >= 2 ** root.outputBits
    if (isTable) {
      if (isTooWide) {
        survey.quirk('TABLE_SIZE')
        return fail(survey, 'F_ADDR_SIZE', stage)
      }
      if (stage === 1 && !root.isFlat && ((entry >> 61n) & 3n) !== 0n) survey.quirk('TABLE_LIMITS')
      table = addressIn(entry, granuleLg2)
      continue
    }
    return judgeLeaf(survey, root, stage, entry, lg2, input, isWrite, isTooWide)
  }
}

function judgeLeaf(
  survey: Survey,
  root: Format,
  stage: 1 | 2,
  entry: bigint,
  lg2: number,
  input: bigint,
  isWrite: boolean,
  isTooWide: boolean,
): Walked | null {
  survey.leafLg2 = lg2
  const isUnflagged = (entry & BIT.AF) === 0n && !root.ignoresAf
  const isDenied = stage === 1 ? isWrite && (entry & BIT.READ_ONLY) !== 0n : (entry & need(isWrite)) === 0n
  if (stage === 1 && (entry & (1n << 6n)) === 0n) survey.quirk('UNPRIVILEGED')
  if (stage === 1 && (entry & (1n << 11n)) === 0n) survey.quirk('GLOBAL')
  if (stage === 2 && (entry & BIT.S2_READ) === 0n) survey.quirk('WRITE_ONLY')
  if (isTooWide) {
    if (isUnflagged || isDenied) survey.quirk('LEAF_ORDER')
    return fail(survey, 'F_ADDR_SIZE', stage)
  }
  if (isUnflagged) return fail(survey, 'F_ACCESS', stage)
  if (isDenied) return fail(survey, 'F_PERMISSION', stage)
  const address = addressIn(entry, lg2) + Number(input & ((1n << BigInt(lg2)) - 1n))
  return { address, lg2, isDevice: stage === 2 && (entry & 0b110000n) === 0n }
}

const need = (isWrite: boolean): bigint => (isWrite ? BIT.S2_WRITE : BIT.S2_READ)

/** The reference would translate to here although it may not. */
function checkStray(survey: Survey, address: number): void {
  if (address < RAM_BASE || (survey.has(address) && address < PLACE.DATA)) {
    survey.withheld ||= 'the reference would go where tables or devices stand'
  }
}

function fail(survey: Survey, how: string, stage: 1 | 2): null {
  survey.end(how, stage)
  return null
}
