/** Compares what a unit answered with what the capture says is true. */

import type { CapturedRow } from './folder.js'

/** How one lookup ended, in the words of the capture. */
export interface Answer {
  /** Where it leads; absent when it does not. */
  readonly address?: bigint
  /** The fault's name as captures spell it (`F_TRANSLATION`, `0x71`), or `ABORT`. */
  readonly fault?: string
}

/** Counts of rows. */
export interface Tally {
  matched: number
  mismatched: number
  skipped: number
}

/** A row whose answer is not the truth, with the walk that shows why. */
export interface Mismatch {
  readonly row: CapturedRow
  readonly answer: Answer
  /** `raw unit`, `user domain`, `user domain, PASID 5`. */
  readonly through: string
  /** The walk, a step a line. */
  readonly walk: readonly string[]
}

/** An empty tally. */
export const emptyTally = (): Tally => ({ matched: 0, mismatched: 0, skipped: 0 })

/** Whether an answer is the row's truth. VT-d reasons compare as numbers (`0x5` is `0x05`). */
export function agrees(row: CapturedRow, answer: Answer): boolean {
  if (row.pa !== undefined) return answer.address === row.pa
  if (answer.fault === undefined || row.fault === undefined) return false
  return canonical(answer.fault) === canonical(row.fault)
}

/** A row in one line, for people. */
export function describeRow(row: CapturedRow): string {
  const pasid = row.pasid === null ? '' : ` pasid ${row.pasid}`
  const truth = row.pa === undefined ? row.fault : hex(row.pa)
  return `stream ${row.sid}${pasid} ${row.access === 'r' ? 'read' : 'write'} ${hex(row.iova)} -> ${truth}`
}

/** An answer in a few words, for people. */
export const describeAnswer = (answer: Answer): string =>
  answer.address === undefined ? (answer.fault ?? 'no answer') : hex(answer.address)

/** A 64-bit number as people and manuals write it. */
export const hex = (value: bigint): string => `0x${value.toString(16)}`

const canonical = (fault: string): string => (/^0x[0-9a-f]+$/i.test(fault) ? hex(BigInt(fault)) : fault)
