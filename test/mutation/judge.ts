/** What a run of mutations may not do. */

import type { Summary } from './run.js'

/** Longest time of one call; a walk reads less than fifty entries and a run takes 16 commands. */
const CALL_MS = 500

/** What the unit's caches and the touched pages of its tables may take. */
const GROWTH_BYTES = 64 * 2 ** 20

/** What is wrong with a run, in words; empty where nothing is. */
export function judge({ slowestMs, grownBytes, translated, faults }: Summary): readonly string[] {
  const complaints: string[] = []
  if (slowestMs > CALL_MS) complaints.push(`one call took ${slowestMs.toFixed(0)} ms`)
  if (grownBytes > GROWTH_BYTES) complaints.push(`the process grew by ${(grownBytes / 2 ** 20).toFixed(0)} MiB`)
  if (translated === 0) complaints.push('nothing was ever translated, so nothing was tried')
  if (faults.length < 8) complaints.push(`only ${faults.length} kinds of fault were met`)
  return complaints
}
