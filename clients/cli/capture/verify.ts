/** Verifies a whole capture: every row on a raw unit, then what a user domain can show, once more through one. */

import type { ContextClient } from '../../node/index.js'
import { agrees, emptyTally, type Mismatch, type Tally } from './compare.js'
import type { Capture, CapturedRow, CapturedStream } from './folder.js'
import { BATCH, type GuestRegion, RawReplay, registerGuestMemory } from './raw-replay.js'
import { UserReplay, userStreams } from './user-replay.js'

/** What came of a capture. */
export interface VerifyResult {
  /** Rows of the capture. */
  readonly translations: number
  readonly raw: Tally
  readonly userDomain: Tally
  readonly mismatches: readonly Mismatch[]
  /** Rows that reach a page table and that no IOAS can map the end of, counted by reason. */
  readonly skips: ReadonlyMap<string, number>
  /** Rows that reach no page table, counted by reason; no part of the user domains' tally. */
  readonly outside: ReadonlyMap<string, number>
}

/** Told about each batch that is done. */
export type OnProgress = (phase: string, done: number, total: number) => void

/** Mismatches kept with their walk; all are counted. */
const KEPT_MISMATCHES = 100

/** Verifies a capture in a context of its own. `deviceName` is a platform device of the capture's architecture. */
export async function verifyCapture(
  context: ContextClient,
  capture: Capture,
  deviceName: string,
  onProgress: OnProgress,
): Promise<VerifyResult> {
  const regions = await registerGuestMemory(context, capture)
  const mismatches: Mismatch[] = []
  const raw = await verifyRaw(context, capture, mismatches, onProgress)
  const left: LeftOut = { skips: new Map(), outside: new Map() }
  const userDomain = await verifyUser(context, capture, regions, deviceName, mismatches, left, onProgress)
  return { translations: capture.rows.length, raw, userDomain, mismatches, ...left }
}

/** Prints the object that programs read. */
export function summaryOf(result: VerifyResult): Record<string, unknown> {
  return { translations: result.translations, ...result.raw, userDomain: result.userDomain }
}

async function verifyRaw(
  context: ContextClient,
  capture: Capture,
  mismatches: Mismatch[],
  onProgress: OnProgress,
): Promise<Tally> {
  const unit = await RawReplay.start(context, capture)
  const tally = emptyTally()
  for (const batch of batches(capture.rows)) {
    const answers = await unit.translate(batch)
    for (const [i, row] of batch.entries()) {
      if (agrees(row, answers[i])) tally.matched++
      else {
        tally.mismatched++
        const walk = mismatches.length < KEPT_MISMATCHES ? await unit.explain(row) : []
        mismatches.push({ row, answer: answers[i], through: 'raw unit', walk })
      }
    }
    onProgress('raw unit', tally.matched + tally.mismatched, capture.rows.length)
  }
  return tally
}

async function verifyUser(
  context: ContextClient,
  capture: Capture,
  regions: readonly GuestRegion[],
  deviceName: string,
  mismatches: Mismatch[],
  left: LeftOut,
  onProgress: OnProgress,
): Promise<Tally> {
  const tally = emptyTally()
  const streams = new Map(userStreams(capture).map((stream) => [stream.sid, stream]))
  if (streams.size === 0) return tally
  const replay = await UserReplay.start(context, capture, regions, deviceName)
  const rows = sortOut(replay, capture.rows, streams, left)
  for (const count of left.skips.values()) tally.skipped += count
  for (const [sid, stream] of streams) {
    const own = rows.get(sid) ?? []
    if (own.length === 0) continue
    await replay.attach(stream)
    for (const batch of batches(own)) {
      const { answers } = await replay.translate(batch)
      for (const [i, row] of batch.entries()) {
        if (agrees(row, answers[i])) tally.matched++
        else {
          tally.mismatched++
          const walk = mismatches.length < KEPT_MISMATCHES ? await replay.explain(row) : []
          mismatches.push({ row, answer: answers[i], through: 'user domain', walk })
        }
      }
      onProgress('user domain', tally.matched + tally.mismatched + tally.skipped, capture.rows.length)
    }
    await replay.detach()
  }
  return tally
}

/** Rows that do not go through a user domain, counted by reason. */
export interface LeftOut {
  readonly skips: Map<string, number>
  readonly outside: Map<string, number>
}

/** Rows by stream; what no user domain can show is counted by its reason. */
export function sortOut(
  replay: UserReplay,
  rows: readonly CapturedRow[],
  streams: ReadonlyMap<number, CapturedStream>,
  left: LeftOut,
): Map<number, CapturedRow[]> {
  const bySid = new Map<number, CapturedRow[]>()
  for (const row of rows) {
    const skip = replay.whyNot(row, streams)
    if (skip !== undefined) {
      const counts = skip.reachesTable ? left.skips : left.outside
      counts.set(skip.reason, (counts.get(skip.reason) ?? 0) + 1)
    } else if (bySid.get(row.sid)?.push(row) === undefined) bySid.set(row.sid, [row])
  }
  return bySid
}

/** Consecutive rows with the same PASID, at most BATCH of them. */
export function* batches(rows: readonly CapturedRow[]): Generator<CapturedRow[]> {
  let batch: CapturedRow[] = []
  for (const row of rows) {
    if (batch.length === BATCH || (batch.length > 0 && batch[0].pasid !== row.pasid)) {
      yield batch
      batch = []
    }
    batch.push(row)
  }
  if (batch.length > 0) yield batch
}
