/** What a run came across. */

import type { Outcome } from '../../../hw-model/port.js'
import { textOf } from './answers.js'
import type { Probe } from './oracle.js'

/** Counted over all machines of a run. */
export interface Counts {
  operations: number
  /** Operations that the driver refused, as the rules have it. */
  refused: number
  machines: number
  /** 8-byte stores of the driver's and the guests' that were looked at. */
  stores: number
  /** SYNCs that were looked at before they were consumed. */
  syncs: number
  /** Pages that were overwritten for another use. */
  wiped: number
  dmas: number
  /** Times the reference walked: its answer holds until a word that it read is stored into. */
  walks: number
  /** DMAs in the middle of an operation that the old state answered, and the new one, where they differ. */
  sawOld: number
  sawNew: number
  hits: number
  disagreements: number
  /** DMAs by how they ended. */
  readonly ends: Map<number, number>
  /** The same of those that an invalid entry ended for a moment. */
  readonly moments: Map<number, number>
  /** DMAs by what they had to do with. */
  readonly met: Record<string, number>
  /** Operations by their name: those that were done. */
  readonly done: Record<string, number>
}

/** Of nothing yet. */
export const noCounts = (): Counts => ({
  operations: 0,
  refused: 0,
  machines: 0,
  stores: 0,
  syncs: 0,
  wiped: 0,
  dmas: 0,
  walks: 0,
  sawOld: 0,
  sawNew: 0,
  hits: 0,
  disagreements: 0,
  ends: new Map(),
  moments: new Map(),
  met: {},
  done: {},
})

/** One more of something. */
export function bump(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1
}

/** Counts one DMA. */
export function count(counts: Counts, probe: Probe, got: number, { leafLg2, hit }: Outcome, isInvalid: boolean): void {
  counts.dmas++
  const kind = Math.min(got, 0)
  const ends = isInvalid ? counts.moments : counts.ends
  ends.set(kind, (ends.get(kind) ?? 0) + 1)
  if (got < 0) return
  counts.hits += hit
  if (leafLg2 >= 30) bump(counts.met, '1 GiB block')
  else if (leafLg2 >= 21) bump(counts.met, '2 MiB block')
  if (probe.pasid >= 0) bump(counts.met, 'PASID')
  if (probe.write) bump(counts.met, 'write')
}

/** All of it in words. */
export function summary({ ends, moments, ...rest }: Counts) {
  const named = (map: ReadonlyMap<number, number>) =>
    Object.fromEntries([...map].map(([code, times]) => [code === 0 ? 'translated' : textOf(code), times]))
  return { ...rest, ends: named(ends), moments: named(moments) }
}
