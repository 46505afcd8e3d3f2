/** What both architectures' replays have in common: who plays, what is counted, what is wrong. */

import type { StaleReport } from '../../../hw-model/port.js'

/** What a replay came to. */
export interface Replayed {
  translations: number
  commands: number
  /** Answered by the translation cache. */
  hits: number
  /** Made room for others: a cache that never evicts has none. */
  evictions: number
  /** Translations that ended otherwise than in the trace, in words; the first few. */
  readonly wrong: string[]
  reports: readonly StaleReport[]
}

/** Wrong translations that are told. */
const TOLD = 5

/** Of nothing yet. */
export const emptyReplay = (): Replayed => ({
  translations: 0,
  commands: 0,
  hits: 0,
  evictions: 0,
  wrong: [],
  reports: [],
})

/** Remembers a wrong translation. */
export function noteWrong(replayed: Replayed, what: string): void {
  if (replayed.wrong.length < TOLD) replayed.wrong.push(what)
}

/** Larger than what any of the traces keeps alive. */
export const NEVER_EVICTS = { entries: 1 << 17, ways: 8 } as const
