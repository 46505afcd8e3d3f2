/** Compares what a recorded driver wrote with what ours wrote for the same operations, command by command. */

import type { Operation } from './operations.js'
import { bits, type Command, nameOf, REGISTER, type RegisterWrite, type Row } from './recording.js'
import type { Replayed } from './replay.js'

/** A command on one side or on both. */
export interface Pair {
  readonly theirs: Command | null
  readonly ours: Command | null
}

/** An operation, its commands side by side. */
export interface Compared extends Replayed {
  readonly pairs: readonly Pair[]
  /** Commands of ours that stand alone, or take the place of others; the reason for it. Null where nothing differs. */
  readonly reason: Reason | null
}

/** Why the two differ. */
export type Reason = keyof typeof REASONS

/** Every reason, in the words of the page. */
export const REASONS = {
  'level 1 descriptor':
    'A level 2 stream table is made when its first device is probed, and the level 1 descriptor that was not there may ' +
    'be cached: `CFGI_STE` with Leaf 0. Linux gives none. Here a device may have met C_BAD_STREAMID before.',
  'empty table':
    'The last leaf of a table goes, so the table goes, and the range takes Leaf 0 and no TTL. Linux frees a table only ' +
    'when one call unmaps all that it spans, and keeps empty ones. Here tables count against a quota: what was unmapped ' +
    'is given back.',
  unexplained: 'None is known.',
} as const

/** Puts two sequences side by side so that as much as possible is equal. */
export function align(theirs: readonly Command[], ours: readonly Command[]): readonly Pair[] {
  const isSame = (i: number, j: number): boolean => theirs[i]?.dw0 === ours[j]?.dw0 && theirs[i]?.dw1 === ours[j]?.dw1
  const common = lengths(theirs.length, ours.length, isSame)
  const pairs: Pair[] = []
  for (let i = 0, j = 0; i < theirs.length || j < ours.length; ) {
    if (i < theirs.length && j < ours.length && isSame(i, j)) pairs.push({ theirs: theirs[i++], ours: ours[j++] })
    else if (j === ours.length || (i < theirs.length && common[i + 1][j] >= common[i][j + 1])) {
      pairs.push({ theirs: theirs[i++], ours: null })
    } else pairs.push({ theirs: null, ours: ours[j++] })
  }
  return pairs
}

/** How many are common to what is left from each pair of places on. */
function lengths(theirs: number, ours: number, isSame: (i: number, j: number) => boolean): readonly number[][] {
  const common = Array.from({ length: theirs + 1 }, () => new Array<number>(ours + 1).fill(0))
  for (let i = theirs - 1; i >= 0; i--) {
    for (let j = ours - 1; j >= 0; j--) {
      common[i][j] = isSame(i, j) ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1])
    }
  }
  return common
}

/** Commands of an operation as they were recorded. */
export const recordedCommands = ({ lists }: Operation): readonly Command[] => lists.flatMap(({ commands }) => commands)

/** Commands among rows. */
export const commandsOf = (rows: readonly Row[]): readonly Command[] =>
  rows.flatMap((row) => (row.kind === 'command' ? [row.command] : []))

/** Register writes among rows, but for those that tell of commands. */
export const writesOf = (rows: readonly Row[]): readonly RegisterWrite[] =>
  rows.flatMap((row) => (row.kind === 'register' && row.write.offset !== REGISTER.CMDQ_PROD ? [row.write] : []))

/** The operations side by side. */
export const compared = (replayed: readonly Replayed[]): readonly Compared[] =>
  replayed.map((one) => {
    const pairs = align(recordedCommands(one.operation), commandsOf(one.rows))
    return { ...one, pairs, reason: reasonOf(one.operation, pairs) }
  })

function reasonOf({ kind }: Operation, pairs: readonly Pair[]): Reason | null {
  const theirs = pairs.flatMap(({ theirs, ours }) => (theirs !== null && ours === null ? [theirs] : []))
  const ours = pairs.flatMap(({ theirs, ours }) => (ours !== null && theirs === null ? [ours] : []))
  if (theirs.length === 0 && ours.length === 0) return null
  const is = (command: Command, name: string, leaf: number): boolean =>
    nameOf(command) === name && bits(command.dw1, 0, 0) === leaf
  if (kind === 'attach' && theirs.length === 0 && ours.length === 2) {
    return is(ours[0], 'CFGI_STE', 0) && nameOf(ours[1]) === 'SYNC' ? 'level 1 descriptor' : 'unexplained'
  }
  if (kind === 'unmap' && ours.some((one) => is(one, 'TLBI_NH_VA', 0)) && coversAlike(theirs, ours))
    return 'empty table'
  return 'unexplained'
}

/** Our ranges begin where theirs do, and reach as far: but for the page that a range without a level may have more. */
function coversAlike(theirs: readonly Command[], ours: readonly Command[]): boolean {
  const ends = (commands: readonly Command[]): readonly [number, number] => {
    const spans = commands.map(({ dw0, dw1 }) => {
      const page = Number(dw1 >> 12n)
      return [page, page + (bits(dw0, 16, 12) + 1) * 2 ** bits(dw0, 25, 20)] as const
    })
    return [Math.min(...spans.map(([page]) => page)), Math.max(...spans.map(([, end]) => end))]
  }
  const [from, to] = ends(theirs)
  const [ourFrom, ourTo] = ends(ours)
  return theirs.length > 0 && from >= ourFrom && ourTo - to >= 0 && ourTo - to <= 1
}
