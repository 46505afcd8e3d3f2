/** Verifies a recording: every call is made again, in order, and its answer compared with the kernel's. */

import type { ContextClient } from '../../node/index.js'
import { differenceOf } from './answer.js'
import { EXCUSED_SHARE, EXCUSES, type Excuse } from './excuses.js'
import type { RecordedMachine } from './machine.js'
import { Recorder } from './recorder.js'
import type { RecordedCall, Recording } from './recording.js'

/** An answer that is not the kernel's, and why nothing excuses it. */
export interface Mismatch {
  readonly line: RecordedCall
  readonly how: string
}

/** What came of a recording. */
export interface TranscriptResult {
  readonly calls: number
  readonly matched: number
  readonly mismatches: readonly Mismatch[]
  /** Excused answers by their rule; every rule is there. */
  readonly excused: ReadonlyMap<Excuse, number>
}

/** Plays a recording to two contexts of a daemon that has the recorded machine. */
export async function verifyRecording(
  recording: Recording,
  machine: RecordedMachine,
  first: ContextClient,
  second: ContextClient,
  onProgress: (done: number) => void,
): Promise<TranscriptResult> {
  const recorder = await Recorder.start(first, second, machine)
  const mismatches: Mismatch[] = []
  const excused = new Map(EXCUSES.map((excuse) => [excuse, 0]))
  let matched = 0
  for (const [done, line] of recording.calls.entries()) {
    const answer = await recorder.call(line)
    const how = differenceOf(line, answer)
    const excuse = how === undefined ? undefined : EXCUSES.find((rule) => rule.explains(recording.unit, line, answer))
    if (how === undefined) matched++
    else if (excuse !== undefined) excused.set(excuse, excused.get(excuse)! + 1)
    else mismatches.push({ line, how })
    onProgress(done + 1)
  }
  return { calls: recording.calls.length, matched, mismatches, excused }
}

/** How many answers were excused. */
export const excusedCount = ({ excused }: TranscriptResult): number =>
  [...excused.values()].reduce((sum, count) => sum + count, 0)

/** Whether the recording holds: no mismatch, and hardly anything to excuse. */
export const holds = (result: TranscriptResult): boolean =>
  result.mismatches.length === 0 && excusedCount(result) <= result.calls * EXCUSED_SHARE

/** The object that programs read. */
export function summaryOf(result: TranscriptResult): Record<string, number> {
  const { calls, matched, mismatches } = result
  return { calls, matched, excused: excusedCount(result), mismatched: mismatches.length }
}
