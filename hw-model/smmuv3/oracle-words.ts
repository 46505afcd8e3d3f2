/** What a fresh walk reads, as the oracle takes it down: each 64-bit word with a number that says what it is. */

import type { Reads, WordName } from '../oracle/subject.js'
import type { EntryTrace } from '../walk/walker.js'
import { FETCHED, type FetchWitness } from './config.js'
import type { Features } from './features.js'

/** Where the parts of a kind stand: FETCHED, or 0 of a table entry; its stage; its level; log2 of what it maps. */
const STAGE_SHIFT = 3
const LEVEL_SHIFT = 5
const LEAF_SHIFT = 8

const NAMES: Readonly<Record<number, string>> = {
  [FETCHED.STE]: 'STE',
  [FETCHED.L1STD]: 'L1STD',
  [FETCHED.CD]: 'CD',
  [FETCHED.L1CD]: 'L1CD',
}

/**
 * 32-bit words of a structure that say anything to how a translation ends: of an STE those of S2TTB and before, of a CD
 * those of TTB1 and before.
 */
const USED: Readonly<Record<number, number>> = { [FETCHED.STE]: 8, [FETCHED.CD]: 6 }

/** The walker's levels count up from the leaves, the manual's down to 3. */
const LAST_LEVEL = 3

/** Bits [1:0] of an entry that are set in tables and pages, and of which blocks have the first alone. */
const TYPE = 3

/** Output address, bits [47:12] of an entry. */
const HIGH_ADDRESS = 0xffff

/** What a word is. */
export function nameOf(kind: number): WordName {
  const what = NAMES[kind & 7]
  if (what !== undefined) return { what }
  const stage = ((kind >>> STAGE_SHIFT) & 3) as 1 | 2
  return { what: `stage-${stage} table entry`, stage, level: LAST_LEVEL - ((kind >>> LEVEL_SHIFT) & 7) }
}

/** AF, which hardware sets, and the low bits of AP and S2AP, which it changes where DBM lets it. */
const ACCESSED = 1 << 10
const DIRTIED = 1 << 7

/** Bit 51 of an entry. */
const DBM = 1 << 19

/** Whether a table entry differs in what hardware marks in it alone. [Arm D8.5 Hardware updates to the translation tables] */
export function marks(kind: number, before: readonly [number, number], after: readonly [number, number]): boolean {
  return (kind & 7) === 0 && before[1] === after[1] && ((before[0] ^ after[0]) & ~(ACCESSED | DIRTIED)) === 0
}

/**
 * Whether a valid table entry took the place of another that it may not follow: one of another output address where either
 * can be written to, or of another size where the unit does not handle that. Two that are read-only may follow each other
 * where the same is in both, which only who wrote it knows. [Arm D8.16 Using break-before-make] [SMMU 3.21.1.3 BBML]
 */
export function breaks(
  { bbml }: Features,
  kind: number,
  [beforeLo, beforeHi]: readonly [number, number],
  [afterLo, afterHi]: readonly [number, number],
): boolean {
  if ((kind & 7) !== 0 || (beforeLo & afterLo & 1) === 0) return false
  const level = (kind >>> LEVEL_SHIFT) & 7
  const wasLeaf = level === 0 || (beforeLo & TYPE) === 1
  const isLeaf = level === 0 || (afterLo & TYPE) === 1
  if (wasLeaf !== isLeaf) return bbml === 0
  if (!isLeaf) return false
  if (!isWritable(kind, beforeLo, beforeHi) && !isWritable(kind, afterLo, afterHi)) return false
  const leafLg2 = kind >>> LEAF_SHIFT
  const low = leafLg2 < 32 ? -1 << leafLg2 : 0
  return ((beforeLo ^ afterLo) & low) !== 0 || ((beforeHi ^ afterHi) & HIGH_ADDRESS) !== 0
}

/** AP[2] takes the right to write away, S2AP[1] gives it, and with DBM hardware may give it. */
function isWritable(kind: number, lo: number, hi: number): boolean {
  const isSet = (lo & DIRTIED) !== 0
  return (hi & DBM) !== 0 || (((kind >>> STAGE_SHIFT) & 3) === 1 ? !isSet : isSet)
}

/** Takes down the words of one walk. */
export class WordTaker implements FetchWitness {
  reads: Reads | null = null

  fetched(what: number, physical: number, words: Int32Array, count: number): void {
    const used = Math.min(count, USED[what] ?? count)
    for (let i = 0; i < used; i += 2) this.reads?.add(physical + i * 4, words[i], words[i + 1], what)
  }

  /** What a walker of a stage shows it. */
  of(stage: 1 | 2): EntryTrace {
    return {
      entry: ({ lo, hi, level, leafLg2 }, _format, _tables, physical) => {
        const what = (stage << STAGE_SHIFT) | (level << LEVEL_SHIFT) | (leafLg2 << LEAF_SHIFT)
        this.reads?.add(physical, lo, hi, what)
      },
    }
  }
}
