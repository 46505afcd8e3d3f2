/** What the words are that a walk reads, as small numbers: records by name, table entries by stage and level. */

import type { WordName } from '../oracle/subject.js'
import { HPTL1E, HPTL2E, HPTL3E, HPTL4E } from './hpt-records.js'
import {
  CONTEXT_ENTRY,
  FIRST_STAGE_ENTRY,
  PASID_DIRECTORY_ENTRY,
  PASID_TABLE_ENTRY,
  ROOT_ENTRY,
  SCALABLE_CONTEXT_ENTRY,
  SCALABLE_ROOT_ENTRY,
  SECOND_STAGE_ENTRY,
} from './records.js'

const RECORDS: readonly string[] = [
  ROOT_ENTRY.$.name,
  SCALABLE_ROOT_ENTRY.$.name,
  CONTEXT_ENTRY.$.name,
  SCALABLE_CONTEXT_ENTRY.$.name,
  PASID_DIRECTORY_ENTRY.$.name,
  PASID_TABLE_ENTRY.$.name,
  HPTL4E.$.name,
  HPTL3E.$.name,
  HPTL2E.$.name,
  HPTL1E.$.name,
]

/** Table entries of a stage, by level, from here on. */
const STAGE = { 1: 16, 2: 24 } as const
const LEVELS = 8

/** The manual counts levels from 1. [VTD 3.6 First-Stage Translation, 3.7] */
const LEAF_LEVEL = 1

/** A configuration record. */
export const kindOfRecord = (name: string): number => RECORDS.indexOf(name)

/** A table entry; level 0 holds 4 KiB leaves. */
export const kindOfTable = (stage: 1 | 2, level: number): number => STAGE[stage] + level

/** What a kind is called. */
export function nameOfKind(kind: number): WordName {
  if (kind < STAGE[1]) return { what: RECORDS[kind] }
  const stage = kind < STAGE[2] ? 1 : 2
  const what = stage === 1 ? FIRST_STAGE_ENTRY.$.name : SECOND_STAGE_ENTRY.$.name
  return { what, stage, level: (kind % LEVELS) + LEAF_LEVEL }
}

/** A, D and EA of the first stage; A and D of the second. */
const MARKS = { 1: 0x460, 2: 0x300 } as const

/** Whether a table entry differs in what hardware marks in it alone. [VTD 3.6.2 Accessed, Extended Accessed, and Dirty Flags] */
export function marks(kind: number, before: readonly [number, number], after: readonly [number, number]): boolean {
  if (kind < STAGE[1] || before[1] !== after[1]) return false
  return ((before[0] ^ after[0]) & ~MARKS[kind < STAGE[2] ? 1 : 2]) === 0
}

/** P of the first stage; R and W of the second. */
const PRESENT = { 1: 1, 2: 3 } as const
const PS = 1 << (FIRST_STAGE_ENTRY.PS.low & 31)

/**
 * Whether the size of a page was changed in one step: its entry has to be not present and the caches empty of it in
 * between. [VTD 6.5.3.3 T28]
 */
export function changesSize(kind: number, before: number, after: number): boolean {
  if (kind < STAGE[1] || kind % LEVELS === 0) return false
  const present = PRESENT[kind < STAGE[2] ? 1 : 2]
  return (before & present) !== 0 && (after & present) !== 0 && ((before ^ after) & PS) !== 0
}
